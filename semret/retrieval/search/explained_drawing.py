"""An explanation as one picture: both pictures with their strongest pairs joined, and what each place contributes.

Drawn by Pillow at twice its size and then halved, so that lines are smooth. Colours are such that colour-blind readers
can tell them apart, and every pair has a number as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageOps

from semret.arrays import Float64Array, require_flag, require_whole
from semret.colours import BLACK, BLUE, CIVIDIS, GREEN, ORANGE, PINK, RED, SKY, YELLOW
from semret.errors import ArgumentError, ImageDecodeError
from semret.index.backbones.placement import Box
from semret.names import amount
from semret.retrieval.search.explained_picture import ExplainedPicture, Pair
from semret.retrieval.search.explained_text import fitted, font_of
from semret.retrieval.search.regions import SearchedRegion

WIDTH = 1000
"""Pixels of a drawing across, unless asked otherwise."""

PAIRS = 8
"""Pairs that are joined, unless asked otherwise: as many as there are colours."""

_FINE = 2
"""Pixels that are drawn for each one of the result, along both sides."""

_COLOURS = (BLUE, ORANGE, GREEN, RED, SKY, YELLOW, PINK, BLACK)
_INK, _MUTED, _PAPER, _ABSENT = "#1b1b1b", "#5c5c5c", "#ffffff", "#e4e4e4"
_SMALLEST, _LARGEST = 320, 3000
_MARGIN, _GAP, _TEXT, _BADGE = 0.014, 0.05, 0.0165, 0.0115
"""In shares of the drawing's width: around everything, between the pictures, letters, radius of a number's disc."""

_FAINT, _DENSE = 130, 200
"""Opacity of the colours of little and of much, of 255: what contributes little is still to be recognised."""

_THINNEST = 0.09
"""A picture is drawn at least this high and wide, however long it is: patches of a strip are to be seen, too."""

Point: TypeAlias = tuple[float, float]


class Explained(Protocol):
    """What is drawn: see `semret.retrieval.search.explain.Explanation`."""

    @property
    def query(self) -> ExplainedPicture:
        """The picture on the left."""

    @property
    def image(self) -> ExplainedPicture:
        """The picture on the right."""

    @property
    def score(self) -> float:
        """What the shares sum to."""

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Strongest first."""

    @property
    def region(self) -> SearchedRegion | None:
        """The part of the query that counts."""

    def maps(self) -> tuple[Float64Array, Float64Array]:
        """Return how much each place of the two pictures contributes.

        Returns
        -------
        query, image : ndarray of shape (H, W), float64
        """


def draw_explanation(
    explanation: Explained, *, pairs: int = PAIRS, width: int = WIDTH, names: bool = True
) -> Image.Image:
    """Draw an explanation.

    Above, both pictures, and the strongest pairs of patches joined by lines; below, how much each place contributes.
    Shares below 0 are shown as 0. Patches without a partner have no colour, nor has what the network does not see of a
    picture or a region leaves out. A picture that cannot be opened, or is no longer the one that was compared, is an
    empty frame that says so.

    Parameters
    ----------
    explanation : Explanation
    pairs : int
        How many are joined, at least 0.
    width : int
        Of the drawing in pixels, from 320 to 3000. Its height follows from the pictures', and is at most twice that.
    names : bool
        Whether the pictures' names are written over them.

    Returns
    -------
    PIL.Image.Image
        Mode RGB.

    Raises
    ------
    ArgumentError
        If a number is out of range.
    """
    require_whole(width, "width", 0)
    require_whole(pairs, "pairs", 0)
    require_flag(names, "names")
    if not _SMALLEST <= width <= _LARGEST:
        raise ArgumentError(f"width is {width}, expected {_SMALLEST} to {_LARGEST} pixels")
    canvas = _Canvas(explanation, width * _FINE, names=names)
    canvas.draw_pairs(explanation, pairs)
    canvas.draw_maps(explanation)
    return canvas.image.reduce(_FINE)


class _Panel:
    """A picture somewhere on a canvas."""

    def __init__(self, picture: ExplainedPicture, pixels: Image.Image | str, corner: Point, size: Point) -> None:
        self._picture, self.pixels = picture, pixels
        self.left, self.top = (round(number) for number in corner)
        self.width, self.height = (round(number) for number in size)

    def paste(self, canvas: Image.Image, pixels: Image.Image | str) -> None:
        """Put pixels at this place, or an empty frame."""
        if isinstance(pixels, Image.Image):
            fitting = pixels.convert("RGB").resize((self.width, self.height), Image.Resampling.LANCZOS)
            canvas.paste(fitting, (self.left, self.top))
        else:
            canvas.paste(_ABSENT, (self.left, self.top, self.left + self.width, self.top + self.height))

    def to_canvas(self, box: Box) -> tuple[float, float, float, float]:
        """Return the edges of a box of the picture: left, top, right, bottom."""
        across, down = (mine / its for mine, its in zip((self.width, self.height), self._picture.size, strict=True))
        x, y, width, height = box
        return (
            self.left + x * across,
            self.top + y * down,
            self.left + (x + width) * across,
            self.top + (y + height) * down,
        )


