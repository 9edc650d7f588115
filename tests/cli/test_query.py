"""`semret query` and `semret rerank`: every format, every refusal."""

import csv
import io
import json
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from semret.cli import app
from tests.support.commands import error_of, invoke


@pytest.fixture
def run(rendered_index, monkeypatch):
    monkeypatch.setenv("SEMRET_INDEX", str(rendered_index))
    return partial(invoke, app)


@pytest.fixture
def picture(rendered):
    return sorted(rendered.glob("*.jpg"))[3]


def test_table_shows_the_picture_itself_first(run, picture):
    result = run("query", picture, "-k", 3)
    header, first, *rest, counts, proven = result.stdout.splitlines()
    assert counts.startswith("12 images searched · 12 candidates · ")
    assert proven == "exact among the shortlist's candidates"
    assert header.split() == ["rank", "score", "pooled", "id", "path"]
    assert first.split()[:3] == ["1", "1.0000", "1.0000"]
    assert first.endswith(picture.name)
    assert len(rest) == 2
    assert result.stderr == ""


def test_json_has_the_documented_keys(run, picture):
    (answer,) = json.loads(run("query", picture, "-k", 3, "--format", "json").stdout)
    assert set(answer) == {"query", "hits", "stats"}
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3]
    assert set(answer["hits"][0]) == {
        "rank", "id", "path", "score", "pooled_score", "ids", "paths", "in_shortlist",
    }  # fmt: skip
    assert {"database", "shortlist", "solved", "pruned", "exact", "exact_among_candidates", "seconds"} <= set(
        answer["stats"]
    )
    assert set(answer["stats"]["seconds"]) == {"embed", "shortlist", "read", "match"}
    scores = [hit["score"] for hit in answer["hits"]]
    assert scores == sorted(scores, reverse=True)


def test_jsonl_has_a_line_for_each_query(run, rendered):
    first, second = sorted(rendered.glob("*.jpg"))[:2]
    lines = run("query", first, second, "-k", 1, "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["query"] for line in lines] == [str(first), str(second)]


def test_csv_and_paths_agree_with_json(run, picture):
    (answer,) = json.loads(run("query", picture, "--format", "json").stdout)
    rows = list(csv.DictReader(io.StringIO(run("query", picture, "--format", "csv").stdout)))
    assert [row["path"] for row in rows] == [hit["path"] for hit in answer["hits"]]
    assert [float(row["score"]) for row in rows] == [hit["score"] for hit in answer["hits"]]
    paths = run("query", picture, "--format", "paths").stdout.splitlines()
    assert paths == [hit["path"] for hit in answer["hits"]]


def test_print0_ends_paths_with_zero_bytes(run, picture):
    shown = run("query", picture, "-k", 2, "--format", "paths", "--print0").stdout_bytes
    assert shown.endswith(b"\0")
    assert shown.count(b"\0") == 2
    assert b"\n" not in shown


def test_html_is_self_contained_and_shows_every_picture(run, picture, tmp_path):
    page = tmp_path / "hits.html"
    done = run("query", picture, "-k", 4, "--html", page)
    assert (done.exit_code, done.stderr) == (0, f"semret: page written to {page}\n")
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 5
    assert "http" not in text.split("<body>")[1]


def test_a_file_name_cannot_write_html(run, rendered, tmp_path):
    evil = tmp_path / "<script>alert(1)<&script>.jpg"
    evil.write_bytes(sorted(rendered.glob("*.jpg"))[0].read_bytes())
    page = tmp_path / "hits.html"
    assert run("query", evil, "--html", page).exit_code == 0
    assert "<script>" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("invariance", ["permutation", "none", "maxsim", "pooled"])
@pytest.mark.parametrize("center", ["channel", "position", "none"])
def test_an_image_scores_one_against_itself(run, picture, invariance, center):
    shown = run("query", picture, "-k", 1, "--invariance", invariance, "--center", center, "--format", "json")
    (hit,) = json.loads(shown.stdout)[0]["hits"]
    assert hit["score"] == pytest.approx(1, abs=1e-6)
    assert Path(hit["path"]).name == picture.name


@pytest.mark.parametrize("kernel", ["cosine", "linear", "rbf"])
def test_every_kernel_finds_the_picture_itself(run, picture, kernel):
    (answer,) = json.loads(run("query", picture, "--kernel", kernel, "--format", "json").stdout)
    assert picture.name in [Path(hit["path"]).name for hit in answer["hits"]]


@pytest.mark.parametrize("solver", ["auction", "scipy", "ortools"])
def test_exact_solvers_give_the_same_order(run, picture, solver):
    (answer,) = json.loads(run("query", picture, "--solver", solver, "--format", "json").stdout)
    (reference,) = json.loads(run("query", picture, "--solver", "scipy", "--format", "json").stdout)
    assert [hit["id"] for hit in answer["hits"]] == [hit["id"] for hit in reference["hits"]]
    assert [hit["score"] for hit in answer["hits"]] == pytest.approx([hit["score"] for hit in reference["hits"]])
    assert answer["stats"]["exact"] is True


def test_exhaustive_searches_everything_and_reports_recall(run, rendered, picture):
    (answer,) = json.loads(run("query", picture, "-k", 3, "--exhaustive", "--format", "json").stdout)
    images = len(list(rendered.glob("*.jpg")))
    assert answer["stats"]["shortlist"] == answer["stats"]["database"] == images
    assert answer["stats"]["shortlist_recall"] == 1.0


@pytest.mark.parametrize("options", [["--exhaustive"], ["--region", "0%,0%,50%,50%"]], ids=str)
def test_a_device_that_cannot_compare_is_said(run, picture, options):
    plain = run("query", picture, "-k", 2, *options)
    done = run("query", picture, "-k", 2, *options, "--device", "cuda:77")
    assert (done.stdout, plain.stderr) == (plain.stdout, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("semret: compared on the processor: ")
    # A shortlist is matched on the processor anyway, and a picture that is indexed needs no network.
    assert run("query", picture, "-k", 2, "--device", "cuda:77").stderr == ""


def test_a_new_picture_is_embedded(run, picture, tmp_path):
    changed = tmp_path / "turned.png"
    with Image.open(picture) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(changed)
    (answer,) = json.loads(run("query", changed, "-k", 1, "--format", "json").stdout)
    assert Path(answer["hits"][0]["path"]).name == picture.name
    assert answer["hits"][0]["score"] < 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-k", "0"], ["k is 0", "expected at least 1"]),
        (["-k", "5", "--shortlist", "2"], ["shortlist", "2", "k is 5"]),
        (["--solver", "magic"], ["magic", "auction"]),
    ],
)
def test_options_out_of_range_are_refused(run, picture, options, words):
    message = error_of(run("query", picture, *options))
    assert all(word in message for word in words), message


