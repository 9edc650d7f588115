"""``semret eval duplicates``: how well ``semret duplicates`` finds copies."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from semret.commands.eval_options import (
    DEFAULT_MODELS,
    CodecOption,
    ImagesOption,
    ModelOption,
    NetworkOptions,
    ReportOptions,
    SeedOption,
    choices,
)
from semret.commands.eval_output import check_output, finish, stages
from semret.commands.output import reported
from semret.outputs import require_distinct


def register(app: typer.Typer) -> None:
    """Add this file's command to ``semret eval``.

    Parameters
    ----------
    app : typer.Typer
    """
    app.command("duplicates")(duplicates)


def duplicates(
    images: ImagesOption = None,
    model: ModelOption = DEFAULT_MODELS,
    scenes: Annotated[
        int, typer.Option("--scenes", help="Originals: rendered, or drawn from --images. Of each 10 copies are made.")
    ] = 60,
    threshold: Annotated[float, typer.Option("--threshold", help="Score from which two pictures are copies.")] = 0.5,
    frames: Annotated[bool, typer.Option("--frames", help="Count other frames of the same view as copies.")] = False,
    codec: CodecOption = None,
    seed: SeedOption = 0,
    *,
    network: NetworkOptions,
    output: ReportOptions,
) -> None:
    """Make copies of pictures, and count which are found and what is taken for a copy, by kind and threshold.

    Copies are resized, recompressed, recoloured, grey, with text over them, cropped and mirrored. Of rendered scenes
    there are also pictures that are no copies: next frames, the same things rearranged, and in another room.
    """
    with reported():
        from semret.eval.experiments.duplicates import run_duplicates
        from semret.eval.experiments.duplicates_report import DuplicateSettings
        from semret.eval.experiments.pictures import choose_pictures
        from semret.eval.scenes.copies import copy_pictures, render_copies

        settings = DuplicateSettings(threshold=threshold, frames=frames, codec=codec, seed=seed)
        models = choices(model, network.weights, network.device)
        if images is not None and output.out is not None:
            require_distinct(output.out, [images])
        plots = check_output(output)
        with tempfile.TemporaryDirectory(prefix="semret-duplicates-") as scratch, stages() as stage:
            folder = Path(scratch)
            if images is None:
                pictures = render_copies(folder / "scenes", scenes, seed, progress=stage("rendering"))
            else:
                chosen = choose_pictures(images, scenes, seed=seed)
                pictures = copy_pictures(folder / "scenes", chosen, seed, progress=stage("copying"))
            report = run_duplicates(
                pictures,
                models,
                folder,
                settings=settings,
                data_settings={"scenes": scenes},
                name="rendered scenes" if images is None else str(images),
                progress=stage,
            )
        finish(report, output, plots=plots)
