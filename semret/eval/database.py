"""The database of an evaluation, read in parts that fit into memory: its tokens and their means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from semret.arrays import FloatArray, IndexVector
from semret.centers import Center, mean_map
from semret.retrieval.search.candidates import TokenSource

CHUNK_BYTES = 96 << 20
"""Tokens of the database held at once, as float32."""

BLOCK_BYTES = 384 << 20
"""Tokens of the queries held at once, as float32; the database is read once for each block."""


def measure_center(database: TokenSource, mode: str) -> Center:
    """Average the database: per channel, per position and channel, or not at all.

    Parameters
    ----------
    database : TokenSource
        At least one image.
    mode : {"channel", "position", "none"}
        The paper's experiments use ``position``. Except for ``none``, pooled embeddings are centred too.

    Returns
    -------
    Center
    """
    if mode == "none":
        return Center()
    if mode == "channel":
        # All maps have equally many tokens: the mean of their mean tokens is that of all tokens.
        parts: Iterable[FloatArray] = [np.asarray(database.means)[:, None]]
    else:
        parts = (database.read(rows) for rows in chunks(len(database.ids), database.shape, CHUNK_BYTES))
    mean = mean_map(parts, mode, "the database")
    pooled = np.asarray(database.pooled, dtype=np.float64).mean(axis=0).astype(np.float32)
    return Center(mode=mode, pooled=pooled, **{mode: None if mean is None else mean.astype(np.float32)})


class Tokens:
    """A source's tokens as an array that is read by slices, for `semret.rsm`.

    Parameters
    ----------
    source : TokenSource
    """

    def __init__(self, source: TokenSource) -> None:
        self.source = source
        self.shape = (len(source.ids), *source.shape)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, rows: slice) -> FloatArray:
        tokens: FloatArray = self.source.read(np.arange(len(self.source.ids))[rows])
        return tokens


def chunks(count: int, shape: tuple[int, int], size: int) -> Iterator[IndexVector]:
    """Cut rows 0 to `count` into runs whose tokens of `shape` take about `size` bytes as float32.

    Parameters
    ----------
    count : int
        Rows in all.
    shape : (int, int)
        S and C of one image's tokens.
    size : int
        Bytes of a part, as float32; a part has at least one row.

    Yields
    ------
    ndarray of shape (n,), intp
    """
    step = max(1, size // (4 * shape[0] * shape[1]))
    for start in range(0, count, step):
        yield np.arange(start, min(start + step, count))
