"""``semret tokens``: stored maps for other programs."""

import json
import sys

import numpy as np
import pytest

import semret
from semret.cli import app
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.commands import error_of, invoke
from tests.support.networks import TinyBackbone


@pytest.fixture
def engine(tiny_index):
    with semret.open_index(tiny_index) as opened:
        yield opened


def test_npy_holds_the_maps_and_stdout_says_which(tmp_path, engine, photos):
    out = tmp_path / "maps.npy"
    done = invoke(
        app, "tokens", photos / "4.png", "2", "--index", engine.collection.path, "-o", out, "--format", "json"
    )
    assert done.exit_code == 0, done.output
    assert np.array_equal(np.load(out), engine.tokens([5, 2]))
    rows = json.loads(done.stdout)
    assert [(row["row"], row["id"], row["path"][-5:]) for row in rows] == [(0, 5, "4.png"), (1, 2, "1.png")]
    assert done.stderr == f"semret: 2 maps of 9 tokens of 12 channels written to {out}\n"


@pytest.mark.parametrize("format_", ["table", "csv", "jsonl"])
def test_npz_holds_ids_and_paths_of_all(tmp_path, engine, format_, monkeypatch):
    monkeypatch.setattr("semret.retrieval.search.stored_rows.PART_BYTES", 4 * 9 * 12 * 4)
    out = tmp_path / "maps.npz"
    done = invoke(
        app, "tokens", "--index", engine.collection.path, "-o", out, "--format", format_, "--center", "channel"
    )
    assert done.exit_code == 0, done.output
    assert "5.png" in done.stdout
    with np.load(out) as found:
        assert np.array_equal(found["tokens"], engine.tokens(center="channel"))
        assert np.array_equal(found["ids"], engine.ids)
        assert found["paths"].tolist() == engine.paths


def test_integers_come_with_their_scales(tmp_path, photos):
    sync(tmp_path / "coded", [photos], TinyBackbone, options=SyncOptions(codec="pca8-int8", fit_from=2))
    done = invoke(app, "tokens", "--index", tmp_path / "coded", "-o", tmp_path / "maps.npz", "--integers")
    assert done.exit_code == 0, done.output
    with semret.open_index(tmp_path / "coded") as engine, np.load(tmp_path / "maps.npz") as found:
        stored = engine.tokens(integers=True)
        assert np.array_equal(found["integers"], stored.integers)
        assert np.array_equal(found["scales"], stored.scales)


def test_parquet_is_read_by_pandas(tmp_path, engine):
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    done = invoke(app, "tokens", "3", "1", "--index", engine.collection.path, "-o", tmp_path / "maps.parquet")
    assert done.exit_code == 0, done.output
    table = pandas.read_parquet(tmp_path / "maps.parquet")
    assert table["id"].tolist() == [3, 1]
    assert table["path"].tolist() == [engine.paths[2], engine.paths[0]]
    assert np.array_equal(np.stack([np.stack(one) for one in table["tokens"]]), engine.tokens([3, 1]))


def test_a_missing_pyarrow_is_named_in_one_line(tmp_path, engine, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    failed = invoke(app, "tokens", "--index", engine.collection.path, "-o", tmp_path / "maps.parquet")
    assert "Parquet needs pyarrow, which is not installed; run pip install pyarrow" in error_of(failed)
    assert not (tmp_path / "maps.parquet").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nix.png", "-o", "a.npy"], "nix.png is neither the path nor the id of a picture in"),
        (["99", "-o", "a.npy"], "99 is neither"),
        (["-o", "a.txt"], "name a file that ends in .npy, .npz, .parquet"),
        (["-o", "a.npy", "--integers"], "do not fit into a.npy; name a file that ends in .npz, .parquet, .lance"),
        (["-o", "a.npz", "--integers"], "stores floats, not integers"),
        (["-o", "nix/a.npy"], "cannot write nix/a.npy: No such file"),
        (["-o", ".semret/a.npy"], "which is read; name another place"),
    ],
)
def test_what_cannot_be_written_is_told_in_one_line(tmp_path, engine, words, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in error_of(invoke(app, "tokens", *words))
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".npy", ".npz")] == []


def test_a_write_that_fails_leaves_what_was_there(tmp_path, engine, monkeypatch):
    (tmp_path / "maps.npz").write_bytes(b"before")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.lib.format.write_array_header_1_0", fail)
    failed = invoke(app, "tokens", "--index", engine.collection.path, "-o", tmp_path / "maps.npz")
    assert "cannot write" in error_of(failed)
    assert [path.name for path in tmp_path.glob("*maps*")] == ["maps.npz"]
    assert (tmp_path / "maps.npz").read_bytes() == b"before"
