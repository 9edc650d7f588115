"""``semret index`` and ``semret info``."""

from __future__ import annotations

import re
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semret.commands.cluster_options import ClusterOptions, tell_workers
from semret.commands.index_output import IndexFormat, show_estimate, show_report
from semret.commands.interrupt import INTERRUPTED
from semret.commands.options import (
    DeviceOption,
    IndexOption,
    ReportOption,
    check_device,
    complete_codec,
    complete_model,
)
from semret.commands.output import (
    ReportFormat,
    progress_bar,
    reported,
    say,
    show_error,
    write_fields,
    write_json,
)
from semret.commands.process import stopped_by_interrupt
from semret.errors import SemretError
from semret.names import amount, readable
from semret.paths import is_address

if TYPE_CHECKING:
    from semret.index.collection import Collection
    from semret.index.summary import Summary


class Storage(StrEnum):
    """The names of `semret.index.store.manifest.DTYPES`."""

    float16 = "float16"
    float32 = "float32"


class Geometry(StrEnum):
    """The names of `semret.index.backbones.spec.GEOMETRIES`."""

    squash = "squash"
    crop = "crop"
    letterbox = "letterbox"
    corner = "corner"


class Precision(StrEnum):
    """The names of `semret.index.backbones.spec.AUTOCASTS`."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application.

    Parameters
    ----------
    app : typer.Typer
    """
    app.command("index")(index)
    app.command("info")(info)


def index(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH", help="Pictures, and folders of pictures, or addresses of such, as s3://bucket/photos."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            autocompletion=complete_model,
            help="See semret models; default: the index's, efficientnet-lite0 at first.",
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Checkpoint to load instead of the model's own.")
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", metavar="HxW", help="Input size of the model, in pixels.")
    ] = None,
    geometry: Annotated[
        Geometry | None, typer.Option("--geometry", help="How a picture is brought to that size; default: the model's.")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option("--layer", help="Layer whose tokens are stored: a name, or a number; default: the last."),
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            "--codec",
            metavar="NAME",
            autocompletion=complete_codec,
            help="How tokens are made small: none, pcaD-int8, pcaD-int4 or pcaD-pqM; default: the index's, "
            "what suits the model at first.",
        ),
    ] = None,
    dtype: Annotated[
        Storage | None, typer.Option("--dtype", help="Store tokens as they are, in this precision; as --codec none.")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option("--precision", help="Of the model's products; default: float32.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Pictures in the model at one time.")] = 8,
    device: DeviceOption = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Threads that read and decode; default: one per processor.")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root", help="Folder that paths are stored relative to; name the new one after moving the photos."
        ),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also remove the images of folders that are missing or empty as a whole.")
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            metavar="GLOB",
            help="Leave out what matches, a pattern as in a .gitignore; several times for several. The index remembers "
            "it.",
        ),
    ] = None,
    no_exclude: Annotated[
        bool, typer.Option("--no-exclude", help="Forget the patterns of earlier runs; --exclude beside it begins anew.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be done, and how many bytes and seconds it takes.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Then follow the folders until Ctrl-C: take over what is added, changed, moved and deleted."
        ),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a file had to be skipped.")] = False,
    index: IndexOption = None,
    format_: Annotated[
        IndexFormat, typer.Option("--format", help="How to print the report; with --watch JSON is a line an update.")
    ] = IndexFormat.table,
    *,
    cluster: ClusterOptions,
) -> None:
    """Bring the index up to date with PATHs, making it if there is none.

    Run it again whenever pictures were added, changed, renamed or deleted: only what is new goes through the model.
    Interrupt it at any time: what is done is kept, and the next run continues; of a new index nothing is, until the
    first pictures (256, or all) are in it. A folder that is found missing or empty as a whole (a drive that is not
    connected) keeps its images until --prune.
    """
    if cluster.ray is not None and (watch or dry_run):
        raise typer.BadParameter("does not go with --watch and --dry-run", param_hint="--ray")
    if watch and any(map(is_address, paths)):
        raise typer.BadParameter("follows folders; addresses are looked at once a run", param_hint="--watch")
    if watch and (dry_run or strict):
        raise typer.BadParameter("does not go with --dry-run and --strict, which are for one run", param_hint="--watch")
    with reported():
        from semret.index.location import (
            default_index_path,
            index_to_read,
            is_elsewhere,
            refuse_address,
            writable_index,
        )
        from semret.index.model_choice import ModelChoice
        from semret.index.sync.report import SyncOptions
        from semret.index.sync.sync import sync

        choice = ModelChoice(
            model=model,
            weights=weights,
            size=parse_size(size),
            geometry=geometry and geometry.value,
            layer=int(layer) if layer is not None and re.fullmatch(r"-?\d+", layer) else layer,
            device=device,
            autocast=precision and precision.value,
        )
        options = SyncOptions(
            dtype=dtype and dtype.value,
            codec=codec,
            batch_size=batch_size,
            workers=workers,
            root=root,
            prune=prune,
            exclude=tuple(exclude or ()),
            no_exclude=no_exclude,
        )
        if dry_run:
            show_estimate(index_to_read(index), paths, choice, options, format_)
            return
        if watch:
            from semret.commands.index_watch import watch_folders

            directory = default_index_path(index)
            with stopped_by_interrupt(terminate=True) as stop:
                watch_folders(directory, list(map(Path, paths)), choice.loader(directory), options, format_, stop)
            return
        if cluster.ray is not None:
            refuse_address(index)
        # The lock of an index in a store does not end with the process, so a process that is told to end gives it back.
        with stopped_by_interrupt(terminate=is_elsewhere(index)) as stop:
            try:
                with writable_index(index, may_create=True) as place, progress_bar("indexing") as progress:
                    if cluster.ray is None:
                        load = choice.loader(place.folder)
                        report = sync(place.folder, paths, load, options=options, progress=progress, stop=stop.is_set)
                    else:
                        report = cluster.index(paths, place.folder, choice, options, progress, stop.is_set)
                report = replace(report, index=place.name)
            except SemretError as error:
                if not stop.is_set():
                    raise
                show_error(error)
                raise typer.Exit(INTERRUPTED) from error
    tell_workers(report)
    show_report(report, format_)
    if report.interrupted:
        say("semret: interrupted; what is done is kept, run the same command again to continue")
        raise typer.Exit(INTERRUPTED)
    if strict and report.skipped:
        raise typer.Exit(1)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Read ``HxW``, or one number for a square.

    Parameters
    ----------
    text : str or None

    Returns
    -------
    (int, int) or None
        Height and width in pixels; None for None.

    Raises
    ------
    typer.BadParameter
        If the text is something else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})(?:[xX](\d{1,5}))?", text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no size; write HxW, as in 512x512", param_hint="--size")
    return int(match[1]), int(match[2] or match[1])


