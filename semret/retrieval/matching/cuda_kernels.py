"""Triton kernels that match batches of affinities exactly: one program per problem, prices and owners in registers.

The method is that of `semret.retrieval.matching.auction`: an auction with falling increments on the affinity in fixed
point (here int16, for a row is read a dozen times and reading is what takes the time); then, in float64 and on the
affinity as given, rows whose column is not their best are let go, and each is matched again along a shortest path of
reduced costs. A dual bound from the final prices comes with every matching.

Under ``TRITON_INTERPRET=1`` the same kernels run on the processor, slowly, for tests.
"""

from __future__ import annotations

import triton
import triton.language as tl

_PAD = tl.constexpr(1 << 29)
_LOW = tl.constexpr(-(1 << 30))
_INFINITE = tl.constexpr(float("inf"))

NAN, INFINITE = 1, 2
"""States of a problem that was not solved."""


@triton.jit
def _add(a_high, a_low, b_high, b_low):
    """Add two numbers of twice the length of float64 (Knuth's two-sum)."""
    high = a_high + b_high
    part = high - a_high
    low = (a_high - (high - part)) + (b_high - part) + a_low + b_low
    total = high + low
    return total, low - (total - high)


@triton.jit
def _row(A, i, m, line, R, column_scales, cols, valid, SCALED: tl.constexpr):
    """Return row `i` of an affinity in float64; the rows from `m` on are idle bidders, to whom each column is worth 0.

    Scaled entries are ``dot * (scale * scale)``, as `semret.retrieval.similarity.integer_maps` rounds them.
    """
    row = tl.load(A + i * line + cols, mask=valid & (i < m), other=0).to(tl.float64)
    if SCALED:
        row = row * (tl.load(R + i, mask=i < m, other=0.0).to(tl.float64) * column_scales)
    return row


@triton.jit
def _phase(Q, m, bidders, epsilon, p, W: tl.constexpr, BIDS: tl.constexpr, CAP: tl.constexpr):
    """Let every bidder win a column at prices `p` (W,) which rise; return prices, winners and the number of bids."""
    cols = tl.arange(0, W)
    owner = tl.full([W], -1, tl.int32)
    following, bidder, bids = 0, 0, 0
    while bidder < bidders:
        worth = tl.load(Q + bidder * W + cols, mask=(cols < W) & (bidder < m), other=0).to(tl.int32) - p
        best = tl.max(worth, 0)
        column = tl.min(tl.where(worth == best, cols, W), 0)
        hit = cols == column
        second = tl.max(tl.where(hit, _LOW, worth), 0)
        previous = tl.max(tl.where(hit, owner, -1), 0)
        raised = tl.max(tl.where(hit, p, _LOW), 0) + (best - second) + epsilon
        p = tl.where(hit, raised, p)
        owner = tl.where(hit, bidder, owner)
        bids += 1
        following = tl.where(previous < 0, following + 1, following)
        bidder = tl.where(previous < 0, following, previous)
        bidder = tl.where((bids > BIDS * bidders) | (raised > CAP), bidders, bidder)
    return p, owner, bids


