"""Reports of the run-time study (Table 5) and of the quality of approximations (Figure 6)."""

from __future__ import annotations

from typing import Any

from semret.eval.drawing import Draw
from semret.eval.experiments.runtime import Cost
from semret.eval.plots import trade_off
from semret.eval.reports import Report, Table

PAPER_TABLE_5: dict[tuple[str, int], str] = {
    ("ortools", 256): "4.26 ms", ("ortools", 1024): "69.6 ms", ("ortools", 4096): "1.52 s",
    ("scipy", 256): "5.10 ms", ("scipy", 1024): "148 ms", ("scipy", 4096): "8.75 s",
    ("identity", 256): "68.9 %", ("identity", 1024): "67.0 %", ("identity", 4096): "57.9 %",
    ("batch-optimal 128", 256): "97.6 %, 2.41 ms", ("batch-optimal 128", 1024): "94.5 %, 9.08 ms",
    ("batch-optimal 128", 4096): "92.8 %, 43.4 ms", ("batch-optimal 256", 256): "100 %, 4.56 ms",
    ("batch-optimal 256", 1024): "96.8 %, 16.9 ms", ("batch-optimal 256", 4096): "95.0 %, 95.9 ms",
    ("batch-optimal 512", 256): "100 %, 4.57 ms", ("batch-optimal 512", 1024): "98.6 %, 37.1 ms",
    ("batch-optimal 512", 4096): "96.8 %, 171 ms", ("batch-optimal 1024", 256): "100 %, 4.57 ms",
    ("batch-optimal 1024", 1024): "100 %, 79.5 ms", ("batch-optimal 1024", 4096): "98.2 %, 391 ms",
}  # fmt: skip
"""The paper's Table 5: one core, ResNet101 on Tiny-ImageNet; another machine, so compare ratios."""


def report_costs(
    experiment: str, title: str, costs: list[Cost], settings: dict[str, Any], seed: int, images: str
) -> Report:
    """Make a report of measured costs.

    Parameters
    ----------
    experiment, title : str
    costs : list of Cost
        As `run_runtime` or `run_approximation` give them.
    settings : dict
    seed : int
    images : str
        What the pictures were.
    """
    report = Report(experiment=experiment, title=title, settings=settings, seed=seed, dataset={"name": images})
    report.models.append({"name": "efficientnet-lite0"})
    for cost in costs:
        cell = {"maps": cost.label, "S": cost.positions, "method": cost.method}
        for name, value in (
            ("milliseconds", cost.milliseconds), ("quality", cost.quality), ("speed-up over scipy", cost.speedup),
        ):  # fmt: skip
            report.metrics.append(
                {"name": name, "model": "efficientnet-lite0", "cell": cell, "mean": value, "low": None, "high": None,
                 "n": cost.pairs, "paper": None}
            )  # fmt: skip
    header = ["maps", "S", "C", "method", "quality", "ms", "over scipy", "affinity ms", "pairs", "paper"]
    report.tables.append(Table(title, header, [_row(cost) for cost in costs]))
    report.notes.append(
        "Quality: share of the optimal value. Times: median wall time of one matching, one thread, without the "
        "affinity. Absolute times depend on the machine."
    )
    return report


def _row(cost: Cost) -> list[str]:
    speedup = "-" if cost.speedup != cost.speedup else f"{cost.speedup:.2f}"
    return [
        cost.label, str(cost.positions), str(cost.channels), cost.method, f"{100 * cost.quality:.1f} %",
        f"{cost.milliseconds:.3f}", speedup, f"{cost.affinity_milliseconds:.3f}", str(cost.pairs),
        PAPER_TABLE_5.get((cost.method, cost.positions), "-"),
    ]  # fmt: skip


def draw_trade_off(costs: list[Cost]) -> Draw:
    """Return a drawing of quality against time, a panel for each layer and a point for each method."""
    panels: dict[str, dict[str, tuple[float, float]]] = {}
    for cost in costs:
        name = f"{cost.label} (S={cost.positions})"
        panels.setdefault(name, {})[cost.method] = (cost.milliseconds, 100 * cost.quality)
    return trade_off(
        panels,
        x_label="time per matching (ms)",
        y_label="share of the optimum (%)",
        title="Quality and time of approximations",
    )
