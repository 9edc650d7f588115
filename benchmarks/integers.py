"""An exact top k on integer tokens (64 directions, int8) against the same search on float16 tokens of all channels.

    [OMP_NUM_THREADS=1] python benchmarks/integers.py [--images FOLDER ...] [--pictures 200] [--maps 1000] [-k 10] ...

Both are alternated on the same pictures, with each number of threads: a shortlist of 100 by pooled cosine, all maps of
the database (the further ones are crops), and with `--region` the first R tokens of a query alone. Medians over
queries of medians over rounds, wall time and processor time. The answers on integers are compared with solving all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from real_features import Resident, token_maps

from semret.centers import Center
from semret.integer_tokens import IntegerTokens
from semret.retrieval.search.candidates import InMemoryTokens, Query, Reranked
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.rerank import rerank

Run = Callable[[], Reranked]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of pictures; default: generated scenes")
    parser.add_argument("--pictures", type=int, default=200, help="maps that shortlists are drawn from")
    parser.add_argument("--maps", type=int, default=1000, help="maps of the exhaustive search")
    parser.add_argument("--queries", type=int, default=10)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--side", type=int, default=384, help="input size: 384 gives 144 tokens")
    parser.add_argument("--directions", type=int, default=64)
    parser.add_argument("--region", type=int, default=0, help="tokens of a query, instead of all")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    maps = token_maps(options.images, options.maps, side=options.side)
    center = Center(mode="channel", channel=maps.mean(axis=(0, 1), dtype=np.float64).astype(np.float32))
    integers = as_integers(maps, center, options.directions)
    pooled = maps[: options.pictures].mean(axis=1, dtype=np.float32) - center.channel
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    chosen = np.random.default_rng(1).choice(len(pooled), options.queries, replace=False)
    everything = Resident(maps), InMemoryTokens(integers)
    own = slice(options.region or None)
    found: dict[str, list[dict[str, float]]] = {}
    for threads in options.threads:
        for number in chosen:
            order = np.argsort(-(pooled @ pooled[number]), kind="stable")
            shortlist = order[order != number][: options.candidates]
            query = IntegerTokens(integers=integers.integers[[number], own], scales=integers.scales[[number], own])
            queries = Query(tokens=maps[number, own]), Query(tokens=query)
            sources = {
                f"{options.candidates} candidates": (Resident(maps[shortlist]), InMemoryTokens(integers[shortlist])),
                f"all {len(maps)}": everything,
            }
            for name, pair in sources.items():
                setting = RerankOptions(k=options.k, threads=threads)
                row = measure(queries, pair, setting, center, options.rounds)
                found.setdefault(f"{name}, {threads} threads", []).append(row)
    summary = {
        name: {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}
        for name, rows in found.items()
    }
    shape = {"float16": list(maps.shape[1:]), "int8": list(integers.shape[1:]), "k": options.k}
    print(json.dumps({**summary, "shapes": shape, "region": options.region, "identical": True}, indent=2))


def as_integers(maps: np.ndarray, center: Center, directions: int) -> IntegerTokens:
    """Project centred tokens on their leading principal directions, and round each to int8 with a scale of its own."""
    count, positions, channels = maps.shape
    sample = maps[:: max(1, count // 256)].reshape(-1, channels).astype(np.float32) - center.channel
    basis = np.linalg.eigh(sample.T @ sample)[1][:, ::-1][:, :directions]
    values = np.concatenate([(part.astype(np.float32) - center.channel) @ basis for part in maps])
    scales = np.maximum(np.abs(values).max(axis=1) / 127, np.float32(1e-30))
    integers = np.rint(values / scales[:, None]).astype(np.int8).reshape(count, positions, directions)
    return IntegerTokens(integers=integers, scales=scales.reshape(count, positions))


def measure(
    queries: tuple[Query, Query],
    sources: tuple[Resident, InMemoryTokens],
    options: RerankOptions,
    center: Center,
    rounds: int,
) -> dict[str, float]:
    """Return median milliseconds of both searches, their ratio, and how many candidates each solved."""
    runs: list[Run] = [
        lambda: rerank(queries[0], sources[0], options, center=center),
        lambda: rerank(queries[1], sources[1], options),
    ]
    results = [run() for run in runs]  # compiles, the first time
    full = rerank(queries[1], sources[1], replace(options, prune=False))
    if results[1].rows.tolist() != full.rows.tolist() or results[1].scores.tolist() != full.scores.tolist():
        raise SystemExit("the certified rerank differs from solving every candidate")
    wall: list[list[float]] = [[], []]
    processor: list[list[float]] = [[], []]
    for _ in range(rounds):
        for number, run in enumerate(runs):
            start, begun = time.perf_counter(), time.process_time()
            run()
            wall[number].append(1000 * (time.perf_counter() - start))
            processor[number].append(1000 * (time.process_time() - begun))
    (floats, integers), (float_work, integer_work) = map(statistics.median, wall), map(statistics.median, processor)
    return {
        "float16 ms": floats,
        "int8 ms": integers,
        "ratio": floats / integers,
        "float16 processor ms": float_work,
        "int8 processor ms": integer_work,
        "ratio of processor time": float_work / integer_work,
        "float16 solved": results[0].solved,
        "int8 solved": results[1].solved,
        "int8 ruled out": results[1].pruned,
    }


if __name__ == "__main__":
    main()
