"""How a cluster behaves that is larger than what is at hand: a simulation with measured constants.

    python benchmarks/cluster_simulation.py [--measure] [--images 1e6 1e7 1e8] [--machines 1 10 100]

Two things are simulated. *Indexing*: workers take portions of 256 pictures one after another, for times drawn around
the measured rate; one committer enters what they bring, in the order in which it comes; a machine that dies costs the
portions that it had. *A search*: the front asks every shard in each round and
waits for the slowest. `--measure` measures the committer here; the other constants come from the documents named beside
them. Nothing of this was run on more than one machine. Networks and shared disks are taken to keep up, and constants to
hold at any size: the figures say where the software ends, not what a cloud gives.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from semret.cluster.portions import Done, Job, Portion, Worker
from semret.cluster.run import ClusterRun, Crew
from semret.index.backbones.features import Features
from semret.index.backbones.spec import Backbone, Identity, Preprocessing
from semret.index.pictures.files import read_file
from semret.index.store.staged import stage_segment
from semret.index.sync.loading import Loaded
from semret.index.sync.pipeline import Embedded
from semret.index.sync.report import SyncOptions
from semret.index.sync.rows import make_rows
from semret.index.sync.sync import sync

PORTION = 256
CORES = 16
"""Of a machine; each is one worker."""

HOURS_BETWEEN_DEATHS = 1000.0
"""Of one machine."""


@dataclass(frozen=True)
class Costs:
    """Seconds, unless it says bytes; of one thread.

    Attributes
    ----------
    picture : float
        A worker's, for a picture: 48 to 58 a second (docs/cluster.md, efficientnet-lite0 at 256 x 256).
    spread : float
        Standard deviation of a portion's time, as a share.
    entered : float
        The committer's, for a picture: listed, compared with the catalog, placed, committed. `--measure`.
    worded, listed : float
        The committer's at the end, for a picture: words for regions (docs/adr/0015), and lists of the shortlist in an
        index of a million (docs/adr/0013); half of the latter grows with the root of their number.
    call : float
        The front's, for a call to a shard (docs/cluster-search.md).
    rounds : int
        Calls to every shard, one after another, of a search with a shortlist (docs/cluster-search.md).
    late : float
        Mean of the exponential by which a call's answer is late.
    scanned : float
        A shard's, for a pooled embedding that is scanned (docs/adr/0013), of the share of lists that is searched.
    share : float
    reranked : float
        For 100 candidates on one thread (docs/adr/0012, 144 tokens).
    bounded : float
        A shard's, for an image in a search of everything (docs/cluster-search.md: 600 ms for 20,000).
    embedded : float
        The front's, for a new picture (README).
    stored, catalog : int
        Bytes of a picture in the index at 144 tokens (README), and in the catalog (docs/cluster.md).
    shard : int
        Bytes that a shard holds for a picture (docs/cluster-search.md).
    """

    picture: float = 1 / 53
    spread: float = 0.2
    entered: float = 0.0
    worded: float = 0.75e-3
    listed: float = 0.24e-3
    call: float = 0.8e-3
    rounds: int = 5
    late: float = 1e-3
    scanned: float = 0.3e-6
    share: float = 0.19
    reranked: float = 9e-3
    bounded: float = 30e-6
    embedded: float = 25e-3
    stored: int = 12_000
    catalog: int = 200
    shard: int = 272


# -- what the committer costs


class Names(Backbone):
    """A network that is asked for its name alone."""

    def __init__(self) -> None:
        self.identity = Identity(
            backbone="none", family="timm", checkpoint="none", revision=None, weights_sha256="0" * 64,
            preprocessing=Preprocessing(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3), layer="last", pooled="mean",
            prefix_tokens=0, grid=(4, 4), channels=16, pooled_dim=16,
        )  # fmt: skip
        self.spec = SimpleNamespace(name="none")

    def prepare(self, image: object) -> np.ndarray:
        """Refuse: there is no network."""
        raise NotImplementedError

    def embed(self, batch: object) -> Features:
        """Refuse: there is no network."""
        raise NotImplementedError


class Here:
    """A `semret.cluster.run.Pool` in this process, whose own time is counted: what is left is the driver's."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def map(self, job: Job, known: np.ndarray, portions: list[Portion]) -> Iterator[Done]:
        """Give made-up features, or segments of them, of whatever the files hold."""
        del known
        for portion in portions:
            begun = time.process_time()
            done = self._done(job, portion)
            self.seconds += time.process_time() - begun
            yield done

    def _done(self, job: Job, portion: Portion) -> Done:
        loaded = []
        for found in portion.files:
            content = read_file(found.path)
            digest = bytes.fromhex(content.sha256)
            loaded.append(
                Loaded(found.path, content.size, content.mtime_ns, digest, None, (64, 64), None, content.read_ns)
            )
        chance = np.random.default_rng(portion.first_id)
        tokens = chance.standard_normal((len(loaded), 16, 16), dtype=np.float32)
        features = Features(tokens=tokens, pooled=tokens.mean(axis=1), grid=(4, 4))
        worker = Worker(node="here", process=1)
        if not job.writes:
            return Done(worker=worker, files=loaded, embedded=[Embedded(loaded, loaded, features)])
        rows = make_rows(job.manifest, job.codec, loaded, features)
        ids = {one.sha256: portion.first_id + place for place, one in enumerate(loaded)}
        rows.ids[:] = list(ids.values())
        staged = stage_segment(Path(job.index), job.manifest, [rows])
        return Done(worker=worker, files=loaded, ids=ids, staged=staged)


