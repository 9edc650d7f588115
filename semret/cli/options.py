"""Options and choices that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class ReportFormat(StrEnum):
    """How a report is printed."""

    table = "table"
    json = "json"


class Kernel(StrEnum):
    """The names of `semret.retrieval.kernels.KERNELS`."""

    cosine = "cosine"
    linear = "linear"
    rbf = "rbf"


class Invariance(StrEnum):
    """The names of `semret.retrieval.kernels.INVARIANCES`."""

    permutation = "permutation"
    none = "none"
    maxsim = "maxsim"
    pooled = "pooled"


class Centering(StrEnum):
    """The names of `semret.retrieval.kernels.CENTERINGS`."""

    channel = "channel"
    position = "position"
    none = "none"


IndexOption = Annotated[
    Path | None,
    typer.Option(
        "--index",
        envvar="SEMRET_INDEX",
        help="Index directory; default: .semret here or in a folder above.",
        show_envvar=True,
    ),
]
ReportOption = Annotated[ReportFormat, typer.Option("--format", help="How to print the report.")]
KernelOption = Annotated[Kernel, typer.Option("--kernel", help="What turns a matching into a score.")]
InvarianceOption = Annotated[
    Invariance,
    typer.Option(
        "--invariance",
        help="permutation: matched patches; none: same positions; maxsim: each patch's best; pooled: global embedding.",
    ),
]
SolverOption = Annotated[str, typer.Option("--solver", help="Assignment solver; auction, scipy and ortools are exact.")]
DeviceOption = Annotated[str | None, typer.Option("--device", help="cpu, cuda, mps; default: the best there is.")]
