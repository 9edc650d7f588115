"""What a sync would take in time and space, measured on a few pictures of the folder itself."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from semret.errors import ImageSearchError
from semret.index.backbones.features import Features
from semret.index.backbones.spec import Backbone
from semret.index.codec.entry import plan_entry
from semret.index.codec.fit import POOLED_DIRECTIONS, spread
from semret.index.codec.table import parse
from semret.index.location import default_index_path
from semret.index.model_choice import may_have_text
from semret.index.pictures.find import FoundImage
from semret.index.store.layout import SEGMENT_ROWS, columns
from semret.index.store.manifest import Manifest, check_compatible
from semret.index.sync.excluding import find_excluding
from semret.index.sync.loading import Loaded, Loader, load_files
from semret.index.sync.pipeline import Embedder
from semret.index.sync.plan import Plan, make_plan
from semret.index.sync.report import Excluded, SyncOptions, excluded_by, new_manifest
from semret.paths import PathLike

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
        Files found, without those that are known to be unusable.
    added, updated, renamed, removed, unchanged, kept, kept_in, left_out, excluded
        As in `SyncReport`, but expected: most new files are not read for it, and may turn out to be no pictures.
    skipped : tuple of (path, reason)
        What is known to be unusable: from the walk, from an earlier run, or because it was tried for the measurement.
    to_embed : int
        Pictures that have to go through the network.
    bytes_per_image, bytes : int
        What the index grows by, for each and for all of `to_embed`.
    seconds : float or None
        How long it would last; None if none of the pictures tried could be read.
    measured : int
        Pictures that were put through the network to find out; 0 if there is nothing to embed.
    """

    index: str
    images: int
    added: int
    updated: int
    renamed: int
    removed: int
    unchanged: int
    kept: int
    kept_in: tuple[tuple[str, int], ...]
    skipped: tuple[tuple[str, str], ...]
    left_out: dict[str, int]
    excluded: Excluded
    to_embed: int
    bytes_per_image: int
    bytes: int
    seconds: float | None
    measured: int

    def as_json(self) -> dict[str, Any]:
        """Return the estimate as ``semret index --dry-run --json`` prints it.

        Returns
        -------
        dict
            Of plain dicts, lists, strings and numbers.
        """
        skipped = [{"path": path, "reason": reason} for path, reason in self.skipped]
        kept_in = [{"path": path, "images": images} for path, images in self.kept_in]
        return {**asdict(self), "kept_in": kept_in, "skipped": skipped}


def estimate(
    index: PathLike | None,
    paths: Sequence[PathLike],
    backbone: Callable[[], Backbone],
    *,
    options: SyncOptions | None = None,
) -> Estimate:
    """Tell what `sync` would do, without doing it: nothing is written.

    Up to two batches of pictures, spread over the files to be embedded, are read and embedded to measure the time; the
    first half only warms the network up.

    Parameters
    ----------
    index, paths, backbone
        As in `sync`.
    options : SyncOptions, optional
        As in `sync`.

    Returns
    -------
    Estimate

    Raises
    ------
    ImageSearchError
        Where `sync` would: a path does not exist, there is no picture, or none that can be read for a new index.
    IncompatibleIndexError
        If the network is not the one that the index was made with.
    """
    directory, options = default_index_path(index), options or SyncOptions()
    unwanted = find_excluding(directory, paths, options).exclusions
    plan = make_plan(paths, directory, unwanted, prune=options.prune)
    manifest, each, measured = plan.manifest, 0, 0
    per_image: float | None = 0.0
    refused: dict[str, str] = {}
    if plan.to_embed:
        network = backbone()
        if manifest is None:
            manifest = _planned(network, plan, options)
        else:
            check_compatible(manifest, network.identity)
        per_image, measured, refused = _measure(network, plan.to_embed, options.batch_size, options.threads)
        plan.refuse(refused)
        each = _image_bytes(manifest)
    if plan.manifest is None and not plan.to_embed:
        path, reason = next(iter(refused.items()))
        raise ImageSearchError(
            f"none of the {len(refused)} files found is a usable picture; the first, {path}: {reason}"
        )
    counts = plan.counts
    return Estimate(
        index=str(directory),
        images=counts.added + counts.updated + counts.renamed + counts.unchanged,
        **asdict(counts),
        kept=sum(plan.kept.values()),
        kept_in=tuple(plan.kept.items()),
        skipped=tuple(sorted(plan.skipped.items())),
        left_out=dict(sorted(plan.survey.left_out.items())),
        excluded=excluded_by(plan.survey),
        to_embed=len(plan.to_embed),
        bytes_per_image=each,
        bytes=each * len(plan.to_embed),
        seconds=_total(per_image, len(plan.to_embed)),
        measured=measured,
    )


def _planned(network: Backbone, plan: Plan, options: SyncOptions) -> Manifest:
    """Return the manifest that a new index would have, with a codec that is not fitted."""
    manifest = new_manifest(network.identity, options)
    spec = parse(manifest.codec)
    if spec is None or len(plan.to_embed) < options.fit_from:
        return manifest
    entry = plan_entry(
        spec,
        channels=network.identity.channels,
        pooled=network.identity.pooled_dim,
        pooled_directions=None if may_have_text(network.identity.backbone) else POOLED_DIRECTIONS,
    )
    return replace(manifest, codec_file=entry)


def _total(per_image: float | None, images: int) -> float | None:
    return None if per_image is None and images else (per_image or 0.0) * images


def _measure(
    network: Backbone, pending: Sequence[FoundImage], batch_size: int, workers: int
) -> tuple[float | None, int, dict[str, str]]:
    """Return the seconds per image, the number of images measured, and the files tried in vain with the reasons.

    Where there are enough passes, the first half only warms up. Where no file tried is a picture, the time is None.
    """
    wanted = min(2 * batch_size, len(pending))
    chosen = [pending[place] for place in spread(len(pending), wanted)]
    loader = Loader(lambda: network, lambda _: False)
    refused: dict[str, str] = {}
    passes = [(0, time.perf_counter())]
    with Embedder(lambda: network, _count, batch_size=batch_size, is_known=lambda _: False) as embedder:
        files = load_files(loader, chosen, workers=workers, ahead=2 * batch_size)
        ready = itertools.chain.from_iterable(embedder.add(file) for file in files if file is not None)
        for embedded in itertools.chain(ready, embedder.rest()):
            refused |= {loaded.path: loaded.reason for loaded in embedded.files if loaded.reason is not None}
            if embedded.result:
                passes.append((passes[-1][0] + embedded.result, time.perf_counter()))
    measured, ended = passes[-1]
    if not measured:
        return None, 0, refused
    # Up to three passes may all have run at the same time, so that there is none to leave out for warming up.
    before, started = passes[len(passes) // 2 if len(passes) > 4 else 0]
    return (ended - started) / (measured - before), measured, refused


def _count(pictures: list[Loaded], features: Features) -> int:
    del features
    return len(pictures)


def _image_bytes(manifest: Manifest) -> int:
    """Return the bytes that an image takes in full segments, in the shortlist and in the catalog."""
    segment = sum(column.bytes for column in columns(manifest, SEGMENT_ROWS).values()) / SEGMENT_ROWS
    shortlist = 4 * manifest.identity.pooled_dim if manifest.codec_file is None else 0
    return round(segment + shortlist + _CATALOG_BYTES)
