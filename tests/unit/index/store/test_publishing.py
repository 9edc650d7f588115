"""An index in an object store is written in a working folder, and published whole."""

from __future__ import annotations

import fsspec
import pytest

from semret.errors import ArgumentError, IncompatibleIndexError, StorageError
from semret.index.location import writable_index
from semret.index.store.elsewhere import fetch_index
from semret.index.store.object_folder import ObjectFolder
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.addresses import (
    MEMORY,
    compact_at,
    names_in,
    objects_at,
    remove_at,
    segments_at,
    state_at,
    sync_at,
)
from tests.support.networks import TinyBackbone
from tests.support.object_store import BUCKET, object_store
from tests.support.pictures import draw_into
from tests.support.stored_rows import refusals, rows_by_path

ADDRESS = f"s3://{BUCKET}/index"


@pytest.fixture
def store(monkeypatch, cache):
    """An S3 server."""
    with object_store(monkeypatch) as client:
        yield client


def _same(address, folder):
    found = fetch_index(address)
    return rows_by_path(found) == rows_by_path(folder) and refusals(found) == refusals(folder)


@pytest.mark.parametrize("fixture", ["store", "memory"])
def test_what_is_done_there_is_what_is_done_in_a_folder(request, fixture, pictures, tmp_path):
    request.getfixturevalue(fixture)
    address, folder = {"store": ADDRESS, "memory": MEMORY}[fixture], tmp_path / "index"
    (pictures / "broken.png").write_bytes(b"none")
    for index in (address, folder):
        assert sync_at(index, pictures).added == 12
    assert _same(address, folder)
    draw_into(pictures, range(10, 20))
    (pictures / "3.png").unlink()
    for index in (address, folder):
        report = sync_at(index, pictures)
        assert (report.added, report.removed, report.embedded) == (8, 1, 8)
    assert _same(address, folder)
    for index in (address, folder):
        assert remove_at(index, pictures / "5.png").removed == 1
    assert _same(address, folder)
    assert [compact_at(index).dropped for index in (address, folder)] == [2, 2]
    assert _same(address, folder)
    assert ObjectFolder(address).read("writer.lock", 4096) is None


def test_what_the_last_two_states_do_not_name_is_deleted(memory, pictures):
    sync_at(MEMORY, pictures)
    states = [state_at(MEMORY)]
    ObjectFolder(MEMORY).put("objects/of a killed run", b"")
    for name in ("1.png", "2.png", "3.png"):
        remove_at(MEMORY, pictures / name)
        states.append(state_at(MEMORY))
        assert objects_at(MEMORY) == states[-1].objects.keys() | states[-2].objects.keys()
    raw = ObjectFolder(MEMORY).read("state.json", 2**25)
    assert sync_at(MEMORY, pictures).added == 3
    before = names_in(memory)
    sync_at(MEMORY, pictures)
    assert names_in(memory) == before
    assert raw != ObjectFolder(MEMORY).read("state.json", 2**25)


def test_who_reads_meanwhile_gets_one_state_or_the_next(memory, pictures, monkeypatch, tmp_path):
    sync_at(MEMORY, pictures)
    fetch, wrote = ObjectFolder.fetch, []

    def fetch_slowly(self, name, path, most):
        if not wrote and name in segments_at(MEMORY):
            wrote.append(name)
            # Two commits and a compaction: of the state that is being fetched nothing is left.
            with monkeypatch.context() as patch:
                patch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
                remove_at(MEMORY, pictures / "1.png")
                compact_at(MEMORY)
                remove_at(MEMORY, pictures / "2.png")
        return fetch(self, name, path, most)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "third"))
    monkeypatch.setattr(ObjectFolder, "fetch", fetch_slowly)
    found = rows_by_path(fetch_index(MEMORY))
    assert wrote
    assert len(found) == 10


def test_an_index_that_was_copied_there_is_taken_over(memory, pictures, tmp_path):
    folder = tmp_path / "index"
    sync_at(folder, pictures)
    fsspec.filesystem("memory").put(str(folder), "/index", recursive=True)
    (tmp_path / "index" / "lock").unlink()
    plain = set(names_in(memory))
    assert "segments/000001.h5" in plain
    draw_into(pictures, range(12, 16))
    for index in (folder, MEMORY):
        assert sync_at(index, pictures).embedded == 4
    assert _same(MEMORY, folder)
    assert {name for name in names_in(memory) if not name.startswith("objects/")} <= {"state.json", "lock"}


def test_relative_paths_of_an_index_that_was_copied_there_need_their_folder(memory, pictures):
    folder = pictures / ".semret"
    sync(folder, [pictures], TinyBackbone)
    fsspec.filesystem("memory").put(str(folder), "/index", recursive=True)

    def write(**options):
        with writable_index(MEMORY) as place:
            return sync(place.folder, [pictures], TinyBackbone, options=SyncOptions(**options))

    with pytest.raises(IncompatibleIndexError, match=r"memory://index has paths relative to .*; name that folder with"):
        write()
    assert write(root=pictures).unchanged == 12
    assert write().unchanged == 12
    assert compact_at(MEMORY).dropped == 0


def test_what_was_committed_before_an_error_is_published(memory, pictures):
    class Breaking(TinyBackbone):
        def embed(self, batch):
            if self.embedded >= 8:
                raise StorageError("the disk is full")
            return super().embed(batch)

    def write(network):
        with writable_index(MEMORY, may_create=True) as place:
            options = SyncOptions(codec="none", commit_rows=4, batch_size=4, workers=1)
            return sync(place.folder, [pictures], network, options=options)

    with pytest.raises(StorageError, match="the disk is full"):
        write(Breaking)
    assert 0 < len(rows_by_path(fetch_index(MEMORY))) < 12
    assert write(TinyBackbone).images == 12


def test_errors_name_the_address(memory, pictures):
    sync_at(MEMORY, pictures)
    with pytest.raises(ArgumentError, match="the index memory://index has nothing at or below /nowhere"):
        remove_at(MEMORY, "/nowhere")
    with pytest.raises(StorageError) as caught, writable_index(MEMORY) as place:
        raise StorageError(f"cannot write {place.folder}/catalog.sqlite")
    assert str(caught.value) == "cannot write memory://index/catalog.sqlite"


def test_working_folders_of_killed_runs_are_deleted(memory, pictures, cache):
    sync_at(MEMORY, pictures)
    kept = next(cache.rglob("kept"))
    left = kept.parent / "writing-left"
    left.mkdir()
    (left / "catalog.sqlite").write_bytes(b"anything")
    remove_at(MEMORY, pictures / "1.png")
    assert not left.exists()
    assert not list(kept.parent.glob("writing-*"))


def test_what_was_written_here_is_not_fetched(memory, pictures, monkeypatch):
    sync_at(MEMORY, pictures)
    segments, fetched = segments_at(MEMORY), []
    fetch = ObjectFolder.fetch

    def note(self, name, path, most):
        fetched.append(name)
        return fetch(self, name, path, most)

    monkeypatch.setattr(ObjectFolder, "fetch", note)
    assert len(rows_by_path(fetch_index(MEMORY))) == 12
    assert fetched
    assert segments
    assert not segments & set(fetched)
