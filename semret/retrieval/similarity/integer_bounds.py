r"""Bounds of all matchings of integer maps, from their exact products: what rules candidates out.

The products are brought to whole steps: the longest token of a map has `SIDE` = 2048 of them, so no affinity has more
than :math:`2^{22}`. From there on everything is a whole number, so a bound of the affinity in steps errs by nothing
itself. What remains is the way into steps. A step is formed in float32 as ``dot * a * b``, where the product is
exact to one rounding of relative size :math:`u = 2^{-24}` (long tokens), both factors are rounded once, and the two
multiplications once each: with :math:`|dot\, a\, b| \le 2^{22}`, five roundings move it by less than
:math:`5.1 u \cdot 2^{22} < 1.3` steps. Cutting the fraction off moves it by less than one more; a factor that is too
small for float32 by far less than one. So every entry is known to `ROUNDING` = 3 steps, and a matching of ``m`` pairs
to ``3 m``: about a millionth of the cosine. Nothing depends on how coarsely the tokens were quantised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, IndexVector
from semret.retrieval.native import Native
from semret.retrieval.native.panels import byte_scratch
from semret.retrieval.native.threads import in_turns
from semret.retrieval.similarity.integer_maps import IntegerMaps

_LOOPS = "semret.retrieval.similarity.integer_loops"
_level_many = Native(_LOOPS, "level_many")
_bound_in_steps = Native(_LOOPS, "bound_in_steps")

SIDE, ROUNDING = 2048.0, 3
"""Steps of the longest token, and what an affinity in whole steps lacks at most, in steps."""

PHASES = (0.02, 0.004)
"""Increments of the auction phases, as shares of an affinity's range."""

FAR_PHASE = 0.001
"""The one phase of maps of very different size, where few compete and prices cannot carry over."""

_NEVER = np.int64(-(2**62))


@dataclass(frozen=True, kw_only=True)
class Levelled:
    """Integer maps in steps of their longest token; many queries can share them.

    Attributes
    ----------
    maps : IntegerMaps
    steps : ndarray of shape (n, S), float32
        Scale of each token in steps.
    longest, squared_norms : ndarray of shape (n,), float64
        Norm of the longest token; squared norm of the map, within ``S * 2 ** -53`` of the true one, relatively.
    """

    maps: IntegerMaps
    steps: Float32Array
    longest: Float64Array
    squared_norms: Float64Array

    def __len__(self) -> int:
        return len(self.maps)


def level(maps: IntegerMaps) -> Levelled:
    """Express maps in steps of their longest token.

    Parameters
    ----------
    maps : IntegerMaps

    Returns
    -------
    Levelled
    """
    steps = np.empty(maps.scales.shape, dtype=np.float32)
    longest, norms = np.empty(len(maps)), np.empty(len(maps))
    _level_many(maps.scales, maps.squares, steps, longest, norms)
    return Levelled(maps=maps, steps=steps, longest=longest, squared_norms=norms)


class StepBounds:
    """Upper and lower bounds of the value of the best matching of one map with each of many.

    Parameters
    ----------
    query : Levelled of length 1
    candidates : Levelled of length n
    threads : int or None
        None takes all processors.

    Attributes
    ----------
    uppers, lowers : ndarray of shape (n,), int64
        In whole steps, rounding not included.
    units : ndarray of shape (n,), float64
        What a step is worth; 0 where a map is all zeros.
    """

    def __init__(self, query: Levelled, candidates: Levelled, *, threads: int | None = None) -> None:
        self.query, self.candidates, self.threads = query, candidates, threads
        self.uppers = np.full(len(candidates), 2**62, dtype=np.int64)
        self.lowers = np.full(len(candidates), _NEVER, dtype=np.int64)
        self.units: Float64Array = query.longest[0] / SIDE * (candidates.longest / SIDE)
        self._sides = query.maps.shape[1], candidates.maps.shape[1]
        self._width = max(-(-max(self._sides) // 16) * 16, min(self._sides))
        # Phases that were run and the affinities' ranges; prices after them, where a further phase may go on from them.
        self._begun = np.full(len(candidates), -1, dtype=np.int64), np.zeros(len(candidates), dtype=np.int64)
        self._kept = np.empty((0, self._width), dtype=np.int32)

    @property
    def rounding(self) -> int:
        """What the value of any matching in steps lacks of the true one at most, in steps."""
        return ROUNDING * min(self._sides)

    def tighten(self, chosen: IndexVector, phases: int, wanted: Float64Array | None = None) -> None:
        """Bound some candidates by a dual sweep, and by auction phases where that is not enough.

        Parameters
        ----------
        chosen : ndarray of intp
        phases : int
            How many of `PHASES` may be run.
        wanted : ndarray of shape (n,), float64, or None
            Values below which an upper bound is as good as any; None runs all phases.
        """
        goals = np.full(len(self.uppers), _NEVER) if wanted is None else self._in_steps(wanted)
        short, long = sorted(self._sides)
        near_square = long - short <= long // 8
        epsilons = np.array(PHASES[:phases] if near_square else [FAR_PHASE][:phases])
        maps, (panels, offsets) = self.candidates.maps, self.query.maps.panels

        if len(epsilons) and near_square and not len(self._kept):
            self._kept = np.empty((len(self.uppers), self._width), dtype=np.int32)

        def bound(counter: NDArray[np.int64]) -> None:
            one, many = (panels, offsets, self.query.steps[0]), (maps.integers, self.candidates.steps)
            outcome = goals, self.uppers, self.lowers, *self._begun, self._kept
            _bound_in_steps(counter, *many, *one, chosen, epsilons, *outcome, *self._scratch())

        in_turns(bound, len(chosen), self.threads)

    def values(self, chosen: IndexVector) -> tuple[Float64Array, Float64Array]:
        """Return what the best matchings of some candidates are worth at most and at least, rounding included.

        Parameters
        ----------
        chosen : ndarray of intp

        Returns
        -------
        uppers, lowers : ndarray of shape (len(chosen),), float64
        """
        units = self.units[chosen]
        return (self.uppers[chosen] + self.rounding) * units, (self.lowers[chosen] - self.rounding) * units

    def _in_steps(self, values: Float64Array) -> NDArray[np.int64]:
        """Return values in whole steps, rounding allowed for; where a step is worth nothing, all are reached."""
        steps = np.divide(values, self.units, out=np.full(len(values), 0.0), where=self.units > 0)
        return np.asarray((np.clip(steps, -(2.0**60), 2.0**60) - self.rounding).astype(np.int64))

    def _scratch(self) -> tuple[NDArray[np.signedinteger], ...]:
        short, long = sorted(self._sides)
        width = -(-long // 16) * 16
        prices, waits = np.empty((2, self._width), dtype=np.int32), np.empty((2, width), dtype=np.int64)
        return np.empty((short + 1, width), dtype=np.int32), prices, waits, *byte_scratch(self.query.maps.shape[2])
