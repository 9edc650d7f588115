"""One writer, and readers who keep their segments."""

import json
import os
import subprocess
import sys

import pytest

from semret.errors import IndexCorruptError, IndexLockedError, StorageError
from semret.index.store import durable, lock
from semret.index.store.lock import LOCK_NAME, NoReaders, ReaderLock, WriterLock
from semret.index.writer import IndexWriter

HOLD = """
import sys
from pathlib import Path
from semret.index.store.lock import WriterLock
with WriterLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_writer_is_told_who_writes(tmp_path, holder):
    with pytest.raises(
        IndexLockedError, match=rf"is being written by process {holder.pid} on .* since 20.* \(\d+ s\); wait"
    ):
        WriterLock(tmp_path).__enter__()


def test_the_lock_of_a_killed_writer_is_stale(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == holder.pid
    with WriterLock(tmp_path):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()


def test_a_finished_writer_leaves_an_empty_file(tmp_path):
    with WriterLock(tmp_path):
        pass
    assert (tmp_path / LOCK_NAME).read_bytes() == b""
    with WriterLock(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x", "since": 1e999, "host": 3}', b"\xff" * 50])
def test_an_unreadable_owner_is_another_process(content, tmp_path, holder):
    (tmp_path / LOCK_NAME).write_bytes(content)
    with pytest.raises(IndexLockedError, match="is being written by another process; wait"):
        WriterLock(tmp_path).__enter__()


def test_nobody_deletes_while_one_reads(tmp_path):
    manifest = tmp_path / "manifest.json"
    manifest.write_text("{}")
    first, second = ReaderLock(manifest), ReaderLock(manifest)
    for reader in (first, second):
        with NoReaders(manifest) as alone:
            assert not alone
        reader.release()
        reader.release()
    with NoReaders(manifest) as alone:
        assert alone


def removed_at_the_last_moment(monkeypatch, index, times):
    """Have another writer give up an index that was never made, just before the lock file that was opened is locked."""
    attempt, left = lock._try_lock, [times]

    def try_lock(descriptor, **how):
        if left[0]:
            left[0] -= 1
            (index / LOCK_NAME).unlink()
            index.rmdir()
        return attempt(descriptor, **how)

    monkeypatch.setattr(lock, "_try_lock", try_lock)


def test_a_lock_is_held_only_while_its_path_leads_to_it(tmp_path, monkeypatch):
    index = tmp_path / "index"
    removed_at_the_last_moment(monkeypatch, index, 3)
    with WriterLock(index, make_folder=True) as held:
        assert held.made_folder
        assert json.loads((index / LOCK_NAME).read_text())["pid"] == os.getpid()
        with pytest.raises(IndexLockedError, match="is being written by process"):
            WriterLock(index).__enter__()


def test_a_lock_that_is_always_taken_away_is_given_up(tmp_path, monkeypatch):
    index = tmp_path / "index"
    removed_at_the_last_moment(monkeypatch, index, 10**6)
    with pytest.raises(IndexLockedError, match="is being made and given up by others"):
        WriterLock(index, make_folder=True).__enter__()
    assert not index.exists()


def test_what_was_never_made_is_cleaned_up_while_the_lock_is_held(tmp_path, monkeypatch):
    index, discarded = tmp_path / "index", []
    discard = durable.discard

    def watched(path):
        if path.name != LOCK_NAME:
            with pytest.raises(IndexLockedError):
                WriterLock(index).__enter__()
        discarded.append(path.name)
        return discard(path)

    monkeypatch.setattr(durable, "discard", watched)
    with IndexWriter(index, may_create=True):
        pass
    assert not index.exists()
    # The lock goes last: whoever begins after that finds nothing taken away.
    assert discarded[-1] == LOCK_NAME


def test_a_writer_that_is_refused_takes_nothing_of_the_other_away(tmp_path, holder):
    (tmp_path / "catalog.sqlite").write_bytes(b"of the other")
    with pytest.raises(IndexLockedError, match=f"process {holder.pid}"):
        IndexWriter(tmp_path, may_create=True).__enter__()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["catalog.sqlite", LOCK_NAME]


def test_a_lock_that_cannot_be_written_leaves_no_trace(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "ftruncate", full)
    with pytest.raises(StorageError, match="No space left on device"):
        WriterLock(tmp_path / "index", make_folder=True).__enter__()
    monkeypatch.undo()
    assert not (tmp_path / "index").exists()


def test_what_is_no_lock_file_is_neither_emptied_nor_waited_for(tmp_path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    index = tmp_path / "index"
    index.mkdir()
    for make in (lambda: (index / LOCK_NAME).symlink_to(precious), lambda: (index / LOCK_NAME).hardlink_to(precious)):
        make()
        with pytest.raises(IndexCorruptError, match="expected a regular file of its own; take it away"):
            WriterLock(index).__enter__()
        (index / LOCK_NAME).unlink()
    os.mkfifo(index / LOCK_NAME)
    with pytest.raises(IndexCorruptError, match="is a link or no file"):
        WriterLock(index).__enter__()
    assert precious.read_bytes() == b"precious"
