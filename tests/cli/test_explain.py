"""``semret query --explain`` and ``semret rerank --explain``: JSON, the page, and one line for what is refused."""

import json
import math
import re
from functools import partial

import pytest

from semret.cli import app
from tests.support.commands import error_of, invoke


@pytest.fixture
def run(rendered_index, monkeypatch):
    monkeypatch.setenv("SEMRET_INDEX", str(rendered_index))
    return partial(invoke, app)


@pytest.fixture
def picture(rendered):
    return sorted(rendered.glob("*.jpg"))[3]


def test_json_has_an_explanation_for_each_hit(run, picture):
    (answer,) = json.loads(run("query", picture, "-k", 3, "--explain", "--format", "json").stdout)
    for hit in answer["hits"]:
        explanation = hit["explanation"]
        assert explanation["image"]["id"] == hit["id"]
        assert math.fsum(pair["share"] for pair in explanation["pairs"]) == explanation["score"] == hit["score"]
    (plain,) = json.loads(run("query", picture, "-k", 3, "--format", "json").stdout)
    assert "explanation" not in plain["hits"][0]


def test_json_lines_and_rerank_have_them_too(run, picture, tmp_path):
    line = json.loads(run("query", picture, "-k", 2, "--explain", "--format", "jsonl").stdout)
    (tmp_path / "list").write_text("3\n5\n")
    given = run("rerank", "--query", picture, "--candidates", tmp_path / "list", "--explain", "--format", "json")
    assert len(line["hits"][0]["explanation"]["pairs"]) == 16
    assert [hit["explanation"]["image"]["id"] for hit in json.loads(given.stdout)[0]["hits"]] != []


def test_the_page_shows_drawings(run, picture, tmp_path):
    plain, explained = tmp_path / "plain.html", tmp_path / "explained.html"
    run("query", picture, "-k", 2, "--html", plain)
    table = run("query", picture, "-k", 2, "--explain", "--html", explained).stdout
    assert "rank" in table
    page = explained.read_text()
    assert page.count("data:image/jpeg;base64,") == 3
    assert page.count("how the query and this picture match: ") == 2
    assert '<ol class="explained">' in page
    assert '<ol class="explained">' not in plain.read_text()
    assert "default-src 'none'; img-src data:" in page
    assert not re.search(r"<script|http://|https://", page)
    assert len(page) < 3 * 400_000


@pytest.mark.parametrize("format_", ["table", "csv", "paths"])
def test_formats_without_room_refuse(run, picture, format_):
    result = run("query", picture, "--explain", "--format", format_)
    assert result.exit_code == 2
    assert f"--format {format_} has no room for explanations" in " ".join(result.stderr.split())


def test_what_has_no_shares_is_one_line(run, picture):
    for option, value in (("--kernel", "rbf"), ("--invariance", "pooled")):
        result = run("query", picture, "--explain", "--format", "json", option, value)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert f"{option[2:]} {value}" in error_of(result)


def test_a_sentence_has_nothing_to_explain(run):
    result = run("query", "--text", "a red box", "--explain", "--format", "json")
    assert result.exit_code == 2
    assert "a sentence has no patches" in " ".join(result.stderr.split())
