"""Duplicates: how many copies of each kind are found, and what is taken for a copy and is none."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from semret.eval.experiments.duplicates_report import DuplicateSettings, Judged, summarise
from semret.eval.experiments.pictures import fingerprint
from semret.eval.experiments.retrieval import name_models
from semret.eval.report.document import Report
from semret.eval.scenes.copies import Derived
from semret.index.model_choice import ModelChoice
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from semret.progress import Progress
from semret.retrieval.duplicates.find import duplicates
from semret.retrieval.duplicates.results import Duplicates
from semret.retrieval.search.engine import SearchEngine, open_index


def run_duplicates(
    pictures: list[Derived],
    models: list[ModelChoice],
    folder: Path,
    *,
    settings: DuplicateSettings | None = None,
    data_settings: dict[str, Any] | None = None,
    name: str = "rendered scenes",
    progress: Callable[[str], Progress | None] | None = None,
) -> Report:
    """Measure what `semret.duplicates` finds among originals, their copies, and others.

    All pictures are indexed together, as ``semret index`` does it, and groups are searched for at each threshold.

    Parameters
    ----------
    pictures : list of Derived
        See `semret.eval.scenes.copies`.
    models : list of ModelChoice
    folder : Path
        Where indexes are made.
    settings : DuplicateSettings, optional
    data_settings : dict, optional
        How the pictures were made, for the report.
    name : str
        Of the data.
    progress : callable or None
        Takes the name of a stage and gives its callback.

    Returns
    -------
    Report

    Raises
    ------
    ArgumentError
        If a model is named twice.
    IncompatibleIndexError, WeightsNotFoundError, StorageError
        See `semret.index.sync.sync.sync`.
    """
    chosen = settings or DuplicateSettings()
    report = Report(
        experiment="duplicates",
        title="Duplicates: which copies are found, and what is taken for one?",
        settings={**(data_settings or {}), **asdict(chosen)},
        seed=chosen.seed,
        dataset={
            "name": name,
            "pictures": len(pictures),
            "scenes": len({picture.scene for picture in pictures}),
            "fingerprint": fingerprint([picture.path for picture in pictures]),
        },
    )
    runs: list[Judged] = []
    for number, (label, choice) in enumerate(zip(name_models(models), models, strict=True)):
        start = time.perf_counter()
        listen = progress(f"{label}: features") if progress else None
        index = folder / f"index-{number}"
        paths = [str(picture.path) for picture in pictures]
        sync(index, paths, choice.loader(index), options=SyncOptions(codec=chosen.codec), progress=listen)
        report.seconds[f"{label}: features"] = time.perf_counter() - start
        with open_index(index) as engine:
            report.models.append({"name": label, **_describe(engine)})
            for threshold in chosen.tried:
                start = time.perf_counter()
                listen = progress(f"{label}: threshold {threshold:g}") if progress else None
                found = duplicates(engine, threshold=threshold, frames=chosen.frames, progress=listen)
                report.seconds[f"{label}: threshold {threshold:g}"] = time.perf_counter() - start
                runs.append(judge(label, pictures, found))
    summarise(report, runs, chosen)
    return report


def _describe(engine: SearchEngine) -> dict[str, Any]:
    manifest = engine.collection.manifest
    positions, channels = manifest.map_shape
    stored = manifest.dtype if manifest.codec_file is None else manifest.codec
    return {**manifest.identity.as_json(), "dtype": stored, "S": positions, "C": channels}


def judge(model: str, pictures: list[Derived], found: Duplicates) -> Judged:
    """Compare groups with what the pictures are.

    Parameters
    ----------
    model : str
    pictures : list of Derived
    found : Duplicates
        Of an index of them all.

    Returns
    -------
    Judged
    """
    known = {picture.path.name: picture for picture in pictures}
    groups = [[known[Path(file.path).name] for file in group] for group in found]
    group_of = {picture.path: number for number, group in enumerate(groups) for picture in group}
    originals = {picture.scene: picture.path for picture in pictures if picture.kind == "original"}
    together: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    for picture in pictures:
        if picture.kind != "original":
            own, its = group_of.get(picture.path), group_of.get(originals[picture.scene])
            together[picture.kind].append((picture.scene, own is not None and own == its))
    pairs = [(kept.scene, _relation(kept, other)) for kept, *others in groups for other in others]
    return Judged(model=model, threshold=found.threshold, together=dict(together), pairs=pairs)


def _relation(kept: Derived, other: Derived) -> str:
    """Tell what two pictures of one group are: copies, frames of one scene, or neither."""
    if kept.scene != other.scene:
        return "other"
    if kept.is_copy and other.is_copy:
        return "copy"
    frames = all(picture.is_copy or picture.is_frame for picture in (kept, other))
    return "frame" if frames else "other"
