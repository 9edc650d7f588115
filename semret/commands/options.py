"""Options and choices that several commands share."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import typer

from semret.commands.output import ReportFormat


class Kernel(StrEnum):
    """The names of `semret.retrieval.similarity.names.KERNELS`."""

    cosine = "cosine"
    linear = "linear"
    rbf = "rbf"


class Invariance(StrEnum):
    """The names of `semret.retrieval.similarity.names.INVARIANCES`."""

    permutation = "permutation"
    none = "none"
    maxsim = "maxsim"
    pooled = "pooled"


class Centering(StrEnum):
    """The names of `semret.centers.CENTERINGS`."""

    channel = "channel"
    position = "position"
    none = "none"


def complete_model(incomplete: str) -> list[str]:
    """Complete the name of a backbone for the shell.

    Parameters
    ----------
    incomplete : str
        What has been typed of it.

    Returns
    -------
    list of str
        Names that begin so.
    """
    from semret.index.backbones.registry import list_backbones

    return [spec.name for spec in list_backbones() if spec.name.startswith(incomplete)]


def complete_codec(incomplete: str) -> list[str]:
    """Complete the name of a codec for the shell.

    Parameters
    ----------
    incomplete : str
        What has been typed of it.

    Returns
    -------
    list of str
        Tested names that begin so.
    """
    from semret.index.codec.table import TESTED

    return [name for name in TESTED if name.startswith(incomplete)]


def check_device(name: str | None) -> str | None:
    """Refuse an unknown device before anything is loaded.

    Parameters
    ----------
    name : str or None

    Returns
    -------
    str or None
        The name as it came.

    Raises
    ------
    typer.BadParameter
        If it is no name of a device.
    """
    if name is not None and re.fullmatch(r"cpu|mps|coreml|directml|cuda(:\d+)?", name) is None:
        hint = "; a graphics card of NVIDIA is cuda, Apple's is mps" if name.lower() == "gpu" else ""
        raise typer.BadParameter(f"there is no device {name!r}; choose cpu, cuda, cuda:N or mps{hint}")
    return name


IndexOption = Annotated[
    str | None,
    typer.Option(
        "--index",
        metavar="PATH",
        envvar="SEMRET_INDEX",
        help="Index directory; default: .semret here or in a folder above. Or an address, such as s3://bucket/index.",
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
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        callback=check_device,
        help="cpu, cuda, cuda:N or mps; for onnx:FILE also coreml or directml. Default: the best there is.",
    ),
]
