"""Reports on disk: report.json, report.md, per_query.jsonl and the figures beside them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from semret.errors import DatasetError, StorageError, cut_text
from semret.eval.report.document import Report
from semret.eval.report.drawing import draw_all
from semret.eval.report.leftovers import remove_leftovers
from semret.eval.report.schema import SCHEMA, find_problems
from semret.eval.report.values import finite
from semret.foreign import read_regular

MOST_BYTES = 2**30
"""Largest report that is read."""


def require_writable(directory: Path, option: str) -> None:
    """Make a folder and see that files can be written into it.

    Parameters
    ----------
    directory : Path
    option : str
        What the folder was given with, for the message.

    Raises
    ------
    StorageError
        If it cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise StorageError(f"cannot write into {option} {directory}: {error.strerror}") from error


def write_report(report: Report, directory: Path) -> list[Path]:
    """Write report.json, report.md, per_query.jsonl and the figures; files of the same names are replaced.

    The texts are written before anything is drawn. A figure that cannot be drawn is left out of the report, whose
    notes then say why.

    Parameters
    ----------
    report : Report
        Loses the figures that cannot be drawn, and gains notes about them.
    directory : Path
        Made if it does not exist.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    StorageError
        If the directory cannot be written.
    """
    remove_leftovers(directory)
    lines = "".join(json.dumps(finite(line), allow_nan=False) + "\n" for line in report.per_query)
    written = _write_texts(directory, {**_texts(report), **({"per_query.jsonl": lines} if lines else {})})
    failed = draw_all(report.figures, directory)
    for name, reason in failed.items():
        del report.figures[name]
        report.notes.append(f"{name} could not be drawn: {reason}")
    if failed:
        _write_texts(directory, _texts(report))
    return [*written, *(directory / name for name in report.figures)]


def _texts(report: Report) -> dict[str, str]:
    document = json.dumps(report.as_json(), indent=1, allow_nan=False) + "\n"
    return {"report.json": document, "report.md": report.as_markdown()}


def _write_texts(directory: Path, texts: dict[str, str]) -> list[Path]:
    written: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            written.append(directory / name)
            written[-1].write_text(text, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise StorageError(f"cannot write {written[-1] if written else directory}: {error.strerror}") from error
    return written


def read_report(path: Path) -> dict[str, Any]:
    """Read a report.json, or the one in a directory.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict

    Raises
    ------
    DatasetError
        If it is missing, or no report of this schema.
    """
    file = path / "report.json" if path.is_dir() else path
    try:
        document = json.loads(read_regular(file, most=MOST_BYTES))
    except OSError as error:
        raise DatasetError(f"cannot read {file}: {error.strerror}; give a report.json or the --out of a run") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{file} is no JSON document: {cut_text(error)}") from error
    problems = find_problems(document)
    if problems:
        raise DatasetError(f"{file} is no report of schema {SCHEMA}: {problems[0]}")
    found: dict[str, Any] = document
    return found
