"""Reports of the run-time study (Table 5) and of the quality of approximations (Figure 6)."""

from __future__ import annotations

from typing import Any

from semret.eval.experiments.cost import Cost
from semret.eval.experiments.runtime import Study
from semret.eval.report.cost_plots import Point, growth, trade_off
from semret.eval.report.document import Report, Table
from semret.eval.report.drawing import Draw
from semret.eval.report.paper import TABLE_5

_PAPER_TITLE = "Table 5 of the paper: ResNet101 on Tiny-ImageNet, one core of another machine"

_CENTRES = {
    "none": "Maps are not centred, as in the paper.",
    "channel": "Maps are centred by their common channel mean; the paper's shares are those of maps that are not.",
    "position": "Maps are centred by their mean at each position; the paper's shares are those of maps that are not.",
}


def report_costs(experiment: str, title: str, study: Study, settings: dict[str, Any]) -> Report:
    """Make a report of measured costs.

    Parameters
    ----------
    experiment, title : str
    study : Study
        As `run_runtime` or `run_approximation` give it.
    settings : dict
        Everything that was chosen; ``center`` and ``seed`` among them.

    Returns
    -------
    Report
    """
    costs = study.costs
    report = Report(
        experiment=experiment, title=title, settings={**settings, "methods": _unique(cost.method for cost in costs)},
        seed=settings["seed"], dataset=study.dataset, models=study.models, seconds=study.seconds,
    )  # fmt: skip
    labels = _unique(cost.label for cost in costs)
    models = [model["name"] for model in study.models]
    model_of = dict(zip(labels, models if len(models) == len(labels) else models * len(labels), strict=False))
    for cost in costs:
        _enter(report, cost, model_of[cost.label])
    header = ["maps", "S", "C", "method", "share of optimum", "distance", "ms", "quartiles", "over scipy", "pairs"]
    rows = [row for label in labels for row in _rows([cost for cost in costs if cost.label == label])]
    report.tables.append(Table(title, header, rows))
    known = _paper_rows({cost.positions for cost in costs})
    if settings["center"] == "none" and experiment == "runtime" and known:
        report.tables.append(Table(_PAPER_TITLE, ["S", "method", "share of optimum, time"], known))
    report.notes += notes_of(costs, settings["center"])
    return report


def _unique(names: Any) -> list[str]:
    return list(dict.fromkeys(names))


def _enter(report: Report, cost: Cost, model: str) -> None:
    cell = {"maps": cost.label, "S": cost.positions, "method": cost.method}
    for name, field, statistic in (
        ("milliseconds", "milliseconds", "median"), ("quality", "quality", "mean"), ("distance", "distance", "mean"),
        ("speed-up over scipy", "speedup", "median"),
    ):  # fmt: skip
        low, high = cost.intervals[field]
        report.metrics.append(
            {"name": name, "model": model, "cell": cell, statistic: getattr(cost, field), "low": low, "high": high,
             "n": cost.pairs, "paper": None}
        )  # fmt: skip
    if not any(m["name"] == "affinity milliseconds" and m["cell"]["maps"] == cost.label for m in report.metrics):
        report.metrics.append(
            {"name": "affinity milliseconds", "model": model, "cell": {"maps": cost.label, "S": cost.positions},
             "median": cost.affinity_milliseconds, "low": None, "high": None, "n": cost.pairs, "paper": None}
        )  # fmt: skip


def percent(share: float) -> str:
    """Return a share as a percentage.

    Parameters
    ----------
    share : float

    Returns
    -------
    str
        A dash for NaN.
    """
    return "-" if share != share else f"{100 * share:.1f} %"


def _rows(costs: list[Cost]) -> list[list[str]]:
    """Return the rows of one size or layer; methods that are the same there, and were measured once, share a row."""
    merged: dict[tuple[str, ...], list[Cost]] = {}
    for cost in costs:
        merged.setdefault(cost.measurement, []).append(cost)
    rows = [_row(same[0], _join([cost.method for cost in same])) for same in merged.values()]
    first = costs[0]
    product = f"{first.affinity_milliseconds:.3f}"
    return [*rows, [first.label, str(first.positions), str(first.channels), "the affinity itself", "-", "-", product,
                    "-", "-", str(first.pairs)]]  # fmt: skip


def _join(methods: list[str]) -> str:
    return ", ".join([methods[0], *(method.partition(" ")[2] for method in methods[1:])])


