"""``semret eval regions``: how well a region finds other pictures of the thing in it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from semret.commands.eval_options import (
    DEFAULT_MODELS,
    FeatureOptions,
    ModelOption,
    ReportOptions,
    SeedOption,
    choices,
    given_options,
)
from semret.commands.eval_output import check_output, finish, stages
from semret.commands.options import SolverOption
from semret.commands.output import progress_bar, reported
from semret.errors import ArgumentError
from semret.outputs import require_distinct

_RENDERED = ("scenes", "videos", "frames")


class Same(StrEnum):
    """What makes two things the same."""

    instance = "instance"
    category = "category"


@dataclass(frozen=True, kw_only=True)
class RenderedOptions:
    """What is rendered where no data set is named."""

    scenes: Annotated[int, typer.Option("--scenes", help="Rendered: different scenes.")] = 40
    videos: Annotated[int, typer.Option("--videos", help="Rendered: recordings of each scene, at most 10.")] = 5
    frames: Annotated[int, typer.Option("--frames", help="Rendered: frames of each recording.")] = 2


def register(app: typer.Typer) -> None:
    """Add this file's command to ``semret eval``.

    Parameters
    ----------
    app : typer.Typer
    """
    app.command("regions")(regions)


def regions(
    context: typer.Context,
    root: Annotated[
        Path | None,
        typer.Option("--root", help="Folder in the layout of EgoObjects, with boxes; default: rendered scenes."),
    ] = None,
    model: ModelOption = DEFAULT_MODELS,
    queries: Annotated[int, typer.Option("--queries", help="Things to search for, drawn at random.")] = 200,
    fewest: Annotated[int, typer.Option("--fewest", help="Patches that such a thing has at least.")] = 4,
    most: Annotated[int, typer.Option("--most", help="Patches that such a thing has at most.")] = 12,
    same: Annotated[
        Same,
        typer.Option("--same", help="An answer is right if it shows the same object, or one of the same category."),
    ] = Same.instance,
    center: Annotated[
        str, typer.Option("--center", help="Mean of all pictures to subtract: channel, position, none.")
    ] = "channel",
    solver: SolverOption = "auction",
    seed: SeedOption = 0,
    *,
    rendered: RenderedOptions,
    stored: FeatureOptions,
    output: ReportOptions,
) -> None:
    """Search for a thing by its box, and count the pictures of other recordings that show it: hit@1, mean AP.

    The score of a region is compared with MaxSim, the symmetric score, the region's mean patch, and the pooled
    embedding of the region cut out.
    """
    with reported():
        from semret.eval.data.egoobjects import load_egoobjects
        from semret.eval.data.things import load_things
        from semret.eval.experiments.regions import run_regions
        from semret.eval.experiments.regions_report import RegionSettings

        given = given_options(context)
        if root is not None and (surplus := [name for name in _RENDERED if name in given]):
            raise ArgumentError(
                f"--{surplus[0]} is for rendered scenes, but --root names a data set; give one of the two"
            )
        if root is not None and output.out is not None:
            require_distinct(output.out, [root])
        settings = RegionSettings(
            queries=queries,
            fewest=fewest,
            most=most,
            same=same.value,
            center=center,
            solver=solver,
            dtype=stored.dtype,
            seed=seed,
        )
        models = choices(model, stored.weights, stored.device)
        plots = check_output(output)
        asked = {} if root else {name: getattr(rendered, name) for name in _RENDERED}
        # Features of rendered scenes go with the scenes; elsewhere they are kept.
        with _data(root, rendered, seed) as folder, stages() as stage:
            dataset = load_egoobjects(folder, aspect="any", subset=None)
            things, left_out = load_things(folder, dataset, same=same.value)
            dataset.left_out.update(left_out)
            report = run_regions(
                dataset,
                things,
                models,
                stored.features if root else folder / "features",
                settings=settings,
                data_settings=asked,
                batch_size=stored.batch_size,
                progress=stage,
            )
        if root is None:
            report.dataset["name"] = "rendered scenes"
        finish(report, output, plots=plots)


@contextlib.contextmanager
def _data(root: Path | None, rendered: RenderedOptions, seed: int) -> Iterator[Path]:
    """Give the folder of the data set: the one that is named, or one that is rendered and removed in the end."""
    if root is not None:
        yield root
        return
    from semret.eval.scenes.egoobjects_layout import make_egoobjects

    with tempfile.TemporaryDirectory(prefix="semret-regions-") as scratch:
        folder = Path(scratch) / "scenes"
        with progress_bar("rendering") as progress:
            make_egoobjects(
                folder,
                seed=seed,
                scenes=rendered.scenes,
                videos=rendered.videos,
                frames=rendered.frames,
                progress=progress,
            )
        yield folder
