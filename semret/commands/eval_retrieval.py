"""``semret eval``: the benchmarks of the paper, on its data sets and on rendered ones."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semret.commands import eval_experiments as experiments
from semret.commands.eval_options import (
    DEFAULT_MODELS,
    FEATURES,
    BatchOption,
    CacheOption,
    CenterOption,
    DtypeOption,
    FrameOption,
    FullMatrixOption,
    InvariancesOption,
    KernelsOption,
    MetricOption,
    ModelOption,
    OutOption,
    PaperProtocolOption,
    PlotsOption,
    RootOption,
    SeedOption,
    WeightsOption,
    check_output,
    choices,
    finish,
    given_options,
    names,
    print_table,
    read_frame,
    stages,
)
from semret.commands.options import DeviceOption, ReportFormat, ReportOption, SolverOption
from semret.commands.output import progress_bar, reported, write_json
from semret.commands.usage import Application
from semret.errors import ArgumentError
from semret.outputs import require_distinct

if TYPE_CHECKING:
    from semret.eval.data.dataset import Dataset
    from semret.eval.experiments.retrieval_report import RetrievalSettings, Run
    from semret.eval.report.reports import Report

app = Application(no_args_is_help=True, help="Run the benchmarks and experiments of the paper, on any data.")


class Layout(StrEnum):
    """Layouts of rendered data sets."""

    egoobjects = "egoobjects"
    cityscapes = "cityscapes"


def register(parent: typer.Typer) -> None:
    """Add this file's commands to the application."""
    experiments.register(app)
    parent.add_typer(app, name="eval")


@app.command("egoobjects")
def egoobjects(
    context: typer.Context,
    root: RootOption,
    model: ModelOption = DEFAULT_MODELS,
    queries: Annotated[int, typer.Option("--queries", help="Number of queries, drawn at random.")] = 2000,
    database: Annotated[
        list[int] | None, typer.Option("--database", help="Size of the database; may be repeated. Default: 5000.")
    ] = None,
    seed: SeedOption = 0,
    aspect: Annotated[str, typer.Option("--aspect", help="Keep frames of this width:height, or any.")] = "16:9",
    video_key: Annotated[
        str,
        typer.Option("--video-key", help="What names a video: auto, group, main, video, or fields joined by commas."),
    ] = "auto",
    subset: Annotated[str, typer.Option("--subset", help="Subset of the frames, or any.")] = "test",
    kernels: KernelsOption = "cosine,linear,rbf",
    invariances: InvariancesOption = "pooled,none,maxsim,permutation",
    center: CenterOption = "position",
    metric: MetricOption = "f1@1",
    solver: SolverOption = "auction",
    full_matrix: FullMatrixOption = False,
    frame: FrameOption = None,
    paper_protocol: PaperProtocolOption = False,
    features: CacheOption = FEATURES,
    weights: WeightsOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = "float16",
    batch_size: BatchOption = None,
    out: OutOption = None,
    plots: PlotsOption = True,
    format_: ReportOption = ReportFormat.table,
) -> None:
    """Retrieve frames that show the same objects (Table 2 of the paper): F1@1 by kernel and invariance."""
    with reported():
        from semret.eval.data.dataset import draw_split
        from semret.eval.data.egoobjects import load_egoobjects
        from semret.eval.experiments.retrieval import run_retrieval
        from semret.eval.protocol import follow

        if out is not None:
            require_distinct(out, [root])
        settings = _settings(kernels, invariances, center, metric, "f1", solver, full_matrix, seed, dtype, frame)
        if paper_protocol:
            settings = follow("egoobjects", settings, given_options(context))
        models = choices(model, weights, device)
        plots = check_output(out, plots)
        dataset = load_egoobjects(root, aspect=aspect, subset=None if subset == "any" else subset, video_key=video_key)
        sizes = database or [5000]
        split = draw_split(dataset, queries=queries, databases=sizes, seed=seed)
        for note in split.notes:
            typer.echo(note, err=True)
        asked = {"aspect": aspect, "video_key": video_key, "subset": subset, "queries": queries, "database": sizes}
        with stages() as stage:
            report, runs = run_retrieval(
                dataset,
                split,
                models,
                features,
                settings=settings,
                data_settings={**asked, "paper_protocol": paper_protocol},
                batch_size=batch_size,
                progress=stage,
            )
        _add_examples(report, dataset, runs, settings)
        finish(report, out, plots, format_)


