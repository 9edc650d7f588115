"""Opening the files that an index consists of: regular files only, no links, no longer than semret writes them.

An index may come from somebody else: a name in it may be a link out of it, a pipe that nobody writes to, a device, or
longer than anything that semret writes.
"""

from __future__ import annotations

import hashlib
import io
import stat
from pathlib import Path

from semret.errors import IndexCorruptError
from semret.foreign import UnfitFileError, open_regular, read_regular

REPAIR = "run semret verify --repair, then semret index"
"""What to do about a damaged index; every message that needs it says it in these words."""

_OWN_FILES = f"an index holds its own files: put the right one in its place, or {REPAIR}"


def damaged(path: Path, what: object) -> IndexCorruptError:
    """Return the error about a damaged file of an index, with the advice to repair it.

    Parameters
    ----------
    path : Path
        The file.
    what : object
        What was found, in words that follow a colon: "it is cut off".

    Returns
    -------
    IndexCorruptError
        To be raised by the caller.
    """
    return IndexCorruptError(f"{path} is damaged: {what}; {REPAIR}")


def open_member(path: Path, *, most: int | None = None) -> io.FileIO:
    """Open a file of an index for reading, without following a link and without waiting.

    Parameters
    ----------
    path : Path
    most : int, optional
        Bytes beyond which it is refused.

    Returns
    -------
    io.FileIO
        Unbuffered, at its start.

    Raises
    ------
    IndexCorruptError
        If it is no regular file, or longer than `most`.
    OSError
        If it is missing or cannot be opened.
    """
    try:
        return open_regular(path, most=most, follow=False)
    except UnfitFileError as error:
        raise unfit(path, error) from error


def read_member(path: Path, *, most: int) -> bytes:
    """Return the content of a small file of an index.

    Parameters
    ----------
    path : Path
    most : int
        Bytes beyond which it is refused.

    Returns
    -------
    bytes

    Raises
    ------
    IndexCorruptError, OSError
        As `open_member`.
    """
    try:
        return read_regular(path, most=most, follow=False)
    except UnfitFileError as error:
        raise unfit(path, error) from error


def digest_of(path: Path, *, most: int | None = None) -> tuple[str, int]:
    """Return the SHA-256 of a file of an index, and how many bytes it has.

    Parameters
    ----------
    path : Path
        The file.
    most : int, optional
        Bytes beyond which it is refused.

    Returns
    -------
    (str, int)
        The digest in hexadecimal, and the size.

    Raises
    ------
    IndexCorruptError, OSError
        As `open_member`.
    """
    with open_member(path, most=most) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest(), stream.tell()


def unfit(path: Path, error: UnfitFileError) -> IndexCorruptError:
    """Return the error about a file of an index that is a link, a pipe, a folder, or too long.

    Parameters
    ----------
    path : Path
    error : UnfitFileError
        What was found.

    Returns
    -------
    IndexCorruptError
        To be raised by the caller.
    """
    return IndexCorruptError(f"{path} {error.strerror}; {_OWN_FILES}")


def require_folder(path: Path) -> None:
    """Refuse a folder of an index that is a link, or something else than a folder. It may be missing.

    Parameters
    ----------
    path : Path

    Raises
    ------
    IndexCorruptError
        If it is.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISLNK(mode):
        raise IndexCorruptError(f"{path} is a link; an index holds its own files: replace it by what it leads to")
    if not stat.S_ISDIR(mode):
        raise IndexCorruptError(f"{path} is no folder; {_OWN_FILES}")
