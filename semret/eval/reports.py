"""What a run found, with all it takes to repeat it: report.json, report.md, per_query.jsonl and plots."""

from __future__ import annotations

import json
import math
import os
import platform
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from semret._version import __version__
from semret.errors import DatasetError, StorageError
from semret.eval.drawing import draw_all
from semret.eval.leftovers import remove_leftovers
from semret.eval.paper import PAPER

SCHEMA = "semret-report/1"

PACKAGES = ("numpy", "scipy", "numba", "torch", "timm", "transformers", "open_clip_torch", "faiss-cpu", "pillow")

FIELDS: dict[str, type | tuple[type, ...]] = {
    "schema": str, "experiment": str, "title": str, "created": str, "semret": str, "versions": dict, "machine": dict,
    "settings": dict, "seed": int, "dataset": dict, "models": list, "metrics": list, "comparisons": list,
    "tables": list, "notes": list, "figures": list, "seconds": dict, "paper": str,
}  # fmt: skip
"""Top-level fields of report.json and their types; docs/evaluation.md describes them."""

METRIC_FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str, "model": str, "cell": dict, "mean": (int, float, type(None)), "low": (int, float, type(None)),
    "high": (int, float, type(None)), "n": int, "paper": (int, float, type(None)),
}  # fmt: skip
"""Fields of each entry of ``metrics``."""

COMPARISON_FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str, "model": str, "cell": dict, "against": dict, "mean": (int, float), "low": (int, float),
    "high": (int, float), "p": (int, float), "n": int,
}  # fmt: skip
"""Fields of each entry of ``comparisons``."""


@dataclass(frozen=True)
class Table:
    """A table of report.md: texts, the header first; `right` aligned columns hold numbers."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def as_markdown(self) -> str:
        """Return the table in Markdown under its title."""
        lines = [f"## {self.title}", "", _line(self.header), _line(["---"] * len(self.header))]
        return "\n".join([*lines, *(_line(row) for row in self.rows), ""])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


@dataclass(kw_only=True)
class Report:
    """The outcome of one experiment.

    Attributes
    ----------
    experiment, title : str
    settings : dict
        Everything that was chosen, defaults included; JSON values.
    seed : int
    dataset : dict
        Name, numbers of pictures, what was left out, fingerprint.
    models : list of dict
        Identity of each network: checkpoint, revision, weight hash, preprocessing, S and C.
    metrics, comparisons : list of dict
        See `METRIC_FIELDS` and `COMPARISON_FIELDS`.
    tables : list of Table
    notes : list of str
        What a reader must know of how numbers came about.
    seconds : dict
        Wall time by stage.
    per_query : list of dict
        Lines of per_query.jsonl.
    figures : dict
        File name to a function that draws it to a path; drawn only when the report is written.
    """

    experiment: str
    title: str
    settings: dict[str, Any]
    seed: int
    dataset: dict[str, Any]
    models: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    per_query: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, Callable[[Path], None]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the document of report.json; numbers that are not finite become null."""
        document = {
            "schema": SCHEMA,
            "experiment": self.experiment,
            "title": self.title,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "semret": __version__,
            "versions": installed_versions(),
            "machine": {"system": platform.platform(), "processor": platform.machine(), "cpus": os.cpu_count() or 0},
            "settings": self.settings,
            "seed": self.seed,
            "dataset": self.dataset,
            "models": self.models,
            "metrics": self.metrics,
            "comparisons": self.comparisons,
            "tables": [{"title": t.title, "header": t.header, "rows": t.rows} for t in self.tables],
            "notes": self.notes,
            "figures": sorted(self.figures),
            "seconds": {stage: round(value, 3) for stage, value in self.seconds.items()},
            "paper": PAPER,
        }
        cleaned: dict[str, Any] = finite(document)
        return cleaned

    def as_markdown(self) -> str:
        """Return report.md."""
        parts = [f"# {self.title}", ""]
        parts += [table.as_markdown() for table in self.tables]
        if self.notes:
            parts += ["## Notes", "", *(f"- {note}" for note in self.notes), ""]
        parts += [f"![{Path(name).stem}]({name})\n" for name in sorted(self.figures) if name.endswith(".png")]
        parts += [f"[{Path(name).stem}]({name})\n" for name in sorted(self.figures) if name.endswith(".html")]
        settings = [[name, json.dumps(finite(value))] for name, value in self.settings.items()]
        parts += [Table("Settings", ["setting", "value"], settings).as_markdown()]
        facts = [[name, json.dumps(finite(value))] for name, value in self.dataset.items()]
        parts += [Table("Data", ["", ""], facts).as_markdown()]
        parts += [f"semret {__version__}; paper: {PAPER}.", ""]
        return "\n".join(parts)


