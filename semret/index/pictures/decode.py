"""Pictures: from a file or its bytes to upright 8-bit RGB, within limits of memory and time, from any thread.

Files are found by `find`, read by `files`, cut down by `containers` and opened by `formats`; `convert` makes
RGB of them.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Iterator
from typing import TypeAlias

from PIL import Image, JpegImagePlugin

from semret.errors import ImageDecodeError, cut_text
from semret.index.pictures.containers import cut_down
from semret.index.pictures.convert import SIDEWAYS, TURNS, find_transparent, to_rgb, upright_turn
from semret.index.pictures.files import read_file, unreadable
from semret.index.pictures.formats import FORMATS, open_plain, read_orientation
from semret.index.pictures.given import PictureLike, plain_form
from semret.index.pictures.jpeg import count_scans
from semret.index.pictures.limits import Budget, PillowSilence

MAX_PIXELS = 2**27
"""Pixels of the largest picture decoded (134 million), and of all pictures being decoded at one time."""

MAX_DECLARED_PIXELS = 2**30
"""Pixels that a JPEG decoded at reduced size may declare (1,074 million); what is decoded is within `MAX_PIXELS`."""

OVERSAMPLING = 2
"""A picture decoded at reduced size keeps at least this many pixels for each one asked for, along both sides."""

_MAX_SCANS = 100
_MAX_SCANNED = 2**31

Source: TypeAlias = "str | os.PathLike[str] | bytes"


def decode_image(source: Source, *, reduce_to: tuple[int, int] | None = None) -> Image.Image:
    """Decode a picture as upright 8-bit RGB.

    Parameters
    ----------
    source : path or bytes
        A file, or the content of one.
    reduce_to : (int, int) or None
        Height and width that the picture will be resized to. A larger picture may be returned at a whole fraction of
        its size, with both sides still at least `OVERSAMPLING` times what is asked for; JPEG then decodes only that
        fraction. The same file and `reduce_to` always give the same pixels.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, turned as EXIF says; the first frame or page of several. See `semret.index.pictures.convert.to_rgb`
        for transparency, deep grey, palettes and profiles. All its metadata is ``info["original_size"]``: width and
        height of the upright picture before it was reduced.

    Raises
    ------
    ImageDecodeError
        If there is no whole picture of a supported format: a truncated file is refused, never filled up. The message
        is ``PATH: REASON``, or the reason alone for bytes.
    """
    if isinstance(source, bytes):
        return _decode(source, reduce_to)
    content = read_file(source)
    try:
        return _decode(content.data, reduce_to)
    except ImageDecodeError as error:
        raise unreadable(source, str(error)) from error


def as_rgb(image: PictureLike, *, reduce_to: tuple[int, int] | None = None) -> Image.Image:
    """Return a picture given in any form as upright RGB.

    Parameters
    ----------
    image : path, bytes, file object, PIL image, or array or tensor of uint8
        Arrays as in `semret.index.pictures.given.pixels_of`.
    reduce_to : (int, int) or None
        As in `decode_image`.

    Returns
    -------
    PIL.Image.Image
        Mode RGB. All its metadata is ``info["original_size"]``: width and height of the upright picture before it was
        reduced.

    Raises
    ------
    ImageDecodeError
        If a file or a PIL image that is loaded lazily cannot be decoded.
    ShapeError, ArgumentError
        If an array has another shape or dtype, or it is something else.
    """
    plain = plain_form(image)
    if isinstance(plain, (str, os.PathLike, bytes)):
        return decode_image(plain, reduce_to=reduce_to)
    picture = plain if isinstance(plain, Image.Image) else Image.fromarray(plain)
    if 0 in picture.size:
        raise ImageDecodeError(f"the picture has no pixels: {picture.width} x {picture.height}")
    with _guarded(), _DECODING(picture.width * picture.height):
        turn = upright_turn(picture)
        transparent = find_transparent(picture)
        picture.load()
        rgb = to_rgb(picture, turn, transparent)
        reduced = _reduced(rgb, reduce_to)
    reduced.info = {"original_size": rgb.size}
    return reduced


def thumbnail(source: Source | Image.Image, edge: int) -> bytes:
    """Return a small copy of a picture as JPEG.

    Parameters
    ----------
    source : path, bytes or PIL image
        As in `decode_image` and `as_rgb`.
    edge : int
        Most pixels of the longer side; a smaller picture keeps its size.

    Returns
    -------
    bytes
        A JPEG file.

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


