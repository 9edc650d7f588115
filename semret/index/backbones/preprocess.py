"""From a picture to the network's input: our own Pillow implementation of what the models' processors do.

transformers, timm and open_clip change their image processors between releases (back ends, antialiasing, defaults); an
index must not depend on the release that happens to be installed. So the parameters are pinned in `Preprocessing`,
written to the manifest, and carried out here; tests compare the result with the libraries' processors pixel for pixel.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from semret.errors import ArgumentError
from semret.index.backbones.resampling import Resizer
from semret.index.backbones.spec import GEOMETRIES, Geometry, Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from semret.arrays import Float32Array

_RESIZER = Resizer()

_LONGEST = 32
"""A picture more times longer than wide than this is cut to its middle before its shorter edge is resized."""


def prepare_image(image: Image.Image, preprocessing: Preprocessing) -> Float32Array:
    """Turn an RGB picture into a network's input.

    Parameters
    ----------
    image : PIL.Image.Image
        Mode RGB, already oriented; any size of at least one pixel.
    preprocessing : Preprocessing
        Size, geometry, filter, mean and deviation.

    Returns
    -------
    ndarray of shape (3, H, W), float32
        ``(pixel / 255 - mean) / std`` per channel; padding is 0, the mean colour. In memory channels come last.

    Raises
    ------
    ArgumentError
        If `image` is not RGB.
    """
    if image.mode != "RGB":
        raise ArgumentError(
            f"prepare needs an RGB picture, this one is {image.mode}; "
            "convert it with semret.index.pictures.decode.as_rgb"
        )
    placed, top, left = _place(image, preprocessing)
    height, width = placed.shape[:2]
    pixels = _RESIZER.normalise(placed, *_row_statistics(preprocessing.mean, preprocessing.std, width))
    if (height, width) != preprocessing.size:
        canvas = np.zeros((*preprocessing.size, 3), np.float32)
        canvas[top : top + height, left : left + width] = pixels
        pixels = canvas
    prepared: Float32Array = pixels.transpose(2, 0, 1)
    return prepared


def with_size(preprocessing: Preprocessing, size: tuple[int, int] | None, geometry: str | None = None) -> Preprocessing:
    """Return `preprocessing` for another input size or geometry.

    The margin that a centre crop cuts away keeps its share of the picture: the shortest edge grows with the longer
    side of `size`.

    Parameters
    ----------
    preprocessing : Preprocessing
        A model's own.
    size : (int, int) or None
        Input height and width in pixels; None keeps the model's.
    geometry : {"squash", "crop", "letterbox", "corner"} or None
        How a picture is brought to that size; None keeps the model's.

    Returns
    -------
    Preprocessing

    Raises
    ------
    ArgumentError
        If a side is not positive or the geometry unknown.
    """
    size = preprocessing.size if size is None else (int(size[0]), int(size[1]))
    if min(size) < 1:
        raise ArgumentError(f"input size {size[0]}x{size[1]} is not positive; give --size HEIGHTxWIDTH in pixels")
    chosen = _check_geometry(preprocessing.geometry if geometry is None else geometry)
    edge = None
    if chosen == "crop":
        default = max(preprocessing.size)
        edge = max(round((preprocessing.resize_edge or default) * max(size) / default), max(size))
        if size == preprocessing.size and preprocessing.resize_edge is not None:
            edge = preprocessing.resize_edge
    return replace(preprocessing, size=size, geometry=chosen, resize_edge=edge)


def _check_geometry(geometry: str) -> Geometry:
    for known in GEOMETRIES:
        if geometry == known:
            return known
    raise ArgumentError(f"unknown geometry {geometry!r}; choose one of {', '.join(GEOMETRIES)}")


def _place(image: Image.Image, preprocessing: Preprocessing) -> tuple[NDArray[np.uint8], int, int]:
    """Resize and crop; return the pixels and the row and column of the canvas where their upper left corner goes."""
    height, width = preprocessing.size
    interpolation = preprocessing.interpolation
    if preprocessing.geometry == "squash":
        return _RESIZER.resize(image, width, height, interpolation), 0, 0
    if preprocessing.geometry == "crop":
        return _resize_and_crop(image, preprocessing)
    scale = min(height / image.height, width / image.width)
    inner_width = min(width, max(1, math.floor(image.width * scale + 0.5)))
    inner_height = min(height, max(1, math.floor(image.height * scale + 0.5)))
    resized = _RESIZER.resize(image, inner_width, inner_height, interpolation)
    if preprocessing.geometry == "corner":
        return resized, 0, 0
    return resized, (height - inner_height) // 2, (width - inner_width) // 2


def _resize_and_crop(image: Image.Image, preprocessing: Preprocessing) -> tuple[NDArray[np.uint8], int, int]:
    height, width = preprocessing.size
    edge = preprocessing.resize_edge or max(height, width)
    if image.width <= image.height:
        resized_width, resized_height = edge, int(edge * image.height / image.width)
    else:
        resized_width, resized_height = int(edge * image.width / image.height), edge
    if max(resized_width, resized_height) > _LONGEST * edge:
        return _resize_and_crop(_middle(image), preprocessing)
    resized = _RESIZER.resize(image, resized_width, resized_height, preprocessing.interpolation)
    even = preprocessing.crop_rounding == "even"
    top, pad_top = _margin(resized_height, height, even=even)
    left, pad_left = _margin(resized_width, width, even=even)
    return resized[top : top + height, left : left + width], pad_top, pad_left


def _middle(image: Image.Image) -> Image.Image:
    """Cut the ends off a strip, so that resizing it by its shorter edge takes no memory for what is cropped anyway."""
    length = _LONGEST * min(image.size)
    width, height = min(image.width, length), min(image.height, length)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _margin(available: int, wanted: int, *, even: bool) -> tuple[int, int]:
    """Return where a centred cut starts, and how much padding goes before it when the picture is too small."""
    if available >= wanted:
        difference = available - wanted
        return (round(difference / 2) if even else difference // 2), 0
    return 0, (wanted - available) // 2 if even else math.ceil((wanted - available) / 2)


@functools.lru_cache(maxsize=64)
def _row_statistics(mean: tuple[float, ...], std: tuple[float, ...], width: int) -> tuple[Float32Array, Float32Array]:
    """Return mean and deviation, in levels of 0 to 255, of every channel of every pixel of a row."""
    levels = 255 * np.array([mean, std], dtype=np.float64)
    means, deviations = levels.astype(np.float32)
    return np.tile(means, width), np.tile(deviations, width)
