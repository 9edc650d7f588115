"""A picture in any of the forms in which a program holds one: path, bytes, file object, PIL image, array, tensor."""

from __future__ import annotations

import os
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semret.arrays import as_array
from semret.errors import ArgumentError, ShapeError, cut_text
from semret.index.pictures.files import MAX_BYTES, unreadable

_PLANES = (1, 3, 4)
"""Grey, RGB, RGB and alpha."""


class Readable(Protocol):
    """An open binary file, or what behaves like one."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes.

        Parameters
        ----------
        size : int

        Returns
        -------
        bytes
        """


PictureLike: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | Readable | Image.Image | NDArray[Any]"
)
"""A tensor of torch is one, too; it is no type here, for torch need not be installed."""

PlainPicture: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]"


def plain_form(image: Any) -> PlainPicture:
    """Return a picture as a path, the bytes of its file, a PIL image or an array of shape (H, W[, planes]).

    Parameters
    ----------
    image : path, bytes, file object, PIL image, or array or tensor of uint8
        A file object is read from where it stands to its end.

    Returns
    -------
    path, bytes, PIL image or ndarray

    Raises
    ------
    ArgumentError
        If it is a list, or no picture at all.
    ImageDecodeError
        If a file object cannot be read, is empty, or longer than `MAX_BYTES`.
    ShapeError
        If an array is no picture, see `pixels_of`.
    """
    if isinstance(image, (str, os.PathLike, bytes, Image.Image)):
        return image
    if isinstance(image, (bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, (list, tuple, set, dict)):
        raise ArgumentError(
            f"the picture is a {type(image).__name__} of {len(image)}, expected one picture; for several, one call "
            "each: [engine.query(picture) for picture in pictures]"
        )
    if hasattr(image, "shape") and hasattr(image, "dtype"):
        return pixels_of(image)
    if callable(getattr(image, "read", None)):
        return read_file_object(image)
    raise ArgumentError(
        f"the picture is of type {type(image).__name__}, expected a path, bytes, a file object, a PIL image, or an "
        "array of uint8"
    )


def read_file_object(stream: Readable) -> bytes:
    """Return what a file object holds, from where it stands.

    Parameters
    ----------
    stream : binary file

    Returns
    -------
    bytes
        At least one and at most `MAX_BYTES`.

    Raises
    ------
    ImageDecodeError
        If it was opened as text, cannot be read, is empty or too long; the message is ``NAME: REASON``.
    """
    name = name_of(stream)
    try:
        data = stream.read(MAX_BYTES + 1)
    except UnicodeError as error:
        raise unreadable(name, "is open as text; open it with mode 'rb'") from error
    except (OSError, ValueError) as error:
        raise unreadable(name, f"cannot be read: {cut_text(error)}") from error
    if not isinstance(data, bytes):
        raise unreadable(name, "is open as text; open it with mode 'rb'")
    if not data:
        raise unreadable(name, "holds nothing from where it stands; stream.seek(0) goes back to its beginning")
    if len(data) > MAX_BYTES:
        raise unreadable(name, f"has more than the limit of {MAX_BYTES} bytes")
    return data


def name_of(image: Any) -> str:
    """Return what a picture is called: its path, the name of a file object, or ``<image>``.

    Parameters
    ----------
    image : picture
        See `plain_form`.

    Returns
    -------
    str
    """
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    name = getattr(image, "name", None) if callable(getattr(image, "read", None)) else None
    return name if isinstance(name, str) and name else "<image>"


def pixels_of(array: Any) -> NDArray[np.uint8]:
    """Return the pixels in an array, planes last.

    Parameters
    ----------
    array : ndarray or tensor, uint8
        Of shape (H, W), (H, W, P) or (P, H, W), P planes: 1 grey, 3 RGB, 4 RGB and alpha. Planes are first only where
        the last axis is longer than 4, so cannot be planes of any kind.

    Returns
    -------
    ndarray of shape (H, W), (H, W, 3) or (H, W, 4), uint8

    Raises
    ------
    ShapeError
        If it has another shape or dtype, or no pixel; the message says how to come to pixels.
    """
    pixels = as_array(array, "the picture")
    shape = pixels.shape
    if pixels.ndim == 4:
        raise ShapeError(
            f"the picture is an array of shape {shape}, expected one picture: for the {shape[0]} in it, one call each: "
            "[engine.query(picture) for picture in batch]"
        )
    if pixels.ndim == 3 and shape[0] in _PLANES and shape[2] > max(_PLANES):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim not in (2, 3) or pixels.size == 0 or (pixels.ndim == 3 and pixels.shape[2] not in _PLANES):
        raise ShapeError(_expected(shape, pixels.dtype))
    if pixels.dtype != np.uint8:
        raise ShapeError(_expected(shape, pixels.dtype) + _remedy(pixels))
    return np.ascontiguousarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def _expected(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    return (
        f"the picture is an array of shape {shape} and dtype {dtype}, "
        "expected uint8 of shape (H, W), (H, W, 3) or (H, W, 4), or the planes first"
    )


def _remedy(pixels: NDArray[Any]) -> str:
    """Tell how other numbers become pixels: which they are cannot be known for sure, so nothing is guessed."""
    if pixels.dtype.kind == "f" and pixels.size and np.isfinite(pixels).all():
        low, high = float(pixels.min()), float(pixels.max())
        if low >= 0 and high <= 1:
            return "; values from 0 to 1 become pixels by (255 * x).round().astype('uint8')"
        if low < 0:
            return "; values below 0 look normalised for a network: give the picture as it was, semret does that itself"
    return "; values from 0 to 255 become pixels by x.astype('uint8')"