def test_fewer_pictures_than_hits_is_a_note(run, rendered, picture):
    images = len(list(rendered.glob("*.jpg")))
    shown = run("query", picture, picture, "-k", 100, "--format", "paths")
    assert shown.exit_code == 0
    assert len(shown.stdout.splitlines()) == 2 * images
    assert shown.stderr == f"semret: 100 hits were asked for, there are {images}\n"
    shown = run("rerank", "--query", picture, "--candidates", "-", "-k", 9, input="1\n2\n")
    assert (shown.exit_code, shown.stderr) == (0, "semret: 9 hits were asked for, there are 2\n")


def test_an_unreadable_query_is_named_and_the_others_answered(run, picture, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    result = run("query", broken, picture, "-k", 1, "--format", "paths")
    (answer,) = result.stdout.splitlines()
    assert answer.endswith(picture.name)
    assert "broken.jpg" in error_of(result, printed=f"{answer}\n")


def test_a_missing_query_is_named(run, tmp_path):
    assert "nowhere.jpg" in error_of(run("query", tmp_path / "nowhere.jpg"))


def test_no_index_says_how_to_make_one(run, picture, tmp_path):
    assert "semret index" in error_of(run("query", picture, "--index", tmp_path / "none"))


def test_no_query_is_a_usage_error(run):
    assert run("query").exit_code == 2


def test_text_needs_a_text_tower(run):
    assert "text" in error_of(run("query", "--text", "a red mug"))


def test_rerank_orders_ids_and_paths_from_a_file(run, rendered, picture, tmp_path):
    (answer,) = json.loads(run("query", picture, "--format", "json").stdout)
    hits = answer["hits"]
    candidates = tmp_path / "candidates.txt"
    candidates.write_text(f"{hits[2]['id']}\n{hits[0]['path']}\n" + json.dumps({"id": hits[4]["id"]}) + "\n")
    shown = run("rerank", "--query", picture, "--candidates", candidates, "--format", "json")
    (reranked,) = json.loads(shown.stdout)
    assert [hit["id"] for hit in reranked["hits"]] == [hits[place]["id"] for place in (0, 2, 4)]
    assert [hit["score"] for hit in reranked["hits"]] == [hits[place]["score"] for place in (0, 2, 4)]


def test_rerank_reads_candidates_from_standard_input(run, picture):
    shown = run("rerank", "--query", picture, "--candidates", "-", "--format", "json", input="1\n2\n2\n")
    assert sorted(hit["id"] for hit in json.loads(shown.stdout)[0]["hits"]) == [1, 2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["no candidates"]),
        ("123456\n", ["123456", "not in the index"]),
        ("nowhere.jpg\n", ["nowhere.jpg", "not in the index"]),
        ("{bad\n", ["line 1", "JSON"]),
        ('{"name": 1}\n', ["line 1", "id", "path"]),
    ],
)
def test_rerank_refuses_what_is_no_candidate(run, picture, content, words):
    message = error_of(run("rerank", "--query", picture, "--candidates", "-", input=content))
    assert all(word in message for word in words), message


def test_a_folder_is_no_query(run, rendered):
    line = f"{rendered}: is a folder, expected a picture; semret index makes folders searchable"
    assert error_of(run("query", rendered)) == f"semret: {line}\n"
