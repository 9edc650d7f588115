"""Figures of reports: each function returns a drawing, which loads matplotlib when it is called with a file name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semret.arrays import Float64Array
from semret.eval.report.drawing import Draw
from semret.eval.report.palette import (
    LEGEND,
    Style,
    assign_styles,
    figure_of,
    grid_of,
    label_outside,
    name_panel,
    name_ticks,
    plain_logarithm,
    shape_of,
)

INTERVALS = "Whiskers: 95 % intervals."

Triple = tuple[float, float, float]
"""A mean and the ends of its interval."""


def bars(
    groups: list[str],
    series: dict[str, list[Triple]],
    *,
    label: str,
    title: str,
    lines: dict[str, float] | None = None,
    x_label: str = "",
    limits: tuple[float, float] | None = None,
    caption: str = INTERVALS,
) -> Draw:
    """Return a drawing of grouped bars with intervals.

    Parameters
    ----------
    groups : list of str
        Names along the x axis.
    series : dict from name to list of (mean, low, high)
        One triple for each group.
    label : str
        Of the y axis, with its unit.
    title : str
    lines : dict from name to height, optional
        Reference lines, named beside their ends.
    x_label : str
    limits : (low, high), optional
        Of the y axis.
    caption : str

    Returns
    -------
    Draw
    """

    def draw(path: Path) -> None:
        width = max(6.0, 1.6 + 0.45 * len(groups) * len(series)) + LEGEND
        with figure_of(path, width, title=title, caption=caption) as figure:
            axes = figure.subplots()
            _draw_bars(axes, groups, series)
            for number, (name, height) in enumerate((lines or {}).items()):
                axes.axhline(height, linestyle=("--", ":")[number % 2], color="0.3", linewidth=1)
                axes.annotate(
                    f" {name} {height:.3f}", (1, height), xycoords=("axes fraction", "data"), va="center", fontsize=7
                )
            name_ticks(axes.xaxis, groups, size=9)
            axes.set(ylabel=label, xlabel=x_label, ylim=limits)
            label_outside(figure, axes)

    return draw


def _draw_bars(axes: Any, groups: list[str], series: dict[str, list[Triple]]) -> None:
    width = 0.8 / max(len(series), 1)
    styles = assign_styles(list(series))
    for number, (name, triples) in enumerate(series.items()):
        means, lows, highs = (np.array(column) for column in zip(*triples, strict=True))
        places = np.arange(len(groups)) + (number - (len(series) - 1) / 2) * width
        axes.bar(
            places, means, width, label=name, yerr=np.maximum([means - lows, highs - means], 0), capsize=2,
            color=styles[name].colour, hatch=styles[name].hatch, edgecolor="white",
        )  # fmt: skip


def curves(
    x: Sequence[float],
    series: Mapping[str, Sequence[float | Triple]],
    *,
    x_label: str,
    y_label: str,
    title: str,
    log_x: bool = False,
    ticks: list[str] | None = None,
    limits: tuple[float, float] | None = None,
    lines: dict[str, float] | None = None,
    caption: str = "",
) -> Draw:
    """Return a drawing of lines over common x values; see `curve_panels`.

    Parameters
    ----------
    x : sequence of float
    series : mapping from name to values
    x_label, y_label, title : str
    log_x : bool
    ticks : list of str, optional
    limits : (low, high), optional
    lines : dict from name to height, optional
    caption : str

    Returns
    -------
    Draw
    """
    return curve_panels(
        {"": series}, x, x_label=x_label, y_label=y_label, title=title, log_x=log_x, ticks=ticks, limits=limits,
        lines=lines, caption=caption,
    )  # fmt: skip


def curve_panels(
    panels: Mapping[str, Mapping[str, Sequence[float | Triple]]],
    x: Sequence[float],
    *,
    x_label: str,
    y_label: str,
    title: str,
    log_x: bool = False,
    ticks: list[str] | None = None,
    limits: tuple[float, float] | None = None,
    lines: dict[str, float] | None = None,
    caption: str = "",
    columns: int = 3,
) -> Draw:
    """Return a drawing of lines over common x values, in panels that share both axes.

    Parameters
    ----------
    panels : mapping from title to mapping from name to values
        A value is a number, or a mean with the ends of its interval.
    x : sequence of float
    x_label, y_label, title : str
    log_x : bool
        Logarithmic x axis with plain numbers.
    ticks : list of str, optional
        Names of the x values, which are then taken to be 0, 1, 2, ...
    limits : (low, high), optional
        Of the y axis.
    lines : dict from name to height, optional
        Reference lines.
    caption : str
    columns : int
        Panels side by side.

    Returns
    -------
    Draw
    """

    def draw(path: Path) -> None:
        rows, across = shape_of(len(panels), columns)
        names = list(dict.fromkeys(name for series in panels.values() for name in series))
        width = max(6.0 if across == 1 else 3.0 * across, min(14.0, 2 + 0.32 * len(ticks or [])))
        width += LEGEND * (len(names) > 1)
        with figure_of(path, width, 1.2 + 3.0 * rows, title=title, caption=caption) as figure:
            grid = grid_of(figure, len(panels), columns, x_label=x_label, y_label=y_label, sharex=True, sharey=True)
            for axes, (name, series) in zip(grid, panels.items(), strict=True):
                _draw_curves(axes, x, series, assign_styles(names))
                for number, (line, height) in enumerate((lines or {}).items()):
                    axes.axhline(height, linestyle=("--", ":")[number % 2], color="0.3", linewidth=1, label=line)
                name_panel(axes, name, 6.0 if across == 1 else 2.7)
                axes.grid(alpha=0.3)
            if limits is not None:
                grid[0].set_ylim(*limits)
            if log_x:
                plain_logarithm(grid[0].xaxis, x)
            if ticks is not None:
                crowded = sum(map(len, ticks)) > 60
                for axes in grid:
                    name_ticks(axes.xaxis, ticks, rotation=45 if crowded else 0)
            if len(names) > 1:
                label_outside(figure, grid[0])

    return draw


def _draw_curves(
    axes: Any, x: Sequence[float], series: Mapping[str, Sequence[float | Triple]], styles: Mapping[str, Style]
) -> None:
    for number, (name, values) in enumerate(series.items()):
        style = styles[name]
        looks = {"marker": style.marker, "markersize": 4, "color": style.colour, "linestyle": style.line}
        triples = np.array([value if isinstance(value, tuple) else (value, np.nan, np.nan) for value in values])
        axes.plot(x, triples[:, 0], label=name, **looks)
        if np.isfinite(triples[:, 1:]).any():
            axes.fill_between(x, triples[:, 1], triples[:, 2], color=style.colour, alpha=0.15, zorder=-number)


def heat_maps(
    panels: dict[str, Float64Array], *, title: str, x_label: str, y_label: str, bar_label: str,
    ticks: tuple[list[str], list[str]] | None = None, diverging: bool = False, columns: int = 4,
    limits: tuple[float, float] | None = None, caption: str = "",
) -> Draw:  # fmt: skip
    """Return a drawing of matrices side by side on one scale of colours.

    Parameters
    ----------
    panels : dict from name to matrix
    title, x_label, y_label, bar_label : str
    ticks : (list of str, list of str), optional
        Names of rows and of columns.
    diverging : bool
        Centre the colours at 0: for differences.
    columns : int
        Panels side by side.
    limits : (low, high), optional
        Of the colours; by default the range of all panels together. Small matrices show their values as well.
    caption : str

    Returns
    -------
    Draw
    """

    def draw(path: Path) -> None:
        rows, across = shape_of(len(panels), columns)
        with figure_of(
            path, max(4.6, 3.1 * across + 1.2), 2.9 * rows + 0.5, title=title, caption=caption
        ) as figure:  # fmt: skip
            grid = grid_of(figure, len(panels), columns, x_label=x_label, y_label=y_label)
            scale = _scale(list(panels.values()), limits, diverging)
            for axes, (name, matrix) in zip(grid, panels.items(), strict=True):
                image = axes.imshow(matrix, interpolation="nearest", aspect="auto", **scale)
                name_panel(axes, name, 2.6)
                _write_values(axes, matrix, scale)
                for axis, names in zip((axes.yaxis, axes.xaxis), ticks or (), strict=False):
                    name_ticks(axis, names, size=6, rotation=90 if axis is axes.xaxis else 0)
            figure.colorbar(image, ax=grid, label=bar_label, shrink=min(1.0, 1.4 / rows), aspect=25)

    return draw


def _scale(matrices: list[Float64Array], limits: tuple[float, float] | None, diverging: bool) -> dict[str, Any]:
    values = np.concatenate([matrix.ravel() for matrix in matrices])
    values = values[np.isfinite(values)]
    if diverging:
        bound = float(np.abs(values).max(initial=1e-9))
        return {"vmin": -bound, "vmax": bound, "cmap": "PuOr"}
    low, high = limits or (float(values.min(initial=0)), float(values.max(initial=1e-9)))
    return {"vmin": low, "vmax": high, "cmap": "viridis"}


def _write_values(axes: Any, matrix: Float64Array, scale: dict[str, Any]) -> None:
    if matrix.size > 150:
        return
    middle = (scale["vmin"] + scale["vmax"]) / 2
    for (row, column), value in np.ndenumerate(matrix):
        dark = value < middle if scale["cmap"] == "viridis" else abs(value) > 0.6 * scale["vmax"]
        text = f"{value:+z.2f}" if scale["cmap"] == "PuOr" else f"{value:z.2f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=6, color="white" if dark else "black")