class _Canvas:
    """The drawing while it is made: sizes are in its own fine pixels."""

    def __init__(self, explanation: Explained, width: int, *, names: bool) -> None:
        self._unit, self._letters = width, round(_TEXT * width)
        self._names = names
        pictures = explanation.query, explanation.image
        self._half = width * (1 - 2 * _MARGIN - _GAP) / 2
        pixels = [_opened(picture, round(self._half)) for picture in pictures]
        sizes = [_within(picture.size, self._half, width * _THINNEST) for picture in pictures]
        row, line = max(height for _, height in sizes), 1.9 * self._letters
        tops = [_MARGIN * width + line * (2 if names else 1)]
        tops.append(tops[0] + row + _MARGIN * width + line)
        lefts = [_MARGIN * width, width * (1 - _MARGIN) - self._half]
        self.rows = [
            [
                _Panel(picture, shown, (left + (self._half - size[0]) / 2, top + (row - size[1]) / 2), size)
                for picture, shown, left, size in zip(pictures, pixels, lefts, sizes, strict=True)
            ]
            for top in tops
        ]
        self._tops, self._lefts, self._row = tops, lefts, row
        height = round(tops[1] + row + _MARGIN * width + line)
        self.image = Image.new("RGB", (width, height + height % _FINE), _PAPER)
        self._pen = ImageDraw.Draw(self.image)

    def draw_pairs(self, explanation: Explained, count: int) -> None:
        """Draw the upper row: the pictures, and the strongest pairs joined."""
        shown = [pair for pair in explanation.pairs if pair.query_box and pair.image_box and pair.share > 0][:count]
        self._write(_MARGIN * self._unit, 0.5 * _MARGIN * self._unit, _summary(explanation, [p.share for p in shown]))
        left, right = self.rows[0]
        for picture, panel, place in zip(
            (explanation.query, explanation.image), (left, right), self._lefts, strict=True
        ):
            if self._names:
                text = fitted(picture.label, self._letters, self._half)
                self._write(place, self._tops[0] - 1.7 * self._letters, text, _MUTED)
            panel.paste(self.image, panel.pixels)
            if isinstance(panel.pixels, str):
                self._excuse(panel, panel.pixels)
        self._outline_region(explanation, left)
        ends = []
        for number, pair in enumerate(shown):
            colour = _COLOURS[number % len(_COLOURS)]
            boxes = [panel.to_canvas(box) for panel, box in ((left, pair.query_box), (right, pair.image_box)) if box]
            for box in boxes:
                self._outline(box, colour)
            ends.append(([_middle(box) for box in boxes], colour))
        # The strongest last, over the others; discs over all lines.
        for (start, stop), colour in reversed(ends):
            self._pen.line((start, stop), fill=_PAPER, width=self._thick(5))
            self._pen.line((start, stop), fill=colour, width=self._thick(2.6))
        for number, (points, colour) in reversed(list(enumerate(ends, start=1))):
            for point in points:
                self._badge(point, str(number), colour)

    def draw_maps(self, explanation: Explained) -> None:
        """Draw the lower row: what each place contributes, and the scale of that."""
        maps = explanation.maps()
        most = max(float(values.max(initial=0.0)) for values in maps)
        self._write(self._lefts[0], self._tops[1] - 1.7 * self._letters, "what each place contributes to the score")
        partners = {pair.query_cell for pair in explanation.pairs}, {pair.image_cell for pair in explanation.pairs}
        pictures = explanation.query, explanation.image
        for panel, picture, values, cells in zip(self.rows[1], pictures, maps, partners, strict=True):
            panel.paste(self.image, _greyed(panel.pixels))
            shares = values.reshape(-1) / (most if most > 0 else 1.0)
            self._colour(panel, {cell: float(shares[cell]) for cell in cells}, picture)
        self._outline_region(explanation, self.rows[1][0])
        self._scale(most)

    def _colour(self, panel: _Panel, shares: dict[int, float], picture: ExplainedPicture) -> None:
        """Lay colours over the patches that have a share, from 0 to 1."""
        veil = Image.new("RGBA", (panel.width, panel.height), (0, 0, 0, 0))
        pen = ImageDraw.Draw(veil)
        for cell, share in shares.items():
            if (box := picture.box_of(cell)) is not None:
                left, top, right, bottom = (round(edge) for edge in panel.to_canvas(box))
                corner, stop = (left - panel.left, top - panel.top), (right - panel.left - 1, bottom - panel.top - 1)
                opacity = _FAINT + round((_DENSE - _FAINT) * min(max(share, 0.0), 1.0))
                ends = max(stop[0], corner[0]), max(stop[1], corner[1])
                pen.rectangle((corner, ends), fill=(*_heat(share), opacity))
        self.image.paste(veil, (panel.left, panel.top), mask=veil)

    def _scale(self, most: float) -> None:
        """Draw the scale of the lower row below it."""
        top, length, height = self._tops[1] + self._row + _MARGIN * self._unit, self._half * 0.4, 0.9 * self._letters
        left = self._lefts[0]
        self._write(left, top - 0.15 * self._letters, "0", _MUTED)
        left += 1.2 * self._letters
        steps = np.linspace(0, 1, 64)
        for step, share in enumerate(steps):
            start = left + length * step / len(steps)
            self._pen.rectangle((start, top, start + length / len(steps), top + height), fill=_heat(float(share)))
        text = f"{most:.3g} a patch"
        self._write(left + length + 0.6 * self._letters, top - 0.15 * self._letters, text, _MUTED)

    def _excuse(self, panel: _Panel, reason: str) -> None:
        """Say in an empty frame why there is no picture."""
        for line, words in enumerate(("no picture:", reason)):
            text = fitted(words, self._letters, self._half)
            place = panel.left + panel.width / 2, panel.top + panel.height / 2 + (line - 0.5) * 1.4 * self._letters
            self._pen.text(place, text, font=font_of(self._letters), fill=_MUTED, anchor="mm")

    def _outline_region(self, explanation: Explained, panel: _Panel) -> None:
        if explanation.region is not None:
            edges = panel.to_canvas(explanation.region.box)
            self._pen.rectangle(edges, outline=_PAPER, width=self._thick(5))
            self._pen.rectangle(edges, outline=BLACK, width=self._thick(2))

    def _outline(self, edges: tuple[float, float, float, float], colour: str) -> None:
        self._pen.rectangle(edges, outline=_PAPER, width=self._thick(3.8))
        self._pen.rectangle(edges, outline=colour, width=self._thick(2.8))

    def _badge(self, centre: Point, text: str, colour: str) -> None:
        (x, y), radius = centre, _BADGE * self._unit
        disc = (x - radius, y - radius, x + radius, y + radius)
        self._pen.ellipse(disc, fill=colour, outline=_PAPER, width=self._thick(1.5))
        ink = _INK if ImageColor.getrgb(colour)[1] > 130 else _PAPER
        self._pen.text(centre, text, font=font_of(round(1.3 * radius)), fill=ink, anchor="mm")

    def _write(self, x: float, y: float, text: str, colour: str = _INK) -> None:
        self._pen.text((x, y), text, font=font_of(self._letters), fill=colour)

    def _thick(self, pixels: float) -> int:
        """Return a width of lines that is right for a drawing of the usual size, for this one."""
        return max(1, round(pixels * self._unit / WIDTH))


