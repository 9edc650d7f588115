"""What a run found, with all it takes to repeat it: report.json, report.md, per_query.jsonl and plots."""

from __future__ import annotations

import contextlib
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
from semret.errors import DatasetError, StorageError, cut_text
from semret.eval.metrics import correct_by_holm
from semret.eval.protocol import PROTOCOLS, list_deviations
from semret.eval.report.drawing import draw_all
from semret.eval.report.leftovers import remove_leftovers
from semret.eval.report.paper import PAPER
from semret.eval.report.schema import SCHEMA, STATISTICS, find_problems
from semret.foreign import read_regular

PACKAGES = (
    "numpy", "scipy", "numba", "ortools", "torch", "torchvision", "timm", "transformers", "open_clip_torch",
    "faiss-cpu", "h5py", "pillow",
)  # fmt: skip
"""Packages whose versions a report names: numbers depend on them."""

MOST_BYTES = 2**30
"""Largest report that is read."""


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

    def without_empty_columns(self) -> Table:
        """Return the table without columns that say ``-`` in every row; with no rows it stays as it is."""
        kept = [c for c in range(len(self.header)) if not self.rows or any(row[c] != "-" for row in self.rows)]
        return Table(self.title, [self.header[c] for c in kept], [[row[c] for c in kept] for row in self.rows])


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
        See `semret.eval.report.schema`.
    tables : list of Table
    notes : list of str
        What a reader must know of how numbers came about.
    departures : list of str
        What differs from the paper beside settings and what its protocol lists; see `deviations`.
    seconds : dict
        Wall time by stage.
    per_query : list of dict
        Lines of per_query.jsonl.
    figures : dict
        File name to a function that draws it to a path; drawn only when the report is written.
    created : str
        Date and time in UTC.
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
    departures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    per_query: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, Callable[[Path], None]] = field(default_factory=dict)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def deviations(self) -> list[str]:
        """What differs from the paper: `departures`, settings, numbers of pictures, and what always does."""
        if self.experiment not in PROTOCOLS:
            return list(self.departures)
        drawn = {"queries": "queries", "database": "databases", "count": "pictures"}
        counts = {name: self.dataset[field] for name, field in drawn.items() if field in self.dataset}
        return self.departures + list_deviations(self.experiment, {**self.settings, **counts})

    def shown_tables(self) -> list[Table]:
        """Return the tables without columns in which nothing stands."""
        return [table.without_empty_columns() for table in self.tables]

    def as_json(self) -> dict[str, Any]:
        """Return the document of report.json; numbers that are not finite become null."""
        document = {
            "schema": SCHEMA,
            "experiment": self.experiment,
            "title": self.title,
            "created": self.created,
            "semret": __version__,
            "versions": installed_versions(),
            "machine": machine(),
            "settings": self.settings,
            "seed": self.seed,
            "dataset": self.dataset,
            "models": self.models,
            "metrics": self.metrics,
            "comparisons": with_holm(self.comparisons),
            "tables": [{"title": t.title, "header": t.header, "rows": t.rows} for t in self.shown_tables()],
            "notes": self.notes,
            "deviations": self.deviations,
            "figures": sorted(self.figures),
            "seconds": {stage: round(value, 3) for stage, value in self.seconds.items()},
            "paper": PAPER,
        }
        cleaned: dict[str, Any] = finite(document)
        return cleaned

    def as_markdown(self) -> str:
        """Return report.md."""
        parts = [f"# {self.title}", ""]
        parts += [table.as_markdown() for table in self.shown_tables()]
        if self.notes:
            parts += ["## Notes", "", *(f"- {note}" for note in self.notes), ""]
        if self.deviations:
            parts += ["## Deviations from the paper", "", *(f"- {line}" for line in self.deviations), ""]
        parts += [f"![{Path(name).stem}]({name})\n" for name in sorted(self.figures) if name.endswith(".png")]
        parts += [f"[{Path(name).stem}]({name})\n" for name in sorted(self.figures) if name.endswith(".html")]
        parts += [_facts("Settings", {"seed": self.seed, **self.settings}), _facts("Data", self.dataset)]
        parts += [_facts(f"Model {model.get('name', '')}".rstrip(), model) for model in self.models]
        parts += [_facts("Seconds", {stage: round(value, 1) for stage, value in self.seconds.items()})]
        made = {"date": self.created, "semret": __version__, **installed_versions(), **machine()}
        parts += [_facts("Made with", made), f"Paper: {PAPER}.", ""]
        return "\n".join(parts)


def _facts(title: str, values: dict[str, Any]) -> str:
    """Return names and JSON values as a table, nothing without any."""
    rows = [[name, value if isinstance(value, str) else json.dumps(finite(value))] for name, value in values.items()]
    return Table(title, ["", ""], rows).as_markdown() if rows else ""


def machine() -> dict[str, Any]:
    """Return the system, the processor and its number of logical CPUs."""
    return {"system": platform.platform(), "processor": _processor(), "cpus": os.cpu_count() or 0}


def _processor() -> str:
    """Return the processor's name where Linux tells it, else its architecture."""
    with contextlib.suppress(OSError):
        for line in read_regular("/proc/cpuinfo", most=2**24).decode("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({platform.machine()})"
    return platform.machine()


def with_holm(comparisons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the comparisons with `p_holm`: Holm's correction of `p` for all of them together."""
    corrected = correct_by_holm([comparison["p"] for comparison in comparisons])
    return [{**comparison, "p_holm": p} for comparison, p in zip(comparisons, corrected, strict=True)]


def show_p(comparison: dict[str, Any], name: str = "p") -> str:
    """Write a p value of a comparison; where so many resamples give none smaller, as an upper limit."""
    text = f"{comparison[name]:.4f}"
    return f"<= {text}" if comparison["p"] <= comparison.get("p_least", 0.0) else text


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
    """Write a metric as its number and, where there is one, its interval."""
    value = next(metric[name] for name in STATISTICS if name in metric)
    if value is None or not math.isfinite(value):
        return "-"
    text = f"{value:.3f}"
    if metric.get("low") is not None:
        text += f" [{metric['low']:.3f}, {metric['high']:.3f}]"
    return text
