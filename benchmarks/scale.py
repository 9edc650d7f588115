"""What an index costs as it grows: made-up pictures through the real writer, each figure in a fresh process.

    python benchmarks/scale.py [--images 1000 100000] [--positions 16] [--directions 16] [--rounds 5] [--place FOLDER]

Pictures are names alone, and features are drawn at random around some centres; everything else is as in use: codec,
segments, catalog, commits, directory, shortlist. `unchanged`, `add`, `remove`, `compact` and `verify` are single runs,
in this order; the others medians. `busy` is processor time, which hardly depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from semret.index.backbones.features import Features
from semret.index.backbones.spec import Identity, Preprocessing
from semret.index.care.maintain import compact, remove
from semret.index.care.verify import verify
from semret.index.codec.table import parse
from semret.index.collection import open_collection
from semret.index.convert import new_fitter
from semret.index.store.codec_file import read_codec, write_codec
from semret.index.store.manifest import Manifest
from semret.index.store.root import Root
from semret.index.sync.changes import Changes
from semret.index.sync.loading import Loaded
from semret.index.sync.rows import make_rows
from semret.index.sync.sync import sync
from semret.index.writer import IndexWriter
from semret.retrieval.search.engine import SearchEngine

CHANNELS = 128
POOLED = 320
LATENT = 48
FOLDER = 1000
BATCH = 256
KNOWN = 100
"""So many of the pictures have a file with a content, and can be queries."""


class Drawn(Protocol):
    """Features of pictures by their numbers."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a map."""

    def features(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens (count, S, C) and pooled embeddings (count, P)."""


class Source:
    """Draws the features of pictures by their numbers."""

    def __init__(self, positions: int, images: int) -> None:
        chance = np.random.default_rng(0)
        self.grid, self._positions = (1, positions), positions
        self._centres = chance.standard_normal((max(20, images // 50), LATENT)).astype(np.float32)
        self._pooled = chance.standard_normal((LATENT, POOLED)).astype(np.float32)
        self._tokens = chance.standard_normal((LATENT, CHANNELS)).astype(np.float32)

    def features(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens (count, S, C) and pooled embeddings (count, P)."""
        chance = np.random.default_rng(first + 1)
        latent = self._centres[chance.integers(0, len(self._centres), count)]
        latent = latent + 0.5 * chance.standard_normal(latent.shape, dtype=np.float32)
        spread = chance.standard_normal((count, self._positions, LATENT), dtype=np.float32)
        tokens = (latent[:, None] + spread) @ self._tokens
        pooled = latent @ self._pooled + chance.standard_normal((count, POOLED), dtype=np.float32)
        return tokens, pooled


def manifest_of(grid: tuple[int, int], directions: int) -> Manifest:
    """Return the manifest of a network that there is not."""
    identity = Identity(
        backbone="none", family="timm", checkpoint="none", revision=None, weights_sha256="0" * 64,
        preprocessing=Preprocessing(size=(224, 224), mean=(0.5,) * 3, std=(0.5,) * 3), layer="last", pooled="mean",
        prefix_tokens=0, grid=grid, channels=CHANNELS, pooled_dim=POOLED,
    )  # fmt: skip
    return Manifest(identity=identity, codec=f"pca{directions}-int8", created="2026-01-01T00:00:00+00:00")


def picture(root: Path, number: int) -> Loaded:
    """Make the file of a picture, and return it as the loader would."""
    path = root / f"{number // FOLDER:05d}" / f"{number:08d}.jpg"
    if number % FOLDER == 0:
        path.parent.mkdir(parents=True)
    # The files of a folder are names of one, but for some of the first: a million small files would fill a disk.
    content, first = b"%d" % number, max(number // FOLDER * FOLDER, KNOWN)
    if number > first:
        path.hardlink_to(path.with_name(f"{first:08d}.jpg"))
    else:
        path.write_bytes(content)
    os.utime(path, ns=(10**18, 10**18))
    digest = hashlib.sha256(content).digest()
    return Loaded(str(path), path.stat().st_size, 10**18, digest, None, (640, 480), None, 2 * 10**18)


def write(index: Path, root: Path, first: int, count: int, source: Drawn, directions: int) -> None:
    """Put pictures into an index, making it if there is none."""
    with IndexWriter(index, may_create=True) as writer:
        if writer.exists:
            codec = read_codec(index, writer.manifest.codec_file)
        else:
            manifest = manifest_of(source.grid, directions)
            fitter = new_fitter(parse(manifest.codec), manifest, has_text=False)
            fitter.add(*source.features(0, min(count, BATCH)))
            codec = fitter.finish()
            writer.create(
                replace(manifest, codec_file=write_codec(index, codec)), Root.choose(index, [root]), "absolute"
            )
        changes = Changes(writer, BATCH)
        for start in range(first, first + count, BATCH):
            numbers = range(start, min(start + BATCH, first + count))
            loaded = [picture(root, number) for number in numbers]
            tokens, pooled = source.features(start, len(numbers))
            features = Features(tokens=tokens, pooled=pooled, grid=source.grid)
            changes.keep(loaded, make_rows(writer.manifest, codec, loaded, features))
            for one in loaded:
                changes.place(one)
            if changes.is_due:
                changes.commit()
        changes.commit()
        writer.refresh_shortlist()


# -- measured in a process of its own


@contextlib.contextmanager
def timed(figures: dict[str, float], name: str) -> Iterator[None]:
    """Note the seconds that a ``with`` block takes, and those of them in which the processor worked for it."""
    start, busy = time.perf_counter(), time.process_time()
    yield
    figures[name] = time.perf_counter() - start
    figures[f"{name}_busy"] = time.process_time() - busy


def measure_query(index: Path, root: Path) -> dict[str, float]:
    """Open, ask for a stored picture, ask for others."""
    pictures = [root / "00000" / f"{number:08d}.jpg" for number in range(20)]
    figures: dict[str, float] = {}
    with timed(figures, "open_seconds"):
        collection = open_collection(index)
    engine = SearchEngine(collection)
    with timed(figures, "first_query_seconds"):
        engine.query(pictures[0], shortlist=100)
    rounds: list[dict[str, float]] = []
    for path in pictures[1:]:
        rounds.append({})
        with timed(rounds[-1], "warm_query_seconds"):
            engine.query(path, shortlist=100)
    return figures | {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def measure_pooled(index: Path, root: Path) -> dict[str, float]:
    """Open, ask for the nearest pooled embeddings alone."""
    figures: dict[str, float] = {}
    engine = SearchEngine(open_collection(index))
    with timed(figures, "pooled_query_seconds"):
        engine.query(root / "00000" / "00000000.jpg", shortlist=100, invariance="pooled")
    return figures


def measure_unchanged(index: Path, root: Path) -> dict[str, float]:
    """Index the same folder again."""
    figures: dict[str, float] = {}
    with timed(figures, "unchanged_index_seconds"):
        report = sync(index, [root], lambda: sys.exit("nothing should have to be embedded"))
    assert (report.unchanged, report.removed) == (report.images, 0), report
    return figures


def measure_add(index: Path, root: Path) -> dict[str, float]:
    """Add a folder of pictures."""
    figures: dict[str, float] = {}
    with open_collection(index) as collection:
        count, (positions, directions) = len(collection), collection.shape
    with timed(figures, "add_1000_seconds"):
        write(index, root, count, FOLDER, Source(positions, count), directions)
    return figures


def measure_remove(index: Path, root: Path) -> dict[str, float]:
    """Take a folder of pictures out."""
    last = sorted(root.iterdir())[-1]
    figures: dict[str, float] = {}
    with timed(figures, "remove_1000_seconds"):
        remove(index, [last])
    return figures


def measure_compact(index: Path, root: Path) -> dict[str, float]:
    """Rewrite the segments that have lost rows."""
    del root
    figures: dict[str, float] = {}
    with timed(figures, "compact_seconds"):
        compact(index)
    return figures


def measure_verify(index: Path, root: Path) -> dict[str, float]:
    """Check every byte."""
    del root
    figures: dict[str, float] = {}
    with timed(figures, "verify_seconds"):
        report = verify(index)
    assert report.sound, report.defects[:3]
    return figures


MEASURES: dict[str, Callable[[Path, Path], dict[str, float]]] = {
    "query": measure_query,
    "pooled": measure_pooled,
    "unchanged": measure_unchanged,
    "add": measure_add,
    "remove": measure_remove,
    "compact": measure_compact,
    "verify": measure_verify,
}
REPEATED = ("query", "pooled")


def peak_megabytes() -> float:
    """Return the most memory that this process had resident; `ru_maxrss` would be the parent's if that had more."""
    status = Path("/proc/self/status")
    if status.exists():
        (found,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(found.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_process(name: str, index: Path, root: Path) -> dict[str, float]:
    """Run one of the measures in a fresh process; return its figures and the memory it took."""
    command = [sys.executable, __file__, "--measure", name, "--index", str(index), "--place", str(root)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def cold_command(index: Path, root: Path) -> dict[str, float]:
    """Return the seconds of ``semret query`` of a stored picture, as a whole process."""
    query = ["query", str(root / "00000" / "00000000.jpg"), "--index", str(index)]
    figures: dict[str, float] = {}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with timed(figures, "cold_command_seconds"):
        subprocess.run([sys.executable, "-m", "semret", *query], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures["cold_command_seconds_busy"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return figures


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def measure_all(place: Path, images: int, positions: int, directions: int, rounds: int) -> dict[str, float]:
    """Make an index of so many pictures, and measure everything on it."""
    index, root = place / f"index-{images}", place / f"pictures-{images}"
    figures: dict[str, float] = {"images": images}
    if not (index / "manifest.json").exists():
        with timed(figures, "write_seconds"):
            write(index, root, 0, images, Source(positions, images), directions)
    figures["bytes_an_image"] = size_of(index) / images
    figures["files"] = sum(1 for file in index.rglob("*") if file.is_file())
    repeated = [partial(in_process, name, index, root) for name in REPEATED]
    for measure in (*repeated, partial(cold_command, index, root)):
        found = [measure() for _ in range(rounds)]
        figures |= {key: statistics.median(one[key] for one in found) for key in found[0]}
    for name in MEASURES:
        if name not in REPEATED:
            figures |= in_process(name, index, root)
    return {key: round(value, 5) for key, value in figures.items()}


def main() -> None:
    """Measure, or be the process in which something is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--positions", type=int, default=16, help="S, tokens of a picture")
    parser.add_argument("--directions", type=int, default=16, help="d, of the codec")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--place", type=Path, help="folder to work in; an index that is there is measured as it is")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--index", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        figures = MEASURES[given.measure](given.index, given.place)
        print(json.dumps({**figures, f"{given.measure}_megabytes": peak_megabytes()}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(given.place or temporary)
        place.mkdir(exist_ok=True, parents=True)
        for images in given.images:
            print(json.dumps(measure_all(place, images, given.positions, given.directions, given.rounds), indent=2))


if __name__ == "__main__":
    main()
