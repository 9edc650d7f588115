"""`semret query` with several pictures, with pictures to avoid, with filters, and with its page in the browser."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import sys
import webbrowser
from functools import partial
from pathlib import Path

import pytest

import semret
from semret.cli import app
from tests.support.commands import error_of, invoke


@pytest.fixture
def run(rendered_index, monkeypatch):
    monkeypatch.setenv("SEMRET_INDEX", str(rendered_index))
    return partial(invoke, app)


@pytest.fixture
def pictures(rendered):
    return sorted(rendered.glob("*.jpg"))


def document(result):
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_all_pictures_are_one_question_and_each_is_one_without(run, pictures, rendered_index):
    (together,) = document(run("query", *pictures[:2], "--all", "-k", 3, "--exclude-self", "--format", "json"))
    with semret.open(rendered_index) as engine:
        expected = engine.query_all(pictures[:2], k=3, exclude_self=True)
    assert [hit["id"] for hit in together["hits"]] == expected.ids
    assert [hit["score"] for hit in together["hits"]] == list(expected.scores)
    assert [one["name"] for one in together["pictures"]] == [str(picture) for picture in pictures[:2]]
    assert len(document(run("query", *pictures[:2], "-k", 3, "--format", "json"))) == 2


def test_pictures_are_avoided_by_every_question(run, pictures, rendered_index):
    answers = document(
        run("query", *pictures[:2], "--not", pictures[4], "--not", pictures[8], "--not-weight", 0.5, "--format", "json")
    )
    with semret.open(rendered_index) as engine:
        for answer, picture in zip(answers, pictures[:2], strict=True):
            expected = engine.query_all([picture], avoid=[pictures[4], pictures[8]], avoid_weight=0.5)
            assert [hit["id"] for hit in answer["hits"]] == expected.ids
            assert answer["stats"]["avoid_weight"] == 0.5


def test_ranks_are_combined_where_that_is_asked_for(run, pictures):
    result = run("query", *pictures[:3], "--all", "--combine", "ranks", "-k", 12)
    assert "mean of ranks" in result.stdout
    first = result.stdout.splitlines()[1].split()
    assert 0 < float(first[1]) <= 1


def test_a_picture_may_come_from_standard_input_and_one_only_once(run, pictures):
    (answer,) = document(
        run("query", pictures[0], "--not", "-", "-k", 2, "--format", "json", input=pictures[4].read_bytes())
    )
    assert [(one["name"], one["avoided"]) for one in answer["pictures"]] == [(str(pictures[0]), False), ("-", True)]
    refused = run("query", "-", "--not", "-", input=b"x")
    assert refused.exit_code == 2
    assert "- is given twice" in refused.stderr


def test_every_format_holds_several_pictures(run, pictures, tmp_path):
    ask = ["query", *pictures[:2], "--all", "--not", pictures[8], "-k", 2]
    rows = list(csv.DictReader(io.StringIO(run(*ask, "--format", "csv").stdout)))
    assert {row["query"] for row in rows} == {f"{pictures[0]} + {pictures[1]} - {pictures[8]}"}
    assert len(run(*ask, "--format", "paths").stdout.splitlines()) == 2
    page = tmp_path / "page.html"
    assert run(*ask, "--html", page).exit_code == 0
    text = page.read_text()
    assert text.count("<img") == 5
    assert f"and {pictures[1]}" in text
    assert f"not {pictures[8]}" in text


@pytest.mark.parametrize(
    ("options", "param", "expected"),
    [
        (["--combine", "ranks"], "--combine", "goes with --all or --not"),
        (["--not-weight", 1], "--not-weight", "goes with --not"),
        (["--all", "--text", "a"], "--all", "a sentence has no patches"),
        (["--not", "x.jpg", "--text", "a"], "--not", "a sentence has no patches"),
        (["--all", "--not-weight", -1, "--not", "x"], "--not-weight", "greater than or equal to 0"),
        (["--thumbnails", "--format", "json"], "--thumbnails", "goes with --format table"),
    ],
    ids=str,
)
def test_options_that_would_do_nothing_are_refused(run, pictures, options, param, expected):
    result = run("query", pictures[0], *options)
    assert result.exit_code == 2
    assert param in result.stderr
    assert expected in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--all", "--region", "0,0,9,9"], "region 0,0,9,9 is a part of one picture, but 2 are searched with"),
        (["--all", "--explain", "--format", "json"], "explanations are of the score with one picture"),
        (["--folder", "nowhere"], "no image of the index lies in a folder nowhere"),
        (["--since", "yesterday"], "since is 'yesterday', expected a date such as 2024-05-17"),
        (["--since", "2024", "--until", "2023"], "since 2024 is after until 2023; no image can be of that time"),
        (["--min-score", "nan"], "min_score is nan, expected a finite number"),
        (["--not", "nowhere.jpg"], "nowhere.jpg"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_one_line(run, pictures, options, expected):
    result = run("query", *pictures[:2], *options)
    assert expected in error_of(result)


def test_an_unreadable_picture_of_several_ends_their_question(run, pictures, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    result = run("query", pictures[0], broken, "--all")
    assert result.exit_code == 1
    assert result.stdout.strip() == ""
    assert "broken.jpg" in result.stderr


def test_filters_are_those_of_python(run, pictures, rendered, rendered_index):
    year = str(2000)
    past = pictures[5]
    (answer,) = document(run("query", pictures[0], "-k", 20, "--folder", rendered, "--format", "json"))
    assert len(answer["hits"]) == 12
    assert answer["stats"]["allowed"] == 12
    (answer,) = document(run("query", past, "--until", year, "--format", "json"))
    assert answer["hits"] == []
    least = document(run("query", pictures[0], "-k", 20, "--format", "json"))[0]["hits"][2]["score"]
    (answer,) = document(run("query", pictures[0], "-k", 20, "--min-score", least, "--format", "json"))
    assert len(answer["hits"]) == 3
    result = run("query", pictures[0], "-k", 20, "--min-score", least)
    assert result.stderr == f"semret: only 3 candidates reached a score of {least:g}\n"
    listed = "\n".join(map(str, pictures))
    result = run(
        "rerank", "--query", pictures[0], "--candidates", "-", "--min-score", least, "--folder", rendered,
        "--format", "json", input=listed.encode(),
    )  # fmt: skip
    assert len(document(result)[0]["hits"]) == 3


def test_the_page_names_the_filters(run, pictures, rendered, tmp_path):
    page = tmp_path / "page.html"
    run("query", pictures[0], "--folder", rendered, "--since", "2001", "--min-score", 0.1, "--html", page)
    assert f"in {rendered} · since 2001 · score at least 0.1" in page.read_text()


@pytest.fixture
def browser(monkeypatch):
    """The pages that a browser was asked for; it prints a line on file descriptor 1, as browsers do."""
    opened = []

    def open_page(address):
        os.write(1, b"opening in existing session\n")
        opened.append(address)
        return True

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", open_page)
    return opened


@pytest.fixture
def temporary(monkeypatch, tmp_path):
    """Where temporary files are made."""
    folder = tmp_path / "temporary files"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_the_page_is_shown_in_the_browser(run, pictures, browser, temporary, capfd):
    result = run("query", pictures[0], "-k", 2, "--open", "--format", "json")
    assert len(document(result)) == 1
    (page,) = temporary.iterdir()
    assert browser == [page.as_uri()]
    assert page.read_text().count("<img") == 3
    if os.name == "posix":
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert result.stderr == f"semret: {page} is opened in the browser\n"
    out, err = capfd.readouterr()
    assert (out, err) == ("", "opening in existing session\n")


def test_the_page_that_was_named_is_shown(run, pictures, browser, temporary, tmp_path):
    page = tmp_path / "über uns.html"
    assert run("query", pictures[0], "-k", 1, "--html", page, "--open", "--explain").exit_code == 0
    assert browser == [page.as_uri()]
    assert list(temporary.iterdir()) == []
    assert page.read_text().count("how the query and this picture match") == 1


@pytest.mark.parametrize("trouble", ["none", "error", "refused"])
def test_without_a_browser_one_line_says_where_the_page_is(run, pictures, temporary, monkeypatch, trouble):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    if trouble != "none":
        monkeypatch.setenv("BROWSER", "nothing")
    elif sys.platform in ("darwin", "win32"):
        pytest.skip("has a screen whatever the environment says")

    def refuse(address):
        if trouble == "error":
            raise webbrowser.Error("could not locate runnable browser")
        assert trouble == "refused"
        return False

    monkeypatch.setattr(webbrowser, "open", refuse)
    result = run("query", pictures[0], "-k", 1, "--open")
    (page,) = temporary.iterdir()
    assert result.exit_code == 0
    assert result.stderr == f"semret: found no browser; the page is {page}\n"


def test_a_page_that_cannot_be_made_is_one_line(run, pictures, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    result = run("query", pictures[0], "-k", 1, "--open", "--format", "paths")
    assert result.exit_code == 1
    assert result.stderr.startswith("semret: cannot make a temporary file: ")
    assert Path(result.stdout.strip()) == pictures[0]


@pytest.mark.skipif(os.name != "posix", reason="a folder in use can be deleted on POSIX alone")
@pytest.mark.parametrize("options", [["--folder", "c"], ["--not", "c.jpg"]], ids=str)
def test_in_a_folder_that_was_deleted_relative_names_are_refused(run, pictures, tmp_path, monkeypatch, options):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = run("query", pictures[0], *options)
    assert f"the current folder was deleted: change to another, or name {options[1]}" in error_of(result)
