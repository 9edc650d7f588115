"""Where an index lies, and where its pictures lie relative to it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semret.errors import ArgumentError, IndexNotFoundError
from semret.index.store.manifest import MANIFEST_NAME

INDEX_NAME = ".semret"
ENVIRONMENT = "SEMRET_INDEX"

_REMEDY = "make one with semret index PATH, or name one with --index"

PathLike = str | os.PathLike[str]


def find_index(start: PathLike | None = None, near: Sequence[PathLike] = ()) -> Path:
    """Return the directory of the index that a command means.

    Parameters
    ----------
    start : path or None
        An index directory, or a folder: ``.semret`` in it or in the nearest folder above. None stands for
        ``SEMRET_INDEX`` where it is set, else for the current directory.
    near : sequence of path
        Pictures or folders that the command is about. Where nothing else names an index, it is looked for from the
        current directory upward, then from each of these; the first one found is taken.

    Raises
    ------
    IndexNotFoundError
        If there is none.
    """
    chosen = start if start is not None else os.environ.get(ENVIRONMENT) or None
    if chosen is None:
        return _search(near)
    folder = absolute(chosen)
    if _is_index(folder):
        return folder
    # A mistyped name must not lead to another index somewhere above it.
    found = _search_upward(folder) if folder.is_dir() else None
    if found is None:
        raise IndexNotFoundError(f"{folder} is no index, and no {INDEX_NAME} in {folder} or a folder above; {_REMEDY}")
    return found


def _search(near: Sequence[PathLike]) -> Path:
    """Return the nearest index above the current directory, or else above one of these paths."""
    starts: list[Path] = []
    for place in (".", *near):
        with contextlib.suppress(ArgumentError):
            starts.append(absolute(place))
    for start in starts:
        if found := _search_upward(start):
            return found
    places = (
        ", ".join(dict.fromkeys(str(start) for start in starts)) or "the current folder (it does not exist any more)"
    )
    raise IndexNotFoundError(f"there is no {INDEX_NAME} in {places} or a folder above; {_REMEDY}")


def default_index_path(explicit: PathLike | None = None) -> Path:
    """Return the directory that ``semret index`` writes to.

    That is `explicit`, else ``SEMRET_INDEX``, else the index found from the current directory upward, else a new
    ``.semret`` in the current directory. It need not exist.
    """
    chosen = explicit if explicit is not None else os.environ.get(ENVIRONMENT) or None
    if chosen is not None:
        return absolute(chosen)
    return _search_upward(_here()) or absolute(INDEX_NAME)


def new_index_path(explicit: PathLike | None = None) -> Path:
    """Return where an index is made that must not exist: `explicit`, ``SEMRET_INDEX``, or ``.semret`` right here."""
    return absolute(explicit if explicit is not None else os.environ.get(ENVIRONMENT) or _here() / INDEX_NAME)


def _here() -> Path:
    try:
        return absolute(".")
    except ArgumentError as error:
        raise ArgumentError("the current folder does not exist any more; name the index with --index") from error


def absolute(path: PathLike) -> Path:
    """Return a path from the root, without ``.`` and ``..``; links are kept as they are.

    What follows a link to a folder and ``..`` lies beside what the link leads to, as everywhere in the system.

    Raises
    ------
    ArgumentError
        If the path is relative, and the current directory has been deleted.
    """
    try:
        return Path(tidy(str(Path(path).absolute())))
    except FileNotFoundError as error:
        raise ArgumentError(
            f"the current folder does not exist any more, and {os.fspath(path)!r} is relative to it; "
            "change to another folder, or give absolute paths"
        ) from error


def tidy(path: str) -> str:
    """Return an absolute path without ``.``, ``..`` and doubled separators, resolving ``..`` as the kernel does."""
    if os.name == "nt" or f"{os.sep}.." not in path:
        return os.path.normpath(path)
    whole = os.sep
    for part in Path(path).parts[1:]:
        if part == "..":
            # Only here does it matter where a link leads: its target's parent, not its own.
            whole = os.path.dirname(os.path.realpath(whole) if os.path.islink(whole) else whole)  # noqa: PTH114, PTH120
        else:
            whole = os.path.join(whole, part)  # noqa: PTH118
    return whole


def _is_index(folder: Path) -> bool:
    return (folder / MANIFEST_NAME).is_file()


def _search_upward(folder: Path) -> Path | None:
    for parent in (folder, *folder.parents):
        if _is_index(parent / INDEX_NAME):
            return parent / INDEX_NAME
    return None


@dataclass(frozen=True)
class Root:
    """The folder that stored paths are relative to.

    Attributes
    ----------
    stored : str
        As the catalog has it: relative to the index directory where the index lies inside the root, so that both may
        move together; else absolute.
    folder : Path
        The same, absolute.
    """

    stored: str
    folder: Path

    @classmethod
    def at(cls, index: Path, folder: PathLike) -> Root:
        """Return the root at this folder."""
        top = absolute(folder)
        inside = index.is_relative_to(top)
        return cls(Path(os.path.relpath(top, index)).as_posix() if inside else top.as_posix(), top)

    @classmethod
    def read(cls, index: Path, stored: str) -> Root:
        """Return the root that the catalog of an index names.

        `at` goes up from the index by its name, and so does this: an index that was put on another disk and replaced
        by a link is still that of the folder the link lies in.
        """
        return cls(stored, Path(os.path.normpath(index / stored)))

    @classmethod
    def choose(cls, index: Path, paths: Sequence[PathLike]) -> Root:
        """Return the root of a new index: the folder that holds the index if all `paths` are in it, else their own."""
        given = [absolute(path) for path in paths]
        if all(path.is_relative_to(index.parent) for path in given):
            return cls.at(index, index.parent)
        folders = [path if path.is_dir() else path.parent for path in given]
        try:
            return cls.at(index, os.path.commonpath(folders))
        except ValueError as error:
            raise ArgumentError("the paths lie on different drives; give --root, or index them one by one") from error

    def to_stored(self, path: str) -> bytes:
        """Return how an absolute path is stored: relative to the root where it lies below, with forward slashes."""
        top = str(self.folder)
        prefix = top if top.endswith(os.sep) else top + os.sep
        kept = path[len(prefix) :] if path.startswith(prefix) else path
        return (kept.replace("\\", "/") if os.sep == "\\" else kept).encode("utf-8", "surrogateescape")

    def to_path(self, stored: bytes) -> str:
        """Return the absolute path that was stored."""
        return tidy(os.path.join(self.folder, stored.decode("utf-8", "surrogateescape")))  # noqa: PTH118


def lies_in(path: str, folders: Sequence[str]) -> bool:
    """Tell whether an absolute path is one of `folders`, or below one."""
    return any(path == folder or path.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)
