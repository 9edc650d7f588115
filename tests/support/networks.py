"""A small backbone that keeps the real contract."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from semret.index.backbones.features import Features
from semret.index.backbones.spec import Backbone, BackboneSpec, Identity, Preprocessing

SIDE = 24
GRID = (3, 3)
CHANNELS = 12


class TinyBackbone(Backbone):
    """Tokens are a fixed random projection of 8 x 8 patches: deterministic, quick, and it tells pictures apart."""

    def __init__(self, name: str = "tiny", seed: int = 0, scale: float = 1.0) -> None:
        preprocessing = Preprocessing(size=(SIDE, SIDE), mean=(0.5,) * 3, std=(0.5,) * 3)
        self.spec = BackboneSpec(
            name=name,
            family="timm",
            checkpoint=name,
            licence="none",
            reference="tests.support.networks",
            preprocessing=preprocessing,
            grid=GRID,
            channels=CHANNELS,
        )
        self.weights = np.random.default_rng(seed).standard_normal((3 * 64, CHANNELS)).astype(np.float32) * scale / 14
        self.identity = Identity(
            backbone=name,
            family="timm",
            checkpoint=name,
            revision=None,
            weights_sha256=hashlib.sha256(self.weights.tobytes()).hexdigest(),
            preprocessing=preprocessing,
            layer="last",
            pooled="mean",
            prefix_tokens=0,
            grid=GRID,
            channels=CHANNELS,
            pooled_dim=CHANNELS,
        )
        self.embedded = 0

    def prepare(self, image: Image.Image) -> np.ndarray:
        pixels = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float32)
        return (pixels.transpose(2, 0, 1) / 255 - 0.5) / 0.5

    def embed(self, batch: np.ndarray) -> Features:
        self.embedded += len(batch)
        count, rows, columns = len(batch), *GRID
        patches = batch.reshape(count, 3, rows, 8, columns, 8).transpose(0, 2, 4, 1, 3, 5)
        flat = patches.reshape(count, rows * columns, 3 * 64)
        # One product for each image: what a picture gives does not depend on its batch.
        tokens = np.stack([one @ self.weights for one in flat])
        return Features(tokens=tokens, pooled=tokens.mean(axis=1), grid=GRID)
