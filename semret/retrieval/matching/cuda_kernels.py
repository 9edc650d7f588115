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
    """Match one affinity: see `semret.retrieval.matching.cuda`, which calls this.

    A (K, rows, line); M and N (K,): rows and columns of each that count, M <= N. If SCALED, A holds inner products of
    integers and R (any, r_line), C (any, c_line) the scales of the tokens, whose maps are R_OF and C_OF (K,).
    SCRATCH (K, rows, W) int16. ASSIGNMENTS (K, rows) int32, VALUES, BOUNDS and SLACK (K,) float64, STATES (K,) int32
    and SCANS (K, 2) int32 (bids, and rows looked at afterwards) are written; without FINISH, BOUNDS and STATES alone.
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


@triton.jit
def form_kernel(
    X,
    Y,
    X_OF,
    Y_OF,
    OUT,
    rows,
    columns,
    channels,
    BLOCK: tl.constexpr,
    DEPTH: tl.constexpr,
    INTEGER: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Form a tile of the inner products of the tokens of two maps on the tensor cores.

    X (any, rows, channels), Y (any, columns, channels): float16 or float32, or int8 if INTEGER; X_OF and Y_OF (K,):
    the maps of each problem. OUT (K, rows, columns): float32, or int32, exact, if INTEGER. Programs: problems, tiles of
    rows, tiles of columns.
    """
    problem = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    j = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    c = tl.arange(0, DEPTH)
    X += tl.load(X_OF + problem) * rows * channels
    Y += tl.load(Y_OF + problem) * columns * channels
    total = tl.zeros([BLOCK, BLOCK], tl.int32 if INTEGER else tl.float32)
    start = 0
    while start < channels:
        deep = (start + c) < channels
        x = tl.load(X + i[:, None] * channels + (start + c)[None, :], mask=(i < rows)[:, None] & deep[None, :], other=0)
        y = tl.load(
            Y + j[:, None] * channels + (start + c)[None, :], mask=(j < columns)[:, None] & deep[None, :], other=0
        )
        if INTEGER:
            total = tl.dot(x, tl.trans(y), total, out_dtype=tl.int32)
        else:
            total = tl.dot(x, tl.trans(y), total, input_precision=PRECISION)
        start += DEPTH
    place = problem * rows * columns + i[:, None] * columns + j[None, :]
    tl.store(OUT + place, total, mask=(i < rows)[:, None] & (j < columns)[None, :])


@triton.jit
def value_kernel(
    X, Y, X_OF, Y_OF, ASSIGNMENTS, VALUES, rows, columns, channels, BLOCK: tl.constexpr, DEPTH: tl.constexpr
):
    """Sum the inner products of matched tokens in float64, from the tokens themselves: VALUES (K,).

    X, Y, X_OF and Y_OF as for `form_kernel`, ASSIGNMENTS (K, rows) int64.
    """
    problem = tl.program_id(0).to(tl.int64)
    X += tl.load(X_OF + problem) * rows * channels
    Y += tl.load(Y_OF + problem) * columns * channels
    c = tl.arange(0, DEPTH)
    sums = tl.zeros([BLOCK], tl.float64)
    first = 0
    while first < rows:
        i = first + tl.arange(0, BLOCK)
        column = tl.load(ASSIGNMENTS + problem * rows + i, mask=i < rows, other=-1)
        paired = column >= 0
        start = 0
        while start < channels:
            there = paired[:, None] & ((start + c) < channels)[None, :]
            x = tl.load(X + i[:, None] * channels + (start + c)[None, :], mask=there, other=0).to(tl.float64)
            y = tl.load(Y + column[:, None] * channels + (start + c)[None, :], mask=there, other=0).to(tl.float64)
            sums += tl.sum(x * y, 1)
            start += DEPTH
        first += BLOCK
    tl.store(VALUES + problem, tl.sum(sums, 0))


@triton.jit
def _tile(x, r, Y, C, numbers, columns, channels, c):
    """Return the affinities of a map with some tokens of another, which of these there are, and their scales."""
    there = numbers < columns
    y = tl.load(Y + numbers[:, None] * channels + c[None, :], mask=there[:, None] & (c < channels)[None, :], other=0)
    scale = tl.load(C + numbers, mask=there, other=0.0)
    return tl.dot(x, tl.trans(y), out_dtype=tl.int32).to(tl.float32) * r[:, None] * scale[None, :], there, scale


@triton.jit
def sweep_kernel(
    X,
    R,
    Y,
    C,
    OUT,
    rows,
    columns,
    channels,
    largest,
    W: tl.constexpr,
    DEPTH: tl.constexpr,
    TILE: tl.constexpr,
):
    """Bound the best matching of one integer map with each of many from above, by one dual sweep.

    For affinities a and u_i = max_j a_ij, v_j = max_i (a_ij - u_i), every matching is worth at most sum u + sum v, and
    at most the sum of the rows' and, if the maps are of one size, of the columns' best. Affinities are formed tile by
    tile, twice, and never written. X (rows, channels) int8 and R (rows,) float32, rows <= W and channels <= DEPTH; Y
    (N, columns, channels) int8 and C (N, columns) float32, rows <= columns. OUT (N,) float64: sums are
    formed in float64, and what the entries' rounding in float32 may take away is added: 4 units in the last place of
    the largest that an entry can be, `largest` times the largest of C, for each term.
    """
    problem = tl.program_id(0).to(tl.int64)
    Y += problem * columns * channels
    C += problem * columns
    i, c, j = tl.arange(0, W), tl.arange(0, DEPTH), tl.arange(0, TILE)
    real = i < rows
    x = tl.load(X + i[:, None] * channels + c[None, :], mask=real[:, None] & (c < channels)[None, :], other=0)
    r = tl.load(R + i, mask=real, other=0.0)
    u = tl.full([W], -3.0e38, tl.float32)
    zero = tl.sum(tl.zeros([W], tl.float64), 0)
    by_columns, most, start = zero, zero, 0
    while start < columns:
        a, there, scale = _tile(x, r, Y, C, start + j, columns, channels, c)
        u = tl.maximum(u, tl.max(tl.where(there[None, :], a, -3.0e38), 1))
        by_columns += tl.sum(tl.where(there, tl.max(tl.where(real[:, None], a, -3.0e38), 0), 0.0).to(tl.float64))
        most = tl.maximum(most, tl.max(scale, 0).to(tl.float64))
        start += TILE
    by_rows = tl.sum(tl.where(real, u, 0.0).to(tl.float64))
    by_prices, lowest, start = zero, zero + 3.0e38, 0
    while start < columns:
        a, there, _ = _tile(x, r, Y, C, start + j, columns, channels, c)
        v = tl.max(tl.where(real[:, None], a - u[:, None], -3.0e38), 0)
        by_prices += tl.sum(tl.where(there, v, 0.0).to(tl.float64))
        lowest = tl.minimum(lowest, tl.min(tl.where(there, v, 3.0e38), 0).to(tl.float64))
        start += TILE
    bound = tl.minimum(by_rows, by_rows + by_prices - (columns - rows) * lowest)
    bound = tl.where(rows == columns, tl.minimum(bound, by_columns), bound)
    tl.store(OUT + problem, bound + most * largest * (rows + 2 * columns) * 2.0**-22)
