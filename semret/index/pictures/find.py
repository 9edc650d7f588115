"""Find the picture files at and below folders, in an order that depends on names only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from semret.errors import ImageSearchError
from semret.index.pictures.exclusion import Exclusions
from semret.index.pictures.files import refusal_of, system_reason
from semret.index.pictures.kinds import unread_kind
from semret.paths import absolute

_READ = "jpg jpeg jpe jfif pjpeg pjp mpo png apng webp bmp tif tiff gif heic heif hif avif"

SUFFIXES = frozenset(f".{ending}" for ending in _READ.split())
"""Endings (in any case) of the files that a walk takes for pictures; what they hold decides in the end."""


@dataclass(frozen=True)
class FoundImage:
    """A file that may be a picture.

    `path` is absolute and keeps the name as the system gave it (undecodable bytes as surrogate escapes); `size` is in
    bytes, `mtime_ns` the time of the last change in nanoseconds. `vouched` is False of an address that the user has not
    named, nor anything that it lies in: it is read as `semret.index.pictures.trust` says.
    """

    path: str
    size: int
    mtime_ns: int
    vouched: bool = True


@dataclass(frozen=True)
class SkippedPath:
    """A file or folder that cannot be indexed, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class LeftOut:
    """A file that looks like a picture or film of a kind that is not read; `kind` is that of `unread_kind`."""

    path: str
    kind: str


@dataclass(frozen=True)
class Excluded:
    """A file that looks like a picture or film, or a folder, that the user wants left out."""

    path: str
    is_folder: bool


Entry: TypeAlias = FoundImage | SkippedPath | LeftOut | Excluded

_NOTHING = Exclusions()


def find_images(
    paths: Sequence[str | os.PathLike[str]],
    *,
    exclude: Sequence[str | os.PathLike[str]] = (),
    unwanted: Exclusions = _NOTHING,
) -> Iterator[Entry]:
    """Find the pictures at and below `paths`, in an order that depends on names only.

    Parameters
    ----------
    paths : sequence of path
        Folders are walked to the bottom; a file is taken whatever its suffix, for its content decides.
    exclude : sequence of path
        Folders (an index) that are left out with everything in them.
    unwanted : Exclusions
        What else is left out; a folder that matches is not entered. Of `paths`, the folders above count, too.

    Returns
    -------
    iterator of FoundImage, SkippedPath, LeftOut or Excluded
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
    return _find(given, exclude, unwanted)


def _find(given: list[str], exclude: Sequence[str | os.PathLike[str]], unwanted: Exclusions) -> Iterator[Entry]:
    folders = [path for path in given if _is_folder(Path(path))]
    files = sorted(set(given) - set(folders))
    for path in files:
        yield Excluded(path, is_folder=False) if unwanted.cover(path) else _examine(path)
    walk = _Walk(exclude, frozenset(files), unwanted)
    for path in folders:
        if unwanted.cover(path, is_folder=True):
            yield Excluded(path, is_folder=True)
    folders = [path for path in folders if not unwanted.cover(path, is_folder=True)]
    while folders:
        for folder in folders:
            yield from walk.below(folder)
        folders = walk.take_linked()


class _Walk:
    """A walk over folders that never enters one twice."""

    def __init__(self, exclude: Sequence[str | os.PathLike[str]], known: frozenset[str], unwanted: Exclusions) -> None:
        self._entered = {identity for path in exclude if (identity := _identity(path))}
        self._known = known
        self._unwanted = unwanted
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
                yield SkippedPath(folder, f"folder cannot be read: {system_reason(error)}")
                continue
            subfolders: list[str] = []
            for entry in entries:
                if _is_folder(entry):
                    if self._unwanted.match(entry.path, is_folder=True):
                        yield Excluded(entry.path, is_folder=True)
                        continue
                    (self._linked if entry.is_symlink() else subfolders).append(entry.path)
                elif entry.path not in self._known:
                    yield from self._classify(entry)
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

    def _classify(self, entry: os.DirEntry[str]) -> Iterator[Entry]:
        """Give an entry that is no folder if it looks like a picture or film."""
        dot = entry.name.rfind(".")
        suffix = entry.name[dot:].lower() if dot > 0 else ""
        kind = None if suffix in SUFFIXES else unread_kind(suffix)
        if suffix not in SUFFIXES and kind is None:
            return
        if self._unwanted.match(entry.path, is_folder=False):
            yield Excluded(entry.path, is_folder=False)
        else:
            yield _examine(entry.path) if kind is None else LeftOut(entry.path, kind)


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
        # A link to itself, or into a folder we may not enter: `_examine` will find the reason.
        return False


def _examine(path: str) -> FoundImage | SkippedPath:
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        reason = "is a link to nothing" if Path(path).is_symlink() else "vanished"
        return SkippedPath(path, reason)
    except OSError as error:
        return SkippedPath(path, system_reason(error))
    if refusal := refusal_of(found):
        return SkippedPath(path, refusal)
    return FoundImage(path, found.st_size, found.st_mtime_ns)
