"""The command `semret verify`: what it prints, and its exit status."""

from __future__ import annotations

import json
from functools import partial

import pytest
import typer

from semret.commands import verify as command
from tests.support.commands import invoke


@pytest.fixture
def run():
    """Return a function that runs ``semret verify`` with arguments."""
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    return partial(invoke, app, "verify")


def test_a_sound_index_gives_one_line_and_0(run, tiny_index):
    done = run("--index", tiny_index, "--files")
    assert (done.exit_code, done.stdout) == (0, f"{tiny_index} is sound (images: 6, segments: 1)\n")
    assert json.loads(run("--index", tiny_index, "--format", "json").stdout) == {
        "index": str(tiny_index),
        "images": 6,
        "segments": 1,
        "defects": [],
        "sound": True,
        "actions": [],
    }


def test_defects_are_named_with_what_to_do_and_repaired_on_demand(run, tiny_index):
    (tiny_index / "segments" / "000001.h5").unlink()
    done = run("--index", tiny_index)
    assert done.exit_code == 1
    header, row = done.stdout.splitlines()
    assert header.split()[:3] == ["kind", "object", "defect"]
    assert "000001.h5  it cannot be read: No such file or directory  run semret verify --repair, then" in row
    repaired = run("--index", tiny_index, "--repair")
    assert repaired.exit_code == 0
    assert repaired.stderr == "repaired: kept 0 of 6 pictures of 000001.h5, dropped the rest\n"
    assert repaired.stdout == f"{tiny_index} is sound (images: 0, segments: 0)\n"


def test_defects_that_remain_leave_1(run, tiny_index, photos):
    (photos / "3.png").unlink()
    (tiny_index / "shortlist.faiss").write_bytes(b"")
    report = run("--index", tiny_index, "--repair", "--files", "--format", "json")
    assert report.exit_code == 1
    document = json.loads(report.stdout)
    assert document["actions"] == ["rebuilt shortlist.faiss"]
    assert document["defects"] == [
        {"kind": "file", "object": str(photos / "3.png"), "detail": "it is gone", "remedy": "run semret index"}
    ]


def test_no_index_is_one_line_and_1(run, tmp_path):
    done = run("--index", tmp_path)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("semret: ")
    assert done.stderr.count("\n") == 1
