"""The kernels of the GPU, on a card where there is one, else interpreted on the processor."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from semret import match_batch
from semret.errors import ArgumentError, NonFiniteError, ShapeError
from semret.integer_tokens import IntegerTokens
from semret.retrieval.matching import cuda, cuda_tokens, tensors
from semret.retrieval.matching.cuda import match_on_device
from semret.retrieval.matching.cuda_tokens import DeviceMaps, bounds_of_all, match_pairs
from semret.retrieval.similarity.integer_maps import exact_affinities, match_integers, prepare_integers
from semret.retrieval.similarity.maps import match_maps, prepare
from tests.support import interpreter  # noqa: F401 - makes it quicker

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def put(array):
    return torch.from_numpy(np.ascontiguousarray(array)).to(DEVICE)


def optimum(affinity):
    rows, columns = linear_sum_assignment(affinity, maximize=True)
    return affinity[rows, columns].sum(dtype=np.float64)


def dual_sweep(affinity):
    """Bound an affinity with no more rows than columns by its rows, its columns if square, and one sweep."""
    rows = affinity.max(axis=1)
    prices = (affinity - rows[:, None]).max(axis=0)
    spare = affinity.shape[1] - affinity.shape[0]
    bounds = [rows.sum(), rows.sum() + prices.sum() - spare * prices.min()]
    return min(bounds + ([] if spare else [affinity.max(axis=0).sum()]))


def test_hand_computed():
    # 9 is given up: 9 + 1 + 2 = 12 and 8 + 9 + 2 = 19.
    found = match_on_device(put(np.array([[[9.0, 8.0, 0.0], [9.0, 1.0, 1.0], [2.0, 0.0, 2.0]]])))
    assert found.assignments.tolist() == [[1, 0, 2]]
    assert found.values.tolist() == [19.0]
    assert found.gaps.tolist() == [0.0]


KINDS = {
    "uniform": lambda rng, shape: rng.random(shape),
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "ties": lambda rng, shape: rng.integers(0, 3, shape).astype(float),
    "constant": lambda _, shape: np.full(shape, -2.5),
    "one column for all": lambda rng, shape: rng.random(shape) + 5.0 * (np.arange(shape[2]) == 0),
    "tiny range": lambda rng, shape: 1.0 + 1e-6 * rng.random(shape),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 14), (9, 10), (10, 10)])
def test_optimal_and_proven(shape, kind, dtype):
    affinities = KINDS[kind](np.random.default_rng(3), (1, *shape)).astype(dtype)
    found = match_on_device(put(affinities))
    wide = affinities.astype(np.float64)
    np.testing.assert_allclose(found.values.cpu(), [optimum(one) for one in wide], rtol=1e-13)
    for one, chosen, value in zip(wide, found.assignments.tolist(), found.values.tolist(), strict=True):
        assert len(set(chosen)) == shape[0]
        assert one[np.arange(shape[0]), chosen].sum() == pytest.approx(value, rel=1e-13)
    assert (found.bounds >= found.values - 1e-13 * found.values.abs()).all()
    assert found.gaps.tolist() == [0.0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "ties"])
def test_the_longest_side_that_is_interpreted(kind):
    affinities = KINDS[kind](np.random.default_rng(8), (1, 32, 32))
    found = match_on_device(put(affinities))
    assert found.values.tolist() == pytest.approx([optimum(affinities[0])], rel=1e-13)
    assert found.gaps.tolist() == [0.0]


@pytest.mark.parametrize("scale", [2.0**1000, 2.0**-1000])
def test_values_far_from_one(scale):
    affinities = np.random.default_rng(0).standard_normal((1, 5, 6)) * scale
    found = match_on_device(put(affinities))
    assert found.values.tolist() == pytest.approx([optimum(affinities[0])], rel=1e-13)
    assert found.gaps.tolist() == [0.0]


@pytest.mark.parametrize("kind", ["ties", "one column for all"])
def test_few_of_very_many_columns(kind):
    # Room for 4,096 columns leaves the least for prices.
    affinities = np.zeros((2, 6, 4096), np.float32)
    affinities[:, :, :9] = KINDS[kind](np.random.default_rng(5), (2, 6, 9))
    found = match_on_device(put(affinities), columns=torch.tensor([6, 9], device=DEVICE))
    best = [optimum(one[:, :n].astype(np.float64)) for one, n in zip(affinities, (6, 9), strict=True)]
    np.testing.assert_allclose(found.values.cpu(), best, rtol=1e-13)
    assert found.gaps.tolist() == [0.0, 0.0]


STEPS = {
    "any": lambda rng, shape: rng.integers(0, cuda.LEVELS + 1, shape),
    "lowest or highest": lambda rng, shape: cuda.LEVELS * rng.integers(0, 2, shape),
    "one column for all": lambda _, shape: np.full(shape, cuda.LEVELS) * (np.arange(shape[1]) == 1),
    "two columns for all": lambda _, shape: np.full(shape, cuda.LEVELS) * (np.arange(shape[1]) % 4 == 2),
    "alike": lambda _, shape: np.full(shape, cuda.LEVELS),
}


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize(("m", "n"), [(7, 8), (4, 8), (2, 2)])
def test_an_auction_is_best_but_for_its_increment_at_prices_that_fit_its_numbers(m, n, kind):
    from semret.retrieval.matching.cuda_auction_kernels import auction_kernel

    options = cuda.launch_options(cuda.LONGEST_SIDE)["auction"]
    steps = np.zeros((1, m, options["W"]), np.int16)
    steps[0, :, :n] = STEPS[kind](np.random.default_rng(4), (m, n))
    prices, owners = torch.zeros((2, 1, options["W"]), dtype=torch.int32, device=DEVICE)
    if m > 4:
        prices[0, :n] = torch.from_numpy(np.random.default_rng(6).integers(0, cuda.LEVELS + 1, n))
    scans = torch.zeros((1, 2), dtype=torch.int32, device=DEVICE)
    sizes = [torch.tensor([size], dtype=torch.int32, device=DEVICE) for size in (m, n)]
    quanta = torch.ones(1, dtype=torch.float64, device=DEVICE)
    increments = [641, 65, 7, 2]
    auction_kernel[(1,)](put(steps), quanta, *sizes, prices, owners, scans, m, *increments, **options)
    price, owner = prices[0].cpu().numpy(), owners[0].cpu().numpy()
    bound = (2**31 // options["W"]) - cuda.LEVELS
    assert bound > 9 * (cuda.LEVELS + 641)
    assert price.min() >= 0
    assert price.max() <= 9 * (cuda.LEVELS + 641)
    assert not price[n:].any()
    assert (owner[n:] == -1).all()
    won = owner[:n] >= 0
    assert len(set(owner[:n][won])) == won.sum()
    if kind == "any" or scans[0, 0] <= cuda.BIDS_PER_ROW * m:
        assert set(range(m)) <= set(owner[:n].tolist())
    worth = np.where(owner[:n, None] < m, steps[0, np.minimum(owner[:n], m - 1), :n], 0).astype(int) - price[:n]
    own = np.take_along_axis(worth, np.arange(n)[:, None], axis=1)[:, 0]
    assert (own[won] >= worth.max(axis=1)[won] - increments[-1]).all()


def test_bounds_without_a_matching_are_bounds():
    affinities = np.random.default_rng(1).standard_normal((3, 9, 12))
    found = match_on_device(put(affinities), finish=False)
    assert (found.bounds.cpu().numpy() >= [optimum(one) for one in affinities]).all()


def test_the_same_alone_and_in_parts(monkeypatch):
    affinities = put(np.random.default_rng(2).standard_normal((3, 5, 5)).astype(np.float32))
    together = match_on_device(affinities)
    monkeypatch.setattr(cuda, "SCRATCH_BYTES", 2 * 2 * 5 * 16)
    parts = match_on_device(affinities)
    alone = match_on_device(affinities[2:])
    for name in ("assignments", "values", "bounds", "slack"):
        assert torch.equal(getattr(together, name), getattr(parts, name))
        assert torch.equal(getattr(together, name)[2:], getattr(alone, name))


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
def test_what_is_not_finite_is_refused_by_name(value, name):
    affinities = np.zeros((3, 4, 4))
    affinities[2, 1, 3] = value
    with pytest.raises(NonFiniteError, match=f"affinity 2 holds {name}"):
        match_on_device(put(affinities))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4, 3)), "1 <= R <= C <= 4096"),
        (np.zeros((2, 0, 3)), "1 <= R <= C <= 4096"),
        (np.zeros((1, 1, 4097)), "4096"),
        (np.zeros((4, 3)), "shape"),
        (np.zeros((1, 3, 3), dtype=np.int32), "int32"),
    ],
)
def test_what_does_not_fit_is_refused(array, message):
    with pytest.raises(ShapeError, match=message):
        match_on_device(put(array))


def test_no_problem_is_no_error():
    assert match_on_device(put(np.zeros((0, 4, 4)))).values.shape == (0,)


class TestTokens:
    """From tokens: integers as on the processor to the bit, floats to rounding."""

    @pytest.fixture(params=[(20, 20), (9, 20), (20, 9)], ids=str)
    def maps(self, request):
        rng = np.random.default_rng(4)
        first, second = request.param
        integers = [rng.integers(-127, 128, (n, s, 40)).astype(np.int8) for n, s in ((2, first), (3, second))]
        scales = [rng.random(one.shape[:2]).astype(np.float32) for one in integers]
        scales[1][1, 2] = 0.0
        return [IntegerTokens(integers=i, scales=s) for i, s in zip(integers, scales, strict=True)]

    def test_integers_as_on_the_processor(self, maps):
        x, y = (DeviceMaps(tokens=put(one.integers), scales=put(one.scales)) for one in maps)
        pairs = put(np.array([1, 1, 1, 0])), put(np.array([0, 1, 2, 2]))
        found, _ = match_pairs(x, y, *pairs)
        many = prepare_integers(maps[1])
        expected = match_integers(prepare_integers(maps[0][1:]), many).matched.tolist()
        expected += match_integers(prepare_integers(maps[0][:1]), many[2:]).matched.tolist()
        assert found.values.tolist() == expected
        assert found.gaps.tolist() == [0.0] * 4

    def test_the_sweep_bounds_from_above_as_its_formula_says(self, maps):
        x, y = (DeviceMaps(tokens=put(one.integers), scales=put(one.scales)) for one in maps)
        query = DeviceMaps(tokens=x.tokens[:1], scales=x.scales[:1])
        bounds = bounds_of_all(query, y).cpu().numpy()
        one, many = prepare_integers(maps[0][:1]), prepare_integers(maps[1])
        assert (bounds >= match_integers(one, many).matched).all()
        if one.shape[1] <= many.shape[1]:
            np.testing.assert_allclose(bounds, [dual_sweep(each) for each in exact_affinities(one, many)], rtol=1e-4)

    @pytest.mark.parametrize("dtype", [np.float16, np.float32])
    def test_floats_within_rounding(self, dtype):
        rng = np.random.default_rng(5)
        x, y = (rng.standard_normal((2, 18, 70)).astype(dtype), rng.standard_normal((3, 21, 70)).astype(dtype))
        pairs = put(np.array([0, 0, 0])), put(np.array([0, 1, 2]))
        found, swapped = match_pairs(DeviceMaps(tokens=put(x)), DeviceMaps(tokens=put(y)), *pairs)
        expected = match_maps(prepare(x[:1]), prepare(y))
        assert not swapped
        np.testing.assert_allclose(found.values.cpu(), expected.matched, rtol=1e-6)
        assert (found.gaps < 1e-6).all()

    def test_in_parts(self, maps, monkeypatch):
        x, y = (DeviceMaps(tokens=put(one.integers), scales=put(one.scales)) for one in maps)
        pairs = put(np.array([1, 1, 0])), put(np.array([0, 1, 2]))
        together, _ = match_pairs(x, y, *pairs)
        monkeypatch.setattr(cuda_tokens, "AFFINITY_BYTES", 1)
        parts, _ = match_pairs(x, y, *pairs)
        assert torch.equal(together.assignments, parts.assignments)
        assert torch.equal(together.values, parts.values)

    def test_maps_of_other_kinds_are_refused(self, maps):
        x = DeviceMaps(tokens=put(maps[0].integers), scales=put(maps[0].scales))
        y = DeviceMaps(tokens=put(maps[1].as_floats()))
        pair = put(np.array([0])), put(np.array([0]))
        with pytest.raises(ShapeError, match=r"int8 with 40 channels and torch\.float32"):
            match_pairs(x, y, *pair)
        with pytest.raises(ShapeError, match="expected integers with scales"):
            bounds_of_all(y, y)
        with pytest.raises(ShapeError, match=r"expected \(n, S, C\)"):
            DeviceMaps(tokens=put(np.zeros((2, 3, 4), dtype=np.int32)))
        with pytest.raises(ShapeError, match="scales have shape"):
            DeviceMaps(tokens=x.tokens, scales=x.scales[:, :1])


class TestMatchBatch:
    """`semret.match_batch` of tensors."""

    @pytest.fixture(params=["kernels", "processor"])
    def place(self, request, monkeypatch):
        if request.param == "processor":
            monkeypatch.setattr(tensors, "why_unavailable", lambda _: "there are none")
        return torch.device(DEVICE if request.param == "kernels" else "cpu")

    @pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6)])
    @pytest.mark.parametrize("cost", [False, True])
    def test_as_a_loop_over_scipy(self, place, shape, cost):
        costs = torch.rand((4, *shape), generator=torch.Generator().manual_seed(1)).to(place)
        found = match_batch(costs, cost=cost)
        assert found.assignments.device == place
        assert found.exact
        for k, one in enumerate(costs.cpu().numpy().astype(np.float64)):
            rows, columns = linear_sum_assignment(one, maximize=not cost)
            mine = [side.tolist() for side in found.pairs(k)]
            assert mine == [rows.tolist(), columns.tolist()]
            assert float(found.values[k]) == pytest.approx(one[rows, columns].sum())
            assert float((found.bounds[k] - found.values[k]) * (-1 if cost else 1)) >= 0

    def test_sizes_and_padding(self, place):
        rng = np.random.default_rng(6)
        costs = rng.random((5, 6, 7))
        sizes = np.array([[6, 7], [3, 2], [1, 7], [0, 4], [6, 5]])
        for one, (rows, columns) in zip(costs, sizes, strict=True):
            one[rows:], one[:, columns:] = np.nan, np.inf
        found = match_batch(torch.from_numpy(costs).to(place), sizes=torch.from_numpy(sizes), cost=True)
        plain = match_batch(costs, sizes=sizes, cost=True)
        for k, (one, (rows, columns)) in enumerate(zip(costs, sizes.tolist(), strict=True)):
            expected = linear_sum_assignment(one[:rows, :columns])
            for each in (found.assignments[k].tolist(), plain.assignments[k].tolist()):
                assert [i for i, j in enumerate(each) if j >= 0] == expected[0].tolist()
                assert [j for j in each if j >= 0] == expected[1].tolist()
        np.testing.assert_allclose(found.values.cpu(), plain.values, rtol=1e-13)
        assert found.exact
        assert found.values[3] == found.bounds[3] == 0

    def test_only_empty_problems(self, place):
        found = match_batch(torch.zeros((2, 3, 3), device=place), sizes=[[0, 3], [3, 0]])
        assert found.assignments.tolist() == [[-1] * 3] * 2
        assert found.values.tolist() == [0.0, 0.0]

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.bool])
    def test_other_dtypes(self, place, dtype):
        given = torch.tensor([[[3, 2], [2, 0]]], device=place).to(dtype)
        expected = 2.0 if dtype == torch.bool else 4.0
        assert match_batch(given).values.tolist() == [expected]

    def test_gradients_do_not_flow_through(self, place):
        given = torch.rand((1, 3, 3), device=place, requires_grad=True)
        assert not match_batch(given).values.requires_grad

    def test_views_are_taken_as_they_are(self, place):
        base = torch.rand((2, 5, 4, 3), device=place)
        view = base[:, :, :, 1].transpose(1, 2)
        assert torch.equal(match_batch(view).assignments, match_batch(view.contiguous()).assignments)

    def test_another_solver(self, place):
        given = torch.tensor([[[3.0, 2.0], [2.0, 3.0]]], device=place)
        found = match_batch(given, solver="identity")
        assert (found.values.tolist(), found.solver) == ([6.0], "identity")

    @pytest.mark.parametrize("shape", [(2, 0, 3), (2, 3, 0), (0, 3, 3)])
    def test_nothing_is_matched_with_nothing(self, place, shape):
        found = match_batch(torch.zeros(shape, device=place))
        assert found.assignments.tolist() == [[-1] * shape[1]] * shape[0]
        assert found.values.tolist() == [0.0] * shape[0]
        assert found.assignments.device == place

    def test_errors_are_those_of_arrays(self, place):
        with pytest.raises(ShapeError, match="expected 3 axes"):
            match_batch(torch.zeros((3, 3), device=place))
        with pytest.raises(NonFiniteError, match="NaN"):
            match_batch(torch.full((1, 2, 2), float("nan"), device=place))
        with pytest.raises(ArgumentError, match="overflow float64"):
            match_batch(torch.full((1, 2, 2), 1e308, dtype=torch.float64, device=place))
        with pytest.raises(ShapeError, match="complex"):
            match_batch(torch.zeros((1, 2, 2), dtype=torch.complex64, device=place))

    @pytest.mark.parametrize(
        "sizes", [[[1, 1]], [[1, 4], [1, 1]], [[-1, 1], [1, 1]], [[1.5, 1], [1, 1]], [1, 1]], ids=str
    )
    def test_sizes_that_do_not_fit(self, sizes):
        for given in (torch.zeros((2, 3, 3)), np.zeros((2, 3, 3))):
            with pytest.raises(ShapeError, match="sizes h"):
                match_batch(given, sizes=sizes)

    def test_longer_sides_are_for_the_processor(self, monkeypatch):
        monkeypatch.setattr(tensors, "LONGEST_SIDE", 4)
        monkeypatch.setattr(tensors, "match_on_device", None)
        assert match_batch(torch.eye(5)[None]).values.tolist() == [5.0]


def test_a_missing_triton_is_one_line(monkeypatch):
    class Elsewhere:
        """Where a tensor on a card would be."""

        type = "cuda"

    given = torch.eye(3)[None]
    monkeypatch.setattr(tensors, "why_unavailable", lambda _: "Triton is not installed; it comes with torch on Linux")

    class OnCard(torch.Tensor):
        @property
        def device(self):
            return Elsewhere()

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = tensors.on_device(given.as_subclass(OnCard), None, cost=False)
    assert found is None
    assert [str(one.message) for one in said] == [
        "matched on the processor: Triton is not installed; it comes with torch on Linux"
    ]


def test_why_the_kernels_cannot_run():
    cuda.why_unavailable.cache_clear()
    assert cuda.why_unavailable("mps") == "Triton kernels run on cuda devices, not on mps"


@pytest.mark.slow
def test_the_kernels_compile_for_a_card_that_is_not_there():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.support.compile_kernels"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.stdout == "compiled\n", done.stderr
