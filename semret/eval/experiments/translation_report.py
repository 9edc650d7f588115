"""Settings and outcome of the experiment on overlapping crops, and its table and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from semret.arrays import Float64Array
from semret.eval.experiments.pictures import choose_layers
from semret.eval.report.distribution_plots import histograms
from semret.eval.report.document import Report, Table
from semret.eval.report.plots import curves, heat_maps
from semret.eval.report.values import show, show_p, with_holm
from semret.eval.separation import Separation, separate, split_pairs
from semret.eval.statistics import compare_means

INVARIANCES = ("none", "permutation")


@dataclass(frozen=True, kw_only=True)
class TranslationSettings:
    """How the experiment is run.

    Attributes
    ----------
    pairs : int
        Pictures in a batch; each gives an upper-left and a lower-left crop.
    batches : int
        Batches, of which distributions are aggregated.
    shift : float
        Vertical distance of the crops as a share of their side; rounded to pixels that are no multiple of the patch.
    kernel : str
        The paper uses ``rbf``, which is bounded.
    center : {"none", "channel", "position"}
        Mean over the batch that is subtracted.
    largest : int
        Layers with more positions are left out.
    solver : str
    resamples : int
        Of the bootstrap and the test, over pictures.
    seed : int
    """

    pairs: int = 10
    batches: int = 4
    shift: float = 1 / 3
    kernel: str = "rbf"
    center: str = "none"
    largest: int = 1024
    solver: str = "auction"
    resamples: int = 2000
    seed: int = 0


@dataclass
class Layer:
    """A layer's numbers of positions and channels, and for each invariance matrices and bandwidths by batch."""

    positions: int
    channels: int
    matrices: dict[str, list[Float64Array]]
    sigmas: dict[str, list[float | None]]


def summarise(report: Report, layers: dict[str, Layer], settings: TranslationSettings) -> None:
    """Add areas under the ROC curve, their differences, a table, notes and figures to the report.

    Parameters
    ----------
    report : Report
        Settings, data set and model have been entered.
    layers : dict from name to Layer
        From input to output.
    settings : TranslationSettings
    """
    areas = {
        (name, invariance): separate(
            layer.matrices[invariance], seed=settings.seed, resamples=settings.resamples
        )
        for name, layer in layers.items()
        for invariance in INVARIANCES
    }  # fmt: skip
    for name, layer in layers.items():
        for invariance in INVARIANCES:
            _enter(report, name, layer, invariance, areas[name, invariance])
        _compare(report, name, areas[name, "permutation"], areas[name, "none"], settings)
    _add_table(report, layers)
    pictures, draws = report.dataset["pictures"], settings.resamples
    report.notes += [
        "Area under the ROC curve. 1: overlapping crops are always more alike than crops of different pictures of "
        "their batch; 0.5: chance.",
        f"{pictures} pictures in {settings.batches} batches, each with two crops {report.settings['shift_pixels']} "
        f"pixels apart. Intervals: 95 % percentile bootstrap over pictures, drawn within batches, {draws} resamples. "
        f"p: two-sided sign-flip test of the paired difference by picture, {draws} resamples, so none is smaller than "
        f"{1 / (draws + 1):.4f}. p (Holm): corrected for the {len(layers)} layers.",
    ]
    if settings.kernel == "rbf":
        report.notes.append(
            "sigma of rbf is taken anew for every batch, layer and invariance; the report has its mean."
        )
    _draw(report, layers, areas, settings)


def _enter(report: Report, name: str, layer: Layer, invariance: str, found: Separation) -> None:
    low, high = found.interval()
    cell = {"layer": name, "S": layer.positions, "C": layer.channels, "invariance": invariance}
    metric: dict[str, Any] = {
        "name": "auc", "model": report.models[0]["name"], "cell": cell, "value": found.area, "low": low, "high": high,
        "n": len(found.placements), "paper": None,
    }  # fmt: skip
    sigmas = [sigma for sigma in layer.sigmas[invariance] if sigma is not None]
    if sigmas:
        metric["sigma"] = float(np.mean(sigmas))
    report.metrics.append(metric)


