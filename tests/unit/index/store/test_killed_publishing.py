"""A writer to an object store may be killed anywhere: the former state is there, whole, or the new one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import fsspec
import pytest

from semret.errors import IndexLockedError
from semret.index.store import durable
from semret.index.store.address_lock import AddressLock
from semret.index.store.elsewhere import fetch_index
from semret.index.store.object_folder import ObjectFolder
from tests.support.addresses import MEMORY, objects_at, remove_at, state_at, sync_at
from tests.support.object_store import BUCKET, object_store
from tests.support.pictures import draw_into
from tests.support.places import with_root
from tests.support.stored_rows import rows_by_path


class _Killed(BaseException):
    """Stands for the end of the process: nothing catches it, and what would clean up is undone by the test."""


def _kill_at(monkeypatch, number):
    """Have the process die at one of the steps of publishing; give the labels that were passed."""
    passed = []

    def checkpoint(label):
        if label.startswith(("publish:", "delete:")):
            passed.append(label)
            if len(passed) == number:
                raise _Killed

    monkeypatch.setattr(durable, "checkpoint", checkpoint)
    monkeypatch.setattr(AddressLock, "_release", lambda _: None)
    return passed


def test_killed_at_any_step_the_former_state_is_there_or_the_new_one(memory, pictures, monkeypatch):
    sync_at(MEMORY, pictures)
    remove_at(MEMORY, pictures / "7.png")
    former = rows_by_path(fetch_index(MEMORY))
    (pictures / "7.png").unlink()
    draw_into(pictures, range(12, 18))
    saved = {name: bytes(file.getvalue()) for name, file in memory.items()}
    with monkeypatch.context() as patch:
        labels = _kill_at(patch, None)
        sync_at(MEMORY, pictures)
    new = rows_by_path(fetch_index(MEMORY))
    assert new.keys() - former.keys() == {f"photos/{seed}.png".encode() for seed in range(12, 18)}
    assert [label.partition(":")[0] for label in (labels[0], labels[-1])] == ["publish", "delete"]
    for number in range(1, len(labels) + 1):
        memory.clear()
        for name, raw in saved.items():
            fsspec.filesystem("memory").pipe_file(name, raw)
        with monkeypatch.context() as patch:
            passed = _kill_at(patch, number)
            with pytest.raises(_Killed):
                sync_at(MEMORY, pictures)
        assert rows_by_path(fetch_index(MEMORY)) == (new if "publish:committed" in passed else former)
        with pytest.raises(IndexLockedError):
            sync_at(MEMORY, pictures)
        ObjectFolder(MEMORY).delete("writer.lock")
        sync_at(MEMORY, pictures)
        assert rows_by_path(fetch_index(MEMORY)) == new
        assert state_at(MEMORY).objects.keys() <= objects_at(MEMORY)


_WRITER = """
import os, pathlib, signal, sys
from semret.index.store import durable
from tests.support.addresses import sync_at
def checkpoint(label):
    if label == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
durable.checkpoint = checkpoint
sync_at(sys.argv[2], pathlib.Path(sys.argv[3]))
"""


@pytest.mark.parametrize(("label", "count"), [("publish:uploaded", 12), ("publish:committed", 15)])
def test_a_killed_process_leaves_its_lock_and_a_whole_state(monkeypatch, cache, pictures, label, count):
    address = f"s3://{BUCKET}/index"
    with object_store(monkeypatch):
        sync_at(address, pictures)
        draw_into(pictures, range(12, 15))
        command = [sys.executable, "-P", "-c", _WRITER, label, address, str(pictures)]
        killed = subprocess.run(command, env=with_root(os.environ), timeout=120, check=False)
        assert killed.returncode == -signal.SIGKILL
        assert len(rows_by_path(fetch_index(address))) == count
        with pytest.raises(IndexLockedError, match=f"or if it is gone delete {address}/writer.lock"):
            sync_at(address, pictures)
        ObjectFolder(address).delete("writer.lock")
        assert sync_at(address, pictures).images == 15
        assert len(rows_by_path(fetch_index(address))) == 15
