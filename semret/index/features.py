"""The features of the images of a collection: row by row, their means, and as candidates for a rerank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, IdVector, IndexVector
from semret.centers import CENTERINGS, Center
from semret.errors import UnknownNameError
from semret.index.store.layout import Column, Segment, columns
from semret.index.store.manifest import Manifest
from semret.index.store.reading import SegmentReader
from semret.index.vectors import normalise

_BLOCK = 1024
_MEANS = {"channel": ("channel_sum", "means"), "position": ("position_sum", "tokens")}
"""The means that can be subtracted from tokens: the segments' sums that give them, and what these are sums of."""


class Features:
    """The features of N images, each at a row of a segment; read when they are taken.

    Parameters
    ----------
    index : Path
        Index directory.
    manifest : Manifest
    segments : mapping of int to Segment
        The segments by number.
    numbers, rows : ndarray of shape (N,), integer
        Segment and row in it of each image. Images of one content have the same.
    """

    def __init__(
        self,
        index: Path,
        manifest: Manifest,
        segments: Mapping[int, Segment],
        numbers: NDArray[np.int64],
        rows: IndexVector,
    ) -> None:
        self._index = index
        self._manifest = manifest
        self._segments = segments
        self._numbers = numbers
        self._rows = rows
        self._readers: dict[int, SegmentReader] = {}
        self._known: dict[str, Float64Array] = {}

    def know(self, pooled: Float64Array | None, channel: Float64Array | None) -> None:
        """Take means over the images as they were found before, so that the segments need not be read for them.

        Parameters
        ----------
        pooled : ndarray of shape (D,), float64, or None
            Mean pooled embedding; None if it is to be computed.
        channel : ndarray of shape (C,), float64, or None
            Mean token; the same.
        """
        for name, mean in (("pooled_sum", pooled), ("channel_sum", channel)):
            if mean is not None and mean.shape == self.column(name).shape:
                self._known[name] = mean

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, int]:
        """``(S, C)`` of every image."""
        return self._manifest.token_shape

    def column(self, name: str) -> Column:
        """Return dtype and shape of one row of a dataset, or of a dataset without rows.

        Parameters
        ----------
        name : str
            See `semret.index.store.layout.columns`.

        Returns
        -------
        Column
            Its first axis is 1 where the dataset has rows.
        """
        return columns(self._manifest, 1)[name]

    def _reader(self, number: int) -> SegmentReader:
        if number not in self._readers:
            self._readers[number] = SegmentReader(self._index, self._segments[number], self._manifest)
        return self._readers[number]

    @cached_property
    def norms(self) -> Float64Array:
        """Frobenius norms of the stored tokens, (N,) float64."""
        return self.read_norms(np.arange(len(self)))

    @property
    def means(self) -> FeatureRows:
        """Mean tokens, (N, C) float32; rows are read when they are taken."""
        return FeatureRows(self, "means")

    @property
    def pooled(self) -> FeatureRows:
        """Pooled embeddings, (N, D) float32; rows are read when they are taken."""
        return FeatureRows(self, "pooled")

    def read(self, name: str, rows: IndexVector) -> NDArray[Any]:
        """Read features of some images.

        Parameters
        ----------
        name : {"tokens", "pooled", "means"}
        rows : ndarray of shape (n,), integer
            Positions from 0 to N - 1, in any order; one may come twice.

        Returns
        -------
        ndarray of shape (n, S, C), (n, D) or (n, C), in the stored dtype

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        column = self.column(name)
        out = np.empty((len(rows), *column.shape[1:]), dtype=column.dtype)
        for reader, places, inner in self._by_segment(np.asarray(rows, dtype=np.intp)):
            if len(places) == len(out) and np.array_equal(places, np.arange(len(out))):
                reader.read(name, inner, out)
            else:
                out[places] = reader.take(name, inner)
        return out

    def read_norms(self, rows: IndexVector) -> Float64Array:
        """Read Frobenius norms of the stored tokens of some images.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer
            As for `read`.

        Returns
        -------
        ndarray of shape (n,), float64

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        out = np.empty(len(rows))
        for reader, places, inner in self._by_segment(rows):
            out[places] = reader.whole("norms")[inner]
        return out

    def _by_segment(self, rows: IndexVector) -> Iterator[tuple[SegmentReader, IndexVector, IndexVector]]:
        """Split positions by segment: its reader, which of `rows`, and their rows in the segment, ascending."""
        numbers, inner = self._numbers[rows], self._rows[rows]
        order = np.lexsort((inner, numbers))
        edges = np.flatnonzero(np.diff(numbers[order])) + 1
        for places in np.split(order, edges):
            if len(places):
                yield self._reader(int(numbers[places[0]])), places, inner[places]

    def center(self, mode: str = "channel") -> Center:
        """Return what to subtract before images are compared.

        Parameters
        ----------
        mode : {"channel", "position", "none"}

        Returns
        -------
        Center
            Without arrays for the mode ``none``, and where there are no images.

        Raises
        ------
        UnknownNameError
            If there is no such mode.
        IndexCorruptError
            If what is read is damaged.
        """
        if mode not in CENTERINGS:
            raise UnknownNameError(f"unknown centring {mode!r}; choose one of {', '.join(CENTERINGS)}")
        if mode == "none" or not len(self):
            return Center(mode=mode)
        pooled = self.pooled_mean.astype(np.float32)
        return Center(mode=mode, pooled=pooled, **{mode: self._mean(*_MEANS[mode]).astype(np.float32)})

    @cached_property
    def pooled_mean(self) -> Float64Array:
        """Mean pooled embedding, (D,) float64; zeros where there are no images."""
        return self._mean("pooled_sum", "pooled")

    @cached_property
    def channel_mean(self) -> Float64Array:
        """Mean token, (C,) float64; zeros where there are no images."""
        return self._mean(*_MEANS["channel"])

    def _mean(self, total: str, rows: str) -> Float64Array:
        """Return the mean over all images of a feature, from the segments' sums and the rows that these miscount.

        A segment's sum counts each row once. A row must count as often as there are images of it: not at all where
        they were removed, several times where there are copies.
        """
        if total in self._known:
            return self._known[total]
        mean = np.zeros(self.column(total).shape)
        for number in sorted(set(self._numbers.tolist())):
            reader = self._reader(number)
            counts = np.bincount(self._rows[self._numbers == number], minlength=reader.segment.rows)
            weights = counts - 1
            if np.count_nonzero(weights) < np.count_nonzero(counts):
                mean += reader.whole(total)
            else:
                # Most rows are miscounted: to add up those that count is less work than to correct the sum.
                weights = counts
            for row in np.flatnonzero(weights):
                mean += float(weights[row]) * reader.take(rows, np.array([row]))[0].astype(np.float64)
        return mean / max(len(self), 1)

    def unit_pooled(self) -> Float32Array:
        """Return the pooled embeddings as the shortlist compares them: the mean subtracted, scaled to length 1.

        Returns
        -------
        ndarray of shape (N, D), float32
            Zeros where an embedding is the mean itself.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        mean = self.pooled_mean
        vectors = np.empty((len(self), len(mean)), dtype=np.float32)
        order = np.lexsort((self._rows, self._numbers))
        for start in range(0, len(self), _BLOCK):
            rows = order[start : start + _BLOCK]
            vectors[rows] = normalise(self.read("pooled", rows), mean)
        return vectors


class FeatureRows:
    """A two-dimensional array whose rows stay on disk: indexing reads them, ``numpy.asarray`` reads them all.

    Parameters
    ----------
    features : Features
    name : {"pooled", "means"}
    """

    def __init__(self, features: Features, name: str) -> None:
        self._features = features
        self._name = name
        column = features.column(name)
        self.shape: tuple[int, int] = (len(features), column.shape[1])
        self.dtype = np.dtype(column.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Float32Array:
        """Return rows by anything that indexes the first axis of an array."""
        chosen = np.arange(len(self))[rows]
        found = self._features.read(self._name, np.atleast_1d(chosen))
        return found[0] if chosen.ndim == 0 else found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("rows on disk cannot become an array without being copied")
        found = self._features.read(self._name, np.arange(len(self)))
        return found if dtype is None else found.astype(dtype, copy=False)


class StoredTokens:
    """Candidates of a rerank: small features at once, tokens when they are read.

    Parameters
    ----------
    features : Features
        Of all images.
    ids : ndarray of shape (K,), int64
        Of the candidates.
    rows : ndarray of shape (K,), integer
        Their positions among all images.

    Attributes
    ----------
    ids : ndarray of shape (K,), int64
    shape : (int, int)
        ``(S, C)``.
    """

    def __init__(self, features: Features, ids: IdVector, rows: IndexVector) -> None:
        self._features = features
        self._rows = rows
        self.ids = ids
        self.shape = features.shape

    @cached_property
    def norms(self) -> Float64Array:
        """Frobenius norms, (K,) float64."""
        return self._features.read_norms(self._rows)

    @cached_property
    def means(self) -> Float32Array:
        """Mean tokens, (K, C) float32."""
        return self._features.read("means", self._rows)

    @cached_property
    def pooled(self) -> Float32Array:
        """Pooled embeddings, (K, D) float32."""
        return self._features.read("pooled", self._rows)

    def read(self, rows: IndexVector) -> NDArray[Any]:
        """Read tokens of candidates.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer
            Which of the candidates, from 0 to K - 1.

        Returns
        -------
        ndarray of shape (n, S, C), in the stored dtype

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        return self._features.read("tokens", self._rows[rows])
