"""Open files that anybody may have written: without waiting, only regular ones, and within a limit of length.

A name in an index, a list or a model folder may lead to a pipe without a writer, to an endless device, or to a file
of twenty gigabytes. Every file that this run did not write itself is opened here.

The current folder may be a folder of pictures that came from anybody, too. Libraries that take files from it unasked
are kept from seeing one (`hidden`) or the whole of it (`apart`).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from semret.paths import PathLike

T = TypeVar("T")

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnfitFileError(OSError):
    """A file is not regular, or too long; `strerror` says which, worded to follow the file's name."""


def open_regular(path: PathLike, *, most: int | None = None, follow: bool = True) -> io.FileIO:
    """Open a file for reading without ever waiting for it.

    Parameters
    ----------
    path : path
    most : int or None
        Length in bytes beyond which it is refused; None where any length is possible and it is not read as a whole.
    follow : bool
        Whether a link may stand for the file. Files of an index are opened without following.

    Returns
    -------
    io.FileIO
        Unbuffered, at its start; its length is at most `most` when it is opened.

    Raises
    ------
    UnfitFileError
        If it is a folder, link, pipe, socket or device, or longer than `most`.
    OSError
        If it is missing or cannot be opened.
    """
    # Looked at before it is opened: opening a device can already do something, a tape rewinds.
    _check(Path(path).stat(follow_symlinks=follow), path, most)
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    if not follow:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    stream = io.FileIO(os.open(path, flags), "rb")
    try:
        _check(os.fstat(stream.fileno()), path, most)
    except BaseException:
        stream.close()
        raise
    return stream


def read_regular(path: PathLike, *, most: int, follow: bool = True) -> bytes:
    """Return the content of a file of at most `most` bytes; see `open_regular`.

    Parameters
    ----------
    path : path
    most : int
    follow : bool

    Returns
    -------
    bytes

    Raises
    ------
    UnfitFileError
        If it is not regular, longer than `most`, or grows beyond it while it is read.
    OSError
        If it is missing or cannot be read.
    """
    with open_regular(path, most=most, follow=follow) as stream:
        parts, left = [], most + 1
        while left and (part := stream.read(min(left, 2**20))):
            parts.append(part)
            left -= len(part)
    if not left:
        raise _too_long(path, most + 1, most)
    return b"".join(parts)


_hiding = threading.RLock()


@contextlib.contextmanager
def hidden(name: str) -> Iterator[None]:
    """Hide a file of this name in the current folder from `os.path`, for all threads, during a ``with`` block.

    Some libraries read settings from the current folder when they are imported, and that folder may hold pictures and
    files from anybody. Changing the current folder meanwhile would disturb the other threads, which share it. See
    `apart` for what is looked for by others than Python.

    Parameters
    ----------
    name : str
        Of the file, without a folder.

    Yields
    ------
    None
    """
    with _hiding:
        exists, isfile = os.path.exists, os.path.isfile

        def hide(look: Any) -> Any:
            return lambda path: path != name and look(path)

        os.path.exists, os.path.isfile = hide(exists), hide(isfile)
        try:
            yield
        finally:
            os.path.exists, os.path.isfile = exists, isfile


_CLONE_FS = 0x200
"""The current folder, in the words of Linux's ``unshare``."""


def apart(call: Callable[[], T], *, names: Iterable[str] = ()) -> T:
    """Call a function on a thread that has another current folder, ``/``, while all others keep theirs.

    For libraries that look for something by a bare name: the linker of the system for shared libraries, which are then
    run, and loaders of models for a folder that is called like the model.

    Parameters
    ----------
    call : callable
        Takes nothing.
    names : iterable of str
        What it may look for. Where a thread cannot have a current folder of its own (systems other than Linux, and
        containers that forbid ``unshare``), the current folder is searched for these instead.

    Returns
    -------
    object
        What `call` returns.

    Raises
    ------
    UnfitFileError
        If one of `names` lies in the current folder, and could not be kept from `call`.
    Exception
        Whatever `call` raises.
    """
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            if not _moved_apart():
                _refuse(names)
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=work, name="semret-apart").start()
    return outcome.result()


def _moved_apart() -> bool:
    """Give the calling thread a current folder of its own, ``/``; tell whether that could be done."""
    if sys.platform != "linux":
        return False
    try:
        if ctypes.CDLL(None).unshare(_CLONE_FS):
            return False
    except (OSError, AttributeError):
        return False
    os.chdir("/")
    return True


def _refuse(names: Iterable[str]) -> None:
    for name in names:
        if os.path.lexists(name):
            what = "in the current folder could be taken for part of a library; change to another folder"
            raise UnfitFileError(errno.EPERM, what, name)


def is_ours(status: os.stat_result) -> bool:
    """Tell whether only the user, the administrator and their group can have written a file or folder.

    Parameters
    ----------
    status : os.stat_result

    Returns
    -------
    bool
        True where the system knows no users.
    """
    if not hasattr(os, "geteuid"):
        return True
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & stat.S_IWOTH


def _check(found: os.stat_result, path: PathLike, most: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise UnfitFileError(errno.EINVAL, f"is {kind}, expected a regular file", os.fspath(path))
    if most is not None and found.st_size > most:
        raise _too_long(path, found.st_size, most)


def _too_long(path: PathLike, size: int, most: int) -> UnfitFileError:
    return UnfitFileError(errno.EFBIG, f"has {size} bytes or more, expected at most {most}", os.fspath(path))
