"""Options and steps that the commands of ``semret eval`` share."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semret.commands.output import ReportFormat, printable, progress_bar, write_json, write_table
from semret.errors import ArgumentError
from semret.progress import Progress

if TYPE_CHECKING:
    from semret.eval.report.reports import Report, Table
    from semret.index.backbones.spec import Backbone
    from semret.index.model_choice import ModelChoice

RootOption = Annotated[Path, typer.Option("--root", help="Folder with the data set's official files.")]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Folder for report.json, report.md, per_query.jsonl and plots.")
]
CacheOption = Annotated[
    Path,
    typer.Option("--features", help="Folder where the features of the pictures are kept, to be taken up again."),
]
ModelOption = Annotated[
    list[str], typer.Option("--model", help="Backbone, also as NAME@HxW for another input size; may be repeated.")
]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="Checkpoint of your own; with a single --model only.")
]
DtypeOption = Annotated[str, typer.Option("--dtype", help="Of the stored tokens: float16 or float32.")]
BatchOption = Annotated[int | None, typer.Option("--batch-size", help="Pictures per pass of the network.")]
KernelsOption = Annotated[str, typer.Option("--kernels", help="Comma-separated: cosine, linear, rbf.")]
InvariancesOption = Annotated[
    str, typer.Option("--invariances", help="Comma-separated: pooled, none, maxsim, permutation.")
]
CenterOption = Annotated[
    str,
    typer.Option("--center", help="Mean of the database that is subtracted: position (the paper's), channel, none."),
]
MetricOption = Annotated[
    str, typer.Option("--metric", help="Answers per query: @1 the best, @K also the best and the mean of K.")
]
FullMatrixOption = Annotated[
    bool, typer.Option("--full-matrix", help="Solve every pair; rbf then takes its bandwidth from the matrix.")
]
FrameOption = Annotated[
    str | None,
    typer.Option(
        "--frame", help="Resize every picture to HxW first, such as 1080x1920, as the paper does; default: as it is."
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of the random split and of the intervals.")]
PlotsOption = Annotated[bool, typer.Option("--plots/--no-plots", help="Draw figures into --out.")]

ImagesOption = Annotated[Path | None, typer.Option("--images", help="Folder of pictures; default: rendered scenes.")]
OneModelOption = Annotated[str, typer.Option("--model", help="Backbone, also as NAME@HxW.")]
LargestOption = Annotated[int, typer.Option("--largest", help="Leave layers with more positions out.")]

PaperProtocolOption = Annotated[
    bool,
    typer.Option(
        "--paper-protocol",
        help="Do everything as the paper did; what you set beside it stays, and the report lists it as a deviation.",
    ),
]

DEFAULT_MODELS = ["efficientnet-lite0"]
FEATURES = Path(".semret-features")


def names(text: str, option: str) -> tuple[str, ...]:
    """Split a comma-separated list; each name once."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found:
        raise ArgumentError(f"{option} is empty, expected at least one name")
    return found


def choices(models: list[str], weights: Path | None, device: str | None) -> list[ModelChoice]:
    """Read NAME and NAME@HxW."""
    from semret.index.backbones.registry import spec_of
    from semret.index.model_choice import ModelChoice

    if weights is not None and len(models) > 1:
        raise ArgumentError(f"--weights goes with one --model, {len(models)} were given; run them one by one")
    found = []
    for entry in models:
        name, _, size = entry.rpartition("@") if "@" in entry else (entry, "", "")
        height, _, width = size.partition("x")
        if size and not (height.isdecimal() and width.isdecimal()):
            raise ArgumentError(f"--model {entry}: expected NAME or NAME@HxW, such as efficientnet-lite0@256x256")
        spec_of(name)
        pixels = (int(height), int(width)) if size else None
        found.append(ModelChoice(model=name, weights=weights, size=pixels, device=device))
    return found


def read_frame(text: str | None) -> tuple[int, int] | None:
    """Read HxW."""
    if text is None:
        return None
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and 0 < int(height) <= 10_000 and 0 < int(width) <= 10_000):
        raise ArgumentError(f"--frame is {text!r}, expected HxW in pixels, such as 1080x1920")
    return int(height), int(width)


def given_options(context: typer.Context) -> frozenset[str]:
    """Return the names of the parameters that the user has set, for `semret.eval.protocol.follow`."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(name for name, source in sources.items() if source is not None and source.name != "DEFAULT")


def loaders(models: list[str], weights: Path | None, device: str | None) -> list[Callable[[], Backbone]]:
    """Return functions that load networks."""
    return [choice.loader(Path(os.devnull)) for choice in choices(models, weights, device)]


@contextlib.contextmanager
def stages() -> Iterator[Callable[[str], Progress | None]]:
    """Give a function that opens a progress bar for a stage, closing the one before."""
    with contextlib.ExitStack() as stack:

        def stage(label: str) -> Progress | None:
            stack.close()
            return stack.enter_context(progress_bar(label))

        yield stage


def check_output(out: Path | None, plots: bool) -> bool:
    """See, before anything is computed, that the report can be written; return whether plots can be drawn.

    Where they cannot, a note on stderr says why.

    Raises
    ------
    StorageError
        If the folder cannot be made or written.
    """
    from semret.errors import MissingDependencyError, StorageError
    from semret.eval.report.drawing import load_matplotlib

    if out is None:
        return False
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise StorageError(f"cannot write into --out {out}: {error.strerror}") from error
    if not plots:
        return False
    try:
        load_matplotlib()
    except MissingDependencyError as error:
        typer.echo(f"plots are left out: {printable(str(error))}", err=True)
        return False
    return True


def finish(report: Report, out: Path | None, plots: bool, format_: ReportFormat) -> None:
    """Write the report and print it; it is printed also where it cannot be written."""
    from semret.eval.report.reports import write_report

    if not plots:
        report.figures = {name: draw for name, draw in report.figures.items() if not name.endswith(".png")}
    try:
        if out is not None:
            written = write_report(report, out)
            typer.echo(f"wrote {', '.join(path.name for path in written)} to {out}", err=True)
    finally:
        _print_report(report, format_)


def _print_report(report: Report, format_: ReportFormat) -> None:
    if format_ is ReportFormat.json:
        write_json(report.as_json())
        return
    for table in report.shown_tables():
        print_table(table)
        typer.echo("")
    for note in report.notes:
        typer.echo(note, err=True)
    if report.deviations:
        typer.echo(f"{len(report.deviations)} deviations from the paper are listed in the report (--out).", err=True)


def print_table(table: Table) -> None:
    """Print a table on stdout under its title, columns of numbers to the right."""
    typer.echo(table.title)
    numeric = {
        column for column in range(len(table.header)) if all(row[column][:1] in "+-.0123456789" for row in table.rows)
    }
    write_table(table.header, table.rows, right=frozenset(numeric))
