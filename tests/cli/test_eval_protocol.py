"""``--paper-protocol`` on the experiments beside retrieval: what it sets, what stays, what the report says."""

import pytest

from semret.cli import evaluation as app
from semret.eval.protocol import PROTOCOLS
from semret.eval.scenes.collection import render_collection
from tests.support.commands import invoke
from tests.support.reports import read_report

MODEL = "efficientnet-lite0@96x96"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    render_collection(folder, 8, seed=3)
    return folder


def run(pictures, *arguments):
    result = invoke(app, *arguments, "--images", pictures, "--format", "json")
    assert result.exit_code == 0, result.output
    return read_report(result.stdout)


@pytest.mark.parametrize(
    ("arguments", "expected", "deviation"),
    [
        (("correlation", "--model", MODEL), {"solver": "batch-optimal", "count": 2000}, "count is 8; the paper: 2000"),
        (
            ("cka", "--model", MODEL, "--largest", 9, "--layers", 1, "--kernel", "cosine"),
            {"solver": "batch-optimal", "estimator": "biased", "kernel": "cosine"},
            "kernel is cosine; the paper: linear or rbf",
        ),
        (
            ("translation", "--model", MODEL, "--largest", 9, "--pairs", 2, "--batches", 2),
            {"solver": "auction", "kernel": "rbf", "pairs": 2},
            "pairs is 2; the paper: 10",
        ),
        (("runtime", "--sides", 64, "--pairs", 2), {"center": "none"}, "sides is 64; the paper: 512, 1024, 2048"),
        (
            ("approximation", "--side", 64, "--count", 2, "--center", "channel"),
            {"center": "channel"},
            "center is channel; the paper: none",
        ),
    ],
)
def test_the_papers_protocol_in_every_experiment(pictures, arguments, expected, deviation):
    report = run(pictures, *arguments, "--paper-protocol")
    assert {name: report["settings"][name] for name in expected} == expected
    assert report["settings"]["paper_protocol"] is True
    assert deviation in report["deviations"]
    assert set(PROTOCOLS[arguments[0]].differences) <= set(report["deviations"])
