"""Tables 2 and 3: how well the best-scored image agrees with the query, by model, kernel and invariance."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from semret.arrays import Float64Array, IndexVector
from semret.errors import ArgumentError
from semret.eval.answers import find_answers
from semret.eval.data.dataset import Dataset, Split, allowed_answers, reference_scores
from semret.eval.experiments.retrieval_report import NAMES, RetrievalSettings, Run, add_tables, notes_of
from semret.eval.features import Features, extract, without_unreadable
from semret.eval.ranking import shortlist_ranks
from semret.eval.report.document import Report
from semret.eval.report.paper import extractor, table_2, table_3
from semret.eval.statistics import compare_means, estimate_mean
from semret.index.model_choice import ModelChoice
from semret.progress import Progress

SHORTLISTS = (1, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Lengths at which the recall of the shortlist is reported."""


def run_retrieval(
    dataset: Dataset,
    split: Split,
    models: list[ModelChoice],
    cache: Path,
    *,
    settings: RetrievalSettings | None = None,
    data_settings: dict[str, Any] | None = None,
    batch_size: int | None = None,
    progress: Callable[[str], Progress | None] | None = None,
) -> tuple[Report, list[Run]]:
    """Retrieve with every model, database size, kernel and invariance, and judge the answers.

    Parameters
    ----------
    dataset, split
        See `semret.eval.data.egoobjects` and `semret.eval.data.cityscapes`.
    models : list of ModelChoice
        Each embeds all pictures once; see `semret.eval.features.extract`.
    cache : Path
        Where features are kept.
    settings : RetrievalSettings, optional
    data_settings : dict, optional
        How data set and split were chosen, for the report.
    batch_size : int or None
        Of the feature pass.
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
        See `extract` and `find_answers`.
    """
    chosen = settings or RetrievalSettings()
    report = Report(
        experiment=dataset.name,
        title=f"Retrieval on {dataset.name}: {NAMES[dataset.measure]} of the retrieved image",
        settings={**asdict(chosen), **(data_settings or {})},
        seed=chosen.seed,
        dataset=_describe(dataset, split),
        departures=[] if dataset.is_papers else [f"the pictures are not those of the paper's {dataset.name}"],
    )
    runs: list[Run] = []
    labels = name_models(models)
    for label, choice in zip(labels, models, strict=True):
        start = time.perf_counter()
        pictures = np.concatenate([split.queries, split.largest])
        listen = progress(f"{label}: features") if progress else None
        features = extract(
            dataset,
            pictures,
            choice,
            cache,
            dtype=chosen.dtype,
            codec=chosen.codec,
            batch_size=batch_size,
            frame=chosen.frame,
            progress=listen,
        )
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
    add_tables(report, dataset, runs, chosen)
    report.notes += notes_of(report, dataset, runs, chosen)
    return report, runs


def name_models(models: list[ModelChoice]) -> list[str]:
    """Name models by what tells them apart, as ``NAME`` or ``NAME@HxW``.

    Parameters
    ----------
    models : list of ModelChoice

    Returns
    -------
    list of str

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
        "scenes": len(np.unique(dataset.scenes)),
        "queries": len(split.queries),
        "scenes of queries": len(np.unique(dataset.scenes[split.queries])),
        "databases": sorted(split.databases),
        "notes": list(split.notes),
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
    progress: Progress | None,
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
        device=settings.device,
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
    """Return the value of each answer, (Q, k); NaN where there is no answer."""
    values = dataset.judge(queries[:, None], database[np.maximum(rows, 0)])
    return np.where(rows >= 0, values, np.nan)


def _enter(report: Report, dataset: Dataset, run: Run, settings: RetrievalSettings) -> None:
    """Add the metrics, comparisons and per-query lines of one run."""
    groups = dataset.scenes[run.split.queries]
    options: dict[str, Any] = {"seed": settings.seed, "resamples": settings.resamples, "groups": groups}
    base = {"database": run.size}
    for name, values in run.references.items():
        metric = _metric(f"{dataset.measure}@1", run.model, {**base, "reference": name}, values, options)
        report.metrics.append(metric)
    for (kernel, invariance), values in run.values.items():
        cell = {**base, "kernel": kernel, "invariance": invariance}
        sigma = run.answers[kernel, invariance].sigma
        for name, aggregated in aggregate(values, dataset.measure).items():
            metric = _metric(name, run.model, cell, aggregated, options)
            if name.endswith("@1"):
                metric["paper"] = _paper_value(dataset, run, kernel, invariance)
            if sigma is not None:
                metric["sigma"] = sigma
            report.metrics.append(metric)
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
                report.metrics.append(_metric("shortlist recall", run.model, cell, ranks <= length, options))
    report.per_query += _lines(dataset, run)


def aggregate(values: Float64Array, measure: str) -> dict[str, Float64Array]:
    """Return the first answer's value per query and, for k above 1, the best and the mean of the k.

    Parameters
    ----------
    values : ndarray of shape (Q, k)
        NaN where there is no answer; the first column holds no NaN.
    measure : str
        Prefix of the names: ``f1@1``, ``f1@5 best``, ``f1@5 mean``.

    Returns
    -------
    dict from name to ndarray of shape (Q,), float64
    """
    k = values.shape[1]
    found = {f"{measure}@1": values[:, 0]}
    if k > 1:
        found[f"{measure}@{k} best"] = np.nanmax(values, axis=1)
        found[f"{measure}@{k} mean"] = np.nanmean(values, axis=1)
    return found


def _metric(name: str, model: str, cell: dict[str, Any], values: Any, options: dict[str, Any]) -> dict[str, Any]:
    estimate = estimate_mean(np.asarray(values, dtype=np.float64), **options)
    return {"name": name, "model": model, "cell": cell, **estimate.as_json(), "paper": None}


def _paper_value(dataset: Dataset, run: Run, kernel: str, invariance: str) -> float | None:
    """Return the paper's number where data set, sizes and network are the paper's, None elsewhere."""
    if not dataset.is_papers:
        return None
    model = extractor(run.features.describe())
    table = table_2 if dataset.name == "egoobjects" else table_3
    return table(model, len(run.split.queries), len(run.database), kernel, invariance)


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
