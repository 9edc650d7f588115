"""The experiments of ``semret eval`` beside retrieval: one command for each table or figure."""

from __future__ import annotations

from typing import Annotated

import typer

from semret.commands.eval_options import (
    DEFAULT_MODELS,
    CodecOption,
    ImagesOption,
    InvariancesOption,
    KernelsOption,
    LargestOption,
    ModelOption,
    NetworkOptions,
    OneModelOption,
    ProtocolOptions,
    ReportOptions,
    follow_paper,
    given_options,
    loaders,
    names,
)
from semret.commands.eval_output import check_output, finish
from semret.commands.options import SolverOption
from semret.commands.output import progress_bar, reported
from semret.errors import ArgumentError
from semret.progress import waiting_for

CostCenterOption = Annotated[
    str, typer.Option("--center", help="Mean to subtract: none (the paper's), channel, position.")
]


def register(app: typer.Typer) -> None:
    """Add this file's commands to ``semret eval``.

    Parameters
    ----------
    app : typer.Typer
    """
    app.command("translation")(translation)
    app.command("correlation")(correlation)
    app.command("cka")(cka)
    app.command("runtime")(runtime)
    app.command("approximation")(approximation)


def translation(
    context: typer.Context,
    images: ImagesOption = None,
    model: OneModelOption = "efficientnet-lite0",
    pairs: Annotated[int, typer.Option("--pairs", help="Pictures in a batch, two crops each.")] = 10,
    batches: Annotated[int, typer.Option("--batches", help="Batches.")] = 4,
    shift: Annotated[
        float, typer.Option("--shift", help="Distance of the crops as a share of their side.", show_default="1/3")
    ] = 1 / 3,
    kernel: Annotated[str, typer.Option("--kernel", help="cosine, linear or rbf.")] = "rbf",
    center: Annotated[
        str, typer.Option("--center", help="Mean of the batch to subtract: none, channel, position.")
    ] = "none",
    largest: LargestOption = 1024,
    solver: SolverOption = "auction",
    *,
    protocol: ProtocolOptions,
    network: NetworkOptions,
    output: ReportOptions,
) -> None:
    """Tell overlapping crops from different pictures, layer by layer (section 4.1 and appendix B)."""
    with reported():
        from semret.eval.experiments.translation import run_translation
        from semret.eval.experiments.translation_report import TranslationSettings

        plots = check_output(output)
        settings = TranslationSettings(
            pairs=pairs,
            batches=batches,
            shift=shift,
            kernel=kernel,
            center=center,
            largest=largest,
            solver=solver,
            seed=protocol.seed,
        )
        settings = follow_paper("translation", settings, context, paper_protocol=protocol.paper_protocol)
        load = loaders([model], network)[0]
        with progress_bar("crops") as progress:
            with waiting_for(f"loading {model}", progress):
                backbone = load()
            report = run_translation(images, backbone, settings=settings, progress=progress)
        report.settings["paper_protocol"] = protocol.paper_protocol
        finish(report, output, plots=plots)


def correlation(
    context: typer.Context,
    images: ImagesOption = None,
    model: ModelOption = DEFAULT_MODELS,
    count: Annotated[int, typer.Option("--count", help="Pictures, drawn at random.")] = 2000,
    kernels: KernelsOption = "cosine,linear,rbf",
    invariances: InvariancesOption = "none,permutation",
    center: Annotated[
        str, typer.Option("--center", help="Mean to subtract: position (the paper's), channel, none.")
    ] = "position",
    solver: SolverOption = "auction",
    *,
    protocol: ProtocolOptions,
    network: NetworkOptions,
    output: ReportOptions,
) -> None:
    """Correlate similarity with the divergence of class probabilities (Tables 1 and 4); for classifiers."""
    with reported():
        from semret.eval.experiments.correlation import CorrelationSettings, run_correlation

        plots = check_output(output)
        settings = CorrelationSettings(
            count=count,
            kernels=names(kernels, "--kernels"),
            invariances=names(invariances, "--invariances"),
            center=center,
            solver=solver,
            seed=protocol.seed,
        )
        settings = follow_paper("correlation", settings, context, paper_protocol=protocol.paper_protocol)
        loads = loaders(model, network)
        with progress_bar("pictures") as progress:
            report = run_correlation(images, loads, settings=settings, progress=progress)
        report.settings["paper_protocol"] = protocol.paper_protocol
        finish(report, output, plots=plots)


