"""How the images of an index are dealt out to shards, and what a shard needs to know of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, IdVector, IndexVector
from semret.centers import Center
from semret.index.store.layout import Segment
from semret.index.store.manifest import Manifest
from semret.retrieval.search.candidates import Query
from semret.retrieval.search.options import RerankOptions

Owners = NDArray[np.int32]
"""Number of the shard of each image, (N,)."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """The images of one state of an index that one shard answers for.

    Whoever has it needs the files of the index, but neither its catalog nor the state to be the newest: segments are
    immutable.

    Attributes
    ----------
    key : str
        Names the state and the part of it: what another part, or another state, never has.
    path : Path
        Index directory.
    manifest : Manifest
    segments : dict of int to Segment
        Those that hold the images, by number.
    ids : ndarray of shape (n,), int64
        Ascending.
    numbers, rows : ndarray of shape (n,), integer
        Segment and row in it of each image.
    pooled_mean : ndarray of shape (D,), float64, or None
        Of all images of the index; subtracted for the shortlist. None with a codec, which has subtracted its own.
    lists : bytes or None
        Token of the inverted lists that the index is searched through; None where it is searched as a whole.
    newest : int
        The largest id of the index.
    """

    key: str
    path: Path
    manifest: Manifest
    segments: dict[int, Segment]
    ids: IdVector
    numbers: NDArray[np.integer]
    rows: NDArray[np.integer]
    pooled_mean: Float64Array | None
    lists: bytes | None
    newest: int


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A query as shards compare it with their candidates.

    Attributes
    ----------
    key : str
        Names the query: what no other has.
    query : Query
        Weighed, if candidates are levelled.
    options : RerankOptions
    center : Center
        What candidates are centred by.
    levelled : bool
        Whether candidates are centred and brought to length 1 as they are read; see `LevelledTokens`.
    """

    key: str
    query: Query
    options: RerankOptions
    center: Center
    levelled: bool


def deal(numbers: NDArray[np.integer], rows: NDArray[np.integer], shards: int) -> Owners:
    """Deal images out: whole segments as far as shares may be equal, images of one content together.

    Parameters
    ----------
    numbers, rows : ndarray of shape (N,), integer
        Segment and row in it of each image.
    shards : int
        From 1.

    Returns
    -------
    ndarray of shape (N,), int32
        Shards have rows that follow one another in the segments, all but equally many; some have none where there are
        fewer rows than shards.

    Examples
    --------
    >>> deal(np.array([1, 1, 2, 2, 1]), np.array([0, 1, 0, 1, 0]), 2).tolist()
    [0, 0, 1, 1, 0]
    """
    owners = np.zeros(len(rows), dtype=np.int32)
    if len(rows):
        order = np.lexsort((rows, numbers))
        fresh = (np.diff(numbers[order]) != 0) | (np.diff(rows[order]) != 0)
        place = np.concatenate([[0], np.cumsum(fresh)])
        owners[order] = place * shards // (int(place[-1]) + 1)
    return owners


def places_in(owners: Owners, shards: int) -> list[IndexVector]:
    """Return the positions of the images of each shard, ascending.

    Parameters
    ----------
    owners : ndarray of shape (N,), int32
    shards : int

    Returns
    -------
    list of ndarray of intp
        One for each shard.
    """
    order = np.argsort(owners, kind="stable")
    return np.split(order, np.searchsorted(owners[order], np.arange(1, shards)))
