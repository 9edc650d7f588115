"""Batches as detectors make them: images without a target, tensors of every make, pairs as SciPy has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from semret import match_batch
from semret.errors import ShapeError
from semret.retrieval.matching import SOLVERS, match


@pytest.mark.parametrize("shape", [(3, 100, 0), (3, 0, 5), (2, 0, 0), (0, 4, 0)])
@pytest.mark.parametrize("sizes", [None, "zeros"])
@pytest.mark.parametrize("solver", ["auction", "scipy", "greedy"])
def test_where_nothing_can_be_matched_nothing_is(shape, sizes, solver):
    count, rows, columns = shape
    norms = (
        {}
        if not SOLVERS[solver].needs_norms
        else {"row_norms": np.ones(rows), "column_norms": np.ones((count, columns))}
    )
    sizes = None if sizes is None else [[rows, 0] if columns == 0 else [0, columns]] * count
    for affinities in (np.zeros(shape), torch.zeros(shape)):
        found = match_batch(affinities, cost=True, sizes=sizes, solver=solver, **norms)
        assert tuple(found.assignments.shape) == (count, rows)
        assert (found.assignments == -1).all()
        assert not np.signbit(np.asarray(found.values)).any()
        assert found.values.tolist() == found.bounds.tolist() == found.gaps.tolist() == [0.0] * count
        assert found.exact is SOLVERS[solver].exact
        for index in range(count):
            assert [len(side) for side in found.pairs(index)] == [0, 0]
            assert [len(side) for side in linear_sum_assignment(np.zeros(shape[1:]))] == [0, 0]


def test_one_affinity_is_refused_where_it_is_empty_and_where_it_is_no_batch():
    with pytest.raises(ShapeError, match="at least one row and one column"):
        match(np.zeros((3, 0)))
    with pytest.raises(ShapeError, match=r"of a single one, affinity\[None\]"):
        match_batch(np.zeros((3, 4)))


@pytest.mark.parametrize("cost", [False, True])
def test_pairs_are_those_of_scipy(cost):
    costs = np.random.default_rng(0).random((4, 9, 5))
    sizes = [[9, 5], [3, 5], [9, 1], [0, 2]]
    arrays, tensors = (match_batch(given, cost=cost, sizes=sizes) for given in (costs, torch.from_numpy(costs)))
    for index, (rows, columns) in enumerate(sizes):
        expected = linear_sum_assignment(costs[index, :rows, :columns], maximize=not cost)
        for found in (arrays.pairs(index), tensors.pairs(index)):
            assert [side.tolist() for side in found] == [side.tolist() for side in expected]


def test_tensors_that_are_views_of_complex_numbers_are_numbers():
    numbers = torch.view_as_complex(torch.rand(2, 5, 5, 2, dtype=torch.float64))
    lazily_negated = numbers.conj().imag
    assert lazily_negated.is_neg()
    found = match_batch(lazily_negated)
    assert found.values.tolist() == match_batch(-numbers.imag.numpy()).values.tolist()


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.rand(2, 4, 4).to_sparse(),
        lambda: torch.rand(2, 4, 4, device="meta"),
        lambda: torch.nested.nested_tensor([torch.rand(4, 4), torch.rand(3, 4)], layout=torch.jagged),
        lambda: torch.rand(2, 4, 4).to(torch.complex64),
        lambda: torch.rand(2, 4, 4).to(torch.complex64).conj(),
    ],
)
def test_tensors_that_hold_no_dense_numbers_are_refused_by_us(make):
    with pytest.raises(ShapeError, match="expected"):
        match_batch(make())


def test_floats_of_eight_bits_count_as_what_they_stand_for():
    narrow = torch.rand(2, 6, 4).to(torch.float8_e4m3fn)
    assert match_batch(narrow).values.tolist() == match_batch(narrow.float()).values.tolist()
