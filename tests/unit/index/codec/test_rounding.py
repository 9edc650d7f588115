from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from semret.index.codec.quantiser import train_centroids
from semret.index.codec.rounding import Centroids, pack_pairs, round_tokens, unpack_pairs

coordinates = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(-(2.0**100), 2.0**100, width=32)
)


def test_a_token_is_rounded_with_its_own_scale():
    integers, scales = round_tokens(np.array([[127.0, 1.5, -2.5], [0.0, 0.0, 0.0], [-0.5, 0.24, 0.0]]), 127)
    assert integers.tolist() == [[127, 2, -2], [0, 0, 0], [-127, 61, 0]]
    np.testing.assert_array_equal(scales, np.array([1, 0, 0.5 / 127], np.float32))
    assert round_tokens(np.array([[7.0, -1.0]]), 7)[0].tolist() == [[7, -1]]


@pytest.mark.parametrize("largest", [7, 127])
@given(tokens=coordinates)
@settings(max_examples=100)
def test_each_coordinate_is_within_half_a_scale(tokens, largest):
    integers, scales = round_tokens(tokens, largest)
    assert np.abs(integers).max() <= largest
    wide = scales.astype(np.float64)[:, None]
    # Scales that are no normal float32 hold few digits: there the largest integer is cut.
    normal = (wide >= 2.0**-126).ravel()
    error = np.abs(tokens - wide * integers)[normal]
    assert (error <= wide[normal] * (0.5 + largest * 2.0**-24)).all()
    assert not integers[(tokens == 0).all(axis=1)].any()


@given(
    arrays(np.int8, array_shapes(min_dims=1, max_dims=3, max_side=9), elements=st.integers(-8, 7)),
)
def test_pairs_are_unpacked_as_they_were(integers):
    packed = pack_pairs(integers)
    assert packed.dtype == np.uint8
    assert packed.shape == (*integers.shape[:-1], -(-integers.shape[-1] // 2))
    np.testing.assert_array_equal(unpack_pairs(packed, integers.shape[-1]), integers)


def test_the_first_of_a_pair_is_the_lower_half():
    assert pack_pairs(np.array([1, -1, 7], np.int8)).tolist() == [0xF1, 0x07]


def test_parts_name_the_nearest_centroid_the_first_of_equals():
    integers = np.zeros((2, 256, 1), np.int8)
    integers[0, :3, 0] = [10, -10, 10]
    integers[1, 5, 0] = 100
    centroids = Centroids(integers=integers, scale=0.5)
    codes = centroids.nearest(np.array([[6.0, 26.0], [-1e9, 24.0], [2.5, 1e300]]))
    assert codes.tolist() == [[0, 5], [1, 0], [0, 5]]
    assert centroids.decode(codes[None]).tolist() == [[[10, 100], [-10, 0], [10, 100]]]


def test_a_codec_without_energy_names_the_first_centroid():
    centroids = train_centroids(np.zeros((3, 4)), 2)
    assert centroids.scale == 0
    assert centroids.nearest(np.zeros((2, 4))).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("rows", [1, 3, 255, 256, 257, 1000])
def test_few_tokens_are_their_own_centroids(rows):
    tokens = np.random.default_rng(3).normal(size=(rows, 6))
    centroids = train_centroids(tokens, 3)
    decoded = centroids.scale * centroids.decode(centroids.nearest(tokens)[None])[0]
    assert np.abs(decoded - tokens).max() <= (centroids.scale * 0.51 if rows <= 256 else 2.0)
    assert np.abs(centroids.integers).max() == 127


def test_centroids_are_the_same_each_time():
    tokens = np.random.default_rng(4).normal(size=(2000, 8))
    first, second = train_centroids(tokens, 4), train_centroids(tokens, 4)
    np.testing.assert_array_equal(first.integers, second.integers)
    assert first.scale == second.scale


@pytest.mark.parametrize("power", [-100, -51, 0, 51, 70, 120])
def test_centroids_of_any_magnitude_are_those_of_ordinary_tokens(power):
    # FAISS aborts the process where squares of float32 overflow.
    tokens = np.random.default_rng(4).normal(size=(600, 8))
    usual, scaled = train_centroids(tokens, 4), train_centroids(np.ldexp(tokens, power), 4)
    np.testing.assert_array_equal(scaled.integers, usual.integers)
    assert scaled.scale == np.ldexp(usual.scale, power)
