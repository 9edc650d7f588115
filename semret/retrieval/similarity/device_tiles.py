"""Tiles of a set of representations on a GPU, and the matching of all maps of one tile with all of another."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semret.arrays import Float64Array, IndexVector
from semret.errors import ArgumentError
from semret.retrieval.matching.cuda import why_unavailable
from semret.retrieval.matching.cuda_tokens import DeviceMaps, match_pairs
from semret.retrieval.similarity.maps import prepare, unit_of
from semret.retrieval.similarity.sets import RepresentationSet

KEPT_SHARE = 0.5
"""The share of a device's free memory that tiles may take; those used longest ago make room for others."""

_INTERPRETED_BYTES = 1 << 28

_ROUNDING = 1e-13
"""How far, in shares, two sums in float64 of the same products may lie apart."""


@dataclass(frozen=True, kw_only=True)
class DeviceTile:
    """Maps on a device, and what is known of them on the processor.

    Attributes
    ----------
    maps : DeviceMaps
        In units of `unit`.
    squared_norms, exponents : ndarray of shape (n,), float64 and intp
        See `semret.retrieval.similarity.maps.Maps`.
    unit : float
        A power of two.
    """

    maps: DeviceMaps
    squared_norms: Float64Array
    exponents: IndexVector
    unit: float

    def __len__(self) -> int:
        return len(self.maps)

    @property
    def nbytes(self) -> int:
        """What the maps take on the device."""
        tokens = self.maps.tokens
        return tokens.element_size() * tokens.nelement()


def require_device(name: str) -> torch.device:
    """Return the device of this name, on which matchings can be computed.

    Parameters
    ----------
    name : str
        ``cuda`` or ``cuda:1``.

    Returns
    -------
    torch.device

    Raises
    ------
    ArgumentError
        If there is no such device, or Triton is missing.
    """
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise ArgumentError(
            f"device {name!r} is unknown, expected cuda, or cuda:N for another than the first"
        ) from None
    if (reason := why_unavailable(device.type)) is not None:
        raise ArgumentError(f"device {name!r} cannot match: {reason}; leave the device out to use the processor")
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise ArgumentError(f"device {name!r} is not there: torch finds {torch.cuda.device_count()} CUDA devices")
    return device


class DeviceTiles:
    """Tiles of one set, read when they are wanted and kept on the device as far as they fit.

    Parameters
    ----------
    source : RepresentationSet
    center : ndarray or None
        Subtracted from the maps.
    device : torch.device
    """

    def __init__(self, source: RepresentationSet, center: NDArray[Any] | None, device: torch.device) -> None:
        self.source, self.center, self.device = source, center, device
        self._kept: OrderedDict[tuple[int, int], DeviceTile] = OrderedDict()

    def __getitem__(self, rows: slice) -> DeviceTile:
        """Return a tile.

        Parameters
        ----------
        rows : slice
            Of the set.

        Returns
        -------
        DeviceTile

        Raises
        ------
        ShapeError, NonFiniteError, ArgumentError
            See `semret.retrieval.similarity.maps.prepare`.
        """
        key = rows.start, rows.stop
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        tile = self._read(rows)
        room = self._room()
        while self._kept and sum(kept.nbytes for kept in self._kept.values()) + tile.nbytes > room:
            self._kept.popitem(last=False)
        self._kept[key] = tile
        return tile

    def _room(self) -> float:
        if self.device.type != "cuda":
            return _INTERPRETED_BYTES
        free, _ = torch.cuda.mem_get_info(self.device)
        return KEPT_SHARE * (free + sum(kept.nbytes for kept in self._kept.values()))

    def _read(self, rows: slice) -> DeviceTile:
        found = prepare(self.source.read(rows), self.center, self.source.name, threads=None)
        unit = unit_of(found)
        tokens = found.tokens if unit == 1 else np.ldexp(found.tokens, 1 - int(np.frexp(unit)[1]))
        return DeviceTile(
            maps=DeviceMaps(tokens=torch.from_numpy(np.ascontiguousarray(tokens)).to(self.device)),
            squared_norms=found.squared_norms,
            exponents=found.exponents,
            unit=unit,
        )


def match_tiles(ones: DeviceTile, manys: DeviceTile, *, mirrored: bool) -> tuple[Float64Array, float]:
    """Match every map of one tile with every one of another.

    Parameters
    ----------
    ones, manys : DeviceTile
        Of one number of channels.
    mirrored : bool
        Whether the two are the same: each pair then is matched once.

    Returns
    -------
    matched : ndarray of shape (len(ones), len(manys)), float64
        Inner products in the units of the maps' exponents; below the diagonal 0 if mirrored.
    gap : float
        By what share a matching may at most be exceeded by the best one on the affinity in float32.
    """
    first, second = np.triu_indices(len(ones)) if mirrored else np.divmod(np.arange(len(ones) * len(manys)), len(manys))
    device = ones.maps.tokens.device
    x_of, y_of = (torch.from_numpy(side).to(device) for side in (first, second))
    found, _ = match_pairs(ones.maps, manys.maps, x_of, y_of)
    products = found.values.cpu().numpy() * (ones.unit * manys.unit)
    # Where two maps are equal but for the order of their tokens, their distance must be 0 and not what rounding left.
    middle = (ones.squared_norms[first] + manys.squared_norms[second]) / 2
    equal = np.abs(products - middle) <= _ROUNDING * middle
    matched = np.zeros((len(ones), len(manys)))
    matched[first, second] = np.where(equal, middle, products)
    return matched, float(found.gaps.max()) if len(first) else 0.0
