"""An index as one file, to be taken to another machine."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from semret.errors import ArgumentError, IncompatibleIndexError, IndexCorruptError, IndexNotFoundError, StorageError
from semret.foreign import UnfitFileError, open_regular
from semret.index.care.archive import add_member, end_archive, read_members, write_to
from semret.index.care.soundness import finding
from semret.index.care.verify import verify
from semret.index.collection import open_collection
from semret.index.indexed_pictures import require_no_source
from semret.index.store import durable
from semret.index.store.agreement import agreed_manifest
from semret.index.store.catalog import Catalog
from semret.index.store.catalog_digest import DIGEST_BYTES, digest_line
from semret.index.store.catalog_file import CATALOG_NAME, DIGEST_NAME, MOST_BYTES
from semret.index.store.codec_file import codec_name
from semret.index.store.excluded_file import EXCLUDED_BYTES, EXCLUDED_NAME, excluded_bytes, read_excluded
from semret.index.store.layout import FOLDER, segment_name
from semret.index.store.manifest import MANIFEST_BYTES, MANIFEST_NAME, read_manifest
from semret.index.store.members import read_member
from semret.index.store.reading import SegmentReader
from semret.index.store.root import Root
from semret.index.writer import IndexWriter, require_index
from semret.paths import PathLike, absolute
from semret.progress import Progress

_LIMITS = {MANIFEST_NAME: MANIFEST_BYTES, CATALOG_NAME: MOST_BYTES, DIGEST_NAME: DIGEST_BYTES}
"""Files that every archive holds, before the segments that the catalog names, and how many bytes these may have."""


def export_index(index: Path, target: PathLike, *, progress: Progress | None = None) -> Path:
    """Write one generation of an index to a tar file, while others may read and write it.

    Parameters
    ----------
    index : Path
        Index directory.
    target : path
        The file; it appears under its name only when it is complete. An existing one is replaced.
    progress : callable, optional
        Called with the number of files written and their total.

    Returns
    -------
    Path
        The file, absolute.

    Raises
    ------
    ArgumentError
        If `target` is a folder, or in one that does not exist; if it is a file of the index or a picture in it.
    StorageError
        If the disk is full, read-only, or refuses access.
    """
    require_index(index)
    path = absolute(target)
    partial = durable.temporary(path)
    try:
        with durable.storage(f"write {path}"):
            _check_target(path)
        # While a collection is open no segment is deleted, whether it or a later generation names it.
        with open_collection(index) as collection, durable.storage(f"write {path}"):
            require_no_source(path, collection)
            with io.BufferedRandom(durable.create_temporary(path)) as stream:
                _write_archive(index, stream, progress)
                stream.flush()
                durable.flush_file(stream.fileno())
            durable.put_in_place(path, "export")
    except BaseException:
        durable.discard(partial)
        raise
    return path


def _check_target(path: Path) -> None:
    """Refuse to put an export in the place of a folder, or of a device. Raises OSError if the name cannot be."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    if not path.parent.is_dir() or not stat.S_ISREG(mode):
        raise ArgumentError(f"cannot export to {path}; give the name of a file in an existing folder")


def _write_archive(index: Path, out: BinaryIO, progress: Progress | None) -> None:
    with Catalog(index) as catalog, catalog.reading():
        manifest = agreed_manifest(index, read_manifest(index), catalog)
        add_member(out, MANIFEST_NAME, len(manifest.as_bytes()), iter([manifest.as_bytes()]))
        segments, generation, digest = catalog.segments(), catalog.generation, hashlib.sha256()
        add_member(out, CATALOG_NAME, catalog.size, _hashed(catalog.chunks(), digest))
    line = digest_line(generation, digest.hexdigest())
    add_member(out, DIGEST_NAME, len(line), iter([line]))
    if manifest.codec_file is not None:
        raw = read_member(index / codec_name(manifest.codec_file), most=manifest.codec_file.bytes)
        add_member(out, codec_name(manifest.codec_file), manifest.codec_file.bytes, iter([raw]))
    if rules := read_excluded(index):
        add_member(out, EXCLUDED_NAME, len(excluded_bytes(rules)), iter([excluded_bytes(rules)]))
    for done, (number, segment) in enumerate(sorted(segments.items()), start=1):
        add_member(out, segment_name(number), segment.bytes, SegmentReader(index, segment, manifest).chunks())
        if progress is not None:
            progress(done, len(segments))
    end_archive(out)


