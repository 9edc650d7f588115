"""``--paper-protocol`` on the experiments beside retrieval: what it sets, what stays, what the report says."""

import json
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from semret.cli import evaluation as app
from semret.eval.protocol import PROTOCOLS
from semret.eval.report.schema import find_problems
from semret.eval.scenes.collection import render_collection

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "docs" / "report-schema.json").read_text(encoding="utf-8"))
)
MODEL = "efficientnet-lite0@96x96"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    render_collection(folder, 8, seed=3)
    return folder


def run(pictures, *arguments):
    command = [str(argument) for argument in (*arguments, "--images", pictures, "--format", "json")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert find_problems(report) == []
    SCHEMA.validate(report)
    return report


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