def cka(
    context: typer.Context,
    images: ImagesOption = None,
    model: ModelOption = DEFAULT_MODELS,
    count: Annotated[int, typer.Option("--count", help="Pictures, drawn at random.")] = 250,
    batch: Annotated[int, typer.Option("--batch", help="Pictures in a mini-batch, at most.")] = 250,
    kernel: Annotated[str, typer.Option("--kernel", help="cosine, linear or rbf.")] = "linear",
    center: Annotated[
        str, typer.Option("--center", help="Mean to subtract: position (the paper's), channel, none.")
    ] = "position",
    estimator: Annotated[
        str, typer.Option("--estimator", help="Of HSIC: unbiased, biased (the paper's).")
    ] = "unbiased",
    largest: LargestOption = 256,
    layers: Annotated[int | None, typer.Option("--layers", help="At most so many layers, evenly spaced.")] = None,
    solver: SolverOption = "auction",
    codec: CodecOption = None,
    *,
    protocol: ProtocolOptions,
    network: NetworkOptions,
    output: ReportOptions,
) -> None:
    """Compare layers within and across models by CKA of either kind of similarity (appendix G)."""
    with reported():
        from semret.eval.experiments.cka import run_cka
        from semret.eval.experiments.cka_report import CkaSettings

        plots = check_output(output)
        settings = CkaSettings(
            count=count,
            batch=batch,
            kernel=kernel,
            center=center,
            estimator=estimator,
            largest=largest,
            layers=layers,
            solver=solver,
            codec=codec,
            seed=protocol.seed,
        )
        settings = follow_paper("cka", settings, context, paper_protocol=protocol.paper_protocol)
        loads = loaders(model, network)
        with progress_bar("pictures") as progress:
            report = run_cka(images, loads, settings=settings, progress=progress)
        report.settings["paper_protocol"] = protocol.paper_protocol
        finish(report, output, plots=plots)


def runtime(
    context: typer.Context,
    images: ImagesOption = None,
    sides: Annotated[
        str, typer.Option("--sides", help="Input sizes in pixels; 224, 512, 1024, 2048 give S = 49, 256, 1024, 4096.")
    ] = "224,512,1024",
    pairs: Annotated[int | None, typer.Option("--pairs", help="Pairs of maps per size; default: by size.")] = None,
    center: CostCenterOption = "none",
    *,
    protocol: ProtocolOptions,
    output: ReportOptions,
) -> None:
    """Measure time and quality of every solver on real features (Table 5), one thread."""
    with reported():
        from semret.eval.experiments.costs import draw_growth, draw_trade_off, report_costs
        from semret.eval.experiments.runtime import run_runtime
        from semret.eval.protocol import PROTOCOLS

        given = given_options(context)
        if protocol.paper_protocol and "sides" not in given:
            sides = ",".join(str(side) for side in PROTOCOLS["runtime"].value_of("sides"))
        if protocol.paper_protocol and "center" not in given:
            center = PROTOCOLS["runtime"].value_of("center")
        sizes = names(sides, "--sides")
        if not all(size.isdecimal() and int(size) >= 32 for size in sizes):
            raise ArgumentError(f"--sides is {sides!r}, expected sizes of at least 32 pixels, joined by commas")
        if pairs is not None and pairs < 1:
            raise ArgumentError(f"--pairs is {pairs}, expected at least 1")
        plots = check_output(output)
        with progress_bar("sizes") as progress:
            study = run_runtime(
                images,
                sides=[int(size) for size in sizes],
                pairs=pairs,
                center=center,
                seed=protocol.seed,
                progress=progress,
            )
        settings = {"sides": [int(size) for size in sizes], "pairs": pairs, "center": center, "seed": protocol.seed}
        settings["paper_protocol"] = protocol.paper_protocol
        report = report_costs("runtime", "Time and quality of solvers", study, settings)
        report.figures["runtime.png"] = draw_growth(study.costs)
        report.figures["quality.png"] = draw_trade_off(study.costs)
        finish(report, output, plots=plots)


def approximation(
    context: typer.Context,
    images: ImagesOption = None,
    side: Annotated[int, typer.Option("--side", help="Input size in pixels.")] = 512,
    largest: LargestOption = 1024,
    count: Annotated[int, typer.Option("--count", help="Pictures.")] = 12,
    center: CostCenterOption = "none",
    *,
    protocol: ProtocolOptions,
    output: ReportOptions,
) -> None:
    """Measure how much of the optimum each approximation finds, layer by layer (Figure 6)."""
    with reported():
        from semret.eval.experiments.approximation import run_approximation
        from semret.eval.experiments.costs import draw_trade_off, report_costs
        from semret.eval.protocol import PROTOCOLS

        if protocol.paper_protocol and "center" not in given_options(context):
            center = PROTOCOLS["approximation"].value_of("center")
        plots = check_output(output)
        with progress_bar("layers") as progress:
            study = run_approximation(
                images, side=side, largest=largest, count=count, center=center, seed=protocol.seed, progress=progress
            )
        settings = {"side": side, "largest": largest, "count": count, "center": center, "seed": protocol.seed}
        settings["paper_protocol"] = protocol.paper_protocol
        report = report_costs("approximation", "Quality of approximations by layer", study, settings)
        report.figures["approximation.png"] = draw_trade_off(study.costs)
        finish(report, output, plots=plots)
