"""What holds for every affinity: matchings are one to one, bounds are bounds, the optimum is the optimum."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment

from semret.retrieval.matching import match, match_batch, upper_bounds
from semret.retrieval.matching.auction import EFFORTS, AuctionBatch
from semret.retrieval.matching.solvers import SOLVERS


def numbers(dtype, largest):
    width = np.dtype(dtype).itemsize * 8
    return st.floats(-largest, largest, width=width, allow_subnormal=True)


def affinities(side=9):
    shapes = st.tuples(st.integers(1, side), st.integers(1, side))
    return st.one_of(
        # Few values: ties everywhere.
        shapes.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=st.sampled_from([-1.0, 0.0, 0.5, 1.0]))),
        shapes.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=numbers(np.float32, 2.0**20))),
        shapes.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=numbers(np.float64, 1e6))),
        # Magnitudes from the smallest to the largest float32 in one matrix.
        shapes.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=numbers(np.float32, 2.0**127))),
        shapes.flatmap(lambda shape: hnp.arrays(np.float16, shape, elements=numbers(np.float16, 2.0**10))),
    )


def optimum(affinity):
    rows, columns = linear_sum_assignment(affinity.astype(np.float64), maximize=True)
    return float(affinity[rows, columns].astype(np.float64).sum())


def magnitude(affinity):
    return float(np.abs(affinity.astype(np.float64)).max()) * min(affinity.shape)


@settings(deadline=None, max_examples=300)
@given(affinities())
def test_auction_equals_the_reference(affinity):
    found, best = match(affinity), optimum(affinity)
    matched = found.assignment[found.assignment >= 0]
    assert len(set(matched.tolist())) == len(matched) == min(affinity.shape)
    assert abs(found.value - best) <= 1e-13 * magnitude(affinity)
    assert found.exact
    assert found.gap == 0.0


@settings(deadline=None, max_examples=150)
@given(affinities(side=5))
def test_no_permutation_exceeds_a_bound(affinity):
    wide = affinity if affinity.shape[0] <= affinity.shape[1] else affinity.T
    rows, columns = wide.shape
    exact = wide.astype(np.float64)
    best = max(
        float(exact[np.arange(rows), list(chosen)].sum()) for chosen in itertools.permutations(range(columns), rows)
    )
    rounding = 2.0**-52 * magnitude(affinity)
    for effort in EFFORTS:
        assert upper_bounds(affinity[None], effort=effort)[0] >= best - rounding
    assert match(affinity).bound >= best - rounding


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.integers(1, 90), st.sampled_from([1, 3, 40]))
def test_bounds_tighten_with_effort_and_never_fall_below_the_optimum(seed, rows, columns, channels):
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=(rows, channels)), rng.normal(size=(4, columns, channels))
    batch = (left @ right.transpose(0, 2, 1)).astype(np.float32)
    best = np.array([optimum(affinity) for affinity in batch])
    auction = AuctionBatch(batch, threads=1)
    before = np.full(4, np.inf)
    for effort in EFFORTS:
        bounds = auction.tighten(effort)
        assert (bounds >= best).all()
        assert (bounds <= before).all()
        before = bounds
    found = auction.solve()
    assert found.values == pytest.approx(best, rel=1e-12, abs=1e-12 * float(np.abs(batch).max()))
    assert (found.bounds >= best - 1e-15 * np.abs(best)).all()
    assert not found.gaps.any()


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([name for name, solver in SOLVERS.items() if not solver.exact]),
    st.integers(1, 50),
)
def test_approximations_are_matchings_between_identity_and_bound(seed, rows, columns, solver, size):
    rng = np.random.default_rng(seed)
    batch = rng.normal(size=(3, rows, columns)).astype(np.float32)
    options = dict.fromkeys(SOLVERS[solver].options, size)
    found = match_batch(
        batch, solver=solver, row_norms=rng.random(rows), column_norms=rng.random((3, columns)), **options
    )
    best = np.array([optimum(affinity) for affinity in batch])
    for affinity, assignment, value in zip(batch, found.assignments, found.values, strict=True):
        matched = assignment[assignment >= 0]
        assert len(set(matched.tolist())) == len(matched) == min(rows, columns)
        chosen = np.flatnonzero(assignment >= 0)
        assert value == pytest.approx(float(affinity[chosen, matched].astype(np.float64).sum()), abs=1e-12)
    assert (found.values <= best + 1e-12).all()
    assert (found.bounds >= best).all()
    assert (found.gaps >= 0).all()
    assert not found.exact


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 70), st.integers(2, 70))
def test_permuting_rows_and_columns_leaves_the_value(seed, rows, columns):
    rng = np.random.default_rng(seed)
    affinity = rng.normal(size=(rows, columns)).astype(np.float32)
    permuted = affinity[rng.permutation(rows)][:, rng.permutation(columns)]
    assert match(permuted).value == pytest.approx(match(affinity).value, rel=1e-14)
    assert match(affinity.T).value == pytest.approx(match(affinity).value, rel=1e-14)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6))
def test_the_largest_window_is_the_optimum(seed, rows, columns):
    rng = np.random.default_rng(seed)
    affinity = rng.normal(size=(rows, columns))
    norms = {"row_norms": rng.random(rows), "column_norms": rng.random(columns)}
    for options in ({"solver": "batch-optimal", "window": 6}, {"solver": "topk-greedy", "top": 6}):
        if options["solver"] == "topk-greedy" and rows != columns:
            continue  # it restricts the larger side to its largest norms
        assert match(affinity, **norms, **options).value == pytest.approx(optimum(affinity), abs=1e-12)
