"""Indexes in object stores, for reading: fetched once into a local cache, and checked by the digests that they carry.

What lies at the address is what lies in an index directory. Segments never change, so they are kept by their digests;
the small files say which segments belong to a state. A state appears in the cache when it is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from semret.errors import IndexCorruptError, IndexNotFoundError, SemretError, StorageError, cut_text
from semret.index.pictures.remote import file_system
from semret.index.store.agreement import agreed_manifest
from semret.index.store.catalog import Catalog
from semret.index.store.catalog_digest import DIGEST_BYTES
from semret.index.store.catalog_file import CATALOG_NAME, DIGEST_NAME, MOST_BYTES
from semret.index.store.codec_file import codec_name, read_codec
from semret.index.store.directory_file import DIRECTORY_NAME
from semret.index.store.durable import storage
from semret.index.store.excluded_file import EXCLUDED_NAME
from semret.index.store.layout import FOLDER, Segment, segment_name, segment_path
from semret.index.store.lists_file import LISTS_NAME
from semret.index.store.lock import NoReaders
from semret.index.store.manifest import MANIFEST_BYTES, MANIFEST_NAME, read_manifest
from semret.index.store.members import REPAIR, digest_of
from semret.index.store.shortlist_file import SHORTLIST_NAME
from semret.index.store.words_file import WORDS_NAME
from semret.progress import rare_wait

_DERIVED = (DIRECTORY_NAME, SHORTLIST_NAME, LISTS_NAME, WORDS_NAME, EXCLUDED_NAME)
_ATTEMPTS = 3
_THREADS = 8
_KEPT = "kept"
_AGAIN = "copy the index there again"
_GRACE = 3600.0


def fetch_index(address: str) -> Path:
    """Return a local copy of an index that lies elsewhere, as it is there now.

    The manifest and the digest of the catalog are fetched each time, the catalog if that is another, and the segments
    that are not in the cache yet.

    Parameters
    ----------
    address : str
        Of the folder, such as ``s3://bucket/index``.

    Returns
    -------
    Path
        An index directory in the user's cache, for reading.

    Raises
    ------
    IndexNotFoundError
        If there is no index.
    IndexCorruptError
        If a file is not what the index says that it is, or is missing, also when it is fetched again.
    StorageError
        If the store cannot be read, or the cache not written.
    MissingDependencyError
        If no package for such addresses is installed.
    """
    there = _Elsewhere(address.rstrip("/"))
    cache = user_cache_path("semret", appauthor=False) / "indexes" / hashlib.sha256(there.address.encode()).hexdigest()
    with storage(f"write the cache {cache}"):
        (cache / _KEPT).mkdir(parents=True, exist_ok=True)
        for attempt in range(_ATTEMPTS):
            heads = there.heads()
            state = cache / hashlib.sha256(b"\0".join(heads.values())).hexdigest()
            if state.is_dir():
                return state
            try:
                with rare_wait(f"fetching {there.address}"):
                    _fetch_state(there, heads, cache, state)
            except IndexCorruptError:
                # It may have been written meanwhile; then its parts are of two states.
                if attempt == _ATTEMPTS - 1 or there.heads() == heads:
                    raise
                continue
            _drop_others(cache, state)
            return state
    raise IndexCorruptError(f"{there.address} changes while it is fetched; try again when it has been written")


class _Elsewhere:
    """The files of an index at an address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._fs: Any
        self._fs, self._top = file_system(address)

    def heads(self) -> dict[str, bytes]:
        """Return the small files that tell one state from another."""
        manifest = self._read(MANIFEST_NAME, MANIFEST_BYTES)
        digest = self._read(DIGEST_NAME, DIGEST_BYTES)
        if manifest is None or digest is None:
            raise IndexNotFoundError(f"{self.address} is no index: it holds no {MANIFEST_NAME} and {DIGEST_NAME}")
        return {MANIFEST_NAME: manifest, DIGEST_NAME: digest}

    def _read(self, name: str, most: int) -> bytes | None:
        with self._told(name):
            try:
                raw = bytes(self._fs.cat_file(f"{self._top}/{name}", start=0, end=most + 1))
            except FileNotFoundError:
                return None
        if len(raw) > most:
            raise IndexCorruptError(f"{self.address}/{name} is damaged: it has more than {most} bytes")
        return raw

    def fetch(self, name: str, path: Path, most: int) -> bool:
        """Fetch a file; False if there is none."""
        place = f"{self._top}/{name}"
        with self._told(name):
            try:
                size = int(self._fs.info(place)["size"])
                if size > most:
                    raise IndexCorruptError(f"{self.address}/{name} is damaged: it has {size} bytes, not {most}")
                self._fs.get_file(place, str(path))
            except FileNotFoundError:
                return False
        return True

    @contextlib.contextmanager
    def _told(self, name: str) -> Iterator[None]:
        try:
            yield
        except SemretError:
            raise
        except Exception as error:  # what the packages of all kinds of storage raise has no common class
            raise StorageError(f"cannot read {self.address}/{name}: {cut_text(error)}") from error


