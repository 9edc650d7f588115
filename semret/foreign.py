"""Files that somebody else may have put there: opened without waiting, regular, and no longer than they can be.

A name in an index, a list or a model folder may lead to a pipe that nobody writes to, to a device without end, or to
twenty gigabytes of nothing. Whatever reads a file that it did not write in this very run opens it here.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semret.paths import PathLike

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnfitFileError(OSError):
    """A file is not what it can be: not regular, or too long. `strerror` says which, in words that follow its name."""


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
    """Let a file of this name in the current folder seem absent, to all threads, for the length of a ``with`` block.

    Some libraries take settings from the current folder when they are imported. It may be a folder of pictures that
    came from anybody. Moving elsewhere meanwhile would not do: the current folder, too, is that of all threads.
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


def _check(found: os.stat_result, path: PathLike, most: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise UnfitFileError(errno.EINVAL, f"is {kind}, expected a regular file", os.fspath(path))
    if most is not None and found.st_size > most:
        raise _too_long(path, found.st_size, most)


def _too_long(path: PathLike, size: int, most: int) -> UnfitFileError:
    return UnfitFileError(errno.EFBIG, f"has {size} bytes or more, expected at most {most}", os.fspath(path))
