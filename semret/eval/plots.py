"""Figures of reports. matplotlib is imported when a figure is drawn, and draws to files only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from semret.arrays import Float64Array
from semret.eval.drawing import Draw, load_matplotlib

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000")
"""The palette of Okabe and Ito, which colour-blind readers can tell apart."""

HATCHES = ("", "//", "..", "xx")


@contextmanager
def _figure(path: Path, width: float = 7.0, height: float = 4.2, **layout: Any) -> Iterator[Any]:
    """Give a figure that is saved and closed at the end."""
    matplotlib = load_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    # Nothing of a matplotlibrc, the user's or one that lies in the current folder, changes a figure or runs LaTeX.
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **style}):
        figure = Figure(figsize=(width, height), layout="constrained", **layout)
        FigureCanvasAgg(figure)
        yield figure
        figure.savefig(path, dpi=150)


def bars(
    groups: list[str],
    series: dict[str, list[tuple[float, float, float]]],
    *,
    label: str,
    title: str,
    lines: dict[str, float] | None = None,
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
        Dashed reference lines.
    """

    def draw(path: Path) -> None:
        with _figure(path, width=max(6.0, 1.6 + 0.45 * len(groups) * len(series))) as figure:
            axes = figure.subplots()
            width = 0.8 / max(len(series), 1)
            for number, (name, triples) in enumerate(series.items()):
                means, lows, highs = (np.array(column) for column in zip(*triples, strict=True))
                places = np.arange(len(groups)) + (number - (len(series) - 1) / 2) * width
                errors = np.maximum([means - lows, highs - means], 0)
                axes.bar(
                    places, means, width, label=name, yerr=errors, capsize=2, color=COLOURS[number % len(COLOURS)],
                    hatch=HATCHES[number % len(HATCHES)], edgecolor="white",
                )  # fmt: skip
            for number, (name, height) in enumerate((lines or {}).items()):
                axes.axhline(height, linestyle=("--", ":")[number % 2], color="0.3", label=f"{name} {height:.3f}")
            axes.set_xticks(np.arange(len(groups)), groups)
            axes.set(ylabel=label, title=title)
            axes.legend(frameon=False, ncols=2, loc="upper left", bbox_to_anchor=(0, -0.1))

    return draw


