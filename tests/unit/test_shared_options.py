"""Options that commands share: one dataclass declares them, typer sees each of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer.testing import CliRunner

from semret.commands.usage import Application


@dataclass(frozen=True, kw_only=True)
class Output:
    out: Annotated[Path | None, typer.Option("--out", help="Where to.")] = None
    plots: Annotated[bool, typer.Option("--plots/--no-plots")] = True


@dataclass(frozen=True, kw_only=True)
class Narrow(Output):
    plots: Annotated[bool, typer.Option("--plots/--no-plots")] = False


def application(seen):
    app = Application()

    @app.command("first")
    def first(
        context: typer.Context,
        name: Annotated[str, typer.Argument()],
        *,
        output: Output,
        seed: Annotated[int, typer.Option("--seed")] = 0,
    ) -> None:
        given = {key for key in context.params if context.get_parameter_source(key).name != "DEFAULT"}
        seen.append((name, output, seed, given))

    @app.command("second")
    def second(*, output: Narrow) -> None:
        seen.append(output)

    return app


def test_the_fields_of_a_group_are_options_and_arrive_together():
    seen = []
    found = CliRunner().invoke(application(seen), ["first", "x", "--out", "there", "--no-plots", "--seed", "3"])
    assert found.exit_code == 0, found.output
    assert seen == [("x", Output(out=Path("there"), plots=False), 3, {"name", "out", "plots", "seed"})]


def test_defaults_are_those_of_the_fields_and_a_subclass_changes_them():
    seen = []
    app = application(seen)
    assert CliRunner().invoke(app, ["first", "x"]).exit_code == 0
    assert CliRunner().invoke(app, ["second"]).exit_code == 0
    assert seen == [("x", Output(), 0, {"name"}), Narrow(out=None, plots=False)]


def test_help_lists_the_options_where_the_group_stands():
    shown = CliRunner().invoke(application([]), ["first", "--help"]).output
    assert shown.index("--out") < shown.index("--no-plots") < shown.index("--seed")
    assert "output" not in shown.lower()
