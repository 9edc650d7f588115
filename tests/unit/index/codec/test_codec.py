from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from semret.errors import NonFiniteError, ShapeError
from semret.index.codec.codec import Codec, statistics
from semret.index.codec.fit import CodecFitter
from semret.index.codec.table import parse
from semret.integer_tokens import IntegerTokens
from tests.support.places import ROOT

NAMES = ["pca6-int8", "pca5-int4", "pca6-pq3"]


def maps(images=8, positions=7, channels=10, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=(images, positions, channels)) * np.arange(1, channels + 1) + 2, np.float32)


def fitted(name: str) -> Codec:
    fitter = CodecFitter(parse(name), 10, 10, pooled_directions=4)
    fitter.add(maps(), maps().mean(axis=1))
    return fitter.finish()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_stored_has_the_shapes_that_are_announced(name):
    codec = fitted(name)
    encoded, columns = codec.encode(maps()), codec.code_columns(7)
    assert encoded.codes.dtype == columns["tokens"][0]
    assert encoded.codes.shape == (8, *columns["tokens"][1])
    assert (encoded.scales is None) == ("scales" not in columns) == (codec.spec.kind == "pq")
    assert (codec.name, codec.channels, codec.dimension, codec.pooled_in, codec.pooled_out) == (
        name,
        10,
        codec.spec.dimension,
        10,
        4,
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_encoded_the_same_whatever_stands_beside_it(name):
    codec, tokens = fitted(name), maps()
    whole = codec.encode(tokens)
    pooled = codec.encode_pooled(tokens.mean(axis=1))
    for row in range(len(tokens)):
        alone = codec.encode(tokens[row : row + 1])
        np.testing.assert_array_equal(alone.codes[0], whole.codes[row])
        if whole.scales is not None:
            np.testing.assert_array_equal(alone.scales[0], whole.scales[row])
        np.testing.assert_array_equal(codec.encode_pooled(tokens[row : row + 1].mean(axis=1))[0], pooled[row])


@pytest.mark.parametrize(("name", "share"), [("pca6-int8", 0.5 / 127), ("pca5-int4", 0.5 / 7)])
@given(tokens=arrays(np.float32, (1, 3, 10), elements=st.floats(-1024, 1024, width=32)))
@settings(max_examples=60)
def test_coordinates_are_within_half_a_scale(name, share, tokens):
    codec = fitted(name)
    coordinates = codec.project(tokens).astype(np.float64)
    found = codec.tokens_of(tokens).as_floats()
    largest = np.abs(coordinates).max(axis=2, keepdims=True)
    assert (np.abs(found - coordinates) <= largest * share * (1 + 1e-4)).all()


@pytest.mark.parametrize("name", NAMES)
def test_energies_add_up_to_those_of_the_fit(name):
    codec = fitted(name)
    encoded = codec.encode(maps())
    assert math.isclose(encoded.kept.sum(), codec.fitted.kept, rel_tol=1e-4)
    assert math.isclose(encoded.total.sum(), codec.fitted.total, rel_tol=1e-4)


def test_codes_in_a_map_are_not_copied():
    codec = fitted("pca6-int8")
    encoded = codec.encode(maps())
    assert np.shares_memory(codec.decode(encoded.codes, encoded.scales).integers, encoded.codes)


def test_no_images_are_no_problem():
    for name in NAMES:
        codec = fitted(name)
        encoded = codec.encode(maps()[:0])
        assert codec.decode(encoded.codes, encoded.scales).shape == (0, 7, codec.dimension)
        assert codec.encode_pooled(np.empty((0, 10))).shape == (0, 4)


def test_with_all_directions_the_mean_brings_back_every_product():
    fitter = CodecFitter(parse("pca10-int8"), 10, 10)
    fitter.add(maps(), maps().mean(axis=1))
    codec = fitter.finish()
    found = codec.with_mean(codec.tokens_of(maps()))[0].astype(np.float64)
    wide = maps()[0].astype(np.float64)
    assert found.shape == (7, 11)
    np.testing.assert_allclose(found @ found.T, wide @ wide.T, rtol=0.02, atol=10)


def test_the_mean_has_a_part_beside_the_directions():
    # All tokens lie on a line three units from the origin.
    tokens = np.array([[[3, -4], [3, 4], [3, 8]]], np.float32)
    fitter = CodecFitter(parse("pca1-int8"), 2, 2)
    fitter.add(tokens, tokens.mean(axis=1))
    codec = fitter.finish()
    np.testing.assert_allclose(codec.origin, [8 / 3, 3], rtol=1e-6)
    np.testing.assert_allclose(codec.with_mean(codec.tokens_of(tokens))[0], [[-4, 3], [4, 3], [8, 3]], atol=0.03)


def test_statistics_are_those_of_the_stored_tokens():
    tokens = IntegerTokens(
        integers=np.array([[[3, 4], [0, 1]], [[0, 0], [0, 0]]], np.int8),
        scales=np.array([[2, 0.5], [0, 0]], np.float32),
    )
    means, norms = statistics(tokens)
    np.testing.assert_array_equal(means, [[3, 4.25], [0, 0]])
    np.testing.assert_array_equal(norms, [math.sqrt(100.25), 0])


def test_norms_do_not_depend_on_the_order_of_positions():
    codec = fitted("pca6-int8")
    tokens = codec.tokens_of(maps(images=20, positions=50, seed=3))
    order = np.random.default_rng(0).permutation(50)
    other = IntegerTokens(integers=tokens.integers[:, order], scales=tokens.scales[:, order])
    np.testing.assert_array_equal(statistics(tokens)[1], statistics(other)[1])


@pytest.mark.parametrize("name", NAMES)
def test_values_that_are_not_finite_are_refused(name):
    tokens = maps()
    tokens[3, 2, 1] = np.inf
    with pytest.raises(NonFiniteError, match="1 infinite"):
        fitted(name).encode(tokens)
    with pytest.raises(NonFiniteError, match="1 NaN"):
        fitted(name).encode_pooled(np.array([[np.nan] * 1 + [0.0] * 9]))


def test_other_shapes_are_refused():
    codec = fitted("pca6-int8")
    encoded = codec.encode(maps())
    with pytest.raises(ShapeError, match="the codec expects 10 channels"):
        codec.encode(maps(channels=9))
    with pytest.raises(ShapeError, match=r"expected 3 axes \(n, S, C\)"):
        codec.project(maps()[0])
    with pytest.raises(ShapeError, match="with scales"):
        codec.decode(encoded.codes, None)
    with pytest.raises(ShapeError, match=r"expects .* and int8"):
        codec.decode(encoded.codes.view(np.uint8), encoded.scales)
    with pytest.raises(ShapeError, match="the codec has 6 directions"):
        codec.encode_projected(np.zeros((1, 2, 5)))


_SCRIPT = """
import hashlib, numpy as np
from semret.index.codec.file import pack
from semret.index.codec.fit import CodecFitter
from semret.index.codec.table import parse
rng = np.random.default_rng(7)
tokens = np.maximum(rng.normal(size=(8, 144, 30)) @ rng.normal(size=(30, 320)), 0).astype(np.float32)
for name in ("pca64-int8", "pca64-int4", "pca64-pq16"):
    fitter = CodecFitter(parse(name), 320, 320)
    fitter.add(tokens, tokens.mean(axis=1))
    codec = fitter.finish()
    encoded = codec.encode(tokens)
    parts = [pack(codec)[0], encoded.codes.tobytes(), codec.encode_pooled(tokens.mean(axis=1)).tobytes()]
    print(*(hashlib.sha256(part).hexdigest() for part in parts))
"""


def test_processes_and_threads_change_no_byte():
    printed = set()
    for threads in ("1", "2", "8"):
        counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            env={**os.environ, **counts, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        printed.add(done.stdout)
    assert len(printed) == 1
