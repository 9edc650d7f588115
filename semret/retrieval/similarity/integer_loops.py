"""Compiled loops over int8 tokens: their norms, their exact affinities, and bounds of all matchings.

They neither allocate nor raise, see `semret.retrieval.native`. Every loop over columns is branch-free, so that LLVM
turns it into vector instructions.
"""

from __future__ import annotations

import math

import numpy as np

from semret.retrieval.matching.auction_loops import auction_many, auction_phase
from semret.retrieval.native.byte_products import multiply_bytes
from semret.retrieval.native.compiler import compiled
from semret.retrieval.native.scratch import alone
from semret.retrieval.native.tiles import COLUMNS, ROWS
from semret.retrieval.native.turns import take_turn

SIDE = 2048.0
"""The longest token of a map in steps; so no affinity has more than its square, 2 ** 22, steps."""


_LOWEST = np.int32(-(2**31) + 1)
_HIGHEST = np.int32(2**31 - 1)
_PAD = np.int32(-(2**28))


@compiled
def square_many(integers, squares):  # type: ignore[no-untyped-def]
    """Sum the squares of each token.

    Parameters
    ----------
    integers : array of shape (n, S, D), int8
    squares : array of shape (n, S), int32
        Written.
    """
    for item in range(squares.shape[0]):
        for row in range(squares.shape[1]):
            total = np.int32(0)
            for place in range(integers.shape[2]):
                value = np.int32(integers[item, row, place])
                total += value * value
            squares[item, row] = total


@compiled
def level_many(scales, squares, steps, longest, norms):  # type: ignore[no-untyped-def]
    """Express the scales of maps in steps, in which their longest token has SIDE.

    Parameters
    ----------
    scales, squares : array of shape (n, S), float64, and int32
        Scale of each token, and the sum of its integers' squares.
    steps : array of shape (n, S), float32
        Written.
    longest, norms : array of shape (n,), float64
        Written: norm of the longest token, and the squared norm of the map, summed in any order.
    """
    for item in range(scales.shape[0]):
        total, largest = 0.0, 0.0
        for row in range(scales.shape[1]):
            square = squares[item, row] * (scales[item, row] * scales[item, row])
            total += square
            largest = max(largest, square)
        norms[item] = total
        longest[item] = math.sqrt(largest)
        for row in range(scales.shape[1]):
            steps[item, row] = scales[item, row] / longest[item] * SIDE if largest > 0 else 0.0


@compiled
def _fill_exactly(  # type: ignore[no-untyped-def]
    rows, row_scales, panels, offsets, column_scales, flipped, A, worth, tile, rest
):
    """Write the exact affinity: rows of `A` are those of the candidate, or of the query if `flipped`."""
    count, columns = row_scales.shape[0], column_scales.shape[0]
    worth = alone(worth)
    for top in range(0, count, ROWS):
        height = min(ROWS, count - top)
        for panel in range(panels.shape[0]):
            left = panel * COLUMNS
            width = min(COLUMNS, columns - left)
            multiply_bytes(rows, top, panels[panel], tile, rest)  # type: ignore[no-untyped-call]
            for row in range(height):
                own = row_scales[top + row]
                for column in range(width):
                    dot = np.float64(np.int32(tile[row, column] + offsets[left + column]))
                    worth[row, column] = dot * (own * column_scales[left + column])
            if not flipped:
                for row in range(height):
                    for column in range(width):
                        A[top + row, left + column] = worth[row, column]
            elif height == ROWS:
                for column in range(width):
                    for row in range(ROWS):
                        A[left + column, top + row] = worth[row, column]
            else:
                for column in range(width):
                    for row in range(height):
                        A[left + column, top + row] = worth[row, column]


@compiled
def multiply_exactly(  # type: ignore[no-untyped-def]
    integers, scales, panels, offsets, column_scales, out, worth, tile, rest
):
    """Form the affinities of one map with many, each as ``dot * (scale * scale)`` in float64.

    Parameters
    ----------
    integers, scales : array of shape (n, Sd, D), int8, and (n, Sd), float64
        The many.
    panels, offsets, column_scales : arrays
        The one, see `semret.retrieval.native.panels.byte_panels`; its scales are (Sq,), float64.
    out : array of shape (n, Sq, Sd), float64
        Written.
    worth : array of shape (ROWS, COLUMNS), float64
        Scratch.
    tile, rest : arrays
        Scratch, see `semret.retrieval.native.panels.byte_scratch`.
    """
    for item in range(out.shape[0]):
        _fill_exactly(  # type: ignore[no-untyped-call]
            integers[item], scales[item], panels, offsets, column_scales, True, out[item], worth, tile, rest
        )


@compiled
def solve_many(  # type: ignore[no-untyped-def]
    counter, integers, scales, panels, offsets, column_scales, epsilons, assignments, worths, values, bounds, slack,
    A, Q, prices, floats, numbers, worth, tile, rest,
):  # fmt: skip
    """Match one map with each of many to the optimum of the exact affinity, every pair afresh.

    Several threads may call it with the same counter and outcome at a time, each with its own scratch.

    Parameters
    ----------
    counter : array of shape (1,), int64
        From 0; says which of the many is next.
    integers, scales, panels, offsets, column_scales : arrays
        See `multiply_exactly`.
    epsilons : array of shape (phases,), float64
        See `semret.retrieval.matching.auction_loops.auction_many`.
    assignments : array of shape (n, min(Sq, Sd)), intp
        Written: the partner of each token of the smaller map; of the many, where both are as large.
    worths : array of shape (n, min(Sq, Sd)), float64
        Written: the affinity of each of these pairs.
    values, bounds, slack : array of shape (n,), float64
        Written, see `semret.retrieval.matching.auction_loops.auction_many`.
    A : array of shape (1, min(Sq, Sd), larger of them rounded up to 16), float64
        Scratch; the others too.
    Q, prices : array of shape (A's rows, or one more if they are fewer than columns, width) and (1, width), int32
    floats, numbers : array of shape (4, width), float64, and (5, width), int64
    worth : array of shape (ROWS, COLUMNS), float64
    tile, rest : arrays
        See `semret.retrieval.native.panels.byte_scratch`.
    """
    rows, columns = scales.shape[1], column_scales.shape[0]
    n = max(rows, columns)
    first = numbers[4, :1]
    while True:
        item = take_turn(counter)
        if item >= integers.shape[0]:
            break
        flipped = columns < rows
        _fill_exactly(  # type: ignore[no-untyped-call]
            integers[item], scales[item], panels, offsets, column_scales, flipped, A[0], worth, tile, rest
        )
        for row in range(A.shape[1]):
            A[0, row, n:] = A[0, row, n - 1]
        prices[:] = 0
        first[0] = 0
        part = slice(item, item + 1)
        outcome = assignments[part], values[part], bounds[part], slack[part]
        auction_many(A, n, first, epsilons, prices, True, *outcome, Q, floats, numbers)
        for row in range(A.shape[1]):
            worths[item, row] = A[0, row, assignments[item, row]]


@compiled
def _fill(rows, row_steps, panels, offsets, column_steps, flipped, Q, tile, rest):  # type: ignore[no-untyped-def]
    """Write the affinity in whole steps: rows of `Q` are those of the candidate, or of the query if `flipped`."""
    count, columns = row_steps.shape[0], column_steps.shape[0]
    for top in range(0, count, ROWS):
        height = min(ROWS, count - top)
        for panel in range(panels.shape[0]):
            left = panel * COLUMNS
            multiply_bytes(rows, top, panels[panel], tile, rest)  # type: ignore[no-untyped-call]
            width = min(COLUMNS, columns - left)
            for row in range(height):
                step = row_steps[top + row]
                for column in range(width):
                    dot = np.int32(tile[row, column] + offsets[left + column])
                    value = np.int32(np.float32(dot) * column_steps[left + column] * step)
                    if flipped:
                        Q[left + column, top + row] = value
                    else:
                        Q[top + row, left + column] = value


@compiled
def _sweep(Q, m, n, half, h, v):  # type: ignore[no-untyped-def]
    """Write prices `v` by a dual sweep; return their bound, and the range of `Q`.

    Each row gets ``u_i = max_j(Q_ij - h_j)`` and each column ``v_j = max_i(Q_ij - u_i)``, so that no entry exceeds
    ``u_i + v_j``. Of square affinities, `h` is half of the column maxima: the two sides then share what they must
    give, and the bound is three times as close as with `h` 0. Far from square, where most columns stay unmatched, the
    row maxima are nearly the bound themselves, and prices are 0.
    """
    width = v.shape[0]
    low, high = _HIGHEST, _LOWEST
    v[:] = _LOWEST
    for i in range(m):
        best, worst = _LOWEST, _HIGHEST
        for j in range(width):
            v[j] = max(v[j], Q[i, j])
            best = max(best, Q[i, j])
        for j in range(n):
            worst = min(worst, Q[i, j])
        low, high = min(low, worst), max(high, best)
    for j in range(width):
        h[j] = v[j] >> 1 if half else np.int32(0)
        v[j] = _LOWEST
    h[n:] = 0
    total = np.int64(0)
    for i in range(m):
        best = _LOWEST
        for j in range(width):
            best = max(best, np.int32(Q[i, j] - h[j]))
        total += best
        if half:
            for j in range(width):
                v[j] = max(v[j], np.int32(Q[i, j] - best))
    if not half:
        v[:] = 0
    v[n:] = 0
    return total + _excess(v, m, n), high - low  # type: ignore[no-untyped-call]