def curves(
    x: list[float], series: dict[str, list[float]], *, x_label: str, y_label: str, title: str, log_x: bool = False
) -> Draw:
    """Return a drawing of lines over common x values."""

    def draw(path: Path) -> None:
        with _figure(path) as figure:
            axes = figure.subplots()
            for number, (name, values) in enumerate(series.items()):
                axes.plot(
                    x, values, label=name, marker="os^Dv"[number % 5], color=COLOURS[number % len(COLOURS)],
                    linestyle=("-", "--", ":")[number // len(COLOURS) % 3],
                )  # fmt: skip
            if log_x:
                axes.set_xscale("log")
            axes.set(xlabel=x_label, ylabel=y_label, title=title)
            axes.grid(alpha=0.3)
            axes.legend(frameon=False)

    return draw


def histograms(panels: dict[str, dict[str, Float64Array]], *, x_label: str, title: str, columns: int = 4) -> Draw:
    """Return a drawing of overlaid distributions, one panel for each name, `columns` side by side; densities."""

    def draw(path: Path) -> None:
        across = min(len(panels), columns)
        rows = -(-len(panels) // across)
        with _figure(path, width=2.9 * across, height=2.5 * rows + 0.6) as figure:
            grid = figure.subplots(rows, across, squeeze=False)
            for axes, (name, sets) in zip(grid.flat, panels.items(), strict=False):
                values = np.concatenate(list(sets.values()))
                edges = np.linspace(values.min(), max(values.max(), values.min() + 1e-9), 31)
                for number, (label, numbers) in enumerate(sets.items()):
                    axes.hist(
                        numbers, edges, density=True, alpha=0.6, label=label, color=COLOURS[number],
                        hatch=HATCHES[number],
                    )  # fmt: skip
                axes.set(title=name, xlabel=x_label, ylabel="density")
            for axes in list(grid.flat)[len(panels) :]:
                axes.set_axis_off()
            grid[0, 0].legend(frameon=False, fontsize=7)
            figure.suptitle(title)

    return draw


def heat_maps(
    panels: dict[str, Float64Array], *, title: str, x_label: str, y_label: str, bar_label: str,
    ticks: tuple[list[str], list[str]] | None = None, diverging: bool = False, columns: int = 4,
) -> Draw:  # fmt: skip
    """Return a drawing of matrices side by side.

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
    """

    def draw(path: Path) -> None:
        across = min(len(panels), columns)
        rows = -(-len(panels) // across)
        with _figure(path, width=3.4 * across + 0.6, height=3.1 * rows + 0.5) as figure:
            grid = figure.subplots(rows, across, squeeze=False)
            for axes, (name, matrix) in zip(grid.flat, panels.items(), strict=False):
                bound = float(np.nanmax(np.abs(matrix), initial=1e-9))
                limits = {"vmin": -bound, "vmax": bound, "cmap": "PuOr"} if diverging else {"cmap": "viridis"}
                image = axes.imshow(matrix, interpolation="nearest", aspect="auto", **limits)
                axes.set(title=name, xlabel=x_label, ylabel=y_label)
                if ticks is not None:
                    axes.set_yticks(np.arange(len(ticks[0])), ticks[0], fontsize=6)
                    axes.set_xticks(np.arange(len(ticks[1])), ticks[1], fontsize=6, rotation=90)
                figure.colorbar(image, ax=axes, label=bar_label)
            for axes in list(grid.flat)[len(panels) :]:
                axes.set_axis_off()
            figure.suptitle(title)

    return draw


def scatters(panels: dict[str, tuple[Float64Array, Float64Array]], *, x_label: str, y_label: str, title: str) -> Draw:
    """Return a drawing of point densities, one hexagonal panel for each name."""

    def draw(path: Path) -> None:
        columns = min(len(panels), 3)
        rows = -(-len(panels) // columns)
        with _figure(path, width=3.4 * columns, height=2.9 * rows + 0.5) as figure:
            grid = figure.subplots(rows, columns, squeeze=False)
            for axes, (name, (x, y)) in zip(grid.flat, panels.items(), strict=False):
                image = axes.hexbin(x, y, gridsize=40, bins="log", cmap="viridis", mincnt=1)
                axes.set(title=name, xlabel=x_label, ylabel=y_label)
                figure.colorbar(image, ax=axes, label="pairs")
            for axes in list(grid.flat)[len(panels) :]:
                axes.set_axis_off()
            figure.suptitle(title)

    return draw


def trade_off(panels: dict[str, dict[str, tuple[float, float]]], *, x_label: str, y_label: str, title: str) -> Draw:
    """Return a drawing of named points (x on a logarithmic axis, y), one panel for each name."""

    def draw(path: Path) -> None:
        columns = min(len(panels), 3)
        rows = -(-len(panels) // columns)
        with _figure(path, width=3.4 * columns + 1.6, height=2.7 * rows + 0.5) as figure:
            grid = figure.subplots(rows, columns, squeeze=False)
            for axes, (name, points) in zip(grid.flat, panels.items(), strict=False):
                for number, (label, (x, y)) in enumerate(points.items()):
                    axes.scatter(
                        [x], [y], label=label, marker="os^DvPX*<>"[number % 10], color=COLOURS[number % len(COLOURS)]
                    )
                axes.set_xscale("log")
                axes.set(title=name, xlabel=x_label, ylabel=y_label)
                axes.grid(alpha=0.3)
            for axes in list(grid.flat)[len(panels) :]:
                axes.set_axis_off()
            figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
            figure.suptitle(title)

    return draw