def _row(cost: Cost, method: str) -> list[str]:
    low, high = cost.intervals["milliseconds"]
    speedup = "-" if cost.speedup != cost.speedup else f"{cost.speedup:.2f}"
    return [
        cost.label, str(cost.positions), str(cost.channels), method, percent(cost.quality),
        "-" if cost.distance != cost.distance else f"{cost.distance:.3f}",
        f"{cost.milliseconds:.3f} [{low:.3f}, {high:.3f}]", f"{cost.quartiles[0]:.3f} to {cost.quartiles[1]:.3f}",
        speedup, str(cost.pairs),
    ]  # fmt: skip


def _paper_rows(sizes: set[int]) -> list[list[str]]:
    known = [[str(size), method, value] for (method, size), value in TABLE_5.items() if size in sizes]
    return sorted(known, key=lambda row: int(row[0]))


def notes_of(costs: list[Cost], center: str) -> list[str]:
    """Explain to a reader how the numbers came about.

    Parameters
    ----------
    costs : list of Cost
    center : {"none", "channel", "position"}

    Returns
    -------
    list of str
    """
    notes = [
        _CENTRES[center],
        "Everything timed runs on one thread, the affinity too. Times: median wall time of one matching, without the "
        "affinity; in brackets its 95 % interval, bootstrapped over pairs, or over the turns of the groups in which "
        "small problems are timed. Absolute times depend on the machine.",
        "Distance: (optimum - found) / (optimum - identity), mean over pairs; 0 is the optimum, 1 as good as comparing "
        "equal positions.",
    ]
    if any(cost.quality != cost.quality for cost in costs):
        notes.append(
            "The share of the optimum is left out where, for some pair, the identity or a method lies further below "
            "zero than the optimum above it: shares of numbers around zero say nothing."
        )
    return notes


def merge_methods(costs: list[Cost]) -> dict[str, str]:
    """Find methods that cost and find the same everywhere, to draw them once.

    Parameters
    ----------
    costs : list of Cost

    Returns
    -------
    dict from str to str
        The first of equal methods to the name for all of them.
    """
    alike: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for method in _unique(cost.method for cost in costs):
        alike.setdefault(tuple(cost.measurement for cost in costs if cost.method == method), []).append(method)
    return {methods[0]: _join(methods) for methods in alike.values()}


def draw_trade_off(costs: list[Cost]) -> Draw:
    """Return a drawing of quality against time, a panel for each size or layer and a point for each method.

    Quality is the share of the optimum; where shares mean nothing (see `Cost`), how much of the way from the identity
    to the optimum was found.

    Parameters
    ----------
    costs : list of Cost

    Returns
    -------
    Draw
    """
    shares = all(cost.quality == cost.quality for cost in costs)
    panels: dict[str, dict[str, Point]] = {}
    names = merge_methods(costs)
    for cost in (cost for cost in costs if cost.method in names):
        low, high = cost.intervals["quality" if shares else "distance"]
        y, ends = (cost.quality, (low, high)) if shares else (1 - cost.distance, (1 - high, 1 - low))
        point = Point(cost.milliseconds, 100 * y, cost.intervals["milliseconds"], (100 * ends[0], 100 * ends[1]))
        panels.setdefault(f"{cost.label}, S = {cost.positions:,}", {})[names[cost.method]] = point
    return trade_off(
        panels,
        x_label="time per matching (ms)",
        y_label="share of the optimum (%)" if shares else "way from identity to optimum (%)",
        title="Quality and time of approximations",
        caption=f"Medians of times, means of quality over {_span(costs)} pairs; bars: 95 % intervals. The grey line "
        "joins what no other method beats in both. One thread.",
    )


def draw_growth(costs: list[Cost]) -> Draw:
    """Return a drawing of time against positions, a line for each method and one for the affinity.

    Parameters
    ----------
    costs : list of Cost

    Returns
    -------
    Draw
    """
    series: dict[str, dict[int, tuple[float, float, float]]] = {}
    names = merge_methods(costs)
    for cost in (cost for cost in costs if cost.method in names):
        series.setdefault(names[cost.method], {})[cost.positions] = (cost.milliseconds, *cost.quartiles)
    product = {cost.positions: (cost.affinity_milliseconds,) * 3 for cost in costs}
    return growth(
        sorted(product),
        {**series, "the affinity itself": product},
        x_label="positions S",
        y_label="time (ms)",
        title="Time of one matching",
        caption=f"Medians over {_span(costs)} pairs, bars from the first to the third quartile; one thread. Both axes "
        "are logarithmic.",
    )


def _span(costs: list[Cost]) -> str:
    fewest, most = min(cost.pairs for cost in costs), max(cost.pairs for cost in costs)
    return str(most) if fewest == most else f"{fewest} to {most}"
