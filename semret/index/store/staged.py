"""Segments that others write for the one writer of an index: whole, on disk, and not part of it until it takes them.

One is written under a temporary name that nobody else chooses, in the folder of the segments. The writer gives it a
number and its name; what it never takes is deleted by the next writer, as any temporary file is.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semret.errors import StorageError
from semret.index.store import durable
from semret.index.store.energies import sums_of
from semret.index.store.layout import FOLDER, Rows, Segment, segment_path
from semret.index.store.manifest import Manifest
from semret.index.store.segments import write_temporary

_NAME = re.compile(r"[0-9a-f]{32}\.h5")


@dataclass(frozen=True, kw_only=True)
class StagedSegment:
    """A segment that waits to become part of an index.

    Attributes
    ----------
    name : str
        Its file is ``segments/NAME.tmp``.
    segment : Segment
        What the catalog is to know of it; the number is 0.
    kept, total : float
        Sums of squares of its tokens, see `semret.index.store.energies.Energies`.
    """

    name: str
    segment: Segment
    kept: float
    total: float


def stage_segment(index: Path, manifest: Manifest, parts: Sequence[Rows]) -> StagedSegment:
    """Write a segment and force it to the disk, for the writer of the index to take; any number may do so at a time.

    Parameters
    ----------
    index : Path
        Index directory.
    manifest : Manifest
    parts : sequence of Rows
        In the order of the rows; at least one row in all.

    Returns
    -------
    StagedSegment

    Raises
    ------
    StorageError
        If the disk is full, read-only, or refuses access. Nothing is left behind.
    """
    name = f"{uuid.uuid4().hex}.h5"
    segment = write_temporary(index / FOLDER / name, 0, manifest, parts)
    kept, total = sums_of(parts)
    return StagedSegment(name=name, segment=segment, kept=kept, total=total)


def adopt_segment(index: Path, staged: StagedSegment, number: int) -> Segment:
    """Give a staged segment its number and its name; it becomes part of the index by `Catalog.add_segment`.

    Parameters
    ----------
    index : Path
        Index directory.
    staged : StagedSegment
    number : int
        A number that no segment ever had.

    Returns
    -------
    Segment

    Raises
    ------
    StorageError
        If the file is not there, or not as long as it was written, or the disk refuses.
    """
    place, path = _place(index, staged), segment_path(index, number)
    with durable.storage(f"take over {place}, which a worker wrote"):
        size = place.stat().st_size
        if size != staged.segment.bytes:
            raise StorageError(
                f"{place} has {size} bytes, {staged.segment.bytes} were written by a worker: {index} must be one "
                "folder that all computers share"
            )
        place.replace(path)
        durable.checkpoint("segment:renamed")
        durable.flush_folder(path.parent)
    return replace(staged.segment, number=number)


def discard_staged(index: Path, staged: StagedSegment) -> None:
    """Delete a staged segment that is not wanted.

    Parameters
    ----------
    index : Path
        Index directory.
    staged : StagedSegment
    """
    with contextlib.suppress(StorageError):
        durable.discard(_place(index, staged))


def discard_leftovers(index: Path) -> None:
    """Delete all staged segments: those that workers wrote and could not hand over before they died.

    Parameters
    ----------
    index : Path
        Index directory, whose writer has taken what it wants.
    """
    for place in (index / FOLDER).glob(f"*{durable.TEMPORARY_SUFFIX}"):
        if _NAME.fullmatch(place.name.removesuffix(durable.TEMPORARY_SUFFIX)):
            durable.discard(place)


def _place(index: Path, staged: StagedSegment) -> Path:
    if not _NAME.fullmatch(staged.name):
        raise StorageError(f"{staged.name!r} is no name of a staged segment")
    return durable.temporary(index / FOLDER / staged.name)
