from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from semret.errors import ArgumentError, NonFiniteError, ShapeError, UnknownNameError
from semret.retrieval.similarity.maps import match_maps, prepare
from semret.retrieval.similarity.maxsim import maxsim_scores
from semret.retrieval.similarity.pairs import matched_similarity

A = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
B = np.array([[0.0, 3.0], [1.0, 0.0], [2.0, 2.0]])
# A @ B.T = [[0, 2, 4], [3, 0, 2], [3, 1, 4]]; best: 2 + 3 + 4 = 9. |A|^2 = 7, |B|^2 = 18.


@pytest.fixture
def generator():
    return np.random.default_rng(11)


def test_hand_computed_matching():
    found = matched_similarity(A, B, kernel="linear")
    assert float(found) == found.score == found.matched == 9.0
    assert found.assignment.tolist() == [1, 0, 2]
    assert found.exact
    assert 9.0 <= found.bound <= 9.0 + 1e-5
    assert float(matched_similarity(A, B)) == pytest.approx(9 / np.sqrt(7 * 18), rel=1e-15)
    assert float(matched_similarity(A, B, kernel="rbf", sigma=2.0)) == pytest.approx(np.exp(-7 / 8), rel=1e-15)


def test_hand_computed_invariances():
    def score(invariance, kernel="linear", **options):
        return float(matched_similarity(A, B, kernel=kernel, invariance=invariance, **options))

    assert score("none") == 0.0 + 0.0 + 4.0
    assert score("maxsim") == 4.0 + 3.0 + 4.0
    assert score("maxsim", "cosine") == pytest.approx((1.0 + 1.0 + 1.0) / 3, rel=1e-15)
    # Nearest tokens of A in B: (1, 0) at 1, (2, 2) at 5 or (0, 3) at 4 or (1, 0) at 2, (1, 0) at 1.
    assert score("maxsim", "rbf", sigma=1.0) == pytest.approx(np.exp(-(1 + 2 + 1) / 2), rel=1e-15)
    assert score("pooled") == pytest.approx(1.0 * 1.0 + 2 / 3 * 5 / 3, rel=1e-15)


@pytest.mark.parametrize("kernel", ["cosine", "rbf"])
@pytest.mark.parametrize("invariance", ["permutation", "none", "maxsim", "pooled"])
def test_a_map_is_one_to_itself(kernel, invariance, generator):
    tokens = generator.normal(size=(20, 7)).astype(np.float16)
    assert float(matched_similarity(tokens, tokens, kernel=kernel, invariance=invariance)) == pytest.approx(
        1, abs=1e-15
    )


def test_positions_do_not_count(generator):
    a, b = generator.normal(size=(2, 30, 5)).astype(np.float32)
    for kernel in ("cosine", "linear", "rbf"):
        one = matched_similarity(a, b, kernel=kernel)
        other = matched_similarity(a[generator.permutation(30)], b[generator.permutation(30)], kernel=kernel)
        assert one.matched == other.matched
        assert float(one) == pytest.approx(float(other), rel=1e-14)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (1, 6), (6, 1)])
def test_the_smaller_map_counts_as_filled_up_with_zero_tokens(shape, generator):
    a, b = (generator.normal(size=(positions, 4)) - 0.7 for positions in shape)
    padded = [np.concatenate([x, np.zeros((max(shape) - len(x), 4))]) for x in (a, b)]
    for kernel in ("cosine", "linear", "rbf"):
        found = matched_similarity(a, b, kernel=kernel, sigma=3.0)
        assert float(found) == pytest.approx(float(matched_similarity(*padded, kernel=kernel, sigma=3.0)), rel=1e-12)
        assert (found.assignment >= 0).sum() == min(shape)


def test_float64_and_float16_agree_with_scipy(generator):
    a, b = generator.normal(size=(2, 25, 6))
    affinity = a @ b.T
    best = affinity[linear_sum_assignment(affinity, maximize=True)].sum()
    assert matched_similarity(a, b).matched == pytest.approx(best, rel=1e-12)
    half, other = a.astype(np.float16), b.astype(np.float16)
    affinity = half.astype(np.float64) @ other.astype(np.float64).T
    best = affinity[linear_sum_assignment(affinity, maximize=True)].sum()
    assert matched_similarity(half, other).matched == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e19, 1e30])
