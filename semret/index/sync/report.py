"""The options of a sync, and the report that it returns."""

from __future__ import annotations

import datetime
import os
from dataclasses import asdict, dataclass
from typing import Any

from semret.arrays import require_flag, require_whole
from semret.errors import ArgumentError
from semret.index.backbones.spec import Identity
from semret.index.codec.table import NO_CODEC, default_codec, parse
from semret.index.convert import FEWEST_IMAGES
from semret.index.store.layout import SEGMENT_ROWS
from semret.index.store.manifest import DTYPES, Manifest
from semret.index.sync.survey import Survey
from semret.paths import PathLike

BATCH_SIZE = 8
"""Pictures in the network at one time, unless the caller wants another number."""

_MOST_LOADERS = 32


@dataclass(frozen=True)
class Excluded:
    """What is left out of an index by the user's wish.

    Attributes
    ----------
    patterns : tuple of str
        Those in force; ones with a slash from the root of the index.
    files, folders : int
        What was found and matches; folders are not entered, and what is in them is not counted.
    images : int
        Images that were in the index before and match now; they are among the removed.
    """

    patterns: tuple[str, ...] = ()
    files: int = 0
    folders: int = 0
    images: int = 0


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
    kept : int
        Images that are still in the index although their folder is missing or empty as a whole.
    kept_in : tuple of (path, int)
        Those folders, and how many of the images are in each.
    skipped : tuple of (path, reason)
        What could not be indexed.
    left_out : dict
        Files that look like pictures or films of kinds that are not read, counted by kind.
    excluded : Excluded
        What was left out by the user's wish.
    seconds : float
        Duration of the run.
    bytes : int
        Size of the index directory.
    refit_pays : bool
        Whether the codec of the index was fitted on images so different from those in it now that a new index would be
        better; told by runs that embed.
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
    kept: int
    kept_in: tuple[tuple[str, int], ...]
    skipped: tuple[tuple[str, str], ...]
    left_out: dict[str, int]
    seconds: float
    bytes: int
    excluded: Excluded = Excluded()
    refit_pays: bool = False
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
        """Return the report as ``semret index --json`` prints it.

        Returns
        -------
        dict
            Of plain dicts, lists, strings and numbers.
        """
        skipped = [{"path": path, "reason": reason} for path, reason in self.skipped]
        kept_in = [{"path": path, "images": images} for path, images in self.kept_in]
        rates = {"images_per_second": self.images_per_second, "bytes_per_image": self.bytes_per_image}
        return {**asdict(self), "kept_in": kept_in, "skipped": skipped, **rates}


@dataclass(frozen=True, kw_only=True)
class SyncOptions:
    """How a `sync` works.

    Attributes
    ----------
    dtype : {"float16", "float32"} or None
        How tokens are stored that no codec encodes; None keeps what the index has, float16 for a new one.
    codec : str or None
        What tokens are stored with, see `semret.index.codec.table.parse`. None keeps what the index has; for a new one
        it takes ``none`` if `dtype` is given, else what suits the network.
    fit_from : int
        Pictures from which the codec of an index is fitted; until then tokens are stored as they are.
    batch_size : int
        Pictures in the network at one time; see `Backbone.streams` for how they are shared out.
    workers : int or None
        Threads that read and decode; None chooses by the number of processors.
    root : path or None
        The folder that paths are stored relative to; None keeps what the index has, and chooses for a new one.
    commit_rows : int
        Number of embedded images after which they are committed.
    prune : bool
        Whether images of folders that are missing or empty as a whole are removed.
    exclude : tuple of str
        Patterns, as in a ``.gitignore``, of files and folders that are left out, beside those that the index remembers.
    no_exclude : bool
        Whether the index forgets those it remembers.
    decode_for : (int, int) or None
        Height and width that pictures are decoded for, where that is larger than the network's input; None decodes for
        the input.
    """

    dtype: str | None = None
    codec: str | None = None
    fit_from: int = FEWEST_IMAGES
    batch_size: int = BATCH_SIZE
    workers: int | None = None
    root: PathLike | None = None
    commit_rows: int = SEGMENT_ROWS
    prune: bool = False
    exclude: tuple[str, ...] = ()
    no_exclude: bool = False
    decode_for: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in DTYPES:
            raise ArgumentError(f"tokens cannot be stored as {self.dtype!r}; choose one of {', '.join(DTYPES)}")
        if self.codec is not None:
            parse(self.codec)
        if self.dtype is not None and self.codec not in (None, NO_CODEC):
            raise ArgumentError(
                f"dtype is {self.dtype} and codec {self.codec}: a codec decides how tokens are stored; give one of them"
            )
        for name in ("batch_size", "workers", "commit_rows", "fit_from"):
            value = getattr(self, name)
            if value is not None:
                require_whole(value, name)
        require_flag(self.prune, "prune")
        require_flag(self.no_exclude, "no_exclude")

    @property
    def threads(self) -> int:
        """Number of loading threads."""
        return self.workers or min(_MOST_LOADERS, usable_cores())


def usable_cores() -> int:
    """Return the cores that this process may use.

    Returns
    -------
    int
        At least 1.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def excluded_by(survey: Survey) -> Excluded:
    """Return what a survey left out by the user's wish.

    Parameters
    ----------
    survey : Survey
        After `semret.index.sync.survey.find_vanished`.

    Returns
    -------
    Excluded
    """
    patterns = tuple(str(rule) for rule in survey.unwanted.rules)
    return Excluded(patterns, survey.excluded_files, survey.excluded_folders, survey.excluded_images)


def new_manifest(identity: Identity, options: SyncOptions) -> Manifest:
    """Return the manifest of an index that is to be made, as long as its codec is not fitted.

    Parameters
    ----------
    identity : Identity
        Of the network.
    options : SyncOptions

    Returns
    -------
    Manifest
    """
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    codec = options.codec
    if codec is None:
        codec = default_codec(identity.family) if options.dtype is None else NO_CODEC
    return Manifest(identity=identity, dtype=options.dtype or DTYPES[0], codec=codec, created=created)
