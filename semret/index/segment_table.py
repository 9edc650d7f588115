"""The segments of one state of an index by number, wherever their table lies."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from semret.index.joined_texts import JoinedTexts
from semret.index.store.directory_file import Arrays
from semret.index.store.entries import read_segment
from semret.index.store.layout import Segment
from semret.index.store.members import damaged


class SegmentTable(Mapping[int, Segment]):
    """Segments by number; the entry of one is read when it is asked for.

    Parameters
    ----------
    path : Path
        The file that they come from, for messages.
    arrays : Arrays
        ``segment_numbers``, ``segment_rows``, ``segment_ends`` and ``segments`` of a directory.
    """

    def __init__(self, path: Path, arrays: Arrays) -> None:
        self._path = path
        self._numbers: list[int] = arrays.whole("segment_numbers").tolist()
        self._limits = arrays.whole("segment_rows")
        self._texts = JoinedTexts(arrays.whole("segments"), arrays.whole("segment_ends"))
        self._kept: dict[int, Segment] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    @property
    def row_count(self) -> int:
        """Rows of all segments together."""
        return int(self._limits.sum())

    def __getitem__(self, number: int) -> Segment:
        if number not in self._kept:
            place = bisect.bisect_left(self._numbers, number)
            if place == len(self._numbers) or self._numbers[place] != number:
                raise KeyError(number)
            try:
                segment = read_segment(tuple(json.loads(self._texts[place])))
            except (ValueError, TypeError, AttributeError, RecursionError) as error:
                raise damaged(self._path, "the entry of a segment is not valid") from error
            if (segment.number, segment.rows) != (number, int(self._limits[place])):
                raise damaged(self._path, "the entry of a segment is of another one")
            self._kept[number] = segment
        return self._kept[number]
