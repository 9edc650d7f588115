"""Lists of candidates as people, programs and semret itself write them; queries that are no files."""

import codecs
import csv
import http.server
import io
import json
import os
import shutil
import threading
import unicodedata
from functools import partial

import pytest

from semret.cli import app
from semret.commands import candidates
from semret.index.care.maintain import remove
from semret.index.sync.sync import sync
from tests.support.commands import invoke


@pytest.fixture
def index(tmp_path, photos, tiny_backbone, monkeypatch):
    """Six pictures, two of which are copies of 0.png; one has an accent, one a backslash; the folder is current."""
    shutil.copy(photos / "0.png", photos / "copy.png")
    shutil.copy(photos / "1.png", photos / unicodedata.normalize("NFD", "café.png"))
    (photos / "5.png").rename(photos / "back\\slash.png")
    monkeypatch.delenv("SEMRET_INDEX", raising=False)
    monkeypatch.chdir(tmp_path)
    sync(tmp_path / ".semret", ["photos"], tiny_backbone)
    return tmp_path / ".semret"


@pytest.fixture
def run(index):
    return partial(invoke, app)


@pytest.fixture
def order(run, photos):
    """Return the function that reranks a list, given as text or bytes, and returns the paths."""

    def rerank(content, *options):
        found = run(
            "rerank", "--query", photos / "0.png", "--candidates", "-", "--format", "json", *options, input=content
        )
        assert found.exit_code == 0, found.stderr
        return [path.rsplit("/", 1)[-1] for hit in json.loads(found.stdout)[0]["hits"] for path in hit["paths"]]

    return rerank


@pytest.mark.parametrize("format_", ["jsonl", "json", "csv", "paths"])
def test_what_query_prints_rerank_reads(run, order, photos, format_):
    printed = run("query", photos / "0.png", "-k", 9, "--format", format_)
    assert printed.exit_code == 0
    assert sorted(order(printed.stdout)) == sorted(path.name for path in photos.iterdir())
    zeros = run("query", photos / "0.png", "-k", 9, "--format", "paths", "--print0").stdout_bytes
    assert order(zeros) == order(printed.stdout)


