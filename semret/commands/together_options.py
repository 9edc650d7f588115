"""Options of ``semret query`` that make one question of several pictures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer


class Combination(StrEnum):
    """What of several pictures' answers is averaged."""

    scores = "scores"
    ranks = "ranks"


@dataclass(frozen=True, kw_only=True)
class TogetherOptions:
    """How several pictures are searched with at once."""

    together: Annotated[
        bool,
        typer.Option("--all", help="All IMAGEs are one question: what is like each of them comes first."),
    ] = False
    combine: Annotated[
        Combination | None,
        typer.Option(
            "--combine",
            help="With --all or --not: order by the mean of the scores, the default, or of the places that a candidate "
            "has in the order of each picture.",
        ),
    ] = None
    avoid: Annotated[
        list[str] | None,
        typer.Option(
            "--not",
            metavar="PICTURE",
            help="A picture that hits should not be like: a file, an address, or - for stdin. It and its copies are no "
            "hits. May be repeated.",
        ),
    ] = None
    weight: Annotated[
        float | None,
        typer.Option(
            "--not-weight",
            metavar="NUMBER",
            min=0,
            help="So many times the score with the most similar of the --not pictures is taken away; default: 0.75.",
        ),
    ] = None

    def check(self, images: list[str], text: list[str]) -> None:
        """Refuse what does nothing, or would do nothing.

        Parameters
        ----------
        images, text : list of str
            Pictures and sentences that are searched with.

        Raises
        ------
        typer.BadParameter
            If an option is of no use without another, or is asked of a sentence.
        """
        for name, given in (("--all", self.together), ("--not", self.avoid)):
            if given and (text or not images):
                raise typer.BadParameter("goes with pictures alone, a sentence has no patches", param_hint=name)
        if self.combine is not None and not self.together and not self.avoid:
            raise typer.BadParameter("goes with --all or --not, and does nothing without", param_hint="--combine")
        if self.weight is not None and not self.avoid:
            raise typer.BadParameter("goes with --not, and does nothing without", param_hint="--not-weight")

    @property
    def used(self) -> bool:
        """Whether there is more than one picture to a question."""
        return self.together or bool(self.avoid)

    def names(self) -> dict[str, Any]:
        """Return those choices that were made, by the names that the library has for them, but for the pictures.

        Returns
        -------
        dict
        """
        combine = {} if self.combine is None else {"combine": self.combine.value}
        return combine | ({} if self.weight is None else {"avoid_weight": self.weight})
