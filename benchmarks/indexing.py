"""Indexing rate against the bare forward pass of the same pictures, alternated in one process.

    python benchmarks/indexing.py [--images FOLDER] [--copies 1] [--rounds 5] [--readme README.md]

The forward passes get inputs that are already in memory; indexing reads, hashes, decodes and prepares the files, runs
the same network, and commits. Loading the network counts for none of them. There are three forward passes:

* ``batches``: one batch after another, as the network's library runs it, on all of torch's threads;
* ``pictures``: the same, but each picture alone, as indexing runs a small network;
* ``streams``: pictures shared out over the cores as indexing does it (`Backbone.streams`), memory kept between them:
  the fastest arrangement that we know, and what indexing would reach if everything else took no time.

Indexing is done with the default codec and with ``--codec none`` (``uncoded``), which fits and encodes nothing.

The processor seconds of everything else are the difference of the last one to indexing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from documents import as_sentence, conditions, put_between_markers

from semret.eval.scenes.collection import render_collection
from semret.index.backbones.registry import DEFAULT_BACKBONE, create_backbone
from semret.index.backbones.spec import Backbone
from semret.index.codec.table import NO_CODEC
from semret.index.pictures.decode import decode_image
from semret.index.pictures.find import FoundImage, find_images
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync


def split(inputs: Sequence[np.ndarray], size: int) -> list[np.ndarray]:
    """Return the inputs in batches, in the order in memory that the network prepared them in."""
    return [np.stack(inputs[start : start + size]) for start in range(0, len(inputs), size)]


def run_one_by_one(backbone: Backbone, batches: list[np.ndarray]) -> None:
    for batch in batches:
        backbone.embed(batch)


def run_in_streams(backbone: Backbone, inputs: Sequence[np.ndarray], batch_size: int) -> None:
    with backbone.streams(batch_size) as streams, ThreadPoolExecutor(streams.count) as pool:
        for _ in pool.map(backbone.embed, split(inputs, streams.pictures)):
            pass


def index(backbone: Backbone, folder: Path, batch_size: int, codec: str | None = None) -> float:
    """Index the folder anew; return the bytes that a picture takes in the index."""
    options = SyncOptions(batch_size=batch_size, codec=codec)
    with tempfile.TemporaryDirectory() as place:
        report = sync(Path(place, "index"), [folder], lambda: backbone, options=options)
    if report.skipped:
        raise SystemExit(f"{report.skipped[0]}: give a folder of readable pictures")
    return report.bytes_per_image


def measure(folder: Path, model: str, rounds: int, batch_size: int) -> dict[str, Any]:
    """Return medians of the times of each way, and of the ratios to indexing round by round."""
    backbone = create_backbone(model)
    size = backbone.identity.preprocessing.size
    files = [found.path for found in find_images([folder]) if isinstance(found, FoundImage)]
    inputs = [backbone.prepare(decode_image(file, reduce_to=size)) for file in files]
    batches, singles = split(inputs, batch_size), split(inputs, 1)
    ways: dict[str, Callable[[], object]] = {
        "batches": lambda: run_one_by_one(backbone, batches),
        "pictures": lambda: run_one_by_one(backbone, singles),
        "streams": lambda: run_in_streams(backbone, inputs, batch_size),
        "indexing": lambda: index(backbone, folder, batch_size),
        "uncoded": lambda: index(backbone, folder, batch_size, NO_CODEC),
    }
    run_one_by_one(backbone, singles[:2])
    wall: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started, used = time.perf_counter(), time.process_time()
            way()
            wall[name].append(time.perf_counter() - started)
            processor[name].append(time.process_time() - used)
    ratios = {
        name: statistics.median(alone / indexed for alone, indexed in zip(wall[name], wall["indexing"], strict=True))
        for name in ways
        if name != "indexing"
    }
    return {
        "model": model,
        "images": len(files),
        "rounds": rounds,
        "batch_size": batch_size,
        "conditions": conditions("onnxruntime", "pillow", "numpy"),
        "bytes_per_image": index(backbone, folder, batch_size),
        "images_per_second": {name: len(files) / statistics.median(taken) for name, taken in wall.items()},
        "processor_ms_per_image": {
            name: 1e3 * statistics.median(taken) / len(files) for name, taken in processor.items()
        },
        "rate_of_indexing_over": ratios,
    }


def sentences(found: dict[str, Any]) -> str:
    """Return what the README says of indexing."""
    rates, ratios = found["images_per_second"], found["rate_of_indexing_over"]
    return (
        f"Indexing with the default model: {rates['indexing']:.0f} pictures a second, "
        f"{found['bytes_per_image'] / 1000:.0f} kB each. The network by itself, on pictures decoded before, does "
        f"{rates['streams']:.0f} a second in the arrangement that indexing uses, {rates['batches']:.0f} in batches of "
        f"{found['batch_size']}, one after another. As ratios within a round: {ratios['streams']:.2f} of the one, "
        f"{ratios['batches']:.2f} of the other.\n"
        f"<sub>`python benchmarks/indexing.py`: {found['images']} rendered pictures of 640 x 480, medians of "
        f"{found['rounds']} alternated rounds; {as_sentence(found['conditions'])}.</sub>"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readme", type=Path, help="put the sentences into this file, between their markers")
    parser.add_argument("--images", type=Path, help="folder of pictures; default: 96 rendered ones")
    parser.add_argument("--copies", type=int, default=1, help="files made of each picture, of different content")
    parser.add_argument("--model", default=DEFAULT_BACKBONE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        source, folder = given.images, Path(place, "pictures")
        if source is None:
            source = Path(place, "rendered")
            render_collection(source, 96, seed=0)
        folder.mkdir()
        for found in find_images([source]):
            if isinstance(found, FoundImage):
                for copy in range(given.copies):
                    # A byte behind the picture: the same pixels, another content.
                    content = Path(found.path).read_bytes() + bytes([copy])
                    (folder / f"{copy:03d}-{Path(found.path).name}").write_bytes(content)
        found = measure(folder, given.model, given.rounds, given.batch_size)
    print(json.dumps(found, indent=2))
    if given.readme:
        put_between_markers(given.readme, "indexing.py", sentences(found))


if __name__ == "__main__":
    main()
