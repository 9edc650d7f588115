"""A collection from the directory file is the one from the catalog; a file that is not right is not used."""

import contextlib
import os
import random
import shutil
import unicodedata

import numpy as np
import pytest

from semret.errors import IndexCorruptError, SemretError
from semret.index import open_table as open_table_module
from semret.index.care.maintain import compact, remove
from semret.index.care.verify import verify
from semret.index.collection import Collection
from semret.index.store.catalog import Catalog
from semret.index.store.catalog_table import CatalogTable
from semret.index.store.directory_file import NO_LISTS, write_directory
from semret.index.store.paged_file import PAGE
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from semret.retrieval.search.copies import Copies
from semret.retrieval.search.lookup import Lookup
from tests.support.pictures import age

NAMES = ["a.png", "Über.png", "sub/ü.png", "sub/é e.png", "Z.png", "z/深.png", os.fsdecode(b"bad\xff.png"), "b.png"]


@pytest.fixture
def from_file(monkeypatch):
    """Count the collections that read their table from the catalog."""
    read = []

    class Counted(CatalogTable):
        def __init__(self, catalog):
            read.append(catalog.path)
            super().__init__(catalog)

    monkeypatch.setattr(open_table_module, "CatalogTable", Counted)
    return read


def view(index, places):
    """All that a collection shows."""
    with Collection(index) as found:
        ids = found.ids
        queries = np.eye(4, 12, dtype="f4")
        nearest = found.shortlist(queries, 3)
        copies, lookup = Copies(found), Lookup(found)
        forms = [unicodedata.normalize(form, str(place)) for place in places for form in ("NFC", "NFD")]
        return [
            len(found), found.generation, str(found.root.folder), found.shape, ids.tolist(), found.places.tolist(),
            list(found.files()), found.paths(ids[::-1]), found.hashes(ids), found.skipped, found.skipped_count,
            [found.find_path(place) for place in places], [lookup.find(form) for form in forms],
            [found.find_hash(sha) for sha in [*found.hashes(ids), "00" * 32, "ff" * 32, "aa"]],
            found.rows(ids).tolist(), [copies.of(id_).tolist() for id_ in ids.tolist()],
            copies.first_of_each(ids).tolist(), nearest.ids.tolist(), nearest.scores.tolist(),
            found.tokens(ids).tobytes(), found.features.norms.tolist(), list(found.segments),
            [found.segments[number] for number in found.segments],
            found.features.pooled_mean.tolist(), found.features.channel_mean.tolist(),
        ]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_a_collection_is_the_same_from_its_file_and_from_the_catalog(
    seed, tmp_path, draw_picture, tiny_backbone, from_file
):
    chance, folder, index = random.Random(seed), tmp_path / "photos", tmp_path / "index"
    (folder / "sub").mkdir(parents=True)
    (folder / "z").mkdir()
    draw_picture(0).save(folder / "first.png")
    for step in range(6):
        for name in chance.sample(NAMES, 3):
            match chance.randrange(5):
                case 0:
                    (folder / name).unlink(missing_ok=True)
                case 1:
                    (folder / name).write_bytes(b"no picture %d" % step)
                case _:
                    draw_picture(chance.randrange(4)).save(folder / name)
        sync(index, [folder], tiny_backbone, options=SyncOptions(commit_rows=2))
        if chance.randrange(3) == 0:
            compact(index)
        if chance.randrange(4) == 0 and len(Collection(index)) > 2:
            with Collection(index) as found:
                chosen = found.paths(found.ids[:1])
            remove(index, chosen)
        places = [folder / name for name in NAMES]
        from_file.clear()
        shown = view(index, places)
        assert from_file == []
        assert verify(index).sound
        shutil.move(index / "directory.bin", tmp_path / "aside")
        from_file.clear()
        assert view(index, places) == shown
        assert from_file != []
        shutil.move(tmp_path / "aside", index / "directory.bin")


