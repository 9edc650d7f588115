"""Regions: a thing's box as the query, pictures of other recordings that show the same thing as answers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, FloatArray, IndexVector
from semret.centers import Center
from semret.errors import DatasetError
from semret.eval.data.dataset import Dataset
from semret.eval.data.things import Thing
from semret.eval.database import CHUNK_BYTES, chunks, measure_center
from semret.eval.experiments.regions_report import METHODS, RegionSettings, Searched, summarise
from semret.eval.experiments.retrieval import name_models
from semret.eval.features import Features, extract
from semret.eval.report.document import Report
from semret.index.backbones.placement import common, place
from semret.index.backbones.spec import Backbone
from semret.index.model_choice import ModelChoice
from semret.index.pictures.decode import decode_image
from semret.progress import Progress
from semret.retrieval.similarity.kernels import kernel_score
from semret.retrieval.similarity.maps import Maps, match_maps, prepare
from semret.retrieval.similarity.maxsim import maxsim_scores
from semret.retrieval.similarity.pairs import matched_scores, pooled_scores
from semret.retrieval.similarity.query_score import level_maps, weigh_query


def run_regions(
    dataset: Dataset,
    things: list[Thing],
    models: list[ModelChoice],
    cache: Path,
    *,
    settings: RegionSettings | None = None,
    data_settings: dict[str, Any] | None = None,
    batch_size: int | None = None,
    progress: Callable[[str], Progress | None] | None = None,
) -> Report:
    """Measure how well a region finds the pictures that show the thing in it.

    Every picture is scored with every region, without a shortlist.

    Parameters
    ----------
    dataset : Dataset
        Pictures of one video may not answer each other.
    things : list of Thing
        In its pictures.
    models : list of ModelChoice
    cache : Path
        Where features are kept; see `semret.eval.features.extract`.
    settings : RegionSettings, optional
    data_settings : dict, optional
        How the data set was chosen, for the report.
    batch_size : int or None
    progress : callable or None
        Takes the name of a stage and gives its callback.

    Returns
    -------
    Report

    Raises
    ------
    ArgumentError
        If a model is named twice.
    DatasetError
        If no thing is of the size asked for and in another recording too.
    IncompatibleIndexError, WeightsNotFoundError, StorageError
        See `semret.eval.features.extract`.
    """
    chosen = settings or RegionSettings()
    report = Report(
        experiment="regions",
        title="Regions: which other pictures show this thing?",
        settings={**(data_settings or {}), **asdict(chosen)},
        seed=chosen.seed,
        dataset={
            "name": dataset.name,
            "pictures": len(dataset),
            "things": len(things),
            "different things": len({thing.name for thing in things}),
            "videos": len(np.unique(dataset.videos)),
            "scenes": len(np.unique(dataset.scenes)),
            "left_out": dataset.left_out,
            "fingerprint": dataset.fingerprint(),
        },
    )
    runs = []
    for label, choice in zip(name_models(models), models, strict=True):
        start = time.perf_counter()
        listen = progress(f"{label}: features") if progress else None
        pictures = np.arange(len(dataset))
        features = extract(dataset, pictures, choice, cache, dtype=chosen.dtype, batch_size=batch_size, progress=listen)
        report.seconds[f"{label}: features"] = time.perf_counter() - start
        report.models.append({"name": label, **features.describe(), "unreadable": len(features.unreadable)})
        start = time.perf_counter()
        listen = progress(f"{label}: regions") if progress else None
        runs.append(_Study(dataset, things, features, chosen).run(label, choice, listen))
        report.seconds[f"{label}: regions"] = time.perf_counter() - start
        report.notes.append(_note(runs[-1], chosen))
    summarise(report, dataset, runs, chosen)
    return report


def _note(run: Searched, settings: RegionSettings) -> str:
    short = "" if len(run.things) == settings.queries else f" ({settings.queries} were asked for)"
    return (
        f"{run.model}: {len(run.things)} things{short} of {settings.fewest} to {settings.most} patches, "
        f"{np.mean(run.patches):.1f} on average; {run.right.sum(axis=1).mean():.1f} of "
        f"{run.allowed.sum(axis=1).mean():.0f} pictures of other recordings show the thing"
    )


class _Study:
    """The regions of one model against all its pictures."""

    def __init__(self, dataset: Dataset, things: list[Thing], features: Features, settings: RegionSettings) -> None:
        self.dataset, self.features, self.settings = dataset, features, settings
        self.readable = np.flatnonzero(features.ids >= 0)
        self.source = features.source(self.readable)
        self.center: Center = measure_center(self.source, settings.center)
        self.things, self.cells, self.allowed, self.right = self._choose(things)

    def _choose(
        self, things: list[Thing]
    ) -> tuple[list[Thing], list[IndexVector], NDArray[np.bool_], NDArray[np.bool_]]:
        """Draw the things that are searched for: of the right size, and shown by another recording."""
        settings, videos = self.settings, self.dataset.videos
        shown: dict[str, NDArray[np.bool_]] = {}
        for thing in things:
            shown.setdefault(thing.name, np.zeros(len(self.dataset), dtype=bool))[thing.picture] = True
        is_readable = self.features.ids >= 0
        chosen, cells, allowed, right = [], [], [], []
        for index in np.random.default_rng([settings.seed, 5]).permutation(len(things)):
            thing = things[index]
            if not is_readable[thing.picture]:
                continue
            others = is_readable & (videos != videos[thing.picture])
            answers = others & shown[thing.name]
            if not answers.any() or not settings.fewest <= len(inside := self._cells(thing)) <= settings.most:
                continue
            chosen.append(thing)
            cells.append(inside)
            allowed.append(others)
            right.append(answers)
            if len(chosen) == settings.queries:
                break
        if not chosen:
            raise DatasetError(
                f"no thing of {self.dataset.name} has {settings.fewest} to {settings.most} patches and is shown by "
                "another recording; choose others with --fewest and --most, or --same category"
            )
        return chosen, cells, np.array(allowed), np.array(right)

    def _cells(self, thing: Thing) -> IndexVector:
        collection = self.features.collection
        identity = collection.manifest.identity
        size = collection.size(int(self.features.ids[thing.picture]))
        return place(size, identity.preprocessing, identity.grid).cells_in(thing.box)

    def run(self, label: str, choice: ModelChoice, progress: Progress | None) -> Searched:
        """Score all pictures with all regions, by every method."""
        scores = {method: np.full((len(self.things), len(self.dataset)), -np.inf) for method in METHODS}
        scores["pooled"][:, self.readable] = self._pooled(choice.loader(Path(os.devnull))())
        regions = [self._region(*pair) for pair in zip(self.things, self.cells, strict=True)]
        total = len(regions) * len(self.readable)
        done = 0
        for rows in chunks(len(self.readable), self.source.shape, CHUNK_BYTES):
            maps = prepare(self.source.read(rows), self.center.tokens, threads=self.settings.threads)
            levelled = prepare(level_maps(maps.tokens, threads=self.settings.threads))
            for number, region in enumerate(regions):
                for method, values in self._compare(region, maps, levelled).items():
                    scores[method][number, self.readable[rows]] = values
                done += len(rows)
                if progress is not None:
                    progress(done, total)
        patches = [len(cells) for cells in self.cells]
        return Searched(
            model=label, things=self.things, patches=patches, scores=scores, allowed=self.allowed, right=self.right
        )

    def _region(self, thing: Thing, cells: IndexVector) -> FloatArray:
        """Return the centred tokens of a thing."""
        tokens = self.features.source(np.array([thing.picture])).read(np.array([0]))
        return np.asarray(prepare(tokens, self.center.tokens).tokens[0, cells])

    def _compare(self, region: FloatArray, maps: Maps, levelled: Maps) -> dict[str, Float64Array]:
        solver, threads = self.settings.solver, self.settings.threads
        weighed, whole = prepare(weigh_query(region)[None]), prepare(region[None])
        mean = prepare(region.mean(axis=0, dtype=np.float64).astype(region.dtype)[None, None])
        plain = match_maps(whole, maps, solver=solver, threads=threads).matched
        return {
            "region": match_maps(weighed, levelled, solver=solver, threads=threads).matched,
            "maxsim": maxsim_scores(weighed, levelled, ["linear"])["linear"],
            "symmetric": matched_scores(whole, maps, plain, kernel="cosine", sigma=None),
            "mean": maxsim_scores(mean, levelled, ["cosine"])["cosine"],
            "means": pooled_scores(mean.means[0], maps.means, kernel="cosine", sigma=None),
        }

    def _pooled(self, backbone: Backbone) -> Float64Array:
        """Compare the pooled embedding of each region, cut out as a picture, with those of the pictures."""
        middle = 0.0 if self.center.pooled is None else self.center.pooled.astype(np.float64)
        cut = np.stack([self._embed_cut(thing, backbone) for thing in self.things]).astype(np.float64) - middle
        stored = np.asarray(self.source.pooled, dtype=np.float64) - middle
        norms = (cut**2).sum(axis=1)[:, None], (stored**2).sum(axis=1)[None]
        return kernel_score("cosine", cut @ stored.T, *norms)

    def _embed_cut(self, thing: Thing, backbone: Backbone) -> Float32Array:
        picture = decode_image(self.dataset.paths[thing.picture])
        inside = common(thing.box, (0.0, 0.0, float(picture.width), float(picture.height)))
        x, y, width, height = inside or (0.0, 0.0, 1.0, 1.0)
        left, top = int(x), int(y)
        right, bottom = max(round(x + width), left + 1), max(round(y + height), top + 1)
        found: Float32Array = backbone.embed(backbone.prepare(picture.crop((left, top, right, bottom)))[None]).pooled[0]
        return found
