"""The schema of report.json, for Python; docs/report-schema.json holds the same for other programs."""

from __future__ import annotations

from typing import Any

SCHEMA = "semret-report/1"
"""Name and version of the form, in the field ``schema``."""

Kinds = dict[str, type | tuple[type, ...]]
"""Name of a field to the types that it may have."""

FIELDS: Kinds = {
    "schema": str, "experiment": str, "title": str, "created": str, "semret": str, "versions": dict, "machine": dict,
    "settings": dict, "seed": int, "dataset": dict, "models": list, "metrics": list, "comparisons": list,
    "tables": list, "notes": list, "deviations": list, "figures": list, "seconds": dict, "paper": str,
}  # fmt: skip
"""Top-level fields of report.json and their types; docs/evaluation.md describes them."""

DATASET_FIELDS: Kinds = {"name": str, "pictures": int, "fingerprint": str}
"""Fields that ``dataset`` has at least."""

METRIC_FIELDS: Kinds = {
    "name": str, "model": str, "cell": dict, "low": (int, float, type(None)), "high": (int, float, type(None)),
    "n": int, "paper": (int, float, type(None)),
}  # fmt: skip
"""Fields of each entry of ``metrics``, beside its number under one of `STATISTICS`."""

STATISTICS = ("mean", "median", "value")
"""Fields of which each metric has one, which holds its number: ``value`` where that is neither mean nor median."""

METRIC_EXTRAS: Kinds = {
    **dict.fromkeys(STATISTICS, (int, float, type(None))), "groups": int, "sigma": (int, float, type(None)),
}  # fmt: skip
"""Fields that a metric may have."""

COMPARISON_FIELDS: Kinds = {
    "name": str, "model": str, "cell": dict, "against": dict, "mean": (int, float), "low": (int, float),
    "high": (int, float), "p": (int, float), "p_holm": (int, float), "n": int,
}  # fmt: skip
"""Fields of each entry of ``comparisons``."""

COMPARISON_EXTRAS: Kinds = {"p_least": (int, float), "groups": int}
"""Fields that a comparison may have."""


def find_problems(document: Any) -> list[str]:
    """Check a document against the schema.

    Parameters
    ----------
    document : any
        As it was read from JSON.

    Returns
    -------
    list of str
        What is wrong; empty for a valid report.
    """
    if not isinstance(document, dict):
        return [f"it holds a {type(document).__name__}, expected an object"]
    problems = _misfits(document, FIELDS, "", {})
    if problems:
        return problems
    if document["schema"] != SCHEMA:
        return [f"schema is {document['schema']!r}, expected {SCHEMA!r}"]
    problems += _misfits(document["dataset"], DATASET_FIELDS, "dataset.", None)
    for name, fields, extras in (
        ("metrics", METRIC_FIELDS, METRIC_EXTRAS),
        ("comparisons", COMPARISON_FIELDS, COMPARISON_EXTRAS),
    ):
        for index, entry in enumerate(document[name]):
            problems += _misfits(entry, fields, f"{name}[{index}].", extras)
    for index, entry in enumerate(document["metrics"]):
        if isinstance(entry, dict) and sum(name in entry for name in STATISTICS) != 1:
            problems.append(f"metrics[{index}] has not exactly one of {', '.join(STATISTICS)}")
    for index, table in enumerate(document["tables"]):
        widths = {len(row) for row in [table["header"], *table["rows"]]}
        if len(widths) != 1:
            problems.append(f"tables[{index}] has rows of {sorted(widths)} cells")
    return problems


def _misfits(entry: Any, fields: Kinds, prefix: str, extras: Kinds | None) -> list[str]:
    """Say what is wrong with an object's fields; without `extras`, any others are allowed."""
    if not isinstance(entry, dict):
        return [f"{prefix.rstrip('.')} is no object"]
    known = {**fields, **(extras or {})}
    missing = [f"{prefix}{name} is missing" for name in fields if name not in entry]
    surplus = [f"{prefix}{name} is unknown" for name in entry if extras is not None and name not in known]
    wrong = [
        f"{prefix}{name} is a {type(entry[name]).__name__}"
        for name, kind in known.items()
        if name in entry and (not isinstance(entry[name], kind) or isinstance(entry[name], bool))
    ]
    return missing + surplus + wrong
