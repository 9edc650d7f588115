"""What is stored of tokens is the same to the byte, whether they are encoded on the network's device or here."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semret.errors import BackboneError, NonFiniteError
from semret.index import device_encoding
from semret.index.backbones.features import Features, Shrunk
from semret.index.backbones.pooling import pool
from semret.index.codec.fit import CodecFitter
from semret.index.codec.table import parse
from semret.index.device_encoding import DeviceEncoder, shrink_for
from semret.index.encoding import encode, finish_encoding
from semret.index.sync.loading import Loaded
from semret.index.sync.report import SyncOptions, new_manifest
from semret.index.sync.rows import make_rows
from tests.support.torch_networks import FedNetwork

POSITIONS, CHANNELS = 16, 24
NAMES = ["pca12-int8", "pca24-int8", "pca11-int4", "pca8-int4", "pca12-pq3", "pca999-int8"]


def maps(count=9, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    spread = rng.random((count, 1, CHANNELS)) * 3
    return np.asarray((rng.standard_normal((count, POSITIONS, CHANNELS)) * spread + 1) * scale, np.float32)


def fitted(name, scale=1.0):
    fitter = CodecFitter(parse(name), CHANNELS, CHANNELS, pooled_directions=10)
    fitter.add(maps(40, 1, scale), maps(40, 1, scale).mean(axis=1))
    return fitter.finish()


def shrunk(shrink, tokens):
    """Do as a `Feed` does."""
    made = {name: tensor.numpy() for name, tensor in shrink(torch.from_numpy(tokens)).items()}
    whole = {int(place): tokens[place] for place in np.flatnonzero(made.pop("open"))}
    return Shrunk(made, whole, pool(tokens), (4, 4))


def assert_same_bytes(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        if array is None:
            assert found[name] is None
        else:
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
            assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1.0, 1e-30, 3e20, 1e-44])
def test_the_bytes_are_those_of_the_processor(name, scale):
    codec = fitted(name, 1.0 if "pq" in name else scale)  # FAISS trains centroids of ordinary size only
    tokens = maps(scale=scale)
    tokens[1] = 0
    tokens[2] = codec.tokens.mean
    tokens[3, 5:] = tokens[3, 5]
    tokens[4] *= np.float32(1e3)
    pooled = tokens.mean(axis=1)
    found = shrunk(DeviceEncoder(codec), tokens)
    assert not found.whole
    assert_same_bytes(finish_encoding(codec, found.made, pooled), encode(codec, tokens, pooled))


@given(seed=st.integers(0, 2**32), exponent=st.floats(-40, 35), name=st.sampled_from(NAMES))
@settings(max_examples=40, deadline=None)
def test_the_bytes_are_the_same_of_any_tokens(seed, exponent, name):
    rng = np.random.default_rng(seed)
    codec = fitted(name)
    tokens = rng.standard_normal((3, POSITIONS, CHANNELS)) * 10.0 ** (exponent * rng.random((3, POSITIONS, 1)))
    tokens = tokens.astype(np.float32)
    found = shrunk(DeviceEncoder(codec), tokens)
    kept = [place for place in range(3) if place not in found.whole]
    made = {key: array[kept] for key, array in found.made.items()}
    pooled = np.zeros((len(kept), CHANNELS), np.float32)
    assert_same_bytes(finish_encoding(codec, made, pooled), encode(codec, tokens[kept], pooled))


def test_a_batch_is_worked_on_in_parts_without_a_trace(monkeypatch):
    codec, tokens = fitted("pca12-int8"), maps(9)
    whole = shrunk(DeviceEncoder(codec), tokens).made
    monkeypatch.setattr(device_encoding, "_NUMBERS", 2 * POSITIONS * CHANNELS)
    assert_same_bytes(shrunk(DeviceEncoder(codec), tokens).made, whole)


def test_a_norm_whose_last_bit_hangs_on_the_order_of_sums_is_left_to_the_processor():
    # Of a number that lies in the middle between two of float32, the square root is rounded either way.
    codec = fitted("pca12-int8")
    half = 1 + 2.0**-24
    encoder = DeviceEncoder(replace(codec, tokens=replace(codec.tokens, mean=np.zeros(CHANNELS, np.float32))))
    tokens = np.zeros((2, POSITIONS, CHANNELS), np.float32)
    tokens[:, 0, 0] = 1
    tokens[1, 0, 1] = np.sqrt(half * half - 1)
    tokens[1, 0, 2] = np.sqrt(max(half * half - np.square(tokens[1], dtype=np.float64).sum(), 0))
    assert list(shrunk(encoder, tokens).whole) == [1]


def manifest(**options):
    return new_manifest(FedNetwork().identity, SyncOptions(**options))


def batch(count):
    return [Loaded(f"{number}.png", 1, 1, bytes([number]) * 32, picture=(3, 4)) for number in range(count)]


def rows_of(made, *, codec=None, tokens, open_=()):
    found = shrunk(shrink_for(made, codec), tokens)
    found = replace(found, whole={**found.whole, **{place: tokens[place] for place in open_}})
    return make_rows(made, codec, batch(len(tokens)), found)


@pytest.mark.parametrize("name", ["none", "pca12-int8", "pca11-int4", "pca12-pq3"])
def test_rows_are_the_same_also_of_images_that_were_left_open(name):
    codec, tokens = (None if name == "none" else fitted(name)), maps()
    made = manifest(codec=name)
    found = rows_of(made, codec=codec, tokens=tokens, open_=(0, 4))
    expected = make_rows(made, codec, batch(9), Features(tokens, pool(tokens), (4, 4)))
    names = [field.name for field in fields(expected) if field.name != "norms"]
    assert_same_bytes({n: getattr(found, n) for n in names}, {n: getattr(expected, n) for n in names})
    # Without a codec, these hang in their last bit on how many images are summed at a time.
    np.testing.assert_allclose(found.norms, expected.norms, rtol=0 if codec else 1e-14)


def test_what_cannot_be_stored_is_refused_as_by_the_processor():
    tokens = maps(3)
    tokens[1, 2, 3] = 1e5
    with pytest.raises(BackboneError, match=r"1e\+05 for 1\.png, beyond the range of float16"):
        rows_of(manifest(codec="none"), tokens=tokens)
    codec = fitted("pca12-int8")
    tokens[1] = 3e38 * np.sign(codec.tokens.directions[0].astype(np.float32))
    with pytest.raises(NonFiniteError, match="tokens is too large for float32 once it is projected"):
        rows_of(manifest(codec="pca12-int8"), codec=codec, tokens=tokens)


def test_tokens_come_back_whole_where_nothing_smaller_is_stored():
    assert shrink_for(manifest(dtype="float32"), None) is None
    assert shrink_for(manifest(codec="pca12-int8"), None) is None  # not fitted yet
    codec = fitted("pca12-int8")
    assert shrink_for(manifest(codec="pca12-int8"), codec) is shrink_for(manifest(codec="pca12-int8"), codec)
