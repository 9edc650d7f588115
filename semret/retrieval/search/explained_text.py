"""Text in a drawing: a font for most scripts, and lines that fit."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont
from PIL.ImageFont import FreeTypeFont

from semret.names import escaped

_ABSENT = "□"
"""Stands for a character that the font has not."""


@cache
def font_of(size: int) -> FreeTypeFont | ImageFont.ImageFont:
    """Return the font of drawings, DejaVu Sans.

    Parameters
    ----------
    size : int
        In pixels.

    Returns
    -------
    PIL.ImageFont.FreeTypeFont
        Pillow's own font, which has Latin letters alone, where the file is missing.
    """
    # Matplotlib brings the font; it takes half a second to import, so only its folder is looked up.
    found = find_spec("matplotlib")
    folder = Path(found.origin).parent if found is not None and found.origin else Path()
    try:
        return ImageFont.truetype(str(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
    except OSError:
        return ImageFont.load_default(size)


def fitted(text: str, size: int, width: float) -> str:
    """Return a name as it can be drawn within a width, in one line.

    Parameters
    ----------
    text : str
        Of any characters. What is invisible is written out, what the font lacks becomes a box.
    size : int
        Of the font, in pixels.
    width : float
        In pixels.

    Returns
    -------
    str
        With an ellipsis in its middle where it is too long: names differ at their ends.
    """
    font = font_of(size)
    # What is longer than this cannot fit anyway, and need not be looked at letter by letter.
    shown = "".join(letter if _has(size, letter) else _ABSENT for letter in escaped(_middle_out(text, 400)))
    if font.getlength(shown) <= width:
        return shown
    low, high = 1, len(shown)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if font.getlength(_middle_out(shown, middle)) <= width else (low, middle)
    return _middle_out(shown, low)


def _middle_out(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    tail = (length - 1) * 2 // 3
    return f"{text[: max(length - 1 - tail, 0)]}…{text[len(text) - tail :]}"


@cache
def _has(size: int, letter: str) -> bool:
    font = font_of(size)
    # A character that a font has not is drawn like one that no font has.
    return letter == " " or bytes(font.getmask(letter)) != bytes(font.getmask("\U0010ffff"))
