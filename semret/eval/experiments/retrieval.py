"""Tables 2 and 3: how well the best-scored image agrees with the query, by model, kernel and invariance."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semret.arrays import Float64Array, IndexVector
from semret.errors import ArgumentError
from semret.eval.dataset import Dataset, Split, allowed_answers, reference_scores
from semret.eval.features import Features, extract, without_unreadable
from semret.eval.metrics import compare_means, estimate_mean
from semret.eval.paper import table_2, table_3
from semret.eval.plots import bars, curves
from semret.eval.reports import Report, Table, file_name, show
from semret.eval.search import Answers, find_answers, shortlist_ranks
from semret.index.choice import ModelChoice

Cell = tuple[str, str]
"""A kernel and an invariance."""

SHORTLISTS = (1, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Lengths at which the recall of the shortlist is reported."""

NAMES = {"f1": "F1", "iou": "IoU"}


@dataclass(frozen=True, kw_only=True)
class RetrievalSettings:
    """How a retrieval experiment is run; the defaults are the paper's, with the two rows that it lacks.

    Attributes
    ----------
    kernels, invariances : tuple of str
        The invariance ``none`` is the reference that differences are taken against.
    center : {"position", "channel", "none"}
    k : int
        Answers per query. With more than one, the best and the mean of the k are reported beside the first.
    solver : str
    full_matrix : bool
        Solve every pair; see `semret.eval.search.find_answers`.
    seed : int
        Of the split and of the intervals.
    resamples : int
        Of the bootstrap and of the paired test.
    threads : int or None
    """

    kernels: tuple[str, ...] = ("cosine", "linear", "rbf")
    invariances: tuple[str, ...] = ("pooled", "none", "maxsim", "permutation")
    center: str = "position"
    k: int = 1
    solver: str = "auction"
    full_matrix: bool = False
    seed: int = 0
    resamples: int = 2000
    threads: int | None = None


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


def run_retrieval(
    dataset: Dataset,
    split: Split,
    models: list[ModelChoice],
    cache: Path,
    *,
    settings: RetrievalSettings | None = None,
    dtype: str = "float16",
    batch_size: int | None = None,
    progress: Callable[[str], Callable[[int, int], None] | None] | None = None,
) -> tuple[Report, list[Run]]:
    """Retrieve with every model, database size, kernel and invariance, and judge the answers.

    Parameters
    ----------
    dataset, split
        See `semret.eval.egoobjects` and `semret.eval.cityscapes`.
    models : list of ModelChoice
        Each embeds all pictures once; see `semret.eval.features.extract`.
    cache : Path
        Where features are kept.
    settings : RetrievalSettings, optional
    dtype, batch_size
        Of stored tokens; of the feature pass.
    progress : callable or None
        Called with the name of a stage; gives the callback for that stage.

    Returns
    -------
    report : Report
    runs : list of Run
        What the report was made from, for pages of examples.

    Raises
    ------
    DatasetError, ArgumentError, IncompatibleIndexError, WeightsNotFoundError, StorageError
        See what it composes.
    """
    chosen = settings or RetrievalSettings()
    report = Report(
        experiment=dataset.name,
        title=f"Retrieval on {dataset.name}: {NAMES[dataset.measure]} of the retrieved image",
        settings={**asdict(chosen), "dtype": dtype},
        seed=chosen.seed,
        dataset=_describe(dataset, split),
    )
    runs: list[Run] = []
    labels = name_models(models)
    for label, choice in zip(labels, models, strict=True):
        start = time.perf_counter()
        pictures = np.concatenate([split.queries, split.largest])
        listen = progress(f"{label}: features") if progress else None
        features = extract(dataset, pictures, choice, cache, dtype=dtype, batch_size=batch_size, progress=listen)
        report.seconds[f"{label}: features"] = time.perf_counter() - start
        report.models.append({"name": label, **features.describe(), "unreadable": len(features.unreadable)})
        readable = without_unreadable(split, features)
        for size in readable.databases:
            listen = progress(f"{label}: database of {size}") if progress else None
            runs.append(_retrieve(dataset, readable, size, label, features, chosen, listen))
            for (kernel, invariance), answers in runs[-1].answers.items():
                report.seconds[f"{label}: {size} {invariance} {kernel}"] = answers.seconds
    for run in runs:
        _enter(report, dataset, run, chosen)
    _add_tables(report, dataset, runs, chosen)
    report.notes += _notes(runs, chosen)
    return report, runs