def _decode(data: bytes, reduce_to: tuple[int, int] | None) -> Image.Image:
    with _guarded():
        plain = cut_down(data)
        if plain is None:
            raise ImageDecodeError(f"is no picture in a supported format ({', '.join(FORMATS)})")
        if plain.size is not None:
            _check_size(plain.size)
        with open_plain(plain) as image:
            turn = TURNS.get(read_orientation(image) if plain.orientation is None else plain.orientation)
            declared, pixels = image.size, image.width * image.height
            if isinstance(image, JpegImagePlugin.JpegImageFile):
                pixels = _prepare_jpeg(image, plain.data, reduce_to)
            else:
                _check_size(image.size)
            is_reduced = image.size != declared
            with _DECODING(pixels):
                transparent = find_transparent(image, lambda: open_plain(plain))
                image.load()
                rgb = image if _is_plain(image, turn) else to_rgb(image, turn, transparent)
                full = declared if is_reduced and turn not in SIDEWAYS else declared[::-1] if is_reduced else rgb.size
                rgb = _reduced(rgb, reduce_to)
    rgb.info = {"original_size": full}
    return rgb


def _is_plain(image: Image.Image, turn: Image.Transpose | None) -> bool:
    """Tell whether an opened file has the pixels that are wanted, as most photos do: nobody else needs them."""
    return isinstance(image, JpegImagePlugin.JpegImageFile) and image.mode == "RGB" and turn is None


def _check_size(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageDecodeError(
            f"declares {size[0]} x {size[1]} pixels, more than the limit of {MAX_PIXELS}; make it smaller, "
            "or save it as a JPEG that is not progressive, which need not be decoded at full size"
        )


def _prepare_jpeg(image: JpegImagePlugin.JpegImageFile, data: bytes, reduce_to: tuple[int, int] | None) -> int:
    """Choose the fraction at which a JPEG is decoded, and return for how many pixels that takes memory."""
    _check_jpeg_size(image.size, MAX_DECLARED_PIXELS)
    declared, pixels = image.size, image.width * image.height
    # Each scan of a few bytes makes the decoder go over the whole picture: a small file could keep it busy for days.
    allowed = min(_MAX_SCANS, _MAX_SCANNED // pixels)
    scans = count_scans(data, allowed + 1)
    if scans > allowed:
        raise ImageDecodeError(f"has more than {allowed} scans, too many for its size; save it again as a plain JPEG")
    if reduce_to is not None:
        # The picture may still have to be turned, so both sides are kept as large as the larger one asked for.
        wanted = OVERSAMPLING * max(reduce_to)
        image.draft(None, (wanted, wanted))
    weight = image.width * image.height
    if scans > 1 or "progressive" in image.info:
        # All coefficients are held until the last scan, whatever fraction is made of them: half of what pixels take.
        weight = max(weight, pixels // 2)
    if weight > MAX_PIXELS:
        _check_jpeg_size(declared, MAX_PIXELS)
    return weight


def _check_jpeg_size(size: tuple[int, int], limit: int) -> None:
    if size[0] * size[1] > limit:
        raise ImageDecodeError(
            f"declares {size[0]} x {size[1]} pixels, more than the limit of {limit}; make it smaller"
        )


def _reduced(image: Image.Image, reduce_to: tuple[int, int] | None) -> Image.Image:
    """Average whole blocks of pixels while enough of them remain."""
    if reduce_to is None:
        return image
    factor = min(image.width, image.height) // (OVERSAMPLING * max(reduce_to))
    return image.reduce(factor) if factor > 1 else image


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
    if isinstance(error, Image.DecompressionBombError):
        return "declares more pixels than the limit; make it smaller"
    if isinstance(error, MemoryError):
        return "needs more memory than there is; make it smaller"
    # Pillow says it by itself, or as a SyntaxError.
    if isinstance(error, struct.error) or isinstance(error.__cause__, struct.error):
        return "is damaged: it is truncated"
    text = cut_text(error)
    if text == "unknown pixel mode":
        return "has pixels of a kind that is not supported; save it with 8 or 16 bits"
    return f"is damaged: {text}"


_DECODING = Budget(MAX_PIXELS)
_WITHOUT_WARNINGS = PillowSilence()
