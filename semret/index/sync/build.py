"""The public `build`: one call that chooses the model and brings an index up to date."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from semret.index.location import default_index_path
from semret.index.model_choice import ModelChoice
from semret.index.sync.report import SyncOptions, SyncReport
from semret.index.sync.sync import sync
from semret.paths import PathLike
from semret.progress import Progress, told


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
    progress: Progress | bool | None = None,
) -> SyncReport:
    """Make an index of folders of pictures, or bring it up to date; what ``semret index`` does.

    Parameters
    ----------
    paths : path or sequence of path
        Pictures, and folders that are walked.
    index : path or None
        Index directory; None stands for ``SEMRET_INDEX``, an index found from the current directory upward, or a new
        ``.semret`` in the current directory.
    model, weights, size, geometry, layer
        See `semret.index.backbones.registry.create_backbone`. None keeps what the index was made with, and takes the
        default for a new one.
    dtype : {"float16", "float32"} or None
        How tokens are stored; None keeps what the index has, and takes float16 for a new one.
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
    with told(progress, "indexing") as tell:
        return sync(directory, given, choice.loader(directory), options=options, progress=tell)
