"""CKA of layers (appendix G): semantic against spatio-semantic similarity, within a model and across models."""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array
from semret.errors import ArgumentError
from semret.eval.alignment import align, difference
from semret.eval.experiments.matrices import compare_maps
from semret.eval.experiments.pictures import (
    choose_layers,
    choose_pictures,
    describe_pictures,
    embed_layers,
    folder_of_pictures,
    name_model,
)
from semret.eval.report.plots import curves, heat_maps
from semret.eval.report.reports import Report, Table, file_name
from semret.index.backbones.spec import Backbone
from semret.index.pictures.decode import decode_image
from semret.progress import Progress, waiting_for
from semret.retrieval.similarity.cka import ESTIMATORS
from semret.retrieval.similarity.names import check_modes, check_name

LEAST = 5
"""Pictures that a mini-batch needs: without one of them, four are left for the unbiased estimator."""

INVARIANCES = ("none", "permutation")
Matrices = dict[str, list[Float64Array]]
"""Similarity matrices of each batch, by layer."""


@dataclass(frozen=True, kw_only=True)
class CkaSettings:
    """How the experiment is run; the defaults are the paper's but for the number of pictures and the estimator.

    Attributes
    ----------
    count : int
        Pictures, drawn at random.
    batch : int
        Pictures in a mini-batch, at most; mini-batches are of one size, give or take a picture.
    kernel : str
    center : {"position", "channel", "none"}
        Mean over all pictures that is subtracted.
    estimator : {"biased", "unbiased"}
        Of HSIC, averaged over mini-batches by their pictures. The biased one grows as mini-batches shrink.
    largest : int
        Layers with more positions are left out.
    layers : int or None
        At most so many layers, evenly spaced; None takes all.
    solver : str
    seed : int
    """

    count: int = 250
    batch: int = 250
    kernel: str = "linear"
    center: str = "position"
    estimator: str = "unbiased"
    largest: int = 256
    layers: int | None = None
    solver: str = "auction"
    seed: int = 0


def run_cka(
    images: Path | None,
    backbones: Sequence[Callable[[], Backbone]],
    *,
    settings: CkaSettings | None = None,
    progress: Progress | None = None,
) -> Report:
    """Compare layers by centred kernel alignment of either kind of similarity matrix.

    Parameters
    ----------
    images : Path or None
        Folder of pictures; None renders scenes.
    backbones : sequence of callable
        Load networks that show their layers; one is held at a time.
    settings : CkaSettings, optional
    progress : callable or None
        Called with pictures embedded and their total, for each model.

    Returns
    -------
    Report
        For each model CKA of semantic (matched) with spatio-semantic similarity of the same layer, and CKA of each
        layer with each other from either kind and their difference; the latter also for each pair of models.

    Raises
    ------
    ArgumentError, DatasetError, BackboneError
        If a setting is out of range, pictures are missing, or a network does not show its layers.
    """
    chosen = settings or CkaSettings()
    _check(chosen)
    report = Report(
        experiment="cka",
        title="CKA of layers from semantic and from spatio-semantic similarity",
        settings=asdict(chosen),
        seed=chosen.seed,
        dataset={},
    )
    found: dict[str, dict[str, Matrices]] = {}
    with folder_of_pictures(images, chosen.count, chosen.seed) as folder:
        paths = choose_pictures(folder, chosen.count, seed=chosen.seed, least=LEAST)
        report.dataset = describe_pictures(images, paths)
        for load in backbones:
            start = time.perf_counter()
            with waiting_for(f"loading {getattr(load, 'model', 'the network')}", progress):
                backbone = load()
            name = name_model(backbone, report.models)
            report.models.append({"name": name, **backbone.identity.as_json()})
            found[name], sigmas = measure_layers(paths, backbone, chosen, progress)
            _add_bandwidths(report, name, sigmas)
            report.seconds[name] = time.perf_counter() - start
    start = time.perf_counter()
    for name, matrices in found.items():
        _compare_kinds(report, name, matrices, chosen)
    models = list(found)
    for number, one in enumerate(models):
        for other in models[number:]:
            _compare_layers(report, one, other, found, chosen)
    report.seconds["comparison"] = time.perf_counter() - start
    report.notes += _notes(chosen, len(paths))
    return report