def _compare(
    report: Report, name: str, one: Separation, other: Separation, settings: TranslationSettings
) -> None:  # fmt: skip
    mean, low, high = one.minus(other)
    tested = compare_means(one.placements, other.placements, seed=settings.seed, resamples=settings.resamples)
    cell = {"layer": name, "invariance": "permutation"}
    report.comparisons.append(
        {"name": "auc", "model": report.models[0]["name"], "cell": cell, "against": {**cell, "invariance": "none"},
         "mean": mean, "low": low, "high": high, "p": tested.p, "p_least": 1 / (settings.resamples + 1),
         "n": len(one.placements)}
    )  # fmt: skip


def _add_table(report: Report, layers: dict[str, Layer]) -> None:
    shown = {(m["cell"]["layer"], m["cell"]["invariance"]): show(m) for m in report.metrics}
    rows = []
    for (name, layer), tested in zip(layers.items(), with_holm(report.comparisons), strict=True):
        change = f"{tested['mean']:+.3f} [{tested['low']:+.3f}, {tested['high']:+.3f}]"
        areas = [shown[name, invariance] for invariance in INVARIANCES]
        rows.append([name, str(layer.positions), str(layer.channels), *areas, change, show_p(tested),
                     show_p(tested, "p_holm")])  # fmt: skip
    header = ["layer", "S", "C", *INVARIANCES, "difference", "p", "p (Holm)"]
    report.tables.append(Table("Area under the ROC curve", header, rows))


def _draw(
    report: Report, layers: dict[str, Layer], areas: dict[tuple[str, str], Separation], settings: TranslationSettings
) -> None:
    names = list(layers)
    pictures, model = report.dataset["pictures"], report.models[0]["name"]
    series = {
        invariance: [(areas[name, invariance].area, *areas[name, invariance].interval()) for name in names]
        for invariance in INVARIANCES
    }
    lowest = min(low for triples in series.values() for _, low, _ in triples)
    report.figures["separation.png"] = curves(
        [float(index) for index in range(len(names))], series, x_label="layer, from input to output",
        y_label="area under the ROC curve", title=f"{model}: overlapping crops against different pictures",
        ticks=names, limits=(min(0.45, lowest - 0.02), 1.02), lines={"chance": 0.5, "always told apart": 1.0},
        caption=f"{pictures} pictures; bands: 95 % intervals over pictures.",
    )  # fmt: skip
    shown = choose_layers(names, 4)
    parts = {
        f"{name}, {invariance}": layers[name].matrices[invariance] for invariance in INVARIANCES for name in shown
    }  # fmt: skip
    crops = len(next(iter(parts.values()))[0]) // 2
    ticks = [f"{number + 1}{crop}" for crop in ("u", "l") for number in range(crops)]
    report.figures["rsm.png"] = heat_maps(
        {name: matrices[0] for name, matrices in parts.items()},
        title=f"{model}: similarity of the crops of the first batch", x_label="crop", y_label="crop",
        bar_label=f"similarity ({settings.kernel})", columns=len(shown), ticks=(ticks, ticks),
        limits=(0.0, 1.0) if settings.kernel == "rbf" else None,
        caption="Pictures are numbered; u: upper crop, l: lower crop of the same picture.",
    )  # fmt: skip
    report.figures["distributions.png"] = histograms(
        {name: _pooled(matrices) for name, matrices in parts.items()},
        x_label=f"similarity ({settings.kernel})", columns=len(shown),
        title=f"{model}: similarity of overlapping crops and of different pictures",
        caption=f"{pictures} pictures in {settings.batches} batches.",
    )  # fmt: skip


def _pooled(matrices: list[Float64Array]) -> dict[str, Float64Array]:
    parts = [split_pairs(matrix) for matrix in matrices]
    return {
        "overlapping": np.concatenate([part[0] for part in parts]),
        "different": np.concatenate([part[1] for part in parts]),
    }