def test_the_file_of_another_state_is_not_used(tiny_index, photos, from_file):
    before = view(tiny_index, [photos / "1.png"])
    stale = (tiny_index / "directory.bin").read_bytes()
    remove(tiny_index, [photos / "1.png"])
    after = view(tiny_index, [photos / "1.png"])
    assert before != after
    from_file.clear()
    (tiny_index / "directory.bin").write_bytes(stale)
    assert view(tiny_index, [photos / "1.png"]) == after
    assert from_file != []
    assert verify(tiny_index).sound


def test_an_unchanged_run_leaves_the_file_as_it_is(tiny_index, photos, tiny_backbone):
    # A run notes the time stamps of files that are not new any more, which changes the catalog once.
    age(photos)
    sync(tiny_index, [photos], tiny_backbone)
    before = (tiny_index / "directory.bin").stat()
    sync(tiny_index, [photos], tiny_backbone)
    after = (tiny_index / "directory.bin").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_damage_that_is_met_later_is_answered_from_the_catalog_or_refused(tiny_index, photos, from_file):
    place = photos / "3.png"
    expected = view(tiny_index, [place])
    whole = (tiny_index / "directory.bin").read_bytes()
    for page in range(1, len(whole) // PAGE):
        opened = Collection(tiny_index)
        # In place, under the open collection.
        with (tiny_index / "directory.bin").open("r+b") as stream:
            stream.seek(page * PAGE + 3)
            stream.write(bytes([whole[page * PAGE + 3] ^ 4]))
        assert opened.find_path(place) == expected[11][0]
        assert list(opened.files()) == expected[6]
        assert opened.hashes(opened.ids) == expected[8]
        assert opened.skipped == expected[9]
        opened.close()
        (tiny_index / "directory.bin").write_bytes(whole)
    opened = Collection(tiny_index)
    os.truncate(tiny_index / "directory.bin", PAGE)
    with Catalog(tiny_index, writable=True) as catalog, catalog.transaction():
        catalog.change("UPDATE images SET size = size + 1")
    with pytest.raises(IndexCorruptError, match=r"directory\.bin is damaged"):
        opened.find_path(place)


def test_a_crafted_file_with_right_checksums_neither_crashes_nor_hangs(tiny_index, photos):
    with Catalog(tiny_index) as catalog, catalog.reading():
        table, state = CatalogTable(catalog), catalog.state
    places = [photos / "0.png", photos / "5.png"]
    wrong = [-1, 0, 2, 5, 6, 2**31 - 1, -(2**31)]
    for name in ("places", "rows", "by_hash", "by_path", "firsts", "nexts", "path_ends", "segment_ends", "segment_rows",
                 "segment_numbers", "ids"):  # fmt: skip
        for value in wrong:
            array = table.whole(name).copy()
            array[-1] = value
            write_directory(tiny_index / "directory.bin", state, NO_LISTS, table, {name: array})
            # No other kind of error comes out of it.
            with contextlib.suppress(SemretError):
                view(tiny_index, places)
            assert value == table.whole(name)[-1] or not verify(tiny_index).sound, (name, value)
    for text in (b"", b"[]", b"[1]" * 50, b"[" * 5000):
        blob = {"segments": np.frombuffer(text, "u1"), "segment_ends": np.array([len(text)])}
        write_directory(tiny_index / "directory.bin", state, NO_LISTS, table, blob)
        with pytest.raises(IndexCorruptError):
            view(tiny_index, places)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "device", "empty", "sparse"])
def test_what_is_planted_in_its_place_is_passed_over(kind, tiny_index, photos, tmp_path):
    place = tiny_index / "directory.bin"
    expected = view(tiny_index, [photos / "2.png"])
    shutil.move(place, tmp_path / "real")
    if kind == "link":
        place.symlink_to(tmp_path / "real")
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "device":
        place.symlink_to("/dev/zero")
    else:
        place.write_bytes((tmp_path / "real").read_bytes()[: 300 if kind == "sparse" else 0])
        with place.open("r+b") as stream:
            stream.truncate(20 * 2**30 if kind == "sparse" else 0)
    assert view(tiny_index, [photos / "2.png"]) == expected
    assert [defect.kind for defect in verify(tiny_index).defects] == ["directory"]
