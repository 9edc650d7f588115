"""Indexing rate against the bare forward pass of the same batches, alternated in one process.

    python benchmarks/indexing.py [--images FOLDER] [--rounds 5]

The forward pass gets inputs that are already in memory; indexing reads, hashes, decodes and prepares the files, runs
the same network on batches of the same size, and commits. Both use the same torch threads; loading the network counts
for neither.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from semret.eval.scenes import render_collection
from semret.index.backbones.registry import DEFAULT_BACKBONE, create_backbone
from semret.index.backbones.spec import Backbone
from semret.index.build import SyncOptions, sync
from semret.index.images import decode_image, find_images


def forward(backbone: Backbone, batches: list[np.ndarray]) -> float:
    """Return images per second of the network alone."""
    start = time.perf_counter()
    for batch in batches:
        backbone.embed(batch)
    return sum(map(len, batches)) / (time.perf_counter() - start)


def index(backbone: Backbone, folder: Path, batch_size: int) -> tuple[float, float]:
    """Return images per second and bytes per image of indexing into a new directory."""
    with tempfile.TemporaryDirectory() as place:
        options = SyncOptions(batch_size=batch_size)
        report = sync(Path(place, "index"), [folder], lambda: backbone, options=options)
    return report.images_per_second, report.bytes_per_image


def measure(folder: Path, model: str, rounds: int, batch_size: int) -> dict[str, object]:
    """Return medians of both and of their ratio, round by round."""
    backbone = create_backbone(model)
    size = backbone.identity.preprocessing.size
    files = [found.path for found in find_images([folder]) if hasattr(found, "size")]
    inputs = [backbone.prepare(decode_image(file, reduce_to=size)) for file in files]
    batches = [np.stack(inputs[start : start + batch_size]) for start in range(0, len(inputs), batch_size)]
    forward(backbone, batches[:2])
    pairs = []
    for _ in range(rounds):
        alone = forward(backbone, batches)
        indexed, stored = index(backbone, folder, batch_size)
        pairs.append((alone, indexed, indexed / alone))
    alone, indexed, ratio = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {
        "model": model,
        "images": len(files),
        "rounds": rounds,
        "forward_images_per_second": alone,
        "index_images_per_second": indexed,
        "ratio": ratio,
        "bytes_per_image": stored,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of pictures; default: rendered ones")
    parser.add_argument("--model", default=DEFAULT_BACKBONE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = given.images
        if folder is None:
            folder = Path(place, "pictures")
            render_collection(folder, 96, seed=0)
        print(json.dumps(measure(folder, given.model, given.rounds, given.batch_size), indent=2))


if __name__ == "__main__":
    main()
