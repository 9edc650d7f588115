"""Bring an index up to date with folders of pictures."""

from __future__ import annotations

import datetime
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from semret.errors import ArgumentError, ImageSearchError, IncompatibleIndexError
from semret.index.backbones.spec import Backbone
from semret.index.collection import default_index_path
from semret.index.images import FoundImage, SkippedPath, find_images
from semret.index.ingest import Ingest
from semret.index.location import PathLike, Root, absolute
from semret.index.lock import LOCK_NAME
from semret.index.manifest import DTYPES, Manifest, check_compatible
from semret.index.pipeline import Loaded, Loader, load_in_order
from semret.index.segments import SEGMENT_ROWS
from semret.index.writer import IndexWriter

BATCH_SIZE = 8


@dataclass(frozen=True, kw_only=True)
class SyncReport:
    """What a `sync` did.

    Attributes
    ----------
    index, model : str
        Index directory; name of the backbone.
    images : int
        Images in the index now.
    added, updated, renamed, removed, unchanged : int
        Files new to the index, changed, found under another path, vanished, and as they were.
    embedded : int
        Pictures that went through the network.
    skipped : tuple of (path, reason)
        What could not be indexed.
    seconds : float
    bytes : int
        Size of the index directory.
    interrupted : bool
        Whether it was stopped before the end; what was done is committed, and vanished files are still there.
    """

    index: str
    model: str
    images: int
    added: int
    updated: int
    renamed: int
    removed: int
    unchanged: int
    embedded: int
    skipped: tuple[tuple[str, str], ...]
    seconds: float
    bytes: int
    interrupted: bool = False

    @property
    def images_per_second(self) -> float:
        """Pictures embedded per second of the whole run."""
        return self.embedded / self.seconds if self.seconds > 0 else 0.0

    @property
    def bytes_per_image(self) -> float:
        """Bytes of the index per image in it."""
        return self.bytes / self.images if self.images else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        skipped = [{"path": path, "reason": reason} for path, reason in self.skipped]
        rates = {"images_per_second": self.images_per_second, "bytes_per_image": self.bytes_per_image}
        return {**asdict(self), "skipped": skipped, **rates}


