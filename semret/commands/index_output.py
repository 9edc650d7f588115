"""How the outcome of ``semret index`` is printed."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import typer

from semret.commands.output import duration, printable, say, write_json, write_json_lines, write_phrases
from semret.names import amount, readable

if TYPE_CHECKING:
    from semret.index.location import Place
    from semret.index.model_choice import ModelChoice
    from semret.index.sync.estimate import Estimate
    from semret.index.sync.report import SyncOptions, SyncReport


class IndexFormat(StrEnum):
    """How the outcome is printed; lines of JSON are for the updates of a watched folder."""

    table = "table"
    json = "json"
    jsonl = "jsonl"


SHOWN = 20
"""Skipped files that are named one by one on a terminal."""


def show_report(report: SyncReport, format_: IndexFormat) -> None:
    """Print what was done on stdout, and what was skipped or kept on stderr.

    Parameters
    ----------
    report : SyncReport
    format_ : IndexFormat
    """
    if format_ is not IndexFormat.table:
        _write(report.as_json(), format_)
        return
    tell_exceptions(report)
    if report.refit_pays:
        say(
            "semret: the pictures differ much from those that the index's codec was fitted on; a new index of them, "
            "in another directory, would find more"
        )
    write_phrases(counted(report), head=f"{amount(report.images, 'image')} in {printable(report.index)}:")
    speed = "nothing had to be embedded"
    if report.embedded:
        speed = f"{report.embedded} embedded in {report.seconds:.1f} s ({report.images_per_second:.1f} images/s)"
    typer.echo(f"{speed}; {readable(report.bytes)}, {readable(report.bytes_per_image)} per image")


def show_estimate(
    place: Place, paths: list[str], choice: ModelChoice, options: SyncOptions, format_: IndexFormat
) -> None:
    """Measure on a few pictures, and print what indexing would take.

    Parameters
    ----------
    place : Place
        Of the index, which need not exist.
    paths : list of str
        Pictures, folders and addresses.
    choice : ModelChoice
    options : SyncOptions
    format_ : IndexFormat
    """
    from semret.index.sync.estimate import estimate

    found = estimate(place.folder, paths, choice.loader(place.folder), options=options)
    found = replace(found, index=place.name)
    if format_ is not IndexFormat.table:
        _write(found.as_json(), format_)
        return
    tell_exceptions(found)
    typer.echo(f"{amount(found.images, 'image')}, {found.to_embed} to embed, into {printable(found.index)}")
    write_phrases(f"{counted(found)}; nothing was written")
    if found.seconds is None:
        typer.echo("none of the pictures tried could be read, so how long it takes is not known")
    elif found.to_embed:
        typer.echo(
            f"{readable(found.bytes)} ({readable(found.bytes_per_image)} per image), about {duration(found.seconds)}; "
            f"measured on {found.measured} of them"
        )


def _write(document: dict[str, Any], format_: IndexFormat) -> None:
    if format_ is IndexFormat.json:
        write_json(document)
    else:
        write_json_lines([document])


def tell_exceptions(
    report: SyncReport | Estimate, *, only: Container[tuple[str, str] | tuple[str, int]] | None = None
) -> None:
    """Name on stderr the files that were skipped, and the folders whose images are kept though they are missing.

    Parameters
    ----------
    report : SyncReport or Estimate
    only : container, optional
        Those of ``report.skipped`` and ``report.kept_in`` that are named; default: all.
    """
    skipped = [one for one in report.skipped if only is None or one in only]
    kept_in = [one for one in report.kept_in if only is None or one in only]
    for path, reason in skipped[:SHOWN]:
        say(f"semret: skipped {printable(path)}: {printable(reason)}")
    if len(skipped) > SHOWN:
        say(f"semret: and {len(skipped) - SHOWN} more; --format json names them all")
    for path, images in kept_in[:SHOWN]:
        say(
            f"semret: kept {amount(images, 'image')} of {printable(path)}, "
            "which is missing or empty; --prune removes what is kept"
        )
    if len(kept_in) > SHOWN:
        say(f"semret: and those of {len(kept_in) - SHOWN} folders more")
    if report.excluded.images:
        say(
            f"semret: removed because they are excluded now: {amount(report.excluded.images, 'image')}; "
            "after a run with --no-exclude they are back, without being embedded again"
        )


def counted(report: SyncReport | Estimate) -> str:
    """Return how many files became what, in words.

    Parameters
    ----------
    report : SyncReport or Estimate

    Returns
    -------
    str
        Such as ``3 added, 0 updated, ..., 1 skipped; not read: 2 videos``.
    """
    changes = ["added", "updated", "renamed", "removed", "unchanged"]
    if report.kept:
        changes.append("kept")
    counts = ", ".join(f"{getattr(report, name)} {name}" for name in changes)
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.left_out.items())
    excluded = ", ".join(
        amount(count, noun)
        for count, noun in ((report.excluded.files, "file"), (report.excluded.folders, "folder"))
        if count
    )
    notes = (f"; not read: {kinds}" if kinds else "") + (f"; excluded: {excluded}" if excluded else "")
    return f"{counts}, {len(report.skipped)} skipped{notes}"
