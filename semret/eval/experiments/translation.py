"""Overlapping crops (section 4.1, appendix B): shifted views of one picture against different pictures."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semret.errors import ArgumentError
from semret.eval.experiments.matrices import compare_maps
from semret.eval.experiments.pictures import (
    choose_pictures,
    describe_pictures,
    embed_layers,
    folder_of_pictures,
    name_model,
)
from semret.eval.experiments.translation_report import INVARIANCES, Layer, TranslationSettings, summarise
from semret.eval.report.document import Report
from semret.index.backbones.spec import Backbone
from semret.index.pictures.decode import decode_image
from semret.progress import Progress
from semret.retrieval.similarity.names import check_modes


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

    Returns
    -------
    Report

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
    summarise(report, layers, chosen)
    return report


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
    """Turn the shift into pixels of the network's input that are not a multiple of its patch.

    Parameters
    ----------
    backbone : Backbone
    share : float
        Of the input's height.

    Returns
    -------
    int
        At least 1 and below the height.
    """
    height = backbone.identity.preprocessing.size[0]
    patch = max(1, height // backbone.identity.grid[0])
    shift = min(max(round(share * height), 1), height - 1)
    if patch > 1 and shift % patch == 0:
        shift += patch // 2 if shift + patch // 2 < height else -(patch // 2)
    return shift


def crop_pairs(paths: list[Path], backbone: Backbone, shift: int) -> Iterator[Image.Image]:
    """Cut the upper-left crops of all pictures, then the lower-left ones, `shift` pixels further down.

    Parameters
    ----------
    paths : list of Path
    backbone : Backbone
        Its input size is that of the crops.
    shift : int

    Yields
    ------
    PIL.Image.Image
    """
    height, width = backbone.identity.preprocessing.size
    for top in (0, shift):
        for path in paths:
            picture = decode_image(path).resize((width + shift, height + shift), Image.Resampling.BICUBIC)
            yield picture.crop((0, top, width, top + height))
