"""``semret tokens`` into tables: Parquet files and Lance data sets, with ids, paths, contents and pooled embeddings."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from pyarrow import parquet

import semret
from semret.cli import app
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from semret.names import unescaped
from tests.support.commands import error_of, invoke
from tests.support.networks import TinyBackbone
from tests.support.places import with_root
from tests.support.processes import command_of

HOSTILE = (
    b"new\nline.png",
    b"tab\tand \\ backslash.png",
    b"undecodable \xff\xfe.png",
    "right \u202e to left.png".encode(),
    b"=1+1.png",
    "e\u0301 and \u00e9.png".encode(),
)


@pytest.fixture
def engine(tmp_path, photos):
    """An index of integers."""
    sync(tmp_path / "coded", [photos], TinyBackbone, options=SyncOptions(codec="pca8-int8", fit_from=2))
    with semret.open_index(tmp_path / "coded") as opened:
        yield opened


def lance(expected=0, **job):
    """Have a job done by `tests.support.lance_driver`; return what it printed."""
    done = subprocess.run(
        [*command_of("lance_driver"), json.dumps(job, default=str)],
        capture_output=True, text=True, env=with_root(), timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == expected, done.stderr
    assert "WARN" not in done.stderr
    return json.loads(done.stdout) if done.stdout else None


def read_lance(path):
    """Return the rows of a data set, its version and its metadata."""
    into = path.with_suffix(".read.parquet")
    found = lance(read=path, to=into)
    return parquet.read_table(into), found["version"], found["metadata"]


def stacked(column):
    """Return a column of lists of lists as an array."""
    return np.array(column.to_pylist())


def test_a_table_says_what_its_rows_and_numbers_are(tmp_path, engine, photos):
    done = invoke(app, "tokens", "--index", engine.collection.path, "--integers", "-o", tmp_path / "maps.parquet")
    assert done.exit_code == 0, done.output
    assert done.stdout == "", "the table has the paths itself"
    table = parquet.read_table(tmp_path / "maps.parquet")
    assert table["id"].to_pylist() == engine.ids.tolist()
    assert table["path"].to_pylist() == engine.paths
    assert table["sha256"].to_pylist() == [
        hashlib.sha256((photos / f"{number}.png").read_bytes()).hexdigest() for number in range(6)
    ]
    sizes = zip(table["width"].to_pylist(), table["height"].to_pylist(), strict=True)
    assert list(sizes) == [engine.collection.size(id_) for id_ in engine.ids.tolist()]
    stored = engine.tokens(integers=True)
    assert np.array_equal(stacked(table["integers"]), stored.integers)
    assert np.array_equal(stacked(table["scales"]), stored.scales)
    assert np.array_equal(stacked(table["pooled"]).astype(np.float32), engine.pooled())
    entry = engine.collection.manifest.codec_file
    described = json.loads(table.schema.metadata[b"semret"])
    assert described["codec"] == "pca8-int8" == entry.name
    assert described["codec_sha256"] == entry.digest
    assert described["model"] == "tiny"
    assert described["grid"] == list(engine.collection.manifest.identity.grid)


def test_pooled_embeddings_are_those_that_the_shortlist_compares(tmp_path, engine):
    where = ["tokens", "--pooled", "--index", engine.collection.path, "-o"]
    for name in ("all.npy", "all.npz", "all.parquet"):
        done = invoke(app, *where, tmp_path / name)
        assert done.exit_code == 0, done.output
        assert f"6 pooled embeddings of length {engine.pooled().shape[1]} written to" in done.stderr
    with np.load(tmp_path / "all.npz") as found:
        assert np.array_equal(found["pooled"], engine.pooled())
        assert found["ids"].tolist() == engine.ids.tolist()
        assert json.loads(str(found["metadata"]))["codec"] == "pca8-int8"
    assert np.array_equal(np.load(tmp_path / "all.npy"), engine.pooled())
    table = parquet.read_table(tmp_path / "all.parquet")
    assert table.column_names == ["id", "path", "sha256", "width", "height", "pooled"]
    assert np.array_equal(stacked(table["pooled"]).astype(np.float32), engine.pooled())
    seen = engine.represent(3)
    assert np.allclose(
        engine.pooled() @ engine.query_vector(3), engine.collection.pooled_scores(seen.pooled, engine.ids)
    )


def test_rows_that_are_read_in_parts_are_the_same_table(tmp_path, engine, monkeypatch):
    engine.write_tokens(tmp_path / "whole.parquet", integers=True)
    monkeypatch.setattr("semret.retrieval.search.stored_rows.MOST_ROWS", 4)
    seen = []
    engine.write_tokens(tmp_path / "parts.parquet", integers=True, progress=lambda *numbers: seen.append(numbers))
    assert seen == [(4, 6), (6, 6)]
    assert parquet.read_table(tmp_path / "parts.parquet").equals(parquet.read_table(tmp_path / "whole.parquet"))


def test_features_that_came_without_pictures_have_no_size(tmp_path):
    features = np.random.default_rng(0).standard_normal((3, 4, 5))
    semret.build(["a", "b", "c"], features=features, index=tmp_path / "own")
    with semret.open_index(tmp_path / "own") as own:
        own.write_tokens(tmp_path / "own.parquet", ["b"])
    assert parquet.read_table(tmp_path / "own.parquet")["width"].to_pylist() == [None]


@pytest.mark.slow
def test_hostile_names_are_told_apart_and_read_back(tmp_path, photos):
    (tmp_path / "hostile").mkdir()
    for number, name in enumerate(HOSTILE):
        shutil.copy(photos / f"{number}.png", tmp_path / "hostile" / os.fsdecode(name))
    sync(tmp_path / "index", [tmp_path / "hostile"], TinyBackbone)
    with semret.open_index(tmp_path / "index") as engine:
        engine.write_tokens(tmp_path / "names.parquet", pooled=True)
        lance(write=tmp_path / "names.lance", index=tmp_path / "index", options={"pooled": True})
        for table in (parquet.read_table(tmp_path / "names.parquet"), read_lance(tmp_path / "names.lance")[0]):
            written = table["path"].to_pylist()
            assert all(path.isprintable() for path in written)
            assert [unescaped(path) for path in written] == engine.paths
            assert [engine.find(path) for path in written] == engine.ids.tolist(), "they are candidates as they stand"


@pytest.mark.slow
def test_a_lance_data_set_holds_what_a_parquet_file_does(tmp_path, engine):
    for name, options in {"pooled": {"pooled": True}, "coded": {"integers": True}, "plain": {}}.items():
        engine.write_tokens(tmp_path / f"{name}.parquet", **options)
        place = tmp_path / f"{name} 20% é#.lance"
        assert lance(write=place, index=engine.collection.path, options=options, rows=4) is None
        table, version, metadata = read_lance(place)
        expected = parquet.read_table(tmp_path / f"{name}.parquet")
        assert table.equals(expected)
        assert version == 1
        assert metadata["semret"] == expected.schema.metadata[b"semret"].decode()


@pytest.mark.slow
def test_the_command_writes_over_a_data_set_as_its_next_version(tmp_path, engine):
    where = ["--pooled", "--index", str(engine.collection.path), "-o", str(tmp_path / "all.lance")]
    for words in (["1", "2"], []):
        done = subprocess.run(
            [sys.executable, "-m", "semret", "tokens", *words, *where],
            capture_output=True, text=True, env=with_root(), timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert done.stderr.endswith("all.lance\n") == bool(words)
    table, version, _ = read_lance(tmp_path / "all.lance")
    assert table["id"].to_pylist() == engine.ids.tolist()
    assert version == 2


@pytest.mark.slow
def test_a_killed_write_leaves_what_was_there(tmp_path, engine):
    place, index = tmp_path / "all.lance", engine.collection.path
    killed = {"write": place, "index": index, "rows": 2, "kill_after": 2, "expected": -signal.SIGKILL}
    lance(**killed)
    assert not (place / "_versions").exists(), "the first write was not finished, so there is nothing to read"
    lance(write=place, index=index)
    before = read_lance(place)
    lance(**killed, options={"pooled": True})
    assert read_lance(place) == before


@pytest.mark.slow
def test_a_damaged_index_is_told_as_such_and_leaves_what_was_there(tmp_path, engine):
    place, index = tmp_path / "all.lance", engine.collection.path
    lance(write=place, index=index)
    before = read_lance(place)
    stored = engine.tokens([4], integers=True).integers.tobytes()
    (segment,) = (file for file in index.rglob("*.h5") if stored in file.read_bytes())
    content = bytearray(segment.read_bytes())
    content[content.index(stored)] ^= 1
    segment.write_bytes(content)
    kind, message = lance(write=place, index=index, rows=2)
    assert kind == "IndexCorruptError", message
    assert read_lance(place) == before


@pytest.mark.slow
def test_a_disk_that_takes_no_more_is_told_in_one_line(tmp_path, engine):
    place, index = tmp_path / "all.lance", engine.collection.path
    kind, message = lance(write=place, index=index, largest=500)
    assert kind == "StorageError"
    assert "File too large" in message
    assert message.endswith("; choose another place")
    assert ".rs" not in message
    lance(write=place, index=index)
    assert read_lance(place)[0]["id"].to_pylist() == engine.ids.tolist()


def test_no_image_is_a_table_without_rows(tmp_path, engine):
    for options in ({}, {"pooled": True}, {"integers": True}):
        engine.write_tokens(tmp_path / "none.parquet", [], **options)
        assert parquet.read_table(tmp_path / "none.parquet").num_rows == 0
    engine.write_tokens(tmp_path / "none.parquet", [3, 1, 3], pooled=True)
    assert parquet.read_table(tmp_path / "none.parquet")["id"].to_pylist() == [3, 1, 3]


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        ("lance", "a.lance", "Lance needs pylance, which is not installed; run pip install 'semret[lance]'"),
        ("pyarrow.parquet", "a.parquet", "Parquet needs pyarrow, which is not installed; run pip install pyarrow"),
    ],
)
def test_a_missing_package_is_named_in_one_line(tmp_path, engine, monkeypatch, module, name, message):
    monkeypatch.setitem(sys.modules, module, None)
    failed = invoke(app, "tokens", "--pooled", "--index", engine.collection.path, "-o", tmp_path / name)
    assert message in error_of(failed)
    assert not (tmp_path / name).exists()


def test_a_place_of_something_else_is_refused(tmp_path, engine):
    (tmp_path / "pictures.lance").mkdir()
    (tmp_path / "pictures.lance" / "a.png").write_bytes(b"a picture")
    (tmp_path / "file.lance").write_bytes(b"")
    undecodable = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.lance")
    for place, message in {
        tmp_path / "pictures.lance": "it is a folder that is no Lance data set; choose another name",
        tmp_path / "file.lance": "it is a file, and a Lance data set is a folder",
        tmp_path / "nix" / "a.lance": f"there is no folder {tmp_path / 'nix'}; make it first",
        undecodable: "Lance takes names in Unicode; choose another",
        engine.collection.path / "a.lance": "which is read; name another place",
    }.items():
        assert message in error_of(invoke(app, "tokens", "--index", engine.collection.path, "-o", place))
    assert [file.name for file in (tmp_path / "pictures.lance").iterdir()] == ["a.png"]


def test_the_embedding_of_a_picture_that_is_not_indexed(tmp_path, engine, draw_picture):
    other = tmp_path / "other.png"
    draw_picture(77).save(other)
    engine._backbone = TinyBackbone()
    expected = engine.query_vector(other)
    assert expected.dtype == np.float32
    assert np.isclose(np.linalg.norm(expected), 1)
    assert np.array_equal(engine.query_vector(engine.represent(other)), expected)
    assert np.array_equal(engine.query_vector(4), engine.pooled(4)[0])
    found = engine.pooled() @ expected
    assert np.allclose(found, engine.collection.pooled_scores(engine.represent(other).pooled, engine.ids), atol=1e-6)


def test_features_of_ones_own_go_through_both_stages(engine, draw_picture):
    network = TinyBackbone()
    found = network.embed(network.prepare(draw_picture(77))[None])
    given = {"tokens": found.tokens[0], "pooled": found.pooled[0]}
    asked = engine.represent(**given)
    nearest = np.argsort(-(engine.pooled() @ engine.query_vector(asked)), kind="stable")[:4]
    expected = engine.query(**given, k=2, shortlist=4)
    result = engine.rerank(asked, engine.ids[nearest], k=2)
    assert (result.ids, result.scores.tolist()) == (expected.ids, expected.scores.tolist())


def test_names_too_long_for_an_array_are_refused(tmp_path, engine, monkeypatch):
    monkeypatch.setattr("semret.arrays._memory", lambda: 100.0)
    with pytest.raises(semret.SemretError, match="an array of 6 paths, one of "):
        engine.write_tokens(tmp_path / "all.npz", pooled=True)
    engine.write_tokens(tmp_path / "all.parquet", pooled=True)
    assert [file.name for file in tmp_path.glob("*all*")] == ["all.parquet"]


def test_the_embeddings_of_queries_are_written(tmp_path, engine, photos):
    where = ["tokens", "--pooled", "--index", engine.collection.path]
    done = invoke(app, *where, "--query", photos / "3.png", "--query", photos / "1.png", "-o", tmp_path / "q.npy")
    assert done.exit_code == 0, done.output
    assert np.array_equal(np.load(tmp_path / "q.npy"), engine.pooled([4, 2]))
    assert done.stdout.split() == ["row", "path", "0", str(photos / "3.png"), "1", str(photos / "1.png")]
    data = (photos / "3.png").read_bytes()
    done = invoke(app, *where, "--query", "-", "-o", tmp_path / "q.npz", "--format", "jsonl", input=data)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"row": 0, "path": "-"}
    with np.load(tmp_path / "q.npz") as found:
        assert np.array_equal(found["pooled"], engine.pooled([4]))
        assert found["paths"].tolist() == ["-"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pooled", "--integers", "-o", "a.npz"], "pooled embeddings are written as the shortlist compares them"),
        (["--pooled", "--center", "channel", "-o", "a.npz"], "leave center and integers out"),
        (["--pooled", "--query", "photos/1.png", "-o", "a.lance"], "embeddings of queries go into a file that ends in"),
        (["--pooled", "--query", "photos/1.png", "-o", "photos/1.npy"], "photos/1.npy is not"),
        (["--pooled", "--query", "nix.png", "-o", "a.npy"], "nix.png"),
        (["--pooled", "-o", "nix/a.parquet"], "cannot write nix/a.parquet: No such file"),
    ],
)
def test_what_does_not_go_together_is_told_in_one_line(tmp_path, engine, words, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if message.endswith("is not"):
        shutil.copy("photos/1.png", "photos/1.npy")
        message = "cannot write photos/1.npy: it is a picture of the index"
    assert message in error_of(invoke(app, "tokens", "--index", engine.collection.path, *words))
    assert not list(tmp_path.glob("a.*"))


@pytest.mark.parametrize("words", [["--query", "1.png"], ["--query", "1.png", "--pooled", "2"]])
def test_a_query_goes_with_pooled_alone(tmp_path, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke(app, "tokens", *words, "-o", "a.npy")
    assert done.exit_code == 2
    assert "--pooled" in done.stderr
