"""Finds the images that a list of candidates names by id or path, in any of the ways in which paths are written."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np

from semret.arrays import IdVector
from semret.errors import ArgumentError
from semret.index.collection import Collection
from semret.names import unescaped

Candidate: TypeAlias = "int | str | os.PathLike[str]"


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
        candidate : int or path

        Returns
        -------
        int or None
            Its id; None if it is not in the collection.
        """
        if isinstance(candidate, (int, np.integer)):
            return self._find_id(int(candidate))
        path = os.fsdecode(candidate)
        spellings = list(_spellings(path))
        for spelling in spellings:
            for place in self._places(spelling):
                found = self._collection.find_path(place)
                if found is not None:
                    return found
        # Names may be composed in part only: all are then compared in composed form.
        return next((id_ for path in spellings if (id_ := self._find_composed(path)) is not None), None)

    def resolve(self, candidates: Sequence[Candidate]) -> IdVector:
        """Find all images that are meant.

        Parameters
        ----------
        candidates : sequence of int or path

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
        for candidate in candidates:
            found = self.find(candidate)
            if found is None:
                raise ArgumentError(
                    f"candidate {candidate} is not in the index {self._collection.path}; index it first or leave it out"
                )
            ids.add(found)
        if not ids:
            raise ArgumentError("there are no candidates; give at least one id or path")
        return np.array(sorted(ids), dtype=np.int64)

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


def _spellings(path: str) -> Iterator[str]:
    plain = unescaped(path)
    for text in dict.fromkeys([path, path.strip(), plain, plain.strip()]):
        yield text
        for form in ("NFC", "NFD"):
            other = unicodedata.normalize(form, text)
            if other != text:
                yield other
