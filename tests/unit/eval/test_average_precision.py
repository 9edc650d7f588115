"""Average precision, by hand."""

import pytest

from semret.errors import NonFiniteError, ShapeError
from semret.eval.metrics import average_precision


@pytest.mark.parametrize(
    ("scores", "relevant", "expected"),
    [
        ([3, 2, 1], [1, 1, 0], 1.0),
        ([3, 2, 1], [0, 0, 1], 1 / 3),
        ([1, 3, 2, 0], [1, 0, 1, 0], (1 / 2 + 2 / 3) / 2),
        ([5, 5, 5], [0, 1, 1], (1 / 2 + 2 / 3) / 2),  # ties: in the order of the items
        ([5, 5, 5], [1, 1, 0], 1.0),
        ([-1], [1], 1.0),
    ],
)
def test_average_precision(scores, relevant, expected):
    assert average_precision(scores, relevant) == pytest.approx(expected)


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(ShapeError, match="at least one relevant"):
        average_precision([1, 2], [0, 0])
    with pytest.raises(ShapeError):
        average_precision([1, 2], [1])
    with pytest.raises(NonFiniteError):
        average_precision([1, float("nan")], [1, 0])
