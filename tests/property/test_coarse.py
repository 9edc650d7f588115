"""The integer products: their error is bounded for every matching, and they keep to their definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from semret.errors import NonFiniteError
from semret.retrieval.similarity.coarse import coarse_affinities, quantise_query


def centred(tokens, center):
    """What exact scoring works on: float32 (float64 for float64), less the centre in the same precision."""
    values = tokens.astype(np.float64 if tokens.dtype == np.float64 else np.float32)
    return values if center is None else values - center.astype(values.dtype)


@st.composite
def problems(draw):
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    rows, columns, channels = draw(st.tuples(st.integers(1, 20), st.integers(1, 40), st.integers(1, 70)))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    spread = draw(st.sampled_from([0.0, 1.0, 3.0]))  # how unequal channels are: heavy tails, a single giant
    scale = draw(st.sampled_from([1e-3, 1.0, 50.0]))
    query = generator.normal(size=(rows, channels)) * np.exp(spread * generator.normal(size=channels)) * scale
    maps = generator.normal(size=(3, columns, channels)) * np.exp(spread * generator.normal(size=channels)) * scale
    maps[0, 0] = 0
    maps[1] = np.round(maps[1])
    maps = np.clip(maps, -6e4, 6e4).astype(dtype)
    center = draw(st.sampled_from(["none", "channel", "position"]))
    middle = {"none": None, "channel": maps.mean(axis=(0, 1)), "position": maps.mean(axis=0)}[center]
    return query.astype(np.float32), maps, None if middle is None else middle.astype(np.float32)


@settings(deadline=None, max_examples=120)
@given(problems())
def test_every_matching_is_worth_what_its_integers_say_within_the_error(problem):
    query, maps, center = problem
    coarse = coarse_affinities(quantise_query(query), maps, center, threads=1)
    left = query.astype(np.float64)
    for row, tokens in enumerate(maps):
        right = centred(tokens, center).astype(np.float64)
        unit = np.linalg.norm(left) * np.linalg.norm(right)
        if unit == 0:
            assert not coarse.affinity[row].any()
            continue
        difference = (right @ left.T) / unit - coarse.affinity[row]
        for sign in (1, -1):
            # The matching that gathers most error: no other can be off by more.
            worst = difference[linear_sum_assignment(sign * difference, maximize=True)].sum()
            assert abs(worst) <= coarse.errors[row]
        assert coarse.squared_norms[row] == pytest.approx(
            (right**2).sum(), rel=1e-6 if tokens.dtype == np.float64 else 1e-13
        )


def test_the_error_is_small_for_tokens_of_many_channels():
    generator = np.random.default_rng(5)
    query = generator.normal(size=(49, 768)).astype(np.float32)
    coarse = coarse_affinities(quantise_query(query), generator.normal(size=(2, 49, 768)).astype(np.float16), None)
    assert coarse.errors.max() < 0.002


def test_halves_are_widened_exactly():
    every = np.arange(0x7C00, dtype=np.uint16).view(np.float16)
    both = np.concatenate([every, -every])[:, None]
    for start in range(0, len(both), 4096):
        part = both[start : start + 4096][None]
        coarse = coarse_affinities(quantise_query(np.ones((1, 1), np.float32)), part, None)
        assert coarse.squared_norms[0] == pytest.approx((part.astype(np.float64) ** 2).sum(), rel=1e-14)
        sign = np.sign(part[0, :, 0].astype(np.float32))
        norm = np.sqrt(coarse.squared_norms[0])
        expected = part[0, :, 0].astype(np.float64) / norm
        np.testing.assert_allclose(coarse.affinity[0, :, 0], expected, rtol=1e-4, atol=1e-30)
        assert (np.sign(coarse.affinity[0, :, 0]) == sign).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_what_is_not_finite(dtype, value):
    maps = np.ones((3, 4, 5), dtype=dtype)
    maps[1, 2, 3] = value
    with pytest.raises(NonFiniteError, match="1 of 3 token maps"):
        coarse_affinities(quantise_query(np.ones((2, 5), np.float32)), maps, None)


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e18, 1e37])
def test_magnitudes_at_the_ends_of_float32(scale):
    generator = np.random.default_rng(1)
    plain = generator.uniform(0.5, 1, size=(1, 6, 3)).astype(np.float32)
    query = quantise_query(plain[0])
    scaled = coarse_affinities(query, plain * np.float32(scale), None)
    usual = coarse_affinities(query, plain, None)
    assert (np.abs(scaled.affinity - usual.affinity).sum(axis=(1, 2)) <= scaled.errors * 6 + usual.errors * 6).all()


def test_threads_change_nothing():
    generator = np.random.default_rng(2)
    query, maps = quantise_query(generator.normal(size=(9, 8)).astype(np.float32)), generator.normal(size=(50, 7, 8))
    one, three = (coarse_affinities(query, maps, None, threads=threads) for threads in (1, 3))
    assert (one.affinity == three.affinity).all()
    assert (one.errors == three.errors).all()
