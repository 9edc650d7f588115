"""How figures look: one colour for each method in every figure, plain tick labels, texts that stay on the page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semret.colours import BLACK, BLUE, GREEN, ORANGE, PINK, RED, SKY
from semret.eval.report.drawing import load_matplotlib

MARKERS = "osD^vPX*<>"
_OTHERS = (BLUE, ORANGE, GREEN, PINK, RED, SKY, BLACK)


@dataclass(frozen=True)
class Style:
    """How a series is drawn: what colour tells, marker, line and hatch tell as well."""

    colour: str
    marker: str
    line: str = "-"
    hatch: str = ""


_STYLES = {
    "permutation": Style(BLUE, "o"),
    "none": Style(ORANGE, "s", "--", "//"),
    "maxsim": Style(GREEN, "^", "-.", ".."),
    "pooled": Style(PINK, "D", ":", "xx"),
    "cosine": Style(SKY, "o"),
    "linear": Style(RED, "s", "--", "//"),
    "rbf": Style(BLACK, "^", ":", ".."),
    "overlapping": Style(BLUE, "o"),
    "different": Style(ORANGE, "s", "--", "//"),
    "auction": Style(BLUE, "o"),
    "scipy": Style(BLUE, "s", "--"),
    "ortools": Style(BLUE, "^", ":"),
    "batch-optimal": Style(GREEN, "D"),
    "topk-greedy": Style(ORANGE, "v"),
    "greedy": Style(RED, "P", "-."),
    "identity": Style(BLACK, "X", ":"),
    "the affinity itself": Style("#888888", "p", "-"),
}


def style_of(name: str, number: int = 0) -> Style:
    """Return the style of an invariance, kernel or solver; of anything else, that of its place in the figure.

    A solver with an option, ``batch-optimal 128``, has the colour of its family; `assign_styles` tells members apart.

    Parameters
    ----------
    name : str
    number : int
        Its place among the names of the figure.

    Returns
    -------
    Style
    """
    known = _STYLES.get(name) or _STYLES.get(name.split(" ")[0])
    if known is not None:
        return known
    lines = ("-", "--", ":", "-.")
    place = number // len(_OTHERS)
    return Style(_OTHERS[number % len(_OTHERS)], MARKERS[number % len(MARKERS)], lines[place % 4])


def assign_styles(names: Sequence[str]) -> dict[str, Style]:
    """Return a style for each name; members of a family share a colour and differ in marker and line.

    Parameters
    ----------
    names : sequence of str

    Returns
    -------
    dict from name to Style
    """
    families: dict[str, int] = {}
    found = {}
    for number, name in enumerate(names):
        style = style_of(name, number)
        family = name.split(" ")[0]
        member = families.get(family, 0)
        families[family] = member + 1
        if member and family in _STYLES:
            marker = MARKERS[(MARKERS.index(style.marker) + member) % len(MARKERS)]
            style = Style(style.colour, marker, ("-", "--", ":", "-.")[member % 4], style.hatch)
        found[name] = style
    return found


@contextmanager
def figure_of(path: Path, width: float = 7.0, height: float = 4.2, *, title: str, caption: str = "") -> Iterator[Any]:
    """Give a figure that is saved and closed at the end, with a title above and a caption below.

    Parameters
    ----------
    path : Path
    width, height : float
        In inches, without the title's and caption's further lines.
    title, caption : str
        Broken into lines that fit the width.

    Yields
    ------
    matplotlib.figure.Figure
    """
    matplotlib = load_matplotlib()
    headline, footnote = _broken(title, width / 0.1), _broken(caption, width / 0.072)
    height += 0.18 * headline.count("\n") + 0.15 * (footnote.count("\n") + 1 if footnote else 0)
    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "hatch.linewidth": 0.6}
    # Nothing of a matplotlibrc, the user's or one that lies in the current folder, changes a figure or runs LaTeX.
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **style}):
        figure = matplotlib.figure.Figure(figsize=(width, height), layout="constrained")
        matplotlib.backends.backend_agg.FigureCanvasAgg(figure)
        figure.suptitle(headline, fontsize=11)
        if footnote:
            figure.supxlabel(footnote, fontsize=7, color="0.35", x=0.01, ha="left", multialignment="left")
        yield figure
        figure.savefig(path, dpi=150)


def _broken(text: str, most: float) -> str:
    return textwrap.fill(text, int(most), break_on_hyphens=False)


def shape_of(count: int, columns: int) -> tuple[int, int]:
    """Return how many rows of panels there are, and how many panels stand side by side.

    Parameters
    ----------
    count : int
        Panels.
    columns : int
        Most of them side by side.

    Returns
    -------
    rows, across : int
    """
    across = min(count, columns)
    return -(-count // across), across


def grid_of(figure: Any, count: int, columns: int, *, x_label: str, y_label: str, **sharing: Any) -> list[Any]:
    """Return `count` axes, `columns` side by side; places that are left over are empty.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    count, columns : int
    x_label, y_label : str
        Names of the axes, written at those on the left, and at those with no others below.
    **sharing
        `sharex` and `sharey` of ``Figure.subplots``.

    Returns
    -------
    list of matplotlib.axes.Axes
    """
    rows, across = shape_of(count, columns)
    axes = list(figure.subplots(rows, across, squeeze=False, **sharing).flat)
    for place, panel in enumerate(axes[:count]):
        is_lowest = place + across >= count
        panel.tick_params(labelbottom=is_lowest or not sharing.get("sharex"))
        if is_lowest:
            panel.set_xlabel(x_label)
        if place % across == 0:
            panel.set_ylabel(y_label)
    for empty in axes[count:]:
        empty.set_axis_off()
    return axes[:count]


def name_panel(axes: Any, name: str, width: float) -> None:
    """Write a panel's name above it, broken into lines that fit its width in inches.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    name : str
    width : float
    """
    lines = [textwrap.fill(line, int(width / 0.082), break_on_hyphens=False) for line in name.split("\n")]
    axes.set_title("\n".join(lines), fontsize=9)


LEGEND = 1.7
"""Width in inches that a legend takes beside the axes."""


def label_outside(figure: Any, axes: Any) -> None:
    """Put the legend of some axes to the right of all axes, where it covers nothing.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    axes : matplotlib.axes.Axes
    """
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        texts = [shorten(label, 30) for label in labels]
        figure.legend(handles, texts, loc="outside right center", frameon=False, fontsize=8)


def name_ticks(axis: Any, names: Sequence[str], *, rotation: float = 0, size: float = 7, most: int = 40) -> None:
    """Write a name at each of the places 0, 1, 2, ...: every one, or evenly spaced ones where there are many.

    Parameters
    ----------
    axis : matplotlib.axis.Axis
    names : sequence of str
    rotation : float
        In degrees.
    size : float
        In points.
    most : int
        Names that are written at most.
    """
    step = -(-len(names) // most)
    places = np.arange(0, len(names), step)
    axis.set_ticks(places, [shorten(names[int(place)]) for place in places], fontsize=size)
    if rotation:
        for label in axis.get_ticklabels():
            label.set(rotation=rotation, ha="right" if rotation < 90 else "center", rotation_mode="anchor")
        if rotation == 90:
            for label in axis.get_ticklabels():
                label.set(ha="right", va="center")


def shorten(text: str, most: int = 26) -> str:
    """Shorten a text by leaving out its middle.

    Parameters
    ----------
    text : str
    most : int
        Characters.

    Returns
    -------
    str
    """
    if len(text) <= most:
        return text
    keep = most - 1
    return f"{text[: keep // 2]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - (keep - keep // 2) :]}"


def plain_logarithm(axis: Any, values: Iterable[float], *, most: int = 8) -> None:
    """Make an axis logarithmic with plain numbers: 0.2, 5, 1,000 instead of powers of ten.

    Parameters
    ----------
    axis : matplotlib Axis
    values : iterable of float
        What is drawn along it; the axis reaches a little beyond.
    most : int
        Ticks that have room.
    """
    # Here, for matplotlib is loaded where something is drawn, by `load_matplotlib`.
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    positive = [value for value in values if np.isfinite(value) and value > 0] or [1.0]
    low, high = min(positive) / 1.3, max(positive) * 1.3
    (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
    (axis.axes.set_xlim if axis.axis_name == "x" else axis.axes.set_ylim)(low, high)
    axis.set_major_locator(FixedLocator(_plain_ticks(low, high, most)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _plain_ticks(low: float, high: float, most: int) -> list[float]:
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for steps in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 5), (1, 3)):
        ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            return ticks
    powers = [float(f"1e{decade}") for decade in decades if low <= float(f"1e{decade}") <= high]
    return powers[:: -(-len(powers) // most)]
