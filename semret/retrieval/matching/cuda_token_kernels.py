"""Triton kernels of token maps: affinities on the tensor cores, values of matchings, and bounds of whole databases.

The kernel that matches affinities is in `semret.retrieval.matching.cuda_auction_kernels`.
"""

from __future__ import annotations

import triton
import triton.language as tl


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

    Programs: problems, tiles of rows, tiles of columns.

    Parameters
    ----------
    X, Y : pointer to (any, rows, channels) and (any, columns, channels), float16 or float32, int8 if INTEGER
    X_OF, Y_OF : pointer to (K,), int64
        The maps of each problem.
    OUT : pointer to (K, rows, columns), float32, or int32, exact, if INTEGER
        Written.
    rows, columns, channels : int
    BLOCK, DEPTH : int
        Sides of a tile, and channels multiplied at a time: powers of two.
    INTEGER : bool
    PRECISION : str
        Of products of float32, as Triton names it.
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
    """Sum the inner products of matched tokens in float64, from the tokens themselves. Programs: problems.

    Parameters
    ----------
    X, Y, X_OF, Y_OF, rows, columns, channels
        See `form_kernel`.
    ASSIGNMENTS : pointer to (K, rows), int64
        -1 adds nothing.
    VALUES : pointer to (K,), float64
        Written.
    BLOCK, DEPTH : int
        Rows, and channels, taken at a time: powers of two.
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
    """Bound the best matching of one integer map with each of many from above, by one dual sweep. Programs: maps.

    For affinities a and u_i = max_j a_ij, v_j = max_i (a_ij - u_i), every matching is worth at most sum u + sum v, and
    at most the sum of the rows' and, if the maps are of one size, of the columns' best. Affinities are formed tile by
    tile, twice, and never written. Sums are formed in float64, and what the entries' rounding in float32 may take away
    is added: 4 units in the last place of the largest that an entry can be, for each term.

    Parameters
    ----------
    X, Y : pointer to (rows, channels) and (N, columns, channels), int8
        rows <= columns, rows <= W and channels <= DEPTH.
    R, C : pointer to (rows,) and (N, columns), float32
        Scales.
    OUT : pointer to (N,), float64
        Written.
    rows, columns, channels : int
    largest : float
        What an entry can be at most, over the largest of C.
    W, DEPTH, TILE : int
        Rows, channels, and columns at a time: powers of two.
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
