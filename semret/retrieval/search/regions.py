"""Regions of a query picture: how they are written, what they mean on a picture, and which patches they take."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

import numpy as np

from semret.arrays import FloatArray, IndexVector
from semret.errors import ArgumentError
from semret.index.backbones.placement import Box, common, place
from semret.index.backbones.spec import Identity
from semret.integer_tokens import IntegerTokens

FORM = "X,Y,W,H in pixels, such as 120,80,200,150, or in per cent of the picture, such as 10%,20%,50%,40%"
"""How a region is written, for messages and help."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")


@dataclass(frozen=True, kw_only=True)
class Region:
    """A box in a picture that is not known yet: its left upper corner, its width and its height.

    Attributes
    ----------
    x, y, width, height : float
        Of the upright picture.
    percent : bool
        Whether they are per cent of the picture's width and height; if not, pixels.

    Raises
    ------
    ArgumentError
        If a number is not finite, x or y is negative, or the width or height is not positive.
    """

    x: float
    y: float
    width: float
    height: float
    percent: bool = False

    def __post_init__(self) -> None:
        numbers = self.x, self.y, self.width, self.height
        if not all(math.isfinite(number) for number in numbers):
            raise ArgumentError(f"the region {self} has a number that is not finite; expected {FORM}")
        if min(self.x, self.y) < 0:
            raise ArgumentError(f"the region {self} begins outside the picture; X and Y must be at least 0")
        if min(self.width, self.height) <= 0:
            raise ArgumentError(f"the region {self} is empty; W and H must be larger than 0")

    def __str__(self) -> str:
        """Return the region as it is written."""
        unit = "%" if self.percent else ""
        return ",".join(f"{number:.10g}{unit}" for number in (self.x, self.y, self.width, self.height))

    def box_in(self, picture: tuple[int, int]) -> Box:
        """Return the part of the region that lies in a picture.

        Parameters
        ----------
        picture : (int, int)
            Width and height.

        Returns
        -------
        (float, float, float, float)
            x, y, width and height in pixels; what reaches over the right and lower edge is cut off.

        Raises
        ------
        ArgumentError
            If the region lies outside.
        """
        width, height = picture
        across, down = (width / 100, height / 100) if self.percent else (1.0, 1.0)
        box = (self.x * across, self.y * down, self.width * across, self.height * down)
        inside = common(box, (0.0, 0.0, float(width), float(height)))
        if inside is None:
            raise ArgumentError(f"the region {self} lies outside the picture, which has {width} x {height} pixels")
        return inside


RegionLike: TypeAlias = "Region | str | Sequence[float]"


def as_region(given: RegionLike) -> Region:
    """Read a region.

    Parameters
    ----------
    given : Region, str, or four numbers
        A text is in pixels, or in per cent where *every* number is followed by ``%``; numbers are pixels.

    Returns
    -------
    Region

    Raises
    ------
    ArgumentError
        If it is something else, or a region that no picture can have.

    Examples
    --------
    >>> as_region("10%,20%,50%,40%")
    Region(x=10.0, y=20.0, width=50.0, height=40.0, percent=True)
    >>> print(as_region((120, 80, 200.5, 150)))
    120,80,200.5,150
    """
    if isinstance(given, Region):
        return given
    if isinstance(given, str):
        return _parse(given)
    numbers = _numbers(given)
    if numbers is None or len(numbers) != 4:
        raise ArgumentError(f"region is {given!r}, expected four numbers of pixels, x, y, width and height, or a text")
    return _region(numbers, percent=False)


def _numbers(given: Any) -> list[float] | None:
    try:
        if any(isinstance(number, (str, bytes, bool)) for number in given):
            return None
        return [float(number) for number in given]
    except (TypeError, ValueError, OverflowError):
        return None


