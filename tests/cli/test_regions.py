"""``semret query --region`` and ``semret rerank --region``: formats, the page, and one line for what is refused."""

import csv
import io
import json
from functools import partial

import pytest
from PIL import Image

from semret.cli import app
from semret.index.backbones import registry
from tests.support.commands import error_of, invoke

BOX = ("--region", "25%,25%,50%,50%")


@pytest.fixture
def run(rendered_index, monkeypatch):
    monkeypatch.setenv("SEMRET_INDEX", str(rendered_index))
    return partial(invoke, app)


@pytest.fixture
def picture(rendered):
    return sorted(rendered.glob("*.jpg"))[3]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a network is loaded")

    monkeypatch.setattr(registry, "create_backbone", refuse)


def test_json_names_the_region_in_pixels(run, picture, no_network):
    (answer,) = json.loads(run("query", picture, *BOX, "-k", 3, "--format", "json").stdout)
    assert answer["region"] == {
        "x": 160, "y": 120, "width": 320, "height": 240, "picture": [640, 480], "patches": 4,
    }  # fmt: skip
    assert answer["stats"]["candidates"] == "all"
    assert answer["stats"]["score"] == "query"
    assert answer["hits"][0]["score"] == pytest.approx(1, abs=1e-6)
    (pixels,) = json.loads(run("query", picture, "--region", "160,120,320,240", "-k", 3, "--format", "json").stdout)
    assert pixels["hits"] == answer["hits"]


def test_the_other_formats_agree(run, picture):
    (answer,) = json.loads(run("query", picture, *BOX, "--format", "json").stdout)
    paths = [hit["path"] for hit in answer["hits"]]
    assert run("query", picture, *BOX, "--format", "paths").stdout.splitlines() == paths
    rows = csv.DictReader(io.StringIO(run("query", picture, *BOX, "--format", "csv").stdout))
    assert [row["path"] for row in rows] == paths
    (line,) = run("query", picture, *BOX, "--format", "jsonl").stdout.splitlines()
    assert json.loads(line)["region"] == answer["region"]


def test_the_table_says_which_region_and_that_all_was_compared(run, picture):
    lines = run("query", picture, *BOX).stdout.splitlines()
    assert lines[-3] == "region 160,120,320,240 of 640 x 480 pixels, 4 of 16 patches"
    assert lines[-1] == "exact over the whole index"


def test_exclude_self_and_shortlist(run, picture):
    (answer,) = json.loads(
        run("query", picture, *BOX, "--exclude-self", "--shortlist", 4, "-k", 2, "--format", "json").stdout
    )
    assert picture.name not in "".join(hit["path"] for hit in answer["hits"])
    assert (answer["stats"]["candidates"], answer["stats"]["shortlist"]) == ("shortlist", 4)


def test_standard_input_has_regions_too(run, picture):
    (answer,) = json.loads(run("query", "-", *BOX, "--format", "json", input=picture.read_bytes()).stdout)
    assert answer["hits"][0]["path"].endswith(picture.name)
    assert answer["region"]["width"] == 320


def test_a_new_picture_is_cut_as_a_stored_one(run, picture, tmp_path):
    copy = tmp_path / "new.bmp"
    with Image.open(picture) as image:
        image.save(copy)
    answers = [json.loads(run("query", path, *BOX, "-k", 12, "--format", "json").stdout)[0] for path in (picture, copy)]
    assert answers[0]["region"] == answers[1]["region"]
    stored, new = ([(hit["id"], hit["score"]) for hit in answer["hits"]] for answer in answers)
    assert [id_ for id_, _ in stored] == [id_ for id_, _ in new]
    assert [score for _, score in new] == pytest.approx([score for _, score in stored], abs=5e-3)


def test_the_page_draws_the_box_on_the_query_alone(run, picture, tmp_path):
    page = tmp_path / "hits.html"
    assert run("query", picture, *BOX, "-k", 2, "--html", page).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert text.count('<div class="region" style="left:25.000%;top:25.000%;width:50.000%;height:50.000%">') == 1
    assert "region 25%,25%,50%,50%" in text


def test_rerank_takes_a_region(run, picture, rendered, tmp_path):
    names = tmp_path / "names"
    names.write_text("\n".join(str(path) for path in sorted(rendered.glob("*.jpg"))[2:6]), encoding="utf-8")
    (answer,) = json.loads(run("rerank", "--query", picture, "--candidates", names, *BOX, "--format", "json").stdout)
    assert len(answer["hits"]) == 4
    assert answer["hits"][0]["path"].endswith(picture.name)
    assert answer["region"]["patches"] == 4
    assert answer["stats"]["candidates"] == "given"


def test_score_query_for_a_whole_picture(run, picture):
    (answer,) = json.loads(run("query", picture, "--score", "query", "-k", 2, "--format", "json").stdout)
    assert answer["stats"]["score"] == "query"
    assert answer["stats"]["candidates"] == "shortlist"
    assert answer["hits"][0]["score"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--region", "1,2,3"), "has 3 of four numbers"),
        (("--region", "1,2,3,4,5"), "has 5 of four numbers"),
        (("--region", "nan,0,1,1"), "for a number"),
        (("--region=-1,0,9,9"), "begins outside the picture"),
        (("--region", "0,0,0,9"), "is empty"),
        (("--region", "640,0,9,9"), "lies outside the picture, which has 640 x 480 pixels"),
        ((*BOX, "--kernel", "rbf"), "kernel rbf does not apply"),
        ((*BOX, "--invariance", "none"), "none does not apply"),
        ((*BOX, "--score", "symmetric"), "leave the score out, or the region"),
        (("--score", "query", "--invariance", "pooled"), "pooled does not apply"),
    ],
)
def test_what_makes_no_sense_is_one_line(run, picture, no_network, arguments, message):
    words = (arguments,) if isinstance(arguments, str) else arguments
    assert message in error_of(run("query", picture, *words))


def test_a_sentence_has_no_region(run):
    result = run("query", "--text", "a chair", *BOX)
    assert result.exit_code == 2
    assert "a sentence has no regions" in result.stderr


def test_a_bar_is_drawn_while_all_is_compared(terminal, tiny_index, draw_picture, tmp_path):
    draw_picture(50).save(tmp_path / "new.png")
    done = terminal("query", "new.png", "--region", "0%,0%,50%,50%", "-k", 2, embed=1)
    done.wait_for("comparing")
    assert done.end() == 0
    assert "comparing" not in done.screen
    assert "exact over the whole index" in done.screen
    assert not done.hidden_cursor
