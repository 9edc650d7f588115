"""What codecs cost and gain: the first answer by exact matching of what they store, against full tokens.

    python benchmarks/codecs.py [--egoobjects FOLDER ...] [--cityscapes FOLDER ...] [--seeds 1 2 3] [--scenes 20]

Every picture of a set is a query for all others but those of its own video. F1@1 (IoU@1 for Cityscapes) of the first
answer by exact matching, cosine, centred; by MaxSim of the same tokens; and the difference of each to the matching of
full tokens with its paired 95 % interval, scenes resampled. A codec is fitted on up to 256 pictures of the set, spread
evenly, as at indexing; then also on 16 and 64 of them, and on each other set. Pooled embeddings as they come, and as a
codec stores them: their first answer, and the share of queries whose best matched answer (default codec) is among
their first 20 and 100. Rendered sets, one for each seed, in addition to the folders.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from documents import conditions

from semret.eval.data.cityscapes import load_cityscapes
from semret.eval.data.dataset import Dataset
from semret.eval.data.egoobjects import load_egoobjects
from semret.eval.scenes.egoobjects_layout import make_egoobjects
from semret.eval.statistics import compare_means, estimate_mean
from semret.index.backbones.registry import create_backbone
from semret.index.codec.codec import Codec
from semret.index.codec.describe import describe
from semret.index.codec.file import pack
from semret.index.codec.fit import FIT_IMAGES, CodecFitter
from semret.index.codec.table import TESTED, default_codec, parse
from semret.index.pictures.decode import decode_image
from semret.retrieval.similarity.rsm import rsm

LENGTHS = (20, 100)
DEFAULT = default_codec("embedded")


@dataclass(frozen=True)
class Pictures:
    """A data set, its tokens (N, S, C) in float16 and its pooled embeddings (N, P) in float32."""

    dataset: Dataset
    tokens: np.ndarray
    pooled: np.ndarray

    @property
    def allowed(self) -> np.ndarray:
        """Which picture may answer which, (N, N)."""
        return self.dataset.videos[:, None] != self.dataset.videos[None, :]


def embed(dataset: Dataset) -> Pictures:
    """Return the features of the default backbone."""
    backbone = create_backbone()
    size = backbone.identity.preprocessing.size
    batches = (backbone.prepare(decode_image(path, reduce_to=size))[None] for path in dataset.paths)
    found = [(one.tokens.astype(np.float16), one.pooled) for one in map(backbone.embed, batches)]
    return Pictures(dataset, *(np.concatenate(part) for part in zip(*found, strict=True)))


def fit(name: str, pictures: Pictures, most: int = FIT_IMAGES) -> Codec:
    """Return a codec fitted on pictures spread evenly over a set."""
    chosen = np.unique(np.linspace(0, len(pictures.tokens) - 1, min(most, len(pictures.tokens))).round().astype(int))
    fitter = CodecFitter(parse(name), pictures.tokens.shape[2], pictures.pooled.shape[1])
    fitter.add(pictures.tokens[chosen], pictures.pooled[chosen])
    return fitter.finish()


def cosines(vectors: np.ndarray) -> np.ndarray:
    """Return (N, N) cosines."""
    wide = vectors.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide @ wide.T)


def judged(pictures: Pictures, scores: np.ndarray) -> np.ndarray:
    """Return the measure of each query's first answer."""
    scores = np.where(pictures.allowed, scores, -np.inf)
    queries = np.flatnonzero(pictures.allowed.any(axis=1))
    return np.asarray(pictures.dataset.judge(queries, scores[queries].argmax(axis=1)))


