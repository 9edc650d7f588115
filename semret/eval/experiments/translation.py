"""Overlapping crops (section 4.1, appendix B): shifted views of one picture against different pictures."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from semret.arrays import Float64Array
from semret.errors import ArgumentError
from semret.eval.experiments.pictures import (
    choose_layers,
    choose_pictures,
    embed_layers,
    fingerprint,
    folder_of_pictures,
    upper_triangle,
)
from semret.eval.metrics import auc, compare_means, estimate_mean
from semret.eval.plots import curves, heat_maps, histograms
from semret.eval.reports import Report, Table, show
from semret.index.backbones.spec import Backbone
from semret.index.images import decode_image
from semret.progress import Progress
from semret.retrieval.rsm import rsm

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
    seed : int
    """

    pairs: int = 10
    batches: int = 4
    shift: float = 1 / 3
    kernel: str = "rbf"
    center: str = "none"
    largest: int = 1024
    solver: str = "auction"
    seed: int = 0


def run_translation(
    images: Path | None,
    backbone: Backbone,
    *,
    settings: TranslationSettings | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure, layer by layer, how well similarity separates overlapping crops from different pictures.

    The figure is the area under the ROC curve: the probability that an overlapping pair is more similar than a pair of
    crops of different pictures. 1 separates them, 0.5 is chance.

    Parameters
    ----------
    images : Path or None
        Folder of pictures; None renders scenes.
    backbone : Backbone
        A network that shows its layers.
    settings : TranslationSettings, optional
    progress : callable or None
        Called with crops embedded and their total.

    Raises
    ------
    ArgumentError, DatasetError, BackboneError
        If a setting is out of range, pictures are missing, or the network does not show its layers.
    """
    chosen = settings or TranslationSettings()
    _check(chosen)
    start = time.perf_counter()
    count = chosen.pairs * chosen.batches
    shift = shift_in_pixels(backbone, chosen.shift)
    matrices: dict[tuple[str, str], list[Float64Array]] = {}
    with folder_of_pictures(images, 4 * count, chosen.seed) as folder:
        paths = choose_pictures(folder, count, seed=chosen.seed, least=2 * chosen.batches)
        digest = fingerprint(paths)
        batches = np.array_split(np.arange(len(paths)), chosen.batches)
        done = 0
        shapes: dict[str, tuple[int, ...]] = {}
        for batch in batches:
            chunk = [paths[index] for index in batch]
            listen = None if progress is None else _offset(progress, done, 2 * len(paths))
            with tempfile.TemporaryDirectory(prefix="semret-layers-") as scratch:
                crops = crop_pairs(chunk, backbone, shift)
                layers = embed_layers(
                    crops, 2 * len(chunk), backbone, Path(scratch), largest=chosen.largest, progress=listen
                )
                for name, tokens in layers.items():
                    shapes[name] = tokens.shape[1:]
                    for invariance in INVARIANCES:
                        matrix = rsm(
                            tokens, kernel=chosen.kernel, invariance=invariance, center=chosen.center,
                            solver=chosen.solver,
                        )  # fmt: skip
                        matrices.setdefault((name, invariance), []).append(matrix)
                layers.clear()
            done += 2 * len(chunk)
    report = Report(
        experiment="translation",
        title="Overlapping crops: do they look more alike than different pictures?",
        settings={**asdict(chosen), "shift_pixels": shift},
        seed=chosen.seed,
        dataset={"name": "rendered scenes" if images is None else images.name, "pictures": len(paths),
                 "fingerprint": digest},
        models=[{"name": backbone.spec.name, **backbone.identity.as_json()}],
        seconds={"all": time.perf_counter() - start},
    )  # fmt: skip
    _summarise(report, matrices, shapes, chosen)
    return report


def _check(settings: TranslationSettings) -> None:
    if settings.pairs < 2 or settings.batches < 1:
        raise ArgumentError(f"pairs is {settings.pairs} and batches {settings.batches}, expected at least 2 and 1")
    if not 0 < settings.shift < 1:
        raise ArgumentError(f"shift is {settings.shift}, expected a share between 0 and 1, both excluded")


def _offset(progress: Progress, done: int, total: int) -> Progress:
    return lambda now, _: progress(done + now, total)


def shift_in_pixels(backbone: Backbone, share: float) -> int:
    """Return the shift as pixels of the network's input, moved off the multiples of its patch."""
    height = backbone.identity.preprocessing.size[0]
    patch = max(1, height // backbone.identity.grid[0])
    shift = min(max(round(share * height), 1), height - 1)
    if patch > 1 and shift % patch == 0:
        shift += patch // 2 if shift + patch // 2 < height else -(patch // 2)
    return shift


def crop_pairs(paths: list[Path], backbone: Backbone, shift: int) -> Iterator[Image.Image]:
    """Give the upper-left crops of all pictures, then the lower-left ones, `shift` pixels further down."""
    height, width = backbone.identity.preprocessing.size
    for top in (0, shift):
        for path in paths:
            picture = decode_image(path).resize((width + shift, height + shift), Image.Resampling.BICUBIC)
            yield picture.crop((0, top, width, top + height))


def split_pairs(matrix: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return the similarities of overlapping crops and of crops of different pictures.

    Parameters
    ----------
    matrix : ndarray of shape (2n, 2n)
        Crops of n pictures, then the other crops of the same pictures.
    """
    n = len(matrix) // 2
    same = matrix[np.arange(n), np.arange(n) + n]
    picture = np.arange(2 * n) % n
    different = picture[:, None] != picture[None]
    return same, upper_triangle(np.where(different, matrix, np.nan))[upper_triangle(different.astype(float)) > 0]


def _summarise(
    report: Report,
    matrices: dict[tuple[str, str], list[Float64Array]],
    shapes: dict[str, tuple[int, ...]],
    settings: TranslationSettings,
) -> None:
    model = report.models[0]["name"]
    rows: list[list[str]] = []
    series: dict[str, list[float]] = {name: [] for name in INVARIANCES}
    panels: dict[str, dict[str, Float64Array]] = {}
    for layer, (positions, channels) in shapes.items():
        aucs = {
            invariance: np.array([auc(*split_pairs(matrix)) for matrix in matrices[layer, invariance]])
            for invariance in INVARIANCES
        }
        cells = []
        for invariance, values in aucs.items():
            estimate = estimate_mean(values, seed=settings.seed)
            cell = {"layer": layer, "S": positions, "C": channels, "invariance": invariance}
            metric = {"name": "auc", "model": model, "cell": cell, **estimate.as_json(), "paper": None}
            report.metrics.append(metric)
            series[invariance].append(estimate.mean)
            cells.append(show(metric))
            parts = [split_pairs(matrix) for matrix in matrices[layer, invariance]]
            panels[f"{layer}, {invariance}"] = {
                "overlapping": np.concatenate([part[0] for part in parts]),
                "different": np.concatenate([part[1] for part in parts]),
            }
        if settings.batches > 1:
            difference = compare_means(aucs["permutation"], aucs["none"], seed=settings.seed)
            cell = {"layer": layer, "invariance": "permutation"}
            report.comparisons.append(
                {"name": "auc", "model": model, "cell": cell, "against": {**cell, "invariance": "none"},
                 **difference.as_json()}
            )  # fmt: skip
        rows.append([layer, str(positions), str(channels), *cells])
    report.tables.append(Table("Area under the ROC curve, mean over batches", ["layer", "S", "C", *INVARIANCES], rows))
    report.notes.append("1: overlapping crops are always more alike than crops of different pictures; 0.5: chance.")
    shown = choose_layers(list(shapes), 4)
    first = {f"{layer}, {i}": matrices[layer, i][0] for i in INVARIANCES for layer in shown}
    report.figures = {
        "separation.png": curves(
            [float(index) for index in range(len(shapes))], series, x_label="layer (from input to output)",
            y_label="area under the ROC curve", title="Overlapping crops against different pictures",
        ),
        "rsm.png": heat_maps(
            first, title=f"Similarity of the crops of the first batch ({settings.kernel})", x_label="crop",
            y_label="crop", bar_label="similarity",
            columns=len(shown),
        ),
        "distributions.png": histograms(
            {f"{layer}, {i}": panels[f"{layer}, {i}"] for i in INVARIANCES for layer in shown},
            x_label=f"similarity ({settings.kernel})",
            title="Similarity of overlapping crops and of different pictures",
            columns=len(shown),
        ),
    }  # fmt: skip
