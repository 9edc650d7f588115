"""An index is converted to another codec: its stored tokens are encoded anew, without the pictures.

The new segments are written beside the old ones, where nothing refers to them. One transaction makes them the
index's and the new manifest the catalog's; then ``manifest.json`` is replaced. Killed before the transaction, an index
is what it was, after it what it was to become.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from semret.errors import ArgumentError, IndexLockedError
from semret.index.codec.coarser import coarser_codec
from semret.index.codec.codec import Codec
from semret.index.codec.fit import FIT_IMAGES, POOLED_DIRECTIONS, CodecFitter, spread
from semret.index.codec.table import CodecSpec, may_become, parse
from semret.index.encoding import encode_rows
from semret.index.store import durable
from semret.index.store.agreement import FORMER_NAME, replace_manifest
from semret.index.store.codec_file import read_codec, write_codec
from semret.index.store.layout import Rows, Segment, rows_of_segment
from semret.index.store.manifest import FORMAT_VERSION, Manifest
from semret.index.store.places import Place, Places
from semret.index.store.reading import SegmentReader
from semret.index.store.segments import write_segment
from semret.index.writer import IndexWriter
from semret.integer_tokens import IntegerTokens
from semret.progress import Progress

FEWEST_IMAGES = 64
"""Images from which a codec is fitted: fewer give directions that serve others badly, and are stored as they are."""

_PORTION = 16
_SAMPLE_BYTES = 2**29


def sample_size(manifest: Manifest) -> int:
    """Return how many images a codec is fitted on, where there are so many: their tokens are held in memory.

    Parameters
    ----------
    manifest : Manifest

    Returns
    -------
    int
    """
    positions, channels = manifest.token_shape
    return max(FEWEST_IMAGES, min(FIT_IMAGES, _SAMPLE_BYTES // (4 * positions * channels)))


def new_fitter(spec: CodecSpec, manifest: Manifest, *, has_text: bool) -> CodecFitter:
    """Return what a codec for an index is fitted with.

    Parameters
    ----------
    spec : CodecSpec
    manifest : Manifest
    has_text : bool
        Whether sentences are compared with the pooled embeddings, which are then kept whole.

    Returns
    -------
    CodecFitter
    """
    identity = manifest.identity
    directions = None if has_text else POOLED_DIRECTIONS
    return CodecFitter(spec, identity.channels, identity.pooled_dim, pooled_directions=directions)


def convert(
    writer: IndexWriter,
    name: str,
    *,
    has_text: bool,
    fewest: int = FEWEST_IMAGES,
    progress: Progress | None = None,
) -> bool:
    """Store the tokens of an index with another codec.

    Parameters
    ----------
    writer : IndexWriter
        Of an index that exists; of format 1 or 2, afterwards 2.
    name : str
        Of the codec: any for an index that stores tokens as they are, else a coarser one than it has.
    has_text : bool
        Whether the index's network has a text tower.
    fewest : int
        Images below which tokens stay as they are, and the codec is noted for when there are more.
    progress : callable, optional
        Called with the number of rows encoded and their total.

    Returns
    -------
    bool
        Whether tokens are stored with that codec now.

    Raises
    ------
    ArgumentError, UnknownNameError
        If there is no such codec, or the stored tokens cannot become it.
    IndexLockedError
        If readers still use the index as it was before an earlier conversion.
    StorageError
        If the disk is full, read-only, or refuses access. The index is then what it was.
    """
    spec, before = _check(writer, name)
    if before.codec_file is not None and before.codec == name:
        return True
    places = Places(writer.catalog, in_use=True)
    wanted = replace(before, format_version=FORMAT_VERSION, codec=name)
    if spec is None or (before.codec_file is None and len(places) < fewest) or not places:
        if wanted != before:
            _settle(writer, wanted, [], [])
        return spec is None
    source = _Source(writer)
    chosen = [places[place] for place in spread(len(places), sample_size(before))]
    codec = _fit(spec, before, source, chosen, has_text=has_text)
    after = replace(wanted, codec_file=write_codec(writer.index, codec))
    segments = list(_write(writer, after, codec, source, places, progress))
    _settle(writer, after, segments, places)
    return True


def _check(writer: IndexWriter, name: str) -> tuple[CodecSpec | None, Manifest]:
    """Refuse a conversion that cannot be, before anything is done."""
    spec, before = parse(name), writer.manifest
    if before.codec_file is not None and name != before.codec and not may_become(before.codec, name):
        raise ArgumentError(
            f"{writer.index} stores tokens with codec {before.codec}, which cannot become {name}: expected a coarser "
            "one; index the pictures with --codec into another directory"
        )
    writer.delete_retired()
    if (writer.index / FORMER_NAME).exists():
        raise IndexLockedError(
            f"{writer.index} was converted and is still read as it was before; end those readers, then try again"
        )
    return spec, before


class _Source:
    """Rows of an index as they are stored, by place."""

    def __init__(self, writer: IndexWriter) -> None:
        self._writer = writer
        self._segments = writer.catalog.segments()
        entry = writer.manifest.codec_file
        self.codec = None if entry is None else read_codec(writer.index, entry)

    def rows(self, places: list[Place]) -> Iterator[Rows]:
        """Give the rows at some places, a few at a time, in their order."""
        start = 0
        while start < len(places):
            number = places[start][0]
            stop = start + 1
            while stop < min(len(places), start + _PORTION) and places[stop][0] == number:
                stop += 1
            reader = SegmentReader(self._writer.index, self._segments[number], self._writer.manifest)
            yield reader.take_rows(np.array([row for _, row, _ in places[start:stop]], dtype=np.intp))
            start = stop


def _fit(spec: CodecSpec, before: Manifest, source: _Source, chosen: list[Place], *, has_text: bool) -> Codec:
    if source.codec is not None:
        parts = [source.codec.decode(rows.tokens, rows.scales) for rows in source.rows(chosen)]
        sample = IntegerTokens(
            integers=np.concatenate([part.integers for part in parts]),
            scales=np.concatenate([part.scales for part in parts]),
        )
        return coarser_codec(source.codec, spec, sample)
    fitter = new_fitter(spec, before, has_text=has_text)
    for rows in source.rows(chosen):
        fitter.add(rows.tokens, rows.pooled)
    return fitter.finish()


def _write(
    writer: IndexWriter,
    manifest: Manifest,
    codec: Codec,
    source: _Source,
    places: Places,
    progress: Progress | None,
) -> Iterator[Segment]:
    """Write all rows, encoded anew, to segments that the catalog does not know yet."""
    number, step = writer.catalog.next_segment(), rows_of_segment(manifest)
    for start in range(0, len(places), step):
        part = places[start : start + step]
        rows = [encode_rows(codec, rows, source.codec) for rows in source.rows(part)]
        yield write_segment(writer.index, number, manifest, rows)
        number += 1
        if progress is not None:
            progress(min(start + step, len(places)), len(places))


def drop_features(writer: IndexWriter) -> int:
    """Give up all features of an index, and its codec; its images are lost as vanished files are, and keep their ids.

    Parameters
    ----------
    writer : IndexWriter
        Of an index of format 2.

    Returns
    -------
    int
        Different pictures whose features are gone.

    Raises
    ------
    StorageError
        If the disk is full, read-only, or refuses access. The index is then what it was.
    """
    catalog = writer.catalog
    lost = int(catalog.select("SELECT count(*) FROM contents")[0][0])
    with _settled(writer, replace(writer.manifest, codec_file=None)):
        catalog.change("DELETE FROM contents")
        catalog.change("UPDATE images SET path = NULL")
        catalog.change("UPDATE segments SET retired = ? WHERE retired IS NULL", time.time())
    return lost


def _settle(writer: IndexWriter, manifest: Manifest, segments: list[Segment], places: Sequence[Place]) -> None:
    """Make new segments and manifest those of the index."""
    catalog = writer.catalog
    with _settled(writer, manifest):
        if segments:
            catalog.change("UPDATE segments SET retired = ? WHERE retired IS NULL", time.time())
            catalog.change("DELETE FROM contents WHERE sha256 NOT IN (SELECT sha256 FROM images)")
        first = 0
        for segment in segments:
            catalog.add_segment(segment)
            here = places[first : first + segment.rows]
            moved = [(segment.number, row, sha) for row, (_, _, sha) in enumerate(here)]
            catalog.change_many("UPDATE contents SET segment = ?, row = ? WHERE sha256 = ?", moved)
            first += segment.rows


@contextlib.contextmanager
def _settled(writer: IndexWriter, manifest: Manifest) -> Iterator[None]:
    """Make another manifest that of the index, in one transaction with what a ``with`` block changes."""
    catalog, former = writer.catalog, writer.manifest.digest
    with catalog.transaction():
        catalog.become_format(manifest.format_version)
        yield
        catalog.set_meta("manifest", manifest.as_bytes().decode())
        catalog.set_meta("former", former)
    durable.checkpoint("conversion:committed")
    kept = replace_manifest(writer.index, manifest)
    writer.manifest = manifest
    if kept:
        writer.delete_retired()
