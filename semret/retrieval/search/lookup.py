"""Finds the images that a list of candidates names by id or path, in any of the ways in which paths are written."""

from __future__ import annotations

import operator
import os
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Protocol, SupportsIndex, TypeAlias, cast

import numpy as np

from semret.arrays import IdVector
from semret.errors import ArgumentError
from semret.index.collection import Collection
from semret.names import unescaped


class Found(Protocol):
    """A hit: it stands for its files."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the picture and its copies."""


Candidate: TypeAlias = "SupportsIndex | str | os.PathLike[str] | Found"
"""Ids are whole numbers of any library."""

Images: TypeAlias = "Candidate | Iterable[Candidate]"


class Lookup:
    """Finds images of a collection by id, or by a path in any of the ways in which people and programs write it.

    A path is looked for relative to the current directory, then to the root of the index; as it stands, with the
    escapes of a printed list undone, and with its accents composed or not: macOS takes names apart, others do not.

    Parameters
    ----------
    collection : Collection
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def find(self, candidate: Candidate) -> int | None:
        """Find the image that is meant.

        Parameters
        ----------
        candidate : int, path, or hit
            Of a hit, whose id another index may have given, the first of its paths that is here.

        Returns
        -------
        int or None
            Its id; None if it is not in the collection.
        """
        if isinstance(candidate, SupportsIndex):
            return self._find_id(operator.index(candidate))
        if not isinstance(candidate, (str, os.PathLike)):
            return next((id_ for path in _paths_of(candidate) if (id_ := self.find(path)) is not None), None)
        path = os.fsdecode(candidate)
        spellings = list(_spellings(path))
        for spelling in spellings:
            for place in self._places(spelling):
                found = self._collection.find_path(place)
                if found is not None:
                    return found
        # Names may be composed in part only: all are then compared in composed form.
        return next((id_ for path in spellings if (id_ := self._find_composed(path)) is not None), None)

    def resolve(self, candidates: Iterable[Candidate]) -> IdVector:
        """Find all images that are meant.

        Parameters
        ----------
        candidates : sequence of int, path or hit
            A hit stands for all of its paths that are here.

        Returns
        -------
        ndarray of int64
            Distinct ids, ascending, at least one.

        Raises
        ------
        ArgumentError
            If there is none, or one is not in the collection.
        """
        ids: set[int] = set()
        for candidate in _listed(candidates):
            ids.add(self._one(candidate, "candidate"))
            ids.update(id_ for path in getattr(candidate, "paths", ()) if (id_ := self.find(path)) is not None)
        if not ids:
            raise ArgumentError("there are no candidates; give at least one id or path")
        return np.array(sorted(ids), dtype=np.int64)

    def each(self, images: Images) -> IdVector:
        """Find one image or several, in the order given.

        Parameters
        ----------
        images : int, path or hit, or a sequence of them
            n of them; one may come twice.

        Returns
        -------
        ndarray of shape (n,), int64

        Raises
        ------
        ArgumentError
            If one is not in the collection.
        """
        return np.array([self._one(image, "image") for image in _listed(images)], dtype=np.int64)

    def _one(self, candidate: Candidate, role: str) -> int:
        found = self.find(candidate)
        if found is None:
            shown = candidate if isinstance(candidate, (int, np.integer, str, os.PathLike)) else _paths_of(candidate)[0]
            raise ArgumentError(
                f"{role} {shown} is not in the index {self._collection.name}; index it first or leave it out"
            )
        return found

    def _find_id(self, id_: int) -> int | None:
        ids = self._collection.ids
        if not -(2**63) <= id_ < 2**63:
            return None
        row = int(np.searchsorted(ids, id_))
        return id_ if row < len(ids) and ids[row] == id_ else None

    def _places(self, path: str) -> Iterator[str]:
        if path and "\0" not in path:
            yield path
            yield os.path.join(self._collection.root.folder, path)  # noqa: PTH118 - keeps undecodable names

    def _find_composed(self, path: str) -> int | None:
        if path.isascii():
            return None
        for place in self._places(path):
            found = self._collection.find_composed(os.path.abspath(place))  # noqa: PTH100 - links stay as they are
            if found is not None:
                return found
        return None


def _listed(images: Images) -> Iterable[Candidate]:
    """Return one image as a list of one: the letters of a path are no candidates."""
    is_one = isinstance(images, (int, np.integer, str, os.PathLike)) or hasattr(images, "rank")
    if not is_one and not isinstance(images, Iterable):
        _paths_of(images)
    return [cast("Candidate", images)] if is_one else cast("Iterable[Candidate]", images)


def _paths_of(candidate: object) -> tuple[str, ...]:
    paths = getattr(candidate, "paths", None)
    if not isinstance(paths, tuple) or not paths:
        raise ArgumentError(f"an image is given as {type(candidate).__name__}, expected an id, a path or a hit")
    return paths


def _spellings(path: str) -> Iterator[str]:
    plain = unescaped(path)
    for text in dict.fromkeys([path, path.strip(), plain, plain.strip()]):
        yield text
        for form in ("NFC", "NFD"):
            other = unicodedata.normalize(form, text)
            if other != text:
                yield other