@dataclass(frozen=True, kw_only=True)
class SyncOptions:
    """How a `sync` works.

    Attributes
    ----------
    dtype : {"float16", "float32"} or None
        How tokens are stored; None keeps what the index has, float16 for a new one.
    batch_size : int
        Pictures per forward pass.
    workers : int or None
        Threads that read and decode; None chooses by the number of processors.
    root : path or None
        The folder that paths are stored relative to; None keeps what the index has, and chooses for a new one.
    commit_rows : int
        Images after which what was embedded is committed.
    """

    dtype: str | None = None
    batch_size: int = BATCH_SIZE
    workers: int | None = None
    root: PathLike | None = None
    commit_rows: int = SEGMENT_ROWS

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in DTYPES:
            raise ArgumentError(f"tokens cannot be stored as {self.dtype!r}; choose one of {', '.join(DTYPES)}")
        for name in ("batch_size", "workers", "commit_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ArgumentError(f"{name} is {value}, expected at least 1")

    @property
    def threads(self) -> int:
        """Number of loading threads."""
        return self.workers or min(8, os.cpu_count() or 1)


@dataclass
class Survey:
    """What lies in the folders now."""

    found: list[FoundImage] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def sync(
    index: PathLike | None,
    paths: Sequence[PathLike],
    backbone: Callable[[], Backbone],
    *,
    options: SyncOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> SyncReport:
    """Bring an index up to date with files and folders, making it if there is none.

    Files of the same size and time as before are not read. Others are hashed: content that is in the index is not
    embedded again, so a renamed file keeps its id and a copy costs nothing. A changed file gets a new id. Files that
    have vanished from `paths` are removed; the rest of the index is left alone.

    Parameters
    ----------
    index : path or None
        Index directory; see `default_index_path` for None.
    paths : sequence of path
        Files, and folders that are walked.
    backbone : callable
        Loads the network. Called at most once, and not at all if nothing has to be embedded.
    options : SyncOptions, optional
    progress : callable, optional
        Called with the number of files dealt with and their total.
    stop : callable, optional
        Asked before each file; once it answers True, what is embedded is committed and the report returned.

    Raises
    ------
    ImageSearchError
        If a path does not exist, or there is no picture, or (making an index) none that can be read.
    IncompatibleIndexError
        If the network, or the dtype, is not the one that the index was made with.
    IndexLockedError
        If another process writes to the index.
    StorageError
        If the disk is full, read-only, or refuses access. What was committed before is intact.
    """
    start = time.perf_counter()
    settings = options or SyncOptions()
    directory = default_index_path(index)
    survey = look(paths, directory)
    with IndexWriter(directory, may_create=True) as writer:
        run = _Run(writer, backbone, settings, paths)
        run.go(survey, progress or _ignore, stop or _never)
        return run.report(time.perf_counter() - start)


def _ignore(done: int, total: int) -> None:
    del done, total


def _never() -> bool:
    return False


def look(paths: Sequence[PathLike], index: Path) -> Survey:
    """Walk the paths.

    Raises
    ------
    ImageSearchError
        If they hold nothing that could be a picture.
    """
    survey = Survey()
    for entry in find_images(paths, exclude=[index]):
        if isinstance(entry, SkippedPath):
            survey.skipped[entry.path] = entry.reason
        else:
            survey.found.append(entry)
    if not survey.found:
        places = ", ".join(str(absolute(path)) for path in paths)
        known = f" ({next(iter(survey.skipped.values()))})" if survey.skipped else ""
        raise ImageSearchError(
            f"there is no picture in {places}{known}; give a folder with pictures, "
            "or take vanished ones out of an index with semret remove"
        )
    return survey


class _Run:
    """One `sync`: from what was found to a report."""

    def __init__(
        self, writer: IndexWriter, backbone: Callable[[], Backbone], options: SyncOptions, paths: Sequence[PathLike]
    ) -> None:
        self._writer = writer
        self._options = options
        self._paths = paths
        self._tops = [str(absolute(path)) for path in paths]
        self._network = Lazy(backbone, self._accept)
        self._ingest: Ingest | None = None
        self._stopped = False
        self._fresh = not writer.exists
        if writer.exists:
            self._adopt()

    def _accept(self, backbone: Backbone) -> None:
        if not self._fresh:
            check_compatible(self._writer.manifest, backbone.identity)

    def _adopt(self) -> None:
        """Check the options against an index that exists, and apply those that may change."""
        writer, wanted = self._writer, self._options.dtype
        if wanted is not None and wanted != writer.manifest.dtype:
            raise IncompatibleIndexError(
                f"{writer.index} stores tokens as {writer.manifest.dtype}, not {wanted}; "
                "leave --dtype out, or index into another directory with --index"
            )
        settings = {"style": _style(self._paths)}
        if self._options.root is not None:
            writer.root = Root.at(writer.index, self._options.root)
            settings["root"] = writer.root.stored
        changed = {key: value for key, value in settings.items() if writer.catalog.meta(key) != value}
        if changed:
            with writer.catalog.transaction():
                for key, value in changed.items():
                    writer.catalog.set_meta(key, value)
        self._ingest = Ingest(writer, self._options.commit_rows)

    def _make_index(self, backbone: Backbone) -> Ingest:
        """Make the index, now that there is something to put into it."""
        manifest = Manifest(
            identity=backbone.identity,
            dtype=self._options.dtype or DTYPES[0],
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )
        index, root = self._writer.index, self._options.root
        chosen = Root.choose(index, self._paths) if root is None else Root.at(index, root)
        self._writer.create(manifest, chosen, _style(self._paths))
        return Ingest(self._writer, self._options.commit_rows)

    def go(self, survey: Survey, progress: Callable[[int, int], None], stop: Callable[[], bool]) -> None:
        """Do the work."""
        self._survey = survey
        pending = self._sort_out(survey)
        self._refusals: list[Loaded] = []
        batches = Batches(self._options.batch_size)
        size = None if self._fresh else self._writer.manifest.identity.preprocessing.size
        loader = Loader(self._network.get, self._is_known, size)
        ahead = self._options.threads + 2 * self._options.batch_size
        for done, loaded in enumerate(load_in_order(loader, pending, workers=self._options.threads, ahead=ahead), 1):
            for batch in batches.add(loaded):
                self._take(batch)
            progress(done, len(pending))
            if stop():
                self._stopped = True
                break
        for batch in batches.rest():
            self._take(batch)
        self._close()

    def _is_known(self, sha256: bytes) -> bool:
        return self._ingest is not None and self._ingest.is_known(sha256)

    def _sort_out(self, survey: Survey) -> list[FoundImage]:
        """Return the files that have to be read."""
        ingest = self._ingest
        if ingest is None:
            return survey.found
        pending = []
        for found in survey.found:
            key = self._writer.root.to_stored(found.path)
            stored, refused = ingest.stored.get(key), ingest.refused.get(key)
            if stored is not None and (stored.size, stored.mtime_ns) == (found.size, found.mtime_ns):
                ingest.counts.unchanged += 1
            elif refused is not None and refused[:2] == (found.size, found.mtime_ns):
                ingest.refuse(found.path, *refused)
            else:
                pending.append(found)
        return pending

    def _take(self, batch: list[Loaded]) -> None:
        """Embed the new contents of a batch, and place all its files in their order."""
        new = {loaded.sha256: loaded for loaded in batch if loaded.pixels is not None}
        fresh = [loaded for sha, loaded in new.items() if sha is not None and not self._is_known(sha)]
        if fresh:
            backbone = self._network.get()
            features = backbone.embed(np.stack([loaded.pixels for loaded in fresh if loaded.pixels is not None]))
            if self._ingest is None:
                self._ingest = self._make_index(backbone)
            self._ingest.embed(fresh, features)
        if self._ingest is None:
            self._refusals += batch
            return
        for loaded in self._refusals + batch:
            if loaded.reason is not None:
                self._ingest.refuse(loaded.path, loaded.size, loaded.mtime_ns, loaded.reason)
            else:
                self._ingest.place(loaded)
        self._refusals = []
        if self._ingest.is_due:
            self._ingest.commit()

    def _close(self) -> None:
        if self._ingest is None:
            if self._stopped:
                raise ImageSearchError("stopped before the first picture was embedded; there is no index yet")
            first = self._refusals[0]
            raise ImageSearchError(
                f"none of the {len(self._refusals)} files found is a usable picture; "
                f"the first, {first.path}: {first.reason}"
            )
        ingest, writer = self._ingest, self._writer
        if self._stopped:
            ingest.commit()
        else:
            for path, reason in self._survey.skipped.items():
                ingest.refuse(path, -1, -1, reason)
            seen = {writer.root.to_stored(found.path) for found in self._survey.found}
            ingest.finish(self._tops, seen, list(self._survey.skipped))
            writer.delete_retired()
        writer.refresh_shortlist()

    def report(self, seconds: float) -> SyncReport:
        """Return what was done."""
        if self._ingest is None:
            raise RuntimeError("there is a report only after the work")
        writer, root = self._writer, self._writer.root
        skipped = sorted((root.to_path(key), record[2]) for key, record in self._ingest.skipped.items())
        return SyncReport(
            index=str(writer.index),
            model=writer.manifest.identity.backbone,
            images=len(self._ingest.stored),
            **asdict(self._ingest.counts),
            skipped=tuple(skipped),
            seconds=seconds,
            bytes=directory_bytes(writer.index),
            interrupted=self._stopped,
        )


def _style(paths: Sequence[PathLike]) -> str:
    """Return how hits name their paths: absolute if any path was given so."""
    return "absolute" if any(Path(path).is_absolute() for path in paths) else "relative"


def directory_bytes(folder: Path) -> int:
    """Return the bytes of all files of an index, without the lock."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.name != LOCK_NAME)


class Lazy:
    """A network that is loaded when it is first wanted, by whichever thread wants it, and accepted or refused then."""

    def __init__(self, load: Callable[[], Backbone], accept: Callable[[Backbone], None]) -> None:
        self._load = load
        self._accept = accept
        self._lock = threading.Lock()
        self._loaded: Backbone | None = None

    def get(self) -> Backbone:
        """Return the network."""
        with self._lock:
            if self._loaded is None:
                loaded = self._load()
                self._accept(loaded)
                self._loaded = loaded
            return self._loaded


class Batches:
    """Gathers files until there are enough pictures for a forward pass; what needs none goes along in its place."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._gathered: list[Loaded] = []
        self._pictures = 0

    def add(self, loaded: Loaded) -> list[list[Loaded]]:
        """Take one file; return the batch that it completes, if it does."""
        self._gathered.append(loaded)
        self._pictures += loaded.pixels is not None
        return self.rest() if self._pictures >= self._size or len(self._gathered) >= 64 * self._size else []

    def rest(self) -> list[list[Loaded]]:
        """Return what is gathered as a batch, if anything is."""
        gathered, self._gathered, self._pictures = self._gathered, [], 0
        return [gathered] if gathered else []
