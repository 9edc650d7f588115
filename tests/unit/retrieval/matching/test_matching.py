"""Hand-made matchings, edge cases and error texts of every solver."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from semret.errors import ArgumentError, NonFiniteError, ShapeError, UnknownNameError
from semret.retrieval.matching import match, match_batch, upper_bounds
from semret.retrieval.matching.auction import EFFORTS, AuctionBatch
from semret.retrieval.matching.solvers import SOLVERS

EXACT = [name for name, solver in SOLVERS.items() if solver.exact]
APPROXIMATE = [name for name, solver in SOLVERS.items() if not solver.exact]
# The best of each row is column 0; row 2 gives way least gladly.
AFFINITY = np.array([[5.0, 4.0, 1.0], [6.0, 5.5, 0.0], [9.0, 2.0, 0.0]], dtype=np.float32)


def norms_of(shape):
    return {"row_norms": np.arange(shape[-2], 0, -1), "column_norms": np.ones((*shape[:-2], shape[-1]))}


@pytest.mark.parametrize("solver", EXACT)
def test_exact_solvers_find_the_hand_made_optimum(solver):
    found = match(AFFINITY, solver=solver)
    assert found.assignment.tolist() == [2, 1, 0]
    assert (found.value, found.gap, found.exact, found.solver) == (15.5, 0.0, True, solver)
    assert found.value <= found.bound <= 15.5 * (1 + 1e-14)
    assert found.assignment.dtype == np.intp


@pytest.mark.parametrize("solver", EXACT)
def test_a_wide_affinity_matches_every_row(solver):
    found = match([[1.0, 3.0, 2.0], [1.0, 4.0, 0.0]], solver=solver)
    assert found.assignment.tolist() == [2, 1]
    assert found.value == 6.0
    assert found.gap == 0.0


@pytest.mark.parametrize("solver", EXACT)
def test_a_tall_affinity_leaves_rows_unmatched(solver):
    found = match([[1.0, 1.0], [3.0, 4.0], [2.0, 0.0]], solver=solver)
    assert found.assignment.tolist() == [-1, 1, 0]
    assert found.value == 6.0
    assert found.gap == 0.0


@pytest.mark.parametrize("solver", EXACT)
def test_negative_affinities_are_matched_all_the_same(solver):
    found = match([[-1.0, -5.0, -9.0]], solver=solver)
    assert found.assignment.tolist() == [0]
    assert found.value == -1.0


def test_greedy_serves_rows_in_descending_norm():
    first = match(AFFINITY, solver="greedy", row_norms=[1.0, 2.0, 3.0], column_norms=np.ones(3))
    assert first.assignment.tolist() == [2, 1, 0]
    assert first.value == 15.5
    last = match(AFFINITY, solver="greedy", row_norms=[3.0, 2.0, 1.0], column_norms=np.ones(3))
    assert last.assignment.tolist() == [0, 1, 2]
    assert last.value == 10.5
    assert not last.exact
    assert last.bound >= 15.5
    assert last.gap == pytest.approx((last.bound - 10.5) / last.bound)


def test_greedy_takes_the_first_of_equal_columns_and_keeps_the_order_of_equal_norms():
    found = match(np.zeros((3, 3)), solver="greedy", row_norms=[1.0, 1.0, 1.0], column_norms=np.ones(3))
    assert found.assignment.tolist() == [0, 1, 2]


def test_greedy_leaves_the_smallest_norms_of_a_tall_affinity_unmatched():
    found = match(np.ones((4, 2)), solver="greedy", row_norms=[1.0, 4.0, 2.0, 3.0], column_norms=np.ones(2))
    assert found.assignment.tolist() == [-1, 0, -1, 1]


def test_topk_greedy_is_optimal_among_the_largest_norms_only():
    # Rows 0 and 1 with columns 1 and 2: 1 + 5.5 beats 4 + 0. Row 2 takes what is left.
    found = match(AFFINITY, solver="topk-greedy", top=2, row_norms=[3.0, 2.0, 1.0], column_norms=[1.0, 2.0, 3.0])
    assert found.assignment.tolist() == [2, 1, 0]
    limited = match(AFFINITY, solver="topk-greedy", top=1, row_norms=[3.0, 2.0, 1.0], column_norms=[1.0, 3.0, 2.0])
    assert limited.assignment.tolist() == [1, 0, 2]


def test_batch_optimal_matches_within_batches_of_sorted_norms():
    affinity = np.array([[0.0, 9.0, 1.0, 2.0], [9.0, 0.0, 3.0, 1.0], [1.0, 2.0, 0.0, 9.0], [2.0, 1.0, 9.0, 0.0]])
    norms = {"row_norms": [4.0, 3.0, 2.0, 1.0], "column_norms": [4.0, 1.0, 3.0, 2.0]}
    # Batches: rows 0, 1 with columns 0, 2; rows 2, 3 with columns 3, 1.
    found = match(affinity, solver="batch-optimal", window=2, **norms)
    assert found.assignment.tolist() == [2, 0, 3, 1]
    assert found.value == 1.0 + 9.0 + 9.0 + 1.0
    whole = match(affinity, solver="batch-optimal", window=4, **norms)
    assert whole.value == match(affinity).value == 36.0


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (7, 7), (1, 9), (9, 1)])
@pytest.mark.parametrize("window", [1, 2, 3, 100])
def test_batch_optimal_matches_the_smaller_side_completely(shape, window):
    rng = np.random.default_rng(0)
    norms = {"row_norms": rng.random(shape[0]), "column_norms": rng.random(shape[1])}
    found = match(rng.random(shape), solver="batch-optimal", window=window, **norms).assignment
    matched = found[found >= 0]
    assert len(matched) == len(set(matched.tolist())) == min(shape)


def test_identity_matches_equal_positions():
    assert match(np.ones((2, 3)), solver="identity").assignment.tolist() == [0, 1]
    assert match(np.ones((3, 2)), solver="identity").assignment.tolist() == [0, 1, -1]


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_answers_a_single_pair_and_an_empty_batch(solver):
    one = match([[2.5]], solver=solver, **norms_of((1, 1)))
    assert one.assignment.tolist() == [0]
    assert one.value == 2.5
    assert one.exact is SOLVERS[solver].exact
    none = match_batch(np.zeros((0, 3, 4)), solver=solver, row_norms=np.ones(3), column_norms=np.zeros((0, 4)))
    assert none.assignments.shape == (0, 3)
    assert none.values.shape == none.bounds.shape == (0,)


@pytest.mark.parametrize("solver", ["auction", "scipy"])
@pytest.mark.parametrize("scale", [1e-45, 1e-30, 1e-3, 1.0, 1e30, 3e38])
def test_magnitude_does_not_matter(solver, scale):
    affinity = (np.random.default_rng(1).uniform(-1, 1, (40, 40)) * scale).astype(np.float32)
    found, reference = match(affinity, solver=solver), match(affinity.astype(np.float64), solver="scipy")
    assert found.exact
    assert found.gap == 0.0
    assert found.value == pytest.approx(reference.value, rel=1e-13)


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1e300, 1e305])
def test_double_precision_magnitudes_neither_overflow_nor_vanish(scale):
    affinity = np.random.default_rng(2).integers(-9, 9, (20, 20)) * scale
    found = match(affinity)
    assert found.exact
    assert found.value / scale == pytest.approx(match(affinity / scale, solver="scipy").value, rel=1e-13)
    assert np.isfinite(found.bound)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_sum_beyond_double_precision_is_refused(solver):
    with pytest.raises(ArgumentError, match="sums of 4 of them overflow"):
        match(np.full((4, 4), 1e308), solver=solver, **norms_of((4, 4)))


@pytest.mark.parametrize("fill", [0.0, 3.3, -1e30])
def test_constant_affinities_are_solved(fill):
    found = match(np.full((70, 70), fill, dtype=np.float32))
    assert sorted(found.assignment) == list(range(70))
    assert found.value == pytest.approx(70 * float(np.float32(fill)))
    assert found.gap == 0.0


def test_integers_booleans_and_half_precision_are_taken_by_value():
    assert match(AFFINITY.astype(np.float16)).value == 15.5
    assert match((2 * AFFINITY).astype(np.int64)).value == 31.0
    assert match(np.eye(3, dtype=bool)[::-1]).value == 3.0


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("value", "text"), [(np.nan, "1 NaN and 0 infinite"), (np.inf, "0 NaN and 1 inf"), (-np.inf, "0 NaN and 1 inf")]
)
def test_values_that_are_not_finite_are_refused_by_name(solver, value, text):
    affinity = AFFINITY.copy()
    affinity[1, 2] = value
    with pytest.raises(NonFiniteError, match=f"the affinity holds {text}"):
        match(affinity, solver=solver, **norms_of((3, 3)))
    for effort in EFFORTS:
        with pytest.raises(NonFiniteError, match=text):
            upper_bounds(affinity[None], effort=effort)


def test_a_value_is_refused_wherever_it_stands_in_a_batch():
    batch = np.random.default_rng(0).random((40, 128, 128), dtype=np.float32)
    batch[37, 5, 7] = np.nan
    with pytest.raises(NonFiniteError):
        match_batch(batch, threads=2)


def test_shapes_are_checked():
    with pytest.raises(ShapeError, match=r"expected 2 axes \(Sq, Sd\)"):
        match(np.zeros(3))
    with pytest.raises(ShapeError, match=r"expected 3 axes \(K, Sq, Sd\)"):
        match_batch(np.zeros((3, 3)))
    with pytest.raises(ShapeError, match="empty"):
        match(np.zeros((0, 3)))
    with pytest.raises(ShapeError, match="complex128"):
        match(np.zeros((3, 3), dtype=complex))
    with pytest.raises(ShapeError, match=r"row_norms has shape \(2,\), expected \(3,\)"):
        match(AFFINITY, solver="greedy", row_norms=[1, 2], column_norms=[1, 2, 3])
    with pytest.raises(NonFiniteError, match="column_norms"):
        match(AFFINITY, solver="greedy", row_norms=[1, 2, 3], column_norms=[1, 2, np.nan])


def test_unknown_names_and_options_are_answered_with_what_exists():
    with pytest.raises(UnknownNameError, match=r"solver 'auktion' is unknown.*did you mean auction\?"):
        match(AFFINITY, solver="auktion")
    with pytest.raises(ArgumentError, match="solver auction has no option window; it has none"):
        match(AFFINITY, window=3)
    with pytest.raises(ArgumentError, match="has no option top; its options are window"):
        match(AFFINITY, solver="batch-optimal", top=3)
    for wrong in (0, -1, 2.5, True, "3"):
        with pytest.raises(ArgumentError, match="expected a positive integer"):
            match(AFFINITY, solver="batch-optimal", window=wrong, **norms_of((3, 3)))
    with pytest.raises(ArgumentError, match="effort 'hard' is unknown, expected one of maxima, sweep, coarse, fine"):
        upper_bounds(AFFINITY[None], effort="hard")
    with pytest.raises(ArgumentError, match="threads is 0, expected at least 1"):
        match_batch(AFFINITY[None], threads=0)


@pytest.mark.parametrize("solver", ["greedy", "topk-greedy", "batch-optimal"])
def test_solvers_that_sort_by_norm_ask_for_norms(solver):
    with pytest.raises(ArgumentError, match="pass row_norms and column_norms"):
        match(AFFINITY, solver=solver)


def test_bounds_of_the_hand_made_case():
    # Row maxima 5 + 6 + 9, column maxima 9 + 5.5 + 1.
    assert upper_bounds(AFFINITY[None], effort="maxima") == pytest.approx([15.5], rel=1e-14)
    # A wide affinity leaves columns out: only row maxima bound it.
    assert upper_bounds(AFFINITY[None, :2], effort="maxima") == pytest.approx([11.0], rel=1e-14)
    # Rows want 3 and 4; two of the prices -1, 0, -1 are paid.
    assert upper_bounds([[[2.0, 3.0], [1.0, 4.0]]], effort="sweep") == pytest.approx([6.0], rel=1e-14)


def test_a_started_auction_continues_to_the_optimum():
    batch = np.random.default_rng(3).normal(size=(6, 60, 60)).astype(np.float32)
    auction = AuctionBatch(batch, threads=1)
    assert len(auction) == 6
    assert np.isinf(auction.bounds).all()
    bounds = [auction.tighten(effort) for effort in EFFORTS]
    assert all((after <= before).all() for before, after in itertools.pairwise(bounds))
    assert bounds[3].sum() < bounds[0].sum()
    some = auction.tighten("fine", np.array([4, 1]))
    assert some.tolist() == bounds[3][[4, 1]].tolist()
    whole, continued = match_batch(batch), auction.solve()
    assert continued.values.tolist() == pytest.approx(whole.values.tolist(), rel=1e-14)
    assert (continued.bounds <= bounds[3]).all()
    assert continued.exact


def test_bounds_of_some_affinities_leave_the_others_alone():
    batch = np.random.default_rng(3).normal(size=(6, 60, 60)).astype(np.float32)
    auction, alone = AuctionBatch(batch, threads=1), AuctionBatch(batch[[4, 1]], threads=1)
    for effort in EFFORTS:
        assert auction.tighten(effort, np.array([4, 1])).tolist() == alone.tighten(effort).tolist()
    assert np.isinf(auction.bounds[[0, 2, 3, 5]]).all()


def test_threads_and_neighbours_do_not_change_a_result():
    batch = np.random.default_rng(4).normal(size=(24, 160, 160)).astype(np.float32)
    one, many = match_batch(batch, threads=1), match_batch(batch, threads=3)
    alone = match(batch[7])
    assert (one.assignments == many.assignments).all()
    assert (one.values == many.values).all()
    assert (one.bounds == many.bounds).all()
    assert alone.assignment.tolist() == one.assignments[7].tolist()
    assert (alone.value, alone.bound) == (one.values[7], one.bounds[7])


def test_input_is_left_alone():
    batch = np.random.default_rng(5).normal(size=(2, 16, 16))
    before = batch.copy()
    for solver in SOLVERS:
        match_batch(batch, solver=solver, row_norms=np.ones(16), column_norms=np.ones((2, 16)))
    assert (batch == before).all()


def test_importing_the_table_loads_no_solver():
    code = (
        "import sys, semret.retrieval.matching; print([m for m in ('numba', 'scipy', 'ortools') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
