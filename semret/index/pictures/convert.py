"""Any picture that Pillow decodes as upright 8-bit RGB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFile

WHITE = (255, 255, 255)
"""What shows through transparent pixels."""

_ORIENTATION_TAG = 0x0112
_BITS_TAG, _PHOTOMETRIC_TAG = 258, 262
_WHITE_IS_ZERO = 0
_STRIP = 2**22
_FEW_BITS = {"L;2": 85, "L;4": 17}

SIDEWAYS = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)
"""Turns that exchange width and height."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_rgb(
    image: Image.Image, turn: Image.Transpose | None = None, transparent: Image.Image | None = None
) -> Image.Image:
    """Convert a loaded picture to upright RGB.

    Transparent pixels are composited on white. Grey values of 16 bits are
    scaled from their full range (12-bit TIFF from 12 bits), 32-bit integers from the smallest and largest value of
    the picture; floating-point values from 0..1 where all lie within, else from their smallest and largest finite
    value, and what is not finite becomes black. CMYK is converted without a profile, and embedded colour profiles are
    ignored, as by the programs that trained the networks.

    Parameters
    ----------
    image : PIL.Image.Image
        Loaded.
    turn : PIL.Image.Transpose or None
        What makes it upright.
    transparent : PIL.Image.Image of mode L, or None
        255 where pixels are transparent whatever else is known of them; see `find_transparent`.

    Returns
    -------
    PIL.Image.Image
        A new picture of mode RGB without metadata.
    """
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_grey(image)
    elif image.mode in ("La", "RGBa"):
        image = image.convert(image.mode[:-1] + "A")
    if transparent is None and image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        rgb = Image.new("RGB", image.size, WHITE)
        rgb.paste(image, mask=image)
    else:
        rgb = image.copy() if image.mode == "RGB" else image.convert("RGB")
        if transparent is not None:
            rgb.paste(WHITE, mask=transparent)
    rgb.info = {}
    del image, transparent  # frees their memory before the picture is turned
    return rgb if turn is None else rgb.transpose(turn)


def find_transparent(image: Image.Image, again: Callable[[], ImageFile.ImageFile] | None = None) -> Image.Image | None:
    """Return where a transparent colour shows that is lost when the picture is converted to 8 bits.

    PNG declares one colour as transparent in the picture's own depth: 16 bits, or 2 or 4 of grey.

    Parameters
    ----------
    image : PIL.Image.Image
        Opened; not yet loaded, if it comes from a file.
    again : callable or None
        Opens the same file once more: of 16-bit colours, only one half of the bits is decoded at a time.

    Returns
    -------
    PIL.Image.Image or None
        Of mode L, with 255 where the colour is and 0 elsewhere; None where Pillow's own conversion finds it.
    """
    colour = image.info.get("transparency")
    raw = image.tile[0].args if isinstance(image, ImageFile.ImageFile) and image.tile else None
    if isinstance(colour, int) and image.mode.startswith("I"):
        return _where_equal(image, colour)
    if isinstance(colour, int) and raw in _FEW_BITS:
        return _where_equal(image, colour * _FEW_BITS[raw])
    if isinstance(colour, tuple) and raw == "RGB;16B" and again is not None:
        found = Image.new("L", image.size, 255)
        with again() as low:
            # The halves of a value change their places, so that what is taken for the upper one is the lower.
            low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]
            for part, shift in ((image, 8), (low, 0)):
                for band, value in zip(part.split(), colour, strict=True):
                    found = ImageChops.multiply(found, _where_equal(band, value >> shift & 255))
        return found
    return None


def _where_equal(image: Image.Image, value: int) -> Image.Image:
    """Return 255 where a picture of one band has a value, 0 elsewhere."""
    found = Image.new("L", image.size)
    for top, values in _strips(image):
        found.paste(Image.fromarray((values == value).astype(np.uint8) * 255), (0, top))
    return found


def upright_turn(image: Image.Image) -> Image.Transpose | None:
    """Return the turn that makes a picture upright, as its EXIF data ask for; damaged data are ignored.

    Parameters
    ----------
    image : PIL.Image.Image
        Opened; need not be loaded.

    Returns
    -------
    PIL.Image.Transpose or None
        None if the picture is upright, or does not say.
    """
    try:
        return TURNS.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # whatever a damaged EXIF block makes Pillow raise, the pixels are good
        return None


def _to_grey(image: Image.Image) -> Image.Image:
    """Scale 16- and 32-bit grey values to 8 bits, a strip of rows at a time to spare memory."""
    low, high = _grey_range(image)
    scale = 255.0 / (high - low) if high > low else 0.0
    inverted = _tag(image, _PHOTOMETRIC_TAG) == _WHITE_IS_ZERO
    grey = Image.new("L", image.size)
    for top, values in _strips(image):
        with np.errstate(invalid="ignore", over="ignore"):
            levels = (values.astype(np.float64) - low) * scale
        levels = np.clip(np.nan_to_num(levels, nan=0.0, posinf=0.0, neginf=0.0), 0.0, 255.0)
        rounded = np.rint(255.0 - levels if inverted else levels).astype(np.uint8)
        grey.paste(Image.fromarray(rounded), (0, top))
    return grey


def _grey_range(image: Image.Image) -> tuple[float, float]:
    """Return the values that become black and white."""
    if image.mode.startswith("I;16"):
        return 0.0, 4095.0 if _tag(image, _BITS_TAG) == 12 else 65535.0
    low, high = np.inf, -np.inf
    for _, values in _strips(image):
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low > high:
        return 0.0, 1.0
    if image.mode == "F" and low >= 0.0 and high <= 1.0:
        return 0.0, 1.0
    return low, high


def _strips(image: Image.Image) -> Iterator[tuple[int, NDArray[Any]]]:
    """Give the pixels as arrays of whole rows with the number of their first row."""
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        yield top, np.asarray(strip)


def _tag(image: Image.Image, tag: int) -> int | None:
    """Return the first value of a TIFF tag, None for other formats."""
    value = getattr(image, "tag_v2", {}).get(tag)
    return int(value[0] if isinstance(value, tuple) else value) if value is not None else None
