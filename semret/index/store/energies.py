"""How much of the tokens a codec keeps: sums over all segments, kept in the catalog as segments are added to it."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from semret.errors import IndexCorruptError
from semret.index.store.catalog import Catalog
from semret.index.store.layout import Rows, Segment
from semret.index.store.manifest import Manifest
from semret.index.store.reading import SegmentReader


@dataclass(frozen=True)
class Energies:
    """Sums of squares over all rows of the segments in use.

    Attributes
    ----------
    kept, total : float
        Of tokens as they are stored, and of the tokens of the network less their mean.
    segments, last : int
        How many segments were counted, and the largest of their numbers. Numbers are never used again and what is out
        of use stays so: the sums hold as long as so many of the segments up to that number are in use.
    """

    kept: float = 0.0
    total: float = 0.0
    segments: int = 0
    last: int = 0

    def plus(self, number: int, kept: float, total: float) -> Energies:
        """Return the sums with those of one more segment.

        Parameters
        ----------
        number : int
        kept, total : float
            As `sums_of` gives them.

        Returns
        -------
        Energies
        """
        return Energies(self.kept + kept, self.total + total, self.segments + 1, max(self.last, number))


def sums_of(parts: Sequence[Rows]) -> tuple[float, float]:
    """Return the sums of squares of a segment.

    Parameters
    ----------
    parts : sequence of Rows
        All its rows.

    Returns
    -------
    kept, total : float
        As in `Energies`; `total` is 0 without a codec.
    """
    kept = total = 0.0
    for rows in parts:
        kept += float(np.square(rows.norms).sum())
        if rows.full_norms is not None:
            total += float(np.square(rows.full_norms, dtype=np.float64).sum())
    return kept, total


def energies_of(index: Path, catalog: Catalog, manifest: Manifest) -> Energies:
    """Return the sums over all segments in use: those that the catalog has, or by reading all norms if they are stale.

    Parameters
    ----------
    index : Path
    catalog : Catalog
    manifest : Manifest
        Of an index with a codec.

    Returns
    -------
    Energies

    Raises
    ------
    IndexCorruptError
        If what is read is damaged.
    """
    known = _parsed(catalog.energies)
    if known is not None:
        count, valid = catalog.select(
            "SELECT count(*), total(number <= ?) FROM segments WHERE retired IS NULL", known.last
        )[0]
        if count == valid == known.segments:
            return known
    found = Energies()
    for number, segment in catalog.segments().items():
        found = _with_stored(found, index, number, segment, manifest)
    return found


def note_segment(index: Path, catalog: Catalog, manifest: Manifest, number: int, parts: Sequence[Rows]) -> None:
    """Before a segment is entered, inside the transaction that does it: add its rows to the sums in the catalog.

    Where these have to be made anew and a segment is damaged, they are left alone: that is for those who read it.

    Parameters
    ----------
    index : Path
    catalog : Catalog
    manifest : Manifest
        Nothing is done without a codec.
    number : int
        Of the segment.
    parts : sequence of Rows
        All its rows.
    """
    if manifest.codec_file is not None:
        note_sums(index, catalog, manifest, number, sums_of(parts))


def note_sums(index: Path, catalog: Catalog, manifest: Manifest, number: int, sums: tuple[float, float]) -> None:
    """Do what `note_segment` does for a segment whose sums are known.

    Parameters
    ----------
    index : Path
    catalog : Catalog
    manifest : Manifest
    number : int
        Of the segment.
    sums : (float, float)
        As `sums_of` gives them.
    """
    if manifest.codec_file is None:
        return
    with contextlib.suppress(IndexCorruptError):
        found = energies_of(index, catalog, manifest).plus(number, *sums)
        catalog.set_meta("energies", json.dumps(asdict(found)))


def _with_stored(found: Energies, index: Path, number: int, segment: Segment, manifest: Manifest) -> Energies:
    reader = SegmentReader(index, segment, manifest)
    kept = float(np.square(reader.whole("norms")).sum())
    total = float(np.square(reader.whole("full_norms"), dtype=np.float64).sum())
    return Energies(found.kept + kept, found.total + total, found.segments + 1, max(found.last, number))


def _parsed(text: str | None) -> Energies | None:
    """Return what the catalog has, None if that is nothing that `note_segment` wrote."""
    try:
        found = Energies(**json.loads(text or ""))
    except (ValueError, TypeError, RecursionError):
        return None
    whole = type(found.segments) is type(found.last) is int and 0 <= found.segments <= found.last < 2**62
    sums = (found.kept, found.total)
    return found if whole and all(type(value) is float and 0 <= value < math.inf for value in sums) else None
