import numpy as np
import pytest

from semret.errors import NonFiniteError, ShapeError
from semret.integer_tokens import IntegerTokens


def test_a_token_is_its_scale_times_its_integers():
    tokens = IntegerTokens(
        integers=np.array([[[3, -2], [0, 127]]], dtype=np.int8), scales=np.array([[0.5, 2.0]], dtype=np.float32)
    )
    assert tokens.shape == (1, 2, 2)
    np.testing.assert_array_equal(tokens.as_floats(), [[[1.5, -1.0], [0.0, 254.0]]])
    assert tokens.as_floats().dtype == np.float32


def test_rows_are_taken_with_their_scales():
    tokens = IntegerTokens(integers=np.arange(12, dtype=np.int8).reshape(3, 2, 2), scales=np.arange(6.0).reshape(3, 2))
    chosen = tokens[np.array([2, 0])]
    np.testing.assert_array_equal(chosen.integers[:, 0, 0], [8, 0])
    np.testing.assert_array_equal(chosen.scales, [[4, 5], [0, 1]])
    assert len(tokens[1:]) == 2


@pytest.mark.parametrize(
    ("integers", "scales", "error"),
    [
        (np.zeros((2, 2), np.int8), np.zeros(2), ShapeError),
        (np.zeros((1, 2, 2), np.int16), np.zeros((1, 2)), ShapeError),
        (np.zeros((1, 2, 2), np.int8), np.zeros((1, 2), np.int8), ShapeError),
        (np.zeros((1, 2, 2), np.int8), np.zeros((1, 3)), ShapeError),
        (np.zeros((1, 2, 2), np.int8), np.array([[1, np.nan]]), NonFiniteError),
    ],
)
def test_other_shapes_dtypes_and_scales_are_refused(integers, scales, error):
    with pytest.raises(error):
        IntegerTokens(integers=integers, scales=scales)
