"""``semret duplicates``: formats, the page, names of any characters, what it refuses, and a terminal."""

import csv
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import semret
from semret.cli import app
from semret.index.sync.sync import sync
from semret.names import readable, spreadsheet_cell
from tests.support.commands import error_of, invoke
from tests.support.networks import TinyBackbone
from tests.support.pictures import draw

HOSTILE = [
    "=cmd|'calc'!A0.png",
    "<script>alert(1)<script>.png",
    "\x1b[31mred.png",
    "name\nof two lines.png",
    "ü 名.png",
]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(5):
        draw(seed, (96, 72)).save(folder / f"{seed}.png")
    draw(0, (192, 144)).save(folder / "0 large.png")
    shutil.copy(folder / "3.png", folder / "3 again.png")
    os.utime(folder / "3.png", (1e9, 1e9))
    return folder


@pytest.fixture
def index(tmp_path, folder):
    sync(tmp_path / ".semret", [folder], TinyBackbone)
    return tmp_path / ".semret"


@pytest.fixture
def run(index):
    def run(*arguments, **options):
        return invoke(app, "duplicates", "--index", index, "--threshold", 0.9, *arguments, **options)

    return run


def test_the_table_names_what_to_keep_and_what_could_be_freed(run, folder):
    done = run()
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["group", "relation", "score", "pixels", "size", "id", "path"]
    assert [line.split()[-5] for line in lines if "keep" in line]
    assert sum(" keep " in line for line in lines) == 2
    held = sum((folder / name).stat().st_size for name in ("0.png", "3 again.png"))
    assert lines[-1] == (
        f"2 groups of copies among 7 images; 2 files beside those to keep, {readable(held)}; nothing was deleted"
    )
    assert done.stderr == ""
    assert len(list(folder.iterdir())) == 7


def test_all_formats_hold_the_same_groups(run):
    document = json.loads(run("--format", "json").stdout)
    assert list(document) == ["threshold", "images", "compared", "gone", "changed", "bytes", "groups"]
    assert (document["images"], document["compared"], len(document["groups"])) == (7, 6, 2)
    groups = document["groups"]
    for group in groups:
        assert group["keep"] == group["files"][0]["path"]
        assert group["files"][0]["relation"] == "kept"
        assert group["bytes"] == sum(file["bytes"] for file in group["files"][1:])
    assert document["bytes"] == sum(group["bytes"] for group in groups)
    lines = [json.loads(line) for line in run("--format", "jsonl").stdout.splitlines()]
    assert lines == [{"group": number, **group} for number, group in enumerate(groups, start=1)]
    rows = list(csv.DictReader(io.StringIO(run("--format", "csv").stdout)))
    flat = [(number, file) for number, group in enumerate(groups, start=1) for file in group["files"]]
    assert [(int(row["group"]), int(row["id"]), row["path"], row["relation"]) for row in rows] == [
        (number, file["id"], file["path"], file["relation"]) for number, file in flat
    ]
    assert [float(row["score"]) for row in rows] == [file["score"] for _, file in flat]
    paths = run("--format", "paths")
    assert paths.stdout.splitlines() == [file["path"] for _, file in flat if file["relation"] != "kept"]
    assert paths.stderr.startswith("semret: 2 groups of copies among 7 images")
    zero = run("--format", "paths", "--print0")
    assert zero.stdout.split("\0")[:-1] == paths.stdout.splitlines()


def test_only_what_touches_the_paths(run, folder):
    found = json.loads(run(folder / "3 again.png", "--format", "json").stdout)
    assert [group["keep"][-5:] for group in found["groups"]] == ["3.png"]
    assert json.loads(run(folder, "--format", "json").stdout)["groups"] != []
    assert "no copies among 7 images" in run(folder / "1.png").stdout
    assert "is no picture of the index" in error_of(run(folder / "9.png"))


def test_the_page_shows_the_kept_beside_its_copies_and_runs_nothing(run, tmp_path):
    page = tmp_path / "copies.html"
    done = run("--html", page)
    assert done.exit_code == 0
    assert done.stderr.endswith(f"semret: page written to {page}\n")
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 4
    assert text.count("keep this one") == 2
    assert "near-copy" in text
    assert "same content" in text
    assert "192 × 144" in text
    assert "default-src 'none'" in text
    assert "<script" not in text


def test_a_page_of_many_groups_shows_the_first_and_says_so(run, tmp_path, monkeypatch):
    monkeypatch.setattr("semret.commands.duplicates._SHOWN", 1)
    run("--html", tmp_path / "copies.html")
    text = (tmp_path / "copies.html").read_text(encoding="utf-8")
    assert text.count("keep this one") == 1
    assert "the first 1 groups are shown, 1 more are not" in text


