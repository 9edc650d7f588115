"""``semret models``: which backbones there are, what they cost here, and which to take for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from semret.commands.options import DeviceOption, complete_model
from semret.commands.output import (
    Format,
    progress_bar,
    reported,
    say,
    show_error,
    write_csv,
    write_json,
    write_json_lines,
    write_table,
)
from semret.names import readable

if TYPE_CHECKING:
    from semret.index.backbones.spec import BackboneSpec
    from semret.index.backbones.speeds import Speed

_COLUMNS = ("name", "take it for", "S", "C", "input", "text", "licence", "weights", "speed here")
_CSV = (
    "name", "checkpoint", "licence", "S", "C", "input", "text", "parameters", "bytes", "weights", "pictures_per_second",
    "measured", "purpose",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add this file's command to the application.

    Parameters
    ----------
    app : typer.Typer
    """
    app.command("models")(models)


def models(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]", help="Only these.", autocompletion=complete_model),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="First measure how many pictures a second they embed on this machine; without names, those whose "
            "weights are here. It is remembered.",
        ),
    ] = False,
    device: DeviceOption = None,
    format_: Annotated[Format, typer.Option("--format", help="How to print the list; paths prints the names.")] = (
        Format.table
    ),
    prepare: Annotated[
        bool,
        typer.Option(
            "--prepare",
            help="Instead, write into the cache what the first search would: the default model's graph and compiled "
            "solvers. For containers.",
        ),
    ] = False,
) -> None:
    """List the backbones: which to take for what, how large they are, how quick on this machine.

    Any other image model loads as hf:ORG/NAME, onnx:FILE, open_clip:ARCH/TAG or timm:NAME. Speeds are shown once they
    have been measured, which needs no weights for the models of this list: random numbers take as long.
    """
    if prepare:
        with reported(), progress_bar("preparing") as progress:
            # Not at the top: a list of models needs neither NumPy nor a network.
            from semret.retrieval.search.prepare import prepare as library

            library(progress)
        typer.echo("the default model's graph and the matching solvers are in the cache")
        return
    if device is not None and not measure:
        raise typer.BadParameter("is where --measure measures; give both", param_hint="--device")
    with reported():
        from semret.index.backbones.registry import list_backbones, spec_of

        specs = [spec_of(name) for name in names] if names else list_backbones()
        failed = measure and not _measure([spec.name for spec in specs], device, named=bool(names))
        from semret.index.backbones.speeds import known_speeds

        speeds = known_speeds()
        rows = [_describe(spec, speeds.get(spec.name)) for spec in specs]
    _write(rows, format_)
    if failed:
        raise typer.Exit(1)


def _write(rows: list[dict[str, Any]], format_: Format) -> None:
    if format_ is Format.json:
        write_json(rows)
    elif format_ is Format.jsonl:
        write_json_lines(rows)
    elif format_ is Format.paths:
        for row in rows:
            typer.echo(row["name"])
    elif format_ is Format.csv:
        write_csv(_CSV, [_csv_cells(row) for row in rows])
    else:
        write_table(list(_COLUMNS), [_cells(row) for row in rows], right=frozenset({2, 3, 8}), prose=frozenset({1}))


def _measure(names: list[str], device: str | None, *, named: bool) -> bool:
    """Measure some backbones and remember it; return whether all could be measured."""
    # Not at the top: see above.
    from semret.errors import SemretError
    from semret.index.backbones import speed
    from semret.index.backbones.speeds import keep_speeds
    from semret.progress import waiting_for

    wanted = names if named else speed.names_here(names)
    sound = True
    with progress_bar("measuring") as progress:
        for done, name in enumerate(wanted):
            if progress is not None:
                progress(done, len(wanted))
            try:
                with waiting_for(f"measuring {name}", progress):
                    found = speed.measure(name, device=device)
            except SemretError as error:
                show_error(error)
                sound = False
                continue
            keep_speeds({name: found})
            if progress is None:
                say(f"semret: measured {name}")
    return sound


def _describe(spec: BackboneSpec, speed: Speed | None) -> dict[str, Any]:
    """Return a backbone's properties as plain values."""
    from semret.index.backbones.facts import FACTS
    from semret.index.backbones.hub import find_weights, weight_bytes

    grid, preprocessing, facts = spec.grid, spec.preprocessing, FACTS.get(spec.name)
    weights = find_weights(spec) if facts else None
    return {
        "name": spec.name,
        "purpose": facts.purpose if facts else None,
        "family": spec.family,
        "checkpoint": spec.checkpoint,
        "revision": spec.revision,
        "licence": spec.licence,
        "reference": spec.reference,
        "S": grid[0] * grid[1] if grid else None,
        "C": spec.channels,
        "grid": list(grid) if grid else None,
        "input": list(preprocessing.size) if preprocessing else None,
        "geometry": preprocessing.geometry if preprocessing else None,
        "prefix_tokens": spec.prefix_tokens,
        "pooled": spec.pooled,
        "classes": spec.classes,
        "text": spec.text,
        "resizable": spec.resizable,
        "weights": None if weights is None else str(weights),
        "parameters": facts.parameters if facts else None,
        "bytes": weight_bytes(weights) if weights else facts.weight_bytes if facts else None,
        "speed": speed.as_json() if speed else None,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    size = "" if row["bytes"] is None else readable(row["bytes"])
    present = f"here, {size}" if row["weights"] else f"{size} to download".strip()
    return [
        row["name"],
        row["purpose"] or "",
        _text(row["S"]),
        _text(row["C"]),
        _input(row),
        "yes" if row["text"] else "",
        row["licence"],
        present,
        "{pictures_per_second:.3g}/s, {measured}".format(**row["speed"]) if row["speed"] else "-",
    ]


def _csv_cells(row: dict[str, Any]) -> list[Any]:
    plain = {**row, **(row["speed"] or {}), "input": _input(row), "text": "yes" if row["text"] else ""}
    plain["weights"] = "here" if row["weights"] else "to download"
    return [plain.get(name) for name in _CSV]


def _input(row: dict[str, Any]) -> str:
    return "" if row["input"] is None else "{}x{}".format(*row["input"])


def _text(value: object) -> str:
    return "" if value is None else str(value)
