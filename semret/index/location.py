"""Which directory is the index that a command means."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from semret.errors import ArgumentError, IndexNotFoundError
from semret.index.store.elsewhere import fetch_index
from semret.index.store.manifest import MANIFEST_NAME, has_lost_manifest
from semret.index.store.publishing import working_folder
from semret.paths import PathLike, absolute, is_address

INDEX_NAME = ".semret"
ENVIRONMENT = "SEMRET_INDEX"

_REMEDY = "make one with semret index PATH, or name one with --index"


def find_index(start: PathLike | None = None, near: Sequence[PathLike] = ()) -> Path:
    """Return the directory of the index that a command means.

    Parameters
    ----------
    start : path or None
        An index directory, or a folder: ``.semret`` in it or in the nearest folder above; or the address of an index in
        an object store, see `semret.index.store.elsewhere.fetch_index`. None stands for ``SEMRET_INDEX`` where it is
        set, else for the current directory.
    near : sequence of path
        Pictures or folders that the command is about. Where nothing else names an index, it is looked for from the
        current directory upward, then from each of these; the first one found is taken.

    Returns
    -------
    Path
        Absolute.

    Raises
    ------
    IndexNotFoundError
        If there is none.
    """
    chosen = start if start is not None else os.environ.get(ENVIRONMENT) or None
    if chosen is None:
        return _search(near)
    if is_address(chosen):
        return fetch_index(str(chosen))
    folder = absolute(chosen)
    if _is_index(folder):
        return folder
    # A mistyped name must not lead to another index somewhere above it.
    found = _search_upward(folder) if folder.is_dir() else None
    if found is None:
        raise IndexNotFoundError(f"{folder} is no index, and no {INDEX_NAME} in {folder} or a folder above; {_REMEDY}")
    return found


@dataclass(frozen=True)
class Place:
    """Where an index is written.

    Attributes
    ----------
    folder : Path
        Index directory; it need not exist.
    name : str
        What the user knows it by: the same, or its address.
    """

    folder: Path
    name: str


@contextlib.contextmanager
def writable_index(
    start: PathLike | None = None, near: Sequence[PathLike] = (), *, may_create: bool = False
) -> Iterator[Place]:
    """Give the directory in which to change an index; one that lies elsewhere is published when the block ends.

    Parameters
    ----------
    start : path or None
        As for `find_index`.
    near : sequence of path
        As for `find_index`; means nothing with `may_create`.
    may_create : bool
        Whether the index may be missing; it is then looked for as `default_index_path` does.

    Yields
    ------
    Place

    Raises
    ------
    IndexNotFoundError
        If there is none and `may_create` is false.
    ArgumentError, IndexLockedError, IndexCorruptError, StorageError
        See `semret.index.store.publishing.working_folder`.
    """
    chosen = start if start is not None else os.environ.get(ENVIRONMENT) or ""
    if is_elsewhere(start):
        with working_folder(str(chosen), may_create=may_create) as folder:
            yield Place(folder, str(chosen))
        return
    folder = default_index_path(start) if may_create else find_index(start, near)
    yield Place(folder, str(folder))


def index_to_read(explicit: PathLike | None = None) -> Place:
    """Return what a run of ``semret index`` would begin with; it need not exist.

    Parameters
    ----------
    explicit : path or None
        What the user names.

    Returns
    -------
    Place
        Of an index that lies elsewhere, its copy in the cache.

    Raises
    ------
    ArgumentError
        As `default_index_path`.
    IndexCorruptError, StorageError
        As `semret.index.store.elsewhere.fetch_index`.
    """
    if not is_elsewhere(explicit):
        folder = default_index_path(explicit)
        return Place(folder, str(folder))
    address = str(explicit if explicit is not None else os.environ[ENVIRONMENT])
    try:
        return Place(fetch_index(address), address)
    except IndexNotFoundError:
        return Place(Path(tempfile.gettempdir(), f"semret-{secrets.token_hex(16)}"), address)


def is_elsewhere(explicit: PathLike | None) -> bool:
    """Tell whether an index is named by an address.

    Parameters
    ----------
    explicit : path or None
        What the user names; None stands for ``SEMRET_INDEX``.

    Returns
    -------
    bool
    """
    return is_address(explicit if explicit is not None else os.environ.get(ENVIRONMENT) or "")


def refuse_address(explicit: PathLike | None) -> None:
    """Refuse an index that is named by an address, for what can only be done in a folder.

    Parameters
    ----------
    explicit : path or None
        What the user names; None stands for ``SEMRET_INDEX``.

    Raises
    ------
    ArgumentError
        If it is an address.
    """
    if is_elsewhere(explicit):
        chosen = explicit if explicit is not None else os.environ.get(ENVIRONMENT)
        raise ArgumentError(
            f"{chosen} is written by semret index (without --watch and --ray), remove and compact alone; "
            "do this in a folder, and copy it to the store when it is done"
        )


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

    Parameters
    ----------
    explicit : path or None
        What the user names.

    Returns
    -------
    Path
        Absolute.

    Raises
    ------
    ArgumentError
        If the current directory does not exist any more, or an address is named.
    """
    refuse_address(explicit)
    chosen = explicit if explicit is not None else os.environ.get(ENVIRONMENT) or None
    if chosen is not None:
        return absolute(chosen)
    return _search_upward(_here()) or absolute(INDEX_NAME)


def new_index_path(explicit: PathLike | None = None) -> Path:
    """Return where to make a new index: at `explicit`, else ``SEMRET_INDEX``, else ``.semret`` right here.

    Parameters
    ----------
    explicit : path or None
        What the user names.

    Returns
    -------
    Path
        Absolute.

    Raises
    ------
    ArgumentError
        If the current directory does not exist any more, or an address is named.
    """
    refuse_address(explicit)
    return absolute(explicit if explicit is not None else os.environ.get(ENVIRONMENT) or _here() / INDEX_NAME)


def _here() -> Path:
    try:
        return absolute(".")
    except ArgumentError as error:
        raise ArgumentError("the current folder does not exist any more; name the index with --index") from error


def _is_index(folder: Path) -> bool:
    """Tell whether a directory is an index, or was one: what has lost its manifest does not stand for one above it."""
    return os.path.lexists(folder / MANIFEST_NAME) or has_lost_manifest(folder)


def _search_upward(folder: Path) -> Path | None:
    for parent in (folder, *folder.parents):
        if _is_index(parent / INDEX_NAME):
            return parent / INDEX_NAME
    return None
