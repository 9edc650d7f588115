"""Settings and outcome of the retrieval experiment, and its tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from semret.arrays import Float64Array, IndexVector
from semret.eval.answers import Answers
from semret.eval.data.dataset import Dataset, Split
from semret.eval.features import Features
from semret.eval.report.document import Report, Table
from semret.eval.report.paper import INVARIANCES
from semret.eval.report.plots import Triple, bars, curve_panels
from semret.eval.report.values import file_name, show, show_p, with_holm

Cell = tuple[str, str]
"""A kernel and an invariance."""

NAMES = {"f1": "F1", "iou": "IoU"}


@dataclass(frozen=True, kw_only=True)
class RetrievalSettings:
    """How a retrieval experiment is run; `semret.eval.protocol` says what the paper did.

    Attributes
    ----------
    kernels, invariances : tuple of str
        The invariance ``none`` is the reference that differences are taken against.
    center : {"position", "channel", "none"}
    k : int
        Answers per query. With more than one, the best and the mean of the k are reported beside the first.
    solver : str
    full_matrix : bool
        Solve every pair; see `semret.eval.answers.find_answers`.
    dtype : {"float16", "float32"}
        Of the stored tokens.
    codec : str or None
        Compare what this codec stores of the tokens; None compares the tokens themselves.
    frame : (int, int) or None
        Height and width that every picture is resized to first; None leaves pictures as they are.
    seed : int
        Of the split and of the intervals.
    resamples : int
        Of the bootstrap and of the paired test.
    device : str or None
        Where matchings are computed, if that is not the processor.
    threads : int or None
    """

    kernels: tuple[str, ...] = ("cosine", "linear", "rbf")
    invariances: tuple[str, ...] = ("pooled", "none", "maxsim", "permutation")
    center: str = "position"
    k: int = 1
    solver: str = "auction"
    full_matrix: bool = False
    dtype: str = "float16"
    codec: str | None = None
    frame: tuple[int, int] | None = None
    seed: int = 0
    resamples: int = 2000
    threads: int | None = None
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """Answers of one model on one database, with each answer's score by the data set's measure, (Q, k)."""

    model: str
    size: int
    split: Split
    features: Features
    answers: dict[Cell, Answers]
    values: dict[Cell, Float64Array]
    references: dict[str, Float64Array]
    ranks: dict[str, IndexVector]

    @property
    def database(self) -> IndexVector:
        """Pictures of the database."""
        return self.split.databases[self.size]


def add_tables(report: Report, dataset: Dataset, runs: list[Run], settings: RetrievalSettings) -> None:
    """Add tables and figures of the metrics and comparisons that the report holds.

    Parameters
    ----------
    report : Report
        Receives them.
    dataset : Dataset
    runs : list of Run
    settings : RetrievalSettings
    """
    by_cell = {
        (m["model"], m["cell"]["database"], m["cell"].get("kernel"), m["cell"].get("invariance")): m
        for m in report.metrics
        if m["name"] == f"{dataset.measure}@1" and "reference" not in m["cell"]
    }
    rows = []
    for run in runs:
        for kernel in settings.kernels:
            cells = [by_cell[run.model, run.size, kernel, invariance] for invariance in settings.invariances]
            paper = [f"{c['paper']:.3f}" for c in cells if c["paper"] is not None]
            rows.append([run.model, str(run.size), kernel, *(show(c) for c in cells), " / ".join(paper) or "-"])
    name = NAMES[dataset.measure]
    shown = " / ".join(i for i in settings.invariances if i in INVARIANCES)
    header = ["model", "database", "kernel", *settings.invariances, f"paper ({shown})"]
    report.tables.append(Table(f"{name}@1, mean and 95 % interval", header, rows))
    report.tables += [_reference_table(report, dataset), _difference_table(report, dataset)]
    extra = [m for m in report.metrics if m["name"] not in (f"{dataset.measure}@1", "shortlist recall")]
    if extra:
        lines = [[m["name"], m["model"], *(str(v) for v in m["cell"].values()), show(m)] for m in extra]
        report.tables.append(
            Table(f"Of {settings.k} answers", ["metric", "model", "database", "kernel", "invariance", "value"], lines)
        )
    _add_bandwidths(report, runs)
    _add_recall(report)
    _add_figures(report, dataset, runs, settings, by_cell)


def _reference_table(report: Report, dataset: Dataset) -> Table:
    rows = [
        [m["model"], str(m["cell"]["database"]), m["cell"]["reference"], show(m)]
        for m in report.metrics
        if "reference" in m["cell"]
    ]
    title = f"{NAMES[dataset.measure]}@1 of the best possible answer and of a random one"
    return Table(title, ["model", "database", "answer", "value"], rows)


def _difference_table(report: Report, dataset: Dataset) -> Table:
    rows = [
        [c["model"], str(c["cell"]["database"]), c["cell"]["kernel"], c["against"]["invariance"],
         f"{c['mean']:+.3f} [{c['low']:+.3f}, {c['high']:+.3f}]", show_p(c), show_p(c, "p_holm")]
        for c in with_holm(report.comparisons)
    ]  # fmt: skip
    title = f"Permutation invariance against the others: difference of {NAMES[dataset.measure]}@1, paired"
    return Table(title, ["model", "database", "kernel", "against", "difference", "p", "p (Holm)"], rows)


def _add_bandwidths(report: Report, runs: list[Run]) -> None:
    rows = [
        [run.model, str(run.size), invariance, f"{answers.sigma:.6g}"]
        for run in runs
        for (_, invariance), answers in run.answers.items()
        if answers.sigma is not None
    ]
    if rows:
        report.tables.append(Table("Bandwidth sigma of rbf", ["model", "database", "invariance", "sigma"], rows))


def _add_recall(report: Report) -> None:
    recalls = [m for m in report.metrics if m["name"] == "shortlist recall"]
    if not recalls:
        return
    rows = [
        [m["model"], *(str(m["cell"][key]) for key in ("database", "kernel", "shortlist")), show(m)] for m in recalls
    ]
    title = "Share of queries whose best matched answer is in the pooled shortlist"
    report.tables.append(Table(title, ["model", "database", "kernel", "shortlist", "recall"], rows))
    sizes = {m["cell"]["database"] for m in recalls}
    lengths = [{m["cell"]["shortlist"] for m in recalls if m["cell"]["database"] == size} for size in sizes]
    x = sorted(set.intersection(*lengths))
    panels: dict[str, dict[str, list[Triple]]] = {}
    for m in recalls:
        if m["cell"]["shortlist"] in x:
            panel = panels.setdefault(f"{m['model']}, database of {m['cell']['database']:,}", {})
            panel.setdefault(m["cell"]["kernel"], []).append((m["mean"], m["low"], m["high"]))
    report.figures["shortlist_recall.png"] = curve_panels(
        panels,
        [float(length) for length in x],
        x_label="length of the shortlist (images)",
        y_label="recall of the best matched answer",
        title="Recall of the pooled shortlist",
        log_x=True,
        limits=(0.0, 1.02),
        caption=f"{max(m['n'] for m in recalls):,} queries; bands: 95 % intervals.",
    )


def _add_figures(
    report: Report, dataset: Dataset, runs: list[Run], settings: RetrievalSettings, by_cell: dict[Any, dict[str, Any]]
) -> None:
    name = NAMES[dataset.measure]
    for run in runs:
        series = {
            invariance: [
                (cell["mean"], cell["low"], cell["high"])
                for cell in (by_cell[run.model, run.size, kernel, invariance] for kernel in settings.kernels)
            ]
            for invariance in settings.invariances
        }
        lines = {reference: float(values.mean()) for reference, values in run.references.items()}
        file = f"retrieval_{file_name(run.model)}_{run.size}.png"
        title = f"{run.model}, database of {run.size:,}"
        report.figures[file] = bars(
            list(settings.kernels), series, label=f"{name}@1 (0 to 1)", title=title, lines=lines, x_label="kernel",
            limits=(0.0, 1.05), caption=f"Means of {len(run.split.queries):,} queries; whiskers: 95 % intervals.",
        )  # fmt: skip


def notes_of(report: Report, dataset: Dataset, runs: list[Run], settings: RetrievalSettings) -> list[str]:
    """Explain to a reader how the numbers came about.

    Parameters
    ----------
    report : Report
    dataset : Dataset
    runs : list of Run
    settings : RetrievalSettings

    Returns
    -------
    list of str
    """
    counts = dict.fromkeys(
        f"{len(run.split.queries)} queries of {len(np.unique(dataset.scenes[run.split.queries]))} scenes"
        for run in runs
    )
    notes = [
        f"{' or '.join(counts)}. Intervals: 95 % percentile bootstrap over queries, resampled by scene. p: two-sided "
        f"sign-flip test of the paired difference, signs flipped by scene, {settings.resamples} resamples, so none is "
        f"smaller than {1 / (settings.resamples + 1):.4f}. p (Holm): corrected for all {len(report.comparisons)} "
        "comparisons of this report.",
        f"Centre: {settings.center} mean of the database, subtracted from queries and database.",
    ]
    if settings.frame is not None:
        notes.append("Pictures are resized to {} x {} pixels (height x width) first.".format(*settings.frame))
    if any("permutation" in cell for run in runs for cell in run.answers) and not settings.full_matrix:
        solved = sum(a.solved for run in runs for (_, i), a in run.answers.items() if i == "permutation")
        pruned = sum(a.pruned for run in runs for (_, i), a in run.answers.items() if i == "permutation")
        notes.append(
            f"Matchings: {solved} pairs solved, {pruned} ruled out by an upper bound; the answers are those of solving "
            "all. sigma of rbf for matchings is taken from the mean squared distance of each pair over all its "
            "matchings; the order of answers does not depend on it. --full-matrix takes it from the best matchings."
        )
    return notes
