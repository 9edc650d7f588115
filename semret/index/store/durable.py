"""Writing that survives a kill or a power cut: everything on disk before anything refers to it.

A file is written under a temporary name, flushed, renamed into place, and its folder flushed. Every step passes a named
`checkpoint`, so that tests can kill the process there.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

from semret.errors import StorageError

TEMPORARY_SUFFIX = ".tmp"
"""Ending of files that are being written. One that is left behind holds no data; the next writer deletes it."""

_FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
_ADVICE = "what was committed before is intact; make room and run the command again"


def checkpoint(label: str) -> None:
    """Mark a step of a commit. Does nothing; tests of interruptions put something in its place that ends the process.

    Parameters
    ----------
    label : str
        Which step.
    """
    del label


@contextlib.contextmanager
def storage(action: str) -> Iterator[None]:
    """Turn an OSError inside a ``with`` block into a StorageError that says which action failed and what to do.

    Parameters
    ----------
    action : str
        What is attempted, in words that follow "cannot".

    Yields
    ------
    None

    Raises
    ------
    StorageError
        In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(describe(error, action)) from error


def describe(error: OSError, action: str) -> str:
    """Return one line about a failed action: what failed, the system's reason, the remedy.

    Parameters
    ----------
    error : OSError
    action : str
        As for `storage`.

    Returns
    -------
    str
    """
    reason = error.strerror or str(error)
    advice = f"; {_ADVICE}" if error.errno in _FULL else ""
    return f"cannot {action}: {reason}{advice}"


def temporary(path: Path) -> Path:
    """Return the name under which `path` is written until it is complete.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Path
        In the same folder.
    """
    return path.with_name(path.name + TEMPORARY_SUFFIX)


def create_temporary(path: Path) -> io.FileIO:
    """Open the temporary file of `path`, new and empty, for writing and reading back.

    What stands in its place is unlinked first, so that a link there is not followed.

    Parameters
    ----------
    path : Path
        The file that is going to be written.

    Returns
    -------
    io.FileIO
        Unbuffered.

    Raises
    ------
    OSError
        If the disk is full, read-only, or refuses access.
    """
    place = temporary(path)
    place.unlink(missing_ok=True)
    return io.FileIO(place, "x+b")


def put_in_place(path: Path, label: str) -> None:
    """Give a complete, flushed temporary file its name, and flush the folder.

    Parameters
    ----------
    path : Path
        The name.
    label : str
        What the checkpoints are called by.

    Raises
    ------
    OSError
        If the disk refuses.
    """
    checkpoint(f"{label}:written")
    temporary(path).replace(path)
    checkpoint(f"{label}:renamed")
    flush_folder(path.parent)
    checkpoint(f"{label}:durable")


def write_file(path: Path, data: bytes, label: str) -> None:
    """Write a small file so that its name never leads to a part of it.

    Parameters
    ----------
    path : Path
    data : bytes
    label : str
        What the checkpoints are called by.

    Raises
    ------
    StorageError
        If the disk is full, read-only, or refuses access; the former content is then untouched.
    """
    try:
        with storage(f"write {path}"):
            with io.BufferedRandom(create_temporary(path)) as stream:
                stream.write(data)
                stream.flush()
                flush_file(stream.fileno())
            put_in_place(path, label)
    except StorageError:
        discard(temporary(path))
        raise


def flush_file(descriptor: int) -> None:
    """Force a file to the disk itself; on macOS that takes more than fsync.

    Parameters
    ----------
    descriptor : int
        Of a file open for writing.

    Raises
    ------
    OSError
        If the disk is full or fails.
    """
    full_sync = getattr(__import__("fcntl"), "F_FULLFSYNC", None) if os.name == "posix" else None
    if full_sync is not None:
        import fcntl

        try:
            fcntl.fcntl(descriptor, full_sync)
        except OSError:
            # Not every file system knows it.
            os.fsync(descriptor)
    else:
        os.fsync(descriptor)


def flush_folder(folder: Path) -> None:
    """Force the names in a folder to the disk. Does nothing where folders cannot be opened (Windows does it by itself).

    Parameters
    ----------
    folder : Path

    Raises
    ------
    OSError
        If the disk fails.
    """
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard(path: Path) -> bool:
    """Delete a file that is no longer needed; one that cannot be deleted is left for later.

    Parameters
    ----------
    path : Path
        It need not exist.

    Returns
    -------
    bool
        Whether it is gone.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
