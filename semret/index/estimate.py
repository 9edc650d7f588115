"""What an indexing run would take, measured on a few pictures of the folder itself."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from semret.errors import ImageSearchError
from semret.index.backbones.spec import Backbone, Features
from semret.index.build import Survey, look
from semret.index.collection import default_index_path, open_collection
from semret.index.loading import Loaded, Loader, load_files
from semret.index.location import PathLike
from semret.index.manifest import DTYPES, MANIFEST_NAME, Manifest, check_compatible
from semret.index.pipeline import Embedder
from semret.index.report import BATCH_SIZE
from semret.index.segments import SEGMENT_ROWS, columns

_CATALOG_BYTES = 400
"""Bytes that an image takes in the catalog, measured."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a `sync` would do.

    Attributes
    ----------
    index : str
        Index directory.
    images : int
        Files found.
    to_embed : int
        Files among them that are new or have another size or time than before.
    bytes_per_image, bytes : int
        What the index grows by, for each and for all of `to_embed`.
    seconds : float
        How long it would last.
    measured : int
        Pictures that were put through the network to find out; 0 if there is nothing to embed.
    """

    index: str
    images: int
    to_embed: int
    bytes_per_image: int
    bytes: int
    seconds: float
    measured: int

    def as_json(self) -> dict[str, Any]:
        """Return plain strings and numbers."""
        return asdict(self)


def estimate(
    index: PathLike | None,
    paths: Sequence[PathLike],
    backbone: Callable[[], Backbone],
    *,
    dtype: str | None = None,
    batch_size: int = BATCH_SIZE,
    workers: int = 1,
) -> Estimate:
    """Tell what `sync` would do, without doing it: nothing is written.

    Parameters are those of `sync` and `SyncOptions`. Up to two batches spread over the files to be embedded are read
    and embedded; the first half serves to warm up.

    Raises
    ------
    ImageSearchError
        If there is no picture, or none of those tried can be read.
    IncompatibleIndexError
        If the network is not the one that the index was made with.
    """
    directory = default_index_path(index)
    survey = look(paths, directory)
    pending, manifest = _pending(survey, directory)
    if not pending:
        return Estimate(
            index=str(directory),
            images=len(survey.found),
            to_embed=0,
            bytes_per_image=0,
            bytes=0,
            seconds=0,
            measured=0,
        )
    network = backbone()
    if manifest is None:
        manifest = Manifest(identity=network.identity, dtype=dtype or DTYPES[0], created="")
    else:
        check_compatible(manifest, network.identity)
    seconds, measured = _measure(network, survey, pending, batch_size, workers)
    each = _image_bytes(manifest)
    return Estimate(
        index=str(directory),
        images=len(survey.found),
        to_embed=len(pending),
        bytes_per_image=each,
        bytes=each * len(pending),
        seconds=seconds * len(pending),
        measured=measured,
    )


def _pending(survey: Survey, index: Any) -> tuple[list[int], Manifest | None]:
    """Return the places in the survey of files that are not stored as they are, and the manifest if there is one."""
    if not (index / MANIFEST_NAME).is_file():
        return list(range(len(survey.found))), None
    with open_collection(index) as collection:
        stored = {path: status for path, *status in collection.files()}
        pending = [
            place
            for place, found in enumerate(survey.found)
            if stored.get(found.path) not in ([found.size, found.mtime_ns], [found.size, -1])
        ]
        return pending, collection.manifest


def _measure(network: Backbone, survey: Survey, pending: list[int], batch_size: int, workers: int) -> tuple[float, int]:
    """Return the seconds per image and the number of images measured; the first half only warms up if it can."""
    wanted = min(2 * batch_size, len(pending))
    chosen = [survey.found[pending[place]] for place in np.linspace(0, len(pending) - 1, wanted).astype(int)]
    loader = Loader(lambda: network, lambda _: False)
    passes = [(0, time.perf_counter())]
    with Embedder(lambda: network, _count, batch_size=batch_size, is_known=lambda _: False) as embedder:
        files = load_files(loader, chosen, workers=workers, ahead=2 * batch_size)
        ready = itertools.chain.from_iterable(embedder.add(file) for file in files if file is not None)
        for embedded in itertools.chain(ready, embedder.rest()):
            if embedded.result:
                passes.append((passes[-1][0] + embedded.result, time.perf_counter()))
    measured, ended = passes[-1]
    if not measured:
        raise ImageSearchError(f"none of the {wanted} files tried is a usable picture; try semret index on one of them")
    # Of three passes all may have run at the same time.
    before, started = passes[len(passes) // 2 if len(passes) > 4 else 0]
    return (ended - started) / (measured - before), measured


def _count(pictures: list[Loaded], features: Features) -> int:
    del features
    return len(pictures)


def _image_bytes(manifest: Manifest) -> int:
    """Return the bytes that an image takes in full segments, in the shortlist and in the catalog."""
    segment = sum(column.bytes for column in columns(manifest, SEGMENT_ROWS).values()) / SEGMENT_ROWS
    return round(segment + 4 * manifest.identity.pooled_dim + _CATALOG_BYTES)