def compared(pictures: Pictures, scores: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    """Return the mean of a ranking, and its difference to another one's values."""
    groups = pictures.dataset.scenes[np.flatnonzero(pictures.allowed.any(axis=1))]
    values = judged(pictures, scores)
    mean, change = estimate_mean(values, groups=groups), compare_means(values, reference, groups=groups)
    rounded = [round(value, 4) for value in (change.mean, change.low, change.high)]
    return {"mean": round(mean.mean, 4), "change": rounded}


def stored(pictures: Pictures, codec: Codec, invariance: str = "permutation") -> np.ndarray:
    """Return (N, N) cosines of the maps as a codec stores them."""
    return rsm(codec.tokens_of(pictures.tokens).as_floats(), kernel="cosine", invariance=invariance)


def measure_codec(name: str, pictures: Pictures, reference: np.ndarray) -> dict[str, Any]:
    """Return size, energy and answers of one codec."""
    codec = fit(name, pictures)
    described = describe(codec, pictures.tokens.shape[1])
    return {
        "kB a map": round(described.bytes / 1000, 1),
        "kB of its file": round(len(pack(codec)[0]) / 1000),
        "energy": round(described.energy_fit, 4),
        "matched": compared(pictures, stored(pictures, codec), reference),
        "maxsim": compared(pictures, stored(pictures, codec, "maxsim"), reference),
    }


def measure_fit(codec: Codec, pictures: Pictures, reference: np.ndarray) -> dict[str, Any]:
    """Return what a codec that was fitted elsewhere keeps of a set, and its answers."""
    encoded = codec.encode(pictures.tokens)
    described = describe(
        codec, pictures.tokens.shape[1], kept=float(encoded.kept.sum()), total=float(encoded.total.sum())
    )
    return {
        "energy at the fit": round(described.energy_fit, 4),
        "energy now": round(described.energy_now, 4),
        "a refit would pay": described.refit_pays,
        "matched": compared(pictures, stored(pictures, codec), reference),
    }


def measure_pooled(pictures: Pictures, codecs: dict[str, Codec], best: np.ndarray) -> dict[str, Any]:
    """Return first answers and recall of pooled embeddings, full and as codecs store them."""
    ways = {"full": cosines(pictures.pooled - pictures.pooled.mean(axis=0, dtype=np.float64))}
    ways |= {name: cosines(codec.encode_pooled(pictures.pooled)) for name, codec in codecs.items()}
    queries = np.flatnonzero(pictures.allowed.any(axis=1))
    reference, found = judged(pictures, ways["full"]), {}
    for name, scores in ways.items():
        scores = np.where(pictures.allowed, scores, -np.inf)
        rank = (scores > scores[np.arange(len(best)), best][:, None]).sum(axis=1)[queries]
        recall = {str(length): round(float((rank < length).mean()), 4) for length in LENGTHS}
        found[name] = {**compared(pictures, scores, reference), "recall": recall}
    return found


def measure(name: str, sets: dict[str, Pictures], whole: dict[str, Codec]) -> dict[str, Any]:
    """Return everything of one set, given the default codec of every set."""
    pictures = sets[name]
    full = rsm(pictures.tokens, kernel="cosine", center="channel")
    reference = judged(pictures, full)
    maxsim = rsm(pictures.tokens, kernel="cosine", center="channel", invariance="maxsim")
    codecs = {"16": fit(DEFAULT, pictures, 16), "64": fit(DEFAULT, pictures, 64), str(FIT_IMAGES): whole[name]}
    others = {other: codec for other, codec in whole.items() if other != name}
    best = np.where(pictures.allowed, stored(pictures, codecs[str(FIT_IMAGES)]), -np.inf).argmax(axis=1)
    return {
        "pictures": len(pictures.dataset),
        "measure": pictures.dataset.measure,
        "full tokens": {
            "kB a map": round(pictures.tokens[0].nbytes / 1000, 1),
            "matched": compared(pictures, full, reference),
            "maxsim": compared(pictures, maxsim, reference),
        },
        "codecs": {codec: measure_codec(codec, pictures, reference) for codec in TESTED[1:]},
        f"{DEFAULT} fitted on": {
            fitted: measure_fit(codec, pictures, reference) for fitted, codec in {**codecs, **others}.items()
        },
        "pooled, projection fitted on": measure_pooled(pictures, {**codecs, **others}, best),
    }


def main() -> None:
    """Measure every set, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--egoobjects", type=Path, nargs="*", default=[], help="folders in EgoObjects layout")
    parser.add_argument("--cityscapes", type=Path, nargs="*", default=[], help="folders in Cityscapes layout")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3], help="of rendered sets")
    parser.add_argument("--scenes", type=int, default=20, help="scenes of a rendered set")
    given = parser.parse_args()
    sets = {folder.name: embed(load_egoobjects(folder, aspect="any")) for folder in given.egoobjects}
    sets |= {folder.name: embed(load_cityscapes(folder)[0]) for folder in given.cityscapes}
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as place:
            make_egoobjects(Path(place, "set"), scenes=given.scenes, seed=seed)
            sets[f"rendered, seed {seed}"] = embed(load_egoobjects(Path(place, "set")))
    found: dict[str, Any] = {"conditions": conditions("onnxruntime", "numpy", "faiss-cpu", "pillow")}
    whole = {name: fit(DEFAULT, pictures) for name, pictures in sets.items()}
    for name in sets:
        found[name] = measure(name, sets, whole)
        # It takes minutes for each: what is done is shown.
        print(json.dumps({name: found[name]}), file=sys.stderr, flush=True)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
