"""The application: which commands there are, and how errors become an exit status; nothing else.

Each command's body imports what it runs, so that ``semret --help`` loads neither torch nor faiss.
"""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from semret._version import __version__
from semret.commands import (
    duplicates,
    eval_duplicates,
    eval_experiments,
    eval_regions,
    eval_retrieval,
    index,
    maintain,
    models,
    process,
    query,
    rsm,
    serve,
    tokens,
    verify,
)
from semret.commands.other_words import Group
from semret.commands.usage import Application

app = Application(
    name="semret",
    cls=Group,
    help="Find pictures by what is in them, wherever it is in the picture.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


evaluation = Application(no_args_is_help=True, help="Run the benchmarks and experiments of the paper, on any data.")

for _commands in (index, query, duplicates, serve, maintain, verify, models, rsm, tokens):
    _commands.register(app)
for _commands in (eval_retrieval, eval_experiments, eval_regions, eval_duplicates):
    _commands.register(evaluation)
app.add_typer(evaluation, name="eval")


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"semret {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


def run() -> NoReturn:
    """Run the command that was typed, and end the process with its exit status."""
    process.run(app)