@compiled
def _excess(v, m, n):  # type: ignore[no-untyped-def]
    """Return what prices add to a bound: the sum of the `m` largest of them at most."""
    total, lowest = np.int64(0), _HIGHEST
    for j in range(n):
        total += v[j]
        lowest = min(lowest, v[j])
    return total - (n - m) * np.int64(lowest)


@compiled
def _priced(Q, m, n, p):  # type: ignore[no-untyped-def]
    """Bound every matching by prices, whatever they are."""
    total = np.int64(0)
    for i in range(m):
        best = _LOWEST
        for j in range(p.shape[0]):
            best = max(best, np.int32(Q[i, j] - p[j]))
        total += best
    return total + _excess(p, m, n)  # type: ignore[no-untyped-call]


@compiled
def _won(Q, m, n, owner):  # type: ignore[no-untyped-def]
    """Return the value of the auction's matching, or the lowest number if it is not complete."""
    total, count = np.int64(0), 0
    for j in range(n):
        if 0 <= owner[j] < m:
            total += Q[owner[j], j]
            count += 1
    return total if count == m else np.int64(-(2**62))


@compiled
def bound_in_steps(  # type: ignore[no-untyped-def]
    counter, integers, row_steps, panels, offsets, column_steps, chosen, epsilons, wanted, uppers, lowers,
    phases, spreads, kept, Q, prices, waits, tile, rest,
):  # fmt: skip
    """Bound the matchings of one map with many from above and below, no closer than is wanted.

    A dual sweep comes first, then auction phases as long as the upper bound is not below what is wanted. All numbers
    are whole steps, so every bound is exact for the affinities in whole steps. Phases that were run before are not run
    again. Several threads may call it with the same counter and outcome at a time, each with its own scratch.

    Parameters
    ----------
    counter : array of shape (1,), int64
        From 0; says which of `chosen` is next.
    integers, row_steps : array of shape (n, Sd, D), int8, and (n, Sd), float32
        The many.
    panels, offsets, column_steps : arrays
        The one, see `semret.retrieval.native.panels.byte_panels`; its steps are (Sq,), float32.
    chosen : array of shape (any,), intp
        The maps to bound.
    epsilons : array of shape (phases,), float64
        Increments of the auction phases as shares of the affinity's range, falling.
    wanted : array of shape (n,), int64
        What a bound must be below for no further phase to be run.
    uppers, lowers : array of shape (n,), int64
        Read and written at `chosen`: only better bounds are.
    phases, spreads : array of shape (n,), int64
        Read and written: how many phases were run, -1 before the sweep; and the range of the affinity.
    kept : array of shape (n or 0, that of `prices`), int32
        Read and written: prices after these phases. May be empty where there is one phase at most.
    Q : array of shape (min(Sq, Sd) + 1, larger of them rounded up to 16), int32
        Scratch.
    prices, waits : array of shape (2, that width), int32, and (2, that width), int64
        Scratch.
    tile, rest : arrays
        Scratch, see `semret.retrieval.native.panels.byte_scratch`.
    """
    rows, columns = row_steps.shape[1], column_steps.shape[0]
    flipped = columns < rows
    m, n = min(rows, columns), max(rows, columns)
    near_square = n - m <= n // 8
    bidders = n if near_square else m
    h, p = alone(prices[0]), alone(prices[1])
    owner, waiting, Q = alone(waits[0]), alone(waits[1]), alone(Q)
    Q[m, :] = 0
    Q[:, n:] = _PAD
    while True:
        turn = take_turn(counter)
        if turn >= chosen.shape[0]:
            break
        t = chosen[turn]
        if phases[t] >= 0 and (uppers[t] < wanted[t] or n == 1 or phases[t] >= len(epsilons)):
            continue
        _fill(integers[t], row_steps[t], panels, offsets, column_steps, flipped, Q, tile, rest)  # type: ignore[no-untyped-call]
        if phases[t] > 0:
            for j in range(p.shape[0]):
                p[j] = kept[t, j]
        else:
            bound, spreads[t] = _sweep(Q, m, n, near_square, h, p)  # type: ignore[no-untyped-call]
            uppers[t] = min(uppers[t], bound)
            phases[t] = 0
        for phase in range(phases[t], len(epsilons)):
            if uppers[t] < wanted[t] or n == 1:
                break
            if not near_square:
                # Prices may not carry over: a column that stays unmatched must keep the lowest.
                p[:] = 0
            auction_phase(Q, p, bidders, int(epsilons[phase] * spreads[t]) + 1, owner, waiting)
            uppers[t] = min(uppers[t], _priced(Q, m, n, p))  # type: ignore[no-untyped-call]
            lowers[t] = max(lowers[t], _won(Q, m, n, owner))  # type: ignore[no-untyped-call]
            phases[t] = phase + 1
        if kept.shape[0] > 0 and phases[t] > 0:
            for j in range(p.shape[0]):
                kept[t, j] = p[j]
