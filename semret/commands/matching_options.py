"""Options of ``semret query`` and ``semret rerank`` that say what of a picture is compared, and how."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

from semret.commands.options import (
    Centering,
    Invariance,
    InvarianceOption,
    Kernel,
    KernelOption,
    SolverOption,
)

RegionOption = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="X,Y,W,H",
        help="Search with this part of the picture: where else is this thing? Left upper corner, width and height, in "
        "pixels of the upright picture (120,80,200,150) or in per cent of it (10%,20%,50%,40%).",
    ),
]


class Score(StrEnum):
    """What a score says."""

    symmetric = "symmetric"
    query = "query"


@dataclass(frozen=True, kw_only=True)
class MatchingOptions:
    """How pictures are compared."""

    kernel: KernelOption = Kernel.cosine
    invariance: InvarianceOption = Invariance.permutation
    solver: SolverOption = "auction"
    center: Annotated[Centering, typer.Option("--center", help="Mean of the database subtracted from all patches.")] = (
        Centering.channel
    )
    score: Annotated[
        Score | None,
        typer.Option(
            "--score",
            help="symmetric: how alike the pictures are, the default; query: how much of the query is there, whatever "
            "else is, from cosines of patches weighted by their energy: what a --region always has.",
        ),
    ] = None

    def names(self) -> dict[str, Any]:
        """Return the choices by the names that the library has for them.

        Returns
        -------
        dict
        """
        return {
            "kernel": self.kernel.value,
            "invariance": self.invariance.value,
            "solver": self.solver,
            "center": self.center.value,
            "score": self.score and self.score.value,
        }

    def describe(self, region: str | None) -> str:
        """Return the choices in a line.

        Parameters
        ----------
        region : str or None
            The region as it was given; it has a score of its own.

        Returns
        -------
        str
        """
        by_query = region is not None or self.score is Score.query
        compared = "score of the query's patches" if by_query else self.kernel.value
        parts = [self.invariance.value, compared, f"centring {self.center.value}"]
        return " · ".join([*parts, *([] if region is None else [f"region {region}"])])
