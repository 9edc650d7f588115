from __future__ import annotations

import math

import numpy as np
import pytest

from semret.errors import ArgumentError, NonFiniteError, ShapeError
from semret.index.codec.codec import Codec
from semret.index.codec.eigenvectors import principal_directions
from semret.index.codec.file import pack
from semret.index.codec.fit import CodecFitter
from semret.index.codec.moments import Moments
from semret.index.codec.table import parse


def maps(images=6, positions=9, channels=12, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(images, positions, 4)) @ rng.normal(size=(4, channels))
    return np.asarray(values + 0.1 * rng.normal(size=values.shape) + 3, dtype=np.float32)


def fitted(name: str, tokens: np.ndarray, **options) -> Codec:
    fitter = CodecFitter(parse(name), tokens.shape[2], tokens.shape[2], **options)
    fitter.add(tokens, tokens.mean(axis=1))
    return fitter.finish()


def test_principal_directions_of_four_points_by_hand():
    # Centre (2, 3); scatter [[16, 16], [16, 20]] times nothing: along (3, 4) / 5 by 10 and 5, across by 1.
    along, across = np.array([0.6, 0.8]), np.array([-0.8, 0.6])
    points = np.array([2.0, 3.0]) + np.stack([10 * along, -10 * along, across, -across])
    codec = fitted("pca1-int8", points[None].astype(np.float32))
    np.testing.assert_allclose(codec.tokens.mean, [2, 3], atol=1e-6)
    np.testing.assert_allclose(codec.tokens.directions, [along], atol=2.0**-11)
    assert codec.fitted.images == 1
    assert math.isclose(codec.fitted.kept, 200, rel_tol=1e-3)
    assert math.isclose(codec.fitted.total, 202, rel_tol=1e-3)
    np.testing.assert_allclose(codec.project(points[None])[0, :, 0], [10, -10, 0, 0], atol=0.01)


def test_the_largest_component_of_a_direction_is_positive_the_first_of_equals():
    vectors = principal_directions(np.array([[2.0, -1.0], [-1.0, 2.0]]), 2)
    np.testing.assert_allclose(vectors, np.array([[1, -1], [1, 1]]) / math.sqrt(2), atol=1e-12)


def test_moments_are_those_of_all_rows():
    tokens = maps(channels=5)
    moments = Moments(5)
    for image in tokens:
        moments.add(image)
    flat = tokens.reshape(-1, 5).astype(np.float64)
    np.testing.assert_allclose(moments.mean(), flat.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(moments.scatter(), np.cov(flat.T, bias=True) * len(flat), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["pca4-int8", "pca4-pq2"])
def test_batches_change_no_byte(name):
    tokens = maps(images=7)
    whole = pack(fitted(name, tokens))[0]
    fitter = CodecFitter(parse(name), 12, 12)
    for part in (tokens[:1], tokens[1:4], tokens[4:]):
        fitter.add(part, part.mean(axis=1))
    assert len(fitter) == 7
    assert pack(fitter.finish())[0] == whole


def test_moments_of_large_maps_are_exact_in_blocks():
    # Whole numbers below 2^20: sums are exact, whatever the block.
    rows = np.random.default_rng(5).integers(-(2**19), 2**19, size=(9000, 2)).astype(np.float32)
    rows[0, 0] = 2**19
    moments = Moments(2)
    moments.add(rows)
    wide = rows.astype(np.int64)
    mean = wide.sum(axis=0) / len(wide)
    assert moments.mean().tolist() == mean.tolist()
    np.testing.assert_allclose(moments.scatter(), wide.T @ wide - len(wide) * np.outer(mean, mean), rtol=1e-12)


@pytest.mark.parametrize("name", ["pca64-int8", "pca64-int4", "pca64-pq4"])
def test_there_are_never_more_directions_than_channels(name):
    codec = fitted(name, maps(images=1, positions=1))
    assert codec.dimension == 12
    np.testing.assert_allclose(codec.project(maps(images=1, positions=1)), 0, atol=1e-5)
    assert np.isfinite(codec.tokens_of(maps()).as_floats()).all()


def test_parts_divide_the_directions_that_there_are():
    with pytest.raises(ArgumentError, match="cuts 12 directions into 8 parts"):
        fitted("pca64-pq8", maps())


def test_pooled_embeddings_are_stored_in_the_range_of_half_precision():
    tokens = maps() * np.float32(2.0**40)
    codec = fitted("pca4-int8", tokens, pooled_directions=5)
    stored = codec.encode_pooled(tokens.mean(axis=1))
    assert stored.dtype == np.float16
    assert stored.shape == (6, 5)
    assert 0.5 <= np.abs(stored).max() <= 1
    # The same cosines as before, but for the noise: the maps differ in four directions.
    centred = tokens.mean(axis=1) - tokens.mean(axis=(0, 1))
    wide = stored.astype(np.float64)
    cosines = (wide @ wide.T) / np.outer(*[np.linalg.norm(wide, axis=1)] * 2)
    full = (centred @ centred.T) / np.outer(*[np.linalg.norm(centred, axis=1)] * 2)
    assert np.abs(cosines - full).max() < 0.1
    assert codec.encode_pooled(tokens.mean(axis=1) * np.float32(2.0**60)).max() == np.finfo(np.float16).max


@pytest.mark.parametrize("directions", [None, 12, 256])
def test_pooled_embeddings_may_stay_whole(directions):
    tokens = maps()
    codec = fitted("pca4-int8", tokens, pooled_directions=directions)
    assert (codec.pooled_in, codec.pooled_out, codec.pooled.dimension) == (12, 12, 0)
    pooled = tokens.mean(axis=1)
    found = np.ldexp(codec.encode_pooled(pooled).astype(np.float64), -codec.pooled_exponent)
    np.testing.assert_allclose(found, pooled - pooled.mean(axis=0), atol=np.abs(found).max() * 2.0**-10)


def test_few_embeddings_are_completed_by_the_directions_of_tokens():
    tokens = maps(images=40)
    codec = fitted("pca4-int8", tokens[:2], pooled_directions=5)
    others = tokens[2:]
    kept, total = 0.0, 0.0
    for image in others:
        centred = codec.pooled.centred(image.mean(axis=0)[None], "pooled")
        one, all_ = codec.pooled.energies(centred, codec.pooled.coordinates(centred, "pooled"))
        kept, total = kept + one, total + all_
    assert kept / total > 0.9


def test_without_differences_all_is_zero():
    tokens = np.ones((2, 3, 4), np.float32)
    codec = fitted("pca2-int8", tokens)
    assert not codec.encode(tokens).codes.any()
    assert not codec.encode_pooled(tokens.mean(axis=1)).any()
    assert codec.fitted.total == 0


def test_other_shapes_and_values_are_refused():
    fitter = CodecFitter(parse("pca2-int8"), 4, 4)
    with pytest.raises(ArgumentError, match="fitted on no tokens"):
        fitter.finish()
    with pytest.raises(ShapeError, match=r"expected \(n, S, 4\) and \(n, 4\)"):
        fitter.add(np.zeros((1, 2, 5)), np.zeros((1, 4)))
    with pytest.raises(NonFiniteError, match="tokens holds 1 NaN"):
        fitter.add(np.array([[[np.nan, 0, 0, 0]]]), np.zeros((1, 4)))
    with pytest.raises(NonFiniteError, match="pooled embedding holds"):
        fitter.add(np.zeros((1, 1, 4)), np.full((1, 4), np.inf))