def info(
    index: IndexOption = None,
    device: Annotated[
        str | None,
        typer.Option("--device", callback=check_device, help="Say how many maps fit on this device: cuda or cuda:N."),
    ] = None,
    format_: ReportOption = ReportFormat.table,
) -> None:
    """Describe an index: its model, how many pictures it holds, how much space it takes."""
    with reported():
        from semret.index.collection import open_collection
        from semret.index.location import find_index
        from semret.index.summary import summarise

        with open_collection(find_index(index)) as collection:
            summary = summarise(collection)
            on_device = None if device is None else _fitting(collection, device)
    if format_ is ReportFormat.json:
        write_json({**summary.as_json(), **({} if on_device is None else {"device": on_device})})
        return
    positions = f"{summary.tokens} tokens ({summary.grid[0]} x {summary.grid[1]}) of {summary.channels} channels"
    stored = summary.dtype if summary.retained is None else summary.codec
    fields = [
        ("index", summary.index),
        ("model", _model(summary)),
        ("images", f"{summary.images} ({summary.contents} different), {amount(summary.skipped, 'file')} skipped"),
        ("stored", f"{positions}, {stored}; pooled {summary.pooled_dim}"),
        ("codec", summary.codec_note),
        ("size", f"{readable(summary.bytes)}, {readable(summary.bytes_per_image)} per image"),
        (
            "segments",
            f"{summary.segments} with {amount(summary.rows, 'image')}, {summary.dead_rows} not wanted any more",
        ),
        ("shortlist", summary.shortlist_note),
        ("regions", summary.regions_note),
        *([] if on_device is None else [("device", on_device)]),
        ("root", summary.root),
        *([("excluded", "  ".join(summary.excluded))] if summary.excluded else []),
        ("created", f"{summary.created} by semret {summary.semret}; format {summary.format_version}"),
    ]
    write_fields(fields)


def _fitting(collection: Collection, device: str) -> str:
    from semret.retrieval.search.device_search import DeviceSearch

    return DeviceSearch(collection, device).fitting()


def _model(summary: Summary) -> str:
    from semret.index.backbones.spec import OWN_FEATURES

    if summary.model == OWN_FEATURES:
        return f"{summary.model}: given, by no network that is known here"
    return f"{summary.model}, input {summary.input_size[0]}x{summary.input_size[1]}"
