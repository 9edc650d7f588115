"""Choose the pictures of an experiment, and compute the tokens of a network's layers, on disk where they are many."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semret.arrays import Float32Array
from semret.errors import ArgumentError, DatasetError, ImageDecodeError
from semret.eval.scenes.collection import render_collection
from semret.index.backbones.spec import Backbone
from semret.index.pictures.decode import decode_image
from semret.index.pictures.find import FoundImage, find_images
from semret.progress import Progress


@contextlib.contextmanager
def folder_of_pictures(images: Path | None, count: int, seed: int) -> Iterator[Path]:
    """Open the folder of pictures, or a temporary one with rendered scenes where none is given.

    Parameters
    ----------
    images : Path or None
    count : int
        Pictures to render where `images` is None.
    seed : int

    Yields
    ------
    Path
        The folder; a temporary one is removed at the end.
    """
    if images is not None:
        yield images
        return
    with tempfile.TemporaryDirectory(prefix="semret-scenes-") as scratch:
        render_collection(Path(scratch), count, seed)
        yield Path(scratch)


def choose_pictures(folder: Path, count: int, *, seed: int = 0, least: int = 2) -> list[Path]:
    """Draw up to `count` readable pictures of a folder, in random order.

    Parameters
    ----------
    folder : Path
    count : int
        At most so many.
    seed : int
    least : int
        At least so many.

    Returns
    -------
    list of Path

    Raises
    ------
    DatasetError
        If fewer than `least` can be read.
    ArgumentError
        If `count` is below `least`.
    ImageSearchError
        If the folder does not exist.
    """
    if count < least:
        raise ArgumentError(f"count is {count}, expected at least {least} pictures")
    found = sorted(entry.path for entry in find_images([folder]) if isinstance(entry, FoundImage))
    chosen: list[Path] = []
    for index in np.random.default_rng([seed, 4]).permutation(len(found)):
        with contextlib.suppress(ImageDecodeError):
            decode_image(found[index], reduce_to=(32, 32))
            chosen.append(Path(found[index]))
        if len(chosen) == count:
            break
    if len(chosen) < least:
        raise DatasetError(f"{folder} has {len(chosen)} readable pictures, expected at least {least}")
    return chosen


def fingerprint(paths: list[Path]) -> str:
    """Return a digest of file names and sizes.

    Parameters
    ----------
    paths : list of Path

    Returns
    -------
    str
        SHA-256 in hexadecimal.
    """
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0{path.stat().st_size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def describe_pictures(images: Path | None, paths: list[Path]) -> dict[str, Any]:
    """Describe the pictures for a report: where they come from, how many, their fingerprint.

    Parameters
    ----------
    images : Path or None
        The folder; None for rendered scenes.
    paths : list of Path

    Returns
    -------
    dict
        ``name``, ``pictures`` and ``fingerprint``.
    """
    name = "rendered scenes" if images is None else images.resolve().name
    return {"name": name, "pictures": len(paths), "fingerprint": fingerprint(paths)}


def name_model(backbone: Backbone, taken: Sequence[Mapping[str, Any]] = ()) -> str:
    """Name a network as no other model of a report is named.

    An input size that is not the network's usual one belongs to the name, as ``--model NAME@HxW`` writes it.

    Parameters
    ----------
    backbone : Backbone
    taken : sequence of mapping
        The models that the report has already.

    Returns
    -------
    str
    """
    name, usual = backbone.spec.name, backbone.spec.preprocessing
    size = tuple(backbone.identity.preprocessing.size)
    if usual is None or tuple(usual.size) != size:
        name += f"@{size[0]}x{size[1]}"
    names = {entry["name"] for entry in taken}
    if name in names:
        name += f" (weights {str(backbone.identity.weights_sha256)[:8]})"
    number = sum(entry == name or entry.startswith(f"{name}, ") for entry in names)
    return name if number == 0 else f"{name}, {number + 1}"


def embed_last(paths: list[Path], backbone: Backbone) -> Float32Array:
    """Compute the last layer's tokens of pictures, one picture at a time.

    Parameters
    ----------
    paths : list of Path
    backbone : Backbone

    Returns
    -------
    ndarray of shape (N, S, C), float32
    """
    return np.concatenate([backbone.embed(backbone.prepare(decode_image(path))[None]).tokens for path in paths])


def embed_layers(
    pictures: Iterator[Image.Image],
    count: int,
    backbone: Backbone,
    scratch: Path,
    *,
    largest: int,
    progress: Progress | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Write the tokens of every layer to disk.

    Parameters
    ----------
    pictures : iterator of PIL.Image.Image
    count : int
        How many pictures there are.
    backbone : Backbone
    scratch : Path
        Receives one file for each layer.
    largest : int
        Layers with more positions are left out: a matching grows with their cube.
    progress : callable or None
        Called with pictures done and `count`.

    Returns
    -------
    dict from layer to memory-mapped ndarray of shape (count, S, C), float32
        From input to output.

    Raises
    ------
    ArgumentError
        If every layer is larger.
    BackboneError
        If the network does not show its layers.
    """
    stores: dict[str, NDArray[np.float32]] = {}
    for row, picture in enumerate(pictures):
        layers = backbone.embed_layers(backbone.prepare(picture)[None])
        if row == 0:
            stores = _open_stores(layers, count, scratch, largest)
        for name, store in stores.items():
            store[row] = layers[name][0]
        if progress is not None:
            progress(row + 1, count)
    return stores


def _open_stores(
    layers: Mapping[str, Float32Array], count: int, scratch: Path, largest: int
) -> dict[str, NDArray[np.float32]]:
    small = {name: tokens for name, tokens in layers.items() if tokens.shape[1] <= largest}
    if not small:
        fewest = min(tokens.shape[1] for tokens in layers.values())
        raise ArgumentError(f"every layer has at least {fewest} positions; raise --largest above {largest}")
    return {
        name: np.lib.format.open_memmap(
            scratch / f"{number:03d}.npy", mode="w+", dtype=np.float32, shape=(count, *tokens.shape[1:])
        )
        for number, (name, tokens) in enumerate(small.items())
    }


def choose_layers(names: list[str], most: int | None) -> list[str]:
    """Return at most `most` names, evenly spaced, the first and the last among them.

    Parameters
    ----------
    names : list of str
    most : int or None
        None takes all.

    Returns
    -------
    list of str
        In their order.

    Raises
    ------
    ArgumentError
        If `most` is below 1.
    """
    if most is None or most >= len(names):
        return names
    if most < 1:
        raise ArgumentError(f"layers is {most}, expected at least 1")
    places = np.unique(np.linspace(len(names) - 1, 0, most).round().astype(int))
    return [names[place] for place in places]
