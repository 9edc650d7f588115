"""Pictures in an object store are indexed by a cluster as by one machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from semret.errors import ImageSearchError
from semret.index.collection import open_collection
from semret.index.pictures.contents import read_content
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.cluster_index import OPTIONS
from tests.support.networks import TinyBackbone
from tests.support.object_store import BUCKET, object_store, upload
from tests.support.pictures import draw, draw_into
from tests.support.stored_rows import ids_agree, rows_by_path

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """A prefix of an S3 bucket with ninety pictures, some of them in shards, and things that are none."""
    folder = tmp_path / "local"
    draw_into(folder, range(30))
    draw_into(folder / "below", range(30, 50))
    (folder / "below" / "text.png").write_text("no picture")
    for shard in range(2):
        with tarfile.open(folder / f"{shard:03}.tar", "w") as tar:
            for seed in range(50 + 20 * shard, 70 + 20 * shard):
                draw(seed).save(tmp_path / "one.png")
                tar.add(tmp_path / "one.png", f"{seed}.png")
                (tmp_path / "one.json").write_text("{}")
                tar.add(tmp_path / "one.json", f"{seed}.json")
    with object_store(monkeypatch) as client:
        upload(client, folder, "photos")
        yield f"s3://{BUCKET}/photos"


def test_an_object_store_is_indexed_as_on_one_machine(bucket, tmp_path):
    alone = sync(tmp_path / "one", [bucket], TinyBackbone, options=SyncOptions(**OPTIONS))
    assert (alone.added, len(alone.skipped)) == (90, 1)
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.support.cluster_index", "index", bucket, str(tmp_path / "many"), "0"]
    ended = subprocess.run(
        command, cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    report = json.loads((tmp_path / "many.json").read_text())["report"]
    assert report["added"] == 90
    assert report["reasons"] == {"is no picture in a supported format (JPEG, PNG, WEBP, BMP, TIFF, GIF, AVIF, HEIF)": 1}
    one, many = (
        {path: stored[2:] for path, stored in rows_by_path(tmp_path / name).items()} for name in ("one", "many")
    )
    assert many == one
    assert ids_agree(tmp_path / "many")
    with open_collection(tmp_path / "many") as collection:
        paths, hashes = collection.paths(collection.ids), collection.hashes(collection.ids)
    assert f"{bucket}/001.tar/75.png" in paths
    for path, sha in list(zip(paths, hashes, strict=True))[::9]:
        assert read_content(path).sha256 == sha


def test_a_bucket_that_is_not_there_is_told_in_one_line(bucket, tmp_path):
    with pytest.raises(ImageSearchError, match="there is nothing at s3://elsewhere/photos"):
        sync(tmp_path / "index", ["s3://elsewhere/photos"], TinyBackbone)
