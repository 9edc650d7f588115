"""What a person waits for: starting the program, and a query, split into its stages.

    python benchmarks/latency.py [--images FOLDER] [--rounds 7]

Cold figures are whole processes, alternated round by round with ``python -c pass``. Warm figures are queries within one
process, of stored pictures and of new ones.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from PIL import Image

import semret
from semret.eval.scenes.collection import render_collection
from semret.retrieval.search.engine import SearchEngine


def cold(index: Path, picture: Path, rounds: int) -> dict[str, float]:
    """Return median wall seconds of whole processes."""
    program = str(Path(sysconfig.get_path("scripts"), "semret"))
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "semret --help": [program, "--help"],
        "semret query, stored picture": [program, "query", str(picture), "--index", str(index)],
        "the same, --invariance pooled": [
            program, "query", str(picture), "--index", str(index), "--invariance", "pooled",
        ],
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for name, command in commands.items():
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # fills caches, compiles what is compiled once
        del name
    for _ in range(rounds):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def warm(engine: SearchEngine, pictures: list[Path]) -> dict[str, float]:
    """Return median seconds of each stage, and the median share of candidates that had to be solved."""
    stats = [engine.query(picture).stats for picture in pictures][1:]
    stages = {stage: statistics.median(stat.seconds[stage] for stat in stats) for stage in stats[0].seconds}
    return {**stages, "solved_share": statistics.median(stat.solved / stat.shortlist for stat in stats)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of pictures; default: rendered ones")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = given.images
        if folder is None:
            folder = Path(place, "pictures")
            render_collection(folder, 240, seed=0)
        index = Path(place, "index")
        report = semret.build(folder, index=index)
        engine = semret.open(index)
        stored = [Path(hit) for hit in engine.collection.paths(engine.collection.ids[:20])]
        new = [Path(place, f"new-{number}.png") for number in range(len(stored))]
        for old, changed in zip(stored, new, strict=True):
            with Image.open(old) as image:
                image.rotate(3, resample=Image.Resampling.BICUBIC).save(changed)
        result = {
            "images": report.images,
            "cold_seconds": cold(index, stored[0], given.rounds),
            "warm_stored_seconds": warm(engine, stored),
            "warm_new_seconds": warm(engine, new),
        }
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
