"""Sets of representations in the layouts that networks give them, read as tiles of token maps, and their means."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semret.arrays import IndexVector, as_array
from semret.centers import CENTERINGS, mean_map
from semret.errors import ArgumentError, ShapeError
from semret.retrieval.similarity.names import check_name

LAYOUTS = ("NSC", "NCHW", "NHWC", "NTD")
"""Axes of a set of representations; the first is the default."""

TILE_BYTES = 64 << 20
"""Default size of the tokens of each of the two tiles held at once, as float32."""


class Sliceable(Protocol):
    """A set of representations that may live on disk: an array, a memory map, an HDF5 dataset."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, images first."""

    def __getitem__(self, rows: slice, /) -> Any:
        """Return these images as an array."""


class Represented(Protocol):
    """Whatever has the maps of a set of images: a `semret.SearchEngine`, what `semret.embed` returns."""

    @property
    def representations(self) -> Sliceable:
        """The maps, in layout NSC."""


SetLike: TypeAlias = "Represented | Sliceable | ArrayLike"


class RepresentationSet:
    """A set of representations in any layout, read as tiles of token maps (n, S, C).

    Parameters
    ----------
    data : array_like of N representations in the given layout
        Arrays, memory maps and data sets stay where they are; only slices of the first axis are taken. Of what has
        `representations` these are taken, in layout NSC.
    name : str
        Names the set in messages.
    layout : {"NSC", "NCHW", "NHWC", "NTD"}
        See `semret.rsm`.
    prefix_tokens : int
        Tokens at the beginning of each representation that are left out; with layout NTD alone.
    tile_bytes : int
        Size of a tile as float32.

    Attributes
    ----------
    shape : (int, int, int)
        ``(N, S, C)``; S is the largest where maps differ.
    positions : ndarray of shape (N,), intp, or None
        Tokens of each map, where maps differ.
    space : str or None
        What the channels are, in words, where the set tells: the network and codec of an index. Sets of two spaces
        cannot be compared, even if they have as many channels.

    Raises
    ------
    ShapeError
        If the shape does not fit the layout, or leaves no position or channel.
    ArgumentError
        If a number is out of range, entries are masked, or maps of different sizes have another layout than NSC.
    UnknownNameError
        If there is no such layout.
    """

    def __init__(self, data: SetLike, name: str, layout: str, prefix_tokens: int, tile_bytes: int) -> None:
        check_name("layout", layout, LAYOUTS)
        # What lies in a file is called by that.
        name = getattr(data, "called", name)
        if (representations := getattr(data, "representations", None)) is not None:
            data, layout = representations, LAYOUTS[0]
        self.space: str | None = getattr(data, "space", None)
        self.data: Any = data if hasattr(data, "shape") and hasattr(data, "dtype") else as_array(data, name)
        self.name, self.layout, self.prefix_tokens = name, layout, prefix_tokens
        shape, axes = tuple(self.data.shape), len(layout)
        if len(shape) != axes:
            raise ShapeError(f"{name} has shape {shape}, layout {layout} expects {axes} axes{_other_layout(shape)}")
        if prefix_tokens < 0 or (prefix_tokens and layout != "NTD"):
            raise ArgumentError(f"prefix_tokens is {prefix_tokens}, expected 0, or more with layout NTD")
        if layout == "NCHW":
            self.shape = (shape[0], shape[2] * shape[3], shape[1])
        elif layout == "NHWC":
            self.shape = (shape[0], shape[1] * shape[2], shape[3])
        else:
            self.shape = (shape[0], max(shape[1] - prefix_tokens, 0), shape[2])
        if 0 in self.shape[1:]:
            raise ShapeError(f"{name} has shape {shape}: no position or channel is left to compare")
        if tile_bytes < 1:
            raise ArgumentError(f"tile_bytes is {tile_bytes}, expected at least 1")
        self.positions = _positions(self.data, name, layout)
        self.step: int = max(1, tile_bytes // (4 * self.shape[1] * self.shape[2]))

    def __len__(self) -> int:
        return int(self.shape[0])

    def tiles(self) -> list[slice]:
        """Cut the set so that a tile has at most `tile_bytes`, or one map, and maps of one size.

        Returns
        -------
        list of slice
            In order; none for an empty set.
        """
        edges = [0, len(self)]
        if self.positions is not None:
            edges[1:1] = (np.flatnonzero(np.diff(self.positions)) + 1).tolist()
        parts = itertools.pairwise(edges)
        return [slice(at, min(at + self.step, stop)) for start, stop in parts for at in range(start, stop, self.step)]

    def read(self, rows: slice) -> NDArray[Any]:
        """Read a tile.

        Parameters
        ----------
        rows : slice
            Of `tiles`.

        Returns
        -------
        ndarray of shape (n, S, C)
            In the dtype of the set.

        Raises
        ------
        ShapeError
            If it holds no numbers.
        """
        values = as_array(self.data[rows], self.name)
        if values.dtype.kind not in "fiub":
            raise ShapeError(f"{self.name} has dtype {values.dtype}, expected numbers")
        if self.layout == "NCHW":
            return values.reshape(*values.shape[:2], -1).transpose(0, 2, 1)
        if self.layout == "NHWC":
            return values.reshape(len(values), -1, values.shape[3])
        return values[:, self.prefix_tokens :]


def _other_layout(shape: tuple[int, ...]) -> str:
    """Tell what to do with an array of other axes than the layout has."""
    hints = {
        2: "; one map (S, C) is a set of one as x[None], features (N, D) are maps of one token as x[:, None]",
        3: "; positions then channels are layout NSC",
        4: "; grids are layout NHWC, or NCHW with the channels first",
    }
    return hints.get(len(shape), "")


def _positions(data: Any, name: str, layout: str) -> IndexVector | None:
    """Return how many tokens each map of a set has, if it tells and they differ."""
    positions = getattr(data, "positions", None)
    if positions is None or len(np.unique(positions)) < 2:
        return None
    if layout != "NSC":
        raise ArgumentError(f"{name} has maps of {min(positions)} to {max(positions)} tokens, expected layout NSC")
    return np.asarray(positions, dtype=np.intp)


def center_of(data: RepresentationSet, center: str | ArrayLike) -> NDArray[Any] | None:
    """Return what to subtract from the maps of a comparison.

    Parameters
    ----------
    data : RepresentationSet
        The set whose mean is meant, read tile by tile.
    center : {"channel", "position", "none"} or array_like of shape (C,) or (S, C)

    Returns
    -------
    ndarray of shape (C,) or (S, C), or None
        The array as it was given, or the float64 mean. None subtracts nothing.

    Raises
    ------
    UnknownNameError
        If a centre has no such name.
    ShapeError
        If the mean at each position is wanted of maps of different sizes.
    NonFiniteError
        If a value is NaN or infinite, or the mean is beyond float64.
    """
    if not isinstance(center, str):
        return as_array(center, "center")
    check_name("center", center, CENTERINGS)
    if data.positions is None:
        return mean_map(map(data.read, data.tiles()), center, data.name)
    if center == "position":
        raise ShapeError(f"{data.name} has maps of different sizes, so no mean at each position; choose another centre")
    return mean_map(_single_tokens(data), center, data.name)


def _single_tokens(data: RepresentationSet) -> Iterator[NDArray[Any]]:
    """Give all tokens of maps of different sizes as maps of one token, (n, 1, C)."""
    for rows in data.tiles():
        yield data.read(rows).reshape(-1, 1, data.shape[2])
