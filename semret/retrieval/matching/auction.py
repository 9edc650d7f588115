r"""Exact matching by an auction finished with shortest augmenting paths, and the bounds it yields on the way.

Rows bid for columns. At prices :math:`v`, row :math:`i` wants the column of largest :math:`A_{ij} - v_j`, and any
prices bound every matching (linear programming duality):

.. math:: \sum_i A_{i,\pi(i)} \le \sum_i \max_j (A_{ij} - v_j) + \sum_j v_j .

An auction (Bertsekas) with falling increments finds prices under which this nearly is an equation. It runs on the
affinity in fixed point, int32, where termination and ties need no thought and rows are scanned by vector
instructions. Its rounding does not matter: the prices are then taken to float64 and the affinity *as given*, rows whose
column is not their best there are let go, and each is matched again along a shortest path of reduced costs (Dijkstra,
as in Jonker and Volgenant). The result is optimal for the given affinity up to the rounding of float64, and the final
prices prove it.

References
----------
D. P. Bertsekas, "The auction algorithm: a distributed relaxation method for the assignment problem", 1988.
R. Jonker, A. Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems", 1987.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, FloatArray, IndexVector, require_finite
from semret.errors import ArgumentError
from semret.retrieval.matching.results import BatchMatching, relative_gaps
from semret.retrieval.native import Native
from semret.retrieval.native.threads import rows_of, run_chunks

EFFORTS = ("maxima", "sweep", "coarse", "fine")
"""What a bound may cost, cheapest first."""

_bound_many = Native("semret.retrieval.matching.bound_loops", "bound_many")
_auction_many = Native("semret.retrieval.matching.auction_loops", "auction_many")

_AUCTION_WORK = 16
"""How much longer an auction takes than reading an affinity once: threads share it out in smaller parts."""

_EPSILONS = {"coarse": (0.02,), "fine": (0.02, 0.004)}


class AuctionBatch:
    """Auctions of many affinities: ever tighter bounds of each, as far as is wanted, then the optimum.

    Prices carry over from one call to the next, so bounding first and solving later costs little more than solving.

    Parameters
    ----------
    affinities : ndarray of shape (K, Sq, Sd), float16, float32 or float64
        Larger is more alike. Not copied if float32 or float64, contiguous, Sq <= Sd and Sd a multiple of 16: do not
        change it meanwhile.
    threads : int or None
        Threads over the affinities; None takes all processors.
    """

    def __init__(self, affinities: FloatArray, *, threads: int | None = None) -> None:
        given = np.asarray(affinities)
        if given.dtype not in (np.float32, np.float64):
            given = given.astype(np.float32 if given.dtype == np.float16 else np.float64)
        self._given = given
        self._transposed = given.shape[1] > given.shape[2]
        wide = given.transpose(0, 2, 1) if self._transposed else given
        self._exponent = _safe_exponent(wide)
        if self._exponent:
            wide = np.ldexp(wide, -self._exponent)
        count, rows, self._columns = wide.shape
        padding = -self._columns % 16
        self._wide: FloatArray = _padded(wide, padding) if padding else np.ascontiguousarray(wide)
        self._threads = threads
        self._prices = np.zeros((count, self._wide.shape[2]), dtype=np.int32)
        self._progress = np.zeros(count, dtype=np.intp)
        self._assignments = np.zeros((count, rows), dtype=np.intp)
        self._values = np.zeros(count)
        self._slack = np.zeros(count)
        self._bounds = np.full(count, np.inf)

    def __len__(self) -> int:
        return len(self._wide)

    @property
    def bounds(self) -> Float64Array:
        """The smallest upper bounds found so far, (K,); infinity before the first call."""
        return self._in_units(self._bounds)

    def tighten(self, effort: str, rows: IndexVector | None = None) -> Float64Array:
        """Bound the values of all matchings from above with this effort.

        Parameters
        ----------
        effort : str
            ``maxima``: row maxima, and column maxima if square; ``sweep``: also one dual sweep; ``coarse``: one auction
            phase with increments of 2 % of the range; ``fine``: a second one of 0.4 %. What was done for an affinity
            is not done again.
        rows : ndarray of intp or None
            Which affinities; None stands for all.

        Returns
        -------
        ndarray of shape (len(rows),), float64
            Never larger than what an earlier call returned.

        Raises
        ------
        ArgumentError
            If there is no such effort.
        NonFiniteError
            If an affinity holds NaN or infinity.
        """
        if effort not in EFFORTS:
            raise ArgumentError(f"effort {effort!r} is unknown, expected one of {', '.join(EFFORTS)}")
        chosen = rows_of(len(self)) if rows is None else np.asarray(rows, dtype=np.intp)
        if effort in _EPSILONS:
            self._advance(chosen, _EPSILONS[effort], finish=False)
        else:
            self._simple(chosen, sweep=effort == "sweep")
        return self._in_units(self._bounds[chosen])

    def solve(self) -> BatchMatching:
        """Match all affinities to the optimum, from the prices that bounding them has left.

        Returns
        -------
        BatchMatching
            Of several optimal matchings, any.

        Raises
        ------
        NonFiniteError
            If an affinity holds NaN or infinity.
        """
        self._advance(rows_of(len(self)), schedule(self._columns), finish=True)
        values = self._in_units(self._values)
        bounds = np.maximum(self._in_units(self._bounds), values)
        gaps = relative_gaps(values, bounds, self._in_units(self._slack))
        return BatchMatching(
            assignments=self._as_given(self._assignments),
            values=values,
            bounds=bounds,
            gaps=gaps,
            exact=not gaps.any(),
            solver="auction",
        )

    def _simple(self, rows: IndexVector, *, sweep: bool) -> None:
        found = self._bounds.copy()

        def bound(part: IndexVector) -> bool:
            return bool(_bound_many(self._wide, self._columns, part, sweep, found, *self._scratch()))

        self._run(bound, rows)
        self._bounds = np.minimum(self._bounds, found)

    def _advance(self, rows: IndexVector, epsilons: tuple[float, ...], *, finish: bool) -> None:
        """Run the phases of `epsilons` that an affinity has not seen, then shortest paths if asked."""
        found = self._bounds.copy()
        for done in set(self._progress[rows].tolist()):
            due = rows[self._progress[rows] == done]
            if done >= len(epsilons) and not finish:
                continue
            # Shortest paths start from pairs, which only a phase makes: if all are done, the last one is repeated.
            phases = np.array(epsilons[min(done, len(epsilons) - 1) :])
            outcome = self._assignments, self._values, found, self._slack
            arguments = phases, self._prices, finish, *outcome
            self._run(partial(self._auction, arguments), due, _AUCTION_WORK)
            self._progress[due] = max(done, len(epsilons))
        self._bounds = np.minimum(self._bounds, found)

    def _auction(self, arguments: tuple[Any, ...], rows: IndexVector) -> bool:
        count, width = self._wide.shape[1:]
        quantised = np.empty((count + (count < self._columns), width), dtype=np.int32)
        return bool(_auction_many(self._wide, self._columns, rows, *arguments, quantised, *self._scratch()))

    def _scratch(self) -> tuple[Float64Array, NDArray[np.int64]]:
        """Return room for what the loops write on the way; each call has its own."""
        width = self._wide.shape[2]
        return np.empty((4, width)), np.empty((5, width), dtype=np.int64)

    def _run(self, work: Callable[[IndexVector], bool], rows: IndexVector, cost: int = 1) -> None:
        if len(rows) and not run_chunks(work, rows, cost * self._wide[0].size, self._threads):
            require_finite(self._given, "the affinity")

    def _in_units(self, numbers: Float64Array) -> Float64Array:
        return np.asarray(np.ldexp(numbers, self._exponent)) if self._exponent else numbers

    def _as_given(self, assignments: IndexVector) -> IndexVector:
        """Turn assignments of the wide affinity to those of the affinity as given."""
        if not self._transposed:
            return assignments
        count, matched = assignments.shape
        given: IndexVector = np.full((count, self._columns), -1, dtype=np.intp)
        np.put_along_axis(given, assignments, np.broadcast_to(np.arange(matched), assignments.shape), axis=1)
        return given


def _padded(affinities: FloatArray, padding: int) -> FloatArray:
    """Repeat the last column `padding` times."""
    count, rows, columns = affinities.shape
    padded: FloatArray = np.empty((count, rows, columns + padding), dtype=affinities.dtype)
    padded[:, :, :columns] = affinities
    padded[:, :, columns:] = affinities[:, :, -1:]
    return padded


def schedule(size: int) -> tuple[float, ...]:
    """Return the increments of the auction phases of an exact solve.

    Parameters
    ----------
    size : int
        The longer side of the affinity.

    Returns
    -------
    tuple of float
        As shares of the affinity's range, falling.
    """
    # Measured on feature maps: further phases cost small problems more than the paths they save.
    return (0.02, 0.004) if size < 128 else (0.01, 0.002, 0.0002, 0.00002)


def solve_exactly(affinities: FloatArray, *, threads: int | None = None) -> BatchMatching:
    """Match every affinity to the optimum.

    Parameters
    ----------
    affinities : ndarray of shape (K, Sq, Sd), float16, float32 or float64
        Larger is more alike.
    threads : int or None
        None takes all processors.

    Returns
    -------
    BatchMatching
        Of several optimal matchings, any.

    Raises
    ------
    NonFiniteError
        If an affinity holds NaN or infinity.

    Examples
    --------
    The best pair, 9, is given up: 9 + 1 + 2 = 12 and 8 + 9 + 2 = 19.

    >>> found = solve_exactly(np.array([[[9.0, 8.0, 0.0], [9.0, 1.0, 1.0], [2.0, 0.0, 2.0]]]))
    >>> found.assignments.tolist(), found.values.tolist(), found.bounds.round(9).tolist()
    ([[1, 0, 2]], [19.0], [19.0])
    """
    return AuctionBatch(affinities, threads=threads).solve()


def _safe_exponent(affinities: FloatArray) -> int:
    """Return the power of two to divide by so that float64 sums and differences neither overflow nor underflow."""
    if affinities.dtype == np.float32 or affinities.size == 0:
        return 0
    largest = max(abs(float(affinities.max())), abs(float(affinities.min())))
    if not np.isfinite(largest) or largest == 0:
        return 0
    exponent = int(np.frexp(largest)[1])
    return exponent if abs(exponent) > 400 else 0
