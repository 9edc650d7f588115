from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from semret.errors import NonFiniteError, ShapeError
from semret.index.codec.projection import GRID, Projection, as_integers, on_grid


def projection(directions, mean=None) -> Projection:
    directions = on_grid(np.asarray(directions, dtype=np.float64))
    return Projection(mean=np.zeros(directions.shape[1], np.float32) if mean is None else mean, directions=directions)


def test_directions_are_half_precision_and_on_the_grid():
    vectors = np.linalg.qr(np.random.default_rng(0).normal(size=(300, 300)))[0]
    rounded = on_grid(vectors)
    assert rounded.dtype == np.float16
    assert not (np.ldexp(rounded.astype(np.float64), GRID) % 1).any()
    assert np.abs(rounded - vectors).max() <= 2.0**-12


def test_coordinates_are_the_exact_products():
    rng = np.random.default_rng(1)
    directions = on_grid(np.linalg.qr(rng.normal(size=(97, 97)))[0][:5])
    rows = rng.normal(size=(11, 97)).astype(np.float16)
    found = projection(directions).coordinates(rows.astype(np.float64), "rows")
    for row, coordinates in zip(rows, found, strict=True):
        for direction, coordinate in zip(directions, coordinates, strict=True):
            exact = sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(row, direction, strict=True))
            assert Fraction(float(coordinate)) == exact


@given(
    arrays(np.float32, (3, 8), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    st.permutations(range(8)),
)
@settings(max_examples=60)
def test_the_order_of_channels_changes_no_bit(rows, order):
    directions = np.linalg.qr(np.random.default_rng(2).normal(size=(8, 8)))[0][:3]
    one = projection(directions).coordinates(rows.astype(np.float64), "rows")
    other = projection(directions[:, order]).coordinates(rows[:, order].astype(np.float64), "rows")
    np.testing.assert_array_equal(one, other)


def test_the_mean_is_subtracted_in_float64():
    found = projection(np.eye(2), np.array([1, 2], np.float32)).centred(np.array([[1e-9, 2.0]]), "rows")
    assert found.tolist() == [[1e-9 - 1, 0.0]]


def test_integers_times_a_power_of_two():
    integers, exponent = as_integers(np.array([0.75, -0.1]), 4)
    assert (integers.tolist(), exponent) == ([12.0, -2.0], -4)
    assert as_integers(np.zeros(3), 4)[0].tolist() == [0, 0, 0]


def test_other_shapes_and_values_are_refused():
    flat = projection(np.eye(2))
    with pytest.raises(ShapeError, match=r"rows has shape \(1, 3\), the codec expects 2 channels"):
        flat.centred(np.zeros((1, 3)), "rows")
    with pytest.raises(NonFiniteError, match="1 NaN"):
        flat.centred(np.array([[np.nan, 0.0]]), "rows")
    with pytest.raises(NonFiniteError, match="too large for float32"):
        flat.coordinates(np.array([[1e300, 0.0]]), "rows")
