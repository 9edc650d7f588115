"""The rows of the images of a collection, each in one of its segments: read when they are taken, averaged, summed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, IndexVector
from semret.index.store.layout import Column, Segment, columns
from semret.index.store.manifest import Manifest
from semret.index.store.reading import SegmentReader


class SegmentRows:
    """Where N images have their rows.

    Parameters
    ----------
    index : Path
        Index directory.
    manifest : Manifest
    segments : mapping of int to Segment
        The segments by number.
    numbers, rows : ndarray of shape (N,), integer
        Segment and row in it of each image. Images of one content have the same.

    Attributes
    ----------
    index, manifest
        As given.
    """

    def __init__(
        self,
        index: Path,
        manifest: Manifest,
        segments: Mapping[int, Segment],
        numbers: NDArray[np.integer[Any]],
        rows: NDArray[np.integer[Any]],
    ) -> None:
        self.index = index
        self.manifest = manifest
        self._segments = segments
        self._numbers = numbers
        self._rows = rows
        self._readers: dict[int, SegmentReader] = {}

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._rows)

    def in_order(self) -> IndexVector:
        """Return all positions in the order in which rows lie on the disk.

        Returns
        -------
        ndarray of shape (N,), intp
        """
        return np.lexsort((self._rows, self._numbers))

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
        return columns(self.manifest, 1)[name]

    def read(self, name: str, rows: IndexVector) -> NDArray[Any]:
        """Read features of some images.

        Parameters
        ----------
        name : {"tokens", "scales", "pooled", "means"}
        rows : ndarray of shape (n,), integer
            Positions from 0 to N - 1, in any order; one may come twice.

        Returns
        -------
        ndarray of shape (n, ...), in the stored dtype
            See `semret.index.store.layout.columns`.

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

    def read_from_whole(self, name: str, rows: IndexVector) -> NDArray[Any]:
        """Read features of some images, of a dataset that is read, and checked, as a whole.

        Parameters
        ----------
        name : {"norms", "sizes"}
        rows : ndarray of shape (n,), integer
            As for `read`.

        Returns
        -------
        ndarray of shape (n, ...), in the stored dtype

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        column = self.column(name)
        out = np.empty((len(rows), *column.shape[1:]), dtype=column.dtype)
        for reader, places, inner in self._by_segment(rows):
            out[places] = reader.whole(name)[inner]
        return out

    def mean(self, total: str, rows: str) -> Float64Array:
        """Return the mean over all images of a feature, from the segments' sums and the rows that these miscount.

        A segment's sum counts each row once. A row must count as often as there are images of it: not at all where
        they were removed, several times where there are copies.

        Parameters
        ----------
        total, rows : str
            The dataset of the sums, and that of what they are sums of; see `semret.index.store.layout.columns`.

        Returns
        -------
        ndarray, float64
            Of the shape of the sum; zeros where there are no images.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
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

    def energies(self) -> tuple[float, float]:
        """Return the sums, over all rows of all segments, of squares of tokens as a codec stores them and as they were.

        Returns
        -------
        (float, float)

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        kept = total = 0.0
        for segment in self._segments.values():
            # Not one that is kept: what it reads of all segments would be, too.
            reader = SegmentReader(self.index, segment, self.manifest)
            kept += float((reader.whole("norms") ** 2).sum())
            total += float((reader.whole("full_norms").astype(np.float64) ** 2).sum())
        return kept, total

    def _by_segment(self, rows: IndexVector) -> Iterator[tuple[SegmentReader, IndexVector, IndexVector]]:
        """Split positions by segment: its reader, which of `rows`, and their rows in the segment, ascending."""
        numbers, inner = self._numbers[rows], self._rows[rows].astype(np.intp)
        order = np.lexsort((inner, numbers))
        edges = np.flatnonzero(np.diff(numbers[order])) + 1
        for places in np.split(order, edges):
            if len(places):
                yield self._reader(int(numbers[places[0]])), places, inner[places]

    def _reader(self, number: int) -> SegmentReader:
        if number not in self._readers:
            self._readers[number] = SegmentReader(self.index, self._segments[number], self.manifest)
        return self._readers[number]
