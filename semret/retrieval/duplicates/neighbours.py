"""Pooled neighbours of every image, a block of products at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, IndexVector

NEAREST = 0.3
"""Cosine of pooled embeddings below which nobody is a neighbour."""

_BLOCK_BYTES = 64 << 20
"""Products held at once."""


class Neighbours:
    """The images of a list that come after each image and are near it by their pooled embeddings.

    Every pair of images is looked at once: the products of n vectors of D numbers are ``n * n / 2 * D``
    multiplications, and no more than a block of them is held. What is taken meanwhile is passed over.

    Parameters
    ----------
    vectors : ndarray of shape (n, D), float32
        Of length 1, in the order of the list.

    Attributes
    ----------
    taken : ndarray of shape (n,), bool
        Images that have no neighbours and are nobody's; set by the caller.
    """

    def __init__(self, vectors: Float32Array) -> None:
        self._vectors = vectors
        self.taken: NDArray[np.bool_] = np.zeros(len(vectors), dtype=bool)

    def __iter__(self) -> Iterator[tuple[int, IndexVector]]:
        """Give each place that is not taken by then, ascending, with its neighbours among later ones, nearest first."""
        start, count = 0, len(self._vectors)
        while start < count:
            stop = min(start + max(1, _BLOCK_BYTES // (4 * (count - start))), count)
            places = start + np.flatnonzero(~self.taken[start:stop])
            products = self._vectors[places] @ self._vectors[start:].T
            for place, row in zip(places.tolist(), products, strict=True):
                if not self.taken[place]:
                    yield place, self._near(place, row, start)
            start = stop

    def _near(self, place: int, products: Float32Array, start: int) -> IndexVector:
        later = place + 1 - start
        found = later + np.flatnonzero(products[later:] >= NEAREST)
        found = found[~self.taken[start + found]]
        return np.asarray(start + found[np.argsort(-products[found], kind="stable")])
