"""Pooled embeddings as answers and as shortlists: the mean of the tokens against their generalised mean (GeM, p = 3).

    python benchmarks/pooling.py [--egoobjects FOLDER ...] [--cityscapes FOLDER ...] [--seeds 0 1 2] [--scenes 48]

Every picture of a set is a query for all others but those of its own video. F1@1 (IoU@1 for Cityscapes) of the first
answer by pooled cosine and by exact matching (channel-centred), and the share of queries whose best matched answer is
among the first 20 and 100 pooled ones. Rendered sets, one for each seed, in addition to the folders. Intervals are
95 %, scenes resampled.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from documents import conditions

from semret.eval.data.cityscapes import load_cityscapes
from semret.eval.data.dataset import Dataset
from semret.eval.data.egoobjects import load_egoobjects
from semret.eval.scenes.egoobjects_layout import make_egoobjects
from semret.eval.statistics import compare_means, estimate_mean
from semret.index.backbones.pooling import POOLINGS, pool
from semret.index.backbones.registry import create_backbone
from semret.index.pictures.decode import decode_image
from semret.retrieval.similarity.rsm import rsm

LENGTHS = (20, 100)


def embed(dataset: Dataset) -> np.ndarray:
    """Return (N, S, C) float16 tokens of the default backbone."""
    backbone = create_backbone()
    size = backbone.identity.preprocessing.size
    batches = (backbone.prepare(decode_image(path, reduce_to=size))[None] for path in dataset.paths)
    return np.concatenate([backbone.embed(batch).tokens.astype(np.float16) for batch in batches])


def pooled_cosines(tokens: np.ndarray, how: str) -> np.ndarray:
    """Return (N, N) cosines of centred pooled embeddings."""
    pooled = np.concatenate([pool(one[None].astype(np.float32), how) for one in tokens]).astype(np.float64)
    pooled -= pooled.mean(axis=0)
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    return np.asarray(pooled @ pooled.T)


def measure(dataset: Dataset) -> dict[str, Any]:
    """Return scores, differences and recalls of one data set."""
    tokens = embed(dataset)
    allowed = dataset.videos[:, None] != dataset.videos[None, :]
    ways = {how: pooled_cosines(tokens, how) for how in POOLINGS}
    ways["permutation"] = rsm(tokens, kernel="cosine", center="channel")
    ways = {name: np.where(allowed, scores, -np.inf) for name, scores in ways.items()}
    queries = np.flatnonzero(allowed.any(axis=1))
    judged = {name: dataset.judge(queries, scores[queries].argmax(axis=1)) for name, scores in ways.items()}
    groups = dataset.scenes[queries]
    best = ways["permutation"].argmax(axis=1)
    recall = {}
    for how in POOLINGS:
        rank = (ways[how] > ways[how][np.arange(len(best)), best][:, None]).sum(axis=1)[queries]
        recall[how] = {str(length): float((rank < length).mean()) for length in LENGTHS}
    difference = compare_means(judged["gem"], judged["mean"], groups=groups)
    return {
        "pictures": len(dataset),
        "queries": len(queries),
        "measure": dataset.measure,
        "first answer": {
            name: [round(value, 4) for value in (found.mean, found.low, found.high)]
            for name, found in ((name, estimate_mean(values, groups=groups)) for name, values in judged.items())
        },
        "gem minus mean": [round(value, 4) for value in (difference.mean, difference.low, difference.high)],
        "recall of the matched best": recall,
    }


def main() -> None:
    """Measure every set, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--egoobjects", type=Path, nargs="*", default=[], help="folders in EgoObjects layout")
    parser.add_argument("--cityscapes", type=Path, nargs="*", default=[], help="folders in Cityscapes layout")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of rendered sets")
    parser.add_argument("--scenes", type=int, default=48, help="scenes of a rendered set")
    given = parser.parse_args()
    found: dict[str, Any] = {"conditions": conditions("onnxruntime", "numpy", "pillow")}
    for folder in given.egoobjects:
        found[folder.name] = measure(load_egoobjects(folder, aspect="any"))
    for folder in given.cityscapes:
        found[folder.name] = measure(load_cityscapes(folder)[0])
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as place:
            make_egoobjects(Path(place, "set"), scenes=given.scenes, seed=seed)
            found[f"rendered, seed {seed}"] = measure(load_egoobjects(Path(place, "set")))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
