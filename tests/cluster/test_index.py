"""Indexing on a cluster gives the index of one machine, and survives what clusters do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from semret.errors import ClusterError
from semret.index.care.verify import verify
from semret.index.store.catalog import Catalog
from semret.index.store.manifest import read_manifest
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.cluster_index import OPTIONS
from tests.support.networks import TinyBackbone
from tests.support.pictures import age, draw_into
from tests.support.stored_rows import ids_agree, refusals, rows_by_path

_ROOT = Path(__file__).parents[2]


def _add(folder, seeds):
    """Draw pictures that were there for long, so that their time stamps count."""
    draw_into(folder, seeds)
    age(folder)


def _spoil(folder):
    """Add what a folder of pictures has beside pictures."""
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes((folder / "1.png").read_bytes()[:-40])
    (folder / "below").mkdir()
    shutil.copy(folder / "2.png", folder / "below" / "copy.png")
    age(folder)


def _same(one, many):
    assert rows_by_path(many) == rows_by_path(one)
    assert refusals(many) == refusals(one)
    assert read_manifest(many).codec_file == read_manifest(one).codec_file
    assert ids_agree(many)
    assert verify(many).sound
    assert not list(many.rglob("*.tmp"))


def _on_cluster(folder, index, **options):
    from semret.cluster.indexing import index as build
    from semret.cluster.pool import PoolOptions

    pool = PoolOptions(least=2, most=2)
    return build(folder, index=index, load=TinyBackbone, pool=pool, options=SyncOptions(**options))


@pytest.mark.parametrize("codec", ["none", "pca8-int8"])
def test_a_new_index_is_that_of_one_machine(ray_cluster, tmp_path, codec):
    photos = tmp_path / "photos"
    _add(photos, range(90))
    _spoil(photos)
    options = {"codec": codec, "commit_rows": 8}
    alone = sync(tmp_path / "one", [photos], TinyBackbone, options=SyncOptions(**options))
    report = _on_cluster(photos, tmp_path / "many", **options)
    _same(tmp_path / "one", tmp_path / "many")
    assert (report.images, report.added, report.skipped) == (alone.images, alone.added, alone.skipped)
    # The copy may have been embedded by another worker at the same time.
    assert alone.embedded <= sum(rate.pictures for rate in report.workers) <= alone.embedded + 1
    assert report.reasons == {
        "is no picture in a supported format (JPEG, PNG, WEBP, BMP, TIFF, GIF, AVIF, HEIF)": 1,
        "is empty": 1,
        "is damaged: it is truncated": 1,
    }


def test_an_index_with_a_codec_grows_as_on_one_machine(ray_cluster, tmp_path):
    photos = tmp_path / "photos"
    _add(photos, range(70))
    options = {"codec": "pca8-int4", "commit_rows": 8}
    sync(tmp_path / "one", [photos], TinyBackbone, options=SyncOptions(**options))
    shutil.copytree(tmp_path / "one", tmp_path / "many")
    _add(photos, range(70, 120))
    _spoil(photos)
    (photos / "5.png").unlink()
    (photos / "6.png").rename(photos / "six.png")
    shutil.copy(photos / "80.png", photos / "7.png")
    age(photos)
    alone = sync(tmp_path / "one", [photos], TinyBackbone, options=SyncOptions(**options))
    report = _on_cluster(photos, tmp_path / "many", **options)
    _same(tmp_path / "one", tmp_path / "many")
    for name in ("images", "added", "updated", "renamed", "removed", "unchanged", "skipped"):
        assert getattr(report, name) == getattr(alone, name), name


def _driver(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.support.cluster_index", *map(str, arguments)]
    return subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_node_that_dies_costs_its_unfinished_portions(tmp_path):
    photos = tmp_path / "photos"
    _add(photos, range(170))
    sync(tmp_path / "one", [photos], TinyBackbone, options=SyncOptions(**OPTIONS))
    ended = _driver("lose-node", photos, tmp_path / "many", 100)
    assert ended.returncode == 0, ended.stderr
    outcome = json.loads((tmp_path / "many.json").read_text())
    assert outcome["alive"] == 1
    assert outcome["happened"]
    assert outcome["report"]["added"] == 170
    _same(tmp_path / "one", tmp_path / "many")


def test_a_driver_that_dies_leaves_what_was_committed(ray_cluster, tmp_path):
    photos, index = tmp_path / "photos", tmp_path / "many"
    _add(photos, range(250))
    sync(tmp_path / "one", [photos], TinyBackbone, options=SyncOptions(**OPTIONS))
    ended = _driver("die", photos, index, 220, ray_cluster.address)
    assert ended.returncode == -9, ended.stderr
    with Catalog(index) as catalog, catalog.reading():
        committed = catalog.select("SELECT count(*) FROM contents")[0][0]
    assert 64 < committed < 250
    report = _on_cluster(photos, index, **OPTIONS)
    assert report.embedded == 250 - committed
    assert report.unchanged == committed
    _same(tmp_path / "one", index)


def test_what_a_worker_cannot_do_is_one_line(ray_cluster, tmp_path):
    from semret.cluster.indexing import index as build

    def broken():
        if Path(sys.argv[0]).name.startswith("default_worker"):
            raise ClusterError("the network is not there; copy it to all computers")
        return TinyBackbone()

    photos = tmp_path / "photos"
    _add(photos, range(3))
    with pytest.raises(ClusterError, match="the network is not there"):
        build(photos, index=tmp_path / "index", load=broken)
    assert not (tmp_path / "index").exists()
