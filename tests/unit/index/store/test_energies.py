"""Sums that tell whether a codec still suits are kept as segments come, and made anew where they do not hold."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from semret.index.care.maintain import compact, remove
from semret.index.collection import open_collection
from semret.index.store import energies
from semret.index.store.catalog import Catalog
from semret.index.store.catalog_file import CATALOG_NAME, DIGEST_NAME
from semret.index.store.energies import energies_of
from semret.index.store.manifest import read_manifest
from semret.index.store.reading import SegmentReader
from semret.index.store.segments import write_segment
from semret.index.sync import sync as module
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync

OPTIONS = SyncOptions(codec="pca6-int8", fit_from=4, commit_rows=4)


def paint(folder, names, seed=0):
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((48, 48)).save(folder / f"{name}.png")


@pytest.fixture
def folder(tmp_path):
    paint(tmp_path / "pictures", "abcdefghij")
    return tmp_path / "pictures"


@pytest.fixture
def index(tmp_path, folder, tiny_backbone):
    sync(tmp_path / "index", [folder], tiny_backbone, options=OPTIONS)
    return tmp_path / "index"


def sums(index):
    with closing(Catalog(index)) as catalog:
        found = energies_of(index, catalog, read_manifest(index))
    return found.kept, found.total


def true_sums(index):
    with open_collection(index) as collection:
        return pytest.approx(collection.features.energies(), rel=1e-12)


@pytest.fixture
def reads(monkeypatch):
    """Numbers of the segments that were read for the sums."""
    read, real = [], energies.SegmentReader

    def reader(index, segment, manifest):
        read.append(segment.number)
        return real(index, segment, manifest)

    monkeypatch.setattr(energies, "SegmentReader", reader)
    return read


def test_a_run_reads_no_segment_and_opens_the_index_once_to_tell_whether_a_refit_pays(
    index, folder, tiny_backbone, reads, monkeypatch
):
    assert not hasattr(module, "open_collection")
    assert sums(index) == true_sums(index)
    # Noise of another kind: much less of it lies in the directions of the fit.
    paint(folder, "klmnopqrst", seed=1)
    report = sync(index, [folder], tiny_backbone, options=OPTIONS)
    assert report.embedded == 10
    assert reads == []
    assert sums(index) == true_sums(index)


def test_after_compaction_the_sums_are_made_anew_once(index, folder, tiny_backbone, reads):
    with open_collection(index) as collection:
        remove(index, [next(collection.files())[0]])
    compact(index)
    assert sums(index) == true_sums(index)
    assert reads
    paint(folder, "klmno", seed=1)
    sync(index, [folder], tiny_backbone, options=OPTIONS)
    reads.clear()
    assert sums(index) == true_sums(index)
    assert reads == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"kept": NaN, "total": 1.0, "segments": 3, "last": 3}',
        '{"kept": 1.0, "total": 1.0, "segments": "3", "last": 3}',
        '{"kept": 1.0, "total": -1.0, "segments": 3, "last": 3}',
        '{"kept": 1.0, "total": 1.0, "segments": 1, "last": 1}',
    ],
)
def test_what_nobody_wrote_is_not_used(index, text):
    with closing(sqlite3.connect(index / CATALOG_NAME)) as db, db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'energies'", (text,))
    (index / DIGEST_NAME).unlink()
    found = sums(index)
    assert found == true_sums(index)


def test_an_index_from_before_there_were_sums_gets_them(index, folder, tiny_backbone, reads):
    with closing(sqlite3.connect(index / CATALOG_NAME)) as db, db:
        db.execute("DELETE FROM meta WHERE key = 'energies'")
    (index / DIGEST_NAME).unlink()
    paint(folder, "kl", seed=1)
    sync(index, [folder], tiny_backbone, options=OPTIONS)
    assert reads
    reads.clear()
    assert sums(index) == true_sums(index)
    assert reads == []


def test_damage_elsewhere_does_not_keep_pictures_out(index, folder, tiny_backbone):
    with closing(sqlite3.connect(index / CATALOG_NAME)) as db, db:
        db.execute("DELETE FROM meta WHERE key = 'energies'")
    (index / DIGEST_NAME).unlink()
    with closing(Catalog(index, writable=True)) as catalog:
        segment = catalog.segments()[1]
        path = index / "segments" / "000001.h5"
        content = bytearray(path.read_bytes())
        content[segment.offsets["norms"]] ^= 1
        path.write_bytes(content)
        manifest = read_manifest(index)
        rows = SegmentReader(index, catalog.segments()[2], manifest).take_rows(np.arange(1))
        number = catalog.next_segment()
        with catalog.transaction():
            energies.note_segment(index, catalog, manifest, number, [rows])
            catalog.add_segment(write_segment(index, number, manifest, [rows]))
        assert number in catalog.segments()
        assert catalog.energies is None
