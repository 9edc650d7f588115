"""Compiled loops of the exact solver: the auction, and the shortest paths that finish it.

Every loop over columns is branch-free, so that LLVM turns it into vector instructions.

Affinities come with at least as many columns as rows, and padded to a multiple of 16 columns by repetition of the last
one; `n` counts the real columns. Prices of padding are infinite (in int32, its affinities are very low), so it is never
wanted.
"""

from __future__ import annotations

import numpy as np

from semret.arrays import Float64Array, FloatArray
from semret.retrieval.matching.bound_loops import dual_bound
from semret.retrieval.matching.float_keys import HIGHEST, UNIT, IntArray, float_of, key, least, row_max, value_range
from semret.retrieval.native.compiler import compiled
from semret.retrieval.native.scratch import alone

LEVELS = 1 << 22
"""Steps into which the range of an affinity is cut for the auction."""

PRICE_CAP = 1 << 28
"""An auction stops when a price gets here: 64 ranges, far above any useful price and far below the limit of int32."""

BIDS_PER_ROW = 64
"""An auction phase stops after so many bids per row: shortest paths finish what a price war would prolong."""

_LOWEST32 = np.int32(-(2**31) + 1)
_HIGHEST32 = np.int32(2**31 - 1)
_PAD = np.int32(-PRICE_CAP)


@compiled
def _quantise(A: FloatArray, n: int, low: float, scale: float, Q: IntArray) -> None:
    """Fill the first rows of `Q` (rows, width) with ``(A - low) * scale``; further rows are 0, padding is _PAD."""
    m, width = A.shape
    for i in range(m):
        for j in range(width):
            Q[i, j] = np.int32((np.float64(A[i, j]) - low) * scale)
    Q[m:, :n] = 0
    Q[:, n:] = _PAD


@compiled
def auction_phase(Q: IntArray, p: IntArray, bidders: int, epsilon: int, owner: IntArray, waiting: IntArray) -> None:
    """Let every bidder win a column at prices which rise; bidder ``i`` values by row ``i``.

    Parameters
    ----------
    Q : array of shape (m, width), int32
        Bidders beyond the last row share that row.
    p : array of shape (width,), int32
        Prices; where the phase starts, and left behind.
    bidders : int
    epsilon : int
        What a price rises by at least, at least 1.
    owner : array of shape (width,), int64
        Written: the winner of each column, -1 where there is none.
    waiting : array of shape (at least bidders,), int64
        Scratch.
    """
    n = p.shape[0]
    last = Q.shape[0] - 1
    owner[:] = -1
    for i in range(bidders):
        waiting[i] = bidders - 1 - i
    count, bids = bidders, 0
    while count > 0:
        count -= 1
        i = waiting[count]
        while i >= 0:
            row = min(i, last)
            best = _LOWEST32
            for j in range(n):
                best = max(best, np.int32(Q[row, j] - p[j]))
            column = _HIGHEST32
            for j in range(n):
                column = min(column, np.int32(j) if np.int32(Q[row, j] - p[j]) == best else _HIGHEST32)
            second = _LOWEST32
            for j in range(n):
                second = max(second, np.int32(Q[row, j] - p[j]) if np.int32(j) != column else _LOWEST32)
            p[column] = np.int32(p[column] + (best - second) + epsilon)
            i, owner[column] = owner[column], i
            bids += 1
            if p[column] > PRICE_CAP or bids > BIDS_PER_ROW * bidders:
                return


@compiled
def _settle(A: FloatArray, n: int, v: Float64Array, owner: IntArray, waiting: IntArray, mate: IntArray) -> int:
    """Keep the auction's pairs that are best at prices `v` (width,) in float64; the others wait. Return their number.

    Columns of no real row get the lowest price; all but as many as rows wait belong to idle bidders, number ``m`` and
    above, whose affinity with every column is 0: they stand for columns that stay unmatched, and make the problem
    square.
    """
    m = A.shape[0]
    mate[:m] = -1
    for j in range(n):
        if 0 <= owner[j] < m:
            mate[owner[j]] = j
    if m < n:
        lowest = least(v, n)
        idle = m
        for j in range(n):
            if owner[j] < 0 or owner[j] >= m:
                v[j] = lowest
                owner[j] = idle if idle < n else -1
                idle += 1
    count = 0
    for i in range(m):
        j = mate[i]
        if j < 0:
            waiting[count] = i
            count += 1
        elif key(np.float64(A[i, j]) - v[j]) != row_max(A, v, i):
            owner[j] = -1
            waiting[count] = i
            count += 1
    return count


