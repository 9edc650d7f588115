"""Find picture files below folders, and read a file's bytes once: what is hashed is what is decoded."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from semret.errors import ImageDecodeError, ImageSearchError
from semret.index.pictures.kinds import unread_kind
from semret.paths import absolute

_READ = "jpg jpeg jpe jfif pjpeg pjp mpo png apng webp bmp tif tiff gif heic heif hif avif"

SUFFIXES = frozenset(f".{ending}" for ending in _READ.split())
"""Endings (in any case) of the files that a walk takes for pictures; what they hold decides in the end."""

MAX_BYTES = 2**28
"""Largest file that is read, in bytes: every worker may hold one in memory."""

SETTLED_NS = 302_000_000_000
"""A file changed less than this before it was read may change again within the same time stamp; so it is read again.

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
class FoundImage:
    """A file that may be a picture.

    `path` is absolute and keeps the name as the system gave it (undecodable bytes as surrogate escapes); `size` is in
    bytes, `mtime_ns` the time of the last change in nanoseconds.
    """

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class SkippedPath:
    """A file or folder that cannot be indexed, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class LeftOut:
    """A file that looks like a picture or film of a kind that is not read; see `unread_kind`."""

    path: str
    kind: str


Entry: TypeAlias = FoundImage | SkippedPath | LeftOut


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
    """Return the time stamp to recognise a file by that was read at `read_ns`, or -1 if it may change without a sign.

    What counts is the time before the read: from then on the file may be written again, and the stamp be the same.
    """
    return mtime_ns if read_ns - mtime_ns > SETTLED_NS else -1


def find_images(
    paths: Sequence[str | os.PathLike[str]], *, exclude: Sequence[str | os.PathLike[str]] = ()
) -> Iterator[Entry]:
    """Find the pictures at and below `paths`, in an order that depends on names only.

    Parameters
    ----------
    paths : sequence of path
        Folders are walked to the bottom; a file is taken whatever its suffix, for its content decides.
    exclude : sequence of path
        Folders (an index) that are left out with everything in them.

    Yields
    ------
    FoundImage, SkippedPath or LeftOut
        Files given come first, then each folder: its files, then its subfolders, by name; what is reached through a
        link to a folder comes last. Every folder is walked once, however many links lead to it, and every path is
        given once. Names that begin with a dot are left out, unless given; so are other suffixes, of which those of
        pictures and films are given with their kind. What cannot be an image (a FIFO, a device, a dangling link) or
        cannot be entered is given with its reason.

    Raises
    ------
    ImageSearchError
        If one of `paths` does not exist; before anything is found.
    """
    given = sorted({str(absolute(path)) for path in paths})
    for path in given:
        if not os.path.lexists(path):
            raise ImageSearchError(f"there is no file or folder {path}; give the path of a picture or of a folder")
    return _find(given, exclude)


def _find(given: list[str], exclude: Sequence[str | os.PathLike[str]]) -> Iterator[Entry]:
    folders = [path for path in given if _is_folder(Path(path))]
    files = sorted(set(given) - set(folders))
    yield from map(_examine, files)
    walk = _Walk(exclude, frozenset(files))
    while folders:
        for folder in folders:
            yield from walk.below(folder)
        folders = walk.take_linked()


class _Walk:
    """A walk over folders that never enters one twice."""

    def __init__(self, exclude: Sequence[str | os.PathLike[str]], known: frozenset[str]) -> None:
        self._entered = {identity for path in exclude if (identity := _identity(path))}
        self._known = known
        self._linked: list[str] = []

    def take_linked(self) -> list[str]:
        """Return the links to folders met since the last call, in the order of their paths."""
        linked, self._linked = sorted(self._linked), []
        return linked

    def below(self, top: str) -> Iterator[Entry]:
        """Give what is at any depth below a folder, remembering the links to other folders for later."""
        pending = [top]
        while pending:
            folder = pending.pop()
            try:
                entries = self._enter(folder)
            except OSError as error:
                yield SkippedPath(folder, f"folder cannot be read: {_strerror(error)}")
                continue
            subfolders: list[str] = []
            for entry in entries:
                if _is_folder(entry):
                    (self._linked if entry.is_symlink() else subfolders).append(entry.path)
                elif entry.path not in self._known:
                    yield from _classify(entry)
            pending.extend(reversed(subfolders))

    def _enter(self, folder: str) -> list[os.DirEntry[str]]:
        """Return what a folder shows, by name; nothing if it was entered before."""
        found = Path(folder).stat()
        identity = (found.st_dev, found.st_ino)
        if identity in self._entered:
            return []
        with os.scandir(folder) as listing:
            entries = [entry for entry in listing if not entry.name.startswith(".")]
        self._entered.add(identity)
        return sorted(entries, key=lambda entry: entry.name)


def _identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_folder(entry: os.DirEntry[str] | Path) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself, or into a folder we may not enter: examined as a file, it says which.
        return False


def _classify(entry: os.DirEntry[str]) -> Iterator[Entry]:
    """Give an entry that is no folder if it looks like a picture or film."""
    dot = entry.name.rfind(".")
    suffix = entry.name[dot:].lower() if dot > 0 else ""
    if suffix in SUFFIXES:
        yield _examine(entry.path)
    elif kind := unread_kind(suffix):
        yield LeftOut(entry.path, kind)


def _examine(path: str) -> FoundImage | SkippedPath:
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        reason = "is a link to nothing" if Path(path).is_symlink() else "vanished"
        return SkippedPath(path, reason)
    except OSError as error:
        return SkippedPath(path, _strerror(error))
    if refusal := _refusal(found):
        return SkippedPath(path, refusal)
    return FoundImage(path, found.st_size, found.st_mtime_ns)


def _refusal(found: os.stat_result) -> str | None:
    """Return why something with this status is not read, or None if it is."""
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
            if refusal := _refusal(os.fstat(stream.fileno())):
                raise unreadable(path, refusal)
            yield stream
    except (OSError, ValueError) as error:
        raise unreadable(path, _strerror(error)) from error


def unreadable(path: str | os.PathLike[str], reason: str) -> ImageDecodeError:
    """Return the error that names a file and the reason it cannot be used."""
    return ImageDecodeError(f"{os.fspath(path)}: {reason}")


def reason_of(error: ImageDecodeError, path: str | os.PathLike[str]) -> str:
    """Return the reason in an error that `unreadable` made for `path`, without the path."""
    return str(error).removeprefix(f"{os.fspath(path)}: ")


def _strerror(error: OSError | ValueError) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:]
