from __future__ import annotations

import math

import numpy as np
import pytest

from semret.errors import ArgumentError, UnknownNameError
from semret.retrieval.similarity.kernels import (
    centred_squared_norms,
    farthest_of_score,
    kernel_score,
    median_bandwidth,
    rbf,
)
from semret.retrieval.similarity.names import check_modes
from semret.retrieval.similarity.rsm import rsm


def test_equations_6_to_8_on_hand_computed_numbers():
    # |a|^2 = 4, |b|^2 = 9, m = 3
    assert kernel_score("linear", 3.0, 4.0, 9.0) == 3.0
    assert kernel_score("cosine", 3.0, 4.0, 9.0) == 0.5
    assert kernel_score("rbf", 3.0, 4.0, 9.0, sigma=2.0) == math.exp(-7 / 8)


def test_scores_broadcast():
    scores = kernel_score("cosine", [[1.0, 2.0], [3.0, 4.0]], [[1.0], [4.0]], [[1.0, 4.0]])
    assert scores.tolist() == [[1.0, 1.0], [1.5, 1.0]]


def test_cosine_with_a_map_of_norm_zero_is_zero():
    assert kernel_score("cosine", [0.0, 0.0], [0.0, 1.0], [1.0, 0.0]).tolist() == [0.0, 0.0]


def test_cosine_of_a_map_with_itself_is_one_at_any_magnitude():
    for norm in (3.3e-130, 0.1, 7.7e140):
        assert kernel_score("cosine", norm, norm, norm) == 1.0
    for norm in (3.3e-250, 7.7e250):
        assert kernel_score("cosine", norm, norm, norm) == pytest.approx(1.0, rel=1e-15)


def test_rbf_without_width_knows_only_equality():
    assert rbf([0.0, 1e-300], 0.0).tolist() == [1.0, 0.0]


def test_rbf_of_a_distance_beyond_float64_in_units_of_the_bandwidth_is_zero():
    assert rbf([0.0, 1.0, 1e300], 1e-161).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("sigma", [1e-150, 0.3, 20.0, 1e10, 1e150])
@pytest.mark.parametrize("of_width", [0.0, 1e-20, 1e-3, 1.0, 30.0, 700.0])
def test_beyond_the_farthest_distance_of_a_score_every_score_is_lower(sigma, of_width):
    score = float(rbf(of_width * 2 * sigma**2, sigma))
    farthest = farthest_of_score(score, sigma)
    assert rbf(farthest * (1 + 1e-15), sigma) < score
    assert farthest <= (of_width + 1e-11) * 2 * sigma**2


@pytest.mark.parametrize(("score", "sigma"), [(0.0, 3.0), (5e-324, 3.0), (1.0, 0.0), (1.0, 1e200)])
def test_no_distance_is_known_to_be_farther_where_scores_are_one_number(score, sigma):
    assert farthest_of_score(score, sigma) == math.inf


def test_rbf_takes_a_negative_distance_for_rounding():
    assert kernel_score("rbf", 1.0 + 1e-15, 1.0, 1.0, sigma=1.0) == 1.0


@pytest.mark.parametrize("sigma", [None, -1.0, math.nan, math.inf])
def test_rbf_refuses_a_bandwidth_that_is_none(sigma):
    with pytest.raises(ArgumentError, match="bandwidth sigma is"):
        kernel_score("rbf", 0.0, 1.0, 1.0, sigma=sigma)


def test_bandwidth_is_that_of_the_papers_published_code():
    assert median_bandwidth([[4.0, 9.0], [9.0, 100.0]]) == 3.0 + 1e-3
    assert median_bandwidth([[0.0, 4.0], [9.0, 100.0]]) == 3.0 + 1e-3  # zeros are left out: 6.5 with them
    assert median_bandwidth([0.0, 0.0]) == median_bandwidth([]) == 1e-3


def test_two_maps_have_the_similarity_of_the_published_code():
    x = np.array([[[0.0, 1e3]], [[2e3, 0.0]]])
    # Half of the matrix is the maps' distance to themselves: with it the median halves, and this would be exp(-1).
    assert rsm(x, kernel="rbf")[0, 1] == pytest.approx(math.exp(-1 / 2), rel=1e-5)
    assert rsm(x, kernel="rbf").diagonal().tolist() == [1.0, 1.0]


def test_centred_norms_follow_from_norms_and_means():
    maps = np.random.default_rng(0).normal(size=(6, 5, 3))
    mu = np.array([0.5, -1.0, 2.0])
    closed = centred_squared_norms((maps**2).sum(axis=(1, 2)), maps.mean(axis=1), 5, mu)
    np.testing.assert_allclose(closed, ((maps - mu) ** 2).sum(axis=(1, 2)), rtol=1e-12)


def test_centred_norms_are_never_negative():
    constant = np.full((1, 4, 2), 0.1, dtype=np.float32)
    norms = (constant.astype(np.float64) ** 2).sum(axis=(1, 2))
    assert centred_squared_norms(norms * (1 - 1e-9), constant.mean(axis=1), 4, [0.1, 0.1]) == 0.0
    assert centred_squared_norms(norms, constant.mean(axis=1), 4, None) == norms


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        (("cosin", "none", "none", "scipy"), "kernel 'cosin' is unknown.*did you mean cosine"),
        (("cosine", "permutations", "none", "scipy"), "invariance 'permutations'.*did you mean permutation"),
        (("cosine", "none", "mean", "scipy"), "center 'mean' is unknown, expected one of channel, position, none"),
        (("cosine", "none", "none", "hungarian"), "solver 'hungarian' is unknown, expected one of auction"),
    ],
)
def test_unknown_names_are_refused_with_a_hint(modes, message):
    with pytest.raises(UnknownNameError, match=message):
        check_modes(*modes)
