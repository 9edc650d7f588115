"""One writer, and readers who keep their segments."""

import json
import os
import subprocess
import sys

import pytest

from semret.errors import IndexLockedError
from semret.index.lock import LOCK_NAME, NoReaders, ReaderLock, WriterLock

HOLD = """
import sys
from pathlib import Path
from semret.index.lock import WriterLock
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
