"""Overlapping crops (section 4.1, appendix B): shifted views of one picture against different pictures."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semret.arrays import Float64Array
from semret.errors import ArgumentError
from semret.eval.experiments.matrices import compare_maps
from semret.eval.experiments.pictures import (
    choose_layers,
    choose_pictures,
    describe_pictures,
    embed_layers,
    folder_of_pictures,
    name_model,
)
from semret.eval.metrics import compare_means
from semret.eval.report.distribution_plots import histograms
from semret.eval.report.plots import curves, heat_maps
from semret.eval.report.reports import Report, Table, show, show_p, with_holm
from semret.eval.separation import Separation, separate, split_pairs
from semret.index.backbones.spec import Backbone
from semret.index.pictures.decode import decode_image
from semret.progress import Progress
from semret.retrieval.similarity.names import check_modes

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
    with folder_of_pictures(images, 4 * count, chosen.seed) as folder:
        paths = choose_pictures(folder, count, seed=chosen.seed, least=2 * chosen.batches)
        layers = _measure(paths, backbone, shift, chosen, progress)
        dataset = describe_pictures(images, paths)
    report = Report(
        experiment="translation",
        title="Overlapping crops: do they look more alike than different pictures?",
        settings={**asdict(chosen), "shift_pixels": shift},
        seed=chosen.seed,
        dataset=dataset,
        models=[{"name": name_model(backbone), **backbone.identity.as_json()}],
        seconds={"all": time.perf_counter() - start},
    )
    _summarise(report, layers, chosen)
    return report


@dataclass
class Layer:
    """A layer's numbers of positions and channels, and for each invariance matrices and bandwidths by batch."""

    positions: int
    channels: int
    matrices: dict[str, list[Float64Array]]
    sigmas: dict[str, list[float | None]]


def _measure(
    paths: list[Path], backbone: Backbone, shift: int, settings: TranslationSettings, progress: Progress | None
) -> dict[str, Layer]:
    found: dict[str, Layer] = {}
    done = 0
    for batch in np.array_split(np.arange(len(paths)), settings.batches):
        chunk = [paths[index] for index in batch]
        listen = None if progress is None else _offset(progress, done, 2 * len(paths))
        with tempfile.TemporaryDirectory(prefix="semret-layers-") as scratch:
            crops = crop_pairs(chunk, backbone, shift)
            layers = embed_layers(
                crops, 2 * len(chunk), backbone, Path(scratch), largest=settings.largest, progress=listen
            )
            for name, tokens in layers.items():
                empty: dict[str, list[Any]] = {invariance: [] for invariance in INVARIANCES}
                layer = found.setdefault(name, Layer(tokens.shape[1], tokens.shape[2], empty, deepcopy(empty)))
                for invariance in INVARIANCES:
                    matrices, sigma = compare_maps(
                        tokens, [settings.kernel], invariance, center=settings.center, solver=settings.solver
                    )
                    layer.matrices[invariance].append(matrices[settings.kernel])
                    layer.sigmas[invariance].append(sigma)
            layers.clear()
        done += 2 * len(chunk)
    return found


def _check(settings: TranslationSettings) -> None:
    if settings.pairs < 2 or settings.batches < 1:
        raise ArgumentError(f"pairs is {settings.pairs} and batches {settings.batches}, expected at least 2 and 1")
    if not 0 < settings.shift < 1:
        raise ArgumentError(f"shift is {settings.shift}, expected a share between 0 and 1, both excluded")
    if settings.resamples < 1:
        raise ArgumentError(f"resamples is {settings.resamples}, expected at least 1")
    check_modes(settings.kernel, "permutation", settings.center, settings.solver)


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


def _summarise(report: Report, layers: dict[str, Layer], settings: TranslationSettings) -> None:
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