def test_lines_of_several_queries_are_one_list(run, order, photos):
    printed = run("query", photos / "0.png", photos / "3.png", "-k", 1, "--format", "jsonl")
    assert set(order(printed.stdout)) == {"0.png", "copy.png", "3.png"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_of_other_systems(order, encoding, end):
    text = end.join(["photos/3.png", unicodedata.normalize("NFC", "photos/café.png"), "photos/2.png", ""])
    assert set(order(text.encode(encoding))) == {"3.png", unicodedata.normalize("NFD", "café.png"), "2.png"}


def test_big_endian_lists(order):
    assert order(codecs.BOM_UTF16_BE + "photos/3.png\n".encode("utf-16-be")) == ["3.png"]


def test_paths_relative_to_the_root_or_absolute(run, index, photos, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    listed = elsewhere / "list.txt"
    listed.write_text(f"photos/2.png\n{photos / '3.png'}\n../photos/4.png\n  photos/1.png  \n")
    arguments = ["--query", photos / "0.png", "--candidates", listed, "--index", index, "--format", "paths"]
    found = run("rerank", *arguments)
    assert found.stderr == ""
    assert {os.path.basename(line) for line in found.stdout.splitlines()} == {"1.png", "2.png", "3.png", "4.png"}  # noqa: PTH119


def test_names_composed_in_part_are_found(tmp_path, photos, run, order, tiny_backbone):
    mixed = unicodedata.normalize("NFD", "é") + unicodedata.normalize("NFC", "ü") + ".png"
    (photos / "2.png").rename(photos / mixed)
    sync(tmp_path / ".semret", [photos], tiny_backbone)
    assert order("photos/éü.png\n") == [mixed]


def test_a_printed_backslash_is_read_back(run, order, photos):
    printed = run("query", photos / "back\\slash.png", "-k", 1, "--format", "paths").stdout
    assert printed.rstrip().endswith(r"back\\slash.png")
    assert order(printed) == order("photos/back\\slash.png\n") == ["back\\slash.png"]


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
@pytest.mark.parametrize("name", ["{brace}.png", "[1].png", "12", "a\x0bb.png", "\u2028.png", " space .png"])
def test_names_that_look_like_something_else(tmp_path, photos, run, order, tiny_backbone, name):
    (photos / "2.png").rename(tmp_path / name)
    sync(tmp_path / ".semret", [photos, tmp_path / name], tiny_backbone)
    assert order(f"{name}\n") == [name]


def test_a_stale_line_is_reported_and_passed_over(run, photos):
    found = run(
        "rerank",
        "--query",
        photos / "0.png",
        "--candidates",
        "-",
        "--format",
        "paths",
        input="photos/3.png\ngone.png\n",
    )
    assert (found.exit_code, found.stdout) == (0, "photos/3.png\n")
    assert found.stderr == "semret: -, line 2: gone.png is not in the index, passed over\n"


def test_many_stale_lines_are_counted(run, photos):
    lines = "".join(f"gone-{n}.png\n" for n in range(20))
    found = run("rerank", "--query", photos / "0.png", "--candidates", "-", input=f"1\n{lines}")
    assert found.exit_code == 0
    assert len(found.stderr.splitlines()) == 6
    assert "15 more candidates" in found.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"gone.png\nlost.png\n", ["none of the 2 candidates", "line 1", "gone.png", "not in the index"]),
        (b'{"hits": []}\n', ["no candidates"]),
        (b'{"hits": [{"name": 1}]}\n', ["entry 1", '"id"', '"path"']),
        (b"[" * 100_000, ["not in the index"]),
        (b"{" * 100_000, ["line 1", "JSON"]),
        (b'{"id": ' + b"9" * 5000 + b"}\n", ["line 1", "JSON"]),
        (b"9" * 5000, ["not in the index"]),
        (b'{"id": 1180591620717411303424}\n', ["not in the index"]),
        (b'{"id": true}\n', ['"id"']),
        (b"[null]", ["entry 1", "expected an id"]),
        (codecs.BOM_UTF16_LE + b"a", ["UTF-16"]),
        (b"query,id,path\n,,\n", ["line 2", '"id"', '"path"']),
    ],
)
def test_lists_that_name_nothing(run, photos, content, words):
    found = run("rerank", "--query", photos / "0.png", "--candidates", "-", input=content)
    assert found.exit_code == 1
    assert found.stderr.count("\n") == 1
    assert all(word in found.stderr for word in words), found.stderr[:500]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names there")
