"""What starting the program consists of: the modules that a process imports, and how long each takes with its own.

    python benchmarks/imports.py [--images FOLDER] [--rounds 5] [--top 15] [--json]

For ``import semret``, ``semret --help``, and a search with a picture that is in the index and with one that is not: the
modules that take longest by themselves, and with what they import first. Medians over processes; the interpreter's own
account (``python -X importtime``), which slows imports down a little. Everything has been imported once before.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from PIL import Image

import semret
from semret.eval.scenes.collection import render_collection

_LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \| ( *)(\S+)$")


class Import(NamedTuple):
    """A module, and the milliseconds that importing it took: alone, and with what it imports first."""

    module: str
    alone: float
    whole: float


def imports(arguments: list[str]) -> list[Import]:
    """Return what a process imports, in the order in which it is done."""
    command = [sys.executable, "-X", "importtime", *arguments]
    run = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    found = [_LINE.match(line) for line in run.stderr.splitlines()]
    return [Import(line[4], int(line[1]) / 1e3, int(line[2]) / 1e3) for line in found if line]


def medians(runs: list[list[Import]]) -> list[Import]:
    """Return each module's medians over the runs that imported it, longest first."""
    alone: dict[str, list[float]] = {}
    whole: dict[str, list[float]] = {}
    for run in runs:
        for module, own, all_ in run:
            alone.setdefault(module, []).append(own)
            whole.setdefault(module, []).append(all_)
    found = [Import(name, statistics.median(alone[name]), statistics.median(whole[name])) for name in alone]
    return sorted(found, key=lambda one: one.whole, reverse=True)


def measure(index: Path, stored: Path, new: Path, rounds: int) -> dict[str, list[Import]]:
    """Return the imports of each way to start, of processes that take turns."""
    query = ["-m", "semret", "query", "--index", str(index)]
    ways = {
        "import semret": ["-c", "import semret"],
        "semret --help": ["-m", "semret", "--help"],
        "semret query, stored picture": [*query, str(stored)],
        "semret query, new picture": [*query, str(new)],
    }
    for arguments in ways.values():
        imports(arguments)
    runs = [{name: imports(arguments) for name, arguments in ways.items()} for _ in range(rounds)]
    return {name: medians([run[name] for run in runs]) for name in ways}


def table(name: str, found: list[Import], top: int) -> str:
    """Return the longest imports as lines of text."""
    total = sum(one.alone for one in found)
    lines = [f"{name}: {len(found)} modules, {total:.0f} ms", "     whole     alone  module"]
    return "\n".join([*lines, *(f"{one.whole:7.1f} ms{one.alone:7.1f} ms  {one.module}" for one in found[:top])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of pictures; default: 12 rendered ones")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--top", type=int, default=15, help="modules shown of each way to start")
    parser.add_argument("--json", action="store_true", help="print everything as JSON instead")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = given.images
        if folder is None:
            folder = Path(place, "pictures")
            render_collection(folder, 12, seed=0)
        index, new = Path(place, "index"), Path(place, "new.png")
        semret.build(folder, index=index)
        collection = semret.open(index).collection
        stored = Path(collection.paths(collection.ids[:1])[0])
        with Image.open(stored) as image:
            image.rotate(3, resample=Image.Resampling.BICUBIC).save(new)
        found = measure(index, stored, new, given.rounds)
    if given.json:
        print(json.dumps({name: [one._asdict() for one in listed] for name, listed in found.items()}, indent=2))
    else:
        print("\n\n".join(table(name, listed, given.top) for name, listed in found.items()))


if __name__ == "__main__":
    main()