def _parse(text: str) -> Region:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4:
        raise ArgumentError(f"the region {text!r} has {len(parts)} of four numbers; expected {FORM}")
    percent = [part.endswith("%") for part in parts]
    if any(percent) and not all(percent):
        raise ArgumentError(f"the region {text!r} mixes pixels and per cent; expected {FORM}")
    bare = [part.removesuffix("%").rstrip() for part in parts]
    wrong = [part for part in bare if not _NUMBER.fullmatch(part)]
    if wrong:
        raise ArgumentError(f"the region {text!r} has {wrong[0]!r} for a number; expected {FORM}")
    return _region([float(part) for part in bare], percent=all(percent))


def _region(numbers: Sequence[float], *, percent: bool) -> Region:
    x, y, width, height = numbers
    return Region(x=x, y=y, width=width, height=height, percent=percent)


@dataclass(frozen=True, kw_only=True)
class SearchedRegion:
    """The region that a query was cut to.

    Attributes
    ----------
    box : (float, float, float, float)
        x, y, width and height in pixels of the upright picture.
    picture : (int, int)
        The picture's width and height.
    cells : ndarray of shape (n,), intp
        The patches in it, row by row.
    patches : int
        Patches of the whole picture.
    """

    box: Box
    picture: tuple[int, int]
    cells: IndexVector
    patches: int

    def __str__(self) -> str:
        """Return the region and its patches in a line."""
        box = ",".join(f"{number:.10g}" for number in self.box)
        return (
            f"region {box} of {self.picture[0]} x {self.picture[1]} pixels, {len(self.cells)} of {self.patches} patches"
        )

    @property
    def shares(self) -> Box:
        """The box in shares of the picture's width and height."""
        (x, y, width, height), (across, down) = self.box, self.picture
        return x / across, y / down, width / across, height / down

    def as_json(self) -> dict[str, Any]:
        """Return the region for a JSON document.

        Returns
        -------
        dict
            Box in pixels, the picture's size, and how many patches were searched with.
        """
        x, y, width, height = self.box
        box = {"x": x, "y": y, "width": width, "height": height}
        return {**box, "picture": list(self.picture), "patches": len(self.cells)}


def find_region(region: Region, picture: tuple[int, int], identity: Identity) -> SearchedRegion:
    """Find the patches of a picture that lie in a region.

    Parameters
    ----------
    region : Region
    picture : (int, int)
        Width and height in pixels of the upright picture.
    identity : Identity
        Of the network.

    Returns
    -------
    SearchedRegion
        With at least one patch.

    Raises
    ------
    ArgumentError
        If the region lies outside the picture, or in a part that the network's preprocessing cuts away.
    """
    box = region.box_in(picture)
    placement = place(picture, identity.preprocessing, identity.grid)
    cells = placement.cells_in(box)
    if not len(cells):
        seen = ",".join(f"{number:.10g}" for number in np.round(placement.visible, 1))
        raise ArgumentError(
            f"the network sees nothing of the region {region}: of this picture it is shown the part {seen} (pixels); "
            "choose a region there, or index with --geometry squash"
        )
    return SearchedRegion(box=box, picture=picture, cells=cells, patches=identity.grid[0] * identity.grid[1])


@overload
def cut_tokens(tokens: FloatArray, cells: IndexVector) -> FloatArray: ...
@overload
def cut_tokens(tokens: IntegerTokens, cells: IndexVector) -> IntegerTokens: ...
def cut_tokens(tokens: FloatArray | IntegerTokens, cells: IndexVector) -> FloatArray | IntegerTokens:
    """Return the tokens of some patches of a picture.

    Parameters
    ----------
    tokens : ndarray of shape (S, C), or IntegerTokens of length 1
    cells : ndarray of shape (n,), intp

    Returns
    -------
    ndarray of shape (n, C), or IntegerTokens of shape (1, n, D)
    """
    if isinstance(tokens, IntegerTokens):
        return IntegerTokens(integers=tokens.integers[:, cells], scales=tokens.scales[:, cells])
    return tokens[cells]