@triton.jit
def match_kernel(
    A,
    R,
    C,
    R_OF,
    C_OF,
    M,
    N,
    SCRATCH,
    ASSIGNMENTS,
    VALUES,
    BOUNDS,
    SLACK,
    STATES,
    SCANS,
    rows,
    line,
    r_line,
    c_line,
    E0,
    E1,
    E2,
    E3,
    W: tl.constexpr,
    PHASES: tl.constexpr,
    SCALED: tl.constexpr,
    FINISH: tl.constexpr,
    LEVELS: tl.constexpr,
    BIDS: tl.constexpr,
):
    """Match one affinity: see `semret.retrieval.matching.cuda`, which calls this. Programs: problems.

    Parameters
    ----------
    A : pointer to (K, rows, line), float16, float32 or float64; int32 if SCALED
        Affinities, or inner products of integers.
    R, C : pointer to (any, r_line) and (any, c_line), float32 or float64
        Scales of the tokens, if SCALED.
    R_OF, C_OF : pointer to (K,), int64
        Which maps they are of.
    M, N : pointer to (K,), int32
        Rows and columns of each affinity that count, M <= N.
    SCRATCH : pointer to (K, rows, W), int16
        For the affinity in fixed point.
    ASSIGNMENTS : pointer to (K, rows), int64
        Written with FINISH.
    VALUES, BOUNDS, SLACK : pointer to (K,), float64
        Written; VALUES with FINISH alone.
    STATES : pointer to (K,), int32
        Written: 0, `NAN` or `INFINITE`.
    SCANS : pointer to (K, 2), int32
        Written: bids, and rows looked at afterwards.
    rows, line, r_line, c_line : int
    E0, E1, E2, E3 : int
        Increments of the phases.
    W : int
        Columns that a program holds: a power of two, at least all of N.
    PHASES : int
        How many of the increments count, from 1 to 4.
    SCALED, FINISH : bool
    LEVELS : int
        Steps of the fixed point, up to 32,767.
    BIDS : int
        Bids per row after which a phase ends.
    """
    problem = tl.program_id(0).to(tl.int64)
    A += problem * rows * line
    SCRATCH += problem * rows * W
    m, n = tl.load(M + problem), tl.load(N + problem)
    cols = tl.arange(0, W)
    valid = cols < n
    column_scales = tl.zeros([W], tl.float64)
    if SCALED:
        R += tl.load(R_OF + problem) * r_line
        column_scales = tl.load(C + tl.load(C_OF + problem) * c_line + cols, mask=valid, other=0.0).to(tl.float64)

    # The range, and whether all is finite: x - x is 0 for what is.
    zero = tl.sum(tl.zeros([W], tl.float64), 0)
    low, high, wrong = zero + _INFINITE, zero - _INFINITE, 0
    i = 0
    while i < m:
        row = _row(A, i, m, line, R, column_scales, cols, valid, SCALED)
        low = tl.minimum(low, tl.min(tl.where(valid, row, _INFINITE), 0))
        high = tl.maximum(high, tl.max(tl.where(valid, row, -_INFINITE), 0))
        nans = tl.max(tl.where(row != row, 1, 0), 0)
        infinite = tl.max(tl.where((row == _INFINITE) | (row == -_INFINITE), 2, 0), 0)
        wrong = tl.where(wrong == 1, 1, tl.where(nans == 1, 1, tl.maximum(wrong, infinite)))
        i += 1
    tl.store(STATES + problem, wrong)
    m = tl.where(wrong > 0, 0, m)

    # The auction, in fixed point. Few idle bidders may take part; many would only slow it down, and without them
    # prices may not carry over from one phase to the next: a column that stays unmatched must keep the lowest.
    p = tl.where(valid, 0, _PAD)
    owner = tl.full([W], -1, tl.int32)
    high, low = tl.where(wrong > 0, 0.0, high), tl.where(wrong > 0, 0.0, low)
    quantum = (high - low) / LEVELS
    bids = 0
    if (quantum > 0) & (n > 1) & (m > 0):
        scale = LEVELS / (high - low)
        i = 0
        while i < m:
            row = _row(A, i, m, line, R, column_scales, cols, valid, SCALED)
            tl.store(SCRATCH + i * W + cols, tl.where(valid, (row - low) * scale, 0.0).to(tl.int16))
            i += 1
        tl.debug_barrier()
        near_square = n - m <= n // 8
        bidders = tl.where(near_square, n, m)
        for phase in tl.static_range(PHASES):
            epsilon = E0 if phase == 0 else (E1 if phase == 1 else (E2 if phase == 2 else E3))
            if near_square | (phase == PHASES - 1):
                p, owner, more = _phase(SCRATCH, m, bidders, epsilon, p, W, BIDS, 64 * LEVELS)
                bids += more
    v = tl.where(valid, p.to(tl.float64) * quantum, _INFINITE)

    scans = 0
    if FINISH:
        # Columns of no real row get the lowest price, and all but as many as rows wait go to the idle bidders: that
        # makes the problem square.
        if m < n:
            lowest = tl.min(v, 0)
            free = valid & ((owner < 0) | (owner >= m))
            v = tl.where(free, lowest, v)
            idle = m + tl.cumsum(free.to(tl.int32), 0) - 1
            owner = tl.where(free, tl.where(idle < n, idle, -1), owner)
        # Pairs that are best at these prices stay; a row without one takes a free column that is, if there is any.
        i = 0
        while i < m:
            worth = _row(A, i, m, line, R, column_scales, cols, valid, SCALED) - v
            best = tl.max(worth, 0)
            owner = tl.where((owner == i) & (worth < best), -1, owner)
            has = tl.max(tl.where(owner == i, 1, 0), 0)
            column = tl.min(tl.where((worth == best) & (owner < 0) & valid, cols, W), 0)
            owner = tl.where((has == 0) & (cols == column), i, owner)
            scans += 1
            i += 1
        # Each of the others is matched along a shortest path (Dijkstra).
        start = 0
        while start < m:
            waits = tl.max(tl.where(owner == start, 1, 0), 0) == 0
            if waits:
                distance = tl.full([W], _INFINITE, tl.float64)
                final = tl.zeros([W], tl.float64)
                before = tl.full([W], -1, tl.int32)
                done = tl.where(valid, 0, 1)
                row_number, column, searching = start, -1, 1
                reached = zero
                while searching == 1:
                    worth = _row(A, row_number, m, line, R, column_scales, cols, valid, SCALED) - v
                    own = tl.max(tl.where(cols == column, worth, -_INFINITE), 0)
                    base = reached + tl.where(column < 0, tl.max(worth, 0), own)
                    x = tl.where(valid, base - worth, _INFINITE)
                    nearer = (x < distance) & (done == 0)
                    distance = tl.where(nearer, x, distance)
                    before = tl.where(nearer, column, before)
                    # All idle bidders are alike: the others reach nothing that the first one does not.
                    alike = (row_number >= m) & (owner >= m) & (done == 0)
                    final = tl.where(alike, reached, final)
                    done = tl.where(alike, 1, done)
                    waiting = tl.where(done == 0, distance, _INFINITE)
                    reached = tl.min(waiting, 0)
                    nearest = (waiting == reached) & (done == 0)
                    open_column = tl.min(tl.where(nearest & (owner < 0), cols, W), 0)
                    # Of columns at one distance, those that the last row led to come first: with many ties, going
                    # deep finds a free column after fewer rows than going through all of them in order.
                    recent = tl.min(tl.where(nearest & (before == column), cols, W), 0)
                    some = tl.where(recent < W, recent, tl.min(tl.where(nearest, cols, W), 0))
                    column = tl.where(open_column < W, open_column, some)
                    hit = cols == column
                    searching = tl.where(open_column < W, 0, 1)
                    closes = hit & (searching == 1)
                    final = tl.where(closes, reached, final)
                    done = tl.where(closes, 1, done)
                    row_number = tl.max(tl.where(hit, owner, -1), 0)
                    scans += 1
                v = tl.where((done == 1) & valid, v + (reached - final), v)
                previous = tl.max(tl.where(cols == column, before, -1), 0)
                while previous >= 0:
                    owner = tl.where(cols == column, tl.max(tl.where(cols == previous, owner, -1), 0), owner)
                    column = previous
                    previous = tl.max(tl.where(cols == column, before, -1), 0)
                owner = tl.where(cols == column, start, owner)
            start += 1
        paired = valid & (owner >= 0) & (owner < m)
        worth = tl.load(A + owner * line + cols, mask=paired, other=0).to(tl.float64)
        if SCALED:
            worth = worth * (tl.load(R + owner, mask=paired, other=0.0).to(tl.float64) * column_scales)
        total, rest = tl.reduce((worth, tl.zeros([W], tl.float64)), 0, _add)
        tl.store(VALUES + problem, total + rest)
        tl.store(ASSIGNMENTS + problem * rows + owner, cols, mask=paired)
    tl.store(SCANS + 2 * problem, bids)
    tl.store(SCANS + 2 * problem + 1, scans)

    # Every matching is worth at most the rows' best at these prices, and the prices, less those of columns left over.
    prices = tl.where(valid, v, 0.0)
    lowest = tl.min(v, 0)
    bound, rest = tl.reduce((prices, tl.zeros([W], tl.float64)), 0, _add)
    left = (n - m).to(tl.float64) * lowest
    bound, rest = _add(bound, rest, -left, 0.0)
    size = tl.sum(tl.abs(prices), 0) + tl.abs(left)
    i = 0
    while i < m:
        best = tl.max(_row(A, i, m, line, R, column_scales, cols, valid, SCALED) - v, 0)
        bound, rest = _add(bound, rest, best, 0.0)
        size += tl.abs(best)
        i += 1
    tl.store(BOUNDS + problem, bound + rest + size * 2.0**-49)
    tl.store(SLACK + problem, size * 2.0**-47)
