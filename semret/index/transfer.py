"""An index as one file, to be taken to another machine."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from semret.errors import ArgumentError, IndexCorruptError, IndexNotFoundError
from semret.index import durable
from semret.index.catalog import CATALOG_NAME, DIGEST_NAME, Catalog, digest_line
from semret.index.collection import open_collection
from semret.index.location import PathLike, Root, absolute
from semret.index.manifest import MANIFEST_NAME, parse_manifest
from semret.index.segments import FOLDER, segment_path
from semret.index.vectors import SHORTLIST_NAME
from semret.index.writer import IndexWriter, require_index
from semret.progress import Progress

_ALLOWED = re.compile(
    "|".join(map(re.escape, (MANIFEST_NAME, CATALOG_NAME, DIGEST_NAME, SHORTLIST_NAME))) + rf"|{FOLDER}/\d{{6,18}}\.h5"
)
"""Names that an archive may hold; the first is always the manifest."""


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
        If `target` is a folder, or in one that does not exist.
    StorageError
        If the disk is full, read-only, or refuses access.
    """
    require_index(index)
    path = absolute(target)
    if path.is_dir() or not path.parent.is_dir():
        raise ArgumentError(f"cannot export to {path}; give the name of a file in an existing folder")
    partial = durable.temporary(path)
    try:
        # While a collection is open no segment is deleted, whether it or a later generation names it.
        with open_collection(index), durable.storage(f"write {path}"):
            with partial.open("wb") as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
                tar.add(index / MANIFEST_NAME, MANIFEST_NAME, filter=_anonymous)
                numbers = _add_catalog(index, path, tar)
                for done, number in enumerate(sorted(numbers), start=1):
                    tar.add(segment_path(index, number), f"{FOLDER}/{number:06d}.h5", filter=_anonymous)
                    if progress is not None:
                        progress(done, len(numbers))
                tar.close()
                stream.flush()
                durable.flush_file(stream.fileno())
            durable.put_in_place(path, "export")
    except BaseException:
        durable.discard(partial)
        raise
    return path


def _add_catalog(index: Path, target: Path, tar: tarfile.TarFile) -> set[int]:
    """Add a copy of the catalog as it is now; return the segments it names."""
    copy = target.with_name(target.name + ".catalog" + durable.TEMPORARY_SUFFIX)
    try:
        with Catalog(index) as catalog:
            catalog.backup(copy)
        with contextlib.closing(sqlite3.connect(copy)) as db:
            generation = int(db.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()[0])
            numbers = {int(number) for (number,) in db.execute("SELECT number FROM segments WHERE retired IS NULL")}
        tar.add(copy, CATALOG_NAME, filter=_anonymous)
        digest = digest_line(generation, durable.digest_of(copy)[0])
        member = tarfile.TarInfo(DIGEST_NAME)
        member.size = len(digest)
        tar.addfile(member, io.BytesIO(digest))
    finally:
        durable.discard(copy)
    return numbers


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out whose files these are."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


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
    if not path.is_file():
        raise IndexNotFoundError(f"there is no file {path} to import")
    if index.exists():
        raise ArgumentError(f"{index} exists; import into a directory that does not, with --index")
    partial = index.with_name(index.name + ".import" + durable.TEMPORARY_SUFFIX)
    try:
        with durable.storage(f"import {path} into {index}"), _readable(path):
            shutil.rmtree(partial, ignore_errors=True)
            (partial / FOLDER).mkdir(parents=True)
            _extract(path, partial, progress)
            _settle(partial, index, root)
            partial.rename(index)
            durable.flush_folder(index.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return index


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise IndexCorruptError(f"{path} is no export of semret, or damaged ({error}); export it again") from error


def _extract(path: Path, partial: Path, progress: Progress | None) -> None:
    total = path.stat().st_size
    taken: set[str] = set()
    with tarfile.open(path, mode="r:") as tar:
        for member in tar:
            if not member.isreg() or not _ALLOWED.fullmatch(member.name) or member.name in taken:
                raise tarfile.TarError(f"it holds {member.name!r}")
            stream = tar.extractfile(member)
            if stream is None:
                raise tarfile.TarError(f"{member.name} cannot be read")
            _copy(stream, partial / member.name, member.size)
            taken.add(member.name)
            if progress is not None:
                progress(min(tar.offset, total), total)
    if not {MANIFEST_NAME, CATALOG_NAME, DIGEST_NAME} <= taken:
        raise tarfile.TarError("it holds no index")


def _copy(stream: IO[bytes], target: Path, size: int) -> None:
    with target.open("xb") as out:
        shutil.copyfileobj(stream, out, 2**20)
        if out.tell() != size:
            raise tarfile.TarError(f"{target.name} is cut off")
        out.flush()
        durable.flush_file(out.fileno())


def _settle(partial: Path, index: Path, root: PathLike | None) -> None:
    """Check what was extracted, and set the root for where it will lie."""
    manifest = parse_manifest((partial / MANIFEST_NAME).read_bytes(), partial / MANIFEST_NAME)
    with IndexWriter(partial) as writer:
        for number, segment in writer.catalog.segments().items():
            if durable.digest_of(segment_path(partial, number)) != (segment.sha256, segment.bytes):
                raise IndexCorruptError(f"segment {number} of the export is damaged; export it again")
        if root is not None:
            stored = Root.at(index, root).stored
            with writer.catalog.transaction():
                writer.catalog.set_meta("root", stored)
        writer.refresh_shortlist()
    with open_collection(partial) as collection:
        if collection.manifest != manifest:
            raise IndexCorruptError("the export's manifest and catalog do not belong together; export it again")
    durable.flush_folder(partial / FOLDER)
    durable.flush_folder(partial)
