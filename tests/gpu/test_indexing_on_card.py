"""Indexing on a card: what is stored is what the processor would have stored of the same tokens, to the byte."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from semret.index.backbones.pooling import pool, pool_sums
from semret.index.codec.fit import CodecFitter
from semret.index.codec.table import parse
from semret.index.collection import open_collection
from semret.index.device_encoding import DeviceEncoder, round_to_half
from semret.index.encoding import encode, finish_encoding
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.torch_networks import FedNetwork

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="gpu: torch finds no CUDA device"),
]


def maps(count, positions, channels, scale=1.0):
    rng = np.random.default_rng(0)
    spread = rng.random((count, 1, channels)) * 3
    return np.asarray((rng.standard_normal((count, positions, channels)) * spread + 1) * scale, np.float32)


@pytest.mark.parametrize("name", ["pca64-int8", "pca128-int8", "pca64-int4", "pca63-int4", "pca64-pq16"])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e-44])
def test_codes_of_the_card_are_those_of_the_processor(name, scale):
    tokens = maps(40, 256, 384, scale)
    fitter = CodecFitter(parse(name), 384, 384, pooled_directions=64)
    fitted_on = maps(40, 256, 384) if "pq" in name else tokens
    fitter.add(fitted_on, pool(fitted_on))
    codec = fitter.finish()
    tokens[1], tokens[2] = 0, codec.tokens.mean
    made = {key: value.cpu().numpy() for key, value in DeviceEncoder(codec)(torch.from_numpy(tokens).cuda()).items()}
    kept = np.flatnonzero(~made.pop("open"))
    assert len(kept) > 35
    found = finish_encoding(codec, {key: value[kept] for key, value in made.items()}, pool(tokens)[kept])
    for key, value in encode(codec, tokens[kept], pool(tokens)[kept]).items():
        assert value is None or found[key].tobytes() == value.tobytes(), key


def test_halves_and_sums_of_the_card_are_those_of_the_processor():
    from semret.index.backbones.network import sum_tokens

    tokens = maps(5, 256, 384) * np.float32(1e-4)
    given = torch.from_numpy(tokens).cuda()
    assert round_to_half(given)["tokens"].cpu().numpy().tobytes() == tokens.astype(np.float16).tobytes()
    for how in ("mean", "gem"):
        assert pool_sums(sum_tokens(given, how).cpu().numpy(), 256, how).tobytes() == pool(tokens, how).tobytes()


def test_an_index_is_made_through_lanes(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(150):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / f"{number:03d}.png")
    options = SyncOptions(batch_size=16, fit_from=64, codec="pca12-int8")
    for name, device in (("card", "cuda"), ("processor", "cpu")):
        report = sync(tmp_path / name, [folder], lambda device=device: FedNetwork(device=device), options=options)
        assert (report.embedded, report.images) == (150, 150)
    with open_collection(tmp_path / "card") as card, open_collection(tmp_path / "processor") as processor:
        paths = [sorted(path for path, _, _ in one.files()) for one in (card, processor)]
        assert paths[0] == paths[1]


def test_memory_that_runs_out_on_the_card_halves_the_batch():
    network = FedNetwork(device="cuda", largest=3)
    rng = np.random.default_rng(0)
    batch = [rng.standard_normal((3, 32, 32)).astype(np.float32) for _ in range(8)]
    with network.streams(8) as streams:
        found = streams.feed.embed(batch, round_to_half)
    np.testing.assert_allclose(found.made["tokens"], FedNetwork().embed(np.stack(batch)).tokens, atol=5e-3)
