"""Reports side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from semret.eval.report.document import Table
from semret.eval.report.values import show


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
