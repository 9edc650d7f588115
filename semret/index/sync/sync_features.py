"""An index of features that the caller has: token maps of any network, under names and ids of the caller's choice.

What tells one image from another is, as elsewhere, the SHA-256 of its file, where a name is the path of one; else the
digest of its features. Such an index knows no network, so new pictures are searched with by their features.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from semret.errors import ArgumentError
from semret.index.backbones.features import Features
from semret.index.backbones.spec import OWN_FEATURES, Identity
from semret.index.codec.codec import Codec
from semret.index.codec.table import NO_CODEC
from semret.index.convert import FEWEST_IMAGES, convert
from semret.index.pictures.files import read_file
from semret.index.store.codec_file import read_codec
from semret.index.store.layout import SEGMENT_ROWS, Rows, directory_bytes
from semret.index.store.manifest import Manifest, check_compatible
from semret.index.store.reading import SegmentReader
from semret.index.store.root import Root
from semret.index.sync.changes import Changes
from semret.index.sync.given_features import GivenFeatures, digest_of
from semret.index.sync.loading import Loaded
from semret.index.sync.report import SyncOptions, SyncReport, new_manifest
from semret.index.sync.rows import make_rows
from semret.index.writer import IndexWriter
from semret.paths import absolute
from semret.progress import Progress, waiting_for

NO_FILE = -1
"""Size of the file of an image that never had one."""

_BATCH_BYTES = 2**26


def sync_features(
    index: Path,
    given: GivenFeatures,
    *,
    codec: str | None = None,
    dtype: str | None = None,
    commit_rows: int = SEGMENT_ROWS,
    progress: Progress | None = None,
) -> SyncReport:
    """Put features into an index, making it if there is none; those that are in it already stay as they are.

    What is done is committed in portions: after a kill, the same call goes on where it was.

    Parameters
    ----------
    index : Path
        Index directory.
    given : GivenFeatures
    codec : str or None
        What tokens are stored with, from `FEWEST_IMAGES` images on; None keeps what the index has, and stores them as
        they are in a new one.
    dtype : {"float16", "float32"} or None
        How they are stored otherwise; None keeps what the index has, and takes float32 for a new one unless the
        features are float16.
    commit_rows : int
        Number of images after which they are committed.
    progress : callable, optional
        Called with the number of images done and their total.

    Returns
    -------
    SyncReport

    Raises
    ------
    ArgumentError
        If an id or a path is in the index already as another image, or with other features.
    IncompatibleIndexError
        If the index holds maps of other shapes, or of a network.
    NonFiniteError
        If a value is NaN, infinite, or beyond the dtype.
    ImageDecodeError
        If a path is that of a file which cannot be read.
    IndexLockedError, StorageError
        If another process writes to the index, or the disk refuses.
    """
    start = time.perf_counter()
    if dtype is None and codec is None and str(given.tokens.dtype) not in ("float16", "torch.float16"):
        dtype = "float32"
    options = SyncOptions(dtype=None if codec not in (None, NO_CODEC) else dtype, codec=codec or NO_CODEC)
    with IndexWriter(index, may_create=True) as writer:
        manifest = _manifest(writer, given.identity(), options, wanted=codec)
        intake = _Intake(writer, manifest, given, commit_rows)
        if progress is not None:
            progress(0, len(given))
        for done in intake.run():
            if progress is not None:
                progress(done, len(given))
        name = writer.manifest.codec
        if name != NO_CODEC and writer.manifest.codec_file is None:
            with waiting_for(f"fitting codec {name}", progress):
                convert(writer, name, has_text=True, fewest=FEWEST_IMAGES)
        writer.delete_retired()
        writer.refresh_shortlist(progress)
        return _report(writer, intake.changes, time.perf_counter() - start)


def _manifest(writer: IndexWriter, identity: Identity, options: SyncOptions, *, wanted: str | None) -> Manifest:
    """Return the manifest of the index, or of one to be made: tokens are float32 until a codec can be fitted."""
    if not writer.exists:
        made = new_manifest(identity, options)
        return made if options.codec == NO_CODEC else replace(made, dtype="float32")
    check_compatible(writer.manifest, identity)
    if wanted is not None and wanted != writer.manifest.codec:
        raise ArgumentError(
            f"{writer.index} stores tokens with codec {writer.manifest.codec}, not {wanted}; leave codec out, or run "
            "semret compact --codec"
        )
    return writer.manifest


class _Intake:
    """Puts features into the index, a batch at a time.

    Parameters
    ----------
    writer : IndexWriter
    manifest : Manifest
        Of the index, which may still have to be made.
    given : GivenFeatures
    commit_rows : int
    """

    changes: Changes

    def __init__(self, writer: IndexWriter, manifest: Manifest, given: GivenFeatures, commit_rows: int) -> None:
        self._writer, self._manifest, self._given = writer, manifest, given
        self._index, self._commit_rows = writer.index, commit_rows
        entry = manifest.codec_file
        self._codec: Codec | None = None if entry is None else read_codec(writer.index, entry)
        self._taken: dict[bytes, bytes] = {}
        self._readers: dict[int, SegmentReader] = {}
        if writer.exists:
            self.changes = Changes(writer, commit_rows)
        self._paths = None if given.paths is None else [str(absolute(path)) for path in given.paths]
        if given.paths is None and given.ids is not None:
            self._paths = [self._name(id_) for id_ in given.ids]
        self._next_id = writer.catalog.next_id() if writer.exists else 1
        self._held: dict[bytes, int] = {}
        self._check_places()

    def _name(self, id_: int) -> str:
        """Return the path of an image that has no name."""
        folder = self._writer.root.folder if self._writer.exists else self._index.parent
        return str(folder / OWN_FEATURES / str(id_))

    def _check_places(self) -> None:
        """Refuse ids and paths that are in the index as other images, before anything is written."""
        if not self._writer.exists or self._given.ids is None or self._paths is None:
            return
        for id_, path in zip(self._given.ids, self._paths, strict=True):
            key = self._writer.root.to_stored(path)
            stored = self.changes.stored.at(key)
            if stored is not None and stored.id != id_:
                raise ArgumentError(f"{path} is in the index {self._index} with id {stored.id}, not {id_}")
            # One without a path is lost, and keeps its id for its content.
            if any(
                place != key for (place,) in self._writer.catalog.select("SELECT path FROM images WHERE id = ?", id_)
            ):
                raise ArgumentError(f"id {id_} is in the index {self._index} for another image; ids stay with images")

    def run(self) -> Iterator[int]:
        """Put everything in, committing in portions; give the number of images done."""
        given, (positions, channels) = self._given, self._manifest.token_shape
        step = max(1, min(self._commit_rows, _BATCH_BYTES // (4 * positions * channels)))
        for start in range(0, len(given), step):
            rows = slice(start, min(start + step, len(given)))
            self._take(rows, given.read(rows, self._manifest.dtype))
            if self.changes.is_due:
                self.changes.commit()
            yield rows.stop
        self.changes.commit()

    def _take(self, rows: slice, features: Features) -> None:
        loaded = [self._describe(features, rows.start, place) for place in range(len(features.pooled))]
        made = make_rows(self._manifest, self._codec, loaded, features)
        if not self._writer.exists:
            self._create()
        fresh = [place for place, one in enumerate(loaded) if self._is_fresh(one, made, place, features)]
        if fresh:
            columns = {name: getattr(made, name) for name in Rows.__dataclass_fields__}
            kept: dict[str, Any] = {name: None if one is None else one[fresh] for name, one in columns.items()}
            self.changes.keep([loaded[place] for place in fresh], Rows(**kept))
        for place, one in enumerate(loaded, start=rows.start):
            self._place(one, place)

    def _create(self) -> None:
        paths = self._paths or [self._name(1)]
        absolute_ = any(Path(path).is_absolute() for path in self._given.paths or ())
        root = Root.choose(self._index, paths)
        self._writer.create(self._manifest, root, "absolute" if absolute_ else "relative")
        self.changes = Changes(self._writer, self._commit_rows)

    def _place(self, loaded: Loaded, place: int) -> None:
        """Give an image its place: under its name, or, without one, beside the others unless it is there already."""
        if self._paths is not None:
            self.changes.place(loaded, None if self._given.ids is None else self._given.ids[place])
        elif self._was_held(loaded.sha256 or b""):
            self.changes.counts.unchanged += 1
        else:
            self.changes.place(replace(loaded, path=self._name(self._next_id)), self._next_id)
            self._next_id += 1

    def _was_held(self, sha: bytes) -> bool:
        """Tell whether one more image with a content was in the index before."""
        if sha not in self._held:
            self._held[sha] = sum(1 for _ in self.changes.stored.with_content(sha))
        self._held[sha] -= 1
        return self._held[sha] >= 0

    def _describe(self, features: Features, first: int, place: int) -> Loaded:
        """Return what stands for an image: its file as it is now, or the digest of its features."""
        path = f"image {first + place}" if self._paths is None else self._paths[first + place]
        if self._given.paths is not None and Path(path).is_file():
            content = read_file(path)
            digest = bytes.fromhex(content.sha256)
            return Loaded(path, content.size, content.mtime_ns, digest, read_ns=content.read_ns)
        return Loaded(path, NO_FILE, NO_FILE, digest_of(features, place), read_ns=0)

    def _is_fresh(self, loaded: Loaded, made: Rows, place: int, features: Features) -> bool:
        """Tell whether features have to be stored; refuse those that differ from what is stored of the same content."""
        sha = loaded.sha256 or b""
        digest = digest_of(features, place)
        if not self.changes.is_known(sha) and sha not in self._taken:
            self._taken[sha] = digest
            return True
        if not (self._taken[sha] == digest if sha in self._taken else self._is_stored(sha, made, place)):
            raise ArgumentError(
                f"{loaded.path}: the same file is in the index {self._index} with other features, which do not change; "
                "semret remove and semret compact forget them, or build another index"
            )
        return False

    def _is_stored(self, sha: bytes, made: Rows, place: int) -> bool:
        ((number, row),) = self._writer.catalog.select("SELECT segment, row FROM contents WHERE sha256 = ?", sha)
        if number not in self._readers:
            segment = self._writer.catalog.segments()[number]
            self._readers[number] = SegmentReader(self._index, segment, self._manifest)
        stored = self._readers[number].take_rows(np.array([row], dtype=np.intp))
        return all(
            np.array_equal(getattr(stored, name)[0], getattr(made, name)[place]) for name in ("tokens", "pooled")
        )


def _report(writer: IndexWriter, changes: Changes, seconds: float) -> SyncReport:
    return SyncReport(
        index=str(writer.index),
        model=writer.manifest.identity.backbone,
        images=len(changes.stored),
        **asdict(changes.counts),
        kept=0,
        kept_in=(),
        skipped=(),
        left_out={},
        seconds=seconds,
        bytes=directory_bytes(writer.index),
    )
