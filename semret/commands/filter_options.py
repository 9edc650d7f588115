"""Options of ``semret query`` and ``semret rerank`` that say which images may be hits."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer


@dataclass(frozen=True, kw_only=True)
class FilterOptions:
    """Which images may be hits."""

    folder: Annotated[
        list[Path] | None,
        typer.Option(
            "--folder",
            metavar="PATH|GLOB",
            help="Only images below this folder: from the current directory or the root of the index, or absolute; "
            "* ? [] and ** are wildcards. May be repeated.",
        ),
    ] = None
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="DATE",
            help="Only images whose files were last changed on or after this day, month or year (2024-05-17, 2024-05, "
            "2024) or moment (2024-05-17T18:30).",
        ),
    ] = None
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="DATE", help="As --since: on or before this date, which is included."),
    ] = None
    min_score: Annotated[
        float | None, typer.Option("--min-score", metavar="SCORE", help="Only hits that score at least this.")
    ] = None

    def names(self) -> dict[str, Any]:
        """Return the choices by the names that the library has for them.

        Returns
        -------
        dict
        """
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def describe(self) -> list[str]:
        """Return the choices in words, one for each that was made.

        Returns
        -------
        list of str
        """
        folders = [f"in {folder}" for folder in self.folder or []]
        times = [f"{name} {value}" for name, value in (("since", self.since), ("until", self.until)) if value]
        return [*folders, *times, *([] if self.min_score is None else [f"score at least {self.min_score:g}"])]
