"""The story of a sync: folders of pictures become an index, or an index follows what has changed in them.

1. *Survey*: walk the folders and note what lies in them (`survey`).
2. *Plan*: compare size and time of every file with the catalog; only files that differ are read (`changes`).
3. *Load, embed, commit*: threads read and decode, the network embeds in batches (`loading`, `pipeline`), and what is
   done is committed in portions. A new index is made when the first picture has been embedded, so a run that finds no
   usable picture leaves nothing behind.
4. *Remove what vanished*: images whose files are gone, unless a whole folder is gone (`survey.find_vanished`).
5. *Report*: count what was done (`report`).
"""

from __future__ import annotations

import datetime
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from semret.errors import ImageSearchError, IncompatibleIndexError
from semret.index.backbones.spec import Backbone, Features, Identity
from semret.index.location import default_index_path
from semret.index.pictures.find import FoundImage
from semret.index.store.layout import Rows, directory_bytes
from semret.index.store.manifest import DTYPES, MANIFEST_NAME, Manifest, check_compatible
from semret.index.store.root import Root
from semret.index.sync.changes import Changes
from semret.index.sync.loading import Loaded, Loader, load_files
from semret.index.sync.pipeline import Embedded, Embedder, Lazy
from semret.index.sync.report import SyncOptions, SyncReport
from semret.index.sync.rows import make_rows
from semret.index.sync.survey import Survey, look
from semret.index.writer import IndexWriter
from semret.paths import PathLike
from semret.progress import Progress, waiting_for


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
        Default: ``SyncOptions()``.
    progress : callable, optional
        Called with the number of files dealt with and their total, first with 0 once they are counted. A
        `semret.progress.Display` is also told that the network is being loaded.
    stop : callable, optional
        Asked before each file; once it answers True, what is embedded is committed and the report returned.

    Returns
    -------
    SyncReport
        What was added, updated, removed, kept, skipped and left out.

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
    settings, tell = options or SyncOptions(), progress or _ignore
    directory = default_index_path(index)
    survey = look(paths, directory)
    if not (directory / MANIFEST_NAME).exists():
        survey.require_pictures([])
    with IndexWriter(directory, may_create=True) as writer:
        known = _open_changes(writer, paths, settings) if writer.exists else None
        pending = _plan(survey, writer, known)
        network = Lazy(lambda: _load_network(backbone, writer, settings, tell))
        intake = _Intake(known, lambda: _make_index(writer, network.get().manifest, paths, settings))
        size = _input_size(writer, settings)
        stopped = _embed(pending, network, intake, settings, size=size, progress=tell, stop=stop or _never)
        changes = intake.require_changes(stopped)
        kept = _finish(changes, survey, writer, settings, stopped)
        return _report(writer, changes, survey, kept, stopped, time.perf_counter() - start)


def _ignore(done: int, total: int) -> None:
    del done, total


def _never() -> bool:
    return False


# -- the index, as it is or newly made


def _open_changes(writer: IndexWriter, paths: Sequence[PathLike], options: SyncOptions) -> Changes:
    """Check the options against an index that exists, and apply those that may change."""
    if options.dtype is not None and options.dtype != writer.manifest.dtype:
        raise IncompatibleIndexError(
            f"{writer.index} stores tokens as {writer.manifest.dtype}, not {options.dtype}; "
            "leave --dtype out, or index into another directory with --index"
        )
    settings = {"style": _style(paths)}
    if options.root is not None:
        writer.root = Root.at(writer.index, options.root)
        settings["root"] = writer.root.stored
    changed = {key: value for key, value in settings.items() if writer.catalog.meta(key) != value}
    if changed:
        with writer.catalog.transaction():
            for key, value in changed.items():
                writer.catalog.set_meta(key, value)
    return Changes(writer, options.commit_rows)


def _make_index(writer: IndexWriter, manifest: Manifest, paths: Sequence[PathLike], options: SyncOptions) -> Changes:
    """Make the index, now that there is a picture to put into it."""
    root = Root.choose(writer.index, paths) if options.root is None else Root.at(writer.index, options.root)
    writer.create(manifest, root, _style(paths))
    return Changes(writer, options.commit_rows)


def _style(paths: Sequence[PathLike]) -> str:
    """Return how hits name their paths: absolute if any path was given so."""
    return "absolute" if any(Path(path).is_absolute() for path in paths) else "relative"


# -- plan


def _plan(survey: Survey, writer: IndexWriter, changes: Changes | None) -> list[FoundImage]:
    """Return the files that have to be read; for a new index that is all of them."""
    if changes is None:
        return survey.found
    survey.require_pictures([writer.root.to_path(key) for key in changes.stored])
    return changes.pending(survey.found)


# -- load, embed, commit


class _Network(NamedTuple):
    """The network of a run, and the manifest of the index that its features go into."""

    backbone: Backbone
    manifest: Manifest


def _load_network(
    load: Callable[[], Backbone], writer: IndexWriter, options: SyncOptions, progress: Progress
) -> _Network:
    """Load the network; check it against the manifest of the index, or write the manifest for a new one."""
    with waiting_for(f"loading {getattr(load, 'model', 'the network')}", progress):
        backbone = load()
    if not writer.exists:
        return _Network(backbone, _new_manifest(backbone.identity, options))
    check_compatible(writer.manifest, backbone.identity)
    return _Network(backbone, writer.manifest)


