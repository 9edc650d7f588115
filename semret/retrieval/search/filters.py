"""Which images may be hits: those in some folders, and those whose files were last changed at some time."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from semret.arrays import IdVector, IndexVector
from semret.errors import ArgumentError
from semret.index.collection import Collection
from semret.names import unescaped
from semret.paths import PathLike, absolute
from semret.retrieval.search.dates import DateLike, first_moment, moment_after

Folders: TypeAlias = "PathLike | Sequence[PathLike] | None"
"""One folder, several, or all."""

_WILD = "*?["
_ANY_DEPTH = "**"


@dataclass(frozen=True)
class ImageFilter:
    """What an image must be to be a hit.

    Attributes
    ----------
    folders : tuple of str
        It lies below one of these, or anywhere if there is none.
    since, until : int or None
        Its file was last changed at or after the one and before the other; nanoseconds since 1970.
    """

    folders: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None

    def __bool__(self) -> bool:
        return self != ImageFilter()

    @classmethod
    def read(cls, folder: Folders, since: DateLike | None, until: DateLike | None) -> ImageFilter:
        """Read a filter as it is given.

        Parameters
        ----------
        folder : path, sequence of path, or None
        since, until : str, date, datetime or None
            The first and the last day, month, year or moment.

        Returns
        -------
        ImageFilter

        Raises
        ------
        ArgumentError
            If one is none, or no time lies between the two.
        """
        first = None if since is None else first_moment("since", since)
        last = None if until is None else moment_after("until", until)
        if first is not None and last is not None and first >= last:
            raise ArgumentError(f"since {since} is after until {until}; no image can be of that time")
        return cls(_folders(folder), first, last)


def _folders(given: Folders) -> tuple[str, ...]:
    if given is None:
        return ()
    listed = [given] if isinstance(given, (str, os.PathLike)) else given
    if not isinstance(listed, Iterable):
        raise ArgumentError(f"folder is {given!r}, expected a path, or several")
    strange = [one for one in listed if not isinstance(one, (str, os.PathLike)) or not os.fspath(one)]
    if strange:
        raise ArgumentError(f"folder is {strange[0]!r}, expected a path")
    return tuple(os.fsdecode(one) for one in listed)


class Places:
    """Where the images of a collection lie, and when their files were changed: read once, when first asked for.

    Parameters
    ----------
    collection : Collection
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    @cached_property
    def _folders(self) -> tuple[list[str], IndexVector]:
        """All folders that hold images, absolute; and which of them holds each image."""
        numbers: dict[str, int] = {}
        of_each = np.fromiter(
            (numbers.setdefault(os.path.dirname(path), len(numbers)) for path, _, _ in self._collection.files()),  # noqa: PTH120
            dtype=np.intp,
            count=len(self._collection),
        )
        return list(numbers), of_each

    @cached_property
    def _changed(self) -> NDArray[np.int64]:
        """When the file of each image was last changed, -1 where that is not known; nanoseconds since 1970."""
        changed = np.empty(len(self._collection), dtype=np.int64)
        for row, (path, _, stamp) in enumerate(self._collection.files()):
            # What was indexed right after it was written has no stamp to recognise it by.
            changed[row] = _stamp(path) if stamp == -1 else stamp
        return changed

    @cached_property
    def folders(self) -> list[str]:
        """All folders that hold images or folders with images, from the root of the index, sorted."""
        found: set[str] = set()
        for place in self._from_root:
            parts = place.split("/")[:-1]
            found.update("/".join(parts[: count + 1]) for count in range(len(parts)))
        return sorted(found - {"."})

    @cached_property
    def _from_root(self) -> list[str]:
        root = str(self._collection.root.folder)
        return [os.path.relpath(folder, root).replace(os.sep, "/") + "/" for folder in self._folders[0]]

    def below(self, folder: str) -> IdVector:
        """Find the images in a folder and those below it.

        Parameters
        ----------
        folder : str
            From the root of the index, as `folders` has it.

        Returns
        -------
        ndarray of int64
            Ids, ascending; none if there is no such folder.
        """
        inside = np.array([place.startswith(folder + "/") for place in self._from_root], dtype=bool)
        return np.asarray(self._collection.ids[self._inside(inside)])

    def allowed(self, wanted: ImageFilter) -> IdVector | None:
        """Find the images that pass a filter.

        Parameters
        ----------
        wanted : ImageFilter
            Its folders are relative to the current directory, or else to the root of the index, or absolute, and may
            hold ``*``, ``?`` and ``[]``, which stand for parts of a name, and ``**`` for any number of folders.

        Returns
        -------
        ndarray of int64 or None
            Ids, ascending; None if the filter asks for nothing.

        Raises
        ------
        ArgumentError
            If no image lies below one of the folders.
        """
        if not wanted:
            return None
        inside = np.ones(len(self._collection), dtype=bool)
        if wanted.folders:
            inside &= self._inside(np.any([self._fitting(folder) for folder in wanted.folders], axis=0))
        if wanted.since is not None or wanted.until is not None:
            inside &= self._changed != -1
        if wanted.since is not None:
            inside &= self._changed >= wanted.since
        if wanted.until is not None:
            inside &= self._changed < wanted.until
        return np.asarray(self._collection.ids[inside])

    def _fitting(self, given: str) -> NDArray[np.bool_]:
        """Tell which of the folders that hold images are meant."""
        places = list(self._places(given))
        for test in (_lies_in, _lies_in_composed, _matches):
            for place in places:
                found = np.array([test(folder, place) for folder in self._folders[0]], dtype=bool)
                if found.any():
                    return found
        raise ArgumentError(
            f"no image of the index lies in a folder {given}, seen from the current directory or from its root, "
            f"{self._collection.root.folder}"
        )

    def _places(self, given: str) -> Iterator[str]:
        for text in dict.fromkeys([given, unescaped(given)]):
            if "\0" not in text:
                yield str(absolute(text))
                yield os.path.normpath(os.path.join(self._collection.root.folder, text))  # noqa: PTH118 - keeps undecodable names

    def _inside(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Tell which images lie in the folders that are chosen."""
        return np.asarray(chosen[self._folders[1]])


def _stamp(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - keeps undecodable names
    except (OSError, ValueError):
        return -1


def _lies_in(folder: str, place: str) -> bool:
    return folder == place or folder.startswith(place.rstrip(os.sep) + os.sep)


def _lies_in_composed(folder: str, place: str) -> bool:
    return _lies_in(unicodedata.normalize("NFC", folder), unicodedata.normalize("NFC", place))


def _matches(folder: str, place: str) -> bool:
    """Tell whether a folder, or one above it, fits a pattern."""
    if not any(letter in place for letter in _WILD):
        return False
    pattern = Path(place).parts
    states = _reachable({0}, pattern)
    for part in Path(folder).parts:
        if len(pattern) in states:
            return True
        stay = {state for state in states if pattern[state] == _ANY_DEPTH}
        step = {state + 1 for state in states - stay if fnmatchcase(part, pattern[state])}
        states = _reachable(stay | step, pattern)
    return len(pattern) in states


def _reachable(states: set[int], pattern: Sequence[str]) -> set[int]:
    """Add the states that are reached without a name: ``**`` may stand for no folder."""
    found = set(states)
    for state in range(len(pattern)):
        if state in found and pattern[state] == _ANY_DEPTH:
            found.add(state + 1)
    return found
