"""The way of batches to a device and back, with the processor as the device."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from semret.errors import BackboneError, ShapeError
from semret.index.backbones.features import Features, Shrunk
from semret.index.backbones.feed import LANES
from semret.index.backbones.network import sum_tokens
from semret.index.backbones.pooling import pool, pool_sums
from tests.support.torch_networks import SIDE, FedNetwork


def pictures(count, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((SIDE, SIDE, 3)).astype(np.float32).transpose(2, 0, 1) for _ in range(count)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def halves(tokens):
    return {"tokens": tokens.half(), "open": tokens[:, 0, 0] > 0}


@pytest.mark.parametrize("pooled", ["mean", "gem", "model"])
@pytest.mark.parametrize("count", [1, 5])
def test_what_comes_back_is_what_the_network_gives(pooled, count):
    network, batch = FedNetwork(pooled), pictures(count)
    expected = network.embed(np.stack(batch))
    with network.streams(8) as streams:
        assert (streams.count, streams.pictures) == (LANES, 8)
        found = streams.feed.embed(batch, None)
    assert isinstance(found, Features)
    for name in ("tokens", "pooled", "logits"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.grid == expected.grid == (4, 4)


def test_what_is_made_of_tokens_comes_back_in_their_place_and_open_images_whole():
    network, batch = FedNetwork(), pictures(7)
    expected = network.embed(np.stack(batch))
    with network.streams(8) as streams:
        found = streams.feed.embed(batch, halves)
    assert isinstance(found, Shrunk)
    assert set(found.made) == {"tokens"}
    np.testing.assert_array_equal(found.made["tokens"], expected.tokens.astype(np.float16))
    np.testing.assert_array_equal(found.pooled, expected.pooled)
    left = [place for place in range(7) if expected.tokens[place, 0, 0] > 0]
    assert 0 < len(left) < 7
    assert sorted(found.whole) == left
    for place in left:
        np.testing.assert_array_equal(found.whole[place], expected.tokens[place])
    part = found.part(left[0], 7)
    assert sorted(part.whole) == [place - left[0] for place in left]
    np.testing.assert_array_equal(part.whole[0], expected.tokens[left[0]])


def test_where_there_is_no_float64_tokens_come_back_whole(monkeypatch):
    with FedNetwork().streams(8) as streams:
        monkeypatch.setattr(streams.feed, "_shrinks", False)
        assert isinstance(streams.feed.embed(pictures(2), halves), Features)


def test_a_batch_that_does_not_fit_is_run_in_halves():
    whole, small, batch = FedNetwork(), FedNetwork(largest=2), pictures(7)
    with whole.streams(8) as many, small.streams(8) as few:
        expected, found = many.feed.embed(batch, halves), few.feed.embed(batch, halves)
        tokens = few.feed.embed(batch, None).tokens
    assert small.sizes[:6] == [7, 3, 1, 2, 4, 2]
    np.testing.assert_allclose(found.made["tokens"], expected.made["tokens"], atol=2e-3)
    assert sorted(found.whole) == sorted(expected.whole)
    assert tokens.shape == (7, 16, 24)
    with pytest.raises(BackboneError, match=f"one picture of {SIDE}x{SIDE}"), FedNetwork(largest=0).streams(1) as none:
        none.feed.embed(batch[:1], halves)


def test_lanes_do_not_mix_up_their_pictures():
    network, batches = FedNetwork(), [pictures(1 + number % 3, number) for number in range(40)]
    expected = [network.embed(np.stack(batch)) for batch in batches]
    with network.streams(3) as streams, ThreadPoolExecutor(streams.count) as pool_:
        found = list(pool_.map(lambda batch: streams.feed.embed(batch, None), batches))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.tokens, other.tokens)
        np.testing.assert_array_equal(one.pooled, other.pooled)


@pytest.mark.parametrize("shrink", [None, halves])
def test_what_is_not_finite_is_refused(shrink):
    batch = pictures(3)
    batch[1][0, 5, 5] = np.nan
    with FedNetwork().streams(4) as streams:
        with pytest.raises(BackboneError, match="small gave NaN or infinity in float32"):
            streams.feed.embed(batch, shrink)
        assert len(streams.feed.embed(batch[:1], shrink).pooled) == 1  # the lane is free again


def test_a_picture_of_another_shape_is_refused():
    with FedNetwork().streams(4) as streams, pytest.raises(ShapeError, match=r"\(3, 32, 31\), small expects"):
        streams.feed.embed([*pictures(1), np.zeros((3, 32, 31), np.float32)], None)


@pytest.mark.parametrize("how", ["mean", "gem"])
@pytest.mark.parametrize("shape", [(1, 7, 3), (5, 256, 129), (64, 49, 33), (3, 1, 5), (1, 1000, 2)])
def test_sums_on_a_device_are_those_of_numpy(how, shape):
    rng = np.random.default_rng(0)
    tokens = (rng.standard_normal(shape) * np.exp(4 * rng.standard_normal(shape))).astype(np.float32)
    tokens[0, :, 0] = -0.0
    sums = sum_tokens(torch.from_numpy(tokens), how).numpy()
    assert pool_sums(sums, shape[1], how).tobytes() == pool(tokens, how).tobytes()