def test_any_magnitude_has_the_same_cosine(scale, generator):
    a, b = generator.normal(size=(2, 9, 4)).astype(np.float32)
    found = matched_similarity(a * np.float32(scale), b * np.float32(scale))
    assert float(found) == pytest.approx(float(matched_similarity(a, b)), rel=1e-6)
    assert np.isfinite(found.matched)
    assert found.bound >= found.score


def test_a_channel_centre_shifts_the_value_and_not_the_matching(generator):
    a, b, mu = generator.normal(size=(9, 4)), generator.normal(size=(9, 4)), generator.normal(size=4)
    plain, centred = matched_similarity(a, b), matched_similarity(a, b, center=mu)
    shift = -9 * (a.mean(axis=0) @ mu) - 9 * (b.mean(axis=0) @ mu) + 9 * mu @ mu
    assert centred.matched == pytest.approx(plain.matched + shift, rel=1e-12)
    assert centred.assignment.tolist() == plain.assignment.tolist()
    assert float(centred) == pytest.approx(float(matched_similarity(a - mu, b - mu)), rel=1e-12)


def test_a_position_centre_is_subtracted_position_by_position(generator):
    a, b, mu = generator.normal(size=(3, 9, 4))
    assert float(matched_similarity(a, b, center=mu)) == float(matched_similarity(a - mu, b - mu))


def test_zero_maps_have_defined_scores():
    zero, one = np.zeros((3, 2)), np.ones((3, 2))
    assert float(matched_similarity(zero, one)) == 0.0
    assert float(matched_similarity(zero, zero)) == 0.0
    assert float(matched_similarity(zero, zero, kernel="rbf")) == 1.0
    assert float(matched_similarity(zero, one, invariance="maxsim")) == 0.0


def test_default_bandwidth_is_the_mean_distance_over_all_matchings(generator):
    a, b = generator.normal(size=(2, 4, 3))
    distances = [((a - b[list(p)]) ** 2).sum() for p in itertools.permutations(range(4))]
    expected = np.exp(-min(distances) / (2 * (np.sqrt(np.mean(distances)) + 1e-3) ** 2))
    assert float(matched_similarity(a, b, kernel="rbf")) == pytest.approx(expected, rel=1e-12)


def test_all_late_interactions_at_once_are_those_of_each(generator):
    query, many = prepare(generator.normal(size=(1, 8, 5))), prepare(generator.normal(size=(6, 8, 5)))
    found = maxsim_scores(query, many, ["rbf", "cosine", "linear"])
    assert list(found) == ["rbf", "cosine", "linear"]
    for kernel, scores in found.items():
        for row in range(6):
            assert maxsim_scores(query, many[row : row + 1], [kernel])[kernel] == scores[row]
    assert maxsim_scores(query, many[:0], ["linear"])["linear"].shape == (0,)


def test_a_candidate_is_matched_alike_in_any_company(generator):
    query = prepare(generator.normal(size=(1, 40, 33)).astype(np.float32))
    many = prepare(generator.normal(size=(9, 40, 33)).astype(np.float32))
    together = match_maps(query, many)
    for row in range(9):
        alone = match_maps(query, many[row : row + 1])
        assert alone.matched[0] == together.matched[row]
        assert alone.assignments[0].tolist() == together.assignments[row].tolist()


def test_approximate_solvers_are_bounded_and_not_called_exact(generator):
    a, b = generator.normal(size=(2, 30, 4))
    best = matched_similarity(a, b)
    greedy = matched_similarity(a, b, solver="greedy")
    assert not greedy.exact
    assert float(greedy) < float(best) <= greedy.bound


def test_refuses_what_does_not_fit():
    with pytest.raises(ShapeError, match="same number of channels"):
        matched_similarity(A, np.ones((3, 4)))
    with pytest.raises(ShapeError, match="compares equal positions"):
        matched_similarity(A, B[:2], invariance="none")
    with pytest.raises(ShapeError, match=r"centre has shape \(3,\)"):
        matched_similarity(A, B, center=np.zeros(3))
    with pytest.raises(ShapeError, match="a is empty"):
        matched_similarity(A[:0], B)
    with pytest.raises(NonFiniteError, match="b holds 1 NaN"):
        matched_similarity(A, np.where(B == 3, np.nan, B))
    with pytest.raises(UnknownNameError, match="kernel"):
        matched_similarity(A, B, kernel="poly")
    with pytest.raises(ArgumentError, match=r"window.*matches nothing"):
        matched_similarity(A, B, invariance="none", window=3)
