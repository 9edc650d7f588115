"""The exact best match of many queries over a whole database: certified against solving every pair.

    [OMP_NUM_THREADS=1] python benchmarks/exhaustive.py [--images FOLDER] [--database 2000] [--queries 20] [-k 1] ...

A database of pictures and crops is streamed in chunks past all queries at once, with bounds and without, and beside it
the float32 products alone; the three are alternated. The answers are compared, scores to the bit. A picture is not
found by itself: queries are excluded from their own answers. Threads are those of OMP_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from real_features import token_maps

from semret.retrieval.search.candidates import Query, Reranked
from semret.retrieval.search.rerank import rerank_stream

CHUNK = 128


def chunks(maps: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(maps), CHUNK):
        part = maps[start : start + CHUNK]
        yield np.arange(start, start + len(part)), part


def search(maps: np.ndarray, chosen: np.ndarray, center: SimpleNamespace, k: int, prune: bool) -> list[Reranked]:
    queries = [Query(tokens=maps[number], excluded=np.array([number])) for number in chosen]
    threads = int(os.environ["OMP_NUM_THREADS"]) if "OMP_NUM_THREADS" in os.environ else None
    return rerank_stream(queries, chunks(maps), k=k, center=center, prune=prune, threads=threads)


def products(maps: np.ndarray, chosen: np.ndarray, center: SimpleNamespace) -> None:
    """Form every affinity in float32, all queries of a chunk in one product, and forget it."""
    left = np.concatenate([maps[number].astype(np.float32) - center.channel for number in chosen])
    for _, part in chunks(maps):
        right = part.astype(np.float32) - center.channel
        for tokens in right:
            tokens @ left.T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of pictures; default: generated scenes")
    parser.add_argument("--database", type=int, default=2000)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("-k", type=int, default=1)
    parser.add_argument("--side", type=int, default=224, help="input size: 224 gives 49 tokens, 512 gives 256")
    parser.add_argument("--channels", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    maps = token_maps(options.images, options.database, side=options.side, channels=options.channels)
    center = SimpleNamespace(
        channel=maps.mean(axis=(0, 1), dtype=np.float64).astype(np.float32), position=None, pooled=None
    )
    chosen = np.random.default_rng(1).choice(len(maps), options.queries, replace=False)
    runs = {
        "products alone": lambda: products(maps, chosen, center),
        "certified": lambda: search(maps, chosen, center, options.k, prune=True),
        "every pair": lambda: search(maps, chosen, center, options.k, prune=False),
    }
    search(maps[: 2 * CHUNK], chosen[:1] % (2 * CHUNK), center, options.k, prune=True)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    found = {}
    for _ in range(options.rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            found[name] = run()
            seconds[name].append(time.perf_counter() - start)
    for one, other in zip(found["certified"], found["every pair"], strict=True):
        if one.rows.tolist() != other.rows.tolist() or one.scores.tolist() != other.scores.tolist():
            raise SystemExit("the certified search differs from solving every pair")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    pairs = options.queries * (options.database - 1)
    print(
        json.dumps(
            {
                "seconds": medians,
                "certified / products": medians["certified"] / medians["products alone"],
                "every pair / certified": medians["every pair"] / medians["certified"],
                "pairs": pairs,
                "share solved": sum(one.solved for one in found["certified"]) / pairs,
                "k": options.k,
                "shape": list(maps.shape[1:]),
                "identical": True,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