def _summary(explanation: Explained, shown: Sequence[float]) -> str:
    score, total = explanation.score, sum(shown)
    parts = [f"score {score:.4f}", amount(len(explanation.pairs), "pair")]
    if shown:
        share = f" ({total / score:.0%})" if score > 0 else ""
        parts.append(f"the {len(shown)} strongest are worth {total:.3g}{share}")
    return " · ".join(parts)


def _opened(picture: ExplainedPicture, edge: int) -> Image.Image | str:
    """Return a picture's pixels, or why there are none."""
    try:
        return picture.load(edge)
    except ImageDecodeError as error:
        return str(error)


def _within(size: tuple[int, int], edge: float, thinnest: float) -> Point:
    """Return the size at which a picture fills a square."""
    scale = edge / max(size)
    return max(size[0] * scale, thinnest), max(size[1] * scale, thinnest)


def _middle(box: tuple[float, float, float, float]) -> Point:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _greyed(pixels: Image.Image | str) -> Image.Image | str:
    """Return a picture without colours and with little contrast, for a map to lie over."""
    if isinstance(pixels, str):
        return pixels
    return ImageOps.colorize(pixels.convert("L"), black="#202020", white="#cfcfcf")


def _heat(share: float) -> tuple[int, int, int]:
    place = min(max(share, 0.0), 1.0) * (len(CIVIDIS) - 1)
    red, green, blue = (
        round(float(np.interp(place, np.arange(len(CIVIDIS)), channel))) for channel in zip(*CIVIDIS, strict=True)
    )
    return red, green, blue
