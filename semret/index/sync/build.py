"""Bring an index up to date with folders of pictures."""

from __future__ import annotations

import datetime
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from semret.errors import ImageSearchError, IncompatibleIndexError
from semret.index.backbones.spec import Backbone, Features
from semret.index.location import default_index_path
from semret.index.model_choice import ModelChoice
from semret.index.pictures.decode import FoundImage
from semret.index.store.layout import Rows, directory_bytes
from semret.index.store.manifest import DTYPES, MANIFEST_NAME, Manifest, check_compatible
from semret.index.store.root import Root
from semret.index.sync.changes import Ingest, make_rows
from semret.index.sync.loading import Loaded, Loader, load_files
from semret.index.sync.pipeline import Embedded, Embedder, Lazy
from semret.index.sync.report import SyncOptions, SyncReport
from semret.index.sync.survey import Survey, look
from semret.index.writer import IndexWriter
from semret.paths import PathLike
from semret.progress import Progress, waiting_for

__all__ = ["SyncOptions", "SyncReport", "build", "sync"]


def sync(
    index: PathLike | None,
    paths: Sequence[PathLike],
    backbone: Callable[[], Backbone],
    *,
    options: SyncOptions | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> SyncReport:
    """Bring an index up to date with files and folders, making it if there is none.

    Files of the same size and time as before are not read. Others are hashed: content that is in the index is not
    embedded again, so a renamed file keeps its id and a copy costs nothing. A changed file gets a new id. Files that
    have vanished from `paths` are removed; the rest of the index is left alone. Images of a folder that is missing or
    empty as a whole are kept and counted, unless `options` ask to prune them: the drive may not be connected.

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
        Called with the number of files dealt with and their total, first with 0 once they are counted. A
        `semret.progress.Display` is also told that the network is being loaded.
    stop : callable, optional
        Asked before each file; once it answers True, what is embedded is committed and the report returned.

    Raises
    ------
    ImageSearchError
        If a path does not exist and the index knows no image there, or there is no picture and was none before, or
        (making an index) none that can be read.
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
    if not (directory / MANIFEST_NAME).exists():
        survey.require_pictures([])
    with IndexWriter(directory, may_create=True) as writer:
        run = _Run(writer, backbone, settings, paths, progress or _ignore)
        run.go(survey, stop or _never)
        return run.report(time.perf_counter() - start)


def _ignore(done: int, total: int) -> None:
    del done, total


def _never() -> bool:
    return False


class _Run:
    """One `sync`: from what was found to a report."""

    def __init__(
        self,
        writer: IndexWriter,
        backbone: Callable[[], Backbone],
        options: SyncOptions,
        paths: Sequence[PathLike],
        progress: Progress,
    ) -> None:
        self._writer = writer
        self._options = options
        self._paths = paths
        self._kept: dict[str, int] = {}
        self._load = backbone
        self._progress = progress
        self._network = Lazy(self._load_network, self._accept)
        self._ingest: Ingest | None = None
        self._stopped = False
        self._fresh = not writer.exists
        if writer.exists:
            self._adopt()

    def _load_network(self) -> Backbone:
        with waiting_for(f"loading {getattr(self._load, 'model', 'the network')}", self._progress):
            return self._load()

    def _accept(self, backbone: Backbone) -> None:
        """Check the network, now that it is loaded, against the index; for a new one, say what it is made with."""
        if self._fresh:
            self._manifest = Manifest(
                identity=backbone.identity,
                dtype=self._options.dtype or DTYPES[0],
                created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            )
        else:
            self._manifest = self._writer.manifest
            check_compatible(self._manifest, backbone.identity)

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

    def _make_index(self) -> Ingest:
        """Make the index, now that there is something to put into it."""
        index, root = self._writer.index, self._options.root
        chosen = Root.choose(index, self._paths) if root is None else Root.at(index, root)
        self._writer.create(self._manifest, chosen, _style(self._paths))
        return Ingest(self._writer, self._options.commit_rows)

    def go(self, survey: Survey, stop: Callable[[], bool]) -> None:
        """Do the work."""
        self._survey = survey
        if self._ingest is not None:
            survey.require_pictures([self._writer.root.to_path(key) for key in self._ingest.stored])
        pending = self._sort_out(survey)
        self._progress(0, len(pending))
        self._refusals: list[Loaded] = []
        batch_size, threads = self._options.batch_size, self._options.threads
        size = self._options.decode_for
        if size is None and not self._fresh:
            size = self._writer.manifest.identity.preprocessing.size
        loader = Loader(self._network.get, self._is_known, size)
        counter = itertools.count(1)
        with Embedder(self._network.get, self._finish, batch_size=batch_size, is_known=self._is_known) as embedder:

            def take(ready: Iterator[Embedded[Rows]]) -> None:
                for embedded in ready:
                    self._take(embedded)
                    for _ in embedded.files:
                        self._progress(next(counter), len(pending))

            for loaded in load_files(loader, pending, workers=threads, ahead=threads + 2 * batch_size):
                # While only slow files are left, what is there is embedded, and committed when its time has come.
                take(embedder.rest() if loaded is None else embedder.add(loaded))
                self._commit_if_due()
                if stop():
                    self._stopped = True
                    break
            take(embedder.rest())
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

    def _finish(self, pictures: list[Loaded], features: Features) -> Rows:
        return make_rows(self._manifest, pictures, features)

    def _take(self, embedded: Embedded[Rows]) -> None:
        """Keep the features of new contents, and place all files in their order."""
        if embedded.result is not None:
            if self._ingest is None:
                self._ingest = self._make_index()
            self._ingest.keep(embedded.pictures, embedded.result)
        if self._ingest is None:
            self._refusals += embedded.files
            return
        for loaded in self._refusals + embedded.files:
            if loaded.reason is not None:
                self._ingest.refuse(loaded.path, loaded.size, loaded.stamp_ns, loaded.reason)
            else:
                self._ingest.place(loaded)
        self._refusals = []
        self._commit_if_due()

    def _commit_if_due(self) -> None:
        if self._ingest is not None and self._ingest.is_due:
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
            self._kept = ingest.finish(self._survey, prune=self._options.prune)
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
            kept=sum(self._kept.values()),
            kept_in=tuple(self._kept.items()),
            skipped=tuple(skipped),
            left_out=dict(sorted(self._survey.left_out.items())),
            seconds=seconds,
            bytes=directory_bytes(writer.index),
            interrupted=self._stopped,
        )


def _style(paths: Sequence[PathLike]) -> str:
    """Return how hits name their paths: absolute if any path was given so."""
    return "absolute" if any(Path(path).is_absolute() for path in paths) else "relative"


def build(
    paths: PathLike | Sequence[PathLike],
    *,
    index: PathLike | None = None,
    model: str | None = None,
    weights: PathLike | None = None,
    size: tuple[int, int] | None = None,
    geometry: str | None = None,
    layer: str | int | None = None,
    dtype: str | None = None,
    precision: str | None = None,
    batch_size: int = 8,
    device: str | None = None,
    workers: int | None = None,
    prune: bool = False,
    progress: Progress | None = None,
) -> SyncReport:
    """Make an index of folders of pictures, or bring it up to date; what ``semret index`` does.

    Parameters
    ----------
    paths : path or sequence of path
        Pictures, and folders that are walked.
    index : path or None
        Index directory; None stands for ``SEMRET_INDEX``, an index found from the current directory upward, or a new
        ``.semret`` in the current directory.
    model, weights, size, geometry, layer, device, precision
        See `semret.index.backbones.registry.create_backbone`; `precision` is its `dtype`. None keeps what the index was
        made with, and the default for a new one.
    dtype : {"float16", "float32"} or None
        How tokens are stored; None keeps what the index has, float16 for a new one.
    batch_size : int
        Pictures in the network at one time.
    workers : int or None
        Threads that read and decode; None chooses.
    prune : bool
        Whether images of folders that are missing or empty as a whole are removed, too. Otherwise they are kept and
        counted, for a drive may not be connected.
    progress : callable or None
        Called with the number of files dealt with and their total, first with 0 once they are counted.

    Returns
    -------
    SyncReport
        What was added, updated, removed, kept, skipped and left out.

    Raises
    ------
    ImageSearchError
        If a path does not exist, or holds no usable picture.
    IncompatibleIndexError, IndexLockedError, StorageError, WeightsNotFoundError
        If the index was made otherwise, is being written to, cannot be written, or there is no network.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    choice = ModelChoice(
        model=model,
        weights=None if weights is None else Path(weights),
        size=size,
        geometry=geometry,
        layer=layer,
        device=device,
        autocast=precision,
    )
    options = SyncOptions(dtype=dtype, batch_size=batch_size, workers=workers, prune=prune)
    directory = default_index_path(index)
    return sync(directory, given, choice.loader(directory), options=options, progress=progress)