def measure_committer(images: int) -> float:
    """Return the seconds of processor time that the driver spends on a picture, without workers'."""
    with tempfile.TemporaryDirectory() as place:
        for number in range(images):
            path = Path(place, "photos", f"{number // 1000:04d}", f"{number:08d}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"%d" % number)
        pool = Here()
        crew = Crew(pool=pool, load=Names, threads=1)
        begun = time.process_time()
        report = sync(
            Path(place, "index"),
            [Path(place, "photos")],
            Names,
            options=SyncOptions(codec="none", commit_rows=PORTION),
            make_run=partial(ClusterRun, crew=crew),
        )
        seconds = time.process_time() - begun - pool.seconds
        if report.added != images:
            raise SystemExit(f"{report.added} of {images} pictures were entered")
        return seconds / images


# -- indexing


def simulate_indexing(costs: Costs, images: int, machines: int) -> dict[str, float]:
    """Return what indexing takes: hours, the share of it that the committer works, pictures embedded again.

    Of very many portions, a tenth or a hundredth are simulated and the rest is alike.
    """
    chance = np.random.default_rng(0)
    portions = max(1, images // PORTION)
    scale = max(1, portions // 40_000)
    portions //= scale
    workers = machines * CORES
    queue = [(0.0, worker) for worker in range(min(workers, portions))]
    heapq.heapify(queue)
    free = busy = 0.0
    given = 0
    entered = costs.entered * PORTION
    while queue:
        now, worker = heapq.heappop(queue)
        if given >= portions:
            break
        took = max(0.1, chance.normal(1, costs.spread)) * costs.picture * PORTION
        given += 1
        free = max(free, now + took) + entered
        busy += entered
        # A worker has two portions at a time: it goes on while the committer is busy, and waits if that falls behind.
        heapq.heappush(queue, (max(now + took, free - 2 * workers * entered), worker))
    seconds = free * scale
    end = images * (costs.worded + costs.listed * (0.5 + 0.5 * (images / 1e6) ** 0.5))
    return {
        "hours": (seconds + end) / 3600,
        "a second": images / (seconds + end),
        "committer": busy * scale / max(seconds, 1e-9),
        "end": end / 3600,
        # Every machine that dies costs two portions of each of its workers.
        "again": machines * seconds / 3600 / HOURS_BETWEEN_DEATHS * 2 * CORES * PORTION,
    }


# -- search


def simulate_search(
    costs: Costs, images: int, shards: int, *, threads: int = CORES, queries: int = 2000
) -> dict[str, float]:
    """Return median and 95th percentile, in milliseconds, of a stored picture with a shortlist of 100, and of all."""
    chance = np.random.default_rng(0)
    own = images / shards

    def rounds(work: list[float]) -> np.ndarray:
        total = np.zeros(queries)
        for seconds in work:
            late = chance.exponential(costs.late, (queries, shards)).max(axis=1)
            total += shards * costs.call + late + seconds
        return total

    scan = own * costs.share * costs.scanned
    rerank = costs.reranked / min(shards, 100)
    short = 1000 * rounds([scan, *[rerank / (costs.rounds - 1)] * (costs.rounds - 1)])
    every = 1000 * rounds([own * costs.bounded / threads, *[rerank] * costs.rounds])
    return {
        "median": float(np.median(short)),
        "p95": float(np.percentile(short, 95)),
        "all": float(np.median(every)),
        "gigabytes": own * costs.shard / 1e9,
    }


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=float, nargs="+", default=[1e6, 1e7, 1e8])
    parser.add_argument("--machines", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument(
        "--measure", type=int, nargs="?", const=20_000, help="pictures that the committer is measured on"
    )
    parser.add_argument(
        "--entered", type=float, help="seconds of the committer for a picture, as --measure prints them"
    )
    options = parser.parse_args()
    costs = Costs()
    if options.entered is not None:
        costs = replace(costs, entered=options.entered)
    if options.measure:
        costs = replace(costs, entered=measure_committer(options.measure))
        print(f"the committer takes {costs.entered * 1e6:.0f} us of processor time for a picture\n")
    if not costs.entered:
        parser.error("say what the committer takes: --measure, or --entered SECONDS")
    print("| images | machines | hours | pictures a second | committer busy | at the end, hours | embedded again |")
    print("|---|---|---|---|---|---|---|")
    for images in map(int, options.images):
        for machines in options.machines:
            found = simulate_indexing(costs, images, machines)
            print(
                f"| {images:,} | {machines} | {found['hours']:.2f} | {found['a second']:,.0f} | "
                f"{100 * found['committer']:.0f} % | {found['end']:.2f} | {found['again']:.0f} |"
            )
    print()
    print(
        "| images | shards | index, GB | catalog, GB | memory of a shard, GB | shortlist, ms (95 %) | all images, ms |"
    )
    print("|---|---|---|---|---|---|---|")
    for images in map(int, options.images):
        for shards in options.machines:
            found = simulate_search(costs, images, shards)
            print(
                f"| {images:,} | {shards} | {images * costs.stored / 1e9:,.0f} | {images * costs.catalog / 1e9:,.1f} | "
                f"{found['gigabytes']:.2f} | {found['median']:.0f} ({found['p95']:.0f}) | {found['all']:,.0f} |"
            )


if __name__ == "__main__":
    main()