def name_models(models: list[ModelChoice]) -> list[str]:
    """Name models by what tells them apart, as ``NAME`` or ``NAME@HxW``.

    Raises
    ------
    ArgumentError
        If two are the same.
    """
    names = []
    for choice in models:
        name = choice.model or "efficientnet-lite0"
        names.append(name if choice.size is None else "{}@{}x{}".format(name, *choice.size))
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ArgumentError(f"model {sorted(repeated)[0]} is given twice; name each model and size once")
    return names


def _describe(dataset: Dataset, split: Split) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "pictures": len(dataset),
        "classes": len(dataset.classes),
        "videos": len(np.unique(dataset.videos)),
        "queries": len(split.queries),
        "databases": sorted(split.databases),
        "left_out": dataset.left_out,
        "fingerprint": dataset.fingerprint(),
    }


def _retrieve(
    dataset: Dataset,
    split: Split,
    size: int,
    label: str,
    features: Features,
    settings: RetrievalSettings,
    progress: Callable[[int, int], None] | None,
) -> Run:
    rows = split.databases[size]
    allowed = allowed_answers(dataset, split.queries, rows)
    queries, database = features.source(split.queries), features.source(rows)
    answers = find_answers(
        queries,
        database,
        allowed,
        k=settings.k,
        kernels=settings.kernels,
        invariances=settings.invariances,
        center=settings.center,
        solver=settings.solver,
        full_matrix=settings.full_matrix,
        threads=settings.threads,
        progress=progress,
    )
    values = {cell: _judge(dataset, split.queries, rows, found.rows) for cell, found in answers.items()}
    ranks = {
        kernel: shortlist_ranks(queries, database, allowed, found.rows[:, 0])
        for (kernel, invariance), found in answers.items()
        if invariance == "permutation"
    }
    return Run(
        model=label,
        size=size,
        split=split,
        features=features,
        answers=answers,
        values=values,
        references=reference_scores(dataset, split.queries, rows, allowed),
        ranks=ranks,
    )


def _judge(dataset: Dataset, queries: IndexVector, database: IndexVector, rows: IndexVector) -> Float64Array:
    """Return the value of each answer, (Q, k); NaN where there is none."""
    values = dataset.judge(queries[:, None], database[np.maximum(rows, 0)])
    return np.where(rows >= 0, values, np.nan)


def _enter(report: Report, dataset: Dataset, run: Run, settings: RetrievalSettings) -> None:
    """Add the metrics, comparisons and per-query lines of one run."""
    groups = dataset.scenes[run.split.queries]
    options: dict[str, Any] = {"seed": settings.seed, "resamples": settings.resamples, "groups": groups}
    base = {"database": run.size}
    for name, values in run.references.items():
        _add_metric(report, f"{dataset.measure}@1", run.model, {**base, "reference": name}, values, None, options)
    for (kernel, invariance), values in run.values.items():
        cell = {**base, "kernel": kernel, "invariance": invariance}
        paper = _paper_value(dataset, run, kernel, invariance)
        for name, aggregated in aggregate(values, dataset.measure).items():
            known = paper if name.endswith("@1") else None
            _add_metric(report, name, run.model, cell, aggregated, known, options)
        for other in ("none", "pooled", "maxsim"):
            if invariance != "permutation" or (kernel, other) not in run.values:
                continue
            difference = compare_means(values[:, 0], run.values[kernel, other][:, 0], **options)
            report.comparisons.append(
                {
                    "name": f"{dataset.measure}@1",
                    "model": run.model,
                    "cell": cell,
                    "against": {**cell, "invariance": other},
                    **difference.as_json(),
                }
            )
    for kernel, ranks in run.ranks.items():
        for length in SHORTLISTS:
            if length <= run.size:
                cell = {**base, "kernel": kernel, "shortlist": length}
                _add_metric(report, "shortlist recall", run.model, cell, ranks <= length, None, options)
    report.per_query += _lines(dataset, run)


def aggregate(values: Float64Array, measure: str) -> dict[str, Float64Array]:
    """Return the first answer's value per query and, for k above 1, the best and the mean of the k.

    Parameters
    ----------
    values : ndarray of shape (Q, k)
        NaN where there is no answer; the first column holds none.
    measure : str
        Prefix of the names: ``f1@1``, ``f1@5 best``, ``f1@5 mean``.
    """
    k = values.shape[1]
    found = {f"{measure}@1": values[:, 0]}
    if k > 1:
        found[f"{measure}@{k} best"] = np.nanmax(values, axis=1)
        found[f"{measure}@{k} mean"] = np.nanmean(values, axis=1)
    return found


def _add_metric(
    report: Report,
    name: str,
    model: str,
    cell: dict[str, Any],
    values: Any,
    paper: float | None,
    options: dict[str, Any],
) -> None:
    estimate = estimate_mean(np.asarray(values, dtype=np.float64), **options)
    report.metrics.append({"name": name, "model": model, "cell": cell, **estimate.as_json(), "paper": paper})


