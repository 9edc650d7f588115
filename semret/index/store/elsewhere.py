"""Indexes in object stores, for reading: fetched once into a local cache, and checked by the digests that they carry.

What lies at the address is what lies in an index directory, or a state of it that `publishing` put there. Segments
never change, so they are kept by their digests; the small files say which segments belong to a state. A state appears
in the cache when it is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from semret.errors import IndexCorruptError, IndexNotFoundError, SemretError
from semret.index.store.agreement import agreed_manifest
from semret.index.store.cache import ADDRESS, kept_segments, make_cache
from semret.index.store.catalog import Catalog
from semret.index.store.catalog_digest import DIGEST_BYTES
from semret.index.store.catalog_file import CATALOG_NAME, DIGEST_NAME, MOST_BYTES
from semret.index.store.codec_file import codec_name, read_codec
from semret.index.store.durable import storage
from semret.index.store.layout import FOLDER, Segment, segment_name, segment_path
from semret.index.store.lock import NoReaders
from semret.index.store.manifest import MANIFEST_BYTES, MANIFEST_NAME, read_manifest
from semret.index.store.members import REPAIR, digest_of
from semret.index.store.object_folder import ObjectFolder
from semret.index.store.root import WORKING
from semret.index.store.stored_state import DERIVED, STATE_BYTES, STATE_NAME, StoredState, parse_state
from semret.progress import rare_wait

_ATTEMPTS = 3
_THREADS = 8
_AGAIN = "copy the index there again"
_GRACE = 3600.0


def fetch_index(address: str) -> Path:
    """Return a local copy of an index that lies elsewhere, as it is there now.

    The small files that tell one state from another are fetched each time, the catalog if that is another, and the
    segments that are not in the cache yet.

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
    there = ObjectFolder(address)
    return fetch_state(there, make_cache(there.address))[0]


def fetch_state(there: ObjectFolder, cache: Path) -> tuple[Path, StoredState | None]:
    """Return a local copy of an index that lies elsewhere, and what names its files there.

    Parameters
    ----------
    there : ObjectFolder
    cache : Path
        Of its address, see `make_cache`.

    Returns
    -------
    folder : Path
        As `fetch_index`.
    state : StoredState or None
        None if the files lie there as in an index directory.

    Raises
    ------
    IndexNotFoundError, IndexCorruptError, StorageError
        As `fetch_index`.
    """
    with storage(f"write the cache {cache}"):
        for attempt in range(_ATTEMPTS):
            heads = _heads(there)
            files = _Files(there, heads)
            folder = cache / hashlib.sha256(b"\0".join(heads.values())).hexdigest()
            if folder.is_dir():
                return folder, files.state
            try:
                with rare_wait(f"fetching {there.address}"):
                    _fetch_state(files, cache, folder)
            except IndexCorruptError:
                # It may have been written meanwhile; then its parts are of two states.
                if attempt == _ATTEMPTS - 1 or _heads(there) == heads:
                    raise
                continue
            _drop_others(cache, folder)
            return folder, files.state
    raise IndexCorruptError(f"{there.address} changes while it is fetched; try again when it has been written")


def _heads(there: ObjectFolder) -> dict[str, bytes]:
    """Return the small files that tell one state from another."""
    # The first state may be put, and the plain files be deleted, between the two looks.
    for _ in range(2):
        state = there.read(STATE_NAME, STATE_BYTES)
        if state is not None:
            return {STATE_NAME: state}
        manifest = there.read(MANIFEST_NAME, MANIFEST_BYTES)
        digest = there.read(DIGEST_NAME, DIGEST_BYTES)
        if manifest is not None and digest is not None:
            return {MANIFEST_NAME: manifest, DIGEST_NAME: digest}
    raise IndexNotFoundError(f"{there.address} is no index: it holds no {MANIFEST_NAME} and {DIGEST_NAME}")


class _Files:
    """The files of one state, by their names in an index directory."""

    def __init__(self, there: ObjectFolder, heads: dict[str, bytes]) -> None:
        self.address = there.address
        self._there = there
        self._heads = heads
        raw = heads.get(STATE_NAME)
        self.state = None if raw is None else parse_state(raw, f"{there.address}/{STATE_NAME}")

    def fetch(self, name: str, path: Path, most: int) -> bool:
        """Fetch a file; False if there is none. That a segment has its digest is for the caller to see."""
        if name in self._heads:
            path.write_bytes(self._heads[name])
            return True
        if self.state is None:
            return self._there.fetch(name, path, most)
        file = self.state.files.get(name)
        if file is None:
            return False
        if file.bytes > most:
            raise IndexCorruptError(
                f"{self.address}/{STATE_NAME} is damaged: {name} has {file.bytes} bytes, not {most}"
            )
        if not self._there.fetch(file.name, path, file.bytes):
            raise IndexCorruptError(f"{self.address}/{file.name} ({name}) is missing; {_AGAIN}")
        if not name.startswith(FOLDER) and digest_of(path, most=file.bytes) != (file.sha256, file.bytes):
            raise IndexCorruptError(f"{self.address}/{file.name} ({name}) is damaged: its digest is another; {_AGAIN}")
        return True


def _fetch_state(there: _Files, cache: Path, state: Path) -> None:
    """Bring a state together in a folder of its own, and give it its name when it is complete."""
    folder = Path(tempfile.mkdtemp(prefix="fetching-", dir=cache))
    try:
        for name, most in ((MANIFEST_NAME, MANIFEST_BYTES), (DIGEST_NAME, DIGEST_BYTES), (CATALOG_NAME, MOST_BYTES)):
            _require(there, name, folder, most)
        with Catalog(folder, thoroughly=True) as catalog, catalog.reading():
            segments = list(catalog.segments().values())
            entry = agreed_manifest(folder, read_manifest(folder), catalog).codec_file
        if entry is not None:
            _require(there, codec_name(entry), folder, entry.bytes)
            read_codec(folder, entry)
        (folder / FOLDER).mkdir()
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="semret-fetch") as pool:
            list(pool.map(lambda segment: _take_segment(there, segment, kept_segments(cache), folder), segments))
        for name in DERIVED:
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


def _require(there: _Files, name: str, folder: Path, most: int) -> None:
    if not there.fetch(name, folder / name, most):
        raise IndexCorruptError(f"{there.address}/{name} is missing; {_AGAIN}")


def _take_segment(there: _Files, segment: Segment, kept: Path, folder: Path) -> None:
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
        if former in (state, kept_segments(cache), cache / ADDRESS) or former.name.startswith(("fetching-", WORKING)):
            continue
        with contextlib.suppress(OSError, SemretError), NoReaders(former / MANIFEST_NAME) as alone:
            if alone:
                shutil.rmtree(former, ignore_errors=True)
    if all(file.stat().st_nlink > 1 for file in (state / FOLDER).glob("*.h5")):
        for segment in (kept_segments(cache)).glob("*.h5"):
            found = segment.stat()
            # One that is young may be on its way into a state that another process fetches.
            if found.st_nlink == 1 and time.time() - found.st_mtime > _GRACE:
                segment.unlink(missing_ok=True)
