"""How commands describe themselves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from semret.commands.output import say


class Command(TyperCommand):
    """A command whose usage line is written as manuals write it: ``PATH...``, whatever typer puts around it."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line after the command's name."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def invoke(self, ctx: Any) -> Any:
        """Run the command; without a current folder, only if none of its paths needs one."""
        try:
            os.getcwd()  # noqa: PTH109 - asked for its error alone
        except FileNotFoundError:
            _check_absolute(ctx.params)
            # Some libraries, MKL's loader among them, end the process where there is none.
            os.chdir(os.sep)
        return super().invoke(ctx)


def _check_absolute(parameters: dict[str, Any]) -> None:
    """Refuse what is looked up from the current folder, which was deleted."""
    missing = ["the index"] if parameters.get("index", "") is None else []
    values = [value for given in parameters.values() for value in (given if isinstance(given, list) else [given])]
    missing += [
        str(value) for value in values if isinstance(value, Path) and str(value) != "-" and not value.is_absolute()
    ]
    if missing:
        say(f"semret: the current folder was deleted: change to another, or name {missing[0]} by an absolute path")
        raise typer.Exit(1)


class Application(typer.Typer):
    """A group of such commands."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Add a function as a command; see `typer.Typer.command`."""
        return super().command(name, **{"cls": Command, **options})
