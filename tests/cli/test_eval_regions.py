"""``semret eval regions``: its report, on rendered scenes and on a data set, and what it refuses."""

import json

import numpy as np
import pytest

from semret.cli import evaluation as app
from semret.eval.experiments.regions_report import METHODS
from semret.eval.scenes import egoobjects_layout
from tests.support.commands import error_of, invoke
from tests.support.reports import read_report

MODEL = ("--model", "efficientnet-lite0@160x160")
SMALL = ("--scenes", 4, "--videos", 3, "--frames", 1)


def run(*arguments):
    return invoke(app, "regions", *arguments)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out = tmp_path_factory.mktemp("regions") / "out"
    done = run(*MODEL, *SMALL, "--queries", 12, "--fewest", 1, "--most", 9, "--out", out, "--format", "json")
    assert done.exit_code == 0, done.output
    return out, json.loads(done.stdout)


def test_the_report_is_valid_and_printed(report):
    out, printed = report
    written = read_report((out / "report.json").read_text(encoding="utf-8"))
    assert {**written, "created": ""} == {**printed, "created": ""}
    assert {path.name for path in out.iterdir()} == {"report.json", "report.md", "per_query.jsonl", "regions.png"}
    assert written["experiment"] == "regions"
    assert (written["dataset"]["name"], written["dataset"]["pictures"]) == ("rendered scenes", 12)
    assert written["settings"]["scenes"] == 4
    assert "12 things of 1 to 9 patches" in written["notes"][0]


def test_every_method_is_measured_and_compared(report):
    _, printed = report
    cells = [(m["cell"]["method"], m["name"]) for m in printed["metrics"]]
    assert cells == [(method, name) for method in METHODS for name in ("hit@1", "average precision")] + [
        ("chance", "hit@1")
    ]
    assert {(c["against"]["method"], c["name"]) for c in printed["comparisons"]} == {
        (method, name) for method in METHODS if method != "region" for name in ("hit@1", "average precision")
    }
    assert all(0 <= m["low"] <= m["mean"] <= m["high"] <= 1 for m in printed["metrics"])


def test_metrics_are_the_means_of_the_lines(report):
    out, printed = report
    lines = [json.loads(line) for line in (out / "per_query.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 12
    for metric in printed["metrics"]:
        if metric["cell"]["method"] in METHODS:
            values = [line["methods"][metric["cell"]["method"]][metric["name"]] for line in lines]
            assert metric["mean"] == pytest.approx(np.mean(values))
    for line in lines:
        # Pictures of the query's own recording, SSSS_VV, may not answer.
        assert all(found["first"][:7] != line["query"][:7] for found in line["methods"].values())
        assert 1 <= line["patches"] <= 9
        assert line["methods"]["region"]["score"] <= line["methods"]["maxsim"]["score"] + 1e-6


def test_the_same_seed_gives_the_same_metrics(report):
    _, printed = report
    again = run(*MODEL, *SMALL, "--queries", 12, "--fewest", 1, "--most", 9, "--format", "json")
    assert json.loads(again.stdout)["metrics"] == printed["metrics"]


def test_a_data_set_with_boxes(tmp_path):
    assert invoke(app, "make-data", "egoobjects", tmp_path / "ego", *SMALL).exit_code == 0
    arguments = ("--root", tmp_path / "ego", *MODEL, "--fewest", 1, "--features", tmp_path / "features")
    done = run(*arguments, "--same", "category", "--queries", 5, "--format", "json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert (printed["dataset"]["name"], printed["settings"]["same"]) == ("egoobjects", "category")
    assert "scenes" not in printed["settings"]
    assert (tmp_path / "features").is_dir()
    assert "for rendered scenes, but --root names" in error_of(run(*arguments, "--scenes", 3))
    assert "no thing of egoobjects has 90 to 91 patches" in error_of(run(*arguments, "--fewest", 90, "--most", 91))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--queries", 0), "queries is 0, expected at least 1"),
        (("--fewest", 5, "--most", 4), "most not below fewest"),
        (("--fewest", 0), "expected patches from 1"),
        (("--center", "middle"), "center"),
        (("--solver", "auktion"), "auction"),
        (("--scenes", 0), "scenes"),
        (("--root", "nowhere"), "nowhere"),
    ],
)
def test_errors_are_one_line_before_anything_is_rendered(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(egoobjects_layout, "render_room", None)
    assert message in error_of(run(*arguments))
