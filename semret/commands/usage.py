"""How commands are declared: options that several of them share, and usage lines as manuals write them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import typer
from typer.core import TyperCommand

from semret.commands.output import say
from semret.commands.ray_option import NAME, with_address


def _refuse_empty(args: list[str]) -> None:
    """Refuse an argument of no characters: as a path it would be the current folder, which is hardly what was meant."""
    for number, argument in enumerate(args):
        option, separator, value = argument.partition("=")
        is_named = option.startswith("--") and bool(separator)
        if argument and (value or not is_named):
            continue
        before = args[number - 1] if number else ""
        name = option if is_named else before if before.startswith("-") and before != "--" else "an argument"
        if name in _NO_PATHS:
            continue
        raise typer.BadParameter(
            "it is empty; was a variable of the shell not set? The current folder is written .", param_hint=name
        )


def _in_our_words(message: str) -> str:
    """Take out what typer's validation says about itself, and say of numbers what is expected."""
    for theirs, ours in _WORDS.items():
        message = message.replace(theirs, ours)
    return message.replace("Input should be ", "expected a value ")


_NO_PATHS = (NAME, "--device", "--token")
"""Options that say more of a value that is empty."""
_WORDS = {
    "Value error, ": "",
    "Input should be a valid integer, unable to parse string as an integer": "expected a whole number",
    "Input should be a valid number, unable to parse string as a number": "expected a number",
}


class Command(TyperCommand):
    """A command whose usage line is written as manuals write it: ``PATH...``, whatever typer puts around it."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line after the command's name.

        Parameters
        ----------
        ctx : click.Context

        Returns
        -------
        list of str
        """
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what was typed; typer has no options whose value may be left out.

        Parameters
        ----------
        ctx : typer.Context
            Receives the values.
        args : list of str

        Returns
        -------
        list of str
            What no parameter took.
        """
        _refuse_empty(args)
        if any(NAME in parameter.opts for parameter in self.params):
            takes_paths = any(parameter.param_type_name == "argument" for parameter in self.params)
            args = with_address(args, takes_paths=takes_paths)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = _in_our_words(error.message)
            raise

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options without typer's names of types where those say nothing.

        Parameters
        ----------
        ctx : typer.Context
        formatter : click.HelpFormatter
            Receives them.
        """
        write_dl = formatter.write_dl

        def write(rows: Any, **layout: Any) -> None:
            write_dl([(_plain(name), text) for name, text in rows], **layout)

        formatter.write_dl = write
        try:
            super().format_options(ctx, formatter)
        finally:
            formatter.write_dl = write_dl

    def invoke(self, ctx: Any) -> Any:
        """Run the command; in a current folder that was deleted, only if no path depends on it.

        Parameters
        ----------
        ctx : click.Context

        Returns
        -------
        any
            What the command returns.

        Raises
        ------
        typer.Exit
            If a path is relative to a folder that was deleted.
        """
        try:
            os.getcwd()  # noqa: PTH109 - asked for its error alone
        except FileNotFoundError:
            _check_absolute(ctx.params)
            # Without a current folder some libraries, MKL's loader among them, end the process.
            os.chdir(os.sep)
        return super().invoke(ctx)


def _plain(name: str) -> str:
    """Return the left column of an argument or option: ``--kernel <cosine|rbf>``, not ``<list[cosine|rbf]>``."""
    name = re.sub(r"<list\[(.*)\]>$", r"<\1>", name).replace("<Path>", "<path>")
    return name if name.startswith("-") else re.sub(r" <(path|str)>$", "", name)


def _is_relative(name: str) -> bool:
    """Tell whether what a command was given is looked up from the current folder: no address, and not ``-``."""
    # In here, for a command's help should not wait for what reads pictures.
    from semret.index.pictures.sources import STANDARD_INPUT, is_address

    return name != STANDARD_INPUT and not is_address(name) and not Path(name).is_absolute()


def _check_absolute(parameters: dict[str, Any]) -> None:
    """Refuse paths that are relative to the current folder, which was deleted."""
    missing = ["the index"] if parameters.get("index", "") is None else []
    values = [value for given in parameters.values() for value in (given if isinstance(given, list) else [given])]
    missing += [str(value) for value in values if isinstance(value, Path) and _is_relative(str(value))]
    pictures = [
        *(path for path in parameters.get("paths") or [] if isinstance(path, str)),
        *(parameters.get("images") or []),
        *(parameters.get("avoid") or []),
        *([parameters["query"]] if "query" in parameters else []),
    ]
    missing += filter(_is_relative, pictures)
    if missing:
        say(f"semret: the current folder was deleted: change to another, or name {missing[0]} by an absolute path")
        raise typer.Exit(1)


class Application(typer.Typer):
    """A group of such commands, whose shared options are declared once, as the fields of a dataclass."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Add a function as a command; a parameter that is a dataclass stands for an option for each field.

        Parameters
        ----------
        name : str or None
            What is typed; None takes the function's name.
        **options
            See `typer.Typer.command`.

        Returns
        -------
        callable
            Adds the function that it is given; see `with_shared_options`.
        """
        add = super().command(name, **{"cls": Command, **options})
        return lambda function: add(with_shared_options(function))


def with_shared_options(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose shared options typer sees one by one, where the function takes them together.

    The options of a dataclass, its fields in their order, stand in the place of the parameter that it is the type of::

        @dataclass(frozen=True, kw_only=True)
        class ReportOptions:
            out: OutOption = None
            plots: PlotsOption = True

        def translation(shift: ShiftOption = 0.5, *, report: ReportOptions) -> None: ...

    has the options ``--shift``, ``--out`` and ``--plots``.

    Parameters
    ----------
    function : callable
        The types of its parameters are annotated as typer wants them, or dataclasses whose fields are.

    Returns
    -------
    callable
        Takes all options by name, makes the dataclasses of them, and calls `function`.
    """
    given = inspect.signature(function, eval_str=True).parameters.values()
    groups: dict[str, Any] = {
        entry.name: entry.annotation for entry in given if dataclasses.is_dataclass(entry.annotation)
    }
    flat: list[inspect.Parameter] = []
    for entry in given:
        flat += _options_of(groups[entry.name]) if entry.name in groups else [entry.replace(kind=entry.KEYWORD_ONLY)]

    @functools.wraps(function)
    def command(**values: Any) -> None:
        shared = {
            name: group(**{field.name: values.pop(field.name) for field in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        function(**values, **shared)

    # What typer looks at.
    command.__annotations__ = {entry.name: entry.annotation for entry in flat}
    command.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    return command


def _options_of(group: Any) -> list[inspect.Parameter]:
    """Return the fields of a dataclass as parameters."""
    types = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
            annotation=types[field.name],
        )
        for field in dataclasses.fields(group)
    ]
