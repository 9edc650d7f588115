"""What small drawings are laid on: shapes of a material, shaded as if lit from the left."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from semret.arrays import Float32Array
from semret.eval.scenes.materials import Colour, Material, paint, plain, to_bytes

SIDE = 224
"""Pixels along each side of a sprite's canvas."""

Point = tuple[float, float]


class Canvas:
    """A square in unit coordinates, x to the right and y down, on which parts are laid over one another.

    Parameters
    ----------
    rng : numpy.random.Generator
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.image = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))

    def polygon(self, points: Sequence[Point], material: Material, *, round_: float = 0.5) -> None:
        """Lay a polygon down.

        Parameters
        ----------
        points : sequence of (float, float)
        material : Material
        round_ : float
            How strongly it is shaded as a cylinder, left to right, in 0..1.
        """
        self._lay(lambda draw, s: draw.polygon([(s * x, s * y) for x, y in points], fill=255), material, round_)

    def box(self, x0: float, y0: float, x1: float, y1: float, material: Material, *, corner: float = 0.0) -> None:
        """Lay a rectangle down.

        Parameters
        ----------
        x0, y0, x1, y1 : float
            Left, top, right and bottom.
        material : Material
        corner : float
            Radius of its corners.
        """
        self._lay(
            lambda draw, s: draw.rounded_rectangle([s * x0, s * y0, s * x1, s * y1], s * corner, fill=255),
            material,
            0.35,
        )

    def disc(self, x: float, y: float, rx: float, ry: float, material: Material, *, round_: float = 0.8) -> None:
        """Lay an ellipse down.

        Parameters
        ----------
        x, y, rx, ry : float
            Centre and radii.
        material : Material
        round_ : float
            As for `polygon`.
        """
        self._lay(
            lambda draw, s: draw.ellipse([s * (x - rx), s * (y - ry), s * (x + rx), s * (y + ry)], fill=255),
            material,
            round_,
        )

    def line(self, points: Sequence[Point], width: float, material: Material) -> None:
        """Lay a line down.

        Parameters
        ----------
        points : sequence of (float, float)
        width : float
        material : Material
        """
        self._lay(
            lambda draw, s: draw.line(
                [(s * x, s * y) for x, y in points], fill=255, width=max(1, round(s * width)), joint="curve"
            ),
            material,
            0.2,
        )

    def ring(self, x: float, y: float, rx: float, ry: float, width: float, material: Material) -> None:
        """Lay the outline of an ellipse down.

        Parameters
        ----------
        x, y, rx, ry : float
            Centre and radii.
        width : float
            Of the line.
        material : Material
        """
        self._lay(
            lambda draw, s: draw.ellipse(
                [s * (x - rx), s * (y - ry), s * (x + rx), s * (y + ry)], outline=255, width=max(1, round(s * width))
            ),
            material,
            0.2,
        )

    def _lay(self, shape: Callable[[ImageDraw.ImageDraw, float], None], material: Material, round_: float) -> None:
        scale = 2 * SIDE
        mask = Image.new("L", (scale, scale), 0)
        shape(ImageDraw.Draw(mask), float(scale))
        mask = mask.reduce(2)
        bounds = mask.getbbox()
        if bounds is None:
            return
        left, top, right, bottom = bounds
        colours = paint(material, (bottom - top, right - left)) * _shading(right - left, bottom - top, round_)
        layer = Image.fromarray(to_bytes(colours), "RGB")
        self.image.paste(layer, (left, top), mask.crop(bounds))
        alpha = self.image.getchannel("A")
        alpha.paste(255, mask=mask)
        self.image.putalpha(alpha)


def _shading(width: int, height: int, strength: float) -> Float32Array:
    """Return the brightness of an upright cylinder lit from the left, (height, width, 1)."""
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    across = 1.12 - 1.4 * (x - 0.35) ** 2
    return np.asarray((1 - strength) + strength * across * (1.05 - 0.15 * y), dtype=np.float32)


def arc(x: float, y: float, rx: float, ry: float, start: float, stop: float) -> list[Point]:
    """Return points along an ellipse.

    Parameters
    ----------
    x, y, rx, ry : float
        Centre and radii.
    start, stop : float
        Angles in degrees from the positive x axis, y down.

    Returns
    -------
    list of (float, float)
    """
    angles = np.radians(np.linspace(start, stop, 24))
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


def darker(colour: Colour, factor: float = 0.6) -> Material:
    """Return an even material of the colour made darker.

    Parameters
    ----------
    colour : Colour
    factor : float
        That the channels are multiplied by.

    Returns
    -------
    Material
    """
    red, green, blue = (factor * channel for channel in colour)
    return plain((red, green, blue))
