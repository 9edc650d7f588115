"""``semret models``: which backbones there are, and whether their weights are here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from semret.commands.output import Format, progress_bar, reported, write_csv, write_json, write_json_lines, write_table

if TYPE_CHECKING:
    from semret.index.backbones.spec import BackboneSpec

_COLUMNS = ("name", "checkpoint", "licence", "S", "C", "input", "text", "weights")


def register(app: typer.Typer) -> None:
    """Add this file's command to the application.

    Parameters
    ----------
    app : typer.Typer
    """
    app.command("models")(models)


def models(
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
    """List the backbones, what they give, and whether their weights are on this machine.

    Any other image model loads as hf:ORG/NAME, onnx:FILE, open_clip:ARCH/TAG or timm:NAME.
    """
    if prepare:
        with reported(), progress_bar("preparing") as progress:
            # Not at the top: a list of models needs neither NumPy nor a network.
            from semret.retrieval.search.prepare import prepare as library

            library(progress)
        typer.echo("the default model's graph and the matching solvers are in the cache")
        return
    with reported():
        from semret.index.backbones.hub import find_weights
        from semret.index.backbones.registry import list_backbones

        rows = [_describe(spec, str(find_weights(spec) or "")) for spec in list_backbones()]
    if format_ is Format.json:
        write_json(rows)
    elif format_ is Format.jsonl:
        write_json_lines(rows)
    elif format_ is Format.paths:
        for row in rows:
            typer.echo(row["name"])
    elif format_ is Format.csv:
        write_csv(_COLUMNS, [_cells(row) for row in rows])
    else:
        write_table(list(_COLUMNS), [_cells(row) for row in rows], right=frozenset({3, 4}))


def _describe(spec: BackboneSpec, weights: str) -> dict[str, Any]:
    """Return a backbone's properties as plain values; `weights` is empty if they are not on this machine."""
    grid, preprocessing = spec.grid, spec.preprocessing
    return {
        "name": spec.name,
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
        "weights": weights or None,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    height, width = row["input"]
    present = "here" if row["weights"] else "to download"
    text = "yes" if row["text"] else ""
    return [
        row["name"],
        row["checkpoint"],
        row["licence"],
        str(row["S"]),
        str(row["C"]),
        f"{height}x{width}",
        text,
        present,
    ]
