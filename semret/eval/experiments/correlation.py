"""Tables 1 and 4: similarity of representations against divergence of what the network predicts."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array
from semret.errors import ArgumentError, BackboneError
from semret.eval.experiments.pictures import choose_pictures, fingerprint, folder_of_pictures, upper_triangle
from semret.eval.metrics import jensen_shannon, pearson, softmax, spearman
from semret.eval.paper import classifier, is_imagenet_test, table_1, table_4
from semret.eval.plots import scatters
from semret.eval.reports import Report, Table, file_name, show
from semret.index.backbones.spec import Backbone
from semret.index.images import decode_image
from semret.retrieval.rsm import rsm

Progress = Callable[[int, int], None]


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
    report = Report(
        experiment="correlation",
        title="Correlation of similarity with the divergence of class probabilities",
        settings=asdict(chosen),
        seed=chosen.seed,
        dataset={"name": "rendered scenes" if images is None else images.name},
    )
    with folder_of_pictures(images, chosen.count, chosen.seed) as folder:
        paths = choose_pictures(folder, chosen.count, seed=chosen.seed, least=3)
        report.dataset.update({"pictures": len(paths), "fingerprint": fingerprint(paths)})
        for load in backbones:
            _measure_model(report, paths, load(), chosen, progress)
    header = ["model", "kernel", *(f"{m}, {i}" for m in ("Pearson", "Spearman") for i in chosen.invariances), "paper"]
    report.tables.append(Table("Correlation with JSD", header, _rows(report, chosen)))
    report.notes.append(
        "Pairs of different pictures, each once. Intervals: 95 % percentile bootstrap over pictures. Paper: Pearson "
        "(Table 1), then Spearman (Table 4), for the invariances that it has, on test pictures of ImageNet."
    )
    return report


def _measure_model(
    report: Report, paths: list[Path], backbone: Backbone, settings: CorrelationSettings, progress: Progress | None
) -> None:
    start = time.perf_counter()
    name = backbone.spec.name
    report.models.append({"name": name, **backbone.identity.as_json()})
    paper = classifier(backbone.identity.as_json()) if is_imagenet_test([path.name for path in paths]) else None
    with tempfile.TemporaryDirectory(prefix="semret-tokens-") as scratch:
        tokens, logits = classify(paths, backbone, Path(scratch) / "tokens.npy", progress)
        probabilities = softmax(logits)
        divergence = np.array([jensen_shannon(row, probabilities) for row in probabilities])
        panels = {}
        for invariance in settings.invariances:
            found = rsm(
                tokens,
                kernel=list(settings.kernels),
                invariance=invariance,
                center=settings.center,
                solver=settings.solver,
            )
            for kernel, matrix in found.items():
                symmetric = (matrix + matrix.T) / 2  # maxsim is not symmetric by itself
                _enter(report, name, paper, kernel, invariance, symmetric, divergence, settings)
                if kernel == settings.kernels[0]:
                    panels[f"{kernel}, {invariance}"] = (upper_triangle(divergence), upper_triangle(symmetric))
        del tokens
    file = f"correlation_{file_name(name)}.png"
    report.figures[file] = scatters(
        panels, x_label="JSD of class probabilities (nats)", y_label="similarity", title=name
    )
    report.seconds[name] = time.perf_counter() - start


def classify(
    paths: list[Path], backbone: Backbone, store: Path, progress: Progress | None = None
) -> tuple[NDArray[np.float32], Float32Array]:
    """Return last-layer tokens (N, S, C), memory-mapped from the file `store`, and logits (N, classes).

    Raises
    ------
    BackboneError
        If the network has no classifier.
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
    kernel: str,
    invariance: str,
    similarity: Float64Array,
    divergence: Float64Array,
    settings: CorrelationSettings,
) -> None:
    from scipy.stats import rankdata

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
             "n": len(similarity), "paper": paper}
        )  # fmt: skip


def _symmetric(values: Float64Array, n: int) -> Float64Array:
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n, 1)] = values
    return matrix + matrix.T


def resampled_correlation(
    similarity: Float64Array, divergence: Float64Array, *, seed: int, resamples: int
) -> tuple[float, float]:
    """Return the 95 % percentile interval of Pearson's correlation, resampling pictures and not pairs.

    Pairs of a picture with its own copy are left out of a resample.
    """
    n = len(similarity)
    rng = np.random.default_rng([seed, 6])
    found = []
    for _ in range(resamples):
        counts = np.bincount(rng.integers(0, n, size=n), minlength=n).astype(np.float64)
        weights = np.outer(counts, counts)
        np.fill_diagonal(weights, 0.0)
        found.append(_weighted_pearson(similarity, divergence, weights))
    usable = [value for value in found if np.isfinite(value)]
    if not usable:
        return float("nan"), float("nan")
    low, high = np.quantile(usable, [0.025, 0.975])
    return float(low), float(high)


def _weighted_pearson(x: Float64Array, y: Float64Array, weights: Float64Array) -> float:
    total = weights.sum()
    if total == 0:
        return float("nan")
    dx, dy = x - (weights * x).sum() / total, y - (weights * y).sum() / total
    spread = np.sqrt((weights * dx**2).sum() * (weights * dy**2).sum())
    return float((weights * dx * dy).sum() / spread) if spread > 0 else float("nan")


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
