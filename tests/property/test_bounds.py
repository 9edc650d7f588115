"""The compiled bounds against definitions in a few lines of NumPy, with ties, offsets and large values."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from semret.retrieval.matching import upper_bounds

numbers = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e3, 1e3))
affinities = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(
    lambda shape: hnp.arrays(np.float64, shape, elements=numbers)
)


def maxima(affinity: np.ndarray) -> float:
    """Row maxima, and column maxima if square: each pair is worth at most the maximum of its row."""
    wide = affinity if affinity.shape[0] <= affinity.shape[1] else affinity.T
    sums = [wide.max(axis=1).sum()]
    if wide.shape[0] == wide.shape[1]:
        sums.append(wide.max(axis=0).sum())
    return float(min(sums))


def dual(affinity: np.ndarray, prices: np.ndarray) -> float:
    """Any prices: the best profit of each row and all prices, less the lowest for each column without a partner."""
    rows, columns = affinity.shape
    return float((affinity - prices).max(axis=1).sum() + prices.sum() - (columns - rows) * prices.min())


def sweep(affinity: np.ndarray) -> float:
    """The prices at which each column is worth to some row what that row's best is."""
    wide = affinity if affinity.shape[0] <= affinity.shape[1] else affinity.T
    prices = (wide - wide.max(axis=1, keepdims=True)).max(axis=0)
    return min(maxima(affinity), dual(wide, prices))


def optimum(affinity: np.ndarray) -> float:
    return float(affinity[linear_sum_assignment(affinity, maximize=True)].sum())


@settings(deadline=None, max_examples=150)
@given(affinities)
def test_compiled_bounds_are_those_of_their_definitions(affinity):
    rounding = 1e-12 * (1 + np.abs(affinity).max() * max(affinity.shape))
    for effort, definition in (("maxima", maxima), ("sweep", sweep)):
        assert upper_bounds(affinity[None], effort=effort)[0] == pytest.approx(definition(affinity), abs=rounding)
    assert optimum(affinity) - rounding <= sweep(affinity) <= maxima(affinity) + rounding


@settings(deadline=None, max_examples=80)
@given(affinities, st.data())
def test_any_prices_bound_every_matching(affinity, data):
    wide = affinity if affinity.shape[0] <= affinity.shape[1] else affinity.T
    prices = data.draw(hnp.arrays(np.float64, wide.shape[1], elements=numbers))
    rounding = 1e-12 * (1 + np.abs(affinity).max() + np.abs(prices).max()) * max(affinity.shape)
    assert dual(wide, prices) >= optimum(affinity) - rounding


def test_best_prices_prove_the_optimum():
    affinity = np.array([[10.0, 9.0, 0.0], [9.0, 7.0, 1.0], [2.0, 2.0, 0.0]])
    assert optimum(affinity) == 18.0
    assert dual(affinity, np.zeros(3)) == 10.0 + 9.0 + 2.0
    assert dual(affinity, np.array([2.0, 1.0, -1.0])) == (8.0 + 7.0 + 1.0) + (2.0 + 1.0 - 1.0)
