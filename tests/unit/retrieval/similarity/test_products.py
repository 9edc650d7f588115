from __future__ import annotations

import numpy as np
import pytest

from semret.retrieval.similarity.products import float_affinities, matched_product, row_products, squares


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (7, 13, 5, 3), (33, 50, 70, 2), (64, 8, 16, 20), (5, 40, 129, 9)])
def test_affinities_are_the_inner_products_of_every_size(shape):
    rows, columns, channels, maps = shape
    generator = np.random.default_rng(7)
    one = generator.normal(size=(rows, channels)).astype(np.float32)
    many = generator.normal(size=(maps, columns, channels)).astype(np.float32)
    exact = np.einsum("sc,ntc->nst", one.astype(np.float64), many.astype(np.float64))
    limit = channels * 2.0**-24 * np.einsum("sc,ntc->nst", np.abs(one, dtype=np.float64), np.abs(many))
    found = float_affinities(one, many, threads=1)
    assert (np.abs(found - exact) <= 1.01 * limit + 1e-30).all()
    np.testing.assert_array_equal(found, float_affinities(one, many, threads=3))
    np.testing.assert_array_equal(found[-1], float_affinities(one, many[-1:])[0])


def test_an_affinity_does_not_depend_on_its_place():
    generator = np.random.default_rng(8)
    one, other = generator.normal(size=(2, 37, 50)).astype(np.float32)
    rows, columns = generator.permutation(37), generator.permutation(37)
    whole = float_affinities(one, other[None])[0]
    np.testing.assert_array_equal(float_affinities(one[rows], other[None, columns])[0], whole[np.ix_(rows, columns)])


def test_matched_products_by_hand_and_in_any_order():
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0], [1.0, 1.0]])
    assert row_products(a, b, np.array([1, -1])).tolist() == [23.0, 0.0]
    assert matched_product(a, b, np.array([2, 0])) == 3.0 + 39.0
    assert squares(a[None]).tolist() == [[5.0, 25.0]]
    large = np.array([[1e16], [1.0], [-1e16]])
    ones, same = np.ones((3, 1)), np.arange(3)
    assert matched_product(large, ones, same) == matched_product(large[::-1].copy(), ones, same) == 1.0