def _check(settings: CkaSettings) -> None:
    if settings.batch < LEAST or settings.count < LEAST:
        raise ArgumentError(
            f"count is {settings.count} and batch {settings.batch}, expected at least {LEAST} pictures each"
        )
    check_modes(settings.kernel, "permutation", settings.center, settings.solver)
    check_name("estimator", settings.estimator, ESTIMATORS)


def _notes(settings: CkaSettings, pictures: int) -> list[str]:
    sizes = sorted({batch.stop - batch.start for batch in split_batches(pictures, settings.batch)})
    count = len(split_batches(pictures, settings.batch))
    parts = f"{count} mini-batches of {' or '.join(map(str, sizes))}" if count > 1 else f"one batch of {sizes[0]}"
    return [
        "CKA is 1 for similarity matrices that are equal up to scale and a constant.",
        f"Intervals: 95 %, jackknife over the {pictures} pictures. HSIC: {settings.estimator} estimator, {parts} "
        "pictures, averaged by pictures.",
        f"Centre: {settings.center} mean of all pictures. Matching: solver {settings.solver}.",
    ]


def measure_layers(
    paths: list[Path], backbone: Backbone, settings: CkaSettings, progress: Progress | None = None
) -> tuple[dict[str, Matrices], dict[tuple[str, str], list[float]]]:
    """Return the similarity matrices of every layer in mini-batches, by invariance and layer.

    The bandwidths of rbf come with them: by layer and invariance, one for each mini-batch.
    """
    sigmas: dict[tuple[str, str], list[float]] = {}
    result: dict[str, Matrices] = {invariance: {} for invariance in INVARIANCES}
    with tempfile.TemporaryDirectory(prefix="semret-layers-") as scratch:
        pictures = (decode_image(path) for path in paths)
        layers = embed_layers(
            pictures, len(paths), backbone, Path(scratch), largest=settings.largest, progress=progress
        )
        for name in choose_layers(list(layers), settings.layers):
            mean = center_of(layers[name], settings.center)
            for batch in split_batches(len(paths), settings.batch):
                for invariance in INVARIANCES:
                    center = "none" if mean is None else mean
                    matrices, sigma = compare_maps(
                        np.asarray(layers[name][batch]), [settings.kernel], invariance, center=center,
                        solver=settings.solver,
                    )  # fmt: skip
                    result[invariance].setdefault(name, []).append(matrices[settings.kernel])
                    if sigma is not None:
                        sigmas.setdefault((name, invariance), []).append(sigma)
        layers.clear()
    return result, sigmas


def _add_bandwidths(report: Report, model: str, sigmas: dict[tuple[str, str], list[float]]) -> None:
    if sigmas:
        rows = [[*key, ", ".join(f"{sigma:.4g}" for sigma in values)] for key, values in sigmas.items()]
        report.tables.append(Table(f"{model}: sigma of rbf", ["layer", "invariance", "by mini-batch"], rows))


def center_of(tokens: NDArray[np.float32], mode: str) -> Float64Array | None:
    """Return the mean of all pictures by position (S, C) or channel (C,), read picture by picture."""
    if mode == "none":
        return None
    mean = np.zeros(tokens.shape[1:])
    for picture in tokens:
        mean += picture
    mean /= len(tokens)
    return mean if mode == "position" else np.asarray(mean.mean(axis=0))


