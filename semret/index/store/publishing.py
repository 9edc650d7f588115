"""Writing to an index in an object store: in a working folder, which is then published whole.

1. *Lock*: nobody else writes (`address_lock`).
2. *Fetch*: the state there is now into the cache, and from there into a folder; the usual writer works in that.
3. *Publish*: new files under their digests, segments first; then the one object that names them all (`stored_state`).
   That is the commit: before it the former state is there, whole; after it the new one.
4. *Delete* what neither the new state nor the one before names.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from semret.errors import IndexCorruptError, IndexNotFoundError, SemretError, StorageError
from semret.index.store import durable
from semret.index.store.address_lock import AddressLock
from semret.index.store.agreement import agreed_manifest
from semret.index.store.cache import kept_segments, make_cache
from semret.index.store.catalog import Catalog
from semret.index.store.catalog_file import CATALOG_NAME, DIGEST_NAME
from semret.index.store.codec_file import codec_name
from semret.index.store.durable import storage
from semret.index.store.elsewhere import fetch_state
from semret.index.store.layout import FOLDER, segment_name
from semret.index.store.lock import ReaderLock, WriterLock
from semret.index.store.manifest import MANIFEST_NAME, read_manifest
from semret.index.store.members import REPAIR, digest_of
from semret.index.store.object_folder import ObjectFolder
from semret.index.store.root import WORKING
from semret.index.store.stored_state import (
    DERIVED,
    OBJECTS,
    REPLACED_NAME,
    STATE_BYTES,
    STATE_NAME,
    StoredFile,
    StoredState,
    parse_replaced,
    replaced_as_bytes,
)
from semret.progress import rare_wait

_THREADS = 8
_AGAIN = "copy the index there again"


@contextlib.contextmanager
def working_folder(address: str, *, may_create: bool = False) -> Iterator[Path]:
    """Give a folder to write an index in that lies elsewhere; it is published when the ``with`` block ends.

    If the block ends with an error of ours, what was committed in the folder is published all the same, as it would
    have been kept in an index directory; with anything else, as a second Ctrl-C, nothing is.

    Parameters
    ----------
    address : str
        Such as ``s3://bucket/index``.
    may_create : bool
        Whether the index may be missing.

    Yields
    ------
    Path
        An index directory, or empty.

    Raises
    ------
    IndexNotFoundError
        If there is no index and `may_create` is false.
    ArgumentError, IndexLockedError
        See `semret.index.store.address_lock.AddressLock`.
    IndexCorruptError
        If the index there is damaged.
    StorageError
        If the store or the cache cannot be read or written.
    """
    there = ObjectFolder(address)
    with AddressLock(there) as lock:
        cache = make_cache(there.address)
        former = _Former.fetch(there, cache, may_create=may_create)
        _delete_leftovers(cache)
        with storage(f"write the cache {cache}"):
            folder = Path(tempfile.mkdtemp(prefix=WORKING, dir=cache))
        try:
            with _told_of(folder, there.address):
                if former.folder is not None:
                    _copy(former.folder, folder)
                try:
                    yield folder
                except IndexCorruptError:
                    raise
                except SemretError:
                    with contextlib.suppress(SemretError):
                        _publish(there, folder, former, lock)
                    raise
                _publish(there, folder, former, lock)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class _Former:
    """The index that was there before: its copy in the cache, and what names its files there; both may be missing."""

    def __init__(self, folder: Path | None = None, state: StoredState | None = None) -> None:
        self.folder = folder
        self.state = state

    @classmethod
    def fetch(cls, there: ObjectFolder, cache: Path, *, may_create: bool) -> _Former:
        try:
            return cls(*fetch_state(there, cache))
        except IndexNotFoundError:
            if not may_create:
                raise
            return cls()

    def is_as(self, folder: Path) -> bool:
        """Tell whether a folder holds the same state."""
        heads = (MANIFEST_NAME, DIGEST_NAME)
        return self.folder is not None and all(
            (folder / name).read_bytes() == (self.folder / name).read_bytes() for name in heads
        )

    def plain_names(self, there: ObjectFolder) -> list[str]:
        """Return the files of an index that was copied there; those that make it one come first."""
        if self.state is not None:
            # Those that the writer who took it over could not delete any more.
            return parse_replaced(there.read(REPLACED_NAME, STATE_BYTES) or b"[]")
        if self.folder is None:
            return []
        with storage(f"read {self.folder}"):
            return [MANIFEST_NAME, DIGEST_NAME, *(name for name in _files(self.folder) if name != MANIFEST_NAME)]


@contextlib.contextmanager
def _told_of(folder: Path, address: str) -> Iterator[None]:
    """Have errors name the address in place of the working folder."""
    try:
        yield
    except SemretError as error:
        text = str(error).replace(str(folder), address).replace(REPAIR, _AGAIN)
        raise type(error)(text) from error


def _delete_leftovers(cache: Path) -> None:
    """Delete the working folders of killed runs: what is in them was never published."""
    for left in cache.glob(f"{WORKING}*"):
        with contextlib.suppress(SemretError), WriterLock(left):
            shutil.rmtree(left, ignore_errors=True)


def _copy(state: Path, folder: Path) -> None:
    """Copy a state from the cache; segments, which nobody changes, as further names of the same files."""
    with storage(f"write {folder}"):
        lock = ReaderLock(state / MANIFEST_NAME)
        try:
            (folder / FOLDER).mkdir()
            for file in (state / FOLDER).glob("*.h5"):
                _link_or_copy(file, folder / FOLDER / file.name)
            for file in state.iterdir():
                if file.is_file():
                    shutil.copyfile(file, folder / file.name)
        finally:
            lock.release()


def _link_or_copy(file: Path, name: Path) -> None:
    """Give a file that nobody changes a second name."""
    try:
        os.link(file, name)
    except OSError:
        # Not every file system has links.
        shutil.copyfile(file, name)


def _publish(there: ObjectFolder, folder: Path, former: _Former, lock: AddressLock) -> None:
    with storage(f"read {folder}"):
        if not (folder / MANIFEST_NAME).exists() or former.is_as(folder):
            return
        with rare_wait(f"publishing to {there.address}"):
            plain, state = former.plain_names(there), StoredState(_files(folder))
            raw = state.as_bytes()
            if len(raw) > STATE_BYTES:
                raise StorageError(f"{there.address} would have too many segments; run semret compact on a copy of it")
            _upload(there, folder, state, former)
            present = there.sizes(OBJECTS)
            for name, size in state.objects.items():
                if present.get(name) != size:
                    raise StorageError(f"{there.address}/{name} was written, but has {present.get(name)} bytes")
            if plain:
                there.put(REPLACED_NAME, replaced_as_bytes(plain))
            lock.require()
            durable.checkpoint("publish:uploaded")
            there.put(STATE_NAME, raw)
            durable.checkpoint("publish:committed")
            _keep_segments(folder, state)
            wanted = state.objects | ({} if former.state is None else former.state.objects)
            if _delete(there, plain) and plain:
                _delete(there, [REPLACED_NAME])
            _delete(there, [name for name in present if name not in wanted])


def _files(folder: Path) -> dict[str, StoredFile]:
    """Return the files that an index directory consists of, segments first."""
    with Catalog(folder) as catalog, catalog.reading():
        segments = list(catalog.segments().values())
        entry = agreed_manifest(folder, read_manifest(folder), catalog).codec_file
    files = {segment_name(segment.number): StoredFile(segment.sha256, segment.bytes) for segment in segments}
    needed = [] if entry is None else [codec_name(entry)]
    for name in (*needed, CATALOG_NAME, DIGEST_NAME, MANIFEST_NAME):
        files[name] = StoredFile(*digest_of(folder / name))
    for name in DERIVED:
        with contextlib.suppress(FileNotFoundError):
            files[name] = StoredFile(*digest_of(folder / name))
    return files


def _upload(there: ObjectFolder, folder: Path, state: StoredState, former: _Former) -> None:
    """Put what the former state did not have; of what killed runs left there nothing is relied on."""
    present = {} if former.state is None else former.state.objects
    new = {name: file for name, file in state.files.items() if file.name not in present}
    segments = [name for name in new if name.startswith(FOLDER)]

    def put(name: str) -> None:
        durable.checkpoint(f"publish:{name}")
        if digest_of(folder / name) != (new[name].sha256, new[name].bytes):
            raise IndexCorruptError(f"{folder / name} is damaged: its digest is another; run the command again")
        there.upload(folder / name, new[name].name)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="semret-publish") as pool:
        for names in (segments, [name for name in new if name not in segments]):
            list(pool.map(put, names))


def _keep_segments(folder: Path, state: StoredState) -> None:
    """Let the cache, which a working folder lies in, have the new segments, so that they need not be fetched."""
    kept = kept_segments(folder.parent)
    for name, file in state.files.items():
        if name.startswith(FOLDER):
            # A copy could be cut short; without one it is fetched.
            with contextlib.suppress(OSError):
                os.link(folder / name, kept / f"{file.sha256}.h5")


def _delete(there: ObjectFolder, names: Iterable[str]) -> bool:
    """Delete what nobody needs, and tell whether it is gone; what is not is left for the next writer."""

    def delete(name: str) -> bool:
        durable.checkpoint(f"delete:{name}")
        try:
            there.delete(name)
        except SemretError:
            return False
        return True

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="semret-delete") as pool:
        return all(list(pool.map(delete, names)))
