"""CKA of layers (appendix G): semantic against spatio-semantic similarity, within a model and across models."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array
from semret.errors import ArgumentError
from semret.eval.experiments.pictures import (
    choose_layers,
    choose_pictures,
    embed_layers,
    fingerprint,
    folder_of_pictures,
)
from semret.eval.plots import curves, heat_maps
from semret.eval.reports import Report, Table, file_name
from semret.index.backbones.spec import Backbone
from semret.index.images import decode_image
from semret.progress import Progress, waiting_for
from semret.retrieval.cka import minibatch_cka
from semret.retrieval.rsm import rsm

INVARIANCES = ("none", "permutation")
Matrices = dict[str, list[Float64Array]]
"""Similarity matrices of each batch, by layer."""


@dataclass(frozen=True, kw_only=True)
class CkaSettings:
    """How the experiment is run; the defaults are the paper's but for the number of pictures.

    Attributes
    ----------
    count : int
        Pictures, drawn at random.
    batch : int
        Pictures in a mini-batch; HSIC is averaged over mini-batches.
    kernel : str
    center : {"position", "channel", "none"}
        Mean over all pictures that is subtracted.
    estimator : {"biased", "unbiased"}
        Of HSIC.
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
    estimator: str = "biased"
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
    if chosen.batch < 4 or chosen.count < 4:
        raise ArgumentError(f"count is {chosen.count} and batch {chosen.batch}, expected at least 4 pictures each")
    report = Report(
        experiment="cka",
        title="CKA of layers from semantic and from spatio-semantic similarity",
        settings=asdict(chosen),
        seed=chosen.seed,
        dataset={"name": "rendered scenes" if images is None else images.name},
    )
    found: dict[str, dict[str, Matrices]] = {}
    with folder_of_pictures(images, chosen.count, chosen.seed) as folder:
        paths = choose_pictures(folder, chosen.count, seed=chosen.seed, least=4)
        report.dataset.update({"pictures": len(paths), "fingerprint": fingerprint(paths)})
        for load in backbones:
            start = time.perf_counter()
            with waiting_for(f"loading {getattr(load, 'model', 'the network')}", progress):
                backbone = load()
            name = _unique(backbone.spec.name, found)
            report.models.append({"name": name, **backbone.identity.as_json()})
            found[name] = measure_layers(paths, backbone, chosen, progress)
            report.seconds[name] = time.perf_counter() - start
    for name, matrices in found.items():
        _compare_kinds(report, name, matrices, chosen)
    models = list(found)
    for number, one in enumerate(models):
        for other in models[number:]:
            _compare_layers(report, one, other, found, chosen)
    report.notes.append("CKA is 1 for similarity matrices that are equal up to scale and a constant.")
    return report


def _unique(name: str, taken: dict[str, dict[str, Matrices]]) -> str:
    number = sum(entry.split(" #")[0] == name for entry in taken)
    return name if number == 0 else f"{name} #{number + 1}"


def measure_layers(
    paths: list[Path], backbone: Backbone, settings: CkaSettings, progress: Progress | None = None
) -> dict[str, Matrices]:
    """Return the similarity matrices of every layer in mini-batches, by invariance and layer.

    A last mini-batch with fewer than four pictures joins the one before.
    """
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
                    matrix = rsm(
                        np.asarray(layers[name][batch]),
                        kernel=settings.kernel,
                        invariance=invariance,
                        center="none" if mean is None else mean,
                        solver=settings.solver,
                    )
                    result[invariance].setdefault(name, []).append(matrix)
        layers.clear()
    return result


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
    """Cut `count` pictures into mini-batches of `size`."""
    edges = list(range(0, count, size))
    if len(edges) > 1 and count - edges[-1] < 4:
        edges.pop()
    return [slice(start, stop) for start, stop in zip(edges, [*edges[1:], count], strict=True)]


def _compare_kinds(report: Report, model: str, matrices: dict[str, Matrices], settings: CkaSettings) -> None:
    rows, values = [], []
    for layer, semantic in matrices["permutation"].items():
        value = _cka(semantic, matrices["none"][layer], settings)
        values.append(value)
        rows.append([layer, f"{value:.3f}"])
        _enter(report, "cka of semantic with spatio-semantic", model, {"layer": layer}, value)
    report.tables.append(Table(f"{model}: semantic with spatio-semantic similarity", ["layer", "CKA"], rows))
    report.figures[f"kinds_{file_name(model)}.png"] = curves(
        [float(index) for index in range(len(values))],
        {model: values},
        x_label="layer (from input to output)",
        y_label="CKA (0 to 1)",
        title="Semantic with spatio-semantic similarity of the same layer",
    )


def _compare_layers(
    report: Report, one: str, other: str, found: dict[str, dict[str, Matrices]], settings: CkaSettings
) -> None:
    grids: dict[str, Float64Array] = {}
    names = list(found[one]["none"]), list(found[other]["none"])
    for invariance in INVARIANCES:
        grid = np.zeros((len(names[0]), len(names[1])))
        for row, left in enumerate(names[0]):
            for column, right in enumerate(names[1]):
                value = _cka(found[one][invariance][left], found[other][invariance][right], settings)
                grid[row, column] = value
                cell = {"layer": left, "other": other, "other layer": right, "invariance": invariance}
                _enter(report, "cka of layers", one, cell, value)
        grids[invariance] = grid
    difference = grids["permutation"] - grids["none"]
    title = f"{one}, layer by layer" if one == other else f"{one} with {other}"
    rows = [[left, *(f"{value:+.3f}" for value in row)] for left, row in zip(names[0], difference, strict=True)]
    report.tables.append(Table(f"{title}: semantic minus spatio-semantic", ["layer", *names[1]], rows))
    options = {"x_label": other, "y_label": one, "ticks": names}
    stem = f"layers_{file_name(one)}_{file_name(other)}"
    panels = {"spatio-semantic": grids["none"], "semantic": grids["permutation"]}
    report.figures[f"{stem}.png"] = heat_maps(panels, title=title, bar_label="CKA", **options)  # type: ignore[arg-type]
    report.figures[f"{stem}_difference.png"] = heat_maps(
        {"semantic minus spatio-semantic": difference},
        title=title,
        bar_label="difference of CKA",
        diverging=True,
        **options,  # type: ignore[arg-type]
    )


def _cka(one: list[Float64Array], other: list[Float64Array], settings: CkaSettings) -> float:
    return minibatch_cka(zip(one, other, strict=True), estimator=settings.estimator)


def _enter(report: Report, name: str, model: str, cell: dict[str, str], value: float) -> None:
    report.metrics.append(
        {"name": name, "model": model, "cell": cell, "mean": value, "low": None, "high": None,
         "n": report.dataset["pictures"], "paper": None}
    )  # fmt: skip
