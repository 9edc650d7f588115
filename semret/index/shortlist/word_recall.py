"""How many images words have to give, for the best of a region to be among them: measured on the collection itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from semret.arrays import Float32Array, Float64Array, IndexVector
from semret.index.shortlist.words import MEASURED_HITS, Holders, score_holders
from semret.integer_tokens import IntegerTokens

REGIONS = 64
"""Regions that recall is measured on."""

_SIDES = 2, 6
"""Rows and columns of their boxes: from the first of these, below the second."""

_AT_ONCE = 16

_MARGIN = 2
"""Twice as many images are compared: what is in no image of a collection is harder to find than parts of these."""


def unit_tokens(tokens: IntegerTokens) -> tuple[Float32Array, Float64Array]:
    """Return tokens at length 1, and how long they are.

    Parameters
    ----------
    tokens : IntegerTokens of length n

    Returns
    -------
    unit : ndarray of shape (n, S, D), float32
        Zeros for a token of zeros.
    lengths : ndarray of shape (n, S), float64
    """
    wide = tokens.integers.astype(np.float32)
    # Exact: sums of squares of int8 are whole numbers below 2**24.
    norms = np.sqrt(np.einsum("nsd,nsd->ns", wide, wide))
    there = (norms > 0) & (tokens.scales > 0)
    wide *= np.divide(1, norms, out=np.zeros_like(norms), where=there)[:, :, None]
    return wide, norms * tokens.scales.astype(np.float64)


def shares(lengths: Float64Array) -> Float64Array:
    """Return how much each token of a query counts: its share of their energy.

    Parameters
    ----------
    lengths : ndarray of shape (n,), float64

    Returns
    -------
    ndarray of shape (n,), float64
        Of sum 1; zeros for a query of zeros.
    """
    largest = lengths.max(initial=0.0)
    energies = (lengths / largest) ** 2 if largest > 0 else np.zeros_like(lengths)
    return np.asarray(energies / max(energies.sum(), 1.0))


class RegionJudge:
    """Finds the best images of some regions of a collection by comparing them with all.

    Parameters
    ----------
    images : int
        N, at least 1.
    tokens : callable
        Gives the stored tokens of images at positions.
    grid : (int, int)
        Rows and columns of a map.
    chance : Generator
    """

    def __init__(
        self,
        images: int,
        tokens: Callable[[IndexVector], IntegerTokens],
        grid: tuple[int, int],
        chance: np.random.Generator,
    ) -> None:
        self._images = images
        self._count = min(MEASURED_HITS, images - 1)
        self._asked = np.sort(chance.choice(images, min(images, REGIONS), replace=False))
        unit, lengths = unit_tokens(tokens(self._asked))
        boxes = [_box(grid, unit.shape[1], chance) for _ in self._asked]
        self._tokens = [one[cells] for one, cells in zip(unit, boxes, strict=True)]
        self._shares = [shares(one[cells]) for one, cells in zip(lengths, boxes, strict=True)]
        self._starts = np.cumsum([0, *map(len, boxes[:-1])])
        self._all_tokens = np.concatenate(self._tokens)
        self._all_shares = np.concatenate(self._shares).astype(np.float32)
        self._scores = np.full((len(self._asked), 0), -np.inf, dtype=np.float32)
        self._rows = np.zeros((len(self._asked), 0), dtype=np.intp)

    def see(self, rows: IndexVector, unit: Float32Array) -> None:
        """Compare the regions with some more of the images: by the largest cosine of each token.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer
            Positions.
        unit : ndarray of shape (n, S, D), float32
            Their tokens at length 1.
        """
        scores = np.empty((len(self._asked), len(rows)), dtype=np.float32)
        for start in range(0, len(rows), _AT_ONCE):
            part = unit[start : start + _AT_ONCE]
            nearest = (part @ self._all_tokens.T).max(axis=1) * self._all_shares
            scores[:, start : start + len(part)] = np.add.reduceat(nearest, self._starts, axis=1).T
        scores[self._asked[:, None] == np.asarray(rows)[None, :]] = -np.inf
        all_scores = np.concatenate([self._scores, scores], axis=1)
        all_rows = np.concatenate([self._rows, np.broadcast_to(rows, scores.shape)], axis=1)
        best = np.argsort(-all_scores, axis=1, kind="stable")[:, : self._count]
        self._scores, self._rows = (np.take_along_axis(array, best, axis=1) for array in (all_scores, all_rows))

    def examined(
        self, centroids: Float32Array, holders: Holders, probed: int, wanted: float, least: int
    ) -> tuple[int, float]:
        """Return how many images are to be compared for a recall, with a margin, and the recall that these give.

        Parameters
        ----------
        centroids, holders, probed
            See `semret.index.shortlist.words.score_holders`.
        wanted : float
            Recall, from 0 to 1.
        least : int
            The least number of images.

        Returns
        -------
        examined : int
        recall : float
            Share of the best images of all regions that are among so many with the largest estimates.
        """
        if not self._rows.size:
            return least, 1.0
        ranks: list[int] = []
        for asked, tokens, weights, rows in zip(self._asked, self._tokens, self._shares, self._rows, strict=True):
            found = score_holders(tokens, weights, centroids, holders, probed=probed, images=self._images)
            found[asked] = -1
            ranks += [int((found > found[row]).sum() + (found[:row] == found[row]).sum()) for row in rows.tolist()]
        sorted_ranks = np.sort(ranks)
        enough = int(sorted_ranks[int(np.ceil(wanted * len(ranks))) - 1]) + 1
        examined = max(least, _MARGIN * enough)
        return examined, float((sorted_ranks < examined).mean())


def _box(grid: tuple[int, int], positions: int, chance: np.random.Generator) -> IndexVector:
    """Return the cells of a box somewhere in a map."""
    rows, columns = grid if grid[0] * grid[1] == positions else (1, positions)
    height, width = (min(int(chance.integers(*_SIDES)), side) for side in (rows, columns))
    top, left = int(chance.integers(rows - height + 1)), int(chance.integers(columns - width + 1))
    return np.asarray(np.arange(positions).reshape(rows, columns)[top : top + height, left : left + width]).ravel()