def test_a_planted_pipe_is_refused_and_an_inherited_one_read(run, photos, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    found = run("rerank", "--query", photos / "0.png", "--candidates", tmp_path / "pipe")
    assert found.exit_code == 1
    assert "is a named pipe" in found.stderr
    reading, writing = os.pipe()
    os.write(writing, b"photos/3.png\n")
    os.close(writing)
    arguments = ["--query", photos / "0.png", "--candidates", f"/dev/fd/{reading}", "--format", "paths"]
    assert run("rerank", *arguments).stdout == "photos/3.png\n"
    os.close(reading)


def test_a_list_is_bounded(run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(candidates, "MAX_BYTES", 10)
    long = tmp_path / "long.txt"
    long.write_text("photos/3.png\n")
    for name in (long, "-"):
        found = run("rerank", "--query", photos / "0.png", "--candidates", name, input="photos/3.png\n")
        assert found.exit_code == 1
        assert "10" in found.stderr


def test_copies_and_marks_are_in_every_format(run, photos):
    arguments = ["query", photos / "0.png", "-k", 2, "--shortlist", 2, "--exhaustive"]
    said = "a shortlist of 2 would have missed"
    table = run(*arguments)
    assert "also photos/copy.png" in table.stdout
    assert "in shortlist" in table.stdout
    assert said in table.stdout
    (answer,) = json.loads(run(*arguments, "--format", "json").stdout)
    assert answer["hits"][0]["paths"] == ["photos/0.png", "photos/copy.png"]
    assert all(isinstance(hit["in_shortlist"], bool) for hit in answer["hits"])
    rows = list(csv.DictReader(io.StringIO(run(*arguments, "--format", "csv").stdout)))
    assert [(row["rank"], row["path"]) for row in rows][:2] == [("1", "photos/0.png"), ("1", "photos/copy.png")]
    assert {row["in_shortlist"] for row in rows} <= {"yes", "no"}
    for format_ in ("json", "jsonl", "csv", "paths"):
        shown = run(*arguments, "--format", format_)
        assert shown.stderr.startswith(f"semret: {said}")
        assert "copy.png" in shown.stdout


def test_the_query_is_left_out(run, photos):
    shown = run("query", photos / "0.png", "-k", 9, "--exclude-self", "--format", "paths")
    assert "photos/0.png" not in shown.stdout
    assert "copy.png" not in shown.stdout
    shown = run("rerank", "--query", photos / "0.png", "--exclude-self", "--candidates", "-", input="1\n2\n3\n")
    assert "0.png" not in shown.stdout


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_a_spreadsheet_sees_no_formula(run, photos, tmp_path, tiny_backbone, order):
    (photos / "2.png").rename(tmp_path / "=cmd();=x.png")
    (photos / "3.png").rename(tmp_path / "'=quoted.png")
    sync(tmp_path / ".semret", [photos, tmp_path / "=cmd();=x.png", tmp_path / "'=quoted.png"], tiny_backbone)
    shown = run("query", "=cmd();=x.png", "-k", 9, "--format", "csv").stdout
    assert '"\'=cmd();=x.png"' in shown
    assert {"=cmd();=x.png", "'=quoted.png"} <= set(order(shown))


def test_a_sentence_cannot_be_left_out(run):
    found = run("query", "--text", "a mug", "--exclude-self")
    assert found.exit_code == 2
    assert "give an IMAGE too" in found.output


def test_a_picture_from_standard_input(run, photos):
    data = (photos / "0.png").read_bytes()
    shown = run("query", "-", "-k", 1, "--format", "json", input=data)
    (answer,) = json.loads(shown.stdout)
    assert (answer["query"], answer["hits"][0]["path"]) == ("-", "photos/0.png")
    listed = photos.parent / "list.txt"
    listed.write_text("3\n1\n")
    shown = run("rerank", "--query", "-", "--candidates", listed, "--format", "paths", input=data)
    assert shown.stdout.splitlines()[0] == "photos/0.png"


@pytest.mark.parametrize("arguments", [["query", "-", "-"], ["rerank", "--query", "-", "--candidates", "-"]])
def test_standard_input_is_read_once(run, arguments):
    found = run(*arguments, input=b"1\n")
    assert found.exit_code == 2
    assert "once" in found.output


def test_standard_input_without_a_picture(run):
    for data in (b"", b"no picture"):
        found = run("query", "-", "-k", 1, input=data)
        assert found.exit_code == 1
        assert found.stderr.count("\n") == 1


def test_a_picture_from_the_web(run, photos):
    handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *arguments: handler(*arguments, directory=str(photos))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        shown = run("query", f"{address}/0.png", f"{address}/gone.png", "-k", 1, "--format", "json")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert json.loads(shown.stdout)[0]["hits"][0]["path"] == "photos/0.png"
    assert shown.exit_code == 1
    assert "gone.png" in shown.stderr
    assert "404" in shown.stderr


def test_an_index_above_the_picture_is_found(run, photos, tmp_path, monkeypatch):
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert "0.png" in run("query", photos / "0.png", "-k", 1, "--format", "paths").stdout
    shown = run("rerank", "--query", photos / "0.png", "--candidates", "-", "--format", "paths", input="photos/3.png\n")
    assert shown.stdout.rstrip().endswith("3.png")
    assert run("query", "-", input=b"x").exit_code == 1


@pytest.mark.parametrize(
    "command", [["query", "photos/0.png"], ["rerank", "--query", "photos/0.png", "--candidates", "-"]]
)
def test_an_empty_index_says_so(run, index, photos, command):
    remove(index, [photos])
    found = run(*command, input="1\n")
    assert found.exit_code == 1
    assert found.stderr.startswith("semret: the index ")
    assert "is empty; run semret index PATH" in found.stderr
