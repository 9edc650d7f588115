"""Where a picture lies in a network's input: numbers alone, from which pixels are cut and boxes are mapped.

`semret.index.backbones.preprocess` carries out what `plan` says, so boxes are where the pixels are. Boxes are
``(x, y, width, height)`` in pixels, of the upright picture unless said otherwise; cells are numbered row by row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from semret.arrays import IndexVector
from semret.index.backbones.spec import Preprocessing

LONGEST = 32
"""A picture more times longer than wide than this is cut to its middle before its shorter edge is resized."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a picture becomes the network's input.

    Attributes
    ----------
    cut : (int, int, int, int) or None
        Left, top, right and bottom of the part that is resized at all; None for the whole picture.
    resized : (int, int)
        Width and height of that part once it is resized.
    crop : (int, int, int, int) or None
        Left, top, right and bottom of what is kept of the resized part; None keeps all.
    left, top : int
        Where that goes in the input.
    """

    cut: tuple[int, int, int, int] | None = None
    resized: tuple[int, int]
    crop: tuple[int, int, int, int] | None = None
    left: int = 0
    top: int = 0


def plan(width: int, height: int, preprocessing: Preprocessing) -> Plan:
    """Work out how a picture of this size is brought to the size of the input.

    Parameters
    ----------
    width, height : int
        Of the upright picture, at least 1.
    preprocessing : Preprocessing

    Returns
    -------
    Plan
    """
    rows, columns = preprocessing.size
    if preprocessing.geometry == "squash":
        return Plan(resized=(columns, rows))
    if preprocessing.geometry == "crop":
        return _plan_crop(width, height, preprocessing)
    scale = min(rows / height, columns / width)
    resized = _fitted(width * scale, columns), _fitted(height * scale, rows)
    if preprocessing.geometry == "corner":
        return Plan(resized=resized)
    return Plan(resized=resized, left=(columns - resized[0]) // 2, top=(rows - resized[1]) // 2)


def _fitted(length: float, most: int) -> int:
    return min(most, max(1, math.floor(length + 0.5)))


def _plan_crop(width: int, height: int, preprocessing: Preprocessing) -> Plan:
    rows, columns = preprocessing.size
    edge = preprocessing.resize_edge or max(rows, columns)
    cut = None
    resized = _by_shorter_edge(width, height, edge)
    if max(resized) > LONGEST * edge:
        # So that resizing a strip takes no memory for what is cropped anyway.
        cut = _middle(width, height)
        resized = _by_shorter_edge(cut[2] - cut[0], cut[3] - cut[1], edge)
    even = preprocessing.crop_rounding == "even"
    top, pad_top = _margin(resized[1], rows, even=even)
    left, pad_left = _margin(resized[0], columns, even=even)
    crop = (left, top, min(left + columns, resized[0]), min(top + rows, resized[1]))
    return Plan(cut=cut, resized=resized, crop=crop, left=pad_left, top=pad_top)


def _by_shorter_edge(width: int, height: int, edge: int) -> tuple[int, int]:
    return (edge, int(edge * height / width)) if width <= height else (int(edge * width / height), edge)


def _middle(width: int, height: int) -> tuple[int, int, int, int]:
    length = LONGEST * min(width, height)
    kept, high = min(width, length), min(height, length)
    left, top = (width - kept) // 2, (height - high) // 2
    return left, top, left + kept, top + high


def _margin(available: int, wanted: int, *, even: bool) -> tuple[int, int]:
    """Return where a centred cut starts, and how much padding goes before it when the picture is too small."""
    if available >= wanted:
        difference = available - wanted
        return (round(difference / 2) if even else difference // 2), 0
    return 0, (wanted - available) // 2 if even else math.ceil((wanted - available) / 2)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A picture under the grid of tokens.

    Attributes
    ----------
    picture : (int, int)
        Width and height of the upright picture in pixels.
    grid : (int, int)
        Rows and columns.
    corner : (float, float)
        Where the grid's upper left corner lies in the picture: x, y. Negative where padding comes first.
    cell : (float, float)
        Width and height of a cell in pixels of the picture.
    visible : Box
        What the network sees of the picture.
    """

    picture: tuple[int, int]
    grid: tuple[int, int]
    corner: tuple[float, float]
    cell: tuple[float, float]
    visible: Box

    def box_of(self, cell: int) -> Box | None:
        """Return what a cell shows of the picture.

        Parameters
        ----------
        cell : int
            From 0 to ``rows * columns - 1``.

        Returns
        -------
        Box or None
            None where the cell shows nothing but padding.
        """
        row, column = divmod(cell, self.grid[1])
        (x, y), (width, height) = self.corner, self.cell
        return common((x + column * width, y + row * height, width, height), self.visible)

    def cells_in(self, box: Box) -> IndexVector:
        """Return the cells whose centres lie in a box.

        A box that is too flat or too narrow to hold the centre of any row, or column, takes the one below the centre
        of what is seen of it. Left and upper edges belong to the box, right and lower edges do not: boxes side by
        side that hold centres share no cell.

        Parameters
        ----------
        box : Box

        Returns
        -------
        ndarray of shape (n,), intp
            Ascending; empty if the network sees nothing of the box.
        """
        seen = common(box, self.visible)
        if seen is None:
            return np.zeros(0, dtype=np.intp)
        columns, rows = (self._covered(seen[axis], seen[2 + axis], axis) for axis in (0, 1))
        return np.asarray((rows[:, None] * self.grid[1] + columns[None]).reshape(-1), dtype=np.intp)

    def _covered(self, start: float, length: float, axis: int) -> IndexVector:
        """Return the columns (axis 0) or rows (axis 1) of the cells in a box that begins at `start`."""
        corner, size, count = self.corner[axis], self.cell[axis], self.grid[1 - axis]
        centres = corner + size * (np.arange(count) + 0.5)
        inside = np.flatnonzero((centres >= start) & (centres < start + length))
        if len(inside):
            return inside
        below = math.floor((start + length / 2 - corner) / size)
        return np.array([min(max(below, 0), count - 1)], dtype=np.intp)


