"""Token maps for the benchmarks: of a folder's pictures or generated scenes, and of crops where more are wanted."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from semret.eval.scenes import render_collection
from semret.index.backbones.registry import create_backbone
from semret.index.pictures.decode import FoundImage, decode_image, find_images

BATCH = 16


def token_maps(folder: Path | None, count: int, *, side: int, channels: int | None = None, seed: int = 0) -> np.ndarray:
    """Return (count, S, C) float16 tokens of the embedded backbone at `side` x `side` pixels.

    The first maps are those of whole pictures; if there are too few, random crops (55 to 95 % of each side, half of
    them mirrored) follow. `channels` keeps only the first.
    """
    rng = np.random.default_rng(seed)
    backbone = create_backbone(size=(side, side))
    with tempfile.TemporaryDirectory() as scratch:
        source = folder
        if source is None:
            source = Path(scratch)
            render_collection(source, min(count, 200), seed)
        files = [found.path for found in find_images([source]) if isinstance(found, FoundImage)]
        maps = []
        for start in range(0, count, BATCH):
            numbers = range(start, min(start + BATCH, count))
            pictures = [_picture(files[n % len(files)], rng if n >= len(files) else None) for n in numbers]
            tokens = backbone.embed(np.stack([backbone.prepare(picture) for picture in pictures])).tokens
            maps.append(tokens[:, :, :channels].astype(np.float16))
    return np.concatenate(maps)


def _picture(path: str, rng: np.random.Generator | None) -> Image.Image:
    picture = decode_image(path)
    if rng is None:
        return picture
    width, height = (int(side * rng.uniform(0.55, 0.95)) for side in picture.size)
    left, top = rng.integers(picture.width - width + 1), rng.integers(picture.height - height + 1)
    part = picture.crop((left, top, left + width, top + height))
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


class Resident:
    """Candidates in memory: a `semret.retrieval.search.candidates.TokenSource`. Reading all of them copies nothing."""

    def __init__(self, tokens: np.ndarray) -> None:
        self.tokens, self.shape = tokens, tokens.shape[1:]
        self.ids = np.arange(len(tokens))
        self.norms = np.array([np.linalg.norm(map_.astype(np.float64)) for map_ in tokens])
        self.means = tokens.mean(axis=1, dtype=np.float32)
        self.pooled = self.means

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return the tokens of these candidates."""
        return self.tokens if len(rows) == len(self.tokens) else self.tokens[rows]