def _new_manifest(identity: Identity, options: SyncOptions) -> Manifest:
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Manifest(identity=identity, dtype=options.dtype or DTYPES[0], created=created)


def _input_size(writer: IndexWriter, options: SyncOptions) -> tuple[int, int] | None:
    """Return height and width that pictures are decoded for; None where only the network, once loaded, can tell."""
    if options.decode_for is not None or not writer.exists:
        return options.decode_for
    return writer.manifest.identity.preprocessing.size


class _Intake:
    """Puts files into the index, in their order, as they come out of the network.

    A new index is made with the first picture that has been embedded; unusable files that come before it are kept here
    until then.

    Parameters
    ----------
    changes : Changes or None
        To the index, if there is one.
    make_index : callable
        Makes it otherwise.
    """

    def __init__(self, changes: Changes | None, make_index: Callable[[], Changes]) -> None:
        self._changes = changes
        self._make_index = make_index
        self._waiting: list[Loaded] = []

    def is_known(self, sha256: bytes) -> bool:
        """Tell whether the features of a content are stored or about to be."""
        return self._changes is not None and self._changes.is_known(sha256)

    def take(self, embedded: Embedded[Rows]) -> None:
        """Keep the features of new contents, place all files, and commit if it is time."""
        if embedded.result is not None:
            if self._changes is None:
                self._changes = self._make_index()
            self._changes.keep(embedded.pictures, embedded.result)
        files, self._waiting = self._waiting + embedded.files, []
        if self._changes is None:
            self._waiting = files
            return
        for loaded in files:
            if loaded.reason is not None:
                self._changes.refuse(loaded.path, loaded.size, loaded.stamp_ns, loaded.reason)
            else:
                self._changes.place(loaded)
        self.commit_if_due()

    def commit_if_due(self) -> None:
        """Commit if enough pictures, or enough time, have passed since the last commit."""
        if self._changes is not None and self._changes.is_due:
            self._changes.commit()

    def require_changes(self, stopped: bool) -> Changes:
        """Return the changes to the index, or raise ImageSearchError if no picture was embedded to make one with."""
        if self._changes is not None:
            return self._changes
        if stopped:
            raise ImageSearchError(
                "stopped before the first picture was embedded; there is no index yet, run the same command again"
            )
        first = self._waiting[0]
        raise ImageSearchError(
            f"none of the {len(self._waiting)} files found is a usable picture; the first, {first.path}: {first.reason}"
        )


def _embed(
    pending: Sequence[FoundImage],
    network: Lazy[_Network],
    intake: _Intake,
    options: SyncOptions,
    *,
    size: tuple[int, int] | None,
    progress: Progress,
    stop: Callable[[], bool],
) -> bool:
    """Load and embed files and hand them to `intake`; return whether `stop` ended that before the last file."""

    def backbone() -> Backbone:
        return network.get().backbone

    def to_rows(pictures: list[Loaded], features: Features) -> Rows:
        return make_rows(network.get().manifest, pictures, features)

    def take(ready: Iterator[Embedded[Rows]]) -> None:
        for embedded in ready:
            intake.take(embedded)
            for _ in embedded.files:
                progress(next(counter), len(pending))

    progress(0, len(pending))
    counter, stopped = itertools.count(1), False
    ahead = options.threads + 2 * options.batch_size
    loader = Loader(backbone, intake.is_known, size)
    with Embedder(backbone, to_rows, batch_size=options.batch_size, is_known=intake.is_known) as embedder:
        for loaded in load_files(loader, pending, workers=options.threads, ahead=ahead):
            # While only slow files are left, what is there is embedded, and committed when its time has come.
            take(embedder.rest() if loaded is None else embedder.add(loaded))
            intake.commit_if_due()
            if stop():
                stopped = True
                break
        take(embedder.rest())
    return stopped


# -- remove what vanished, and report


def _finish(
    changes: Changes, survey: Survey, writer: IndexWriter, options: SyncOptions, stopped: bool
) -> dict[str, int]:
    """Commit the rest; unless stopped, remove what vanished. Return for each folder how many images are kept."""
    kept: dict[str, int] = {}
    if stopped:
        changes.commit()
    else:
        for path, reason in survey.skipped.items():
            changes.refuse(path, -1, -1, reason)
        kept = changes.finish(survey, prune=options.prune)
        writer.delete_retired()
    writer.refresh_shortlist()
    return kept


def _report(
    writer: IndexWriter, changes: Changes, survey: Survey, kept: dict[str, int], stopped: bool, seconds: float
) -> SyncReport:
    skipped = sorted((writer.root.to_path(key), record[2]) for key, record in changes.skipped.items())
    return SyncReport(
        index=str(writer.index),
        model=writer.manifest.identity.backbone,
        images=len(changes.stored),
        **asdict(changes.counts),
        kept=sum(kept.values()),
        kept_in=tuple(kept.items()),
        skipped=tuple(skipped),
        left_out=dict(sorted(survey.left_out.items())),
        seconds=seconds,
        bytes=directory_bytes(writer.index),
        interrupted=stopped,
    )
