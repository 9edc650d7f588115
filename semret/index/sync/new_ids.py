"""The ids of images that are new to an index: none is used twice."""

from __future__ import annotations

import functools

from semret.index.store.catalog import Catalog


class NewIds:
    """Chooses ids.

    Parameters
    ----------
    catalog : Catalog
        Knows which were used.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._next = catalog.next_id()
        self._formers: set[int] = set()

    def reserve(self, count: int) -> int:
        """Set ids aside; those that are not used stay so.

        Parameters
        ----------
        count : int

        Returns
        -------
        int
            The first of so many.
        """
        self._next += count
        return self._next - count

    def use(self, id_: int) -> None:
        """Take an id that somebody else chose.

        Parameters
        ----------
        id_ : int
            No image has it.
        """
        self._next = max(self._next, id_ + 1)

    def choose(self, sha256: bytes) -> int:
        """Return the id for an image of a content: what it had in the index that this one was saved from, or a new one.

        Parameters
        ----------
        sha256 : bytes

        Returns
        -------
        int
        """
        if not self._has_formers:
            return self.reserve(1)
        former = self._catalog.select(
            "SELECT former_id FROM contents WHERE sha256 = ? AND former_id IS NOT NULL AND former_id NOT IN "
            "(SELECT id FROM images)",
            sha256,
        )
        if former and former[0][0] not in self._formers:
            self._formers.add(former[0][0])
            return int(former[0][0])
        return self.reserve(1)

    @functools.cached_property
    def _has_formers(self) -> bool:
        """Whether the index was saved from a damaged one; no run makes former ids."""
        return bool(self._catalog.select("SELECT 1 FROM contents WHERE former_id IS NOT NULL LIMIT 1"))
