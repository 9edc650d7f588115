from __future__ import annotations

import numpy as np
import pytest

from semret.errors import ShapeError
from semret.index.backbones.pooling import pool


def test_mean_over_positions_by_hand() -> None:
    tokens = np.array([[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, -1.0]]])
    pooled = pool(tokens)
    assert pooled.dtype == np.float32
    np.testing.assert_array_equal(pooled, [[2, 4], [0, -0.5]])


def test_no_image_gives_no_embedding() -> None:
    assert pool(np.zeros((0, 4, 3), np.float32)).shape == (0, 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_sums_do_not_lose_small_terms(dtype: type) -> None:
    """A float16 sum stops at 2048, a float32 sum of 4,096 equal terms drifts."""
    tokens = np.full((1, 4096, 2), 0.1, dtype)
    np.testing.assert_array_equal(pool(tokens), np.full((1, 2), dtype(0.1), np.float32))


def test_permuted_positions_have_the_same_mean() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((3, 50, 8)).astype(np.float32)
    np.testing.assert_allclose(pool(tokens[:, rng.permutation(50)]), pool(tokens), rtol=1e-6)


def test_the_pooled_product_bounds_the_matched_one_from_below() -> None:
    """S * <mean a, mean b> is the average over all assignments, so no optimum lies under it."""
    from scipy.optimize import linear_sum_assignment

    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.standard_normal((2, 1, 9, 5)).astype(np.float32)
        affinity = a[0] @ b[0].T
        best = affinity[linear_sum_assignment(affinity, maximize=True)].sum()
        assert 9 * float(pool(a)[0] @ pool(b)[0]) <= best + 1e-4


@pytest.mark.parametrize("shape", [(4, 3), (1, 0, 3), (1, 3, 0), (1, 2, 2, 2)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        pool(np.zeros(shape, np.float32))
