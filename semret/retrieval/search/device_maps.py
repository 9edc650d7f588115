"""Stored maps kept on a GPU, and which of them can be among the best k of a query.

All maps are bounded there by one dual sweep; those that may reach the k best are bounded closer, then solved. What is
left, little more than k, is compared by the processor, so scores and order are the processor's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semret.arrays import IdVector, IndexVector
from semret.errors import ArgumentError, ShapeError
from semret.integer_tokens import IntegerTokens
from semret.retrieval.matching.cuda_tokens import DeviceMaps, bounds_of_all, match_pairs
from semret.retrieval.search.candidates import TokenSource
from semret.retrieval.similarity.device_tiles import KEPT_SHARE, require_device
from semret.retrieval.similarity.integer_maps import IntegerMaps, prepare_integers
from semret.retrieval.similarity.kernels import farthest_of_score, rbf
from semret.retrieval.similarity.maps import Maps

CHUNK_BYTES = 1 << 30
"""Maps that are read, and moved to the device, at a time."""

_INTERPRETED_BYTES = 1 << 28

_ROUNDING = 1e-12
"""How far, in shares, sums in float64 may lie apart."""

_BLOCK = 4096
"""Maps whose norms are computed at a time."""

_PROMISING = 64
"""Candidates of a part that are solved first at least, for their values to rule others out."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Neighbouring maps on the device: their place among all, tokens, and squared norms (n,) float64."""

    start: int
    maps: DeviceMaps
    squares: Tensor

    def __len__(self) -> int:
        return len(self.maps)


class Standings:
    """The best values of one query so far, and the candidates that may be among the best.

    Parameters
    ----------
    query : IntegerMaps or Maps of length 1
        Maps of floats are centred already.
    k : int
    kernel : {"cosine", "linear", "rbf"}
    sigma : float or None
        RBF bandwidth; required by kernel rbf.
    device : torch.device
    """

    def __init__(
        self, query: IntegerMaps | Maps, *, k: int, kernel: str, sigma: float | None, device: torch.device
    ) -> None:
        self.one, self.k, self.kernel, self._sigma = _put(query, device), k, kernel, sigma
        self._square = float(query.squared_norms[0])
        self._values = torch.zeros(0, dtype=torch.float64, device=device)
        self._scale = 0.0

    @property
    def goal(self) -> float:
        """What a bound must reach: the k-th best value, less rounding; minus infinity while there are fewer."""
        if len(self._values) < self.k:
            return -np.inf
        worst = float(self._values[-1])
        if self.kernel == "rbf":
            score = float(rbf(max(self._square - worst, 0.0), self._sigma))
            worst = min(worst, self._square - farthest_of_score(score, self._sigma or 0.0))
        return worst - _ROUNDING * self._scale

    def contest(self, part: Part, places: Tensor) -> tuple[IndexVector, Tensor]:
        """Bound the candidates at some places of a part, bound closer what may reach the best, and solve what is left.

        Parameters
        ----------
        part : Part
        places : Tensor of shape (n,), int64

        Returns
        -------
        places : ndarray of intp
            Of what was solved; all others are certainly not among the best.
        bounds : Tensor of float64
            What each is worth at most.
        """
        if part.maps.scales is None:
            if self.one.tokens.dtype != part.maps.tokens.dtype:
                self.one = DeviceMaps(tokens=self.one.tokens.to(part.maps.tokens.dtype))
            return self._solve(part, places)
        uppers = self._worth(bounds_of_all(self.one, part.maps)[places], part.squares[places])
        first = uppers.topk(min(len(places), max(_PROMISING, 4 * self.k))).indices
        solved, bounds = self._solve(part, places[first])
        rest = uppers >= self.goal
        rest[first] = False
        others = places[rest]
        if not len(others):
            return solved, bounds
        closer, _ = match_pairs(self.one, part.maps, torch.zeros_like(others), others, finish=False, phases=1)
        reach = torch.minimum(self._worth(closer.bounds, part.squares[others]), uppers[rest]) >= self.goal
        more, more_bounds = self._solve(part, others[reach])
        return np.concatenate([solved, more]), torch.cat([bounds, more_bounds])

    def _solve(self, part: Part, places: Tensor) -> tuple[IndexVector, Tensor]:
        found, _ = match_pairs(self.one, part.maps, torch.zeros_like(places), places)
        squares, bounds = part.squares[places], found.bounds
        if part.maps.scales is None:
            bounds = bounds + _affinity_error(part.maps.tokens.shape[2]) * (self._square * squares).sqrt()
        worth = self._worth(found.values, squares)
        self._values = torch.cat([self._values, worth]).sort(descending=True).values[: self.k]
        size = 2 * found.values.abs() + squares + self._square if self.kernel == "rbf" else worth.abs()
        self._scale = max(self._scale, float(size.max())) if len(size) else self._scale
        return places.cpu().numpy(), self._worth(bounds, squares)

    def _worth(self, products: Tensor, squares: Tensor) -> Tensor:
        """Turn inner products into numbers that are in the order of the scores."""
        if self.kernel == "linear":
            return products
        if self.kernel == "rbf":
            return 2 * products - squares
        return torch.where(squares > 0, products / squares.sqrt().clamp_min(torch.finfo(torch.float64).tiny), 0.0)


