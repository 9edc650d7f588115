"""How the outcome of ``semret index`` is printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from semret.commands.output import ReportFormat, duration, printable, readable, say, write_json, write_phrases
from semret.names import amount

if TYPE_CHECKING:
    from semret.index.model_choice import ModelChoice
    from semret.index.sync.estimate import Estimate
    from semret.index.sync.report import SyncOptions, SyncReport

SHOWN = 20
"""Skipped files that are named one by one on a terminal."""


def show_report(report: SyncReport, format_: ReportFormat) -> None:
    """Print what was done on stdout, and what was skipped or kept on stderr.

    Parameters
    ----------
    report : SyncReport
    format_ : ReportFormat
    """
    if format_ is ReportFormat.json:
        write_json(report.as_json())
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
    directory: Path, paths: list[Path], choice: ModelChoice, options: SyncOptions, format_: ReportFormat
) -> None:
    """Measure on a few pictures, and print what indexing would take.

    Parameters
    ----------
    directory : Path
        Of the index, which need not exist.
    paths : list of Path
        Pictures and folders.
    choice : ModelChoice
    options : SyncOptions
    format_ : ReportFormat
    """
    from semret.index.sync.estimate import estimate

    found = estimate(directory, paths, choice.loader(directory), options=options)
    if format_ is ReportFormat.json:
        write_json(found.as_json())
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


def tell_exceptions(report: SyncReport | Estimate) -> None:
    """Name on stderr the files that were skipped, and the folders whose images are kept though they are missing.

    Parameters
    ----------
    report : SyncReport or Estimate
    """
    for path, reason in report.skipped[:SHOWN]:
        say(f"semret: skipped {printable(path)}: {printable(reason)}")
    if len(report.skipped) > SHOWN:
        say(f"semret: and {len(report.skipped) - SHOWN} more; --format json names them all")
    for path, images in report.kept_in[:SHOWN]:
        say(
            f"semret: kept {amount(images, 'image')} of {printable(path)}, "
            "which is missing or empty; --prune removes what is kept"
        )
    if len(report.kept_in) > SHOWN:
        say(f"semret: and those of {len(report.kept_in) - SHOWN} folders more")
    if report.excluded.images:
        say(
            f"semret: of the removed, {amount(report.excluded.images, 'image')} are excluded now; index with "
            "--no-exclude, and they are back without being embedded again"
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
