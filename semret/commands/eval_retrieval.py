"""``semret eval``: the benchmarks of the paper, on its data sets and on rendered ones."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semret.commands.eval_options import (
    DEFAULT_MODELS,
    FeatureOptions,
    MetricOption,
    ModelOption,
    ReportOptions,
    RetrievalOptions,
    RootOption,
    SeedOption,
    choices,
    follow_paper,
    names,
    read_frame,
)
from semret.commands.eval_output import check_output, finish, print_table, stages
from semret.commands.options import ReportOption
from semret.commands.output import ReportFormat, printable, progress_bar, reported, say, write_json
from semret.errors import ArgumentError
from semret.outputs import require_distinct

if TYPE_CHECKING:
    from semret.eval.data.dataset import Dataset, Split
    from semret.eval.experiments.retrieval_report import RetrievalSettings, Run
    from semret.eval.report.document import Report
    from semret.index.model_choice import ModelChoice


class Layout(StrEnum):
    """Layouts of rendered data sets."""

    egoobjects = "egoobjects"
    cityscapes = "cityscapes"


@dataclass(frozen=True, kw_only=True)
class CityscapesOptions(RetrievalOptions):
    """How retrieval of streets is scored: by the classes in them."""

    metric: MetricOption = "iou@1"


@dataclass(frozen=True)
class _Plan:
    """What is clear before a data set is read: settings, networks, and whether plots are drawn."""

    settings: RetrievalSettings
    models: list[ModelChoice]
    plots: bool


def register(app: typer.Typer) -> None:
    """Add this file's commands to ``semret eval``.

    Parameters
    ----------
    app : typer.Typer
    """
    app.command("egoobjects")(egoobjects)
    app.command("cityscapes")(cityscapes)
    app.command("make-data")(make_data)
    app.command("compare")(compare)


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
    *,
    scoring: RetrievalOptions,
    stored: FeatureOptions,
    output: ReportOptions,
) -> None:
    """Retrieve frames that show the same objects (Table 2 of the paper): F1@1 by kernel and invariance."""
    with reported():
        from semret.eval.data.dataset import draw_split
        from semret.eval.data.egoobjects import load_egoobjects

        plan = _plan(context, "egoobjects", root, model, seed, scoring, stored, output)
        dataset = load_egoobjects(root, aspect=aspect, subset=None if subset == "any" else subset, video_key=video_key)
        sizes = database or [5000]
        split = draw_split(dataset, queries=queries, databases=sizes, seed=seed)
        for note in split.notes:
            say(note)
        asked = {"aspect": aspect, "video_key": video_key, "subset": subset, "queries": queries, "database": sizes}
        _retrieve(dataset, split, plan, {**asked, "paper_protocol": scoring.paper_protocol}, stored, output)


def cityscapes(
    context: typer.Context,
    root: RootOption,
    model: ModelOption = DEFAULT_MODELS,
    classes: Annotated[
        str, typer.Option("--classes", help="evaluated: the 19 of the official evaluation; all: every one.")
    ] = "evaluated",
    seed: SeedOption = 0,
    *,
    scoring: CityscapesOptions,
    stored: FeatureOptions,
    output: ReportOptions,
) -> None:
    """Retrieve streets with the same classes (Table 3 of the paper): IoU of class sets, val queries train."""
    with reported():
        from semret.eval.data.cityscapes import load_cityscapes

        plan = _plan(context, "cityscapes", root, model, seed, scoring, stored, output)
        dataset, split = load_cityscapes(root, classes=classes)
        asked = {"classes": classes, "paper_protocol": scoring.paper_protocol}
        _retrieve(dataset, split, plan, asked, stored, output)


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
        from semret.eval.scenes.cityscapes_layout import make_cityscapes
        from semret.eval.scenes.egoobjects_layout import make_egoobjects

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
        say(f"{count} pictures in {printable(str(directory))}")


def compare(
    reports: Annotated[list[Path], typer.Argument(metavar="REPORT", help="report.json files, or --out folders.")],
    format_: ReportOption = ReportFormat.table,
) -> None:
    """Put the metrics of reports side by side."""
    with reported():
        from semret.eval.report.comparison import compare_reports
        from semret.eval.report.files import read_report

        labels = [path.parent.name if path.name == "report.json" else path.name for path in reports]
        documents = [read_report(path) for path in reports]
        table = compare_reports(zip(labels, documents, strict=True))
        if format_ is ReportFormat.json:
            write_json([dict(zip(table.header[:3], row[:3], strict=True)) | {"reports": row[3:]} for row in table.rows])
        else:
            print_table(table)


def _plan(
    context: typer.Context,
    experiment: str,
    root: Path,
    model: list[str],
    seed: int,
    scoring: RetrievalOptions,
    stored: FeatureOptions,
    output: ReportOptions,
) -> _Plan:
    """Read and check everything that was asked for, before anything is read or computed."""
    if output.out is not None:
        require_distinct(output.out, [root])
    settings = _settings(scoring, seed, stored, measure="iou" if experiment == "cityscapes" else "f1")
    settings = follow_paper(experiment, settings, context, paper_protocol=scoring.paper_protocol)
    models = choices(model, stored.weights, stored.device)
    return _Plan(settings, models, check_output(output))


def _retrieve(
    dataset: Dataset, split: Split, plan: _Plan, asked: dict[str, Any], stored: FeatureOptions, output: ReportOptions
) -> None:
    """Run the experiment and print its report; `asked` says how data set and split were chosen."""
    from semret.eval.experiments.retrieval import run_retrieval

    with stages() as stage:
        report, runs = run_retrieval(
            dataset,
            split,
            plan.models,
            stored.features,
            settings=plan.settings,
            data_settings=asked,
            batch_size=stored.batch_size,
            progress=stage,
        )
    _add_examples(report, dataset, runs, plan.settings)
    finish(report, output, plots=plan.plots)


def _settings(scoring: RetrievalOptions, seed: int, stored: FeatureOptions, *, measure: str) -> RetrievalSettings:
    from semret.eval.experiments.retrieval_report import RetrievalSettings
    from semret.retrieval.search.device_search import usable
    from semret.retrieval.similarity.names import check_modes

    chosen = RetrievalSettings(
        kernels=names(scoring.kernels, "--kernels"),
        invariances=names(scoring.invariances, "--invariances"),
        center=scoring.center,
        k=_answers(scoring.metric, measure),
        solver=scoring.solver,
        full_matrix=scoring.full_matrix,
        device=usable(stored.device),
        dtype=stored.dtype,
        codec=stored.codec,
        frame=read_frame(scoring.frame),
        seed=seed,
    )
    for kernel in chosen.kernels:
        for invariance in chosen.invariances:
            check_modes(kernel, invariance, scoring.center, scoring.solver)
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
