"""Tables 1 and 4: similarity of representations against divergence of what the network predicts."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from semret.arrays import Float32Array, Float64Array
from semret.errors import ArgumentError, BackboneError
from semret.eval.experiments.matrices import compare_maps
from semret.eval.experiments.pictures import choose_pictures, describe_pictures, folder_of_pictures, name_model
from semret.eval.metrics import jensen_shannon, softmax
from semret.eval.pairs import resampled_correlation, upper_triangle
from semret.eval.report.distribution_plots import scatters
from semret.eval.report.document import Report, Table
from semret.eval.report.paper import classifier, is_imagenet_test, table_1, table_4
from semret.eval.report.values import file_name, show
from semret.eval.statistics import pearson, spearman
from semret.index.backbones.spec import Backbone
from semret.index.pictures.decode import decode_image
from semret.progress import Progress, waiting_for
from semret.retrieval.similarity.names import check_modes


@dataclass(frozen=True, kw_only=True)
class CorrelationSettings:
    """How the experiment is run; the defaults are the paper's.

    Attributes
    ----------
    count : int
        Pictures, drawn at random.
    kernels, invariances : tuple of str
    center : {"position", "channel", "none"}
        Mean over all pictures that is subtracted.
    solver : str
    resamples : int
        Of the bootstrap over pictures.
    seed : int
    """

    count: int = 2000
    kernels: tuple[str, ...] = ("cosine", "linear", "rbf")
    invariances: tuple[str, ...] = ("none", "permutation")
    center: str = "position"
    solver: str = "auction"
    resamples: int = 200
    seed: int = 0


def run_correlation(
    images: Path | None,
    backbones: Sequence[Callable[[], Backbone]],
    *,
    settings: CorrelationSettings | None = None,
    progress: Progress | None = None,
) -> Report:
    """Correlate the similarity of last-layer representations with the divergence of class probabilities.

    A similarity that follows what the network sees falls as the Jensen-Shannon divergence of its predictions grows:
    the more negative, the better.

    Parameters
    ----------
    images : Path or None
        Folder of pictures; None renders scenes.
    backbones : sequence of callable
        Load classifiers; one is held at a time.
    settings : CorrelationSettings, optional
    progress : callable or None
        Called with pictures embedded and their total, for each model.

    Returns
    -------
    Report

    Raises
    ------
    BackboneError
        If a network has no classifier.
    ArgumentError, DatasetError
        If a setting is out of range, or pictures are missing.
    """
    chosen = settings or CorrelationSettings()
    if chosen.count < 3:
        raise ArgumentError(f"count is {chosen.count}, expected at least 3 pictures")
    if chosen.resamples < 1 or not chosen.kernels or not chosen.invariances:
        raise ArgumentError(
            f"{len(chosen.kernels)} kernels, {len(chosen.invariances)} invariances and {chosen.resamples} resamples "
            "were asked for, expected at least one each"
        )
    for kernel in chosen.kernels:
        for invariance in chosen.invariances:
            check_modes(kernel, invariance, chosen.center, chosen.solver)
    report = Report(
        experiment="correlation",
        title="Correlation of similarity with the divergence of class probabilities",
        settings=asdict(chosen),
        seed=chosen.seed,
        dataset={},
    )
    with folder_of_pictures(images, chosen.count, chosen.seed) as folder:
        paths = choose_pictures(folder, chosen.count, seed=chosen.seed, least=3)
        report.dataset = describe_pictures(images, paths)
        for load in backbones:
            with waiting_for(f"loading {getattr(load, 'model', 'the network')}", progress):
                backbone = load()
            _measure_model(report, paths, backbone, chosen, progress)
    header = ["model", "kernel", *(f"{m}, {i}" for m in ("Pearson", "Spearman") for i in chosen.invariances), "paper"]
    report.tables.append(Table("Correlation with JSD", header, _rows(report, chosen)))
    pairs = len(paths) * (len(paths) - 1) // 2
    report.notes.append(
        f"{len(paths)} pictures, {pairs:,} pairs of different ones, each once. Intervals: 95 % percentile bootstrap "
        f"over pictures, {chosen.resamples} resamples. Centre: {chosen.center} mean of all pictures. Paper: Pearson "
        "(Table 1), then Spearman (Table 4), for the invariances that it has, on test pictures of ImageNet."
    )
    return report


def _measure_model(
    report: Report, paths: list[Path], backbone: Backbone, settings: CorrelationSettings, progress: Progress | None
) -> None:
    start = time.perf_counter()
    name = name_model(backbone, report.models)
    report.models.append({"name": name, **backbone.identity.as_json()})
    paper = classifier(backbone.identity.as_json()) if is_imagenet_test([path.name for path in paths]) else None
    with tempfile.TemporaryDirectory(prefix="semret-tokens-") as scratch:
        tokens, logits = classify(paths, backbone, Path(scratch) / "tokens.npy", progress)
        probabilities = softmax(logits)
        divergence = np.array([jensen_shannon(row, probabilities) for row in probabilities])
        found = {}
        for invariance in settings.invariances:
            matrices, sigma = compare_maps(
                tokens, settings.kernels, invariance, center=settings.center, solver=settings.solver
            )
            for kernel, matrix in matrices.items():
                width = sigma if kernel == "rbf" else None
                _enter(report, name, paper, (kernel, invariance), matrix, divergence, settings, width)
                found[kernel, invariance] = upper_triangle(matrix)
        del tokens
    _draw(report, name, found, upper_triangle(divergence), settings)
    report.seconds[name] = time.perf_counter() - start


def classify(
    paths: list[Path], backbone: Backbone, store: Path, progress: Progress | None = None
) -> tuple[NDArray[np.float32], Float32Array]:
    """Run pictures through a classifier.

    Parameters
    ----------
    paths : list of Path
    backbone : Backbone
    store : Path
        File that receives the tokens.
    progress : callable or None
        Called with pictures done and their total.

    Returns
    -------
    tokens : ndarray of shape (N, S, C), float32
        Of the last layer, memory-mapped from `store`.
    logits : ndarray of shape (N, classes), float32

    Raises
    ------
    BackboneError
        If the network has no classifier.
    ArgumentError
        If there are no pictures.
    """
    tokens: NDArray[np.float32] | None = None
    logits = []
    for row, path in enumerate(paths):
        features = backbone.embed(backbone.prepare(decode_image(path))[None])
        if features.logits is None:
            raise BackboneError(
                f"{backbone.spec.name} has no classifier, so no class probabilities; choose a model with classes, "
                "see semret models"
            )
        if tokens is None:
            shape = (len(paths), *features.tokens.shape[1:])
            tokens = np.lib.format.open_memmap(store, mode="w+", dtype=np.float32, shape=shape)
        tokens[row] = features.tokens[0]
        logits.append(features.logits[0])
        if progress is not None:
            progress(row + 1, len(paths))
    if tokens is None:
        raise ArgumentError("there are no pictures to classify")
    return tokens, np.stack(logits)


def _enter(
    report: Report,
    model: str,
    paper_model: str | None,
    compared: tuple[str, str],
    similarity: Float64Array,
    divergence: Float64Array,
    settings: CorrelationSettings,
    sigma: float | None,
) -> None:
    kernel, invariance = compared
    x, y = upper_triangle(similarity), upper_triangle(divergence)
    cell = {"kernel": kernel, "invariance": invariance}
    ranks = [_symmetric(rankdata(values), len(similarity)) for values in (x, y)]
    for name, value, pair, paper in (
        ("pearson", pearson(x, y), (similarity, divergence), table_1(paper_model, kernel, invariance)),
        ("spearman", spearman(x, y), (ranks[0], ranks[1]), table_4(paper_model, "spearman", kernel, invariance)),
    ):
        low, high = resampled_correlation(*pair, seed=settings.seed, resamples=settings.resamples)
        report.metrics.append(
            {"name": name, "model": model, "cell": cell, "value": value, "low": low, "high": high,
             "n": len(similarity), "paper": paper, **({} if sigma is None else {"sigma": sigma})}
        )  # fmt: skip


def _draw(
    report: Report,
    model: str,
    found: dict[tuple[str, str], Float64Array],
    divergence: Float64Array,
    settings: CorrelationSettings,
) -> None:
    """Draw every kernel and invariance that was computed, a kernel in each column."""
    values = {
        tuple(m["cell"].values()): show(m)
        for m in report.metrics
        if (m["model"], m["name"]) == (model, "pearson")
    }  # fmt: skip
    report.figures[f"correlation_{file_name(model)}.png"] = scatters(
        {
            f"{kernel}, {invariance}\nr = {values[kernel, invariance]}": (divergence, found[kernel, invariance])
            for invariance in settings.invariances
            for kernel in settings.kernels
        },
        x_label="JSD of class probabilities (nats)",
        y_label="similarity",
        title=f"{model}: similarity against divergence of predictions",
        columns=len(settings.kernels),
        caption=f"{report.dataset['pictures']} pictures, {len(divergence):,} pairs. r: Pearson's correlation and its "
        "95 % interval.",
    )


def _symmetric(values: Float64Array, n: int) -> Float64Array:
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n, 1)] = values
    return matrix + matrix.T


def _rows(report: Report, settings: CorrelationSettings) -> list[list[str]]:
    cells = {(m["model"], m["cell"]["kernel"], m["name"], m["cell"]["invariance"]): m for m in report.metrics}
    rows = []
    for model in (entry["name"] for entry in report.models):
        for kernel in settings.kernels:
            shown = [show(cells[model, kernel, m, i]) for m in ("pearson", "spearman") for i in settings.invariances]
            papers = [
                cells[model, kernel, m, i]["paper"] for m in ("pearson", "spearman") for i in settings.invariances
            ]
            paper = " / ".join(f"{value:.3f}" for value in papers if value is not None) or "-"
            rows.append([model, kernel, *shown, paper])
    return rows