@compiled
def _augment(
    A: FloatArray,
    v: Float64Array,
    owner: IntArray,
    waiting: IntArray,
    count: int,
    floats: Float64Array,
    integers: IntArray,
) -> None:
    """Match the `count` waiting rows along shortest paths of reduced costs (Dijkstra), adjusting prices `v`.

    A finished column gets infinite distance and price: the relaxation then cannot touch it, and needs no mask.
    """
    m, width = A.shape
    distance, price, final = alone(floats[0]), alone(floats[1]), alone(floats[2])
    before, finished = alone(integers[0]), alone(integers[1])
    for t in range(count):
        start = waiting[t]
        distance[:] = np.inf
        for k in range(width):
            price[k] = v[k]
        finished_count, row, column = 0, start, np.int64(-1)
        idle_seen = False
        base = float_of(row_max(A, v, start))
        reached = 0.0
        while True:
            nearest = HIGHEST
            if row < m:
                for k in range(width):
                    x = base - (np.float64(A[row, k]) - price[k])
                    old = distance[k]
                    distance[k] = x if x < old else old
                    before[k] = column if x < old else before[k]
                    nearest = min(nearest, key(distance[k]))
            else:
                for k in range(width):
                    x = base + price[k]
                    old = distance[k]
                    distance[k] = x if x < old else old
                    before[k] = column if x < old else before[k]
                if not idle_seen:
                    # All idle bidders are alike: the others reach nothing that the first one does not.
                    idle_seen = True
                    for k in range(width):
                        if owner[k] >= m and k != column:
                            final[k] = reached
                            distance[k] = np.inf
                            price[k] = np.inf
                            finished[finished_count] = k
                            finished_count += 1
                for k in range(width):
                    nearest = min(nearest, key(distance[k]))
            choice = np.int64(2 * width)
            for k in range(width):
                candidate = np.int64(k) if owner[k] < 0 else np.int64(k + width)
                choice = min(choice, candidate if key(distance[k]) == nearest else np.int64(2 * width))
            reached = float_of(nearest)
            column = choice if choice < width else choice - width
            if owner[column] < 0:
                break
            final[column] = reached
            distance[column] = np.inf
            price[column] = np.inf
            finished[finished_count] = column
            finished_count += 1
            row = owner[column]
            base = reached + (np.float64(A[row, column]) - v[column]) if row < m else reached - v[column]
        for k in range(finished_count):
            v[finished[k]] += reached - final[finished[k]]
        while before[column] >= 0:
            owner[column] = owner[before[column]]
            column = before[column]
        owner[column] = start


@compiled
def auction_many(
    As: FloatArray,
    n: int,
    rows: IntArray,
    epsilons: Float64Array,
    prices: IntArray,
    finish: bool,
    assignments: IntArray,
    values: Float64Array,
    bounds: Float64Array,
    slack: Float64Array,
    Q: IntArray,
    floats: Float64Array,
    integers: IntArray,
) -> bool:
    """Run auction phases on affinities, and finish by shortest paths if asked.

    Parameters
    ----------
    As : array of shape (K, m, width), float32 or float64
    n : int
        Real columns, at least m.
    rows : array of shape (any,)
        The affinities to work on.
    epsilons : array of shape (phases,), float64
        Phases to run, as shares of the range of an affinity; far from square, where prices cannot carry over, only the
        last is.
    prices : array of shape (K, width), int32
        In steps of range / LEVELS; where phases start, and left behind.
    finish : bool
        Whether to solve to the optimum.
    assignments, values : array of shape (K, m), and (K,), float64
        Written if `finish`.
    bounds, slack : array of shape (K,), float64
        Written: upper bound, and what rounding may add to its difference from the optimum.
    Q : array of shape (m, width), or (m + 1, width) if m < n, int32
        Scratch.
    floats, integers : array of shape (4, width), float64, and (5, width), int64
        Scratch.

    Returns
    -------
    bool
        False, with results unfinished, if a value is not finite.
    """
    m = As.shape[1]
    # Few idle bidders may take part in the auction; many would only slow it down.
    near_square = n - m <= n // 8
    bidders = n if near_square else m
    owner, waiting, mate = alone(integers[0]), alone(integers[1]), integers[2]
    v, Q = alone(floats[0]), alone(Q)
    v[:] = np.inf
    for t in rows:
        A, p = As[t], prices[t]
        low, high = value_range(A)
        if np.isnan(low):
            return False
        quantum = (high - low) / LEVELS
        owner[:] = -1
        if quantum > 0 and n > 1 and len(epsilons) > 0:
            _quantise(A, n, low, LEVELS / (high - low), Q)
            first = 0
            if not near_square:
                # Prices may not carry over: a column that stays unmatched must keep the lowest.
                p[:] = 0
                first = len(epsilons) - 1
            for epsilon in epsilons[first:]:
                auction_phase(Q, p, bidders, int(epsilon * LEVELS) + 1, owner, waiting)
        for j in range(n):
            v[j] = p[j] * quantum
        if finish:
            count = _settle(A, n, v, owner, waiting, mate)
            _augment(A, v, owner, waiting, count, floats[1:], integers[3:])
            values[t] = _assign(A, n, owner, assignments[t])
        bound, size = dual_bound(A, n, v)
        bounds[t] = bound
        slack[t] = 64 * UNIT * size
    return True


@compiled
def _assign(A: FloatArray, n: int, owner: IntArray, assignment: IntArray) -> float:
    """Write the column of each row; return the matched sum."""
    m = A.shape[0]
    for j in range(n):
        if 0 <= owner[j] < m:
            assignment[owner[j]] = j
    value: float = _matched_sum(A, assignment)
    return value


@compiled
def _matched_sum(A: FloatArray, assignment: IntArray) -> float:
    """Return the compensated float64 sum of the matched entries of `A` (m, n); -1 in `assignment` (m,) adds nothing."""
    total, lost = 0.0, 0.0
    for i in range(A.shape[0]):
        if assignment[i] >= 0:
            x = np.float64(A[i, assignment[i]])
            y = total + x
            lost += (total - y) + x if abs(total) >= abs(x) else (x - y) + total
            total = y
    return total + lost


@compiled
def matched_sums(As: FloatArray, assignments: IntArray, values: Float64Array) -> None:
    """Sum what assignments match, compensated, in float64.

    Parameters
    ----------
    As : array of shape (K, m, n), float32 or float64
    assignments : array of shape (K, m)
        The column of each row; -1 adds nothing.
    values : array of shape (K,), float64
        Written.
    """
    for t in range(As.shape[0]):
        values[t] = _matched_sum(As[t], assignments[t])
