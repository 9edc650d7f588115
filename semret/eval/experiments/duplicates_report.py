"""Settings and outcome of the experiment on duplicates, and its tables and figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from semret.errors import ArgumentError
from semret.eval.report.document import Report, Table
from semret.eval.report.plots import INTERVALS, curves
from semret.eval.report.values import show
from semret.eval.scenes.copies import COPIES
from semret.eval.statistics import estimate_mean

PRECISION, STRICT = "precision", "precision, frames counted as mistakes"


@dataclass(frozen=True, kw_only=True)
class DuplicateSettings:
    """How the experiment is run.

    Attributes
    ----------
    threshold : float
        That the first table is about.
    thresholds : tuple of float
        Others that are tried, for the curve.
    frames : bool
        See `semret.duplicates`.
    codec : str or None
        How tokens are stored; None takes what suits the network.
    resamples : int
        Of the bootstrap over scenes.
    seed : int

    Raises
    ------
    ArgumentError
        If a threshold is out of range.
    """

    threshold: float = 0.5
    thresholds: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    frames: bool = False
    codec: str | None = None
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        for threshold in self.tried:
            if not 0 < threshold <= 1:
                raise ArgumentError(f"a threshold is {threshold}, expected above 0, at most 1")

    @property
    def tried(self) -> tuple[float, ...]:
        """All thresholds, ascending."""
        return tuple(sorted({self.threshold, *self.thresholds}))


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What was found at one threshold.

    Attributes
    ----------
    model : str
    threshold : float
    together : dict from kind to list of (int, bool)
        For each picture its scene, and whether it is in one group with its original.
    pairs : list of (int, str)
        For each file that is not kept the scene of the kept one, and what the two are: ``copy``, ``frame`` (another
        frame of the same arrangement), ``other``.
    """

    model: str
    threshold: float
    together: dict[str, list[tuple[int, bool]]]
    pairs: list[tuple[int, str]]


def summarise(report: Report, runs: list[Judged], settings: DuplicateSettings) -> None:
    """Add metrics, tables and a figure for each model.

    Parameters
    ----------
    report : Report
        Receives them.
    runs : list of Judged
    settings : DuplicateSettings
    """
    options = {"seed": settings.seed, "resamples": settings.resamples}
    for run in runs:
        cell = {"threshold": run.threshold}
        for kind, outcomes in run.together.items():
            name = "recall" if kind in COPIES else "taken for a copy"
            scenes, values = zip(*outcomes, strict=True)
            report.metrics.append(_metric(name, run.model, {**cell, "kind": kind}, values, scenes, options))
        settled = [(scene, relation) for scene, relation in run.pairs if relation != "frame"]
        for name, pairs in ((PRECISION, settled), (STRICT, run.pairs)):
            if pairs:
                scenes = tuple(scene for scene, _ in pairs)
                right = tuple(relation == "copy" for _, relation in pairs)
                report.metrics.append(_metric(name, run.model, {**cell, "kind": "all"}, right, scenes, options))
    report.per_query += [
        {"model": run.model, "threshold": run.threshold, "kind": kind, "scene": scene, "together": together}
        for run in runs
        for kind, outcomes in run.together.items()
        for scene, together in outcomes
    ]
    for model in dict.fromkeys(run.model for run in runs):
        _add_tables(report, model, settings)


def _metric(
    name: str, model: str, cell: dict[str, Any], values: tuple[bool, ...], scenes: tuple[int, ...], options: Any
) -> dict[str, Any]:
    estimate = estimate_mean(np.array(values, dtype=np.float64), groups=np.array(scenes), **options).as_json()
    return {"name": name, "model": model, "cell": cell, **estimate, "paper": None}


def _add_tables(report: Report, model: str, settings: DuplicateSettings) -> None:
    found = {(m["cell"]["kind"], m["name"], m["cell"]["threshold"]): m for m in report.metrics if m["model"] == model}
    names = list(dict.fromkeys((kind, name) for kind, name, _ in found))
    at = settings.threshold
    rows = [[name, kind, show(found[kind, name, at])] for kind, name in names if (kind, name, at) in found]
    title = f"{model}, threshold {settings.threshold:g}: means and 95 % intervals over scenes"
    report.tables.append(Table(title, ["measure", "kind", "share"], rows))
    lines = [
        [name, kind, *(_plain(found.get((kind, name, value))) for value in settings.tried)] for kind, name in names
    ]
    header = ["measure", "kind", *(f"{value:g}" for value in settings.tried)]
    report.tables.append(Table(f"{model}, by threshold", header, lines))
    series = {
        f"{kind}" if kind != "all" else name: [_triple(found.get((kind, name, value))) for value in settings.tried]
        for kind, name in names
        if name != STRICT
    }
    report.figures[f"duplicates-{len(report.figures)}.png"] = curves(
        settings.tried,
        series,
        x_label="threshold",
        y_label="share found, or taken for a copy",
        title=f"Copies and others by threshold, {model}",
        limits=(-0.02, 1.02),
        caption=INTERVALS,
    )


def _plain(metric: dict[str, Any] | None) -> str:
    return "-" if metric is None else f"{metric['mean']:.3f}"


def _triple(metric: dict[str, Any] | None) -> tuple[float, float, float]:
    return (np.nan, np.nan, np.nan) if metric is None else (metric["mean"], metric["low"], metric["high"])
