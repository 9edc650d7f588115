"""A catalog from what is left: the damaged one, as far as it can be read, and the segments themselves.

Nothing that a damaged catalog says is believed. Segments are taken only if their rows have their checksums, paths only
so that the next ``semret index`` reads every file again, which costs no embedding.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from semret.errors import IndexCorruptError
from semret.index.care.remains import Remains, read_remains, set_aside
from semret.index.care.soundness import digest_segment, examine_rows
from semret.index.store import durable
from semret.index.store.catalog import Catalog
from semret.index.store.catalog_file import CATALOG_NAME, DIGEST_NAME, JOURNAL_NAME, STRANGE_NAMES
from semret.index.store.codec_file import readable_codec
from semret.index.store.entries import MOST
from semret.index.store.layout import (
    SEGMENT_BYTES,
    Rows,
    Segment,
    checksum,
    columns,
    segment_numbers,
    segment_path,
)
from semret.index.store.manifest import Manifest
from semret.index.store.members import open_member
from semret.index.store.reading import SegmentReader
from semret.index.store.root import Root
from semret.index.store.segments import write_segment

_WORKSHOP = "repair"
_GUESSES = 8
_BATCHES = 64


@dataclass(frozen=True)
class _Place:
    segment: int
    row: int
    first_id: int


def rebuild_catalog(index: Path, manifest: Manifest) -> tuple[int, int]:
    """Replace the catalog of an index by one made anew; the caller holds the writer's lock.

    The old one is kept as ``catalog.sqlite.damaged``.

    Parameters
    ----------
    index : Path
        Index directory.
    manifest : Manifest

    Returns
    -------
    (int, int)
        Images, and contents with features, in the new catalog.

    Raises
    ------
    StorageError
        If the disk is full, read-only, or refuses access; the old catalog is then still in place.
    """
    remains = read_remains(index)
    workshop = index / _WORKSHOP
    shutil.rmtree(workshop, ignore_errors=True)
    with durable.storage(f"create {workshop}"):
        if os.path.lexists(workshop):
            workshop.unlink()
        workshop.mkdir()
    try:
        segments = list(_find_segments(index, manifest, workshop))
        counts = _write_catalog(workshop, index, manifest, remains, segments)
        with durable.storage(f"replace {index / CATALOG_NAME}"):
            _exchange(index, workshop)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return counts


def _exchange(index: Path, workshop: Path) -> None:
    """Put the new catalog in the place of the old one; a kill in between leaves one that can be rebuilt again."""
    durable.checkpoint("repair:begun")
    durable.discard(index / DIGEST_NAME)
    for name in (CATALOG_NAME, JOURNAL_NAME, *STRANGE_NAMES):
        set_aside(index / name)
    durable.checkpoint("repair:set aside")
    (workshop / CATALOG_NAME).replace(index / CATALOG_NAME)
    durable.checkpoint("repair:exchanged")
    (workshop / DIGEST_NAME).replace(index / DIGEST_NAME)
    durable.flush_folder(index)
    durable.checkpoint("repair:durable")


def _find_segments(index: Path, manifest: Manifest, workshop: Path) -> Iterator[tuple[Segment, SegmentReader, Any]]:
    """Give the segments on disk that have their rows intact, the newest first, with which rows are sound."""
    codec = readable_codec(index, manifest)
    plans: dict[int, Segment] = {}
    for number in sorted(segment_numbers(index), reverse=True):
        segment = _describe(index, number, manifest, workshop, plans)
        if segment is None:
            continue
        try:
            reader = SegmentReader(index, segment, manifest)
            sound = examine_rows(reader, manifest, codec).sound
        except IndexCorruptError:
            continue
        if sound.any():
            yield segment, reader, sound


def _describe(
    index: Path, number: int, manifest: Manifest, workshop: Path, plans: dict[int, Segment]
) -> Segment | None:
    """Work out a segment's entry from its file: where its datasets are follows from the number of its rows.

    HDF5 never sees the file. A segment of zeros of the same shape is written instead and tells the offsets; if they
    were wrong, no row would have its checksum.
    """
    try:
        digest, size = digest_segment(segment_path(index, number), most=_most_bytes(manifest))
    except (OSError, IndexCorruptError):
        return None
    fixed, each = _bytes(manifest, 0), _bytes(manifest, 1) - _bytes(manifest, 0)
    rows = (size - fixed) // each
    for _ in range(_GUESSES):
        if rows < 1:
            return None
        if rows not in plans:
            plans[rows] = write_segment(workshop, 1, manifest, [_zeros(manifest, rows)])
        excess = plans[rows].bytes - size
        if excess == 0:
            blank = replace(plans[rows], number=number, sha256=digest, sums={})
            return replace(blank, sums=_sums(index, blank, manifest))
        rows -= round(excess / each) or (1 if excess > 0 else -1)
    return None


def _bytes(manifest: Manifest, rows: int) -> int:
    return sum(column.bytes for column in columns(manifest, rows).values())


def _most_bytes(manifest: Manifest) -> int:
    """Return a length that no segment has: one is closed after `SEGMENT_BYTES` of tokens, with a batch too many."""
    return 8 * SEGMENT_BYTES + _BATCHES * _bytes(manifest, 1)


def _zeros(manifest: Manifest, rows: int) -> Rows:
    layout = columns(manifest, rows)
    fields = [name for name in Rows.__dataclass_fields__ if name in layout]
    return Rows(**{name: np.zeros(layout[name].shape, dtype=layout[name].dtype) for name in fields})


def _sums(index: Path, segment: Segment, manifest: Manifest) -> dict[str, int]:
    """Return the checksums that the small datasets have as they are."""
    found = {}
    with open_member(segment_path(index, segment.number), most=segment.bytes) as stream:
        for name, column in columns(manifest, segment.rows).items():
            if column.check is None:
                stream.seek(segment.offsets[name])
                found[name] = checksum(np.frombuffer(stream.read(column.bytes), dtype=np.uint8))
    return found


def _write_catalog(
    workshop: Path,
    index: Path,
    manifest: Manifest,
    remains: Remains,
    segments: list[tuple[Segment, SegmentReader, Any]],
) -> tuple[int, int]:
    places = _place_contents(segments)
    images = [image for image in remains.images if image[3] in places]
    taken = {image[0] for image in images}
    served = {image[3] for image in images}
    last_id = max([remains.last_id, *taken, *(place.first_id for place in places.values())], default=0)
    numbers = [segment.number for segment, _, _ in segments]
    meta = {
        "generation": str(remains.generation + 1),
        "root": remains.root if remains.root is not None else Root.at(index, index.parent).stored,
        "style": remains.style,
        "manifest": manifest.as_bytes().decode(),
    }
    with Catalog.create(workshop, meta, manifest.format_version) as catalog, catalog.transaction():
        for segment, _, _ in segments:
            catalog.add_segment(segment)
        rows = []
        for sha, place in places.items():
            former = None if sha in served or place.first_id in taken or place.first_id < 1 else place.first_id
            taken.update([] if former is None else [former])
            rows.append((sha, place.segment, place.row, former))
        catalog.change_many("INSERT INTO contents VALUES (?, ?, ?, ?)", rows)
        # No file has this time stamp, so the next run reads each one and believes what it finds.
        entries = [(id_, path, size, -1, sha) for id_, path, size, sha in images]
        catalog.change_many("INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?)", entries)
        catalog.change("DELETE FROM sqlite_sequence")
        catalog.change_many(
            "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)",
            [("images", last_id), ("segments", max([remains.last_segment, *numbers], default=0))],
        )
    return len(images), len(places)


def _place_contents(segments: list[tuple[Segment, SegmentReader, Any]]) -> dict[bytes, _Place]:
    """Return where each content's features are; of several places the newest."""
    places: dict[bytes, _Place] = {}
    for segment, reader, sound in segments:
        hashes, ids = reader.whole("sha256"), reader.whole("ids")
        for row in np.flatnonzero(sound).tolist():
            first = int(ids[row]) if ids[row] < MOST else 0
            places.setdefault(hashes[row].tobytes(), _Place(segment.number, row, first))
    return places
