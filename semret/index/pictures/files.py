"""Read a file's bytes once: what is hashed is what is decoded."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from semret.errors import ImageDecodeError

MAX_BYTES = 2**28
"""Largest file that is read, in bytes: every worker may hold one in memory."""

SETTLED_NS = 302_000_000_000
"""A file changed less than this before it was read may change again within the same time stamp: it is read again.

Stamps may be 2 s wide (FAT), and a file server's clock may be behind by the five minutes that Kerberos puts up with.
"""

_CHUNK = 2**20
_KINDS = (
    (stat.S_ISFIFO, "is a FIFO (named pipe)"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a character device"),
    (stat.S_ISBLK, "is a block device"),
)


@dataclass(frozen=True)
class FileContent:
    """The bytes of a file as they were at one moment, with their SHA-256 in hexadecimal.

    `read_ns` is this computer's time just before, in nanoseconds since 1970.
    """

    path: str
    data: bytes
    sha256: str
    size: int
    mtime_ns: int
    read_ns: int


def settled(mtime_ns: int, read_ns: int) -> int:
    """Return the time stamp by which an unchanged file can be recognised.

    What counts is the time before the read: from then on the file may be written again, and its stamp stay the same.

    Parameters
    ----------
    mtime_ns : int
        Time of the file's last change, in nanoseconds since 1970.
    read_ns : int
        This computer's time just before the file was read.

    Returns
    -------
    int
        `mtime_ns`; or -1, which is the stamp of no file, if the file was changed less than `SETTLED_NS` before it was
        read and so may change again within the same stamp.
    """
    return mtime_ns if read_ns - mtime_ns > SETTLED_NS else -1


def refusal_of(found: os.stat_result) -> str | None:
    """Tell why a file is not read, by its kind and its length.

    Parameters
    ----------
    found : os.stat_result
        Status of the file.

    Returns
    -------
    str or None
        None if it is read.
    """
    if stat.S_ISREG(found.st_mode):
        if found.st_size == 0:
            return "is empty"
        if found.st_size > MAX_BYTES:
            return f"has {found.st_size} bytes, more than the limit of {MAX_BYTES}"
        return None
    return next((reason for is_kind, reason in _KINDS if is_kind(found.st_mode)), "is not a regular file")


def read_file(path: str | os.PathLike[str]) -> FileContent:
    """Read a file once and hash what was read.

    Never waits for a FIFO or a device, and never holds more than `MAX_BYTES`. A file that changes meanwhile is read
    a second time.

    Parameters
    ----------
    path : path
        Of a regular file.

    Returns
    -------
    FileContent
        At least one byte.

    Raises
    ------
    ImageDecodeError
        If it cannot be read, is empty, no regular file, too large, or does not stay the same; the message is
        ``PATH: REASON``.
    """
    for _ in range(2):
        read_ns = time.time_ns()
        with _opened(path) as stream:
            before = os.fstat(stream.fileno())
            data = stream.read(before.st_size + 1)
            after = os.fstat(stream.fileno())
        if len(data) == before.st_size == after.st_size and before.st_mtime_ns == after.st_mtime_ns:
            digest = hashlib.sha256(data).hexdigest()
            return FileContent(os.fspath(path), data, digest, before.st_size, before.st_mtime_ns, read_ns)
    raise unreadable(path, "changes while it is being read; try again when it is complete")


def hash_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content in hexadecimal, without holding it in memory.

    Parameters
    ----------
    path : path
        Of a regular file.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    ImageDecodeError
        As `read_file`.
    """
    digest = hashlib.sha256()
    with _opened(path) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a regular file for reading, never waiting for its other end; errors name the file."""
    try:
        # Without O_NONBLOCK, opening a FIFO waits for a writer, for ever; regular files do not mind it.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        with os.fdopen(os.open(path, flags), "rb") as stream:
            if refusal := refusal_of(os.fstat(stream.fileno())):
                raise unreadable(path, refusal)
            yield stream
    except (OSError, ValueError) as error:
        raise unreadable(path, system_reason(error)) from error


def unreadable(path: str | os.PathLike[str], reason: str) -> ImageDecodeError:
    """Return the error that names a file and the reason it cannot be used.

    Parameters
    ----------
    path : path
        Or whatever else names the source of a picture.
    reason : str
        Begins with a lower-case verb: ``is empty``.

    Returns
    -------
    ImageDecodeError
        To be raised by the caller; its message is ``PATH: REASON``.
    """
    return ImageDecodeError(f"{os.fspath(path)}: {reason}")


def reason_of(error: ImageDecodeError, path: str | os.PathLike[str]) -> str:
    """Return the reason in an error that `unreadable` made for `path`, without the path.

    Parameters
    ----------
    error : ImageDecodeError
        Made by `unreadable`.
    path : path
        The same that `unreadable` was given.

    Returns
    -------
    str
        The whole message if it does not begin with the path.
    """
    return str(error).removeprefix(f"{os.fspath(path)}: ")


def system_reason(error: OSError | ValueError) -> str:
    """Return what the system says of a failure, without the path.

    Parameters
    ----------
    error : OSError or ValueError
        Of a function that opens files.

    Returns
    -------
    str
        Beginning with a lower-case letter.
    """
    text = getattr(error, "strerror", None) or str(error)
    if "embedded null" in text:
        return "embedded null byte"  # Python 3.13 has other words for it, and a function's name
    return text[:1].lower() + text[1:]
