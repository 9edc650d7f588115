"""One writer and any number of readers.

Both locks belong to the operating system: they end with the process that holds them, however it ends, so a lock file
left behind by a killed process means nothing and is recognised as stale.
"""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from semret.errors import IndexLockedError
from semret.index.durable import storage

LOCK_NAME = "lock"

# A link in place of the lock would have another file emptied.
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


class WriterLock:
    """The right to write to an index, for the length of a ``with`` block.

    Parameters
    ----------
    index : Path
        Index directory; it must exist.

    Raises
    ------
    IndexLockedError
        On entering, if another process writes; the message says which, and since when.
    """

    def __init__(self, index: Path) -> None:
        self._path = index / LOCK_NAME
        self._descriptor: int | None = None

    def __enter__(self) -> WriterLock:
        with storage(f"lock {self._path.parent} for writing"):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o644)
        if not _try_lock(descriptor, exclusive=True):
            owner = _read_owner(descriptor)
            os.close(descriptor)
            raise IndexLockedError(f"{self._path.parent} is being written by {owner}; wait until it has finished")
        self._descriptor = descriptor
        record = {"pid": os.getpid(), "host": platform.node(), "since": time.time()}
        with storage(f"write {self._path}"):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(record).encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


class ReaderLock:
    """The promise that no segment this reader may want is deleted while it is held.

    It is a shared lock on the manifest, which is never rewritten. Where it cannot be had (Windows, some network file
    systems) readers go without: segments out of use are then kept for a day.
    """

    def __init__(self, manifest: Path) -> None:
        self._descriptor: int | None = None
        descriptor = os.open(manifest, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        if _try_lock(descriptor, exclusive=False, wait=True):
            self._descriptor = descriptor
        else:
            os.close(descriptor)

    def release(self) -> None:
        """Give the lock back; a second time does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class NoReaders:
    """Keeps readers from starting while it is held; `held` tells whether there were none.

    Readers that want to start wait, so it is held only while files are unlinked.
    """

    def __init__(self, manifest: Path) -> None:
        self._manifest = manifest
        self._descriptor: int | None = None

    def __enter__(self) -> bool:
        descriptor = os.open(self._manifest, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        if _try_lock(descriptor, exclusive=True):
            self._descriptor = descriptor
        else:
            os.close(descriptor)
        return self._descriptor is not None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def locks_are_shared() -> bool:
    """Tell whether this system can tell readers from writers."""
    return os.name == "posix"


def _try_lock(descriptor: int, *, exclusive: bool, wait: bool = False) -> bool:
    if os.name == "posix":
        import fcntl

        mode = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.flock(descriptor, mode if wait else mode | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
    return _try_lock_windows(descriptor) if exclusive else False


def _try_lock_windows(descriptor: int) -> bool:
    import importlib

    msvcrt: Any = importlib.import_module("msvcrt")
    try:
        # A byte far behind the owner's name, which others must be able to read.
        os.lseek(descriptor, 2**20, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        return False
    return True


def _read_owner(descriptor: int) -> str:
    """Describe who holds the lock, as well as the lock file tells."""
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0) if hasattr(os, "pread") else os.read(descriptor, 4096))
        age = max(0, round(time.time() - float(owner["since"])))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(owner["since"])))
        return f"process {int(owner['pid'])} on {owner['host']} since {since} ({age} s)"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "another process"
