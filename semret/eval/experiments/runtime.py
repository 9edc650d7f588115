"""Time and quality of every solver at growing numbers of positions (Table 5 of the paper)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semret.centers import CENTERINGS
from semret.eval.experiments.cost import Cost, Method
from semret.eval.experiments.measuring import measure, usual_pairs
from semret.eval.experiments.pictures import (
    choose_pictures,
    describe_pictures,
    embed_last,
    folder_of_pictures,
    name_model,
)
from semret.index.backbones import registry
from semret.progress import Progress, waiting_for
from semret.retrieval.similarity.names import check_name

SIDES = (224, 512, 1024, 2048)
"""Input sizes that give the embedded backbone 49, 256, 1,024 and 4,096 positions."""


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
class Study:
    """Costs, and where they come from: pictures, networks, and seconds by size or stage."""

    costs: list[Cost]
    dataset: dict[str, Any]
    models: list[dict[str, Any]]
    seconds: dict[str, float]


def run_runtime(
    images: Path | None = None,
    *,
    sides: Sequence[int] = SIDES,
    methods: Sequence[Method] = METHODS,
    pairs: int | None = None,
    center: str = "none",
    seed: int = 0,
    progress: Progress | None = None,
) -> Study:
    """Measure every method on maps of the embedded backbone at growing input sizes.

    Parameters
    ----------
    images : Path or None
        A folder of pictures; None renders scenes from `seed`.
    sides : sequence of int
        Input sizes in pixels; the positions are ``(side / 32) ** 2``.
    methods, pairs, center
        See `semret.eval.experiments.measuring.measure`.
    seed : int
        Of the choice of pictures, the rendered scenes and the intervals.
    progress : callable or None
        Called with the number of sizes done and their total.

    Returns
    -------
    Study
        Costs by size, then method.

    Raises
    ------
    DatasetError
        If the folder holds fewer than two readable pictures.
    UnknownNameError
        If there is no such centre.
    """
    check_name("center", center, CENTERINGS)
    wanted = [usual_pairs(40, (side // 32) ** 2) if pairs is None else max(pairs, 2) for side in sides]
    costs: list[Cost] = []
    models: list[dict[str, Any]] = []
    seconds: dict[str, float] = {}
    with folder_of_pictures(images, max(wanted), seed) as folder:
        paths = choose_pictures(folder, max(wanted), seed=seed)
        for done, (side, count) in enumerate(zip(sides, wanted, strict=True)):
            start = time.perf_counter()
            backbone = registry.create_backbone(size=(side, side))
            models.append({"name": name_model(backbone, models), **backbone.identity.as_json()})
            with waiting_for(f"embedding pictures of {side} px", progress):
                maps = embed_last(paths[:count], backbone)
            costs += measure(
                maps, label=f"{side} px", methods=methods, pairs=pairs, center=center, seed=seed
            )  # fmt: skip
            seconds[f"{side} px"] = time.perf_counter() - start
            if progress is not None:
                progress(done + 1, len(sides))
        dataset = describe_pictures(images, paths)
    return Study(costs=costs, dataset=dataset, models=models, seconds=seconds)
