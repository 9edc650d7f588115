"""``semret rsm`` and ``semret cka``."""

from __future__ import annotations

from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from semret.commands.options import Centering, Invariance, Kernel, SolverOption, complete_codec
from semret.commands.output import (
    ValueFormat,
    progress_bar,
    reported,
    write_csv,
    write_json,
    write_json_lines,
    write_table,
)
from semret.outputs import require_distinct


class Layout(StrEnum):
    """The names of `semret.retrieval.similarity.rsm.LAYOUTS`."""

    NSC = "NSC"
    NCHW = "NCHW"
    NHWC = "NHWC"
    NTD = "NTD"


class Estimator(StrEnum):
    """The names of `semret.retrieval.similarity.cka.ESTIMATORS`."""

    biased = "biased"
    unbiased = "unbiased"


FormatOption = Annotated[ValueFormat, typer.Option("--format", help="How to print the result.")]


def register(app: typer.Typer) -> None:
    """Add this file's commands to the application.

    Parameters
    ----------
    app : typer.Typer
    """
    app.command("rsm")(rsm)
    app.command("cka")(cka)


def rsm(
    features: Annotated[Path, typer.Argument(metavar="FEATURES", help="Representations: .npy, .npz or .h5.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Matrix to write: .npy, or .npz with one array per kernel.")
    ],
    against: Annotated[
        Path | None, typer.Option("--against", help="A second set; default: compare FEATURES with itself.")
    ] = None,
    kernel: Annotated[
        list[Kernel] | None,
        typer.Option("--kernel", help="What turns a matching into a score; may be repeated.  [default: cosine]"),
    ] = None,
    invariance: Annotated[
        Invariance, typer.Option("--invariance", help="What a comparison disregards; permutation: positions.")
    ] = Invariance.permutation,
    solver: SolverOption = "auction",
    center: Annotated[
        Centering, typer.Option("--center", help="Mean to subtract: that of --against, or of FEATURES without it.")
    ] = Centering.none,
    layout: Annotated[
        Layout, typer.Option("--layout", help="Axes: NSC positions then channels, NCHW and NHWC grids, NTD tokens.")
    ] = Layout.NSC,
    prefix_tokens: Annotated[
        int, typer.Option("--prefix-tokens", min=0, help="Class and register tokens to leave out (layout NTD).")
    ] = 0,
    sigma: Annotated[
        float | None, typer.Option("--sigma", help="RBF bandwidth; default: from the median squared distance.")
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            "--codec",
            metavar="NAME",
            autocompletion=complete_codec,
            help="Compare what this codec would store, fitted on --against, or on FEATURES without it.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device", help="cuda matches on a GPU, exactly; scores agree within 1e-6.  [default: processor]"
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Name of the array, in files that hold several.")
    ] = None,
    format_: FormatOption = ValueFormat.table,
) -> None:
    """Compare every representation with every other, and write the similarity matrix.

    Files are read slice by slice. The axes are (images, positions, channels) unless --layout says otherwise. An HDF5
    file with a group for each image, as tools for local features write it, is one set: the data sets named descriptors,
    in the order of the groups' names.
    """
    with reported():
        from semret.eval.coded import coded
        from semret.retrieval.similarity import rsm as library
        from semret.retrieval.similarity.feature_files import check_output, open_features, write_matrices

        names = [item.value for item in dict.fromkeys(kernel or [Kernel.cosine])]
        check_output(output, len(names))
        files = [file for file in (features, against) if file is not None]
        require_distinct(output, files)
        keys = {file: _key(file, dataset, files) for file in files}
        second = nullcontext() if against is None else open_features(against, keys[against])
        with open_features(features, keys[features]) as x, second as y, progress_bar("pairs") as bar:
            sets: list[Any] = [x, y]
            if codec is not None:
                given = [one for one in sets if one is not None]
                sets = [*coded(given[0], codec, *given[1:], layout=layout.value, prefix_tokens=prefix_tokens), None][:2]
            matrices = library.rsm(
                *sets,
                kernel=names,
                invariance=invariance.value,
                solver=solver,
                center=center.value,
                layout=layout.value if codec is None else Layout.NSC.value,
                prefix_tokens=prefix_tokens if codec is None else 0,
                sigma=sigma,
                device=device,
                progress=bar,
            )
        write_matrices(output, matrices)
        rows = [
            {
                "output": str(output),
                "kernel": name,
                "rows": matrix.shape[0],
                "columns": matrix.shape[1],
                "mean": float(matrix.mean()) if matrix.size else None,
            }
            for name, matrix in matrices.items()
        ]
        _write(rows, format_)


def cka(
    first: Annotated[Path, typer.Argument(metavar="RSM", help="Square matrix: .npy, .npz or .h5.")],
    second: Annotated[Path, typer.Argument(metavar="RSM", help="Another, of the same items in the same order.")],
    estimator: Annotated[
        Estimator, typer.Option("--estimator", help="Of HSIC; the biased one favours few items.")
    ] = Estimator.biased,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Name of the array, in files that hold several.")
    ] = None,
    format_: FormatOption = ValueFormat.table,
) -> None:
    """Compare two similarity matrices by centred kernel alignment."""
    with reported():
        from semret.retrieval.similarity import cka as library
        from semret.retrieval.similarity.feature_files import read_matrix

        one, other = (read_matrix(file, _key(file, dataset, [first, second])) for file in (first, second))
        value = library.cka(one, other, estimator=estimator.value)
        found: dict[str, Any] = {
            "first": str(first),
            "second": str(second),
            "items": len(one),
            "estimator": estimator.value,
            "cka": value if value == value else None,  # JSON knows no NaN
        }
        _write([found], format_, one=True)


def _key(file: Path, dataset: str | None, files: list[Path]) -> str | None:
    """Return the name of the array to read from a file; None for a .npy file beside one that has names."""
    nameless = [other.suffix.lower() == ".npy" for other in files]
    return None if file.suffix.lower() == ".npy" and not all(nameless) else dataset


def _write(rows: list[dict[str, Any]], format_: ValueFormat, *, one: bool = False) -> None:
    if format_ is ValueFormat.json:
        write_json(rows[0] if one else rows)
    elif format_ is ValueFormat.jsonl:
        write_json_lines(rows)
    elif format_ is ValueFormat.csv:
        write_csv(list(rows[0]), [list(row.values()) for row in rows])
    else:
        header = list(rows[0])
        numbers = frozenset(i for i, name in enumerate(header) if not isinstance(rows[0][name], str))
        write_table(
            header,
            [[_short(value) for value in row.values()] for row in rows],
            right=numbers,
        )


def _short(value: Any) -> str:
    if value is None:
        return "undefined"
    return f"{value:.6f}" if isinstance(value, float) else str(value)
