"""Locks: an index has one writer at a time, and any number of readers.

Both locks belong to the operating system: they end with the process that holds them, however it ends, so a lock file
left behind by a killed process means nothing and is recognised as stale.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import stat
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from semret.errors import IndexCorruptError, IndexLockedError
from semret.index.store.durable import storage
from semret.index.store.members import open_member

LOCK_NAME = "lock"

# A link in place of the lock would have another file emptied, a pipe would have us wait.
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_ATTEMPTS = 100
_LONGEST_NAME = 200


class WriterLock:
    """The right to write to an index, for the length of a ``with`` block.

    A writer that gives up an index before it was made removes the lock file. Another one may just have opened that
    file; so a lock counts only while the lock's path still leads to the file that is locked.

    Parameters
    ----------
    index : Path
        Index directory.
    make_folder : bool
        Whether the directory is made where it is missing.

    Attributes
    ----------
    made_folder : bool
        Whether it was.

    Raises
    ------
    IndexLockedError
        On entering, if another process writes; the message says which, and since when.
    IndexCorruptError
        On entering, if what stands in the place of the lock file is another file.
    """

    def __init__(self, index: Path, *, make_folder: bool = False) -> None:
        self._path = index / LOCK_NAME
        self._make_folder = make_folder
        self._descriptor: int | None = None
        self.made_folder = False

    def __enter__(self) -> WriterLock:
        try:
            self._acquire()
        except BaseException:
            self._give_up()
            raise
        return self

    def _acquire(self) -> None:
        for _ in range(_ATTEMPTS):
            descriptor = self._open()
            if descriptor is None:
                continue
            if not _try_lock(descriptor, exclusive=True):
                owner = _read_owner(descriptor)
                os.close(descriptor)
                raise IndexLockedError(f"{self._path.parent} is being written by {owner}; wait until it has finished")
            if self._leads_to(descriptor):
                self._descriptor = descriptor
                self._sign(descriptor)
                return
            # Its holder has removed it in the meantime, so locking it keeps nobody out.
            os.close(descriptor)
        raise IndexLockedError(
            f"{self._path.parent} is being made and given up by others; wait until they have finished"
        )

    def _open(self) -> int | None:
        """Open the lock file; None if the directory was taken away just now."""
        with storage(f"lock {self._path.parent} for writing"):
            if self._make_folder:
                self.made_folder |= not self._path.parent.exists()
                self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                _check_lock_file(self._path)
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o644)
            except FileNotFoundError:
                if self._make_folder:
                    return None
                raise
        return descriptor

    def _give_up(self) -> None:
        """Remove the folder and the lock file if they were made here, but not those of another writer."""
        with contextlib.suppress(OSError):
            if self.made_folder and self._descriptor is not None:
                self._path.unlink()
            if self.made_folder:
                # This fails as long as there is anything in it.
                self._path.parent.rmdir()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _leads_to(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.lstat())
        except OSError:
            return False

    def _sign(self, descriptor: int) -> None:
        record = {"pid": os.getpid(), "host": platform.node(), "since": time.time()}
        with storage(f"write {self._path}"):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(record).encode())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


class ReaderLock:
    """A lock that keeps the segments of an index from being deleted while it is held.

    It is a shared lock on the manifest, which only a conversion replaces: the replaced one then keeps a name of its own
    for as long as it is locked. Where locks cannot be had (Windows, some network file systems) readers go without:
    segments out of use are then kept for a day.

    Parameters
    ----------
    manifest : Path

    Raises
    ------
    IndexCorruptError
        If the manifest is not a regular file.
    OSError
        If it is missing or cannot be opened.
    """

    def __init__(self, manifest: Path) -> None:
        self._stream: io.FileIO | None = None
        for _ in range(_ATTEMPTS):
            stream = open_member(manifest)
            if not _try_lock(stream.fileno(), exclusive=False, wait=True):
                stream.close()
                return
            if os.fstat(stream.fileno()).st_nlink:
                self._stream = stream
                return
            # Replaced since it was opened, and by now without a name: to hold it would keep nobody out.
            stream.close()

    def release(self) -> None:
        """Give the lock back; a second time does nothing."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class NoReaders:
    """A lock that keeps readers from starting, for the length of a ``with`` block, which says whether there were none.

    Readers that want to start wait, so it is held only while files are unlinked.

    Parameters
    ----------
    *manifests : Path
        All that readers may hold; all but the first may be missing.
    """

    def __init__(self, *manifests: Path) -> None:
        self._manifests = manifests
        self._streams: list[io.FileIO] = []

    def __enter__(self) -> bool:
        for number, manifest in enumerate(self._manifests):
            try:
                stream = open_member(manifest)
            except FileNotFoundError:
                if not number:
                    raise
                continue
            self._streams.append(stream)
            if not _try_lock(stream.fileno(), exclusive=True):
                self._release()
                return False
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        while self._streams:
            self._streams.pop().close()


def locks_are_shared() -> bool:
    """Tell whether this system has locks that many readers can hold at once.

    Returns
    -------
    bool
    """
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


def _check_lock_file(path: Path) -> None:
    """Refuse what would be emptied or written to in place of a lock file; it may be missing."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise IndexCorruptError(f"{path} is a link or no file, expected a regular file of its own; take it away")


def _read_owner(descriptor: int) -> str:
    """Describe who holds the lock, as well as the lock file tells."""
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0) if hasattr(os, "pread") else os.read(descriptor, 4096))
        age = max(0, round(time.time() - float(owner["since"])))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(owner["since"])))
        return f"process {int(owner['pid'])} on {str(owner['host'])[:_LONGEST_NAME]} since {since} ({age} s)"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "another process"
