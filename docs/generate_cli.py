"""Write docs/cli.md from the commands themselves; a test fails when the file is stale."""

from __future__ import annotations

from pathlib import Path

import typer
from typer.testing import CliRunner

from semret.cli import app

TARGET = Path(__file__).with_name("cli.md")


def commands(command: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of every command below one, in the order in which help lists them."""
    found = [path]
    for name, child in getattr(command, "commands", {}).items():
        found += commands(child, (*path, name))
    return found


def reference() -> str:
    """Return the whole command reference as Markdown."""
    runner = CliRunner()
    parts = ["# Command line", "Written by `make docs` from `semret --help`; do not edit."]
    for path in commands(typer.main.get_command(app)):
        title = " ".join(("semret", *path))
        # A fixed width, so that the reference does not depend on the terminal it is made on.
        shown = runner.invoke(app, [*path, "--help"], prog_name="semret", env={"COLUMNS": "100", "SEMRET_INDEX": None})
        parts.append(f"## `{title}`\n\n```text\n{shown.stdout.strip()}\n```")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
