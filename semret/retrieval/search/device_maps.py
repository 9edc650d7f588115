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
from semret.errors import ShapeError
from semret.integer_tokens import IntegerTokens
from semret.retrieval.matching.cuda_tokens import DeviceMaps, bounds_of_all, match_pairs
from semret.retrieval.search.candidates import TokenSource
from semret.retrieval.similarity.device_tiles import KEPT_SHARE, require_device
from semret.retrieval.similarity.integer_maps import IntegerMaps

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


@dataclass(kw_only=True)
class _Standings:
    """The k best values so far, and the candidates that may be among the best."""

    k: int
    values: Tensor
    rows: list[IndexVector]
    bounds: list[Tensor]

    @property
    def goal(self) -> float:
        """What a bound must reach: the k-th best value, less rounding; minus infinity while there are fewer."""
        if len(self.values) < self.k:
            return -np.inf
        least = float(self.values[-1])
        return least - _ROUNDING * abs(least)

    def enter(self, rows: IndexVector, values: Tensor, bounds: Tensor) -> None:
        self.values = torch.cat([self.values, values]).sort(descending=True).values[: self.k]
        self.rows.append(rows)
        self.bounds.append(bounds)

    def left(self) -> IndexVector:
        if not self.rows:
            return np.zeros(0, dtype=np.intp)
        reach = (torch.cat(self.bounds) >= self.goal).cpu().numpy()
        return np.sort(np.concatenate(self.rows)[reach])


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
        each = source.shape[0] * (source.shape[1] + 4) + 8
        self._step = max(1, CHUNK_BYTES // each)
        self.resident = min(self.total, int(self._room() * share) // each)
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

    def left(self, query: IntegerMaps, ids: IdVector, *, k: int, kernel: str, levelled: bool = False) -> IndexVector:
        """Tell which candidates may be among the best k.

        Parameters
        ----------
        query : IntegerMaps of length 1
        ids : ndarray of shape (n,), int64
            The candidates; all of them are in the source.
        k : int
        kernel : {"cosine", "linear", "rbf"}
        levelled : bool
            Whether tokens are compared by their directions, see `semret.retrieval.similarity.query_score.level_maps`.

        Returns
        -------
        ndarray of intp, ascending
            Their places among `ids`. Every other candidate is certainly worse than k of these.
        """
        one = self._put(query)
        allowed = np.zeros(self.total, dtype=np.bool_)
        rows = np.searchsorted(self._ids, ids)
        allowed[rows] = True
        empty = torch.zeros(0, dtype=torch.float64, device=self._device)
        standings = _Standings(k=k, values=empty, rows=[], bounds=[])
        for part in self._all_parts():
            places = torch.from_numpy(np.flatnonzero(allowed[part.start : part.start + len(part)])).to(self._device)
            if len(places):
                self._contest(one, _levelled(part) if levelled else part, places, standings, kernel)
        return np.flatnonzero(np.isin(rows, standings.left()))

    def _contest(self, one: DeviceMaps, part: Part, places: Tensor, standings: _Standings, kernel: str) -> None:
        """Bound, bound closer and solve the candidates at some places of a part."""
        uppers = _worth(bounds_of_all(one, part.maps)[places], part.squares[places], kernel)
        first = uppers.topk(min(len(places), max(_PROMISING, 4 * standings.k))).indices
        self._solve(one, part, places[first], standings, kernel)
        rest = uppers >= standings.goal
        rest[first] = False
        others = places[rest]
        if not len(others):
            return
        closer, _ = match_pairs(one, part.maps, torch.zeros_like(others), others, finish=False, phases=1)
        closer_uppers = _worth(closer.bounds, part.squares[others], kernel)
        self._solve(one, part, others[torch.minimum(closer_uppers, uppers[rest]) >= standings.goal], standings, kernel)

    def _solve(self, one: DeviceMaps, part: Part, places: Tensor, standings: _Standings, kernel: str) -> None:
        found, _ = match_pairs(one, part.maps, torch.zeros_like(places), places)
        worth, bounds = (_worth(each, part.squares[places], kernel) for each in (found.values, found.bounds))
        standings.enter(part.start + places.cpu().numpy(), worth, bounds)

    def _all_parts(self) -> Iterator[Part]:
        yield from self._parts
        for part in self._cut(self.resident, self.total):
            yield self._read(slice(*part))

    def _cut(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        for first in range(start, stop, self._step):
            yield first, min(first + self._step, stop)

    def _read(self, rows: slice) -> Part:
        maps = self._put(self._source.read(np.arange(rows.start, rows.stop)))
        return Part(start=rows.start, maps=maps, squares=_squares(maps))

    def _put(self, tokens: IntegerTokens | IntegerMaps) -> DeviceMaps:
        integers, scales = (torch.from_numpy(np.ascontiguousarray(array)) for array in (tokens.integers, tokens.scales))
        return DeviceMaps(tokens=integers.to(self._device), scales=scales.to(self._device))

    def _room(self) -> float:
        return torch.cuda.mem_get_info(self._device)[0] if self._device.type == "cuda" else _INTERPRETED_BYTES


def _squares(maps: DeviceMaps) -> Tensor:
    """Return the squared norm of each map, (n,) float64."""
    scales = _scales(maps)
    return torch.cat(
        [
            (_lengths(block) * scale.double()).square().sum(1)
            for block, scale in zip(torch.split(maps.tokens, _BLOCK), torch.split(scales, _BLOCK), strict=True)
        ]
    )


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


def _worth(products: Tensor, squares: Tensor, kernel: str) -> Tensor:
    """Turn inner products into numbers that are in the order of the scores."""
    if kernel == "linear":
        return products
    if kernel == "rbf":
        return 2 * products - squares
    return torch.where(squares > 0, products / squares.sqrt().clamp_min(torch.finfo(torch.float64).tiny), 0.0)