def _paper_value(dataset: Dataset, run: Run, kernel: str, invariance: str) -> float | None:
    name = run.model.split("@")[0]
    if dataset.name == "egoobjects":
        return table_2(name, run.size, kernel, invariance)
    return table_3(name, kernel, invariance)


def _lines(dataset: Dataset, run: Run) -> list[dict[str, Any]]:
    lines = []
    for row, query in enumerate(run.split.queries):
        for (kernel, invariance), answers in run.answers.items():
            found = [
                {
                    "path": dataset.paths[run.database[answer]].name,
                    "score": float(answers.scores[row, place]),
                    dataset.measure: float(run.values[kernel, invariance][row, place]),
                }
                for place, answer in enumerate(answers.rows[row])
                if answer >= 0
            ]
            lines.append(
                {
                    "model": run.model,
                    "database": run.size,
                    "kernel": kernel,
                    "invariance": invariance,
                    "query": dataset.paths[query].name,
                    "oracle": float(run.references["oracle"][row]),
                    "answers": found,
                }
            )
    return lines


def _add_tables(report: Report, dataset: Dataset, runs: list[Run], settings: RetrievalSettings) -> None:
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
    header = ["model", "database", "kernel", *settings.invariances, "paper (none / permutation)"]
    report.tables.append(Table(f"{name}@1, mean and 95 % interval", header, rows))
    report.tables += [_reference_table(report, dataset), _difference_table(report, dataset)]
    extra = [m for m in report.metrics if m["name"] not in (f"{dataset.measure}@1", "shortlist recall")]
    if extra:
        lines = [[m["name"], m["model"], *(str(v) for v in m["cell"].values()), show(m)] for m in extra]
        report.tables.append(
            Table(f"Of {settings.k} answers", ["metric", "model", "database", "kernel", "invariance", "value"], lines)
        )
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
         f"{c['mean']:+.3f} [{c['low']:+.3f}, {c['high']:+.3f}]", f"{c['p']:.4f}"]
        for c in report.comparisons
    ]  # fmt: skip
    title = f"Permutation invariance against the others: difference of {NAMES[dataset.measure]}@1, paired"
    return Table(title, ["model", "database", "kernel", "against", "difference", "p"], rows)


def _add_recall(report: Report) -> None:
    recalls = [m for m in report.metrics if m["name"] == "shortlist recall"]
    if not recalls:
        return
    rows = [
        [m["model"], *(str(m["cell"][key]) for key in ("database", "kernel", "shortlist")), show(m)] for m in recalls
    ]
    title = "Share of queries whose best matched answer is in the pooled shortlist"
    report.tables.append(Table(title, ["model", "database", "kernel", "shortlist", "recall"], rows))
    series: dict[str, dict[int, float]] = {}
    for m in recalls:
        name = f"{m['model']}, {m['cell']['database']}, {m['cell']['kernel']}"
        series.setdefault(name, {})[m["cell"]["shortlist"]] = m["mean"]
    x = sorted(set.intersection(*(set(points) for points in series.values())))
    report.figures["shortlist_recall.png"] = curves(
        [float(length) for length in x],
        {name: [points[length] for length in x] for name, points in series.items()},
        x_label="length of the shortlist (images)",
        y_label="recall of the best matched answer",
        title="Recall of the pooled shortlist",
        log_x=True,
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
        title = f"{run.model}, database of {run.size}, {len(run.split.queries)} queries"
        report.figures[file] = bars(
            list(settings.kernels), series, label=f"{name}@1 (0 to 1)", title=title, lines=lines
        )


def _notes(runs: list[Run], settings: RetrievalSettings) -> list[str]:
    notes = [
        "Intervals: 95 % percentile bootstrap over queries, resampled by scene. p: two-sided sign-flip test of the "
        "paired difference, signs flipped by scene.",
        f"Centre: {settings.center} mean of the database, subtracted from queries and database.",
        "Pictures go straight into the model's own preprocessing; the paper first resizes all to one size.",
    ]
    if any("permutation" in cell for run in runs for cell in run.answers) and not settings.full_matrix:
        solved = sum(a.solved for run in runs for (_, i), a in run.answers.items() if i == "permutation")
        pruned = sum(a.pruned for run in runs for (_, i), a in run.answers.items() if i == "permutation")
        notes.append(
            f"Matchings: {solved} pairs solved, {pruned} ruled out by an upper bound; the answers are those of solving "
            "all. sigma of the rbf kernel is then the median, over all pairs, of the mean squared distance over all "
            "matchings; the order of answers does not depend on it."
        )
    return notes
