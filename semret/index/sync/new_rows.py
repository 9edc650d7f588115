"""Features that a run has computed and that no commit has brought into the index yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from semret.index.store.energies import sums_of
from semret.index.store.layout import SEGMENT_BYTES, Rows, Segment
from semret.index.store.staged import StagedSegment, adopt_segment, discard_staged
from semret.index.writer import IndexWriter

_MOST_STAGED = 16


@dataclass(frozen=True, kw_only=True)
class Written:
    """A segment that is written and not entered into the catalog.

    Attributes
    ----------
    segment : Segment
    sums : (float, float)
        See `semret.index.store.energies.sums_of`.
    contents : dict of bytes to int
        Row in it of each content that the index did not have.
    """

    segment: Segment
    sums: tuple[float, float]
    contents: dict[bytes, int]


class NewRows:
    """Rows in memory, and segments that workers wrote; each is of a content that the index did not have.

    Parameters
    ----------
    writer : IndexWriter
    """

    def __init__(self, writer: IndexWriter) -> None:
        self._writer = writer
        self._all: set[bytes] = set()
        self._rows: list[Rows] = []
        self._contents: list[bytes] = []
        self._staged: list[tuple[StagedSegment, dict[bytes, int]]] = []
        self._ids: dict[bytes, int] = {}

    def has(self, sha256: bytes) -> bool:
        """Tell whether a content is among them; any thread may ask.

        Parameters
        ----------
        sha256 : bytes

        Returns
        -------
        bool
        """
        return sha256 in self._all

    def add(self, contents: Sequence[bytes], rows: Rows) -> None:
        """Take rows.

        Parameters
        ----------
        contents : sequence of bytes
            N different ones.
        rows : Rows
            Their N rows, in the same order.
        """
        self._rows.append(rows)
        self._contents += contents
        self._all.update(contents)

    def add_staged(self, staged: StagedSegment, ids: Mapping[bytes, int], rows: dict[bytes, int]) -> None:
        """Take a segment that a worker wrote; one without rows that are wanted is deleted.

        Parameters
        ----------
        staged : StagedSegment
        ids : mapping of bytes to int
            The ids that are written in it.
        rows : dict of bytes to int
            Row in it of each content that is wanted; the others stay unused.
        """
        if not rows:
            discard_staged(self._writer.index, staged)
            return
        self._staged.append((staged, rows))
        self._ids.update((sha, ids[sha]) for sha in rows)
        self._all.update(rows)

    def take_id(self, sha256: bytes) -> int | None:
        """Return the id that a worker wrote beside a content, once.

        Parameters
        ----------
        sha256 : bytes

        Returns
        -------
        int or None
            None if none did, or it was taken.
        """
        return self._ids.pop(sha256, None)

    def are_many(self, most: int) -> bool:
        """Tell whether they should be committed.

        Parameters
        ----------
        most : int
            Rows in memory.

        Returns
        -------
        bool
        """
        rows = len(self._contents)
        large = rows * self._writer.manifest.token_bytes >= SEGMENT_BYTES
        return large or rows >= most or len(self._staged) >= _MOST_STAGED

    def write(self, placed: Callable[[], Mapping[bytes, int]]) -> list[Written]:
        """Bring them under the names of segments.

        Parameters
        ----------
        placed : callable
            Gives the id of each content in memory; it is written beside the row.

        Returns
        -------
        list of Written
            Numbered in this order from the next number of the catalog.

        Raises
        ------
        StorageError
            If the disk is full, read-only, or refuses access.
        """
        written = []
        if self._rows:
            self._set_ids(placed())
            contents = {sha: row for row, sha in enumerate(self._contents)}
            segment = self._writer.write_segment(self._rows)
            written.append(Written(segment=segment, sums=sums_of(self._rows), contents=contents))
        first = self._writer.catalog.next_segment() + len(written)
        for number, (staged, rows) in enumerate(self._staged, first):
            segment = adopt_segment(self._writer.index, staged, number)
            written.append(Written(segment=segment, sums=(staged.kept, staged.total), contents=rows))
        return written

    def _set_ids(self, ids: Mapping[bytes, int]) -> None:
        position = 0
        for part in self._rows:
            for row in range(len(part)):
                part.ids[row] = ids[self._contents[position]]
                position += 1

    def forget(self, written: Sequence[Written]) -> None:
        """Let go of all, now that what was written is in the catalog.

        Parameters
        ----------
        written : sequence of Written
        """
        self._all.difference_update(*(part.contents for part in written))
        self._rows, self._contents, self._staged, self._ids = [], [], [], {}
