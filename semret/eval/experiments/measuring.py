"""Measure time and quality of matching methods, which take turns on pairs of token maps, on one thread."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from semret.arrays import Float32Array, Float64Array, FloatArray, IndexVector, require_ndim
from semret.centers import CENTERINGS, mean_map
from semret.errors import ArgumentError, ShapeError
from semret.eval.experiments.cost import Cost, Measured, Method, summarise
from semret.progress import Progress
from semret.retrieval.matching import match_batch
from semret.retrieval.matching.approximate import Norms
from semret.retrieval.matching.solvers import SOLVERS
from semret.retrieval.similarity.names import check_name
from semret.retrieval.similarity.products import float_affinities

_GROUP_ENTRIES = 1 << 15
"""Pairs are handed to a solver together up to so many entries of affinity, as a rerank hands them over."""

_TURNS = 5
"""How often a group of several small problems is timed; its pairs stand for the turns, one after the other."""


def measure(
    maps: FloatArray,
    *,
    label: str,
    methods: Sequence[Method],
    pairs: int | None = None,
    center: str = "none",
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Cost]:
    """Match pairs of token maps by every method, side by side, on one thread.

    Each map is matched with the next, the last with the first. The methods take turns on every pair, after one turn
    that does not count. Maps of few positions are timed in groups of pairs, each several times. Options that mean the
    same at this number of positions, such as windows that hold all of them, are measured once.

    Parameters
    ----------
    maps : ndarray of shape (N, S, C)
        At least two.
    label : str
        What the rows are called.
    methods : sequence of Method
    pairs : int or None
        How many pairs, at most N; by default up to 40, fewer the larger S is.
    center : {"none", "channel", "position"}
        Mean over all maps that is subtracted. The optimum's assignment does not depend on a channel mean, the share of
        its value does: the paper's shares are those of maps that are not centred.
    seed : int
        Of the intervals.
    progress : callable or None
        Called with the number of pairs done and their total.

    Returns
    -------
    list of Cost
        One for each method, in their order.

    Raises
    ------
    ShapeError
        If `maps` has not three axes or fewer than two maps.
    ArgumentError
        If there is no method or `pairs` is below 1.
    UnknownNameError
        If there is no such centre.
    """
    require_ndim(maps, 3, "maps", "(N, S, C)")
    if len(maps) < 2 or 0 in maps.shape:
        raise ShapeError(f"maps has shape {maps.shape}, expected at least two maps that are not empty")
    if not methods:
        raise ArgumentError("no method was given to measure")
    count = usual_pairs(len(maps), maps.shape[1]) if pairs is None else min(pairs, len(maps))
    if count < 1:
        raise ArgumentError(f"pairs is {pairs}, expected at least 1")
    centred = _centred(maps, center)
    different = {method.at(maps.shape[1]): method for method in methods}
    found = _match_pairs(centred, list(different.values()), count, progress)
    place = {key: number for number, key in enumerate(different)}
    rows = [place[method.at(maps.shape[1])] for method in methods]
    return summarise(found, methods, rows, label=label, channels=maps.shape[2], positions=maps.shape[1], seed=seed)


def _centred(maps: FloatArray, center: str) -> Float32Array:
    check_name("center", center, CENTERINGS)
    values: Float32Array = maps.astype(np.float32)
    mean = mean_map([maps], center)
    return values if mean is None else values - mean.astype(np.float32)


def _match_pairs(
    maps: Float32Array, methods: Sequence[Method], count: int, progress: Progress | None
) -> Measured:  # fmt: skip
    group = max(1, _GROUP_ENTRIES // maps.shape[1] ** 2)
    norms = np.linalg.norm(maps.astype(np.float64), axis=2)
    parts = []
    _take_turns(maps, norms, slice(0, 1), methods, 0)  # compiles, and loads what a method loads on first use
    for number, start in enumerate(range(0, count, group)):
        stop = min(start + group, count)
        parts.append(_take_turns(maps, norms, slice(start, stop), methods, number))
        if progress is not None:
            progress(stop, count)
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    return Measured(*(np.concatenate(column, axis=-1) for column in columns))


def usual_pairs(maps: int, positions: int) -> int:
    """Choose how many pairs of maps are measured: fewer the larger the maps are.

    Parameters
    ----------
    maps, positions : int
        How many maps there are, and S.

    Returns
    -------
    int
        At most 40.
    """
    return min(maps, 40, max(2, 16_384 // positions))


def _take_turns(
    maps: Float32Array, norms: Float64Array, pairs: slice, methods: Sequence[Method], group: int
) -> Measured:  # fmt: skip
    """Match these pairs by every method, one after the other."""
    lefts = np.arange(pairs.start, pairs.stop)
    rights = (lefts + 1) % len(maps)
    affinities, product = _timed_affinities(maps, lefts, rights)
    shape = len(methods), len(lefts)
    seconds, values = np.empty(shape), np.empty(shape)
    for place, method in enumerate(methods):
        seconds[place], values[place] = _timed_matchings(affinities, norms[lefts], norms[rights], method)
    return Measured(
        seconds=seconds,
        values=values,
        optima=match_batch(affinities, threads=1).values,
        identities=affinities.trace(axis1=1, axis2=2, dtype=np.float64),
        products=product,
        groups=group * _TURNS + np.arange(len(lefts)) % _TURNS,
    )


def _timed_affinities(
    maps: Float32Array, lefts: IndexVector, rights: IndexVector
) -> tuple[Float32Array, Float64Array]:  # fmt: skip
    """Return affinities (n, S, S) and seconds (n,): by the kernel that a rerank uses, which takes no BLAS's threads."""
    affinities: Float32Array = np.empty((len(lefts), maps.shape[1], maps.shape[1]), dtype=np.float32)
    seconds = np.empty(len(lefts))
    for row, (left, right) in enumerate(zip(lefts, rights, strict=True)):
        start = time.perf_counter()
        affinities[row] = float_affinities(maps[left], maps[right : right + 1], threads=1)[0]
        seconds[row] = time.perf_counter() - start
    return affinities, seconds


def _timed_matchings(
    affinities: Float32Array, rows: Float64Array, columns: Float64Array, method: Method
) -> tuple[Float64Array, Float64Array]:
    """Return seconds of one matching (n,) and the values (n,); a group of several is timed several times."""
    turns = []
    values = np.empty(len(affinities))
    for _ in range(_TURNS if len(affinities) > 1 else 1):
        elapsed = 0.0
        for group in _same_rows(affinities, method):
            start = time.perf_counter()
            found = _assign(affinities[group], rows[group], columns[group], method)
            elapsed += time.perf_counter() - start
            matched = np.take_along_axis(affinities[group], found[:, :, None], axis=2)
            values[group] = matched.sum(axis=(1, 2), dtype=np.float64)
        turns.append(elapsed / len(affinities))
    return np.resize(turns, len(affinities)), values


def _same_rows(affinities: FloatArray, method: Method) -> list[slice]:
    """Return which affinities one call may match: all, or one where the rows' norms, which differ, decide."""
    if SOLVERS[method.solver].needs_norms:
        return [slice(row, row + 1) for row in range(len(affinities))]
    return [slice(0, len(affinities))]


def _assign(affinities: FloatArray, rows: Float64Array, columns: Float64Array, method: Method) -> IndexVector:
    solver = SOLVERS[method.solver]
    norms = [Norms(rows=rows[0], columns=columns)] if solver.needs_norms else []
    return solver.run(affinities, *norms, **solver.settings(method.options))