def _hashed(chunks: Iterator[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def import_index(
    source: PathLike, index: Path, *, root: PathLike | None = None, progress: Progress | None = None
) -> Path:
    """Make an index directory from a file that `export_index` wrote.

    Parameters
    ----------
    source : path
        The file. Nothing in it is trusted: only files with the names of an index are taken, and what they hold is
        checked against the catalog before the index appears.
    index : Path
        Directory to make.
    root : path, optional
        Where the pictures are on this machine; default: where they were, seen from the index.
    progress : callable, optional
        Called with bytes done and their total.

    Returns
    -------
    Path
        `index`.

    Raises
    ------
    ArgumentError
        If `index` exists.
    IndexNotFoundError
        If `source` does not exist.
    IndexCorruptError
        If it is no export, or damaged; nothing is made then.
    """
    path = absolute(source)
    if os.path.lexists(index):
        raise ArgumentError(f"{index} exists; import into a directory that does not, with --index")
    partial = index.with_name(index.name + ".import" + durable.TEMPORARY_SUFFIX)
    try:
        with _opened(path) as stream, durable.storage(f"import {path} into {index}"), _readable(path, partial):
            _make_staging(partial)
            _extract(stream, partial, progress)
            _settle(partial, index, root)
            partial.rename(index)
            durable.flush_folder(index.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return index


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.FileIO]:
    try:
        stream = open_regular(path)
    except FileNotFoundError as error:
        raise IndexNotFoundError(f"there is no file {path} to import") from error
    except UnfitFileError as error:
        raise IndexNotFoundError(f"cannot import {path}: it {error.strerror}") from error
    except OSError as error:
        raise StorageError(durable.describe(error, f"read {path}")) from error
    with stream:
        yield stream


@contextlib.contextmanager
def _readable(path: Path, partial: Path) -> Iterator[None]:
    """Name the archive for whatever is wrong with it, and not the folder that it is unpacked in."""
    try:
        yield
    except IncompatibleIndexError as error:
        raise IncompatibleIndexError(str(error).replace(str(partial), str(path))) from error
    except (tarfile.TarError, EOFError, ValueError, IndexCorruptError, IndexNotFoundError) as error:
        reason = finding(error).replace(f"{partial}{os.sep}", "")
        raise IndexCorruptError(f"{path} is no export of semret, or damaged ({reason}); export it again") from error


def _make_staging(partial: Path) -> None:
    """Make the folder to unpack into, in place of one left by a killed import, but through no link."""
    if partial.is_symlink() or partial.is_file():
        partial.unlink()
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.mkdir()
    (partial / FOLDER).mkdir()


def _extract(stream: io.FileIO, partial: Path, progress: Progress | None) -> None:
    total = os.fstat(stream.fileno()).st_size
    sizes: dict[str, int] | None = None
    taken: set[str] = set()
    for member in read_members(stream):
        if sizes is None and {MANIFEST_NAME, CATALOG_NAME, DIGEST_NAME} <= taken:
            sizes = _sizes(partial)
        most = {**_LIMITS, **(sizes or {})}.get(member.name)
        if most is None or member.name in taken:
            raise tarfile.TarError(f"it holds {member.name[:100]!r}")
        if member.size > most:
            raise tarfile.TarError(f"{member.name} has {member.size} bytes, expected at most {most}")
        with write_to(partial / member.name, member.chunks()) as out:
            durable.flush_file(out.fileno())
        taken.add(member.name)
        if progress is not None:
            progress(min(stream.tell(), total), total)
    if not {MANIFEST_NAME, CATALOG_NAME, DIGEST_NAME} <= taken:
        raise tarfile.TarError("it holds no index")


def _sizes(partial: Path) -> dict[str, int]:
    """Return the codec that the extracted catalog names, its segments, and their sizes; only these are taken.

    With them come the patterns of what is left out, where there are any.
    """
    with Catalog(partial) as catalog:
        sizes = {segment_name(number): segment.bytes for number, segment in catalog.segments().items()}
        entry = agreed_manifest(partial, read_manifest(partial), catalog).codec_file
    sizes[EXCLUDED_NAME] = EXCLUDED_BYTES
    return sizes if entry is None else {codec_name(entry): entry.bytes, **sizes}


def _settle(partial: Path, index: Path, root: PathLike | None) -> None:
    """Refuse an index in which `verify` finds a defect, and set the root for where it will lie."""
    for defect in verify(partial).defects:
        raise IndexCorruptError(f"{defect.object}: {defect.detail}".replace(";", ","))
    with IndexWriter(partial) as writer:
        if root is not None:
            stored = Root.at(index, root).stored
            with writer.catalog.transaction():
                writer.catalog.set_meta("root", stored)
        writer.refresh_shortlist()
    read_excluded(partial)
    durable.flush_folder(partial / FOLDER)
    durable.flush_folder(partial)
