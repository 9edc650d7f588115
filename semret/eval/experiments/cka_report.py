"""Settings and outcome of the comparison of layers, and its tables and figures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from semret.arrays import Float64Array
from semret.eval.alignment import align, difference
from semret.eval.report.document import Report, Table
from semret.eval.report.plots import curves, heat_maps
from semret.eval.report.values import file_name

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
    codec : str or None
        Compare what this codec stores of each layer's tokens; None compares the tokens themselves.
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
    codec: str | None = None
    seed: int = 0


def add_bandwidths(report: Report, model: str, sigmas: dict[tuple[str, str], list[float]]) -> None:
    """Add a table of the bandwidths of rbf, one for each mini-batch, if there are any.

    Parameters
    ----------
    report : Report
    model : str
    sigmas : dict from (layer, invariance) to list of float
    """
    if sigmas:
        rows = [[*key, ", ".join(f"{sigma:.4g}" for sigma in values)] for key, values in sigmas.items()]
        report.tables.append(Table(f"{model}: sigma of rbf", ["layer", "invariance", "by mini-batch"], rows))


def compare_kinds(report: Report, model: str, matrices: dict[str, Matrices], settings: CkaSettings) -> None:
    """Add the CKA of semantic with spatio-semantic similarity of every layer, as metrics, table and figure.

    Parameters
    ----------
    report : Report
    model : str
    matrices : dict from invariance to dict from layer to list of ndarray
    settings : CkaSettings
    """
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


def compare_layers(
    report: Report, one: str, other: str, found: dict[str, dict[str, Matrices]], settings: CkaSettings
) -> None:
    """Add the CKA of every layer of a model with every layer of another, as metrics, table and figures.

    Parameters
    ----------
    report : Report
    one, other : str
        Names of models, which may be the same.
    found : dict from model to dict from invariance to dict from layer to list of ndarray
    settings : CkaSettings
    """
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
