"""Pictures: from a file or its bytes to upright 8-bit RGB, within limits of memory and time, from any thread.

Finding and reading files is in `semret.index.files`, converting pixels in `semret.index.pixels`; the names that others
need are here too.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from semret.errors import ImageDecodeError, ShapeError
from semret.index.files import (
    MAX_BYTES,
    FileContent,
    FoundImage,
    SkippedPath,
    find_images,
    hash_file,
    read_file,
    reason_of,
    unreadable,
)
from semret.index.guards import Budget, PillowSilence, count_scans
from semret.index.pixels import SIDEWAYS, to_rgb, upright_turn

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "FileContent",
    "FoundImage",
    "ReadImage",
    "SkippedPath",
    "as_rgb",
    "decode_image",
    "find_images",
    "hash_file",
    "read_file",
    "read_image",
    "reason_of",
    "thumbnail",
    "unreadable",
]

FORMATS: tuple[str, ...] = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        BmpImagePlugin.BmpImageFile,
        TiffImagePlugin.TiffImageFile,
        GifImagePlugin.GifImageFile,
    )
)
"""Formats that are decoded, told by content and not by suffix; nothing that calls another program is among them."""

MAX_PIXELS = 2**27
"""Pixels of the largest picture decoded (134 million), and of all pictures being decoded at one time."""

OVERSAMPLING = 2
"""A picture decoded at reduced size keeps at least this many pixels for each one asked for, along both sides."""

_MAX_SCANS = 100
_MAX_SCANNED = 2**31

Source: TypeAlias = "str | os.PathLike[str] | bytes"


class ReadImage(NamedTuple):
    """A picture and what identifies its file: SHA-256 in hexadecimal, size in bytes, time of the last change in ns."""

    sha256: str
    image: Image.Image
    size: int
    mtime_ns: int


def decode_image(
    source: Source, *, max_pixels: int = MAX_PIXELS, reduce_to: tuple[int, int] | None = None
) -> Image.Image:
    """Decode a picture as upright 8-bit RGB.

    Parameters
    ----------
    source : path or bytes
        A file, or the content of one.
    max_pixels : int
        A picture that declares more is refused before a pixel is decoded.
    reduce_to : (int, int) or None
        Height and width that the picture will be resized to. A larger picture may be returned at a whole fraction of
        its size, with both sides still at least `OVERSAMPLING` times what is asked for; JPEG then decodes only that
        fraction. The same file and `reduce_to` always give the same pixels.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, turned as EXIF says; the first frame or page of several. See `semret.index.pixels.to_rgb` for
        transparency, deep grey, palettes and profiles. All its metadata is ``info["original_size"]``: width and height
        of the upright picture before it was reduced.

    Raises
    ------
    ImageDecodeError
        If there is no whole picture of a supported format: a truncated file is refused, never filled up. The message
        is ``PATH: REASON``, or the reason alone for bytes.
    """
    if isinstance(source, bytes):
        return _decode(source, max_pixels, reduce_to)
    content = read_file(source)
    try:
        return _decode(content.data, max_pixels, reduce_to)
    except ImageDecodeError as error:
        raise unreadable(source, str(error)) from error


def read_image(path: str | os.PathLike[str], *, reduce_to: tuple[int, int] | None = None) -> ReadImage:
    """Read a file once, hash those bytes and decode them, so that hash and pixels always belong together.

    Raises
    ------
    ImageDecodeError
        As `read_file` and `decode_image`.
    """
    content = read_file(path)
    try:
        image = _decode(content.data, MAX_PIXELS, reduce_to)
    except ImageDecodeError as error:
        raise unreadable(path, str(error)) from error
    return ReadImage(content.sha256, image, content.size, content.mtime_ns)


def as_rgb(
    image: str | os.PathLike[str] | Image.Image | NDArray[np.uint8], *, reduce_to: tuple[int, int] | None = None
) -> Image.Image:
    """Return a picture given in any form as upright RGB.

    Parameters
    ----------
    image : path, PIL image, or ndarray of shape (H, W), (H, W, 3) or (H, W, 4), uint8
        Grey, RGB, or RGB and alpha for arrays.
    reduce_to : (int, int) or None
        As in `decode_image`.

    Raises
    ------
    ImageDecodeError
        If a file or a PIL image that is loaded lazily cannot be decoded.
    ShapeError
        If an array has another shape or dtype.
    """
    if isinstance(image, (str, os.PathLike)):
        return decode_image(image, reduce_to=reduce_to)
    picture = image if isinstance(image, Image.Image) else _from_array(image)
    if 0 in picture.size:
        raise ImageDecodeError(f"the picture has no pixels: {picture.width} x {picture.height}")
    with _guarded(), _DECODING(picture.width * picture.height):
        picture.load()
        return _reduced(to_rgb(picture), reduce_to)


def thumbnail(source: Source | Image.Image, edge: int) -> bytes:
    """Return a picture as JPEG whose longer side has at most `edge` pixels.

    Raises
    ------
    ImageDecodeError
        As `decode_image`.
    """
    image = source if isinstance(source, Image.Image) else decode_image(source, reduce_to=(edge, edge))
    small = image.copy() if image.mode == "RGB" else as_rgb(image)
    small.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _decode(data: bytes, max_pixels: int, reduce_to: tuple[int, int] | None) -> Image.Image:
    with _guarded(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > max_pixels:
            raise ImageDecodeError(
                f"declares {image.width} x {image.height} pixels, more than the limit of {max_pixels}; make it smaller"
            )
        drafted = None
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            drafted = image.size[::-1] if upright_turn(image) in SIDEWAYS else image.size
            _prepare_jpeg(image, data, reduce_to)
        with _DECODING(image.width * image.height):
            image.load()
            rgb = to_rgb(image)
            original = drafted or rgb.size
            rgb = _reduced(rgb, reduce_to)
    rgb.info = {"original_size": original}
    return rgb


def _prepare_jpeg(image: JpegImagePlugin.JpegImageFile, data: bytes, reduce_to: tuple[int, int] | None) -> None:
    # Each scan of a few bytes makes the decoder go over the whole picture: a small file could keep it busy for days.
    allowed = min(_MAX_SCANS, _MAX_SCANNED // (image.width * image.height))
    if count_scans(data, allowed + 1) > allowed:
        raise ImageDecodeError(f"has more than {allowed} scans, too many for its size; save it again as a plain JPEG")
    if reduce_to is not None:
        # The picture may still have to be turned, so both sides are kept as large as the larger one asked for.
        wanted = OVERSAMPLING * max(reduce_to)
        image.draft(None, (wanted, wanted))


def _reduced(image: Image.Image, reduce_to: tuple[int, int] | None) -> Image.Image:
    """Average whole blocks of pixels while enough of them remain."""
    if reduce_to is None:
        return image
    factor = min(image.width, image.height) // (OVERSAMPLING * max(reduce_to))
    return image.reduce(factor) if factor > 1 else image


def _from_array(array: NDArray[np.uint8]) -> Image.Image:
    pixels = np.asarray(array)
    planes = pixels.shape[2] if pixels.ndim == 3 else 1 if pixels.ndim == 2 else 0
    if pixels.dtype != np.uint8 or planes not in (1, 3, 4) or pixels.size == 0:
        raise ShapeError(
            f"the picture is an array of shape {pixels.shape} and dtype {pixels.dtype}, "
            "expected uint8 of shape (H, W), (H, W, 3) or (H, W, 4)"
        )
    return Image.fromarray(np.ascontiguousarray(pixels if planes > 1 else pixels.reshape(pixels.shape[:2])))


@contextlib.contextmanager
def _guarded() -> Iterator[None]:
    """Turn whatever Pillow raises into `ImageDecodeError` with the reason alone, and keep its warnings to ourselves."""
    try:
        with _WITHOUT_WARNINGS:
            yield
    except ImageDecodeError:
        raise
    except Exception as error:  # a damaged header makes Pillow raise nearly every type there is
        raise ImageDecodeError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"is no picture in a supported format ({', '.join(FORMATS)})"
    if isinstance(error, Image.DecompressionBombError):
        return "declares more pixels than the limit; make it smaller"
    if isinstance(error, MemoryError):
        return "needs more memory than there is; make it smaller"
    text = " ".join(str(error).split())
    return f"is damaged: {text or type(error).__name__}"


_DECODING = Budget(MAX_PIXELS)
_WITHOUT_WARNINGS = PillowSilence()
