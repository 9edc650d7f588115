"""The lock of an index in an object store: an object that only one writer can create."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import time

from semret.errors import ArgumentError, IndexCorruptError, IndexLockedError, SemretError, StorageError, cut_text
from semret.index.store.object_folder import ObjectFolder

WRITER_LOCK = "writer.lock"

_BYTES = 4096
_ELSEWHERE = "write the index in a folder, and copy it there when it is done"


class AddressLock:
    """The right to write to an index at an address, for the length of a ``with`` block.

    It does not end with a process that is killed: then somebody who knows that has to delete the object.

    Parameters
    ----------
    there : ObjectFolder

    Raises
    ------
    ArgumentError
        On entering, if the store cannot keep two writers apart.
    IndexLockedError
        On entering, if there is a lock; the message says whose.
    StorageError
        On entering, if the store cannot be written.
    """

    def __init__(self, there: ObjectFolder) -> None:
        self._there = there
        self._mine, self._other = _record(), _record()

    def __enter__(self) -> AddressLock:
        address = self._there.address
        if address.startswith("file://"):
            raise ArgumentError(f"{address} is a folder of this computer: name it by its path, without file://")
        if not self._there.creates_alone:
            raise self._unfit()
        try:
            self._acquire()
        except BaseException:
            self._release()
            raise
        return self

    def _acquire(self) -> None:
        try:
            self._there.put(WRITER_LOCK, self._mine, alone=True)
        except StorageError:
            found = self._found()
            if found is None:
                raise
            # If it is ours, the answer to a first request was lost, and the second was refused.
            if found != self._mine:
                raise self._locked(found) from None
        # A store that ignores the condition overwrites it.
        with contextlib.suppress(StorageError):
            self._there.put(WRITER_LOCK, self._other, alone=True)
        if self._found() == self._other:
            raise self._unfit()
        self.require()

    def require(self) -> None:
        """Make sure that the lock is still there.

        Raises
        ------
        IndexLockedError
            If somebody has deleted it, or another writer has it now.
        StorageError
            If the store cannot be read.
        """
        found = self._found()
        if found is None:
            raise IndexLockedError(
                f"{self._there.address}/{WRITER_LOCK} was deleted while this process wrote; run the command again"
            )
        if found != self._mine:
            raise self._locked(found)

    def _found(self) -> bytes | None:
        try:
            return self._there.read(WRITER_LOCK, _BYTES)
        except IndexCorruptError:
            return b""

    def _locked(self, found: bytes) -> IndexLockedError:
        lock = f"{self._there.address}/{WRITER_LOCK}"
        return IndexLockedError(
            f"{self._there.address} is being written by {_owner(found)}; wait until it has finished, "
            f"or if it is gone delete {lock}"
        )

    def _unfit(self) -> ArgumentError:
        return ArgumentError(
            f"{self._there.address} is in a store that cannot keep two writers apart: it, or the package for it here, "
            f"has no put on the condition that there is no such object; {_ELSEWHERE}"
        )

    def _release(self) -> None:
        with contextlib.suppress(SemretError):
            if self._found() in (self._mine, self._other):
                self._there.delete(WRITER_LOCK)

    def __exit__(self, *details: object) -> None:
        self._release()


def _record() -> bytes:
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    record = {"host": platform.node()[:200], "process": os.getpid(), "since": now, "token": secrets.token_hex(16)}
    return json.dumps(record).encode()


def _owner(found: bytes) -> str:
    """Describe who holds the lock, as well as the object tells."""
    try:
        owner = json.loads(found)
        return f"process {int(owner['process'])} on {cut_text(owner['host'])} since {cut_text(owner['since'], 40)}"
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return "another process"
