"""From a picture to the network's input: our own Pillow implementation of what the models' processors do.

transformers, timm and open_clip change their image processors between releases (back ends, antialiasing, defaults); an
index must not depend on the release that happens to be installed. So the parameters are pinned in `Preprocessing`,
written to the manifest, and carried out here; tests compare the result with the libraries' processors pixel for pixel.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from semret.errors import ArgumentError
from semret.index.backbones.placement import plan
from semret.index.backbones.resampling import Resizer
from semret.index.backbones.spec import GEOMETRIES, Geometry, Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from semret.arrays import Float32Array

_RESIZER = Resizer()


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
    planned = plan(image.width, image.height, preprocessing)
    if planned.cut is not None:
        image = image.crop(planned.cut)
    resized = _RESIZER.resize(image, *planned.resized, preprocessing.interpolation)
    if planned.crop is not None:
        left, top, right, bottom = planned.crop
        resized = resized[top:bottom, left:right]
    return resized, planned.top, planned.left


@functools.lru_cache(maxsize=64)
def _row_statistics(mean: tuple[float, ...], std: tuple[float, ...], width: int) -> tuple[Float32Array, Float32Array]:
    """Return mean and deviation, in levels of 0 to 255, of every channel of every pixel of a row."""
    levels = 255 * np.array([mean, std], dtype=np.float64)
    means, deviations = levels.astype(np.float32)
    return np.tile(means, width), np.tile(deviations, width)
