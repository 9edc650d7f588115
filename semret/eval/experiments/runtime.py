"""What a matching costs, and what it is worth: every solver at growing numbers of positions (Table 5 of the paper)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from semret.arrays import Float32Array, Float64Array, FloatArray, IndexVector, require_ndim
from semret.errors import ArgumentError, DatasetError, ImageDecodeError, ShapeError
from semret.progress import Progress, waiting_for
from semret.retrieval.matching import SOLVERS, Norms, match_batch

SIDES = (224, 512, 1024, 2048)
"""Input sizes that give the embedded backbone 49, 256, 1,024 and 4,096 positions."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A solver with its options."""

    solver: str
    options: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def name(self) -> str:
        """The solver's name and the values of its options: ``batch-optimal 512``."""
        return " ".join([self.solver, *map(str, self.options.values())])


METHODS = (
    Method(solver="auction"),
    Method(solver="scipy"),
    Method(solver="ortools"),
    *(Method(solver="batch-optimal", options={"window": window}) for window in (128, 256, 512, 1024)),
    Method(solver="topk-greedy", options={"top": 128}),
    Method(solver="greedy"),
    Method(solver="identity"),
)
"""The methods of the paper's table and this project's own."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Time and quality of one method on one kind of problem.

    Attributes
    ----------
    label : str
        Which maps were matched: an input size, or a layer.
    positions, channels : int
        S and C of the maps.
    method : str
    exact : bool
        Whether the method promises the optimum.
    milliseconds : float
        Median wall time of one matching on one thread, without the affinity and without the bound (solver auction:
        with its bound, of which it is a by-product).
    quality : float
        Mean share of the optimal value that was found; 1 is the optimum.
    speedup : float
        Median over the pairs of SciPy's time divided by this method's; NaN where SciPy did not run.
    affinity_milliseconds : float
        Median wall time of the product that forms the affinity, on the threads BLAS has.
    pairs : int
        Pairs of maps that were matched.
    """

    label: str
    positions: int
    channels: int
    method: str
    exact: bool
    milliseconds: float
    quality: float
    speedup: float
    affinity_milliseconds: float
    pairs: int

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name; NaN becomes None."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


_GROUP_ENTRIES = 1 << 15
"""Pairs are handed to a solver together up to so many entries of affinity, as a rerank hands them over."""


