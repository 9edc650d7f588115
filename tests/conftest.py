"""Shared by all tests: a small backbone that keeps the real contract, and pictures."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from PIL import Image

from semret.index.backbones.spec import Backbone, BackboneSpec, Features, Identity, Preprocessing

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
            reference="this file",
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


def draw(seed: int, size: tuple[int, int] = (32, 24)) -> Image.Image:
    """Return a picture of random blocks; another seed gives another picture."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)


@pytest.fixture(scope="session")
def tiny_backbone():
    """The class, for tests that make networks of their own: ``tiny_backbone(name, seed, scale)``."""
    return TinyBackbone


@pytest.fixture(scope="session")
def draw_picture():
    """The function `draw`: ``draw_picture(seed)`` gives a PIL picture."""
    return draw


@pytest.fixture
def photos(tmp_path):
    """A folder of six pictures, ``0.png`` to ``5.png``."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(6):
        draw(seed).save(folder / f"{seed}.png")
    return folder


@pytest.fixture
def tiny_index(tmp_path, photos):
    """An index of `photos` made with the tiny backbone; its directory."""
    from semret.index.sync.sync import sync

    sync(tmp_path / ".semret", [photos], TinyBackbone)
    return tmp_path / ".semret"


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """A folder of twelve rendered pictures: three scenes of four arrangements, ``scene-001-1.jpg`` and so on."""
    from semret.eval.scenes.collection import render_collection

    folder = tmp_path_factory.mktemp("rendered") / "photos"
    render_collection(folder, 12, seed=1)
    return folder


@pytest.fixture(scope="session")
def rendered_index(rendered):
    """An index of `rendered` by the real default network at a small input size (16 tokens); its directory."""
    from semret.index.backbones.registry import create_backbone
    from semret.index.sync.sync import sync

    index = rendered.parent / ".semret"
    sync(index, [rendered], lambda: create_backbone(size=(128, 128)))
    return index


class Faults:
    """Runs index commands in processes that may be killed; see ``fault_driver.py``."""

    def __init__(self) -> None:
        driver = Path(__file__).with_name("fault_driver.py")
        self._process = subprocess.Popen(
            [sys.executable, str(driver)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, do: str, index: Path, paths: list[Path] | None = None, **job: object) -> dict:
        """Run ``sync``, ``remove`` or ``compact`` with the tiny backbone; return status, passed checkpoints, error."""
        job = {"do": do, "index": str(index), "paths": [str(path) for path in paths or []], **job}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the driver."""
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture(scope="session")
def faults():
    """A `Faults`: ``faults("sync", index, [folder], kill_at=3)``."""
    runner = Faults()
    yield runner
    runner.close()


def contents_of(index: Path) -> dict[str, tuple]:
    """Return what an index shows, by path: id, hash of the file, and every feature, all of it read and checked."""
    from semret.index.collection import open_collection

    with open_collection(index) as collection:
        ids = collection.ids
        return {
            path: (id_, sha, tokens.tobytes(), pooled.tobytes(), mean.tobytes(), norm)
            for (path, _, _), id_, sha, tokens, pooled, mean, norm in zip(
                collection.files(),
                ids.tolist(),
                collection.hashes(ids),
                collection.tokens(ids),
                np.asarray(collection.features.pooled),
                np.asarray(collection.features.means),
                collection.features.norms.tolist(),
                strict=True,
            )
        }


@pytest.fixture(scope="session")
def index_contents():
    """The function `contents_of`."""
    return contents_of
