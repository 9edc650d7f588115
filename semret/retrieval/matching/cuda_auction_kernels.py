"""Triton kernels of the auction: affinities in fixed point, and the bidding on them. One program per problem.

The method is that of `semret.retrieval.matching.auction`: an auction with falling increments, here on int16, for a row
is read a dozen times and reading is what takes the time. What it leaves open is done by
`semret.retrieval.matching.cuda_path_kernels`. They are two kernels because an auction needs half of the registers, so
that twice as many run at once and wait for memory together.

Under ``TRITON_INTERPRET=1`` the same kernels run on the processor, slowly, for tests.
"""

from __future__ import annotations

import triton
import triton.language as tl

_INFINITE = tl.constexpr(float("inf"))
_NO_KEY = tl.constexpr(-(1 << 31))

NAN, INFINITE = 1, 2
"""States of a problem that was not solved."""


@triton.jit
def load_row_scales(R, i, there, SCALED: tl.constexpr):
    """Return the scales of rows in float64.

    Parameters
    ----------
    R : pointer to (rows,), float32 or float64
        Read if SCALED.
    i : int, or block of int32
        Rows.
    there : bool, or block like `i`
        Where there is none, the scale is 0.
    SCALED : bool

    Returns
    -------
    float or block like `i`, float64
        0 if not SCALED.
    """
    scales = 0.0
    if SCALED:
        scales = tl.load(R + i, mask=there, other=0.0).to(tl.float64)
    return scales


@triton.jit
def load_entries(A, i, cols, there, line, row_scales, column_scales, SCALED: tl.constexpr):
    """Return entries of an affinity in float64.

    Parameters
    ----------
    A, line, SCALED
        See `fixed_point_kernel`; A is where the affinity begins.
    i, cols : int or block of int32, block of int32
        Rows and columns, which broadcast.
    there : block of bool
        Where there is none, the entry is 0.
    row_scales, column_scales : float64
        What entries are multiplied with if SCALED.

    Returns
    -------
    block of float64
        Scaled entries are ``dot * (scale * scale)``, as `semret.retrieval.similarity.integer_maps` rounds them.
    """
    entries = tl.load(A + i * line + cols, mask=there, other=0).to(tl.float64)
    if SCALED:
        entries = entries * (row_scales * column_scales)
    return entries


@triton.jit
def _tile(A, start, m, n, cols, line, R, column_scales, TILE: tl.constexpr, SCALED: tl.constexpr):
    """Return some rows of an affinity in float64, their numbers, and which of the entries count."""
    i = start + tl.arange(0, TILE)[:, None]
    there = (i < m) & (cols < n)
    row_scales = load_row_scales(R, i, i < m, SCALED)
    return i, there, load_entries(A, i, cols, there, line, row_scales, column_scales, SCALED)


@triton.jit
def fixed_point_kernel(
    A,
    R,
    C,
    R_OF,
    C_OF,
    M,
    N,
    SCRATCH,
    QUANTA,
    STATES,
    PRICES,
    rows,
    line,
    r_line,
    c_line,
    W: tl.constexpr,
    TILE: tl.constexpr,
    SCALED: tl.constexpr,
    LEVELS: tl.constexpr,
):
    """Write an affinity in fixed point, and prices to begin with; tell whether it is finite. Programs: problems.

    An auction that begins with each column's mean, less the lowest mean, saves 11 to 35 bids in a hundred on features,
    where some columns are like all rows; where columns do not differ so it costs a few (``docs/adr``).

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
        Written: steps above the lowest entry, from 0 to LEVELS; 0 beyond the columns that count. Not written where a
        step is worth nothing.
    QUANTA : pointer to (K,), float64
        Written: what a step is worth; 0 where all entries are alike, or one is not finite.
    STATES : pointer to (K,), int32
        Written: 0, `NAN` or `INFINITE`.
    PRICES : pointer to (K, W), int32
        Written: steps; 0 for columns that do not count, and for all unless the problem is `_near_square`.
    rows, line, r_line, c_line : int
    W, TILE : int
        Columns that a program holds, at least all of N, and rows taken at a time: powers of two.
    SCALED : bool
    LEVELS : int
        Up to 32,767.
    """
    problem = tl.program_id(0).to(tl.int64)
    A += problem * rows * line
    SCRATCH += problem * rows * W
    m, n = tl.load(M + problem), tl.load(N + problem)
    cols = tl.arange(0, W)[None, :]
    column_scales = tl.zeros([1, W], tl.float64)
    if SCALED:
        R += tl.load(R_OF + problem) * r_line
        column_scales = tl.load(C + tl.load(C_OF + problem) * c_line + cols, mask=cols < n, other=0.0).to(tl.float64)

    lows = tl.full([TILE, W], _INFINITE, tl.float64)
    highs = tl.full([TILE, W], -_INFINITE, tl.float64)
    nans = tl.zeros([TILE, W], tl.int32)
    start = 0
    while start < m:
        _, there, entries = _tile(A, start, m, n, cols, line, R, column_scales, TILE, SCALED)
        lows = tl.where(there & (entries < lows), entries, lows)
        highs = tl.where(there & (entries > highs), entries, highs)
        nans = tl.where(entries != entries, 1, nans)
        start += TILE
    low, high = tl.min(tl.min(lows, 1), 0), tl.max(tl.max(highs, 1), 0)
    nan = tl.max(tl.max(nans, 1), 0)
    infinite = (low == -_INFINITE) | (high == _INFINITE)
    wrong = tl.where(nan == 1, 1, tl.where(infinite, 2, 0))
    low, high = tl.where(wrong > 0, 0.0, low), tl.where(wrong > 0, 0.0, high)
    tl.store(STATES + problem, wrong)
    quantum = (high - low) / LEVELS
    tl.store(QUANTA + problem, quantum)

    sums = tl.zeros([TILE, W], tl.int32)
    if quantum > 0:
        scale = LEVELS / (high - low)
        start = 0
        while start < m:
            i, there, entries = _tile(A, start, m, n, cols, line, R, column_scales, TILE, SCALED)
            steps = tl.where(there, (entries - low) * scale, 0.0).to(tl.int16)
            tl.store(SCRATCH + i * W + cols, steps, mask=(i < m) & (cols < W))
            sums += steps.to(tl.int32)
            start += TILE
    valid = tl.arange(0, W) < n
    means = tl.sum(sums, 0) // n
    means -= tl.min(tl.where(valid, means, LEVELS), 0)
    tl.store(PRICES + problem * W + tl.arange(0, W), tl.where(valid & _near_square(m, n), means, 0))


