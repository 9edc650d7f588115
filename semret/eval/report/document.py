"""What a run found, with all it takes to repeat it: the content of report.json and report.md."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from semret._version import __version__
from semret.eval.protocol import PROTOCOLS, list_deviations
from semret.eval.report.environment import installed_versions, machine
from semret.eval.report.paper import PAPER
from semret.eval.report.schema import SCHEMA
from semret.eval.report.values import finite, with_holm


@dataclass(frozen=True)
class Table:
    """A table of report.md: texts, the header first; `right` aligned columns hold numbers."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def as_markdown(self) -> str:
        """Return the table in Markdown under its title.

        Returns
        -------
        str
        """
        lines = [f"## {self.title}", "", _line(self.header), _line(["---"] * len(self.header))]
        return "\n".join([*lines, *(_line(row) for row in self.rows), ""])

    def without_empty_columns(self) -> Table:
        """Return the table without the columns that hold ``-`` in every row; a table without rows stays as it is.

        Returns
        -------
        Table
        """
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
        """Return the tables without their empty columns.

        Returns
        -------
        list of Table
        """
        return [table.without_empty_columns() for table in self.tables]

    def as_json(self) -> dict[str, Any]:
        """Return the document of report.json; numbers that are not finite become null.

        Returns
        -------
        dict
        """
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
        """Return report.md.

        Returns
        -------
        str
        """
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
