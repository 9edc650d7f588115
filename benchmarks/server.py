"""Searches a second and latency of ``semret serve``: 1, 8 and 32 clients, stored and new pictures, and explanations.

    python benchmarks/server.py [--images FOLDER] [--seconds 5] [--rounds 2] [--also CHECKOUT ...] [-- SERVE OPTION ...]

Each round starts a server of this checkout, and of every other one that is named, and measures them in turn on the same
index. New pictures are files with a comment that makes each another content, so that none is known.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx2

import semret
from semret.eval.scenes.collection import render_collection

CLIENTS = (1, 8, 32)
_numbers = count()


@contextmanager
def serving(checkout: Path, index: Path, options: list[str]) -> Iterator[str]:
    """Run a server; give its address."""
    command = [sys.executable, "-m", "semret", "serve", "--port", "0", "--index", str(index), *options]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=index.parent, env=environment) as process:
        found = None
        while found is None:
            found = re.search(r"http://\S+", process.stderr.readline())
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        try:
            yield found[0].rstrip("/")
        finally:
            process.terminate()


def fresh(picture: bytes) -> bytes:
    """Return a JPEG with a comment that no other has."""
    text = str(next(_numbers)).encode()
    return picture[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + picture[2:]


def measure(ask: Callable[[httpx2.Client], Any], address: str, clients: int, seconds: float) -> list[float]:
    """Ask as fast as so many clients can, for a while; return the latencies, the number of them over the time first."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    def client() -> None:
        with httpx2.Client(base_url=address, timeout=120) as own:
            while time.perf_counter() < end:
                begin = time.perf_counter()
                ask(own)
                latencies.append(time.perf_counter() - begin)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [len(latencies) / (time.perf_counter() - begin), *sorted(latencies)]


def checked(answer: httpx2.Response) -> dict[str, Any]:
    if answer.status_code != 200:
        raise RuntimeError(answer.text)
    return answer.json()


def measure_server(address: str, pictures: list[bytes], seconds: float) -> dict[str, list[float]]:
    """Return for each kind of request and number of clients searches a second, median and 95th percentile."""
    ids, turn = len(pictures), count()

    def stored(client: httpx2.Client) -> None:
        checked(client.post("/api/search", json={"id": next(turn) % ids + 1}))

    def new(client: httpx2.Client) -> None:
        picture = fresh(pictures[next(turn) % ids])
        checked(client.post("/api/search", files=[("image", ("new.jpg", picture))]))

    found = {}
    with httpx2.Client(base_url=address, timeout=120) as client:
        new(client)
        for kind, ask in (("stored", stored), ("new", new)):
            for clients in CLIENTS:
                rate, *latencies = measure(ask, address, clients, seconds)
                found[f"{kind}, {clients} clients"] = [
                    rate, statistics.median(latencies), latencies[int(0.95 * (len(latencies) - 1))],
                ]  # fmt: skip
        explained = []
        for picture in pictures[:20]:
            picture = fresh(picture)
            checked(client.post("/api/search", files=[("image", ("new.jpg", picture))]))
            begin = time.perf_counter()
            checked(client.post("/api/explain", files=[("image", ("new.jpg", picture))], data={"id": 1}))
            explained.append(time.perf_counter() - begin)
        found["explanation after a search"] = [
            1 / statistics.mean(explained), statistics.median(explained), sorted(explained)[-2],
        ]  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="default: 200 rendered ones")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--also", type=Path, nargs="*", default=[])
    parser.add_argument("options", nargs="*", help="of semret serve, after --")
    arguments = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    results: dict[str, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as place:
        folder = arguments.images or Path(place, "photos")
        if arguments.images is None:
            render_collection(folder, 200, seed=0)
        index = Path(place, ".semret")
        semret.build(folder, index=index)
        pictures = [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))]
        for _ in range(arguments.rounds):
            for checkout in (here, *arguments.also):
                options = arguments.options if checkout == here else []
                with serving(checkout, index, options) as address:
                    for name, numbers in measure_server(address, pictures, arguments.seconds).items():
                        results[checkout.name][name].append(numbers)
    medians = {
        tree: {
            name: [round(statistics.median(column), 4) for column in zip(*rounds, strict=True)]
            for name, rounds in kinds.items()
        }
        for tree, kinds in results.items()
    }
    for name in next(iter(medians.values())):
        row = "; ".join(
            f"{tree} {rate:.1f}/s, median {middle * 1000:.0f} ms, 95th {high * 1000:.0f} ms"
            for tree, kinds in medians.items()
            for rate, middle, high in [kinds[name]]
        )
        print(f"{name:28} {row}")
    print(json.dumps({"processors": len(os.sched_getaffinity(0)), "load": os.getloadavg(), **medians}))


if __name__ == "__main__":
    main()
