"""The Triton kernel that ends a matching: what an auction left open, along shortest paths, and the proof.

In float64 and on the affinity as given, rows whose column is not their best are let go, and each is matched again along
a shortest path of reduced costs. A dual bound from the final prices comes with every matching.

A GPU has no minimum of float64 across threads, but one instruction for that of int32, hence `largest` and `least`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from semret.retrieval.matching.cuda_auction_kernels import load_entries, load_row_scales

_INFINITE = tl.constexpr(float("inf"))


@triton.jit
def _add(a_high, a_low, b_high, b_low):
    """Add two numbers of twice the length of float64 (Knuth's two-sum)."""
    high = a_high + b_high
    part = high - a_high
    low = (a_high - (high - part)) + (b_high - part) + a_low + b_low
    total = high + low
    return total, low - (total - high)


@triton.jit
def _ordered(bits):
    """Return the bits (int64) of float64 numbers so that they are ordered as the numbers are; and back again."""
    return bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF)


@triton.jit
def _halves(bits):
    """Return the upper and the lower half of int64, int32 that are ordered by themselves."""
    return (bits >> 32).to(tl.int32), (bits ^ 0x80000000).to(tl.int32)


@triton.jit
def _whole(upper, lower):
    """Return the int64 of these `_halves`."""
    return (upper.to(tl.int64) << 32) + (lower.to(tl.int64) + 0x80000000)


@triton.jit
def _largest(x):
    """Return the largest of float64 numbers of shape (W,), none of them NaN."""
    upper, lower = _halves(_ordered(x.to(tl.int64, bitcast=True)))
    top = tl.max(upper, 0)
    rest = tl.max(tl.where(upper == top, lower, -0x80000000), 0)
    return _ordered(_whole(top, rest)).to(tl.float64, bitcast=True)


@triton.jit
def _least(x):
    """Return the smallest of float64 numbers of shape (W,), none of them NaN."""
    upper, lower = _halves(_ordered(x.to(tl.int64, bitcast=True)))
    top = tl.min(upper, 0)
    rest = tl.min(tl.where(upper == top, lower, 0x7FFFFFFF), 0)
    return _ordered(_whole(top, rest)).to(tl.float64, bitcast=True)


@triton.jit
def _only(x, hit):
    """Return the number of `x` (W,), float64, at the one place where `hit`."""
    bits = x.to(tl.int64, bitcast=True)
    upper = tl.sum(tl.where(hit, (bits >> 32).to(tl.int32), 0), 0)
    lower = tl.sum(tl.where(hit, (bits ^ 0x80000000).to(tl.int32), 0), 0)
    return _whole(upper, lower).to(tl.float64, bitcast=True)


@triton.jit
def _row(A, i, m, cols, valid, line, R, column_scales, SCALED: tl.constexpr):
    """Return row `i` of an affinity in float64; those from `m` on are idle bidders, to whom each column is worth 0."""
    row_scale = load_row_scales(R, i, i < m, SCALED)
    return load_entries(A, i, cols, valid & (i < m), line, row_scale, column_scales, SCALED)


