"""Which pictures of a collection are copies of one another: those whose files have the same content."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, FloatArray, IdVector, IndexVector
from semret.index.collection import Collection

NOBODY: IdVector = np.zeros(0, dtype=np.int64)
"""No ids."""

_FEW = 4
"""Where less than this part of a collection may be found, all that may be is scored."""


class Copies:
    """The copies in a collection: images of the same content, which share every feature.

    Parameters
    ----------
    collection : Collection
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def first_of_each(self, ids: IdVector) -> IndexVector:
        """Find one image for each content.

        Parameters
        ----------
        ids : ndarray of shape (n,), int64

        Returns
        -------
        ndarray of shape (up to n,), intp
            Positions in `ids` at which a content comes for the first time, ascending.

        Raises
        ------
        ArgumentError
            If an id is not in the collection.
        """
        firsts = self._collection.firsts(self._collection.rows(ids))
        return np.sort(np.unique(firsts, return_index=True)[1])

    def distinct(self, ids: IdVector, excluded: IdVector = NOBODY) -> IdVector:
        """Keep one image for each content.

        Parameters
        ----------
        ids : ndarray of shape (n,), int64
        excluded : ndarray of int64
            Ids that may not be among them.

        Returns
        -------
        ndarray of shape (up to n,), int64
            Ids, ascending: of the images of one content the first that is not excluded.

        Raises
        ------
        ArgumentError
            If an id is not in the collection.
        """
        allowed = np.setdiff1d(ids, excluded)
        return allowed[self.first_of_each(allowed)]

    def of(self, id_: int) -> IdVector:
        """Find all images with the content of one.

        Parameters
        ----------
        id_ : int

        Returns
        -------
        ndarray of int64
            Ids, ascending; `id_` is among them.

        Raises
        ------
        ArgumentError
            If it is not in the collection.
        """
        return self._collection.copies(id_)

    def nearest(
        self, pooled: FloatArray, length: int, excluded: IdVector = NOBODY, among: IdVector | None = None
    ) -> tuple[IdVector, Float64Array]:
        """Find the contents nearest to a pooled embedding, each by its lowest id that is not excluded.

        Parameters
        ----------
        pooled : ndarray of shape (D,)
        length : int
            Contents wanted, at least 1.
        excluded : ndarray of int64
            Ids that may not be among them.
        among : ndarray of int64, ascending, or None
            The only ids that may be; None allows all. All of them are scored where they are few.

        Returns
        -------
        ids : ndarray of shape (K,), int64
            Best first; equal scores in the order of ids. All there are where these are fewer than `length`.
        scores : ndarray of shape (K,), float64
            As `Collection.shortlist` gives them.
        """
        if among is not None and len(among) * _FEW < len(self._collection):
            ids = self.distinct(among, excluded)
            scores = self._collection.pooled_scores(pooled, ids)
            best = np.lexsort((ids, -scores))[:length]
            return ids[best], scores[best]
        wanted = length * (1 if among is None else _FEW) + len(excluded)
        while True:
            found = self._collection.shortlist(pooled[None], wanted)
            ids, scores = found.ids[0], found.scores[0].astype(np.float64)
            admitted = np.flatnonzero(~np.isin(ids, excluded) & _within(ids, among))
            chosen = admitted[self.first_of_each(ids[admitted])]
            # Copies score alike, so the first contents of any longer list are those of this one.
            if len(chosen) >= length or wanted >= len(self._collection):
                return ids[chosen[:length]], scores[chosen[:length]]
            wanted *= 2


def _within(ids: IdVector, among: IdVector | None) -> NDArray[np.bool_]:
    """Tell which ids are among others, which are ascending; None has all."""
    if among is None:
        return np.ones(len(ids), dtype=bool)
    if not len(among):
        return np.zeros(len(ids), dtype=bool)
    return np.asarray(among[np.minimum(np.searchsorted(among, ids), len(among) - 1)] == ids)
