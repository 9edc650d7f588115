"""Exact matching on a GPU: solves a second, whole databases, the paper's protocol, a similarity matrix of all kernels.

    python benchmarks/gpu.py [--device cuda] [--out gpu.md] [--json gpu.json] [--only solves database protocol matrix]

Prints a Markdown table for each part, with the card's name; every number is a median, of device events where the device
works alone and of wall time elsewhere. SciPy and our own solver run on all cores in the same process, on as many of the
same problems as a few seconds allow. Values are compared with theirs: a difference ends the run. On one card the whole
takes less than ten minutes. `--interpret` runs every part in miniature on a processor (set TRITON_INTERPRET=1): that
tries the script, and its times mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real_features import token_maps
from scipy.optimize import linear_sum_assignment

import semret
from semret.integer_tokens import IntegerTokens
from semret.retrieval.matching import cuda, match_batch
from semret.retrieval.matching.cuda import match_on_device
from semret.retrieval.matching.cuda_tokens import DeviceMaps, bounds_of_all, form_affinities, match_pairs
from semret.retrieval.search.candidates import InMemoryTokens, Query
from semret.retrieval.search.device_maps import MapsOnDevice
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.rerank import rerank

PARTS = ("solves", "database", "protocol", "matrix")


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    problems: dict[int, int]
    """Problems of each S."""
    rounds: int
    databases: dict[int, int]
    """Maps of each S."""
    queries: int
    protocol: tuple[int, int, int]
    """Queries, database, S."""
    matrix: tuple[int, int]
    """Images, S."""
    real: int
    """Distinct real maps that larger sets are made of."""


FULL = Sizes(
    problems={49: 100_000, 256: 16_384, 1024: 1056, 4096: 132},
    rounds=5,
    databases={256: 1_000_000, 144: 1_000_000},
    queries=20,
    protocol=(2000, 5000, 256),
    matrix=(2000, 256),
    real=400,
)
MINIATURE = Sizes(
    problems={9: 2, 16: 1},
    rounds=1,
    databases={9: 6},
    queries=1,
    protocol=(2, 2, 9),
    matrix=(3, 9),
    real=3,
)


@dataclass
class Report:
    """What is printed in the end."""

    card: str
    parts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, part: str, **row: Any) -> None:
        """Add a row to a table, and print it."""
        self.parts.setdefault(part, []).append(row)
        print(f"{part}: {row}", flush=True)

    def markdown(self) -> str:
        """Return all tables."""
        text = [f"Card: {self.card}; torch {torch.__version__}; {os.cpu_count()} cores.\n"]
        for part, rows in self.parts.items():
            names = list(dict.fromkeys(name for row in rows for name in row))
            text.append(f"\n**{part}**\n\n| {' | '.join(names)} |\n|{'---|' * len(names)}")
            text += [f"| {' | '.join(_shown(row.get(name, '')) for name in names)} |" for row in rows]
        return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--interpret", action="store_true", help="in miniature, on the processor")
    parser.add_argument("--images", type=Path, help="folder of pictures for real features; default: generated scenes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, help="Markdown to write")
    parser.add_argument("--json", type=Path, help="JSON to write")
    options = parser.parse_args()
    device = "cpu" if options.interpret else options.device
    if (reason := cuda.why_unavailable(torch.device(device).type)) is not None:
        parser.error(reason)
    sizes = MINIATURE if options.interpret else FULL
    report = Report(card="none, interpreted" if options.interpret else torch.cuda.get_device_name(device))
    for part in options.only:
        globals()[part](report, sizes, device, options.images)
        if options.out:
            options.out.write_text(report.markdown(), encoding="utf-8")
        if options.json:
            options.json.write_text(json.dumps({"card": report.card, **report.parts}, indent=2), encoding="utf-8")
    print(report.markdown())


def solves(report: Report, sizes: Sizes, device: str, images: Path | None) -> None:
    """Time solves alone and from tokens, on real features and dense random matrices, beside the processor's solvers."""
    speed = _bandwidth(device)
    for positions, count in sizes.problems.items():
        side = 32 * max(1, round(positions**0.5))
        maps = token_maps(images, sizes.real if positions < 4096 else min(sizes.real, 24), side=side)
        x = DeviceMaps(tokens=torch.from_numpy(maps).to(device))
        integers = _as_integers(maps)
        y = DeviceMaps(tokens=_put(integers.integers, device), scales=_put(integers.scales, device))
        of = torch.arange(count, device=device)
        pair = of % len(maps), (of * 7 + 1 + of // len(maps)) % len(maps)
        real = form_affinities(x, x, *pair)
        torch.manual_seed(0)
        ties = torch.randint(0, 100, real.shape, device=device).to(real.dtype)
        for kind, affinities in (("real", real), ("uniform", torch.rand_like(real)), ("integers 0..99", ties)):
            alone = _timed(partial(match_on_device, affinities), sizes.rounds, device)
            found = match_on_device(affinities)
            row: dict[str, Any] = {
                "S": positions,
                "features": kind,
                "problems": count,
                "solves/s alone": count / alone,
                "bids/row": float(found.scans[:, 0].double().mean()) / positions,
                "scans/row": float(found.scans[:, 1].double().mean()) / positions,
                "largest gap": float(found.gaps.max()),
                "share of bandwidth": affinities.nelement() * affinities.element_size() / alone / speed,
            }
            row |= _on_processor(affinities, found.values)
            if kind == "real":
                for name, given in (("float16", x), ("int8", y)):
                    bare = _timed(partial(form_affinities, given, given, *pair), sizes.rounds, device)
                    whole = _timed(partial(match_pairs, given, given, *pair), sizes.rounds, device)
                    row |= {f"pairs/s from {name}": count / whole, f"products alone/s, {name}": count / bare}
            report.add("solves", **row)
        del real


def _on_processor(affinities: torch.Tensor, values: torch.Tensor) -> dict[str, float]:
    """Solve as many of the problems as two seconds allow with SciPy and with our own solver, on all cores."""
    cores = os.cpu_count() or 1
    few = affinities[: max(cores, 4)].float().cpu().numpy()
    begun = time.perf_counter()
    optimum = [float(one[linear_sum_assignment(one, maximize=True)].sum(dtype=np.float64)) for one in few[:1]]
    one = time.perf_counter() - begun
    count = int(min(len(affinities), max(cores, 2 * cores / max(one, 1e-6)), 20_000))
    many = affinities[:count].float().cpu().numpy()
    with ThreadPoolExecutor(cores) as pool:
        begun = time.perf_counter()
        chosen = list(pool.map(lambda each: linear_sum_assignment(each, maximize=True), many))
        scipy = len(many) / (time.perf_counter() - begun)
    match_batch(many[:1])
    begun = time.perf_counter()
    match_batch(many)
    own = len(many) / (time.perf_counter() - begun)
    optimum = [float(each[rows].sum(dtype=np.float64)) for each, rows in zip(many, chosen, strict=True)]
    if not np.allclose(values[: len(many)].cpu().numpy(), optimum, rtol=1e-9):
        raise SystemExit("values differ from SciPy's")
    return {f"SciPy/s, {cores} cores": scipy, f"own/s, {cores} cores": own}


def database(report: Report, sizes: Sizes, device: str, images: Path | None) -> None:
    """Time an exhaustive certified top 10 over a database of integer maps that is kept on the card."""
    for positions, count in sizes.databases.items():
        maps = token_maps(images, sizes.real, side=32 * round(positions**0.5))
        source = Perturbed(_as_integers(maps), count)
        begun = time.perf_counter()
        kept = MapsOnDevice(source, device)
        loading = time.perf_counter() - begun
        options, times, solved = RerankOptions(k=min(10, count // 2)), [], []
        _check_database(source, kept, options)
        for number in range(sizes.queries):
            query = Query(tokens=source.query(number))
            begun = time.perf_counter()
            found = rerank(query, source, options, narrow=kept.left)
            times.append(time.perf_counter() - begun)
            solved.append(found.solved)
        one = source.query(0)
        query = DeviceMaps(tokens=_put(one.integers, device), scales=_put(one.scales, device))
        part = kept.first
        sweep = _timed(partial(bounds_of_all, query, part), sizes.rounds, device)
        report.add(
            "database",
            S=positions,
            maps=count,
            kept=str(kept),
            loading_s=loading,
            seconds_a_query=statistics.median(times),
            slowest_s=max(times),
            solved_by_processor=statistics.median(solved),
            sweep_of_a_million_s=sweep * 1e6 / len(part),
        )


def _check_database(source: Perturbed, kept: MapsOnDevice, options: RerankOptions) -> None:
    """End the run unless the answer over the first maps is the processor's, to the bit."""
    few = InMemoryTokens(source.read(np.arange(min(len(source.ids), 2000))))
    query = Query(tokens=source.query(0))
    with_card, without = (
        rerank(query, few, options, narrow=narrow) for narrow in (MapsOnDevice(few, str(kept.device)).left, None)
    )
    if with_card.rows.tolist() != without.rows.tolist() or with_card.scores.tolist() != without.scores.tolist():
        raise SystemExit("hits or scores differ from the processor's")


def protocol(report: Report, sizes: Sizes, device: str, images: Path | None) -> None:
    """Solve every pair of the paper's 2,000 queries and 5,000 images, of float tokens in all channels."""
    queries, count, positions = sizes.protocol
    maps = token_maps(images, sizes.real, side=32 * round(positions**0.5))
    tokens = torch.from_numpy(maps).to(device)
    noise = torch.Generator(device=device).manual_seed(1)
    many = torch.cat([tokens] * -(-count // len(tokens)))[:count]
    many = many + 0.05 * many.std() * torch.randn(many.shape, generator=noise, device=device, dtype=many.dtype)
    x, y = DeviceMaps(tokens=many[:queries].contiguous()), DeviceMaps(tokens=many)
    numbers = torch.arange(count, device=device)
    gaps = 0.0
    _synchronise(device)
    begun = time.perf_counter()
    for query in range(queries):
        found, _ = match_pairs(x, y, torch.full_like(numbers, query), numbers)
        gaps = max(gaps, float(found.gaps.max()))
    _synchronise(device)
    seconds = time.perf_counter() - begun
    report.add(
        "protocol",
        queries=queries,
        database=count,
        S=positions,
        channels=maps.shape[2],
        seconds=seconds,
        pairs_a_second=queries * count / seconds,
        largest_gap=gaps,
    )


def matrix(report: Report, sizes: Sizes, device: str, images: Path | None) -> None:
    """Compare a set of images with itself under all kernels."""
    count, positions = sizes.matrix
    maps = token_maps(images, count, side=32 * round(positions**0.5))
    begun = time.perf_counter()
    found = semret.rsm(maps, kernel=["cosine", "linear", "rbf"], center="channel", device=device)
    seconds = time.perf_counter() - begun
    few = maps[: min(count, 12)]
    plain = semret.rsm(few, kernel="cosine", center=maps.mean(axis=(0, 1), dtype=np.float64))
    worst = float(np.abs(found["cosine"][: len(few), : len(few)] / plain - 1).max())
    report.add("matrix", images=count, S=positions, seconds=seconds, largest_difference=worst)


class Perturbed:
    """A large database of distinct maps made of a few real ones: each with small changes of its own."""

    def __init__(self, base: IntegerTokens, count: int) -> None:
        self.base, self.shape = base, base.shape[1:]
        self.ids = np.arange(count)
        rng = np.random.default_rng(2)
        self._changes = rng.integers(-9, 10, (61, *base.shape[1:])).astype(np.int8)

    @property
    def norms(self) -> np.ndarray:
        """Not known: the order of visits does not matter where little is left to visit."""
        return np.ones(len(self.ids))

    @property
    def means(self) -> np.ndarray:
        """See `norms`."""
        return np.zeros((len(self.ids), self.shape[1]), dtype=np.float32)

    @property
    def pooled(self) -> np.ndarray:
        """See `norms`."""
        return self.means

    def read(self, rows: np.ndarray) -> IntegerTokens:
        """Return these maps."""
        of = rows % len(self.base)
        # 61 changes, rolled by as many places as there are positions, make every map of a million another one.
        integers = self.base.integers[of].astype(np.int16)
        for place, row in enumerate(rows.tolist()):
            change = np.roll(self._changes[row % 61], row // 61 % self.shape[0], axis=0)
            integers[place] += change
        return IntegerTokens(integers=np.clip(integers, -127, 127).astype(np.int8), scales=self.base.scales[of])

    def query(self, number: int) -> IntegerTokens:
        """Return a map that is not in the database."""
        changed = self.read(np.array([len(self.ids) + 17 * number]))
        return IntegerTokens(integers=changed.integers[:, ::-1].copy(), scales=changed.scales[:, ::-1].copy())


def _as_integers(maps: np.ndarray, directions: int = 64) -> IntegerTokens:
    """Project centred tokens on their leading principal directions, and round each to int8 with a scale of its own."""
    count, positions, channels = maps.shape
    flat = maps.reshape(-1, channels).astype(np.float32)
    flat -= flat.mean(axis=0)
    basis = np.linalg.eigh(flat[:: max(1, len(flat) // 50_000)].T @ flat[:: max(1, len(flat) // 50_000)])[1]
    values = flat @ basis[:, ::-1][:, :directions]
    scales = np.maximum(np.abs(values).max(axis=1) / 127, np.float32(1e-30))
    integers = np.rint(values / scales[:, None]).astype(np.int8).reshape(count, positions, -1)
    return IntegerTokens(integers=integers, scales=scales.reshape(count, positions))


def _put(array: np.ndarray, device: str) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def _timed(work: Callable[[], Any], rounds: int, device: str) -> float:
    """Return the median seconds of some runs, after one that compiles."""
    work()
    _synchronise(device)
    times = []
    for _ in range(rounds):
        if device == "cpu":
            begun = time.perf_counter()
            work()
            times.append(time.perf_counter() - begun)
            continue
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        work()
        after.record()
        torch.cuda.synchronize(device)
        times.append(before.elapsed_time(after) / 1000)
    return statistics.median(times)


def _bandwidth(device: str) -> float:
    """Return how many bytes a second the device copies, read and written counted."""
    size = 1 << (20 if device == "cpu" else 30)
    source = torch.empty(size, dtype=torch.uint8, device=device)
    return 2 * size / _timed(source.clone, 5, device)


def _synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return str(value)


if __name__ == "__main__":
    main()
