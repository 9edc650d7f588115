"""Pictures become maps and embeddings without an index, and the same as in one."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import semret
from semret.errors import ArgumentError, ImageDecodeError, ShapeError
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.networks import TinyBackbone


def test_any_forms_and_batches_give_the_features_of_an_index(tmp_path, photos):
    sync(tmp_path / "index", [photos], TinyBackbone, options=SyncOptions(dtype="float32"))
    paths = sorted(photos.glob("*.png"))
    with semret.open_index(tmp_path / "index") as engine:
        expected, pooled = engine.tokens(paths), np.asarray(engine.collection.features.pooled)
    stream = paths[5].open("rb")
    forms = [
        paths[0],
        paths[1].read_bytes(),
        Image.open(paths[2]),
        np.asarray(Image.open(paths[3])),
        torch.tensor(np.asarray(Image.open(paths[4]))).permute(2, 0, 1),
        stream,
    ]
    seen: list[tuple[int, int]] = []
    with stream:
        found = semret.embed(forms, model=TinyBackbone(), batch_size=4, progress=lambda *now: seen.append(now))
    assert np.array_equal(found.tokens, expected)
    assert found.tokens.dtype == np.float32
    assert np.array_equal(found.pooled, pooled)
    assert (found.grid, found.model, len(found)) == ((3, 3), "tiny", 6)
    assert found.names == (str(paths[0]), *["<image>"] * 4, str(paths[5]))
    assert found.sizes == ((32, 24),) * 6
    assert seen == [(0, 6), (4, 6), (6, 6)]
    assert repr(found) == "<Embeddings of 6 by tiny: tokens (6, 9, 12), pooled (6, 12), grid (3, 3)>"


def test_one_picture_a_batch_and_none(photos):
    network = TinyBackbone()
    assert semret.embed(photos / "0.png", model=network).tokens.shape == (1, 9, 12)
    batch = np.stack([np.asarray(Image.open(photos / f"{n}.png")) for n in range(3)])
    together = semret.embed(batch, model=network)
    assert np.array_equal(together.tokens, semret.embed(iter(batch), model=network, workers=1).tokens)
    assert np.array_equal(together.tokens, semret.embed(batch.transpose(0, 3, 1, 2), model=network).tokens)
    assert semret.embed([], model=network).tokens.shape == (0, 9, 12)


def test_the_network_is_loaded_by_name_with_its_settings(photos, rendered_index):
    found = semret.embed([photos / "0.png"], model="efficientnet-lite0", size=(64, 96))
    assert (found.grid, found.model) == ((2, 3), "efficientnet-lite0")


def test_a_bar_is_drawn_on_request(photos, capsys):
    semret.embed(sorted(photos.glob("*.png")), model=TinyBackbone(), progress=True)
    assert "embedding: 100%" in capsys.readouterr().err


def test_what_is_wrong_is_named(tmp_path, photos):
    network, good = TinyBackbone(), photos / "0.png"
    with pytest.raises(ImageDecodeError, match=r"nix\.png: no such file"):
        semret.embed([good, photos / "nix.png"], model=network)
    with pytest.raises(ShapeError, match="picture 1 of 2, counted from 0: the picture is an array"):
        semret.embed([good, np.zeros((2, 2, 2, 2))], model=network)
    with pytest.raises(ArgumentError, match=r"is a folder, expected pictures.*semret\.build"):
        semret.embed(photos, model=network)
    with pytest.raises(ArgumentError, match="precision, size: the network is loaded already"):
        semret.embed(good, model=network, size=(8, 8), precision="bfloat16")
    with pytest.raises(ArgumentError, match="model is of type int"):
        semret.embed(good, model=3)
    with pytest.raises(ArgumentError, match="batch_size is 0"):
        semret.embed(good, model=network, batch_size=0)


def test_the_default_network_needs_no_torch(photos):
    code = (
        f"import sys, semret; semret.embed({str(photos / '0.png')!r}, size=(64, 64), progress=True);"
        "print(*[name for name in ('torch', 'timm', 'transformers', 'faiss', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
