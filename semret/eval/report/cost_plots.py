"""Figures of the time that matchings take and of the quality that they reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semret.eval.report.drawing import Draw
from semret.eval.report.palette import (
    assign_styles,
    figure_of,
    grid_of,
    label_outside,
    name_panel,
    plain_logarithm,
    shape_of,
)

_COLUMNS = 3


@dataclass(frozen=True)
class Point:
    """A method at one size or layer: time and quality with the ends of their intervals."""

    x: float
    y: float
    x_ends: tuple[float, float]
    y_ends: tuple[float, float]


def trade_off(
    panels: Mapping[str, Mapping[str, Point]], *, x_label: str, y_label: str, title: str, caption: str = ""
) -> Draw:
    """Return a drawing of methods by time (logarithmic) and quality, in panels that share both axes.

    A grey line joins the methods that no other method beats in both (the Pareto front).

    Parameters
    ----------
    panels : mapping from title to mapping from method to Point
    x_label, y_label, title, caption : str

    Returns
    -------
    Draw
    """

    def draw(path: Path) -> None:
        rows, across = shape_of(len(panels), _COLUMNS)
        methods = list(dict.fromkeys(name for points in panels.values() for name in points))
        styles = assign_styles(methods)
        with figure_of(path, 2.9 * across + 2.2, max(3.4, 2.4 * rows + 0.7), title=title, caption=caption) as figure:
            grid = grid_of(figure, len(panels), _COLUMNS, x_label=x_label, y_label=y_label, sharex=True, sharey=True)
            for axes, (name, points) in zip(grid, panels.items(), strict=True):
                front = pareto_front(points)
                axes.plot(
                    [points[m].x for m in front], [points[m].y for m in front], color="0.7", zorder=0, linewidth=2
                )
                for method, point in points.items():
                    axes.errorbar(
                        [point.x], [point.y], xerr=_errors(point.x, point.x_ends), yerr=_errors(point.y, point.y_ends),
                        label=method, marker=styles[method].marker, color=styles[method].colour, linestyle="",
                        markersize=5, elinewidth=0.8,
                    )  # fmt: skip
                name_panel(axes, name, 2.6)
                axes.grid(alpha=0.3)
            ends = [end for points in panels.values() for p in points.values() for end in p.x_ends]
            plain_logarithm(grid[0].xaxis, ends, most=5)
            label_outside(figure, grid[0])

    return draw


def growth(
    sizes: Sequence[int],
    series: Mapping[str, Mapping[int, tuple[float, float, float]]],
    *,
    x_label: str,
    y_label: str,
    title: str,
    caption: str = "",
) -> Draw:
    """Return a drawing of times against sizes, both logarithmic.

    Parameters
    ----------
    sizes : sequence of int
    series : mapping from name to mapping from size to (median, low, high)
    x_label, y_label, title, caption : str

    Returns
    -------
    Draw
    """

    def draw(path: Path) -> None:
        styles = assign_styles(list(series))
        with figure_of(path, 8.0, 4.8, title=title, caption=caption) as figure:
            axes = figure.subplots()
            for name, values in series.items():
                style, x = styles[name], sorted(values)
                y = [values[size][0] for size in x]
                ends = [(values[size][0] - values[size][1], values[size][2] - values[size][0]) for size in x]
                axes.errorbar(
                    x, y, yerr=[[max(end[side], 0.0) for end in ends] for side in (0, 1)], label=name,
                    marker=style.marker, linestyle=style.line, color=style.colour, markersize=5, elinewidth=0.8,
                )  # fmt: skip
            plain_logarithm(
                axes.yaxis, [end for values in series.values() for triple in values.values() for end in triple]
            )
            plain_logarithm(axes.xaxis, sizes)
            axes.set_xticks(list(sizes), [f"{size:,}" for size in sizes])
            axes.set(xlabel=x_label, ylabel=y_label)
            axes.grid(alpha=0.3)
            label_outside(figure, axes)

    return draw


def pareto_front(points: Mapping[str, Point]) -> list[str]:
    """Find the methods that no other method beats in both time and quality.

    Parameters
    ----------
    points : mapping from method to Point

    Returns
    -------
    list of str
        The fastest first; of equal ones only the first.
    """
    front: list[str] = []
    for name in sorted(points, key=lambda method: (points[method].x, -points[method].y)):
        if not front or points[name].y > points[front[-1]].y:
            front.append(name)
    return front


def _errors(value: float, ends: tuple[float, float]) -> list[list[float]]:
    return [[max(value - ends[0], 0.0)], [max(ends[1] - value, 0.0)]]
