"""CKA of layers (appendix G): semantic against spatio-semantic similarity, within a model and across models."""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array
from semret.errors import ArgumentError
from semret.eval.coded import coded
from semret.eval.experiments.cka_report import (
    INVARIANCES,
    CkaSettings,
    Matrices,
    add_bandwidths,
    compare_kinds,
    compare_layers,
)
from semret.eval.experiments.matrices import compare_maps
from semret.eval.experiments.pictures import (
    choose_layers,
    choose_pictures,
    describe_pictures,
    embed_layers,
    folder_of_pictures,
    name_model,
)
from semret.eval.report.document import Report
from semret.index.backbones.spec import Backbone
from semret.index.pictures.decode import decode_image
from semret.progress import Progress, waiting_for
from semret.retrieval.similarity.cka import ESTIMATORS
from semret.retrieval.similarity.names import check_modes, check_name

LEAST = 5
"""Pictures that a mini-batch needs: without one of them, four are left for the unbiased estimator."""


def run_cka(
    images: Path | None,
    backbones: Sequence[Callable[[], Backbone]],
    *,
    settings: CkaSettings | None = None,
    progress: Progress | None = None,
) -> Report:
    """Compare layers by centred kernel alignment of either kind of similarity matrix.

    Parameters
    ----------
    images : Path or None
        Folder of pictures; None renders scenes.
    backbones : sequence of callable
        Load networks that show their layers; one is held at a time.
    settings : CkaSettings, optional
    progress : callable or None
        Called with pictures embedded and their total, for each model.

    Returns
    -------
    Report
        For each model CKA of semantic (matched) with spatio-semantic similarity of the same layer, and CKA of each
        layer with each other from either kind and their difference; the latter also for each pair of models.

    Raises
    ------
    ArgumentError, DatasetError, BackboneError
        If a setting is out of range, pictures are missing, or a network does not show its layers.
    """
    chosen = settings or CkaSettings()
    _check(chosen)
    report = Report(
        experiment="cka",
        title="CKA of layers from semantic and from spatio-semantic similarity",
        settings=asdict(chosen),
        seed=chosen.seed,
        dataset={},
    )
    found: dict[str, dict[str, Matrices]] = {}
    with folder_of_pictures(images, chosen.count, chosen.seed) as folder:
        paths = choose_pictures(folder, chosen.count, seed=chosen.seed, least=LEAST)
        report.dataset = describe_pictures(images, paths)
        for load in backbones:
            start = time.perf_counter()
            with waiting_for(f"loading {getattr(load, 'model', 'the network')}", progress):
                backbone = load()
            name = name_model(backbone, report.models)
            report.models.append({"name": name, **backbone.identity.as_json()})
            found[name], sigmas = measure_layers(paths, backbone, chosen, progress)
            add_bandwidths(report, name, sigmas)
            report.seconds[name] = time.perf_counter() - start
    start = time.perf_counter()
    for name, matrices in found.items():
        compare_kinds(report, name, matrices, chosen)
    models = list(found)
    for number, one in enumerate(models):
        for other in models[number:]:
            compare_layers(report, one, other, found, chosen)
    report.seconds["comparison"] = time.perf_counter() - start
    report.notes += _notes(chosen, len(paths))
    return report


def _check(settings: CkaSettings) -> None:
    if settings.batch < LEAST or settings.count < LEAST:
        raise ArgumentError(
            f"count is {settings.count} and batch {settings.batch}, expected at least {LEAST} pictures each"
        )
    check_modes(settings.kernel, "permutation", settings.center, settings.solver)
    check_name("estimator", settings.estimator, ESTIMATORS)


def _notes(settings: CkaSettings, pictures: int) -> list[str]:
    sizes = sorted({batch.stop - batch.start for batch in split_batches(pictures, settings.batch)})
    count = len(split_batches(pictures, settings.batch))
    parts = f"{count} mini-batches of {' or '.join(map(str, sizes))}" if count > 1 else f"one batch of {sizes[0]}"
    return [
        "CKA is 1 for similarity matrices that are equal up to scale and a constant.",
        f"Intervals: 95 %, jackknife over the {pictures} pictures. HSIC: {settings.estimator} estimator, {parts} "
        "pictures, averaged by pictures.",
        f"Centre: {settings.center} mean of all pictures. Matching: solver {settings.solver}.",
        *([f"Tokens as codec {settings.codec} stores them, fitted for each layer."] if settings.codec else []),
    ]


def measure_layers(
    paths: list[Path], backbone: Backbone, settings: CkaSettings, progress: Progress | None = None
) -> tuple[dict[str, Matrices], dict[tuple[str, str], list[float]]]:
    """Compute the similarity matrices of every layer in mini-batches.

    Parameters
    ----------
    paths : list of Path
    backbone : Backbone
    settings : CkaSettings
    progress : callable or None
        Called with pictures embedded and their total.

    Returns
    -------
    matrices : dict from invariance to dict from layer to list of ndarray
        One matrix for each mini-batch.
    sigmas : dict from (layer, invariance) to list of float
        Bandwidths of rbf, one for each mini-batch.
    """
    sigmas: dict[tuple[str, str], list[float]] = {}
    result: dict[str, Matrices] = {invariance: {} for invariance in INVARIANCES}
    with tempfile.TemporaryDirectory(prefix="semret-layers-") as scratch:
        pictures = (decode_image(path) for path in paths)
        layers = embed_layers(
            pictures, len(paths), backbone, Path(scratch), largest=settings.largest, progress=progress
        )
        for name in choose_layers(list(layers), settings.layers):
            if settings.codec is not None:
                layers[name] = coded(layers[name], settings.codec)[0][:]
            mean = center_of(layers[name], settings.center)
            for batch in split_batches(len(paths), settings.batch):
                for invariance in INVARIANCES:
                    center = "none" if mean is None else mean
                    matrices, sigma = compare_maps(
                        np.asarray(layers[name][batch]), [settings.kernel], invariance, center=center,
                        solver=settings.solver,
                    )  # fmt: skip
                    result[invariance].setdefault(name, []).append(matrices[settings.kernel])
                    if sigma is not None:
                        sigmas.setdefault((name, invariance), []).append(sigma)
        layers.clear()
    return result, sigmas


def center_of(tokens: NDArray[np.float32], mode: str) -> Float64Array | None:
    """Average pictures, one at a time.

    Parameters
    ----------
    tokens : ndarray of shape (N, S, C)
        Also memory-mapped.
    mode : {"position", "channel", "none"}

    Returns
    -------
    ndarray of shape (S, C) or (C,), float64, or None
        The mean by position or channel; None for ``none``.
    """
    if mode == "none":
        return None
    mean = np.zeros(tokens.shape[1:])
    for picture in tokens:
        mean += picture
    mean /= len(tokens)
    return mean if mode == "position" else np.asarray(mean.mean(axis=0))


def split_batches(count: int, size: int) -> list[slice]:
    """Cut `count` pictures into mini-batches of at most `size`, all of one size give or take a picture.

    They are larger only where that would leave fewer than `LEAST` in each.

    Parameters
    ----------
    count, size : int

    Returns
    -------
    list of slice
    """
    number = max(1, min(math.ceil(count / size), count // LEAST))
    edges = np.linspace(0, count, number + 1).round().astype(int).tolist()
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]