@triton.jit
def path_kernel(
    A,
    R,
    C,
    R_OF,
    C_OF,
    M,
    N,
    QUANTA,
    STATES,
    PRICES,
    OWNERS,
    ASSIGNMENTS,
    VALUES,
    BOUNDS,
    SLACK,
    SCANS,
    rows,
    line,
    r_line,
    c_line,
    W: tl.constexpr,
    SCALED: tl.constexpr,
    FINISH: tl.constexpr,
):
    """Match what an auction left open, and bound the affinity by the final prices. Programs: problems.

    Parameters
    ----------
    A, R, C, R_OF, C_OF, M, N, QUANTA, STATES, rows, line, r_line, c_line, W, SCALED
        See `semret.retrieval.matching.cuda_auction_kernels.fixed_point_kernel`, which wrote QUANTA and STATES.
    PRICES, OWNERS : pointer to (K, W), int32
        See `semret.retrieval.matching.cuda_auction_kernels.auction_kernel`, which wrote them.
    ASSIGNMENTS : pointer to (K, rows), int64
        Written with FINISH.
    VALUES, BOUNDS, SLACK : pointer to (K,), float64
        Written; VALUES with FINISH alone.
    SCANS : pointer to (K, 2), int32
        Written, the second: rows looked at.
    FINISH : bool
        Whether to match; otherwise the affinity is only bounded.
    """
    problem = tl.program_id(0).to(tl.int64)
    A += problem * rows * line
    m, n = tl.load(M + problem), tl.load(N + problem)
    m = tl.where(tl.load(STATES + problem) > 0, 0, m)
    cols = tl.arange(0, W)
    valid = cols < n
    column_scales = tl.zeros([W], tl.float64)
    if SCALED:
        R += tl.load(R_OF + problem) * r_line
        column_scales = tl.load(C + tl.load(C_OF + problem) * c_line + cols, mask=valid, other=0.0).to(tl.float64)
    quantum = tl.load(QUANTA + problem)
    v = tl.where(valid, tl.load(PRICES + problem * W + cols).to(tl.float64) * quantum, _INFINITE)
    owner = tl.load(OWNERS + problem * W + cols)

    scans = 0
    if FINISH:
        # Columns of no real row get the lowest price, and all but as many as rows wait go to the idle bidders: that
        # makes the problem square.
        if m < n:
            lowest = _least(v)
            free = valid & ((owner < 0) | (owner >= m))
            v = tl.where(free, lowest, v)
            idle = m + tl.cumsum(free.to(tl.int32), 0) - 1
            owner = tl.where(free, tl.where(idle < n, idle, -1), owner)
        # Pairs that are best at these prices stay; a row without one takes a free column that is, if there is any.
        i = 0
        while i < m:
            worth = _row(A, i, m, cols, valid, line, R, column_scales, SCALED) - v
            best = worth == _largest(worth)
            own = owner == i
            if tl.max(tl.where(own & best, 1, 0), 0) == 0:
                owner = tl.where(own, -1, owner)
                column = tl.min(tl.where(best & (owner < 0), cols, W), 0)
                owner = tl.where(cols == column, i, owner)
            scans += 1
            i += 1
        # Each of the others is matched along a shortest path (Dijkstra).
        start = 0
        while start < m:
            if tl.max(tl.where(owner == start, 1, 0), 0) == 0:
                distance = tl.where(valid, tl.full([W], _INFINITE, tl.float64), 0.0)
                before = tl.full([W], -1, tl.int32)
                done = tl.where(valid, 0, 1)
                row_number, column, searching = start, -1, 1
                reached = quantum * 0.0
                while searching == 1:
                    worth = _row(A, row_number, m, cols, valid, line, R, column_scales, SCALED) - v
                    if column < 0:  # noqa: SIM108 - Triton computes both sides of a conditional expression
                        base = _largest(worth)
                    else:
                        base = reached + _only(worth, cols == column)
                    x = base - worth
                    nearer = (x < distance) & (done == 0)
                    distance = tl.where(nearer, x, distance)
                    before = tl.where(nearer, column, before)
                    # All idle bidders are alike: the others reach nothing that the first one does not.
                    if row_number >= m:
                        alike = (owner >= m) & (done == 0)
                        distance = tl.where(alike, reached, distance)
                        done = tl.where(alike, 1, done)
                    waiting = tl.where(done == 0, distance, _INFINITE)
                    reached = _least(waiting)
                    # Of the nearest a free column ends the search. Of the others those that this row led to come first:
                    # with many ties, going deep finds a free column after fewer rows than going through them in order.
                    rank = tl.where(owner < 0, cols, tl.where(before == column, W + cols, 2 * W + cols))
                    first = tl.min(tl.where(waiting == reached, rank, 3 * W), 0)
                    searching = tl.where(first < W, 0, 1)
                    column = first % W
                    hit = cols == column
                    done = tl.where(hit & (searching == 1), 1, done)
                    row_number = tl.max(tl.where(hit, owner, -1), 0)
                    scans += 1
                v = tl.where((done == 1) & valid, v + (reached - distance), v)
                previous = tl.max(tl.where(cols == column, before, -1), 0)
                while previous >= 0:
                    owner = tl.where(cols == column, tl.max(tl.where(cols == previous, owner, -1), 0), owner)
                    column = previous
                    previous = tl.max(tl.where(cols == column, before, -1), 0)
                owner = tl.where(cols == column, start, owner)
            start += 1
        paired = valid & (owner >= 0) & (owner < m)
        scales = load_row_scales(R, owner, paired, SCALED)
        worth = load_entries(A, owner, cols, paired, line, scales, column_scales, SCALED)
        total, rest = tl.reduce((worth, tl.zeros([W], tl.float64)), 0, _add)
        tl.store(VALUES + problem, total + rest)
        tl.store(ASSIGNMENTS + problem * rows + owner, cols, mask=paired)
    tl.store(SCANS + 2 * problem + 1, scans)

    # Every matching is worth at most the rows' best at these prices, and the prices, less those of columns left over.
    prices = tl.where(valid, v, 0.0)
    bound, rest = tl.reduce((prices, tl.zeros([W], tl.float64)), 0, _add)
    left = (n - m).to(tl.float64) * _least(v)
    bound, rest = _add(bound, rest, -left, 0.0)
    size = tl.sum(tl.abs(prices), 0) + tl.abs(left)
    i = 0
    while i < m:
        best = _largest(_row(A, i, m, cols, valid, line, R, column_scales, SCALED) - v)
        bound, rest = _add(bound, rest, best, 0.0)
        size += tl.abs(best)
        i += 1
    tl.store(BOUNDS + problem, bound + rest + size * 2.0**-49)
    tl.store(SLACK + problem, size * 2.0**-47)
