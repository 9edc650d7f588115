"""The score of a query's parts on small numbers, and on integers as on floats."""

import numpy as np
import pytest

from semret.errors import NonFiniteError, ShapeError
from semret.integer_tokens import IntegerTokens
from semret.retrieval.similarity.query_score import level_maps, weigh_query


def test_tokens_count_by_their_energy():
    # Squares 9 + 16 = 25 and 0 + 25 = 25: half each, so tokens of length 0.5.
    found = weigh_query(np.array([[3.0, 4.0], [0.0, 5.0]]))
    np.testing.assert_allclose(found, [[0.3, 0.4], [0.0, 0.5]])


def test_the_centre_is_subtracted_first():
    found = weigh_query(np.array([[4.0, 4.0], [1.0, 6.0]]), np.array([1.0, 0.0]))
    np.testing.assert_allclose(found, weigh_query(np.array([[3.0, 4.0], [0.0, 6.0]])))
    levelled = level_maps(np.array([[[4.0, 4.0]]]), np.array([1.0, 0.0]))
    np.testing.assert_allclose(levelled, [[[0.6, 0.8]]])


def test_tokens_of_norm_zero_stay_zero():
    np.testing.assert_array_equal(weigh_query(np.zeros((2, 3))), np.zeros((2, 3)))
    np.testing.assert_array_equal(level_maps(np.array([[[0.0, 0.0], [2.0, 0.0]]])), [[[0.0, 0.0], [1.0, 0.0]]])


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_unit_of_a_map_does_not_count(scale, dtype):
    tokens = np.array([[3.0, 4.0], [0.0, 5.0]])
    np.testing.assert_allclose(weigh_query((tokens * scale).astype(dtype)), [[0.3, 0.4], [0.0, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(level_maps((tokens * scale).astype(dtype)[None])[0], [[0.6, 0.8], [0, 1]], rtol=1e-6)


def test_half_floats_are_computed_in_single_precision():
    assert weigh_query(np.ones((2, 2), dtype=np.float16)).dtype == np.float32
    assert level_maps(np.ones((1, 2, 2), dtype=np.float16)).dtype == np.float32


def test_the_same_on_any_number_of_threads():
    maps = np.random.default_rng(0).normal(size=(40, 9, 7)).astype(np.float32)
    np.testing.assert_array_equal(level_maps(maps, threads=1), level_maps(maps, threads=3))


def test_integers_keep_their_integers():
    # 2 * (3, 4) has the square 100, 1 * (0, 10) too: half each. The integers have the lengths 5 and 10.
    tokens = IntegerTokens(
        integers=np.array([[[3, 4], [0, 10]]], dtype=np.int8), scales=np.array([[2.0, 1.0]], dtype=np.float32)
    )
    weighed, levelled = weigh_query(tokens), level_maps(tokens)
    assert weighed.integers is tokens.integers
    assert levelled.integers is tokens.integers
    assert weighed.scales.dtype == levelled.scales.dtype == np.float64
    np.testing.assert_allclose(weighed.scales, [[0.5 / 5, 0.5 / 10]], rtol=1e-15)
    np.testing.assert_allclose(levelled.scales, [[1 / 5, 1 / 10]], rtol=1e-15)


def test_integers_are_weighted_as_the_floats_that_they_stand_for():
    generator = np.random.default_rng(1)
    integers = generator.integers(-127, 128, size=(3, 8, 6)).astype(np.int8)
    scales = generator.uniform(0, 2, size=(3, 8)).astype(np.float32)
    integers[0, 1], scales[1, 2], scales[2] = 0, 0, 0
    tokens = IntegerTokens(integers=integers, scales=scales)
    np.testing.assert_allclose(level_maps(tokens).as_floats(), level_maps(tokens.as_floats()), atol=1e-6)
    for row in range(3):
        one = tokens[row : row + 1]
        np.testing.assert_allclose(weigh_query(one).as_floats()[0], weigh_query(one.as_floats()[0]), atol=1e-6)


def test_what_is_no_map_is_refused():
    with pytest.raises(NonFiniteError, match="query"):
        weigh_query(np.array([[np.nan, 1.0]]))
    with pytest.raises(NonFiniteError, match="candidates"):
        level_maps(np.array([[[np.inf, 1.0]]]))
    with pytest.raises(ShapeError):
        level_maps(np.ones((2, 2)))