def file_name(text: str) -> str:
    """Return a text as part of a file name that needs no escaping in Markdown or a shell."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


def finite(value: Any) -> Any:
    """Return a JSON value with NaN and infinity as None, tuples as lists, NumPy numbers as Python's."""
    if isinstance(value, dict):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write_report(report: Report, directory: Path) -> list[Path]:
    """Write report.json, report.md, per_query.jsonl and the figures; files of the same names are replaced.

    The texts are written before anything is drawn. A figure that cannot be drawn is left out of the report, whose
    notes then say why.

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

    Raises
    ------
    DatasetError
        If it is missing, or no report of this schema.
    """
    file = path / "report.json" if path.is_dir() else path
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"cannot read {file}: {error.strerror}; give a report.json or the --out of a run") from error
    except ValueError as error:
        raise DatasetError(f"{file} is no JSON document: {error}") from error
    problems = find_problems(document)
    if problems:
        raise DatasetError(f"{file} is no report of schema {SCHEMA}: {problems[0]}")
    found: dict[str, Any] = document
    return found


def find_problems(document: Any) -> list[str]:
    """Check a document against the schema; return what is wrong, nothing for a valid report."""
    if not isinstance(document, dict):
        return [f"it holds a {type(document).__name__}, expected an object"]
    problems = _misfits(document, FIELDS, "")
    if problems:
        return problems
    if document["schema"] != SCHEMA:
        return [f"schema is {document['schema']!r}, expected {SCHEMA!r}"]
    for name, fields in (("metrics", METRIC_FIELDS), ("comparisons", COMPARISON_FIELDS)):
        for index, entry in enumerate(document[name]):
            problems += _misfits(entry, fields, f"{name}[{index}].")
    for index, table in enumerate(document["tables"]):
        widths = {len(row) for row in [table["header"], *table["rows"]]}
        if len(widths) != 1:
            problems.append(f"tables[{index}] has rows of {sorted(widths)} cells")
    return problems


def _misfits(entry: Any, fields: dict[str, Any], prefix: str) -> list[str]:
    if not isinstance(entry, dict):
        return [f"{prefix.rstrip('.')} is no object"]
    missing = [f"{prefix}{name} is missing" for name in fields if name not in entry]
    surplus = [f"{prefix}{name} is unknown" for name in entry if name not in fields]
    wrong = [
        f"{prefix}{name} is a {type(entry[name]).__name__}"
        for name, kind in fields.items()
        if name in entry and (not isinstance(entry[name], kind) or isinstance(entry[name], bool))
    ]
    return missing + surplus + wrong


def compare_reports(documents: Iterable[tuple[str, dict[str, Any]]]) -> Table:
    """Put the metrics of reports side by side.

    Parameters
    ----------
    documents : iterable of (label, document)
        As `read_report` gives them.

    Returns
    -------
    Table
        One row for each metric, model and cell that any report has, one column of means and intervals per report.
    """
    columns: list[str] = []
    cells: dict[tuple[str, str, str], dict[int, str]] = {}
    for number, (label, document) in enumerate(documents):
        columns.append(label)
        for metric in document["metrics"]:
            cell = ", ".join(str(value) for value in metric["cell"].values())
            cells.setdefault((metric["name"], metric["model"], cell), {})[number] = show(metric)
    rows = [[*key, *(row.get(number, "") for number in range(len(columns)))] for key, row in cells.items()]
    return Table("Reports side by side", ["metric", "model", "cell", *columns], rows)


def show(metric: dict[str, Any]) -> str:
    """Write a metric as its mean and, where there is one, its interval."""
    if metric["mean"] is None or not math.isfinite(metric["mean"]):
        return "-"
    text = f"{metric['mean']:.3f}"
    if metric.get("low") is not None:
        text += f" [{metric['low']:.3f}, {metric['high']:.3f}]"
    return text