@triton.jit
def _near_square(m, n):
    """Tell whether idle bidders make the problem square, to whom each column is worth 0.

    Many would only slow the auction down, and without them prices may not carry over, into it or from one phase to the
    next: a column that stays unmatched must keep the lowest.
    """
    return n - m <= n // 8


@triton.jit
def _load_steps(Q, bidder, m, W: tl.constexpr):
    """Return a row in fixed point; of idle bidders, from `m` on, all 0."""
    cols = tl.arange(0, W)
    return tl.load(Q + bidder * W + cols, mask=(cols < W) & (bidder < m), other=0).to(tl.int32)


@triton.jit
def _phase(Q, m, bidders, increment, kept, W: tl.constexpr, BIDS: tl.constexpr):
    """Let every bidder win a column, at prices which rise; return `kept`, winners (W,) and the number of bids.

    Worth and column are one number, ``(entry - price) * W + (W - 1 - column)``, so that the largest tells both, the
    first column of those that are worth as much; `kept` (W,) is what is added to ``entry * W``. It stays within int32:
    as long as somebody bids, a column is free and has the price that the phase began with, so no price rises in a phase
    by more than twice the range and twice the increment. From one range at first that is 9 and a little after four
    phases, of the 16 that int32 holds for 4,096 columns.
    """
    owner = tl.full([W], -1, tl.int32)
    following, bidder, bids = 0, 0, 0
    steps = _load_steps(Q, bidder, m, W)
    while bidder < bidders:
        key = steps * W + kept
        best = tl.max(key, 0)
        hit = key == best
        previous = tl.max(tl.where(hit, owner, -1), 0)
        winner = bidder
        bids += 1
        following = tl.where(previous < 0, following + 1, following)
        bidder = tl.where(previous < 0, following, previous)
        bidder = tl.where(bids > BIDS * bidders, bidders, bidder)
        # Asked for as soon as it is known who is next: the rest is done while the row comes.
        steps = _load_steps(Q, bidder, m, W)
        second = tl.max(tl.where(hit, _NO_KEY, key), 0)
        kept = tl.where(hit, kept - ((best & -W) - (second & -W) + increment * W), kept)
        owner = tl.where(hit, winner, owner)
    return kept, owner, bids


@triton.jit
def auction_kernel(
    SCRATCH,
    QUANTA,
    M,
    N,
    PRICES,
    OWNERS,
    SCANS,
    rows,
    E0,
    E1,
    E2,
    E3,
    W: tl.constexpr,
    PHASES: tl.constexpr,
    BIDS: tl.constexpr,
):
    """Auction the columns of an affinity in fixed point. Programs: problems.

    Parameters
    ----------
    SCRATCH, QUANTA : pointer to (K, rows, W), int16, and to (K,), float64
        What `fixed_point_kernel` wrote.
    M, N : pointer to (K,), int32
        See `fixed_point_kernel`.
    PRICES, OWNERS : pointer to (K, W), int32
        Read and written: prices in steps, and written: which row has won each column, -1 for none, from M on for idle
        bidders. Where the entries are alike, or there is one column, nobody bids.
    SCANS : pointer to (K, 2), int32
        Written, the first: bids.
    rows : int
    E0, E1, E2, E3 : int
        Increments of the phases, in steps.
    W : int
        See `fixed_point_kernel`.
    PHASES : int
        How many of the increments count, from 1 to 4.
    BIDS : int
        Bids per row after which a phase ends.
    """
    problem = tl.program_id(0).to(tl.int64)
    SCRATCH += problem * rows * W
    m, n = tl.load(M + problem), tl.load(N + problem)
    cols = tl.arange(0, W)
    valid = cols < n
    # Columns that do not count are worth less than any other, and differ.
    kept = W - 1 - cols - tl.where(valid, tl.load(PRICES + problem * W + cols) * W, (1 << 31) - W)
    owner = tl.full([W], -1, tl.int32)
    bids = 0
    if (tl.load(QUANTA + problem) > 0) & (n > 1):
        near_square = _near_square(m, n)
        bidders = tl.where(near_square, n, m)
        for phase in tl.static_range(PHASES):
            increment = E0 if phase == 0 else (E1 if phase == 1 else (E2 if phase == 2 else E3))
            if near_square | (phase == PHASES - 1):
                kept, owner, more = _phase(SCRATCH, m, bidders, increment, kept, W, BIDS)
                bids += more
    tl.store(PRICES + problem * W + cols, tl.where(valid, (W - 1 - cols - kept) // W, 0))
    tl.store(OWNERS + problem * W + cols, owner)
    tl.store(SCANS + 2 * problem, bids)
