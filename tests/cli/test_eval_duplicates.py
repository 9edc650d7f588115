"""``semret eval duplicates``: its report, what it counts, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from semret.cli import evaluation as app
from semret.eval.experiments.duplicates import judge
from semret.eval.scenes.copies import COPIES, FRAMES, OTHERS, Derived, copy_pictures, render_copies
from semret.index.pictures.decode import decode_image
from semret.retrieval.duplicates.results import DuplicateFile, DuplicateGroup, Duplicates
from tests.support.commands import error_of, invoke
from tests.support.reports import read_report

SMALL = ("--model", "efficientnet-lite0@160x160", "--scenes", 3)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out = tmp_path_factory.mktemp("duplicates") / "out"
    done = invoke(app, "duplicates", *SMALL, "--out", out, "--format", "json")
    assert done.exit_code == 0, done.output
    return out, json.loads(done.stdout)


def test_the_report_is_valid_and_printed(report):
    out, printed = report
    written = read_report((out / "report.json").read_text(encoding="utf-8"))
    assert {**written, "created": ""} == {**printed, "created": ""}
    names = {"report.json", "report.md", "per_query.jsonl", "duplicates-0.png"}
    assert {path.name for path in out.iterdir()} == names
    assert written["dataset"]["pictures"] == 3 * (1 + len(COPIES) + len(OTHERS))
    assert written["settings"]["scenes"] == 3


def test_metrics_are_the_means_of_the_lines(report):
    out, printed = report
    lines = [json.loads(line) for line in (out / "per_query.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 7 * 3 * (len(COPIES) + len(OTHERS))
    kinds = set()
    for metric in printed["metrics"]:
        cell = metric["cell"]
        if cell["kind"] != "all":
            kinds.add((metric["name"], cell["kind"]))
            values = [
                line["together"]
                for line in lines
                if (line["kind"], line["threshold"]) == (cell["kind"], cell["threshold"])
            ]
            assert metric["mean"] == pytest.approx(np.mean(values))
    assert kinds == {("recall", kind) for kind in COPIES} | {("taken for a copy", kind) for kind in OTHERS}


def test_copies_of_ones_own_pictures(tmp_path, rendered):
    shutil.copytree(rendered, tmp_path / "own")
    arguments = ("duplicates", *SMALL, "--images", tmp_path / "own", "--threshold", 0.45)
    done = invoke(app, *arguments, "--format", "json", "--frames")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed["dataset"]["pictures"] == 3 * (1 + len(COPIES))
    assert printed["settings"]["frames"] is True
    assert 0.45 in {metric["cell"]["threshold"] for metric in printed["metrics"]}
    assert len(list((tmp_path / "own").iterdir())) == 12


def test_what_is_refused(tmp_path, rendered):
    assert "scenes is 0" in error_of(invoke(app, "duplicates", "--scenes", 0))
    assert "a threshold is 2.0" in error_of(invoke(app, "duplicates", "--threshold", 2))
    assert "which is read" in error_of(invoke(app, "duplicates", "--images", rendered, "--out", rendered))


def test_rendered_copies_are_those_of_their_seed(tmp_path):
    one, again, other = (
        render_copies(tmp_path / name, 2, seed, size=(96, 128)) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert [found.path.read_bytes() for found in one] == [found.path.read_bytes() for found in again]
    assert one[0].path.read_bytes() != other[0].path.read_bytes()
    assert [found.kind for found in one] == 2 * ["original", *COPIES, *OTHERS]
    assert [found.scene for found in one] == [0] * (len(one) // 2) + [1] * (len(one) // 2)
    assert all(found.is_copy != (found.kind in OTHERS) for found in one)
    sizes = {found.kind: decode_image(found.path).size for found in one[: len(one) // 2]}
    assert sizes["cropped 30 %"] == (107, 80)
    copied = copy_pictures(tmp_path / "d", [one[0].path], 0)
    assert [found.kind for found in copied] == ["original", *COPIES]


def group_of(*names):
    files = [
        DuplicateFile(id=1, path=name, relation="near", score=1, bytes=1, width=1, height=1, modified=None)
        for name in names
    ]
    return DuplicateGroup(files=tuple(files), bytes=0)


def test_groups_are_judged_by_hand():
    frame = next(iter(FRAMES))
    kinds = {"a0": "original", "a1": "grey", "a2": frame, "a3": "rearranged", "b0": "original", "b1": "grey"}
    pictures = [Derived(Path(name), "ab".index(name[0]), kind) for name, kind in kinds.items()]
    groups = (group_of("x/a1", "a0", "a2", "b0"), group_of("a3", "b1"))
    found = Duplicates(groups=groups, threshold=0.5, images=6, compared=6)
    judged = judge("m", pictures, found)
    assert judged.together == {"grey": [(0, True), (1, False)], frame: [(0, True)], "rearranged": [(0, False)]}
    assert judged.pairs == [(0, "copy"), (0, "frame"), (0, "other"), (0, "other")]
