"""Of an index that was copied to a store, nothing is left once a writer has taken it over, wherever others died."""

from __future__ import annotations

import json

import fsspec
import pytest

from semret.errors import StorageError
from semret.index.store import durable
from semret.index.store.address_lock import AddressLock
from semret.index.store.elsewhere import fetch_index
from semret.index.store.object_folder import ObjectFolder
from semret.index.store.stored_state import parse_replaced
from tests.support.addresses import MEMORY, names_in, remove_at, sync_at
from tests.support.pictures import draw_into
from tests.support.stored_rows import rows_by_path

_STEPS = ["publish:uploaded", "publish:committed", "delete:manifest.json", "delete:catalog.sqlite"]


class _Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def copied(memory, pictures, tmp_path):
    """An index of twelve pictures in a folder, copied to a store; the names of its files there."""
    sync_at(tmp_path / "index", pictures)
    (tmp_path / "index" / "lock").unlink()
    fsspec.filesystem("memory").put(str(tmp_path / "index"), "/index", recursive=True)
    return names_in(memory)


def _commit(pictures, seed):
    draw_into(pictures, [seed])
    assert sync_at(MEMORY, pictures).added


def _left(memory):
    return [name for name in names_in(memory) if not name.startswith("objects/")]


@pytest.mark.parametrize("step", _STEPS)
def test_what_a_killed_writer_left_is_deleted_by_the_next_commit(memory, pictures, copied, monkeypatch, step):
    def checkpoint(label):
        if label == step:
            raise _Killed

    draw_into(pictures, range(12, 16))
    with monkeypatch.context() as patch:
        patch.setattr(durable, "checkpoint", checkpoint)
        patch.setattr(AddressLock, "_release", lambda _: None)
        with pytest.raises(_Killed):
            sync_at(MEMORY, pictures)
    assert len(rows_by_path(fetch_index(MEMORY))) == (12 if step == "publish:uploaded" else 16)
    assert set(_left(memory)) & set(copied)
    ObjectFolder(MEMORY).delete("writer.lock")
    _commit(pictures, 16)
    assert _left(memory) == ["state.json"]


def test_what_a_store_does_not_delete_is_deleted_by_the_next_commit(memory, pictures, copied, monkeypatch):
    delete = ObjectFolder.delete

    def refuse(self, name):
        if name == "catalog.sqlite":
            raise StorageError("no")
        delete(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectFolder, "delete", refuse)
        _commit(pictures, 12)
    assert _left(memory) == ["catalog.sqlite", "replaced.json", "state.json"]
    _commit(pictures, 13)
    assert _left(memory) == ["state.json"]


def test_nothing_else_is_deleted(memory, pictures):
    sync_at(MEMORY, pictures)
    there = ObjectFolder(MEMORY)
    named = ["state.json", "objects/x", "../other", "segments/000001.h5", 7, None, "notes.txt", "catalog.sqlite"]
    assert parse_replaced(json.dumps(named).encode()) == ["segments/000001.h5", "catalog.sqlite"]
    assert [parse_replaced(raw) for raw in (b"{}", b"no JSON", b"[" * 10**5, b"\xff")] == [[]] * 4
    for name in ("notes.txt", "catalog.sqlite"):
        there.put(name, b"mine")
    remove_at(MEMORY, pictures / "1.png")
    assert _left(memory) == ["catalog.sqlite", "notes.txt", "state.json"]
