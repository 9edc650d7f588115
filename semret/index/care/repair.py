"""Make a damaged index sound again: rebuild what can be derived, drop what is lost, keep everything else.

Nothing is changed in place. A segment with damaged rows is replaced by a new one of its sound rows; a catalog or
manifest is written beside the old one and renamed. Pictures whose features are lost keep their ids without a path,
exactly as vanished files do: the next ``semret index`` embeds them again and finds the ids waiting.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import numpy as np

from semret.errors import IncompatibleIndexError, IndexCorruptError, IndexNotFoundError
from semret.index.care.remains import DAMAGED_SUFFIX, set_aside
from semret.index.care.salvage import rebuild_catalog
from semret.index.care.soundness import Defect, check_excluded, check_segment, examine_rows
from semret.index.care.verify import Report, read_catalog, verify
from semret.index.convert import drop_features
from semret.index.store import durable
from semret.index.store.catalog import Catalog
from semret.index.store.catalog_digest import read_digest
from semret.index.store.catalog_file import CATALOG_NAME, DIGEST_NAME, JOURNAL_NAME, STRANGE_NAMES, check_journal
from semret.index.store.codec_file import codec_name, readable_codec
from semret.index.store.directory_file import DIRECTORY_NAME
from semret.index.store.excluded_file import EXCLUDED_NAME
from semret.index.store.layout import Rows, Segment, segment_path
from semret.index.store.lists_file import LISTS_NAME
from semret.index.store.lock import WriterLock
from semret.index.store.manifest import MANIFEST_NAME, Manifest, parse_manifest, read_manifest
from semret.index.store.reading import SegmentReader
from semret.index.store.shortlist_file import SHORTLIST_NAME
from semret.index.store.words_file import WORDS_NAME
from semret.index.writer import IndexWriter
from semret.paths import absolute
from semret.progress import Progress

_log = logging.getLogger(__name__)


def repair(path: str | os.PathLike[str], *, progress: Progress | None = None) -> tuple[list[str], Report]:
    """Repair an index as far as it can be, and check it again.

    Parameters
    ----------
    path : path
        Index directory.
    progress : callable, optional
        As for `verify`.

    Returns
    -------
    actions : list of str
        What was done, a line each; empty for a sound index, which is not touched.
    report : Report
        Of the index as it is now. Defects that remain are beyond repair: manifest and catalog both lost, or a file that
        may not be written.

    Raises
    ------
    IndexLockedError
        If another process writes to the index.
    StorageError
        If the disk is full, read-only, or refuses access. The index is as damaged as before, and not more.
    IndexNotFoundError, IncompatibleIndexError
        As for `verify`.
    """
    index = absolute(path)
    report = verify(index, progress=progress)
    if report.sound:
        return [], report
    actions: list[str] = []
    with WriterLock(index):
        _repair_companions(index, actions)
        _repair_excluded(index, actions)
        _repair_digest(index, actions)
        _repair_manifest(index, actions)
        _repair_catalog(index, actions)
        writable = _is_writable(index)
    if writable:
        with IndexWriter(index) as writer:
            _repair_codec(writer, actions)
            _repair_segments(writer, actions)
            _repair_shortlist(writer, report, actions, progress)
    for action in actions:
        _log.info("%s", action)
    return actions, verify(index, progress=progress)


def _repair_companions(index: Path, actions: list[str]) -> None:
    """Rename files beside the catalog that semret did not write, and that SQLite would act on."""
    strange = [name for name in STRANGE_NAMES if os.path.lexists(index / name)]
    try:
        check_journal(index / JOURNAL_NAME)
    except IndexCorruptError:
        strange.append(JOURNAL_NAME)
    for name in strange:
        with durable.storage(f"rename {index / name}"):
            set_aside(index / name)
        actions.append(f"set aside {name}, which semret did not write, as {name}{DAMAGED_SUFFIX}")


def _repair_excluded(index: Path, actions: list[str]) -> None:
    """Rename the patterns of what is left out, where they cannot be read: no command would index with them."""
    if check_excluded(index):
        with durable.storage(f"rename {index / EXCLUDED_NAME}"):
            set_aside(index / EXCLUDED_NAME)
        actions.append(f"set aside the damaged {EXCLUDED_NAME} as {EXCLUDED_NAME}{DAMAGED_SUFFIX}")


def _repair_digest(index: Path, actions: list[str]) -> None:
    """Delete a damaged file with the checksum of the catalog; opening the catalog for writing makes a new one."""
    try:
        read_digest(index / DIGEST_NAME)
    except IndexCorruptError:
        durable.discard(index / DIGEST_NAME)
        actions.append(f"took away the damaged {DIGEST_NAME}")


def _repair_manifest(index: Path, actions: list[str]) -> None:
    """Write the manifest as a sound catalog has it, unless it is there."""
    content = read_catalog(index, [])
    if content is None:
        return
    try:
        recorded = parse_manifest(content.manifest.encode(), index / MANIFEST_NAME)
    except IndexCorruptError:
        return
    if _manifest(index) != recorded:
        durable.write_file(index / MANIFEST_NAME, recorded.as_bytes(), "manifest")
        actions.append(f"restored {MANIFEST_NAME} from the catalog")


def _repair_catalog(index: Path, actions: list[str]) -> None:
    """Rebuild a damaged catalog from what it still tells and from the segments."""
    manifest = _manifest(index)
    if manifest is None or _is_writable(index):
        return
    images, contents = rebuild_catalog(index, manifest)
    actions.append(
        f"rebuilt {CATALOG_NAME}: {images} images and the features of {contents} contents kept; "
        f"the damaged one is {CATALOG_NAME}{DAMAGED_SUFFIX}"
    )


def _manifest(index: Path) -> Manifest | None:
    """Return the manifest if it is sound.

    `verify` refuses an index of a newer format; where a manifest still claims to be of one, that is damage.
    """
    try:
        return read_manifest(index)
    except (IndexCorruptError, IndexNotFoundError, IncompatibleIndexError):
        return None


def _is_writable(index: Path) -> bool:
    """Tell whether manifest and catalog are sound, so that an `IndexWriter` may open them."""
    defects: list[Defect] = []
    content = read_catalog(index, defects)
    manifest = _manifest(index)
    if content is None or defects or manifest is None:
        return False
    try:
        with Catalog(index, writable=True):
            return parse_manifest(content.manifest.encode(), index / MANIFEST_NAME) == manifest
    except IndexCorruptError:
        return False


def _repair_codec(writer: IndexWriter, actions: list[str]) -> None:
    """Give up the features that cannot be read without their codec, but not the ids of their pictures."""
    manifest = writer.manifest
    if manifest.codec_file is None or readable_codec(writer.index, manifest) is not None:
        return
    lost = drop_features(writer)
    actions.append(
        f"dropped the features of {lost} pictures: without {codec_name(manifest.codec_file)} they cannot be read; "
        "semret index embeds these pictures again"
    )


def _repair_segments(writer: IndexWriter, actions: list[str]) -> None:
    content = read_catalog(writer.index, [])
    if content is None:
        return
    codec = readable_codec(writer.index, writer.manifest)
    for number, segment in content.segments.items():
        wanted = content.wanted(number)
        if check_segment(writer.index, segment, writer.manifest, codec, wanted):
            kept = _replace_segment(writer, segment, wanted)
            name = segment_path(writer.index, number).name
            actions.append(f"kept {kept} of {len(wanted)} pictures of {name}, dropped the rest")
    writer.delete_retired()


def _replace_segment(writer: IndexWriter, segment: Segment, wanted: dict[int, bytes]) -> int:
    """Put the sound rows of a segment into a new one, and lose the others; return how many are kept."""
    saved = _read_sound(writer, segment, wanted)
    hashes = [row.tobytes() for row in saved.sha256] if saved is not None else []
    lost = [(sha,) for sha in wanted.values() if sha not in set(hashes)]
    replacement = writer.write_segment([saved]) if saved is not None else None
    with writer.catalog.transaction():
        if replacement is not None:
            writer.catalog.add_segment(replacement)
            moved = [(replacement.number, row, sha) for row, sha in enumerate(hashes)]
            writer.catalog.change_many("UPDATE contents SET segment = ?, row = ? WHERE sha256 = ?", moved)
        writer.catalog.change_many("DELETE FROM contents WHERE sha256 = ?", lost)
        # An image without a path is one whose content may turn up again, and then has its id back.
        writer.catalog.change_many("UPDATE images SET path = NULL WHERE sha256 = ?", lost)
        writer.catalog.change("UPDATE segments SET retired = ? WHERE number = ?", time.time(), segment.number)
    return len(hashes)


def _read_sound(writer: IndexWriter, segment: Segment, wanted: dict[int, bytes]) -> Rows | None:
    """Return the rows of a segment that are wanted and sound; None if there are none, or the file cannot be read."""
    try:
        reader = SegmentReader(writer.index, segment, writer.manifest)
        codec = readable_codec(writer.index, writer.manifest)
        sound, hashes = examine_rows(reader, writer.manifest, codec).sound, reader.whole("sha256")
        known = [row for row in sorted(wanted) if 0 <= row < len(sound)]
        rows = [row for row in known if sound[row] and hashes[row].tobytes() == wanted[row]]
        return reader.take_rows(np.array(rows, dtype=np.intp)) if rows else None
    except IndexCorruptError:
        return None


_DERIVED = {"shortlist": SHORTLIST_NAME, "directory": DIRECTORY_NAME, "lists": LISTS_NAME, "words": WORDS_NAME}
"""Files that are made anew where one is damaged, by the kind of the defect."""


def _repair_shortlist(writer: IndexWriter, report: Report, actions: list[str], progress: Progress | None) -> None:
    for kind, name in _DERIVED.items():
        if any(defect.kind == kind for defect in report.defects):
            durable.discard(writer.index / name)
            actions.append(f"rebuilt {name}")
    writer.refresh_shortlist(progress)
