"""An index in an object store has one writer: who creates an object that only one can create."""

from __future__ import annotations

import re

import fsspec
import pytest

from semret.errors import ArgumentError, IndexLockedError, IndexNotFoundError, StorageError
from semret.index.care.maintain import remove
from semret.index.location import writable_index
from semret.index.store.address_lock import AddressLock
from semret.index.store.object_folder import ObjectFolder
from tests.support.addresses import MEMORY, names_in, state_at, sync_at


def test_the_second_writer_is_told_who_writes(memory, pictures):
    with AddressLock(ObjectFolder(MEMORY)):
        with pytest.raises(IndexLockedError) as caught:
            sync_at(MEMORY, pictures)
        assert re.fullmatch(
            r"memory://index is being written by process \d+ on .+ since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; "
            r"wait until it has finished, or if it is gone delete memory://index/writer.lock",
            str(caught.value),
        )
        assert names_in(memory) == ["writer.lock"]
    assert not memory
    ObjectFolder(MEMORY).put("writer.lock", b"\xff" * 5000)
    with pytest.raises(IndexLockedError, match="is being written by another process"):
        sync_at(MEMORY, pictures)
    assert names_in(memory) == ["writer.lock"]


def test_the_lock_is_given_back_whatever_happens(memory, pictures):
    for error in (KeyboardInterrupt, StorageError("full"), ValueError):
        with pytest.raises(error if isinstance(error, type) else StorageError), writable_index(MEMORY, may_create=True):
            raise error
        assert not memory
    with pytest.raises(IndexNotFoundError, match="memory://index is no index"), writable_index(MEMORY):
        pass
    assert not memory


def test_a_lock_whose_creation_was_answered_late_is_ours(memory, pictures, monkeypatch):
    put = ObjectFolder.put

    def answer_late(self, name, data, *, alone=False):
        put(self, name, data, alone=alone)
        put(self, name, data, alone=alone)

    monkeypatch.setattr(ObjectFolder, "put", answer_late)
    assert sync_at(MEMORY, pictures).added == 12
    assert "writer.lock" not in names_in(memory)


def test_nothing_is_published_without_the_lock(memory, pictures):
    sync_at(MEMORY, pictures)
    former = state_at(MEMORY)
    there = ObjectFolder(MEMORY)

    def write(disturb):
        with writable_index(MEMORY) as place:
            remove(place.folder, [pictures / "1.png"])
            disturb()

    with pytest.raises(IndexLockedError, match="was deleted while this process wrote"):
        write(lambda: there.delete("writer.lock"))
    with pytest.raises(IndexLockedError, match="is being written by"):
        write(lambda: there.put("writer.lock", b"another's"))
    assert memory["/index/writer.lock"].getvalue() == b"another's"
    assert state_at(MEMORY) == former


def test_a_store_that_creates_what_is_there_is_refused(memory, pictures, monkeypatch):
    kind = type(fsspec.filesystem("memory"))
    pipe = kind.pipe_file

    def overwrite(self, path, value, mode="overwrite"):
        del mode
        pipe(self, path, value)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "pipe_file", overwrite)
        with pytest.raises(ArgumentError, match="memory://index is in a store that cannot keep two writers apart"):
            sync_at(MEMORY, pictures)
    with monkeypatch.context() as patch:
        # It looks whether there is one, and then writes.
        patch.delattr(kind, "pipe_file")
        with pytest.raises(ArgumentError, match="cannot keep two writers apart"):
            sync_at(MEMORY, pictures)
    assert not memory
    with pytest.raises(ArgumentError, match=r"https://example\.invalid/index is in a store that cannot"):
        sync_at("https://example.invalid/index", pictures)
    with pytest.raises(ArgumentError, match=f"file://{pictures} is a folder of this computer: name it by its path"):
        sync_at(f"file://{pictures}", pictures)
