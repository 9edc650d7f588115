"""Every solver side by side, time and quality: the table of the README.

    OMP_NUM_THREADS=1 python benchmarks/solvers.py [--images FOLDER] [--sides 224 512 1024 2048] [--out FILE.json]
                                                   [--readme README.md]

Features of the embedded backbone at growing input sizes; one thread; medians over pairs of pictures, the methods taking
turns on each pair. In brackets: how many times faster than SciPy. `--layers` measures the layers of one input size.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from semret.eval.experiments.approximation import run_approximation
from semret.eval.experiments.runtime import SIDES, format_table, run_runtime

BEGIN, END = "<!-- begin: benchmarks/solvers.py -->", "<!-- end: benchmarks/solvers.py -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of pictures; default: rendered scenes")
    parser.add_argument("--sides", type=int, nargs="+", default=list(SIDES), help="input sizes in pixels")
    parser.add_argument("--pairs", type=int, help="pairs of pictures for each size")
    parser.add_argument("--layers", action="store_true", help="measure the approximations on every layer")
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    parser.add_argument("--readme", type=Path, help="put the table into this file, between its markers")
    options = parser.parse_args()
    if options.layers:
        costs = run_approximation(options.images, side=options.sides[0], progress=show).costs
    else:
        costs = run_runtime(options.images, sides=options.sides, pairs=options.pairs, progress=show).costs
    print(format_table(costs))
    if options.readme:
        put_between_markers(options.readme, format_table(costs))
    if options.out:
        packages = {name: version(name) for name in ("numpy", "numba", "scipy", "ortools", "torch")}
        record = {"processor": platform.processor() or platform.machine(), "versions": packages}
        options.out.write_text(json.dumps(record | {"rows": [cost.as_json() for cost in costs]}, indent=1) + "\n")


def put_between_markers(document: Path, table: str) -> None:
    """Replace what stands between the two marker lines of a Markdown file."""
    text = document.read_text(encoding="utf-8")
    head, begun, rest = text.partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not begun or not ended:
        raise SystemExit(f"{document} lacks the lines {BEGIN} and {END}")
    document.write_text(f"{head}{BEGIN}\n{table}\n{END}{tail}", encoding="utf-8")


def show(done: int, total: int) -> None:
    print(f"{done} of {total}", file=sys.stderr)


if __name__ == "__main__":
    main()
