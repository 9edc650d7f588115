"""Search over shards on one computer: time of a query and memory of a shard against the number of shards.

    python benchmarks/search_over_shards.py [--images 20000] [--shards 1 2 4 8] [--queries 40] [--threads 1]

An index is made of given maps (codec pca64-int8): each mixes a few of some hundred concepts, with noise, so that most
images are unlike a query and some are like it. Shards are Ray actors on this computer, so their number divides memory
and work but adds no processors beyond its own; what more computers give is that each brings its own. Every answer is
compared with that of one process: hits, scores and counts. Times are medians of queries by ids that are asked in turn
of all; memory is the most that an actor has held, beyond what one without images holds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import ray

import semret
from semret.cluster.connection import LOCAL, connected
from semret.cluster.search import ShardedEngine
from semret.cluster.shards import Shards
from semret.index.collection import open_collection
from semret.retrieval.search.engine import SearchEngine
from semret.retrieval.search.options import SearchOptions

POSITIONS, CHANNELS, CONCEPTS = 144, 64, 300


def maps(count: int) -> np.ndarray:
    """Return maps of so many images, (count, 144, 64) float16."""
    chance = np.random.default_rng(0)
    concepts = chance.standard_normal((CONCEPTS, CHANNELS)).astype(np.float32)
    out = np.empty((count, POSITIONS, CHANNELS), dtype=np.float16)
    for number in range(count):
        chosen = chance.choice(CONCEPTS, size=6)[chance.integers(0, 6, POSITIONS)]
        out[number] = concepts[chosen] + 0.6 * chance.standard_normal((POSITIONS, CHANNELS))
    return out


def timed(engine: SearchEngine, ids: list[int], options: SearchOptions) -> tuple[float, list[object]]:
    """Return the median milliseconds of searches, and what they found."""
    engine.search(ids[0], options)
    seconds, found = [], []
    for id_ in ids:
        start = time.perf_counter()
        result = engine.search(id_, options)
        seconds.append(time.perf_counter() - start)
        found.append((result.hits, result.stats.solved, result.stats.pruned))
    return 1000 * statistics.median(seconds), found


def memory(shards: Shards) -> float:
    """Return the most megabytes that any actor has held."""
    return max(one[1] for one in shards.all("alive")) / 1e6


def main() -> None:
    """Measure, and print one line of JSON for each number of shards."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--place", type=Path, help="Folder for the index, used again; default: a temporary one.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, connected(LOCAL):
        index = (asked.place or Path(folder)) / f"index-{asked.images}"
        if not index.exists():
            semret.build(features=maps(asked.images), index=index, codec="pca64-int8")
        ids = np.random.default_rng(1).choice(asked.images, asked.queries, replace=False) + 1
        kinds = {
            "shortlist": (ids.tolist(), SearchOptions(threads=asked.threads)),
            "exhaustive": (
                ids[: max(3, asked.queries // 8)].tolist(),
                SearchOptions(exhaustive=True, threads=asked.threads),
            ),
        }
        one = SearchEngine(open_collection(index))
        expected = {kind: timed(one, *question) for kind, question in kinds.items()}
        print(json.dumps({"shards": None, **{f"{kind} ms": round(value[0], 1) for kind, value in expected.items()}}))
        for count in asked.shards:
            shards = Shards(count, cpus=0, threads=asked.threads)
            empty = memory(shards)
            start = time.perf_counter()
            engine = ShardedEngine(open_collection(index), shards)
            line: dict[str, object] = {"shards": count, "open s": round(time.perf_counter() - start, 2)}
            for kind, question in kinds.items():
                milliseconds, found = timed(engine, *question)
                assert found == expected[kind][1], f"{count} shards answer otherwise"
                line[f"{kind} ms"] = round(milliseconds, 1)
            print(
                json.dumps({**line, "shard MB": round(memory(shards) - empty, 1), "empty MB": round(empty)}), flush=True
            )
            shards.close()
        ray.shutdown()


if __name__ == "__main__":
    main()
