"""Every solver side by side, time and quality: the table of the README, and what it says of it.

    OMP_NUM_THREADS=1 python benchmarks/solvers.py [--images FOLDER] [--sides 224 512 1024 2048] [--pairs N]
                                                   [--out FILE.json] [--readme README.md]

Features of the embedded network at growing input sizes, and those of its layers, which have fewer channels. Everything
that is timed runs on one thread; the methods take turns on each pair of pictures. `semret eval runtime` and `semret
eval approximation` measure the same with intervals and plots.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from documents import as_sentence, conditions, put_between_markers

from semret.eval.experiments.approximation import run_approximation
from semret.eval.experiments.cost import Cost, Method
from semret.eval.experiments.costs import merge_methods, percent
from semret.eval.experiments.runtime import SIDES, Study, run_runtime

LAYERS_SIDE = 512
"""Input size of the layers, in pixels; with this one they have the numbers of positions of the table."""

_UNITS = (1e3, 1e-3, "s"), (1e-2, 1.0, "ms"), (0.0, 1e3, "\N{MICRO SIGN}s")
"""From how many milliseconds on a unit is used, how many of it are one, and its name."""


def format_table(costs: Sequence[Cost]) -> str:
    """Return a Markdown table: a row for each method, a column for each size.

    A cell has the share of the optimum, the median time with its quartiles, and how many times faster than SciPy that
    is. What is one method at a size, such as windows that hold everything, was measured once and is shown once.
    """
    labels = list(dict.fromkeys(cost.label for cost in costs))
    by_label = {label: [cost for cost in costs if cost.label == label] for label in labels}
    heads = [f"{label}<br>S = {found[0].positions:,}, {found[0].pairs} pairs" for label, found in by_label.items()]
    lines = [f"| method | {' | '.join(heads)} |", f"|---|{'---|' * len(labels)}"]
    for method, name in merge_methods(list(costs)).items():
        lines.append(f"| {name} | {' | '.join(_cell(method, found) for found in by_label.values())} |")
    products = [_duration(found[0].affinity_milliseconds) for found in by_label.values()]
    lines.append(f"| *the affinity itself* | {' | '.join(products)} |")
    return "\n".join(lines)


def _cell(method: str, costs: Sequence[Cost]) -> str:
    cost = next((cost for cost in costs if cost.method == method), None)
    if cost is None:
        return ""
    first = next(other for other in costs if other.measurement == cost.measurement)
    if first is not cost:
        return f"as *{first.method}*"
    parts = [percent(cost.quality), _duration(cost.milliseconds, cost.quartiles)]
    if cost.speedup == cost.speedup:
        parts.append(f"{cost.speedup:,.{0 if cost.speedup >= 10 else 1}f}x")
    return "<br>".join(parts)


def _duration(milliseconds: float, quartiles: tuple[float, float] | None = None) -> str:
    """Write a time, and its quartiles in the same unit."""
    scale, unit = next((scale, unit) for least, scale, unit in _UNITS if milliseconds >= least)
    among = "" if quartiles is None else " ({:.3g} to {:.3g})".format(*(scale * end for end in quartiles))
    return f"{scale * milliseconds:.3g} {unit}{among}"


def describe_auction(costs: Sequence[Cost], layers: Sequence[Cost]) -> str:
    """Say where the default solver costs less than what surrounds it, and where it does not; by these numbers alone."""
    auctions = [cost for cost in costs if cost.method == "auction"]
    rivals = {
        cost.label: [other.milliseconds for other in costs if (other.label, other.exact) == (cost.label, False)
                     and other.method.startswith("batch-optimal")]
        for cost in auctions
    }  # fmt: skip
    channels = auctions[0].channels
    product = [cost for cost in auctions if cost.milliseconds < cost.affinity_milliseconds]
    batches = [cost for cost in auctions if cost.milliseconds < min(rivals[cost.label])]
    return (
        f"`auction`, the default, is exact. It takes less than forming the affinity of maps of {channels:,} channels "
        f"{_where(product, auctions)}, and less than every setting of *batch-optimal*, the approximation that the "
        f"paper settles on, {_where(batches, auctions)}. {_describe_thin(layers)}"
    )


def _where(found: Sequence[Cost], among: Sequence[Cost]) -> str:
    if not found:
        return "at none of these sizes"
    sizes = " and ".join(f"{cost.positions:,}" for cost in found)
    return "at each of these sizes" if len(found) == len(among) else f"at S = {sizes}"


def _describe_thin(layers: Sequence[Cost]) -> str:
    """Say what becomes of that where maps have fewer channels."""
    worst = max(layers, key=lambda cost: cost.milliseconds / cost.affinity_milliseconds)
    maps = f"S = {worst.positions:,} and {worst.channels} channels (layer {worst.label})"
    times = f"the affinity takes {_duration(worst.affinity_milliseconds)}, the matching {_duration(worst.milliseconds)}"
    if worst.milliseconds > worst.affinity_milliseconds:
        return f"With fewer channels it can be the other way round: at {maps} {times}."
    return f"With fewer channels, too, it takes less than the affinity: at {maps} {times}."


def describe_conditions(study: Study, found: dict[str, str]) -> str:
    """Say what the cells are and how they came about."""
    return (
        "<sub>`make bench`. Cells: share of the optimal value, mean; time of one matching without its affinity, median "
        "and quartiles over the pairs; times faster than SciPy, median over the pairs. "
        f"{study.dataset['pictures']} pictures ({study.dataset['name']}), maps not centred, everything on one thread. "
        "Pairs of few positions are handed over in groups, where a solver takes groups, and timed five times. "
        f"{as_sentence(found)}.</sub>"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of pictures; default: rendered scenes")
    parser.add_argument("--sides", type=int, nargs="+", default=list(SIDES), help="input sizes in pixels")
    parser.add_argument("--pairs", type=int, help="pairs of pictures for each size; default: fewer the larger it is")
    parser.add_argument("--layers-side", type=int, default=LAYERS_SIDE, help="input size of the layers in pixels")
    parser.add_argument("--out", type=Path, help="write what was measured as JSON")
    parser.add_argument("--readme", type=Path, help="put the table into this file, between its markers")
    given = parser.parse_args()
    study = run_runtime(given.images, sides=given.sides, pairs=given.pairs, progress=show)
    auction = [Method(solver="auction")]
    layers = run_approximation(given.images, side=given.layers_side, methods=auction, progress=show).costs
    found = conditions("semret", "numba", "numpy", "scipy", "ortools")
    text = "\n\n".join(
        [format_table(study.costs), describe_auction(study.costs, layers), describe_conditions(study, found)]
    )
    print(text)
    if given.readme:
        put_between_markers(given.readme, "solvers.py", text)
    if given.out:
        rows = {"rows": [cost.as_json() for cost in study.costs], "layers": [cost.as_json() for cost in layers]}
        record = {"conditions": found, "center": "none", "dataset": study.dataset, **rows}
        given.out.write_text(json.dumps(record, indent=1) + "\n")


def show(done: int, total: int) -> None:
    print(f"{done} of {total}", file=sys.stderr)


if __name__ == "__main__":
    main()
