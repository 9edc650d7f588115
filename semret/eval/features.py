"""The features of a data set's pictures: an index in a cache folder, made once for each model and taken up again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semret.arrays import Float32Array, IdVector, IndexVector
from semret.errors import DatasetError
from semret.eval.data.dataset import Dataset, Split
from semret.index.backbones.spec import Backbone, Streams
from semret.index.backbones.spec import Features as Outcome
from semret.index.collection import Collection, open_collection
from semret.index.model_choice import ModelChoice, NetworkLoader
from semret.index.sync.build import SyncOptions, sync
from semret.progress import Progress
from semret.retrieval.search.candidates import TokenSource


@dataclass(frozen=True, kw_only=True)
class Features:
    """Stored features of pictures of a data set.

    Attributes
    ----------
    collection : Collection
        The index that holds them.
    ids : ndarray of shape (N,), int64
        The id of each picture of the data set; -1 where it has none: not asked for, or not readable.
    unreadable : tuple of (path, reason)
    """

    collection: Collection
    ids: IdVector
    unreadable: tuple[tuple[str, str], ...]

    def source(self, pictures: IndexVector) -> TokenSource:
        """Return the features of these pictures of the data set."""
        return self.collection.source(self.ids[pictures])

    def describe(self) -> dict[str, Any]:
        """Return the model's identity, as a report records it."""
        manifest = self.collection.manifest
        positions, channels = manifest.token_shape
        return {**manifest.identity.as_json(), "dtype": manifest.dtype, "S": positions, "C": channels}


def extract(
    dataset: Dataset,
    pictures: IndexVector,
    choice: ModelChoice,
    cache: Path,
    *,
    dtype: str = "float16",
    batch_size: int | None = None,
    frame: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> Features:
    """Run the pictures through a network, or find in the cache what an earlier run has left there.

    Parameters
    ----------
    dataset : Dataset
    pictures : ndarray of intp
        Which of its pictures are needed.
    choice : ModelChoice
        The network.
    cache : Path
        Folder of indexes, one for each data set and network; an interrupted pass goes on where it stopped.
    dtype : {"float16", "float32"}
        Of the stored tokens.
    batch_size : int or None
    frame : (int, int) or None
        Height and width that every picture is resized to before the network's own preprocessing.
    progress : callable or None
        Called with pictures done and their total.

    Raises
    ------
    DatasetError
        If no picture can be read.
    IncompatibleIndexError, WeightsNotFoundError, StorageError
        See `semret.index.sync.build.sync`.
    """
    index = cache / name_index(dataset.name, choice, dtype, frame)
    files = [dataset.paths[picture] for picture in np.unique(pictures)]
    settings: dict[str, Any] = {"dtype": dtype}
    if batch_size is not None:
        settings["batch_size"] = batch_size
    load = choice.loader(index)
    if frame is not None:
        settings["decode_for"] = frame
        load = NetworkLoader(load.model, partial(_framed, load, frame))
    report = sync(index, files, load, options=SyncOptions(**settings), progress=progress)
    collection = open_collection(index)
    ids = np.full(len(dataset), -1, dtype=np.int64)
    for picture in np.unique(pictures):
        found = collection.find_path(dataset.paths[picture])
        if found is not None:
            ids[picture] = found
    if (ids[pictures] < 0).all():
        raise DatasetError(f"no picture of {dataset.name} can be read; the first: {report.skipped[0][1]}")
    return Features(collection=collection, ids=ids, unreadable=tuple(report.skipped))


class FramedBackbone(Backbone):
    """A network that sees every picture resized to one size first, whatever its shape.

    Parameters
    ----------
    backbone : Backbone
        Does everything else.
    frame : (int, int)
        Height and width. A picture of that size is left as it is; others are resized by Pillow's bicubic filter.
    """

    def __init__(self, backbone: Backbone, frame: tuple[int, int]) -> None:
        self._backbone, self._frame = backbone, frame
        self.spec, self.identity = backbone.spec, backbone.identity

    def prepare(self, image: Image.Image) -> Float32Array:
        """Resize, then turn the picture into the network's input of shape (3, H, W)."""
        height, width = self._frame
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        return self._backbone.prepare(image)

    def embed(self, batch: Float32Array) -> Outcome:
        """Run the network on a batch."""
        return self._backbone.embed(batch)

    @contextmanager
    def streams(self, batch_size: int) -> Iterator[Streams]:
        """Run as many passes at a time as the network itself would."""
        with self._backbone.streams(batch_size) as streams:
            yield streams


def _framed(load: Callable[[], Backbone], frame: tuple[int, int]) -> Backbone:
    return FramedBackbone(load(), frame)


def name_index(dataset: str, choice: ModelChoice, dtype: str, frame: tuple[int, int] | None = None) -> str:
    """Return the name of a cache folder: the data set and everything asked of the network."""
    parts = [dataset, choice.model or "default"]
    if choice.size is not None:
        parts.append("{}x{}".format(*choice.size))
    parts += [str(part) for part in (choice.geometry, choice.layer, choice.autocast) if part is not None]
    if choice.weights is not None:
        parts.append(Path(choice.weights).name)
    if dtype != "float16":
        parts.append(dtype)
    if frame is not None:
        parts.append("frames-{}x{}".format(*frame))
    return re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts))


def without_unreadable(split: Split, features: Features) -> Split:
    """Leave pictures without features out of a split; databases keep their nominal sizes as names.

    Raises
    ------
    DatasetError
        If no query, or nothing of a database, is left.
    """
    readable = features.ids >= 0
    queries = split.queries[readable[split.queries]]
    databases = {size: rows[readable[rows]] for size, rows in split.databases.items()}
    if not len(queries) or not all(len(rows) for rows in databases.values()):
        raise DatasetError(f"too few pictures can be read: {len(features.unreadable)} cannot")
    return Split(queries=queries, databases=databases)
