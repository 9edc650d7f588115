"""Bounds against brute force and SciPy, on square and rectangular affinities with ties, offsets and large values."""

from __future__ import annotations

import itertools

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from semret.errors import NonFiniteError, ShapeError
from semret.retrieval.matching.bounds import dual_bound, maxima_bound, norm_bound, pooled_lower_bound, sweep_bound

SLACK = 1e-9

numbers = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e3, 1e3))


def affinities(largest: int):
    return st.tuples(st.integers(1, largest), st.integers(1, largest)).flatmap(
        lambda shape: hnp.arrays(np.float64, shape, elements=numbers)
    )


def token_pairs():
    return st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4)).flatmap(
        lambda sizes: st.tuples(
            hnp.arrays(np.float64, (sizes[0], sizes[2]), elements=numbers),
            hnp.arrays(np.float64, (sizes[1], sizes[2]), elements=numbers),
        )
    )


def brute_force(affinity: np.ndarray) -> float:
    if affinity.shape[0] > affinity.shape[1]:
        affinity = affinity.T
    rows = np.arange(len(affinity))
    return max(
        affinity[rows, list(columns)].sum()
        for columns in itertools.permutations(range(affinity.shape[1]), len(affinity))
    )


def optimum(affinity: np.ndarray) -> float:
    return float(affinity[linear_sum_assignment(affinity, maximize=True)].sum())


@settings(deadline=None, max_examples=150)
@given(affinities(5), st.data())
def test_upper_bounds_are_never_below_brute_force(affinity, data):
    best = brute_force(affinity)
    scale = SLACK * (1 + np.abs(affinity).max() * min(affinity.shape))
    prices = data.draw(hnp.arrays(np.float64, affinity.shape[1], elements=numbers))
    assert maxima_bound(affinity) >= best - scale
    assert sweep_bound(affinity) >= best - scale
    assert dual_bound(affinity, prices) >= best - scale - SLACK * np.abs(prices).sum()


@settings(deadline=None, max_examples=80)
@given(affinities(24))
def test_upper_bounds_are_never_below_scipy_and_the_sweep_sharpens(affinity):
    best, scale = optimum(affinity), SLACK * (1 + np.abs(affinity).max() * min(affinity.shape))
    assert maxima_bound(affinity) >= best - scale
    assert sweep_bound(affinity) >= best - scale
    if affinity.shape[0] == affinity.shape[1]:
        assert sweep_bound(affinity) <= maxima_bound(affinity) + scale


@settings(deadline=None, max_examples=150)
@given(token_pairs())
def test_bounds_from_means_and_norms_enclose_the_optimum(pair):
    a, b = pair
    best, pairs = optimum(a @ b.T), min(len(a), len(b))
    norms = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    scale = SLACK * (1 + norm_bound(*norms))
    assert pooled_lower_bound(a.mean(axis=0), b.mean(axis=0), pairs) <= best + scale
    assert norm_bound(*norms) >= best - scale


def test_hand_computed_values():
    affinity = np.array([[4.0, 3.0], [4.0, 1.0]])
    assert maxima_bound(affinity) == 7.0  # columns 4 + 3; rows 4 + 4
    assert dual_bound(affinity, [0.0, 0.0]) == 8.0
    assert dual_bound(affinity, [3.0, 1.0]) == 4.0 + 2.0 + 1.0
    assert sweep_bound(affinity) == 7.0
    assert norm_bound([1.0, 3.0], [2.0, 5.0, 4.0]) == 15.0 + 4.0
    assert pooled_lower_bound([1.0, 2.0], [[3.0, 0.0], [0.0, -1.0]], 5).tolist() == [15.0, -10.0]


def test_best_prices_prove_the_optimum():
    affinity = np.array([[10.0, 9.0, 0.0], [9.0, 7.0, 1.0], [2.0, 2.0, 0.0]])
    assert brute_force(affinity) == 18.0
    assert dual_bound(affinity, [0.0, 0.0, 0.0]) == 10.0 + 9.0 + 2.0
    assert dual_bound(affinity, [2.0, 1.0, -1.0]) == (2.0 + 1.0 - 1.0) + (8.0 + 7.0 + 1.0)


@pytest.mark.parametrize("bound", [maxima_bound, sweep_bound, lambda a: dual_bound(a, [0.0])])
def test_refuses_what_is_no_affinity(bound):
    with pytest.raises(ShapeError):
        bound(np.zeros(3))
    with pytest.raises(ShapeError):
        bound(np.zeros((0, 1)))
    with pytest.raises(NonFiniteError):
        bound(np.array([[np.nan]]))


def test_refuses_prices_that_do_not_fit():
    with pytest.raises(ShapeError, match="one for each column"):
        dual_bound(np.zeros((2, 3)), [0.0, 0.0])
