"""Figures of how values are distributed: histograms and clouds of points, in panels that share their scales."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from semret.arrays import Float64Array
from semret.colours import BLUE
from semret.eval.report.drawing import Draw
from semret.eval.report.palette import LEGEND, assign_styles, figure_of, grid_of, label_outside, name_panel, shape_of


def histograms(
    panels: dict[str, dict[str, Float64Array]], *, x_label: str, title: str, columns: int = 4, caption: str = ""
) -> Draw:
    """Return a drawing of overlaid distributions, one panel for each name, `columns` side by side.

    Panels above each other share their bins, all panels their heights: the share of values in a bin. Bins follow the
    number of values; up to 60 values are also drawn one by one, below.

    Parameters
    ----------
    panels : dict from name to dict from name to ndarray
        Values of each distribution of a panel.
    x_label, title : str
    columns : int
    caption : str

    Returns
    -------
    Draw
    """

    def draw(path: Path) -> None:
        rows, across = shape_of(len(panels), columns)
        with figure_of(
            path, max(5.0, 2.6 * across + 0.6) + LEGEND, 2.3 * rows + 0.9, title=title, caption=caption
        ) as figure:  # fmt: skip
            grid = grid_of(
                figure, len(panels), columns, x_label=x_label, y_label="share of pairs (%)", sharex="col", sharey=True
            )
            listed = list(panels.values())
            for place, (axes, (name, sets)) in enumerate(zip(grid, panels.items(), strict=True)):
                _draw_histogram(
                    axes, sets, _bins([listed[other] for other in range(place % across, len(listed), across)])
                )
                name_panel(axes, name, 2.6)
            label_outside(figure, grid[0])

    return draw


def _bins(column: list[dict[str, Float64Array]]) -> Float64Array:
    sets = [values[np.isfinite(values)] for panel in column for values in panel.values()]
    low, high = (float(end) for end in np.quantile(np.concatenate(sets), [0, 1]))
    fewest = min(map(len, sets))
    edges = np.linspace(low, max(high, low + 1e-9), int(np.clip(np.ceil(2 * fewest ** (1 / 3)), 5, 30)) + 1)
    return np.asarray(edges, dtype=np.float64)


def _draw_histogram(axes: Any, sets: dict[str, Float64Array], edges: Float64Array) -> None:
    styles = assign_styles(list(sets))
    for number, (label, numbers) in enumerate(sets.items()):
        shares = np.full(len(numbers), 100 / max(len(numbers), 1))
        axes.hist(
            numbers, edges, weights=shares, alpha=0.6, label=f"{label} ({len(numbers):,} pairs)",
            color=styles[label].colour, hatch=styles[label].hatch, edgecolor="white", linewidth=0.4,
        )  # fmt: skip
        if len(numbers) <= 60:
            places = np.full(len(numbers), -0.04 - 0.04 * number)
            axes.plot(
                numbers, places, "|", color=styles[label].colour, markersize=4, transform=axes.get_xaxis_transform(),
                clip_on=False,
            )  # fmt: skip
            axes.tick_params(axis="x", pad=8)


def scatters(
    panels: dict[str, tuple[Float64Array, Float64Array]],
    *,
    x_label: str,
    y_label: str,
    title: str,
    columns: int = 3,
    caption: str = "",
) -> Draw:
    """Return a drawing of points, one panel for each name, `columns` side by side.

    Panels above each other share the y axis' range, all panels the x axis. Up to 2,000 points are drawn one by one,
    more as hexagons whose colours mean the same in every panel.

    Parameters
    ----------
    panels : dict from name to (ndarray, ndarray)
        x and y of the points.
    x_label, y_label, title : str
    columns : int
    caption : str

    Returns
    -------
    Draw
    """

    def draw(path: Path) -> None:
        rows, across = shape_of(len(panels), columns)
        listed = list(panels.values())
        with figure_of(
            path, max(5.0, 3.1 * across + 0.8), 2.5 * rows + 0.6, title=title, caption=caption
        ) as figure:  # fmt: skip
            grid = grid_of(figure, len(panels), columns, x_label=x_label, y_label=y_label, sharex=True)
            images = []
            for place, (axes, (name, (x, y))) in enumerate(zip(grid, panels.items(), strict=True)):
                axes.set_ylim(*_range([y for _, y in listed[place % across :: across]]))
                if len(x) <= 2000:
                    axes.plot(x, y, ".", color=BLUE, alpha=0.5, markersize=3)
                else:
                    images.append(axes.hexbin(x, y, gridsize=40, bins="log", cmap="viridis", mincnt=1))
                name_panel(axes, name, 2.6)
                axes.yaxis.set_major_formatter("{x:,g}")
            if images:
                _share_colours(figure, grid, images)

    return draw


def _range(sets: list[Float64Array]) -> tuple[float, float]:
    values = np.concatenate(sets)
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or 0.5
    return low - margin, high + margin


def _share_colours(figure: Any, grid: list[Any], images: list[Any]) -> None:
    # Here, for matplotlib is loaded where something is drawn, by `load_matplotlib`.
    from matplotlib.colors import LogNorm

    norm = LogNorm(1, max(2.0, *(float(image.get_array().max()) for image in images)))
    for image in images:
        image.set_norm(norm)
    bar = figure.colorbar(images[0], ax=grid, label="pairs in a hexagon", aspect=25)
    bar.ax.yaxis.set_major_formatter("{x:,.0f}")
