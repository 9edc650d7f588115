"""How much of the optimum each approximation finds, layer by layer, and at what cost (Figure 6 of the paper)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from semret.arrays import FloatArray
from semret.centers import CENTERINGS
from semret.eval.experiments.cost import Cost, Method
from semret.eval.experiments.measuring import measure
from semret.eval.experiments.pictures import (
    choose_pictures,
    describe_pictures,
    embed_layers,
    folder_of_pictures,
    name_model,
)
from semret.eval.experiments.runtime import Study
from semret.index.backbones import registry
from semret.index.pictures.decode import decode_image
from semret.progress import Progress, waiting_for
from semret.retrieval.similarity.names import check_name

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
    center: str = "none",
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Cost]:
    """Match pairs of token maps of every layer by every method.

    Parameters
    ----------
    layers : mapping of str to ndarray of shape (N, S, C)
        Maps of the same pictures; S and C are those of the layer.
    methods, pairs, center, seed
        See `semret.eval.experiments.measuring.measure`.
    progress : callable or None
        Called with the number of layers done and their total.

    Returns
    -------
    list of Cost
        By layer, then method; `Cost.label` is the layer.
    """
    costs: list[Cost] = []
    for done, (name, maps) in enumerate(layers.items()):
        costs += measure(maps, label=name, methods=methods, pairs=pairs, center=center, seed=seed)
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
    center: str = "none",
    seed: int = 0,
    progress: Progress | None = None,
) -> Study:
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
    methods, center, seed, progress
        See `measure_layers` and `semret.eval.experiments.runtime.run_runtime`.

    Returns
    -------
    Study
        Costs by layer, then method.

    Raises
    ------
    ArgumentError
        If no layer is small enough.
    DatasetError
        If the folder holds fewer than two readable pictures.
    UnknownNameError
        If there is no such centre.
    """
    check_name("center", center, CENTERINGS)
    start = time.perf_counter()
    with folder_of_pictures(images, count, seed) as folder, tempfile.TemporaryDirectory(prefix="semret-") as scratch:
        paths = choose_pictures(folder, count, seed=seed)
        backbone = registry.create_backbone(size=(side, side))
        pictures = (decode_image(path) for path in paths)
        with waiting_for("embedding pictures", progress):
            layers = embed_layers(pictures, len(paths), backbone, Path(scratch), largest=largest)
        embedded = time.perf_counter()
        costs = measure_layers(layers, methods=methods, center=center, seed=seed, progress=progress)
        layers.clear()
        dataset = describe_pictures(images, paths)
    return Study(
        costs=costs,
        dataset=dataset,
        models=[{"name": name_model(backbone), **backbone.identity.as_json()}],
        seconds={"embedding": embedded - start, "matching": time.perf_counter() - embedded},
    )