def place(picture: tuple[int, int], preprocessing: Preprocessing, grid: tuple[int, int]) -> Placement:
    """Lay the grid of tokens over a picture.

    Parameters
    ----------
    picture : (int, int)
        Width and height in pixels of the upright picture. Large pictures are decoded at a whole fraction of their
        size, which moves edges by less than a pixel of the input. With zeros, for what is no picture, no cell shows
        anything.
    preprocessing : Preprocessing
    grid : (int, int)
        Rows and columns.

    Returns
    -------
    Placement

    Examples
    --------
    A picture of 400 x 200 pixels, its shorter edge resized to 100 and the middle cut out: half of it is seen.

    >>> crop = Preprocessing(size=(100, 100), geometry="crop", resize_edge=100, mean=(0.5,) * 3, std=(0.5,) * 3)
    >>> found = place((400, 200), crop, (2, 2))
    >>> found.visible, found.cell
    ((100.0, 0.0, 200.0, 200.0), (100.0, 100.0))
    >>> found.cells_in((160, 0, 200, 120)).tolist(), found.box_of(3)
    ([1], (200.0, 100.0, 100.0, 100.0))
    """
    if 0 in picture:
        return Placement(picture=picture, grid=grid, corner=(0, 0), cell=(0, 0), visible=(0, 0, 0, 0))
    planned = plan(*picture, preprocessing)
    left, top, right, bottom = planned.cut or (0, 0, *picture)
    # Pixels of the picture that one of the input takes.
    across, down = (right - left) / planned.resized[0], (bottom - top) / planned.resized[1]
    cropped = planned.crop or (0, 0, *planned.resized)
    rows, columns = grid
    height, width = preprocessing.size
    visible = (
        left + cropped[0] * across,
        top + cropped[1] * down,
        (cropped[2] - cropped[0]) * across,
        (cropped[3] - cropped[1]) * down,
    )
    return Placement(
        picture=picture,
        grid=grid,
        corner=(left + (cropped[0] - planned.left) * across, top + (cropped[1] - planned.top) * down),
        cell=(width / columns * across, height / rows * down),
        visible=visible,
    )


def common(a: Box, b: Box) -> Box | None:
    """Return what two boxes have in common.

    Parameters
    ----------
    a, b : Box

    Returns
    -------
    Box or None
        None where that has no area.
    """
    x0, y0 = max(a[0], b[0]), max(a[1], b[1])
    x1, y1 = min(a[0] + a[2], b[0] + b[2]), min(a[1] + a[3], b[1] + b[3])
    return (x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None
