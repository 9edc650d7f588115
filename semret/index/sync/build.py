"""The public `build`: one call that chooses the model and brings an index up to date."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from semret.errors import ArgumentError, cut_text
from semret.index.location import writable_index
from semret.index.model_choice import ModelChoice
from semret.index.sync.given_features import check_features
from semret.index.sync.report import SyncOptions, SyncReport
from semret.index.sync.sync import sync
from semret.index.sync.sync_features import sync_features
from semret.paths import PathLike, require_path
from semret.progress import Progress, told


def build(
    paths: PathLike | Sequence[PathLike] | None = None,
    *,
    features: Any = None,
    pooled: Any = None,
    ids: Sequence[int] | None = None,
    codec: str | None = None,
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
    exclude: Sequence[str] = (),
    no_exclude: bool = False,
    progress: Progress | bool | None = None,
) -> SyncReport:
    """Make an index of folders of pictures, or bring it up to date; what ``semret index`` does.

    With `features`, make an index of token maps that you have, of any network, or add to one: `SearchEngine.query` then
    takes an id, one of the files, or ``tokens=``. It is committed in portions as any other, and the same call again
    goes on where it was stopped.

    Parameters
    ----------
    paths : path or sequence of path
        Pictures, and folders that are walked. With `features`, N names, one for each map, which are best the paths of
        the pictures: a file's content is then known by its hash, and hits can be shown. None calls images by their ids.
    features : array_like or tensor of shape (N, S, C) or (N, H, W, C), optional
        Arrays, memory maps and HDF5 datasets are read by slices. What `semret.embed` returns brings its pooled
        embeddings, grid and paths along.
    pooled : array_like of shape (N, D), optional
        With `features`: what the shortlist is drawn by; by default the mean tokens.
    ids : sequence of int, optional
        With `features`: N distinct numbers from 1 that no image of the index has; by default they are counted on.
    codec : str or None
        What tokens are stored with, see `semret.index.codec.table.parse`. None keeps what the index has; for a new one
        it takes what suits the network, and ``none`` for `features`.
    index : path or None
        Index directory; None stands for ``SEMRET_INDEX``, an index found from the current directory upward, or a new
        ``.semret`` in the current directory. Or the address of an index in an object store, see docs/cluster.md.
    model, weights, size, geometry, layer
        See `semret.index.backbones.registry.create_backbone`. None keeps what the index was made with, and takes the
        default for a new one.
    dtype : {"float16", "float32"} or None
        How tokens are stored that no codec encodes; None keeps what the index has, and takes float16 for a new one,
        float32 for `features` that are not float16.
    precision : {"float32", "bfloat16", "float16"} or None
        Of the network's matrix products: the `dtype` of `create_backbone`. None as for `model`.
    batch_size : int
        Pictures in the network at one time.
    device : str or None
        ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; None takes the best there is.
    workers : int or None
        Threads that read and decode; None chooses by the number of processors.
    prune : bool
        Whether images of folders that are missing or empty as a whole are removed, too. Otherwise they are kept and
        counted, for a drive may not be connected.
    exclude : sequence of str
        Patterns, as in a ``.gitignore``, of files and folders that are left out, seen from the folders given. The index
        remembers them; images that match are removed.
    no_exclude : bool
        Whether patterns remembered from before are forgotten.
    progress : callable, bool or None
        Called with the number of files dealt with and their total, first with 0 once they are counted; True draws a
        bar.

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
    ArgumentError, ShapeError, NonFiniteError
        If features, names and ids do not fit each other or the index; if there are neither paths nor features, or an
        option has no meaning beside features.
    """
    if features is not None:
        network = {"model": model, "weights": weights, "size": size, "geometry": geometry, "layer": layer}
        _refuse({**network, "precision": precision, "device": device, "workers": workers, "prune": prune or None})
        _refuse({"exclude": exclude or None, "no_exclude": no_exclude or None})
        names = [paths] if isinstance(paths, (str, os.PathLike)) else paths
        given_features = check_features(features, pooled, names, ids)
        with writable_index(index, may_create=True) as place, told(progress, "storing") as tell:
            report = sync_features(place.folder, given_features, codec=codec, dtype=dtype, progress=tell)
        return replace(report, index=place.name)
    if paths is None or pooled is not None or ids is not None:
        raise ArgumentError("expected paths of pictures, or features (with or without pooled, ids and paths)")
    if isinstance(exclude, str):
        raise ArgumentError(f"exclude is the text {exclude!r}, expected a list of patterns")
    given = _listed(paths)
    choice = ModelChoice(
        model=model,
        weights=weights,
        size=size,
        geometry=geometry,
        layer=layer,
        device=device,
        autocast=precision,
    )
    options = SyncOptions(
        dtype=dtype,
        codec=codec,
        batch_size=batch_size,
        workers=workers,
        prune=prune,
        exclude=tuple(exclude),
        no_exclude=no_exclude,
    )
    with writable_index(index, may_create=True) as place, told(progress, "indexing") as tell:
        report = sync(place.folder, given, choice.loader(place.folder), options=options, progress=tell)
    return replace(report, index=place.name)


def _listed(paths: Any) -> list[PathLike]:
    if isinstance(paths, (str, os.PathLike)):
        return [paths]
    if not isinstance(paths, Iterable) or isinstance(paths, bytes):
        raise ArgumentError(f"paths is {cut_text(repr(paths))}, expected a path, or several")
    given = list(paths)
    for path in given:
        require_path(path, "one of the paths")
    if not given:
        raise ArgumentError("no path was given, expected at least one picture or folder")
    return given


def _refuse(options: dict[str, Any]) -> None:
    """Refuse options of a network where features are given."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ArgumentError(f"{', '.join(given)}: features need no network, so leave this out")
