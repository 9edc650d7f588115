"""An exact top k of a shortlist against the one float32 GEMM that forms all of its affinities.

    [OMP_NUM_THREADS=1] python benchmarks/rerank.py [--images FOLDER] [--candidates 100] [-k 10] [--side 512] ...

For each query the shortlist is drawn by pooled cosine; the GEMM, the certified rerank and the rerank that solves every
candidate are alternated, and medians compared. All three get tokens that are in memory: the GEMM centred float32, the
reranks what an index stores. Their answers are compared, scores to the bit. Threads are those of OMP_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from real_features import Resident, token_maps

from semret.retrieval.search.candidates import Query
from semret.retrieval.search.rerank import rerank


def measure(
    query: np.ndarray, shortlist: np.ndarray, mean: np.ndarray, options: argparse.Namespace
) -> dict[str, float]:
    """Return median milliseconds of the three, and how many candidates were solved, for one query."""
    source = Resident(shortlist.astype(options.dtype))
    center = SimpleNamespace(channel=mean, position=None, pooled=None)
    threads = int(os.environ["OMP_NUM_THREADS"]) if "OMP_NUM_THREADS" in os.environ else None
    left = query.astype(np.float32) - mean
    right = (shortlist.astype(np.float32) - mean).reshape(-1, shortlist.shape[2])

    def certified(prune: bool = True):
        return rerank(Query(tokens=query), source, k=options.k, center=center, threads=threads, prune=prune)

    runs: dict[str, Callable[[], object]] = {
        "gemm": lambda: right @ left.T,
        "rerank": certified,
        "solve all": lambda: certified(prune=False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    certified()  # compiles, the first time
    for _ in range(options.rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    pruned, full = certified(), certified(prune=False)
    if pruned.rows.tolist() != full.rows.tolist() or pruned.scores.tolist() != full.scores.tolist():
        raise SystemExit("the certified rerank differs from solving every candidate")
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()} | {"solved": pruned.solved}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of pictures; default: generated scenes")
    parser.add_argument("--pictures", type=int, default=200, help="size of the database")
    parser.add_argument("--queries", type=int, default=10)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--side", type=int, default=512, help="input size: 512 gives 256 tokens")
    parser.add_argument("--channels", type=int, default=768)
    parser.add_argument("--dtype", choices=["float16", "float32"], default="float16", help="as stored")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()

    maps = token_maps(options.images, options.pictures, side=options.side, channels=options.channels)
    mean = maps.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    pooled = maps.mean(axis=1, dtype=np.float32) - mean
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    rows = []
    for query in np.random.default_rng(1).choice(len(maps), options.queries, replace=False):
        order = np.argsort(-(pooled @ pooled[query]), kind="stable")
        shortlist = order[order != query][: options.candidates]
        rows.append(measure(maps[query], maps[shortlist], mean, options))
    summary = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    summary |= {
        "rerank / gemm": statistics.median(row["rerank"] / row["gemm"] for row in rows),
        "solve all / gemm": statistics.median(row["solve all"] / row["gemm"] for row in rows),
        "candidates": options.candidates,
        "k": options.k,
        "shape": list(maps.shape[1:]),
        "dtype": options.dtype,
        "identical": True,
    }
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