def split_batches(count: int, size: int) -> list[slice]:
    """Cut `count` pictures into mini-batches of at most `size`, all of one size give or take a picture.

    Only where that would leave fewer than `LEAST` in each are they larger.
    """
    number = max(1, min(math.ceil(count / size), count // LEAST))
    edges = np.linspace(0, count, number + 1).round().astype(int).tolist()
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def _compare_kinds(report: Report, model: str, matrices: dict[str, Matrices], settings: CkaSettings) -> None:
    rows, values = [], []
    for layer, semantic in matrices["permutation"].items():
        found = align(semantic, matrices["none"][layer], estimator=settings.estimator)
        _enter(report, "cka of semantic with spatio-semantic", model, {"layer": layer}, found.value, found.interval())
        values.append((found.value, *found.interval()))
        rows.append([layer, _show(*values[-1])])
    title = f"{model}: semantic with spatio-semantic similarity of the same layer"
    report.tables.append(Table(title, ["layer", "CKA"], rows))
    report.figures[f"kinds_{file_name(model)}.png"] = curves(
        [float(index) for index in range(len(values))],
        {model: values},
        x_label="layer, from input to output",
        y_label="CKA",
        title="Semantic with spatio-semantic similarity of the same layer",
        ticks=list(matrices["permutation"]),
        limits=(min(0.0, *(low for _, low, _ in values)), 1.02),
        caption=f"{report.dataset['pictures']} pictures; band: 95 % interval. 1: both kinds say the same.",
    )


def _compare_layers(
    report: Report, one: str, other: str, found: dict[str, dict[str, Matrices]], settings: CkaSettings
) -> None:
    names = list(found[one]["none"]), list(found[other]["none"])
    shape = len(names[0]), len(names[1])
    grids = {kind: np.zeros(shape) for kind in ("spatio-semantic", "semantic", "difference")}
    rows = []
    for row, left in enumerate(names[0]):
        cells = []
        for column, right in enumerate(names[1]):
            aligned = [
                align(found[one][invariance][left], found[other][invariance][right], estimator=settings.estimator)
                for invariance in INVARIANCES
            ]
            cell = {"layer": left, "other": other, "other layer": right}
            for invariance, kind, value in zip(INVARIANCES, grids, aligned, strict=False):
                _enter(report, "cka of layers", one, {**cell, "invariance": invariance}, value.value, value.interval())
                grids[kind][row, column] = value.value
            change, low, high = difference(aligned[1], aligned[0])
            _enter(report, "cka of layers, semantic minus spatio-semantic", one, cell, change, (low, high))
            grids["difference"][row, column] = change
            cells.append(_show(change, low, high, sign="+"))
        rows.append([left, *cells])
    title = f"{one}, layer by layer" if one == other else f"{one} with {other}"
    report.tables.append(Table(f"{title}: semantic minus spatio-semantic", ["layer", *names[1]], rows))
    _draw_layers(report, title, (one, other), names, grids)


def _draw_layers(
    report: Report, title: str, models: tuple[str, str], names: tuple[list[str], list[str]],
    grids: dict[str, Float64Array],
) -> None:  # fmt: skip
    changed = grids.pop("difference")
    stem = "_".join(["layers", *map(file_name, models)])
    caption = f"{report.dataset['pictures']} pictures. Intervals stand in report.json and in the table."
    report.figures[f"{stem}.png"] = heat_maps(
        grids, title=title, bar_label="CKA", x_label=f"layer of {models[1]}", y_label=f"layer of {models[0]}",
        ticks=names, caption=caption, limits=(min(0.0, *(float(np.nanmin(grid)) for grid in grids.values())), 1.0),
    )  # fmt: skip
    report.figures[f"{stem}_difference.png"] = heat_maps(
        {"semantic minus spatio-semantic": changed}, title=title, bar_label="difference of CKA", diverging=True,
        x_label=f"layer of {models[1]}", y_label=f"layer of {models[0]}", ticks=names, caption=caption,
    )  # fmt: skip


def _show(value: float, low: float, high: float, *, sign: str = "") -> str:
    if math.isnan(value):
        return "-"
    value, low, high = (round(number, 3) + 0.0 for number in (value, low, high))  # no "-0.000"
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _enter(
    report: Report, name: str, model: str, cell: dict[str, str], value: float, interval: tuple[float, float]
) -> None:  # fmt: skip
    report.metrics.append(
        {"name": name, "model": model, "cell": cell, "value": value, "low": interval[0], "high": interval[1],
         "n": report.dataset["pictures"], "paper": None}
    )  # fmt: skip
