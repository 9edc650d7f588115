"""Commands run in the process of the test."""

from __future__ import annotations

import functools

import typer
import typer.main
from typer import testing
from typer.testing import CliRunner, Result

# For each call the options of all commands are read from their signatures anew, which takes longer than most commands.
typer.main.get_command = testing._get_command = functools.cache(typer.main.get_command)


def invoke(app: typer.Typer, *arguments: object, **options: object) -> Result:
    """Run a command with these words; numbers and paths are written as a shell would."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


def error_of(result: Result, *, printed: str = "") -> str:
    """Return the one line on stderr of a command that failed as it should; stdout holds what was `printed` before."""
    assert result.exit_code == 1, result.output
    assert result.stdout == printed
    assert result.stderr.startswith("semret: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr
