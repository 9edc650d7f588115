"""The images of one state of an index: looked up by position, content and path, wherever their table lies."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, IdVector, IndexVector
from semret.index.joined_texts import JoinedTexts
from semret.index.segment_table import SegmentTable
from semret.index.store.catalog_table import composed
from semret.index.store.directory_file import Arrays
from semret.index.store.members import damaged

_BLOCK = 8192


class ImageTable:
    """Images by position, 0 to N - 1 in the order of ids.

    What is small or needed by every query is read at once: ids, places and segments. The rest is looked up.

    Parameters
    ----------
    path : Path
        The file that it comes from, for messages.
    arrays : Arrays
        See `semret.index.store.directory_file.directory_columns`.

    Attributes
    ----------
    ids : ndarray of shape (N,), int64
        Ascending.
    numbers, rows : ndarray of shape (N,), integer
        Segment and row in it of each image.
    segments : mapping of int to Segment
        By number.
    pooled_mean, channel_mean : ndarray of float64, or None
        Means over the images; None where they are not kept with the table.
    arrays : Arrays
        As they were given.

    Raises
    ------
    IndexCorruptError
        If what is read is damaged, or an image is placed outside the segments.
    """

    def __init__(self, path: Path, arrays: Arrays) -> None:
        self._path = path
        self._arrays = self.arrays = arrays
        self.ids: IdVector = arrays.whole("ids")
        self.rows: NDArray[np.int32] = arrays.whole("rows")
        numbers, limits, places = (arrays.whole(name) for name in ("segment_numbers", "segment_rows", "places"))
        if len(places) and not (places.min() >= 0 and places.max() < len(numbers)):
            raise damaged(path, "an image is placed outside the segments")
        if (self.rows < 0).any() or (self.rows >= limits[places]).any():
            raise damaged(path, "an image is placed outside its segment")
        self.numbers: NDArray[np.integer[Any]] = _short(numbers)[places]
        self.segments = SegmentTable(path, arrays)
        self.pooled_mean, self.channel_mean = (_given(arrays.whole(name)) for name in ("pooled_mean", "channel_mean"))

    def __len__(self) -> int:
        return len(self.ids)

    def stored_path(self, row: int) -> bytes:
        """Return the path of an image as it is stored.

        Parameters
        ----------
        row : int

        Returns
        -------
        bytes

        Raises
        ------
        IndexCorruptError
            If what is read is damaged; so of every method.
        """
        ends = self._arrays.part("path_ends", max(row - 1, 0), row + 1)
        return self._arrays.part("paths", int(ends[0]) if row else 0, int(ends[-1])).tobytes()

    def content(self, row: int) -> bytes:
        """Return the SHA-256 of an image's file.

        Parameters
        ----------
        row : int

        Returns
        -------
        bytes
        """
        return self._arrays.part("hashes", row, row + 1).tobytes()

    def contents(self, rows: IndexVector) -> list[bytes]:
        """Return the SHA-256 of several images' files.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer

        Returns
        -------
        list of bytes
        """
        return [sha.tobytes() for sha in self._arrays.take("hashes", rows)]

    def files(self) -> Iterator[tuple[bytes, int, int]]:
        """Give the stored path, size and time stamp of every image.

        Yields
        ------
        (bytes, int, int)
        """
        for start in range(0, len(self), _BLOCK):
            yield from self.files_between(start, min(start + _BLOCK, len(self)))

    def files_between(self, start: int, stop: int) -> list[tuple[bytes, int, int]]:
        """Return the stored path, size and time stamp of neighbouring images.

        Parameters
        ----------
        start, stop : int
            Positions.

        Returns
        -------
        list of (bytes, int, int)
        """
        ends = self._arrays.part("path_ends", start, stop).tolist()
        begin = int(self._arrays.part("path_ends", start - 1, start)[0]) if start else 0
        blob = self._arrays.part("paths", begin, ends[-1] if ends else begin).tobytes()
        cuts = [end - begin for end in ends]
        paths = [blob[first:last] for first, last in zip([0, *cuts], cuts, strict=False)]
        status = (self._arrays.part(name, start, stop).tolist() for name in ("sizes", "stamps"))
        return list(zip(paths, *status, strict=True))

    def find_path(self, stored: bytes) -> int | None:
        """Find the image at a stored path.

        Parameters
        ----------
        stored : bytes

        Returns
        -------
        int or None
            Its position.
        """
        return self._find("by_path", stored, self.stored_path)

    def find_content(self, sha256: bytes) -> int | None:
        """Find the first image with a content.

        Parameters
        ----------
        sha256 : bytes

        Returns
        -------
        int or None
            Its position.
        """
        return self._find("by_hash", sha256, self.content)

    def find_composed(self, stored: bytes) -> int | None:
        """Find the first image whose stored path is not ASCII and is this one once its accents are composed.

        Parameters
        ----------
        stored : bytes
            Composed.

        Returns
        -------
        int or None
            Its position.
        """
        return self._find("composed", stored, lambda row: composed(self.stored_path(row)))

    def _find(self, order: str, wanted: bytes, key: Callable[[int], bytes]) -> int | None:
        """Search one of the orders for the first position whose key is this one."""
        length = len(self) if order != "composed" else self._composed

        def row_at(place: int) -> int:
            row = int(self._arrays.part(order, place, place + 1)[0])
            if not 0 <= row < len(self):
                raise damaged(self._path, f"{order} names position {row} of {len(self)}")
            return row

        place = bisect.bisect_left(range(length), wanted, key=lambda place: key(row_at(place)))
        if place == length:
            return None
        row = row_at(place)
        return row if key(row) == wanted else None

    @cached_property
    def _composed(self) -> int:
        return len(self._arrays.whole("composed"))

    def firsts(self, rows: IndexVector) -> IndexVector:
        """Return for each image the first one of its content.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer

        Returns
        -------
        ndarray of shape (n,), intp
        """
        return np.asarray(self._arrays.take("firsts", rows), dtype=np.intp)

    def copies(self, row: int) -> IndexVector:
        """Return all images with the content of one.

        Parameters
        ----------
        row : int

        Returns
        -------
        ndarray of intp
            Ascending; `row` is among them.
        """
        found = [int(self._arrays.part("firsts", row, row + 1)[0])]
        while True:
            following = int(self._arrays.part("nexts", found[-1], found[-1] + 1)[0])
            if following == -1:
                return np.array(found, dtype=np.intp)
            if following <= found[-1]:
                raise damaged(self._path, "its copies follow one another without end")
            found.append(following)

    @property
    def skipped(self) -> list[tuple[bytes, str]]:
        """Refused files, in the order of their stored paths, and why."""
        whole = self._arrays.whole
        paths = JoinedTexts(whole("skipped_paths"), whole("skipped_path_ends"))
        reasons = JoinedTexts(whole("skipped_reasons"), whole("skipped_reason_ends"))
        return [(path, reason.decode("utf-8", "surrogateescape")) for path, reason in zip(paths, reasons, strict=True)]

    @property
    def skipped_count(self) -> int:
        """How many files were refused."""
        return len(self._arrays.whole("skipped_path_ends"))

    @property
    def tail(self) -> IndexVector:
        """Positions of the images that the inverted lists do not have."""
        rows = np.asarray(self._arrays.whole("tail"), dtype=np.intp)
        if ((rows < 0) | (rows >= len(self))).any():
            raise damaged(self._path, "its tail names images that there are not")
        return rows


def _short(numbers: NDArray[np.int64]) -> NDArray[np.integer[Any]]:
    """Return numbers in 32 bits, if they have room there."""
    return numbers.astype(np.int32) if numbers.max(initial=0) < 2**31 else numbers


def _given(mean: Float64Array) -> Float64Array | None:
    return mean if len(mean) else None
