"""Independent solvers against each other on instances that are hard in different ways."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from semret.retrieval.matching import match, match_batch
from semret.retrieval.matching.auction import AuctionBatch


def feature_like(rng, rows, columns):
    """Affinities as images give them: few directions, token norms of a wide range, a channel mean taken off."""
    scenes = rng.gamma(0.5, size=(12, 64))
    left, right = (
        rng.dirichlet(np.full(12, 0.3), size) @ scenes * rng.gamma(2, size=(size, 1)) for size in (rows, columns)
    )
    mean = np.concatenate([left, right]).mean(axis=0)
    return (left - mean) @ (right - mean).T


FAMILIES = {
    "uniform": lambda rng, m, n: rng.random((m, n)),
    "normal": lambda rng, m, n: rng.normal(size=(m, n)),
    "features": feature_like,
    "rank one": lambda rng, m, n: np.outer(rng.normal(size=m), rng.normal(size=n)),
    "machol-wien": lambda _, m, n: -np.outer(np.arange(1.0, m + 1), np.arange(1.0, n + 1)),
    "binary": lambda rng, m, n: rng.integers(0, 2, (m, n)).astype(float),
    "few values": lambda rng, m, n: rng.integers(0, 10, (m, n)).astype(float),
    "duplicate rows": lambda rng, m, n: np.repeat(rng.normal(size=(-(-m // 8), n)), 8, axis=0)[:m],
    "duplicate columns": lambda rng, m, n: np.repeat(rng.normal(size=(m, -(-n // 8))), 8, axis=1)[:, :n],
    "one good column": lambda rng, m, n: rng.random((m, n)) * 1e-3 + 1e3 * (np.arange(n) == n // 2),
    "distances on a line": lambda rng, m, n: -np.abs(np.subtract.outer(rng.random(m), rng.random(n))),
    "wide magnitudes": lambda rng, m, n: rng.normal(size=(m, n)) * 10.0 ** rng.uniform(-30, 8, (m, n)),
    "large offset": lambda rng, m, n: 1e4 + rng.random((m, n)),
}
SIZES = [(49, 49), (120, 120), (100, 120), (120, 40), (3, 200)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_auction_finds_the_value_of_scipy(family, size, dtype):
    affinity = FAMILIES[family](np.random.default_rng(0), *size).astype(dtype)
    rows, columns = linear_sum_assignment(affinity, maximize=True)
    matched = affinity[rows, columns].astype(np.float64)
    found = match(affinity)
    assert abs(found.value - matched.sum()) <= 1e-12 * np.abs(matched).sum()
    assert found.exact
    assert found.gap == 0.0


@pytest.mark.parametrize("family", ["uniform", "features", "few values", "duplicate columns"])
@pytest.mark.parametrize("size", [(64, 64), (40, 64), (64, 40)], ids=str)
def test_ortools_agrees_to_the_grain_of_its_integers(family, size):
    affinity = FAMILIES[family](np.random.default_rng(1), *size).astype(np.float32)
    reference, found = match(affinity, solver="ortools"), match(affinity)
    grain = float(np.ptp(affinity)) * 2.0**-40 * min(size)
    assert found.value - grain <= reference.value <= found.value + 1e-12 * abs(found.value)
    assert reference.bound >= found.value


def test_ortools_keeps_small_affinities():
    """The paper's published code cuts costs to thousandths, which loses them."""
    affinity = np.random.default_rng(2).random((32, 32)) * 1e-6
    assert match(affinity, solver="ortools").value == pytest.approx(match(affinity).value, rel=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (4, 4), (6, 3), (6, 6), (7, 7)], ids=str)
def test_auction_equals_trying_everything(size):
    rng = np.random.default_rng(3)
    for _ in range(5):
        affinity = rng.integers(-9, 10, size).astype(np.float64)
        wide = affinity if size[0] <= size[1] else affinity.T
        rows, columns = wide.shape
        chosen = np.array(list(itertools.permutations(range(columns), rows)))
        assert match(affinity).value == wide[np.arange(rows), chosen].sum(axis=1).max()


@pytest.mark.parametrize("size", [(300, 300), (300, 310), (200, 512), (512, 130)], ids=str)
def test_larger_problems(size):
    rng = np.random.default_rng(4)
    for family in ("features", "few values", "rank one"):
        affinity = FAMILIES[family](rng, *size).astype(np.float32)
        rows, columns = linear_sum_assignment(affinity, maximize=True)
        best = affinity[rows, columns].astype(np.float64).sum()
        found = match(affinity)
        assert found.value == pytest.approx(best, rel=1e-12)
        assert found.gap == 0.0


@pytest.mark.slow
def test_sixteen_thousand_positions_neither_overflow_nor_lose_the_optimum():
    # A permuted diagonal of known sum dominates; the rest is noise that cannot pay for leaving it.
    rng = np.random.default_rng(5)
    size = 16_384
    affinity = rng.random((size, size), dtype=np.float32)
    planted = rng.permutation(size)
    affinity[np.arange(size), planted] += 1
    found = match(affinity)
    assert found.assignment.tolist() == planted.tolist()
    assert found.gap == 0.0


def test_near_ties_are_decided_like_float64_sums():
    """Two matchings that differ in the last bits of float32: the better one must be found."""
    base = np.float32(0.7)
    better = np.nextafter(base, np.float32(1))
    for size in (2, 40):
        for place in range(size):
            affinity = np.full((size, size), -1, dtype=np.float32)
            affinity[np.arange(size), np.arange(size)] = base
            affinity[np.arange(size), (np.arange(size) + 1) % size] = base
            affinity[place, (place + 1) % size] = better
            found = match(affinity)
            assert found.assignment.tolist() == [(row + 1) % size for row in range(size)]


def test_a_batch_of_small_problems_equals_scipy_on_each():
    rng = np.random.default_rng(6)
    batch = np.stack([feature_like(rng, 49, 49) for _ in range(60)]).astype(np.float32)
    found = match_batch(batch, threads=2)
    best = [affinity[linear_sum_assignment(affinity, maximize=True)].astype(np.float64).sum() for affinity in batch]
    assert found.values.tolist() == pytest.approx(best, rel=1e-13)
    fine = AuctionBatch(batch).tighten("fine")
    assert (fine >= found.values).all()
    assert fine.sum() - sum(best) < 0.05 * np.abs(best).sum()


def test_compiled_code_of_one_process_serves_the_next():
    code = (
        "import sys, numpy as np\n"
        "from semret.retrieval.matching import match\n"
        "match(np.eye(3, dtype=np.float32))\n"
        "print('numba' in sys.modules)\n"
    )
    match(np.eye(3, dtype=np.float32))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert done.stderr == ""
