"""Options that the commands of ``semret eval`` share, and what their texts mean."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from semret.commands.options import DeviceOption, ReportOption, SolverOption, complete_codec
from semret.commands.output import ReportFormat
from semret.errors import ArgumentError

if TYPE_CHECKING:
    from semret.index.backbones.spec import Backbone
    from semret.index.model_choice import ModelChoice

RootOption = Annotated[Path, typer.Option("--root", help="Folder with the data set's official files.")]
ModelOption = Annotated[
    list[str], typer.Option("--model", help="Backbone, also as NAME@HxW for another input size; may be repeated.")
]
OneModelOption = Annotated[str, typer.Option("--model", help="Backbone, also as NAME@HxW.")]
ImagesOption = Annotated[Path | None, typer.Option("--images", help="Folder of pictures; default: rendered scenes.")]
LargestOption = Annotated[int, typer.Option("--largest", help="Leave layers with more positions out.")]
KernelsOption = Annotated[str, typer.Option("--kernels", help="Comma-separated: cosine, linear, rbf.")]
InvariancesOption = Annotated[
    str, typer.Option("--invariances", help="Comma-separated: pooled, none, maxsim, permutation.")
]
MetricOption = Annotated[
    str, typer.Option("--metric", help="Answers per query: @1 the best, @K also the best and the mean of K.")
]
PaperProtocolOption = Annotated[
    bool,
    typer.Option(
        "--paper-protocol",
        help="Do everything as the paper did; what you set beside it stays, and the report lists it as a deviation.",
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of the random split and of the intervals.")]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="Checkpoint of your own; with a single --model only.")
]


@dataclass(frozen=True, kw_only=True)
class RetrievalOptions:
    """How retrieval is scored and judged; what the data sets differ in is overridden for each."""

    kernels: KernelsOption = "cosine,linear,rbf"
    invariances: InvariancesOption = "pooled,none,maxsim,permutation"
    center: Annotated[
        str,
        typer.Option(
            "--center", help="Mean of the database that is subtracted: position (the paper's), channel, none."
        ),
    ] = "position"
    metric: MetricOption = "f1@1"
    solver: SolverOption = "auction"
    full_matrix: Annotated[
        bool, typer.Option("--full-matrix", help="Solve every pair; rbf then takes its bandwidth from the matrix.")
    ] = False
    frame: Annotated[
        str | None,
        typer.Option(
            "--frame",
            help="Resize every picture to HxW first, such as 1080x1920, as the paper does; default: as it is.",
        ),
    ] = None
    paper_protocol: PaperProtocolOption = False


CodecOption = Annotated[
    str | None,
    typer.Option(
        "--codec",
        metavar="NAME",
        autocompletion=complete_codec,
        help="Compare what this codec stores of the tokens; default: the tokens themselves.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """How the pictures of a data set become features, and where those are kept."""

    features: Annotated[
        Path,
        typer.Option("--features", help="Folder where the features of the pictures are kept, to be taken up again."),
    ] = Path(".semret-features")
    weights: WeightsOption = None
    device: DeviceOption = None
    dtype: Annotated[str, typer.Option("--dtype", help="Of the stored tokens: float16 or float32.")] = "float16"
    codec: CodecOption = None
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Pictures per pass of the network.")] = None


@dataclass(frozen=True, kw_only=True)
class ProtocolOptions:
    """Whether an experiment follows the paper, and its seed."""

    paper_protocol: PaperProtocolOption = False
    seed: SeedOption = 0


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Which weights a network has and where it runs."""

    weights: WeightsOption = None
    device: DeviceOption = None


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Where a report is written and how it is printed."""

    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for report.json, report.md, per_query.jsonl and plots.")
    ] = None
    plots: Annotated[bool, typer.Option("--plots/--no-plots", help="Draw figures into --out.")] = True
    format_: ReportOption = ReportFormat.table


Settings = TypeVar("Settings")

DEFAULT_MODELS = ["efficientnet-lite0"]


def names(text: str, option: str) -> tuple[str, ...]:
    """Split a comma-separated list.

    Parameters
    ----------
    text : str
    option : str
        The option that the list was given with, for the message.

    Returns
    -------
    tuple of str
        Each name once, in the order given.

    Raises
    ------
    ArgumentError
        If there is no name.
    """
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise ArgumentError(f"{option} is empty, expected at least one name")
    return found


def choices(models: list[str], weights: Path | None, device: str | None) -> list[ModelChoice]:
    """Read ``NAME`` and ``NAME@HxW``.

    Parameters
    ----------
    models : list of str
    weights : Path or None
        Goes with a single model only.
    device : str or None

    Returns
    -------
    list of ModelChoice
        One for each of `models`.

    Raises
    ------
    ArgumentError
        If a size is malformed, or weights are given for several models.
    UnknownNameError
        If there is no such backbone.
    """
    from semret.index.backbones.registry import spec_of
    from semret.index.model_choice import ModelChoice

    if weights is not None and len(models) > 1:
        raise ArgumentError(f"--weights goes with one --model, {len(models)} were given; run them one by one")
    found = []
    for entry in models:
        name, _, size = entry.rpartition("@") if "@" in entry else (entry, "", "")
        height, _, width = size.partition("x")
        if size and not (height.isdecimal() and width.isdecimal()):
            raise ArgumentError(f"--model {entry}: expected NAME or NAME@HxW, such as efficientnet-lite0@256x256")
        spec_of(name)
        pixels = (int(height), int(width)) if size else None
        found.append(ModelChoice(model=name, weights=weights, size=pixels, device=device))
    return found


def read_frame(text: str | None) -> tuple[int, int] | None:
    """Read ``HxW``, a height and a width in pixels.

    Parameters
    ----------
    text : str or None

    Returns
    -------
    (int, int) or None
        None for None.

    Raises
    ------
    ArgumentError
        If the text is something else, or a length is not in 1..10,000.
    """
    if text is None:
        return None
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and 0 < int(height) <= 10_000 and 0 < int(width) <= 10_000):
        raise ArgumentError(f"--frame is {text!r}, expected HxW in pixels, such as 1080x1920")
    return int(height), int(width)


def follow_paper(experiment: str, settings: Settings, context: typer.Context, *, paper_protocol: bool) -> Settings:
    """Return settings with the paper's choices where ``--paper-protocol`` was given and the user chose nothing.

    Parameters
    ----------
    experiment : str
        A key of `semret.eval.protocol.PROTOCOLS`.
    settings : dataclass instance
        Its fields are named as the command's parameters.
    context : typer.Context
        Of the command, which knows what the user has set.
    paper_protocol : bool
        False leaves the settings as they are.

    Returns
    -------
    dataclass instance
        Of the type of `settings`.
    """
    from semret.eval.protocol import follow

    return follow(experiment, settings, given_options(context)) if paper_protocol else settings


def given_options(context: typer.Context) -> frozenset[str]:
    """Return the names of the parameters that the user has set, for `semret.eval.protocol.follow`.

    Parameters
    ----------
    context : typer.Context
        Of the command.

    Returns
    -------
    frozenset of str
        Set on the command line or in the environment.
    """
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(name for name, source in sources.items() if source is not None and source.name != "DEFAULT")


def loaders(models: list[str], network: NetworkOptions) -> list[Callable[[], Backbone]]:
    """Return functions that load networks.

    Parameters
    ----------
    models : list of str
        ``NAME`` or ``NAME@HxW``.
    network : NetworkOptions

    Returns
    -------
    list of callable
        One for each of `models`.

    Raises
    ------
    ArgumentError, UnknownNameError
        See `choices`.
    """
    return [choice.loader(Path(os.devnull)) for choice in choices(models, network.weights, network.device)]