def measure(
    maps: FloatArray,
    *,
    label: str,
    methods: Sequence[Method] = METHODS,
    pairs: int | None = None,
    progress: Progress | None = None,
) -> list[Cost]:
    """Match pairs of token maps by every method, side by side.

    Maps are centred by their common channel mean; each is matched with the next, the last with the first. The methods
    take turns on every pair, after one turn that does not count. Maps of few positions are timed in
    groups of pairs.

    Parameters
    ----------
    maps : ndarray of shape (N, S, C)
        At least two.
    label : str
        What the rows are called.
    methods : sequence of Method
    pairs : int or None
        How many pairs, at most N; by default up to 40, fewer the larger S is.
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
    """
    require_ndim(maps, 3, "maps", "(N, S, C)")
    if len(maps) < 2 or 0 in maps.shape:
        raise ShapeError(f"maps has shape {maps.shape}, expected at least two maps that are not empty")
    if not methods:
        raise ArgumentError("no method was given to measure")
    count = _pairs(len(maps), maps.shape[1]) if pairs is None else min(pairs, len(maps))
    if count < 1:
        raise ArgumentError(f"pairs is {pairs}, expected at least 1")
    centred = maps.astype(np.float32) - maps.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    group = max(1, _GROUP_ENTRIES // maps.shape[1] ** 2)
    seconds, qualities = np.empty((len(methods), count)), np.empty((len(methods), count))
    products = np.empty(count)
    _take_turns(centred, slice(0, 1), methods)  # compiles, and loads what a method loads on first use
    for start in range(0, count, group):
        pairs_now = slice(start, min(start + group, count))
        seconds[:, pairs_now], qualities[:, pairs_now], products[pairs_now] = _take_turns(centred, pairs_now, methods)
        if progress is not None:
            progress(pairs_now.stop, count)
    reference = next((place for place, method in enumerate(methods) if method.solver == "scipy"), None)
    return [
        Cost(
            label=label,
            positions=maps.shape[1],
            channels=maps.shape[2],
            method=method.name,
            exact=SOLVERS[method.solver].exact,
            milliseconds=1000 * float(np.median(seconds[place])),
            quality=float(qualities[place].mean()),
            speedup=float("nan") if reference is None else float(np.median(seconds[reference] / seconds[place])),
            affinity_milliseconds=1000 * float(np.median(products)),
            pairs=count,
        )
        for place, method in enumerate(methods)
    ]


def run_runtime(
    images: Path | None = None,
    *,
    sides: Sequence[int] = SIDES,
    methods: Sequence[Method] = METHODS,
    pairs: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Cost]:
    """Measure every method on maps of the embedded backbone at growing input sizes.

    Parameters
    ----------
    images : Path or None
        A folder of pictures; None renders scenes from `seed`.
    sides : sequence of int
        Input sizes in pixels; the positions are ``(side / 32) ** 2``.
    methods, pairs
        See `measure`.
    seed : int
        Of the rendered scenes.
    progress : callable or None
        Called with the number of sizes done and their total.

    Returns
    -------
    list of Cost
        By size, then method.

    Raises
    ------
    DatasetError
        If the folder holds fewer than two readable pictures.
    """
    costs: list[Cost] = []
    for done, side in enumerate(sides):
        wanted = _pairs(40, (side // 32) ** 2) if pairs is None else max(pairs, 2)
        with waiting_for(f"embedding pictures of {side} px", progress):
            maps = embed_pictures(images, side=side, count=wanted, seed=seed)["last"]
        costs += measure(maps, label=f"{side} px", methods=methods, pairs=pairs)
        if progress is not None:
            progress(done + 1, len(sides))
    return costs


def embed_pictures(
    images: Path | None, *, side: int, count: int, seed: int = 0, all_layers: bool = False
) -> dict[str, Float32Array]:
    """Return maps (n, S, C) of the embedded backbone, by layer, of up to `count` pictures of a folder.

    Parameters
    ----------
    images : Path or None
        A folder; None renders scenes from `seed`.
    side : int
        Input height and width in pixels.
    all_layers : bool
        All layers from input to output instead of ``last`` alone.

    Raises
    ------
    DatasetError
        If there are fewer than two readable pictures.
    """
    from semret.eval.scenes import render_collection
    from semret.index.backbones.registry import create_backbone
    from semret.index.images import decode_image

    found: dict[str, list[Float32Array]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) if images is None else images
        if images is None:
            render_collection(source, count, seed)
        paths = _readable(source, count)
        backbone = create_backbone(size=(side, side))
        for path in paths:
            try:
                batch = backbone.prepare(decode_image(path))[None]
            except ImageDecodeError:
                continue
            layers = backbone.embed_layers(batch) if all_layers else {"last": backbone.embed(batch).tokens}
            for name, tokens in layers.items():
                found.setdefault(name, []).append(tokens)
    if min(map(len, found.values()), default=0) < 2:
        raise DatasetError(f"{images} holds fewer than two readable pictures, expected at least two to match")
    return {name: np.concatenate(maps) for name, maps in found.items()}


def format_table(costs: Iterable[Cost]) -> str:
    """Return a Markdown table: a row for each method, a column for each label, quality and time in each cell."""
    rows = list(costs)
    labels = list(dict.fromkeys(cost.label for cost in rows))
    cells = {(cost.method, cost.label): cost for cost in rows}
    heads = [f"{label}, S={next(cost.positions for cost in rows if cost.label == label):,}" for label in labels]
    lines = [f"| method | {' | '.join(heads)} |", f"|---|{'---|' * len(labels)}"]
    for name in dict.fromkeys(cost.method for cost in rows):
        line = [_cell(cells.get((name, label))) for label in labels]
        lines.append(f"| {name} | {' | '.join(line)} |")
    products = [next(cost.affinity_milliseconds for cost in rows if cost.label == label) for label in labels]
    lines.append(f"| *the affinity itself* | {' | '.join(_duration(value) for value in products)} |")
    return "\n".join(lines)


def _cell(cost: Cost | None) -> str:
    if cost is None:
        return ""
    speedup = "" if cost.speedup != cost.speedup else f" ({cost.speedup:,.{0 if cost.speedup >= 10 else 1}f}x)"
    return f"{100 * cost.quality:.1f} % {_duration(cost.milliseconds)}{speedup}"


def _duration(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.2f} s" if milliseconds >= 1000 else f"{milliseconds:.3g} ms"


def _pairs(maps: int, positions: int) -> int:
    return min(maps, 40, max(2, 16_384 // positions))


def _take_turns(
    maps: Float32Array, pairs: slice, methods: Sequence[Method]
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Match these pairs by every method; return seconds and qualities (methods, n), seconds of products (n,)."""
    lefts = np.arange(pairs.start, pairs.stop)
    rights = (lefts + 1) % len(maps)
    start = time.perf_counter()
    affinities: Float32Array = np.matmul(maps[lefts], maps[rights].transpose(0, 2, 1))
    product = (time.perf_counter() - start) / len(lefts)
    norms = np.linalg.norm(maps.astype(np.float64), axis=2)
    optima = match_batch(affinities, threads=1).values
    seconds, qualities = np.empty((len(methods), len(lefts))), np.empty((len(methods), len(lefts)))
    for place, method in enumerate(methods):
        elapsed = 0.0
        for group in _same_rows(affinities, method):
            start = time.perf_counter()
            found = _assign(affinities[group], norms[lefts[group]], norms[rights[group]], method)
            elapsed += time.perf_counter() - start
            values = np.take_along_axis(affinities[group], found[:, :, None], axis=2).sum(axis=(1, 2), dtype=np.float64)
            best = optima[group]
            qualities[place, group] = np.divide(values, best, out=np.ones_like(best), where=best != 0)
        seconds[place] = elapsed / len(lefts)
    return seconds, qualities, np.full(len(lefts), product)


def _same_rows(affinities: FloatArray, method: Method) -> list[slice]:
    """Return which affinities one call may match: all, or one where the rows' norms, which differ, decide."""
    if SOLVERS[method.solver].needs_norms:
        return [slice(row, row + 1) for row in range(len(affinities))]
    return [slice(0, len(affinities))]


def _assign(affinities: FloatArray, rows: Float64Array, columns: Float64Array, method: Method) -> IndexVector:
    solver = SOLVERS[method.solver]
    norms = [Norms(rows=rows[0], columns=columns)] if solver.needs_norms else []
    return solver.run(affinities, *norms, **solver.settings(method.options))


def _readable(folder: Path, count: int) -> list[str]:
    from semret.index.images import FoundImage, find_images

    paths = [found.path for found in find_images([folder]) if isinstance(found, FoundImage)]
    if len(paths) < 2:
        raise DatasetError(f"{folder} holds {len(paths)} pictures, expected at least two to match")
    # Spread over the folder: neighbours in a listing are often frames of one film.
    return [paths[place] for place in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]
