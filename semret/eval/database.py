"""The database of an evaluation, read in parts that fit into memory: its tokens and their means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from semret.arrays import Float32Array, FloatArray, IndexVector
from semret.retrieval.search.rerank import TokenSource

CHUNK_BYTES = 96 << 20
"""Tokens of the database held at once, as float32."""

BLOCK_BYTES = 384 << 20
"""Tokens of the queries held at once, as float32; the database is read once for each block."""


@dataclass(frozen=True, kw_only=True)
class DatabaseCenter:
    """What is subtracted from queries and database: means of the database."""

    channel: Float32Array | None = None
    position: Float32Array | None = None
    pooled: Float32Array | None = None

    @property
    def tokens(self) -> Float32Array | None:
        """What is subtracted from token maps, (C,) or (S, C)."""
        return self.channel if self.position is None else self.position


def measure_center(database: TokenSource, mode: str) -> DatabaseCenter:
    """Average the database: per channel, per position and channel, or not at all.

    Parameters
    ----------
    database : TokenSource
        At least one image.
    mode : {"channel", "position", "none"}
        The paper's experiments use ``position``. Except for ``none``, pooled embeddings are centred too.

    Returns
    -------
    DatabaseCenter
    """
    if mode == "none":
        return DatabaseCenter()
    pooled = np.asarray(database.pooled, dtype=np.float64).mean(axis=0).astype(np.float32)
    if mode == "channel":
        channel = np.asarray(database.means, dtype=np.float64).mean(axis=0).astype(np.float32)
        return DatabaseCenter(channel=channel, pooled=pooled)
    total = np.zeros(database.shape)
    for rows in chunks(len(database.ids), database.shape, CHUNK_BYTES):
        total += database.read(rows).sum(axis=0, dtype=np.float64)
    return DatabaseCenter(position=(total / len(database.ids)).astype(np.float32), pooled=pooled)


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
        return self.source.read(np.arange(len(self.source.ids))[rows])


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