def _fetch_state(there: _Elsewhere, heads: dict[str, bytes], cache: Path, state: Path) -> None:
    """Bring a state together in a folder of its own, and give it its name when it is complete."""
    folder = Path(tempfile.mkdtemp(prefix="fetching-", dir=cache))
    try:
        for name, raw in heads.items():
            (folder / name).write_bytes(raw)
        _require(there, CATALOG_NAME, folder, MOST_BYTES)
        with Catalog(folder, thoroughly=True) as catalog, catalog.reading():
            segments = list(catalog.segments().values())
            entry = agreed_manifest(folder, read_manifest(folder), catalog).codec_file
        if entry is not None:
            _require(there, codec_name(entry), folder, entry.bytes)
            read_codec(folder, entry)
        (folder / FOLDER).mkdir()
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="semret-fetch") as pool:
            list(pool.map(lambda segment: _take_segment(there, segment, cache / _KEPT, folder), segments))
        for name in _DERIVED:
            # Made anew where they are missing or of another state.
            there.fetch(name, folder / name, MOST_BYTES)
        with contextlib.suppress(FileExistsError):
            _name(folder, state)
    except IndexCorruptError as error:
        text = str(error).replace(str(folder), there.address).replace(REPAIR, _AGAIN)
        raise IndexCorruptError(text) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _name(folder: Path, state: Path) -> None:
    try:
        folder.rename(state)
    except OSError:
        if not state.is_dir():
            raise
        # Another process has fetched the same state.


def _require(there: _Elsewhere, name: str, folder: Path, most: int) -> None:
    if not there.fetch(name, folder / name, most):
        raise IndexCorruptError(f"{there.address}/{name} is missing; {_AGAIN}")


def _take_segment(there: _Elsewhere, segment: Segment, kept: Path, folder: Path) -> None:
    """Give a segment of the cache its name in a state; fetch it first if it is not there."""
    place = kept / f"{segment.sha256}.h5"
    if not (place.is_file() and place.stat().st_size == segment.bytes):
        descriptor, name = tempfile.mkstemp(dir=kept)
        os.close(descriptor)
        partial = Path(name)
        try:
            address = f"{there.address}/{segment_name(segment.number)}"
            if not there.fetch(segment_name(segment.number), partial, segment.bytes):
                raise IndexCorruptError(f"{address} is missing; {_AGAIN}")
            if digest_of(partial, most=segment.bytes) != (segment.sha256, segment.bytes):
                raise IndexCorruptError(f"{address} is damaged: its digest is another; {_AGAIN}")
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)
    try:
        os.link(place, segment_path(folder, segment.number))
    except OSError:
        # Not every file system has links.
        shutil.copyfile(place, segment_path(folder, segment.number))


def _drop_others(cache: Path, state: Path) -> None:
    """Delete former states that nobody reads, and segments that no state has."""
    for former in cache.iterdir():
        if former in (state, cache / _KEPT) or former.name.startswith("fetching-"):
            continue
        with contextlib.suppress(OSError, SemretError), NoReaders(former / MANIFEST_NAME) as alone:
            if alone:
                shutil.rmtree(former, ignore_errors=True)
    if all(file.stat().st_nlink > 1 for file in (state / FOLDER).glob("*.h5")):
        for segment in (cache / _KEPT).glob("*.h5"):
            found = segment.stat()
            # One that is young may be on its way into a state that another process fetches.
            if found.st_nlink == 1 and time.time() - found.st_mtime > _GRACE:
                segment.unlink(missing_ok=True)
