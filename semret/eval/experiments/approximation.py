"""How much of the optimum each approximation finds, layer by layer, and at what cost (Figure 6 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from semret.arrays import FloatArray
from semret.errors import ArgumentError
from semret.eval.experiments.runtime import Cost, Method, embed_pictures, measure
from semret.progress import Progress, waiting_for

METHODS = (
    Method(solver="auction"),
    *(Method(solver="batch-optimal", options={"window": window}) for window in (16, 64, 256, 512)),
    *(Method(solver="topk-greedy", options={"top": top}) for top in (16, 64, 256)),
    Method(solver="greedy"),
    Method(solver="identity"),
)
"""The approximations of appendix F, and the optimum."""


def measure_layers(
    layers: Mapping[str, FloatArray],
    *,
    methods: Sequence[Method] = METHODS,
    pairs: int | None = None,
    progress: Progress | None = None,
) -> list[Cost]:
    """Match pairs of token maps of every layer by every method.

    Parameters
    ----------
    layers : mapping of str to ndarray of shape (N, S, C)
        Maps of the same pictures; S and C are those of the layer.
    methods, pairs
        See `semret.eval.experiments.runtime.measure`.
    progress : callable or None
        Called with the number of layers done and their total.

    Returns
    -------
    list of Cost
        By layer, then method; `Cost.label` is the layer.
    """
    costs: list[Cost] = []
    for done, (name, maps) in enumerate(layers.items()):
        costs += measure(maps, label=name, methods=methods, pairs=pairs)
        if progress is not None:
            progress(done + 1, len(layers))
    return costs


def run_approximation(
    images: Path | None = None,
    *,
    side: int = 512,
    largest: int = 1024,
    count: int = 12,
    methods: Sequence[Method] = METHODS,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Cost]:
    """Measure every method on every layer of the embedded backbone that has at most `largest` positions.

    Parameters
    ----------
    images : Path or None
        A folder of pictures; None renders scenes from `seed`.
    side : int
        Input height and width in pixels.
    largest : int
        Layers with more positions are left out.
    count : int
        Pictures, and pairs of them, at most.
    methods, seed, progress
        See `measure_layers` and `semret.eval.experiments.runtime.run_runtime`.

    Raises
    ------
    ArgumentError
        If no layer is small enough.
    DatasetError
        If the folder holds fewer than two pictures.
    """
    with waiting_for("embedding pictures", progress):
        layers = embed_pictures(images, side=side, count=count, seed=seed, all_layers=True)
    small = {name: maps for name, maps in layers.items() if maps.shape[1] <= largest}
    if not small:
        fewest = min(maps.shape[1] for maps in layers.values())
        raise ArgumentError(f"largest is {largest}, but every layer has at least {fewest} positions at {side} pixels")
    return measure_layers(small, methods=methods, progress=progress)
