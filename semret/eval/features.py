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
from semret.index.backbones.features import Features as Outcome
from semret.index.backbones.spec import Backbone, Streams
from semret.index.collection import Collection, open_collection
from semret.index.model_choice import ModelChoice, NetworkLoader
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
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
        """Return the features of these pictures of the data set.

        Parameters
        ----------
        pictures : ndarray of intp
            Rows of the data set; each must have features.

        Returns
        -------
        TokenSource
        """
        # With the mean that a codec has subtracted: experiments subtract the mean of their own database.
        return self.collection.source(self.ids[pictures], center="none")

    def describe(self) -> dict[str, Any]:
        """Return the model's identity, as a report records it.

        Returns
        -------
        dict
            Its JSON form, with ``dtype`` (or the codec), ``S`` and ``C`` of the stored tokens.
        """
        manifest = self.collection.manifest
        positions, channels = manifest.map_shape
        stored = manifest.dtype if manifest.codec_file is None else manifest.codec
        return {**manifest.identity.as_json(), "dtype": stored, "S": positions, "C": channels}


def extract(
    dataset: Dataset,
    pictures: IndexVector,
    choice: ModelChoice,
    cache: Path,
    *,
    dtype: str = "float16",
    codec: str | None = None,
    batch_size: int | None = None,
    frame: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> Features:
    """Run the pictures through a network, except those whose features an earlier run left in the cache.

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
    codec : str or None
        What tokens are stored with; None stores them as they are.
    batch_size : int or None
    frame : (int, int) or None
        Height and width that every picture is resized to before the network's own preprocessing.
    progress : callable or None
        Called with pictures done and their total.

    Returns
    -------
    Features

    Raises
    ------
    DatasetError
        If no picture can be read.
    IncompatibleIndexError, WeightsNotFoundError, StorageError
        See `semret.index.sync.sync.sync`.
    """
    index = cache / name_index(dataset.name, choice, dtype if codec is None else codec, frame)
    files = [dataset.paths[picture] for picture in np.unique(pictures)]
    settings: dict[str, Any] = {"dtype": dtype} if codec is None else {"codec": codec, "fit_from": 1}
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
        """Resize, then turn the picture into the network's input of shape (3, H, W).

        Parameters
        ----------
        image : PIL.Image.Image

        Returns
        -------
        ndarray of shape (3, H, W), float32
        """
        height, width = self._frame
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        return self._backbone.prepare(image)

    def embed(self, batch: Float32Array) -> Outcome:
        """Run the network on a batch.

        Parameters
        ----------
        batch : ndarray of shape (N, 3, H, W), float32

        Returns
        -------
        semret.index.backbones.features.Features
        """
        return self._backbone.embed(batch)

    @contextmanager
    def streams(self, batch_size: int) -> Iterator[Streams]:
        """Run as many passes at a time as the network itself would.

        Parameters
        ----------
        batch_size : int

        Yields
        ------
        Streams
        """
        with self._backbone.streams(batch_size) as streams:
            yield streams


def _framed(load: Callable[[], Backbone], frame: tuple[int, int]) -> Backbone:
    return FramedBackbone(load(), frame)


def name_index(dataset: str, choice: ModelChoice, dtype: str, frame: tuple[int, int] | None = None) -> str:
    """Return the name of a cache folder: the data set and everything asked of the network.

    Parameters
    ----------
    dataset : str
    choice : ModelChoice
    dtype : str
        How tokens are stored: ``float16``, ``float32``, or the name of a codec.
    frame : (int, int) or None

    Returns
    -------
    str
        Fit to be the name of a folder.
    """
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
    """Remove pictures without features from a split; databases stay filed under the sizes that were asked for.

    Parameters
    ----------
    split : Split
    features : Features

    Returns
    -------
    Split

    Raises
    ------
    DatasetError
        If no query is left, or a database is left empty.
    """
    readable = features.ids >= 0
    queries = split.queries[readable[split.queries]]
    databases = {size: rows[readable[rows]] for size, rows in split.databases.items()}
    if not len(queries) or not all(len(rows) for rows in databases.values()):
        raise DatasetError(f"too few pictures can be read: {len(features.unreadable)} cannot")
    return Split(queries=queries, databases=databases)