@app.command("cityscapes")
def cityscapes(
    context: typer.Context,
    root: RootOption,
    model: ModelOption = DEFAULT_MODELS,
    classes: Annotated[
        str, typer.Option("--classes", help="evaluated: the 19 of the official evaluation; all: every one.")
    ] = "evaluated",
    seed: SeedOption = 0,
    kernels: KernelsOption = "cosine,linear,rbf",
    invariances: InvariancesOption = "pooled,none,maxsim,permutation",
    center: CenterOption = "position",
    metric: MetricOption = "iou@1",
    solver: SolverOption = "auction",
    full_matrix: FullMatrixOption = False,
    frame: FrameOption = None,
    paper_protocol: PaperProtocolOption = False,
    features: CacheOption = FEATURES,
    weights: WeightsOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = "float16",
    batch_size: BatchOption = None,
    out: OutOption = None,
    plots: PlotsOption = True,
    format_: ReportOption = ReportFormat.table,
) -> None:
    """Retrieve streets with the same classes (Table 3 of the paper): IoU of class sets, val queries train."""
    with reported():
        from semret.eval.data.cityscapes import load_cityscapes
        from semret.eval.experiments.retrieval import run_retrieval
        from semret.eval.protocol import follow

        if out is not None:
            require_distinct(out, [root])
        settings = _settings(kernels, invariances, center, metric, "iou", solver, full_matrix, seed, dtype, frame)
        if paper_protocol:
            settings = follow("cityscapes", settings, given_options(context))
        models = choices(model, weights, device)
        plots = check_output(out, plots)
        dataset, split = load_cityscapes(root, classes=classes)
        with stages() as stage:
            report, runs = run_retrieval(
                dataset,
                split,
                models,
                features,
                settings=settings,
                data_settings={"classes": classes, "paper_protocol": paper_protocol},
                batch_size=batch_size,
                progress=stage,
            )
        _add_examples(report, dataset, runs, settings)
        finish(report, out, plots, format_)


@app.command("make-data")
def make_data(
    layout: Annotated[Layout, typer.Argument(metavar="LAYOUT", help="egoobjects or cityscapes.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty folder.")],
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same pictures.")] = 0,
    scenes: Annotated[int, typer.Option("--scenes", help="EgoObjects: different scenes.")] = 40,
    videos: Annotated[int, typer.Option("--videos", help="EgoObjects: recordings of each scene, at most 10.")] = 5,
    frames: Annotated[int, typer.Option("--frames", help="EgoObjects: frames of each recording.")] = 2,
    train: Annotated[int, typer.Option("--train", help="Cityscapes: pictures of the database.")] = 240,
    val: Annotated[int, typer.Option("--val", help="Cityscapes: pictures that query it.")] = 60,
) -> None:
    """Render a data set whose content is known, in an official layout."""
    with reported():
        from semret.eval.scenes import make_cityscapes, make_egoobjects

        with progress_bar("rendering") as progress:
            if layout is Layout.egoobjects:
                count = make_egoobjects(
                    directory, seed=seed, scenes=scenes, videos=videos, frames=frames, progress=progress
                )
            else:
                contents = min(40, train)
                count = make_cityscapes(
                    directory, seed=seed, train=train, val=val, contents=contents, progress=progress
                )
        typer.echo(f"{count} pictures in {directory}", err=True)


@app.command("compare")
def compare(
    reports: Annotated[list[Path], typer.Argument(metavar="REPORT", help="report.json files, or --out folders.")],
    format_: ReportOption = ReportFormat.table,
) -> None:
    """Put the metrics of reports side by side."""
    with reported():
        from semret.eval.report.reports import compare_reports, read_report

        labels = [path.parent.name if path.name == "report.json" else path.name for path in reports]
        documents = [read_report(path) for path in reports]
        table = compare_reports(zip(labels, documents, strict=True))
        if format_ is ReportFormat.json:
            write_json([dict(zip(table.header[:3], row[:3], strict=True)) | {"reports": row[3:]} for row in table.rows])
        else:
            print_table(table)


def _settings(
    kernels: str,
    invariances: str,
    center: str,
    metric: str,
    measure: str,
    solver: str,
    full_matrix: bool,
    seed: int,
    dtype: str,
    frame: str | None,
) -> RetrievalSettings:
    from semret.eval.experiments.retrieval_report import RetrievalSettings
    from semret.retrieval.similarity.names import check_modes

    chosen = RetrievalSettings(
        kernels=names(kernels, "--kernels"),
        invariances=names(invariances, "--invariances"),
        center=center,
        k=_answers(metric, measure),
        solver=solver,
        full_matrix=full_matrix,
        dtype=dtype,
        frame=read_frame(frame),
        seed=seed,
    )
    for kernel in chosen.kernels:
        for invariance in chosen.invariances:
            check_modes(kernel, invariance, center, solver)
    return chosen


def _answers(metric: str, measure: str) -> int:
    name, _, count = metric.lower().partition("@")
    if name != measure or not count.isdecimal() or int(count) < 1:
        raise ArgumentError(f"--metric is {metric!r}, expected {measure}@K with K at least 1, such as {measure}@1")
    return int(count)


def _add_examples(report: Report, dataset: Dataset, runs: list[Run], settings: RetrievalSettings) -> None:
    from semret.eval.experiments.retrieval_examples import write_examples

    for number, run in enumerate(runs):
        name = "examples.html" if len(runs) == 1 else f"examples-{number + 1}.html"
        report.figures[name] = partial(write_examples, dataset, run, kernel=settings.kernels[0], seed=settings.seed)