@pytest.mark.skipif(sys.platform == "win32", reason="such names cannot be had")
def test_names_of_any_characters(tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in HOSTILE:
        draw(1).save(folder / name)
    shutil.copy(folder / HOSTILE[0], folder / os.fsdecode(b"\xff.png"))
    sync(tmp_path / ".semret", [folder], TinyBackbone)
    page = tmp_path / "page.html"

    def run(*arguments):
        return invoke(app, "duplicates", "--index", tmp_path / ".semret", *arguments)

    files = json.loads(run("--format", "json", "--html", page).stdout)["groups"][0]["files"]
    assert {Path(file["path"]).name for file in files} == {*HOSTILE, "\udcff.png"}
    text = page.read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "\x1b" not in text
    rows = list(csv.DictReader(io.StringIO(run("--format", "csv").stdout)))
    assert [row["path"] for row in rows] == [spreadsheet_cell(file["path"]) for file in files]
    table = run().stdout
    assert "\x1b" not in table
    assert len(table.splitlines()) == 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--threshold", "1.5"], "threshold is 1.5, expected a number above 0, at most 1")],
)
def test_what_is_out_of_range_is_refused(index, arguments, said):
    assert said in error_of(invoke(app, "duplicates", "--index", index, *arguments))


def test_print0_needs_paths(run):
    done = run("--print0")
    assert done.exit_code == 2
    assert "goes with --format paths" in done.stderr


def test_the_page_is_not_written_over_a_picture_or_the_index(run, folder, index):
    before = (folder / "1.png").read_bytes()
    assert "it is a picture of the index" in error_of(run("--html", folder / "1.png"))
    assert "which is read" in error_of(run("--html", index / "manifest.json"))
    assert (folder / "1.png").read_bytes() == before
    (folder / "there").mkdir()
    done = run("--html", folder / "there")
    assert done.exit_code == 1
    assert "choose another file with --html" in done.stderr


def test_what_is_gone_is_said(run, folder):
    (folder / "0 large.png").unlink()
    done = run("--format", "json")
    assert json.loads(done.stdout)["gone"] == 1
    assert "1 indexed file left out: not there any more; run semret index" in done.stderr


def test_frames_are_decided_by_the_score_alone(run, folder, monkeypatch):
    monkeypatch.setattr("semret.retrieval.duplicates.confirm.same_share", lambda *_, **__: 0.0)
    assert len(json.loads(run("--format", "json").stdout)["groups"]) == 1
    assert len(json.loads(run("--format", "json", "--frames").stdout)["groups"]) == 2


def test_results_show_themselves_in_a_notebook_and_as_a_table(index):
    pandas = pytest.importorskip("pandas")
    found = semret.duplicates(index, threshold=0.9)
    assert isinstance(found, semret.Duplicates)
    assert isinstance(found[0], semret.DuplicateGroup)
    table = found.to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert table["group"].tolist() == [1, 1, 2, 2]
    assert table.columns.tolist() == [
        "group", "id", "path", "relation", "score", "bytes", "width", "height", "modified"
    ]  # fmt: skip
    assert found._repr_html_().count("data:image/jpeg;base64,") == 4
    assert repr(found).startswith("<Duplicates 2 groups of copies among 7 images")
    assert repr(found).count(" keep ") == 2
    nothing = semret.duplicates(index, touching=found[0].kept.path, threshold=1)
    assert nothing.to_pandas().columns.tolist() == table.columns.tolist()


# In a terminal


@pytest.fixture
def busy_index(tmp_path):
    """An index whose pictures are neighbours by their pooled embeddings, but no copies: much is to be compared."""
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((400, 16, 16, 16)).astype(np.float32)
    maps[:, :, :, 0] += 8
    pooled = np.concatenate([np.ones((400, 1)), 0.1 * rng.standard_normal((400, 3))], axis=1).astype(np.float32)
    pooled[:3] *= -3
    semret.build(features=maps, pooled=pooled, index=tmp_path / ".semret")


@pytest.mark.usefixtures("index")
def test_a_terminal_shows_a_table_and_no_bar_is_left(terminal):
    run = terminal("duplicates", "--threshold", 0.9)
    assert run.end() == 0
    assert "comparing" not in run.screen
    assert "nothing was deleted" in run.screen.replace("\n", " ")
    assert not run.hidden_cursor


@pytest.mark.usefixtures("busy_index")
def test_interrupt_ends_it(terminal):
    run = terminal("duplicates", tiny=False)
    run.wait_for(re.compile(r"[1-9]/400").search)
    run.interrupt()
    assert run.end() == 130
    assert not run.hidden_cursor
