"""The command line: parsing and printing, nothing else.

Each command's body imports what it runs, so that ``semret --help`` loads neither torch nor faiss.
"""

from __future__ import annotations

import logging
import os
from typing import Annotated

import typer

from semret._version import __version__
from semret.cli import evaluate, index, maintain, models, query, rsm, verify

app = typer.Typer(
    name="semret",
    help="Find pictures by what is in them, wherever it is in the picture.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


for _commands in (index, query, maintain, verify, models, rsm, evaluate):
    _commands.register(app)


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


def main() -> None:
    """Run the command line, as the console script ``semret`` does."""
    logging.basicConfig(format="semret: %(message)s", level=logging.ERROR)
    logging.getLogger("semret").setLevel(logging.WARNING)
    # It prints what it has to say about a download by itself; once is enough.
    logging.getLogger("huggingface_hub").propagate = False
    try:
        app()
    except BrokenPipeError:
        # The reader of our output (head, less) has gone: that is no error of ours.
        os._exit(0)
