"""Settings and outcome of the experiment on regions, and its tables and figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array
from semret.errors import ArgumentError
from semret.eval.data.dataset import Dataset
from semret.eval.data.things import Thing
from semret.eval.metrics import average_precision
from semret.eval.report.document import Report, Table
from semret.eval.report.drawing import Draw
from semret.eval.report.plots import bars
from semret.eval.report.values import show, show_p, with_holm
from semret.eval.statistics import compare_means, estimate_mean
from semret.retrieval.similarity.names import check_modes

METHODS = {
    "region": "matched, the score of a region",
    "maxsim": "each patch of the region with its best patch (MaxSim)",
    "symmetric": "matched, the cosine of region and picture",
    "mean": "mean patch of the region with the best patch",
    "means": "mean patch of the region with the mean patch of the picture",
    "pooled": "pooled embedding of the region, cut out, with that of the picture",
}
"""Names of what is compared to what they are; the first is what a region is searched with."""

MEASURES = ("hit@1", "average precision")


@dataclass(frozen=True, kw_only=True)
class RegionSettings:
    """How the experiment is run.

    Attributes
    ----------
    queries : int
        Things that are searched for, drawn at random; all where there are fewer.
    fewest, most : int
        Patches that the box of such a thing has.
    same : {"instance", "category"}
        What makes an answer right: that it shows the same object, or one of the same kind.
    center : {"channel", "position", "none"}
        Mean of all pictures that is subtracted.
    solver : str
    dtype : {"float16", "float32"}
        Of the stored tokens.
    resamples : int
        Of the bootstrap and of the paired test, over the scenes of the queries.
    seed : int
    threads : int or None

    Raises
    ------
    ArgumentError, UnknownNameError
        If a number is out of range, or a centre or solver has no such name.
    """

    queries: int = 200
    fewest: int = 4
    most: int = 12
    same: str = "instance"
    center: str = "channel"
    solver: str = "auction"
    dtype: str = "float16"
    resamples: int = 2000
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise ArgumentError(f"queries is {self.queries}, expected at least 1")
        if not 1 <= self.fewest <= self.most:
            raise ArgumentError(
                f"fewest is {self.fewest} and most {self.most}, expected patches from 1, most not below fewest"
            )
        check_modes("cosine", "permutation", self.center, self.solver)


@dataclass(frozen=True, kw_only=True)
class Searched:
    """The things that one model searched for, and what it found.

    Attributes
    ----------
    model : str
    things : list of Thing
        Q of them.
    patches : list of int
        How many patches each has.
    scores : dict from method to ndarray of shape (Q, N), float64
        Of every picture of the data set.
    allowed : ndarray of shape (Q, N), bool
        Pictures that may answer: those of other recordings.
    right : ndarray of shape (Q, N), bool
        Those of them that show the thing; at least one for each.
    """

    model: str
    things: list[Thing]
    patches: list[int]
    scores: dict[str, Float64Array]
    allowed: NDArray[np.bool_]
    right: NDArray[np.bool_]

    def judge(self, method: str) -> dict[str, Float64Array]:
        """Return whether each first answer is right, and how well all are ordered.

        Parameters
        ----------
        method : str

        Returns
        -------
        dict from measure to ndarray of shape (Q,), float64
        """
        rows = list(zip(self.scores[method], self.allowed, self.right, strict=True))
        first = [float(right[allowed][np.argmax(scores[allowed])]) for scores, allowed, right in rows]
        precision = [average_precision(scores[allowed], right[allowed]) for scores, allowed, right in rows]
        return {"hit@1": np.array(first), "average precision": np.array(precision)}

    @property
    def chance(self) -> Float64Array:
        """Share of the allowed pictures that show each thing, (Q,)."""
        return np.asarray(self.right.sum(axis=1) / self.allowed.sum(axis=1))


def summarise(report: Report, dataset: Dataset, runs: list[Searched], settings: RegionSettings) -> None:
    """Add metrics, comparisons, tables and a figure.

    Parameters
    ----------
    report : Report
        Receives them.
    dataset : Dataset
    runs : list of Searched
    settings : RegionSettings
    """
    for run in runs:
        groups = dataset.scenes[[thing.picture for thing in run.things]]
        options: dict[str, Any] = {"seed": settings.seed, "resamples": settings.resamples, "groups": groups}
        judged = {method: run.judge(method) for method in run.scores}
        for method, measures in judged.items():
            for name, values in measures.items():
                report.metrics.append(_metric(name, run.model, method, values, options))
                if method != "region":
                    difference = compare_means(judged["region"][name], values, **options)
                    cells = {"cell": {"method": "region"}, "against": {"method": method}}
                    report.comparisons.append({"name": name, "model": run.model, **cells, **difference.as_json()})
        report.metrics.append(_metric("hit@1", run.model, "chance", run.chance, options))
        report.per_query += _lines(dataset, run, judged)
    _add_tables(report)
    report.figures["regions.png"] = _draw(report)


def _metric(name: str, model: str, method: str, values: Float64Array, options: dict[str, Any]) -> dict[str, Any]:
    estimate = estimate_mean(values, **options).as_json()
    return {"name": name, "model": model, "cell": {"method": method}, **estimate, "paper": None}


def _add_tables(report: Report) -> None:
    found = {(m["model"], m["cell"]["method"], m["name"]): show(m) for m in report.metrics}
    rows = [
        [model, method, *(found.get((model, method, measure), "-") for measure in MEASURES), meaning]
        for model in dict.fromkeys(m["model"] for m in report.metrics)
        for method, meaning in {**METHODS, "chance": "a picture drawn at random"}.items()
    ]
    title = "Does the first picture show the thing, and how early do all that show it come? Means and 95 % intervals"
    report.tables.append(Table(title, ["model", "method", *MEASURES, "what is compared"], rows))
    lines = [
        [c["model"], c["name"], c["against"]["method"],
         f"{c['mean']:+.3f} [{c['low']:+.3f}, {c['high']:+.3f}]", show_p(c), show_p(c, "p_holm")]
        for c in with_holm(report.comparisons)
    ]  # fmt: skip
    header = ["model", "measure", "against", "difference", "p", "p (Holm)"]
    report.tables.append(Table("The score of a region against the others, paired", header, lines))


def _draw(report: Report) -> Draw:
    models = list(dict.fromkeys(m["model"] for m in report.metrics))
    found = {(m["model"], m["cell"]["method"]): m for m in report.metrics if m["name"] == "average precision"}
    series = {
        method: [tuple(found[model, method][end] for end in ("mean", "low", "high")) for model in models]
        for method in METHODS
    }
    title = "Pictures that show the thing in a region"
    return bars(models, series, label="mean average precision", title=title, limits=(0.0, 1.02))


def _lines(dataset: Dataset, run: Searched, judged: dict[str, dict[str, Float64Array]]) -> list[dict[str, Any]]:
    lines = []
    for row, thing in enumerate(run.things):
        found = {}
        for method, scores in run.scores.items():
            best = int(np.argmax(np.where(run.allowed[row], scores[row], -np.inf)))
            values = {name: float(values[row]) for name, values in judged[method].items()}
            found[method] = {"first": dataset.paths[best].name, "score": float(scores[row, best]), **values}
        lines.append(
            {
                "model": run.model,
                "query": dataset.paths[thing.picture].name,
                "thing": thing.name,
                "box": list(thing.box),
                "patches": run.patches[row],
                "right": int(run.right[row].sum()),
                "methods": found,
            }
        )
    return lines
