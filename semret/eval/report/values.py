"""Numbers of reports as JSON and as text."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from semret.eval.report.schema import STATISTICS
from semret.eval.statistics import correct_by_holm


def with_holm(comparisons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the comparisons with `p_holm`: Holm's correction of `p` for all of them together.

    Parameters
    ----------
    comparisons : list of dict

    Returns
    -------
    list of dict
    """
    corrected = correct_by_holm([comparison["p"] for comparison in comparisons])
    return [{**comparison, "p_holm": p} for comparison, p in zip(comparisons, corrected, strict=True)]


def show_p(comparison: dict[str, Any], name: str = "p") -> str:
    """Write a p value of a comparison: as an upper limit where so many resamples can give no smaller one.

    Parameters
    ----------
    comparison : dict
    name : {"p", "p_holm"}

    Returns
    -------
    str
    """
    text = f"{comparison[name]:.4f}"
    return f"<= {text}" if comparison["p"] <= comparison.get("p_least", 0.0) else text


def file_name(text: str) -> str:
    """Return a text as part of a file name that needs no escaping in Markdown or a shell.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


def finite(value: Any) -> Any:
    """Return a JSON value with NaN and infinity as None, tuples as lists, NumPy numbers as Python's.

    Parameters
    ----------
    value : any

    Returns
    -------
    any
        A JSON value.
    """
    if isinstance(value, dict):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def show(metric: dict[str, Any]) -> str:
    """Write a metric as its number and, where there is one, its interval.

    Parameters
    ----------
    metric : dict

    Returns
    -------
    str
        Such as ``0.882 [0.823, 0.935]``; ``-`` where the number is not finite.
    """
    value = next(metric[name] for name in STATISTICS if name in metric)
    if value is None or not math.isfinite(value):
        return "-"
    text = f"{value:.3f}"
    if metric.get("low") is not None:
        text += f" [{metric['low']:.3f}, {metric['high']:.3f}]"
    return text