class MapsOnDevice:
    """The integer token maps of a source, on a device as far as they fit there; the others are streamed.

    Parameters
    ----------
    source : TokenSource
        Its tokens are `IntegerTokens`, its ids ascending.
    device : str
        ``cuda`` or ``cuda:N``.
    share : float
        How much of the device's free memory maps may take.

    Attributes
    ----------
    total, resident : int
        Maps in all, and kept on the device.

    Raises
    ------
    ArgumentError
        If there is no such device, or Triton is missing.
    """

    def __init__(self, source: TokenSource, device: str, *, share: float = KEPT_SHARE) -> None:
        self._source, self._device = source, require_device(device)
        self._ids = np.asarray(source.ids)
        self.total = len(self._ids)
        self._step = max(1, CHUNK_BYTES // _bytes_of(source.shape))
        self.resident = fitting(self.total, source.shape, device, share=share)
        self._parts = [self._read(slice(*part)) for part in self._cut(0, self.resident)]

    @property
    def device(self) -> torch.device:
        """Where the maps are."""
        return self._device

    @property
    def first(self) -> DeviceMaps:
        """The first maps that are kept, at most `CHUNK_BYTES` of them."""
        return self._parts[0].maps

    def __str__(self) -> str:
        """Say how many maps lie where."""
        where = "all" if self.resident == self.total else f"{self.resident:,} of {self.total:,}"
        return f"{where} on {self._device}"

    def left(
        self,
        query: IntegerMaps,
        ids: IdVector,
        *,
        k: int,
        kernel: str,
        sigma: float | None = None,
        levelled: bool = False,
    ) -> IndexVector:
        """Tell which candidates may be among the best k.

        Parameters
        ----------
        query : IntegerMaps of length 1
        ids : ndarray of shape (n,), int64
            The candidates; all of them are in the source.
        k : int
        kernel : {"cosine", "linear", "rbf"}
        sigma : float or None
            RBF bandwidth; required by kernel rbf.
        levelled : bool
            Whether tokens are compared by their directions, see `semret.retrieval.similarity.query_score.level_maps`.

        Returns
        -------
        ndarray of intp, ascending
            Their places among `ids`. Every other candidate is certainly worse than k of these.
        """
        allowed = np.zeros(self.total, dtype=np.bool_)
        rows = np.searchsorted(self._ids, ids)
        allowed[rows] = True
        standings = Standings(query, k=k, kernel=kernel, sigma=sigma, device=self._device)
        kept: list[IndexVector] = []
        bounds: list[Tensor] = []
        for part in self._all_parts():
            places = torch.from_numpy(np.flatnonzero(allowed[part.start : part.start + len(part)])).to(self._device)
            if len(places):
                solved, uppers = standings.contest(_levelled(part) if levelled else part, places)
                kept.append(part.start + solved)
                bounds.append(uppers)
        if not kept:
            return np.zeros(0, dtype=np.intp)
        reach = (torch.cat(bounds) >= standings.goal).cpu().numpy()
        return np.flatnonzero(np.isin(rows, np.concatenate(kept)[reach]))

    def _all_parts(self) -> Iterator[Part]:
        yield from self._parts
        for part in self._cut(self.resident, self.total):
            yield self._read(slice(*part))

    def _cut(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        for first in range(start, stop, self._step):
            yield first, min(first + self._step, stop)

    def _read(self, rows: slice) -> Part:
        tokens = self._source.read(np.arange(rows.start, rows.stop))
        if not isinstance(tokens, IntegerTokens):
            raise ArgumentError("maps of floats are searched on the processor; a codec's are searched on a device")
        return part_of(prepare_integers(tokens, threads=None), self._device, start=rows.start)


def fitting(count: int, shape: tuple[int, int], device: str, *, share: float = KEPT_SHARE) -> int:
    """Return how many maps are kept on a device.

    Parameters
    ----------
    count : int
        Maps in all.
    shape : (int, int)
        Of a map: ``(S, D)``.
    device : str
        ``cuda`` or ``cuda:N``.
    share : float
        How much of the device's free memory they may take.

    Returns
    -------
    int

    Raises
    ------
    ArgumentError
        If there is no such device, or Triton is missing.
    """
    return min(count, int(_room(require_device(device)) * share) // _bytes_of(shape))


def _bytes_of(shape: tuple[int, int]) -> int:
    positions, dimension = shape
    return positions * (dimension + 4) + 8


def _room(device: torch.device) -> int:
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else _INTERPRETED_BYTES


def part_of(maps: IntegerMaps | Maps, device: torch.device, *, start: int = 0) -> Part:
    """Move maps to a device.

    Parameters
    ----------
    maps : IntegerMaps, or Maps, centred
    device : torch.device
    start : int
        Their place among all.

    Returns
    -------
    Part
    """
    return Part(start=start, maps=_put(maps, device), squares=torch.from_numpy(maps.squared_norms).to(device))


def _put(maps: IntegerMaps | Maps, device: torch.device) -> DeviceMaps:
    if isinstance(maps, Maps):
        return DeviceMaps(tokens=torch.from_numpy(np.ascontiguousarray(maps.tokens)).to(device))
    # Scales are stored in float32, which holds them; the query's own may need float64.
    narrow = maps.scales.astype(np.float32)
    scales = torch.from_numpy(narrow if (narrow == maps.scales).all() else maps.scales).to(device)
    return DeviceMaps(tokens=torch.from_numpy(maps.integers).to(device), scales=scales)


def _affinity_error(channels: int) -> float:
    """Return what a product of tokens on the device may lack, as a share of the product of their norms.

    Tokens of float32 are multiplied as two numbers of 11 bits each, whose smallest product is left out, and summed in
    float32 in any order.
    """
    return (channels + 32) * 2.0**-23


def _levelled(part: Part) -> Part:
    """Return the maps with tokens of length 1; those of length 0 stay."""
    lengths = torch.cat([_lengths(block) for block in torch.split(part.maps.tokens, _BLOCK)])
    scales = torch.where((lengths > 0) & (_scales(part.maps) > 0), 1 / lengths.clamp_min(1.0), 0.0)
    return Part(start=part.start, maps=DeviceMaps(tokens=part.maps.tokens, scales=scales), squares=part.squares)


def _lengths(tokens: Tensor) -> Tensor:
    """Return the norms of the integers of each token, (n, S) float64: one rounding, of the root."""
    return tokens.to(torch.int32).square().sum(-1).double().sqrt()


def _scales(maps: DeviceMaps) -> Tensor:
    if maps.scales is None:
        raise ShapeError("the maps are of floats, expected integers with scales")
    return maps.scales
