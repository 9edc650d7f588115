"""The story of a sync: folders of pictures become an index, or an index follows what has changed in them.

1. *Survey*: walk the folders and note what lies in them (`survey`).
2. *Plan*: compare size and time of every file with the catalog; only files that differ are read (`changes`).
3. *Load, embed, commit* (`local_run`): threads read and decode, the network embeds in batches (`loading`, `pipeline`),
   and what is done is committed in portions. For a new index pictures from all over the folders come first, and the
   codec is fitted on them while the network goes on (`fitting`). The index is made when the first picture has been
   embedded, so a run that finds no usable picture leaves nothing behind.
4. *Remove what vanished*: images whose files are gone, unless a whole folder is gone (`vanished`).
5. *Report*: count what was done (`report`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from semret.errors import IncompatibleIndexError
from semret.index.backbones.spec import Backbone
from semret.index.codec.describe import describe
from semret.index.codec.table import NO_CODEC
from semret.index.convert import convert
from semret.index.location import default_index_path
from semret.index.model_choice import may_have_text
from semret.index.pictures.find import FoundImage
from semret.index.store.codec_file import read_codec
from semret.index.store.energies import energies_of
from semret.index.store.layout import directory_bytes
from semret.index.store.manifest import MANIFEST_NAME, Manifest, check_compatible
from semret.index.store.root import Root
from semret.index.sync.changes import Changes
from semret.index.sync.excluding import Excluding, find_excluding
from semret.index.sync.fitting import Network
from semret.index.sync.found_files import FoundFiles
from semret.index.sync.intake import Intake
from semret.index.sync.local_run import LocalRun
from semret.index.sync.pipeline import Lazy
from semret.index.sync.report import SyncOptions, SyncReport, excluded_by, new_manifest
from semret.index.sync.run import MakeRun, Work
from semret.index.sync.survey import Survey, look
from semret.index.writer import IndexWriter
from semret.paths import PathLike, is_address
from semret.progress import Progress, waiting_for


def sync(
    index: PathLike | None,
    paths: Sequence[PathLike],
    backbone: Callable[[], Backbone],
    *,
    options: SyncOptions | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
    hold: Callable[[FoundImage], bool] | None = None,
    make_run: MakeRun | None = None,
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
    hold : callable, optional
        Asked of each file found; one for which it answers True may still be being written, and stays as it is.
    make_run : callable, optional
        Makes what puts files through the network, see `MakeRun`; by default that is this process.

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
    excluding = find_excluding(directory, paths, settings)
    survey = look(paths, directory, excluding.exclusions, hold)
    if not (directory / MANIFEST_NAME).exists():
        survey.require_pictures(tuple)
    with IndexWriter(directory, may_create=True) as writer:
        known = _open_changes(writer, paths, settings, excluding) if writer.exists else None
        pending = _plan(survey, writer, known)
        network = Lazy(lambda: _load_network(backbone, writer, settings, tell))
        intake = Intake(
            directory, known, lambda: _make_index(writer, network.get().manifest, paths, settings, excluding)
        )
        work = Work(
            network=network,
            intake=intake,
            options=settings,
            size=_input_size(writer, settings),
            progress=tell,
            stop=stop or _never,
        )
        run = (make_run or LocalRun)(work)
        run.go(pending, makes_index=known is None)
        changes = intake.require_changes(run.stopped)
        kept = _finish(changes, survey, writer, settings, run.stopped)
        if not run.stopped:
            _fit_at_last(writer, settings, tell)
        writer.refresh_shortlist(tell)
        return _report(writer, changes, survey, kept, run.stopped, time.perf_counter() - start)


def _ignore(done: int, total: int) -> None:
    del done, total


def _never() -> bool:
    return False


# -- the index, as it is or newly made


def _open_changes(
    writer: IndexWriter, paths: Sequence[PathLike], options: SyncOptions, excluding: Excluding
) -> Changes:
    """Check the options against an index that exists, and apply those that may change."""
    if options.codec is not None and options.codec != writer.manifest.codec:
        raise IncompatibleIndexError(
            f"{writer.index} stores tokens with codec {writer.manifest.codec}, not {options.codec}; leave --codec out, "
            "run semret compact --codec for a coarser one, or index into another directory"
        )
    if options.dtype is not None and options.dtype != writer.manifest.dtype:
        raise IncompatibleIndexError(
            f"{writer.index} stores tokens as {writer.manifest.dtype}, not {options.dtype}; "
            "leave --dtype out, or index into another directory with --index"
        )
    settings = {"style": _style(paths)}
    if options.root is not None:
        writer.root = Root.at(writer.index, options.root)
        settings["root"] = writer.root.stored
    elif writer.root.is_unknown_in(writer.index) and not all(map(is_address, paths)):
        _refuse_relative(writer)
    changed = {key: value for key, value in settings.items() if writer.catalog.meta(key) != value}
    if changed:
        with writer.catalog.transaction():
            for key, value in changed.items():
                writer.catalog.set_meta(key, value)
    excluding.remember(writer.index)
    return Changes(writer, options.commit_rows)


def _refuse_relative(writer: IndexWriter) -> None:
    """Refuse to add to pictures whose folder is not known: the same ones would be taken for others."""
    inside = "substr(path, 1, 1) != x'2f' AND instr(path, x'3a2f2f') = 0"
    if writer.catalog.select(f"SELECT 1 FROM images WHERE {inside} LIMIT 1"):
        raise IncompatibleIndexError(
            f"{writer.index} has paths relative to where it lay before it was copied; name that folder with --root"
        )


def _make_index(
    writer: IndexWriter, manifest: Manifest, paths: Sequence[PathLike], options: SyncOptions, excluding: Excluding
) -> Changes:
    """Make the index, now that there is a picture to put into it."""
    # First: an index that has its manifest has its patterns, too.
    excluding.remember(writer.index)
    root = Root.choose(writer.index, paths) if options.root is None else Root.at(writer.index, options.root)
    writer.create(manifest, root, _style(paths))
    return Changes(writer, options.commit_rows)


def _style(paths: Sequence[PathLike]) -> str:
    """Return how hits name their paths: absolute if any path was given so."""
    return "absolute" if any(not is_address(path) and Path(path).is_absolute() for path in paths) else "relative"


# -- plan


def _plan(survey: Survey, writer: IndexWriter, changes: Changes | None) -> FoundFiles:
    """Return the files that have to be read; for a new index that is all of them."""
    if changes is None:
        return survey.found
    survey.require_pictures(lambda: map(writer.root.to_path, changes.stored))
    return changes.pending(survey.found)


# -- load, embed, commit


def _load_network(
    load: Callable[[], Backbone], writer: IndexWriter, options: SyncOptions, progress: Progress
) -> Network:
    """Load the network; check it against the manifest of the index, or write the manifest for a new one."""
    with waiting_for(f"loading {getattr(load, 'model', 'the network')}", progress):
        backbone = load()
    if not writer.exists:
        return Network(backbone, new_manifest(backbone.identity, options))
    check_compatible(writer.manifest, backbone.identity)
    entry = writer.manifest.codec_file
    return Network(backbone, writer.manifest, None if entry is None else read_codec(writer.index, entry))


def _input_size(writer: IndexWriter, options: SyncOptions) -> tuple[int, int] | None:
    """Return height and width that pictures are decoded for; None where only the network, once loaded, can tell."""
    if options.decode_for is not None or not writer.exists:
        return options.decode_for
    return writer.manifest.identity.preprocessing.size


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
    return kept


def _fit_at_last(writer: IndexWriter, options: SyncOptions, progress: Progress) -> None:
    """Encode an index that had too few pictures for its codec until now."""
    manifest = writer.manifest
    if manifest.codec == NO_CODEC or manifest.codec_file is not None:
        return
    if writer.catalog.select("SELECT count(DISTINCT sha256) FROM images")[0][0] < options.fit_from:
        return
    has_text = may_have_text(manifest.identity.backbone)
    with waiting_for(f"fitting codec {manifest.codec}", progress):
        convert(writer, manifest.codec, has_text=has_text, fewest=options.fit_from)


def _report(
    writer: IndexWriter, changes: Changes, survey: Survey, kept: dict[str, int], stopped: bool, seconds: float
) -> SyncReport:
    skipped = sorted((writer.root.to_path(key), record[2]) for key, record in changes.refusals.now.items())
    return SyncReport(
        index=str(writer.index),
        model=writer.manifest.identity.backbone,
        images=len(changes.stored),
        **asdict(changes.counts),
        kept=sum(kept.values()),
        kept_in=tuple(kept.items()),
        skipped=tuple(skipped),
        left_out=dict(sorted(survey.left_out.items())),
        excluded=excluded_by(survey),
        seconds=seconds,
        bytes=directory_bytes(writer.index),
        refit_pays=bool(changes.counts.embedded) and _refit_pays(writer),
        interrupted=stopped,
    )


def _refit_pays(writer: IndexWriter) -> bool:
    manifest = writer.manifest
    if manifest.codec_file is None:
        return False
    found = energies_of(writer.index, writer.catalog, manifest)
    codec = read_codec(writer.index, manifest.codec_file)
    return describe(codec, manifest.map_shape[0], kept=found.kept, total=found.total).refit_pays
