"""Check an index: every byte against its checksum, every file against the catalog, and say what is wrong.

What a killed writer leaves (temporary files, a segment that the catalog does not know, a shortlist of an earlier state)
is not damage: the next writer clears it away. Segments are read by offset as everywhere, without an HDF5 library.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semret.errors import (
    ImageDecodeError,
    IncompatibleIndexError,
    IndexCorruptError,
    IndexNotFoundError,
    StorageError,
)
from semret.foreign import UnfitFileError
from semret.index.care.derived import check_directory, check_lists, check_words
from semret.index.care.soundness import BY_INDEX, Defect, check_excluded, check_segment, finding
from semret.index.codec.codec import Codec
from semret.index.collection import Collection
from semret.index.location import default_index_path, find_index
from semret.index.pictures.contents import read_content
from semret.index.pictures.files import hash_file, reason_of
from semret.index.store.cache import known_as
from semret.index.store.catalog import Catalog
from semret.index.store.catalog_file import CATALOG_NAME
from semret.index.store.codec_file import codec_name, read_codec
from semret.index.store.layout import Segment
from semret.index.store.lock import ReaderLock
from semret.index.store.manifest import MANIFEST_NAME, Manifest, parse_manifest, read_manifest
from semret.index.store.members import REPAIR
from semret.index.store.places import Places
from semret.index.store.root import Root
from semret.index.store.scratch import Scratch
from semret.index.store.shortlist_file import SHORTLIST_NAME, examine_shortlist, read_shortlist
from semret.paths import absolute, is_address
from semret.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check found: how much it looked at, and the defects, none in a sound index."""

    index: str
    images: int = 0
    segments: int = 0
    defects: tuple[Defect, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether there is no defect."""
        return not self.defects


@dataclass
class Content:
    """What is read of a catalog for a check. It is read at once, so that no lock is held during the check.

    Attributes
    ----------
    manifest, former : str
        See `Catalog.meta` and `Catalog.former`.
    root : Root
    segments : dict of int to Segment
        In use, by number.
    places : Places
        Of all contents.
    images : int
    files : Scratch
        What the catalog has of the images' files, if that was asked for; see `_check_files`.
    """

    manifest: str
    former: str | None
    root: Root
    segments: dict[int, Segment]
    places: Places
    images: int
    next_id: int
    files: Scratch

    def wanted(self, number: int) -> dict[int, bytes]:
        """Return which content each row of a segment must have.

        Parameters
        ----------
        number : int

        Returns
        -------
        dict of int to bytes
            By row the SHA-256 of the picture that it must belong to.
        """
        return {row: sha256 for _, row, sha256 in self.places.of_segment(number)}


def verify(path: str | os.PathLike[str], *, files: bool = False, progress: Progress | None = None) -> Report:
    """Check everything in an index.

    That is: the manifest, alone and against the catalog; the codec; the catalog's checksum, structure and references;
    of every segment in use the digest of the file, the number of rows, and of each row checksum, finite values, norm,
    mean and the image it belongs to; the shortlist against the pooled embeddings.

    Parameters
    ----------
    path : path
        Index directory. It is only read.
    files : bool
        Also compare the pictures with the catalog. One whose size and time are unchanged is taken for unchanged, any
        other is hashed.
    progress : callable, optional
        Called with the number of segments (then pictures) checked and their total.

    Returns
    -------
    Report
        Any single changed byte, and any truncation, of a file that holds data is among its defects.

    Raises
    ------
    IndexNotFoundError
        If there is no index.
    IncompatibleIndexError
        If it is of a newer format.
    StorageError
        If a file may not be read.
    """
    index = absolute(path)
    if not os.path.lexists(index / MANIFEST_NAME) and not os.path.lexists(index / CATALOG_NAME):
        raise IndexNotFoundError(f"{index} is no index: it holds neither {MANIFEST_NAME} nor {CATALOG_NAME}")
    lock = None
    with contextlib.suppress(OSError, IndexCorruptError):
        # Without a manifest that can be locked there is no writer either.
        lock = ReaderLock(index / MANIFEST_NAME)
    try:
        return _verify(index, files, progress)
    finally:
        if lock is not None:
            lock.release()


def find_damaged_index(start: str | os.PathLike[str] | None = None) -> Path:
    """Return the directory of an index as `find_index` does, also if it has lost its manifest.

    Parameters
    ----------
    start : path, optional
        As for `find_index`.

    Returns
    -------
    Path
        Absolute.

    Raises
    ------
    IndexNotFoundError
        If there is none.
    """
    try:
        return find_index(start)
    except IndexNotFoundError:
        if start is not None and is_address(start):
            raise
        remains = default_index_path(start)
        if (remains / CATALOG_NAME).is_file():
            return remains
        raise


def _verify(index: Path, files: bool, progress: Progress | None) -> Report:
    defects: list[Defect] = []
    content = read_catalog(index, defects, files=files)
    manifest = _check_manifest(index, content, defects)
    defects += check_excluded(index)
    if content is None:
        return Report(index=known_as(index), defects=tuple(defects))
    if manifest is not None:
        total = len(content.segments) + (content.images if files else 0)
        codec = _check_codec(index, manifest, defects)
        for done, (number, segment) in enumerate(content.segments.items(), start=1):
            defects += check_segment(index, segment, manifest, codec, content.wanted(number))
            if progress is not None:
                progress(done, total)
        if not defects:
            defects += _check_shortlist(index, content.next_id)
            unsound = check_directory(index)
            defects += [*unsound, *check_lists(index, derived=not unsound), *check_words(index)]
    if files:
        defects += _check_files(content, len(content.segments), progress)
    return Report(index=known_as(index), images=content.images, segments=len(content.segments), defects=tuple(defects))


def read_catalog(index: Path, defects: list[Defect], *, files: bool = False) -> Content | None:
    """Read the catalog if it can be read.

    Parameters
    ----------
    index : Path
        Index directory.
    defects : list of Defect
        What is wrong with the catalog is added to it.
    files : bool
        Whether the images' files are going to be checked.

    Returns
    -------
    Content or None
        None if the catalog cannot be read.

    Raises
    ------
    StorageError
        If it may not be read.
    """
    path = str(index / CATALOG_NAME)
    try:
        with Catalog(index, thoroughly=True) as catalog, catalog.reading():
            problems = catalog.problems()
            content = _read(index, catalog, files=files)
            problems += _check_references(catalog, content)
    except (IndexCorruptError, UnicodeDecodeError) as error:
        # The second is what Python makes of a message of SQLite that quotes damaged text.
        defects.append(Defect("catalog", path, finding(error), REPAIR))
        return None
    defects += [Defect("catalog", path, problem, REPAIR) for problem in problems]
    return content


def _read(index: Path, catalog: Catalog, *, files: bool) -> Content:
    kept = Scratch("CREATE TABLE files (id INTEGER PRIMARY KEY, path BLOB, size INTEGER, stamp INTEGER, sha256 BLOB)")
    select = "SELECT id, path, size, mtime_ns, sha256 FROM images WHERE path IS NOT NULL AND id > ?"
    for images in catalog.portions(select, 0) if files else ():
        kept.fill("INSERT INTO files VALUES (?, ?, ?, ?, ?)", images)
    return Content(
        manifest=catalog.meta("manifest"),
        former=catalog.former,
        root=Root.read(index, catalog.meta("root")),
        segments=catalog.segments(),
        places=Places(catalog),
        images=int(catalog.select("SELECT count(*) FROM images WHERE path IS NOT NULL")[0][0]),
        next_id=catalog.next_id(),
        files=kept,
    )


def _check_references(catalog: Catalog, content: Content) -> Iterator[str]:
    """Describe the entries of a catalog that refer to what does not exist, or to what another entry refers to."""
    before = None
    for number, row, sha256 in content.places:
        segment = content.segments.get(number)
        if segment is None or not 0 <= row < segment.rows:
            yield f"content {sha256.hex()[:12]} is placed at row {row} of segment {number}, which is not there"
        elif (number, row) == before:
            yield f"row {row} of segment {number} belongs to two contents"
        before = number, row
    known = "EXISTS (SELECT 1 FROM contents WHERE contents.sha256 = images.sha256)"
    select = f"SELECT id, path, {known} FROM images WHERE path IS NOT NULL AND id > ?"
    for images in catalog.portions(select, 0):
        for id_, path, is_known in images:
            if not is_known:
                yield f"image {id_} ({os.fsdecode(path)}) has no features"
            if not 0 < id_ < content.next_id:
                yield f"image {id_} has an id that was never given"


def _check_manifest(index: Path, content: Content | None, defects: list[Defect]) -> Manifest | None:
    """Return the manifest that the catalog holds, else the one in the file; add what is wrong with either."""
    path = index / MANIFEST_NAME
    try:
        found = read_manifest(index)
    except (IndexCorruptError, IndexNotFoundError, IncompatibleIndexError) as error:
        if isinstance(error, IncompatibleIndexError) and content is None:
            raise
        # A manifest of a newer format beside a sound catalog of this one is a damaged one.
        defects.append(Defect("manifest", str(path), finding(error), REPAIR))
        found = None
    if content is None:
        return found
    try:
        recorded = parse_manifest(content.manifest.encode(), path)
    except IndexCorruptError as error:
        defects.append(Defect("catalog", str(index / CATALOG_NAME), f"its manifest: {finding(error)}", REPAIR))
        return found
    if found is not None and found != recorded and found.digest != content.former:
        defects.append(Defect("manifest", str(path), "it is not the manifest in the catalog", REPAIR))
    return recorded


def _check_codec(index: Path, manifest: Manifest, defects: list[Defect]) -> Codec | None:
    """Return the codec of an index, if it has one that can be read; add what is wrong with its file."""
    if manifest.codec_file is None:
        return None
    try:
        return read_codec(index, manifest.codec_file)
    except IndexCorruptError as error:
        path = str(index / codec_name(manifest.codec_file))
        defects.append(Defect("codec", path, finding(error).removeprefix(f"{path} is damaged: "), REPAIR))
        return None


def _check_shortlist(index: Path, most: int) -> list[Defect]:
    """Check the shortlist: intact of whatever state, and for the present state what the segments give.

    `most` is a number of images that no state had.
    """
    path = index / SHORTLIST_NAME
    if not os.path.lexists(path):
        return []
    with Collection(index, derived=False) as collection:
        dimension = collection.manifest.pooled_length
        try:
            state = examine_shortlist(path, dimension, most)
        except UnfitFileError as error:
            return [Defect("shortlist", str(path), f"it {error.strerror}", REPAIR)]
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}; give access") from error
        if state is None:
            return [Defect("shortlist", str(path), "it is truncated or does not have its checksum", REPAIR)]
        if state[0] != collection.mark:
            return []
        vectors = read_shortlist(path, (len(collection), dimension), collection.mark)
        if vectors is not None and np.array_equal(vectors, collection.features.unit_pooled()):
            return []
    return [Defect("shortlist", str(path), "it is not made of the pooled embeddings in the segments", REPAIR)]


def _check_files(content: Content, done: int, progress: Progress | None) -> Iterator[Defect]:
    total = done + content.images
    images = content.files.rows("SELECT path, size, stamp, sha256 FROM files ORDER BY id")
    for number, (stored, size, mtime_ns, sha256) in enumerate(images, start=done + 1):
        path = content.root.to_path(stored)
        if problem := _file_problem(path, size, mtime_ns, sha256):
            yield Defect("file", path, problem, BY_INDEX)
        if progress is not None:
            progress(number, total)


def _file_problem(path: str, size: int, mtime_ns: int, sha256: bytes) -> str | None:
    if size < 0:
        # It never had a file: its features were given.
        return None
    try:
        if is_address(path):
            return None if read_content(path).sha256 == sha256.hex() else "its content has changed since it was indexed"
        found = Path(path).stat()
        if (found.st_size, found.st_mtime_ns) == (size, mtime_ns):
            return None
        return None if hash_file(path) == sha256.hex() else "its content has changed since it was indexed"
    except ImageDecodeError as error:
        return reason_of(error, path)
    except FileNotFoundError:
        return "it is gone"
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
