"""The public `embed`: pictures become token maps and pooled embeddings, without an index."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semret.arrays import Float32Array, require_memory, require_whole
from semret.errors import ArgumentError, SemretError
from semret.index.backbones.features import Features
from semret.index.backbones.registry import DEFAULT_BACKBONE, create_backbone
from semret.index.backbones.spec import Backbone
from semret.index.pictures.decode import as_rgb
from semret.index.pictures.given import PictureLike, name_of
from semret.paths import PathLike
from semret.progress import Progress, told, waiting_for


@dataclass(frozen=True, repr=False)
class Embeddings:
    """The features of N pictures, in the order in which these were given.

    Attributes
    ----------
    tokens : ndarray of shape (N, S, C), float32
        Token maps in row-major order of the grid.
    pooled : ndarray of shape (N, D), float32
        One embedding for each picture.
    grid : (int, int)
        H and W, ``S = H * W``.
    names : tuple of str
        Paths, the names of file objects, and ``<image>`` for the rest.
    sizes : tuple of (int, int)
        Width and height of the upright pictures in pixels.
    model : str
        Name of the network.
    """

    tokens: Float32Array = field(compare=False)
    pooled: Float32Array = field(compare=False)
    grid: tuple[int, int]
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    model: str

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        shapes = f"tokens {self.tokens.shape}, pooled {self.pooled.shape}, grid {self.grid}"
        return f"<Embeddings of {len(self)} by {self.model}: {shapes}>"

    @property
    def representations(self) -> Float32Array:
        """The maps as `semret.rsm` takes them: `tokens`."""
        return self.tokens


def embed(
    pictures: PictureLike | Iterable[PictureLike],
    *,
    model: str | Backbone | None = None,
    weights: PathLike | None = None,
    size: tuple[int, int] | None = None,
    geometry: str | None = None,
    layer: str | int | None = None,
    precision: str | None = None,
    device: str | None = None,
    batch_size: int = 8,
    workers: int | None = None,
    progress: Progress | bool | None = None,
) -> Embeddings:
    """Put pictures through a network; no index is made or needed.

    Pictures are decoded as they are when they are indexed, so the same file has the same features.

    Parameters
    ----------
    pictures : picture, or iterable of pictures
        N paths, bytes of files, file objects, PIL images, or arrays or tensors of uint8: (H, W), (H, W, 3) or
        (H, W, 4), or the planes first. An array of four axes is a batch of pictures. One picture is a set of one.
    model : str, network or None
        A name that `create_backbone` knows, None for the default; or a network that is loaded already, such as
        ``engine.backbone()``, which then is not loaded again.
    weights, size, geometry, layer, device
        See `semret.index.backbones.registry.create_backbone`.
    precision : {"float32", "bfloat16", "float16"} or None
        Of the network's matrix products.
    batch_size : int
        Pictures in the network at one time.
    workers : int or None
        Threads that read and decode; None chooses by the number of processors.
    progress : callable, bool or None
        Called with the number of pictures done and their total, first with 0; True draws a bar.

    Returns
    -------
    Embeddings
        With arrays of length 0 for no picture.

    Raises
    ------
    ImageDecodeError
        If a picture cannot be read; the message names it.
    ShapeError, ArgumentError
        If an array is no picture or an option out of range, a loaded network comes with options, or the tokens take
        more memory than there is.
    UnknownNameError, WeightsNotFoundError, BackboneError
        If the network cannot be had.
    """
    require_whole(batch_size, "batch_size")
    if workers is not None:
        require_whole(workers, "workers")
    listed = _listed(pictures)
    options = {"weights": weights, "size": size, "geometry": geometry, "layer": layer, "device": device}
    with told(progress, "embedding") as tell:
        if tell is not None:
            tell(0, len(listed))
        backbone = _network(model, {**options, "dtype": precision}, tell)
        height, width = backbone.identity.grid
        floats = height * width * backbone.identity.channels + backbone.identity.pooled_dim
        require_memory(4 * len(listed) * floats, f"the features of {len(listed)} pictures")
        return _embed(listed, backbone, batch_size, workers or min(8, os.cpu_count() or 1), tell)


def _network(model: str | Backbone | None, options: dict[str, Any], progress: Progress | None) -> Backbone:
    given = sorted(name for name, value in options.items() if value is not None)
    if not isinstance(model, str) and model is not None:
        if not isinstance(model, Backbone):
            raise ArgumentError(f"model is of type {type(model).__name__}, expected a name or a loaded network")
        if given:
            named = ", ".join("precision" if name == "dtype" else name for name in given)
            raise ArgumentError(f"{named}: the network is loaded already; give its name to load it otherwise")
        return model
    name = model or DEFAULT_BACKBONE
    with waiting_for(f"loading {name}", progress):
        return create_backbone(name, **options)


def _listed(pictures: Any) -> Sequence[Any]:
    """Return pictures as a list: what is one picture becomes a list of one."""
    shape = getattr(pictures, "shape", None)
    if isinstance(shape, tuple) or (shape is not None and hasattr(pictures, "dtype")):
        return list(pictures) if len(shape) == 4 else [pictures]
    single = isinstance(pictures, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(pictures, "read")
    if single or not isinstance(pictures, Iterable):
        return [pictures]
    return list(pictures)


def _embed(
    pictures: Sequence[Any], backbone: Backbone, batch_size: int, workers: int, progress: Progress | None
) -> Embeddings:
    identity, total = backbone.identity, len(pictures)
    height, width = identity.grid
    tokens = np.empty((total, height * width, identity.channels), dtype=np.float32)
    pooled = np.empty((total, identity.pooled_dim), dtype=np.float32)
    sizes: list[tuple[int, int]] = []
    for start, found, seen in _batches(pictures, backbone, batch_size, workers):
        stop = start + len(found.pooled)
        tokens[start:stop], pooled[start:stop] = found.tokens, found.pooled
        sizes += seen
        if progress is not None:
            progress(stop, total)
    names = tuple(map(name_of, pictures))
    return Embeddings(tokens, pooled, identity.grid, names, tuple(sizes), identity.backbone)


def _batches(
    pictures: Sequence[Any], backbone: Backbone, batch_size: int, workers: int
) -> Iterator[tuple[int, Features, list[tuple[int, int]]]]:
    """Give the features of batch after batch with its first place; the next batch is decoded meanwhile."""

    def prepare(place: int) -> tuple[Float32Array, tuple[int, int]]:
        picture = _decode(pictures[place], place, len(pictures), backbone.identity.preprocessing.size)
        return backbone.prepare(picture), picture.info["original_size"]

    starts = range(0, len(pictures), batch_size)
    with ThreadPoolExecutor(workers, thread_name_prefix="semret-decode") as pool:
        try:
            waiting = [
                [pool.submit(prepare, place) for place in range(start, min(start + batch_size, len(pictures)))]
                for start in starts[:2]
            ]
            for number, start in enumerate(starts):
                ready = [future.result() for future in waiting.pop(0)]
                if number + 2 < len(starts):
                    after = range(starts[number + 2], min(starts[number + 2] + batch_size, len(pictures)))
                    waiting.append([pool.submit(prepare, place) for place in after])
                yield start, backbone.embed(np.stack([pixels for pixels, _ in ready])), [size for _, size in ready]
        finally:
            pool.shutdown(cancel_futures=True)


def _decode(picture: Any, place: int, total: int, size: tuple[int, int]) -> Image.Image:
    if isinstance(picture, (str, os.PathLike)) and Path(picture).is_dir():
        raise ArgumentError(
            f"{os.fspath(picture)} is a folder, expected pictures: sorted(pathlib.Path(folder).glob('*.jpg')), say, "
            "or semret.build(folder) for an index of all below"
        )
    try:
        return as_rgb(picture, reduce_to=size)
    except SemretError as error:
        name = name_of(picture)
        if total == 1 or str(error).startswith(name):
            raise
        raise type(error)(f"picture {place} of {total}, counted from 0: {error}") from error
