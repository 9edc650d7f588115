"""What each pair of tokens adds to a score: by hand, for floats and integers, and the sums."""

import math

import numpy as np
import pytest

from semret.errors import ArgumentError, ShapeError
from semret.integer_tokens import IntegerTokens
from semret.retrieval.similarity.integer_maps import prepare_integers
from semret.retrieval.similarity.maps import prepare
from semret.retrieval.similarity.shares import balance, require_shares, share_out

QUERY = [[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
OTHER = [[0.0, 2.0], [1.0, 0.0]]


def floats(tokens):
    return prepare(np.asarray([tokens]))


def integers(tokens):
    return prepare_integers(IntegerTokens(integers=np.int8([tokens]), scales=np.ones((1, len(tokens)), np.float32)))


@pytest.mark.parametrize("kind", [floats, integers])
def test_shares_of_a_matching_by_hand(kind):
    # 3 * 1 and 1 * 2; the norms are sqrt(10) and sqrt(5), and sqrt(50) is the product of both.
    found = share_out(kind(QUERY), kind(OTHER), kernel="linear")
    assert (found.score, found.partners.tolist(), found.shares.tolist()) == (5.0, [1, 0, -1], [3.0, 2.0, 0.0])
    cosine = share_out(kind(QUERY), kind(OTHER))
    assert cosine.shares == pytest.approx([3 / math.sqrt(50), 2 / math.sqrt(50), 0])
    assert cosine.score == math.fsum(cosine.shares) == pytest.approx(5 / math.sqrt(50))
    assert cosine.exact


@pytest.mark.parametrize("kind", [floats, integers])
def test_shares_of_equal_positions(kind):
    found = share_out(kind(QUERY[:2]), kind([[2, 5], [7, -1]]), invariance="none", kernel="linear")
    assert (found.score, found.partners.tolist(), found.shares.tolist()) == (5.0, [0, 1], [6.0, -1.0])
    with pytest.raises(ShapeError, match="positions"):
        share_out(kind(QUERY), kind(OTHER), invariance="none")


@pytest.mark.parametrize("kind", [floats, integers])
def test_shares_of_late_interaction(kind):
    # Both tokens are nearest to the first of the candidate: cosines 1 and 0.6, of two tokens the mean.
    query, other = kind([[3, 4], [1, 0]]), kind([[6, 8], [0, -1]])
    found = share_out(query, other, invariance="maxsim")
    assert found.partners.tolist() == [0, 0]
    assert found.shares == pytest.approx([0.5, 0.3])
    assert found.score == math.fsum(found.shares) == pytest.approx(0.8)
    linear = share_out(query, other, invariance="maxsim", kernel="linear")
    assert (linear.score, linear.shares.tolist()) == (56.0, [50.0, 6.0])


def test_maps_of_norm_zero_have_shares_of_zero():
    for invariance in ("permutation", "none", "maxsim"):
        found = share_out(floats(np.zeros((2, 3))), floats(np.ones((2, 3))), invariance=invariance)
        assert (found.score, found.shares.tolist()) == (0.0, [0.0, 0.0])


def test_products_beyond_float64_have_shares_all_the_same():
    query, other = floats(np.float64(QUERY) * 1e200), floats(np.float64(OTHER) * 1e-200)
    found = share_out(query, other)
    assert found.score == math.fsum(found.shares) == pytest.approx(5 / math.sqrt(50))


def test_what_has_no_shares_is_refused():
    with pytest.raises(ArgumentError, match=r"kernel rbf is no sum over patches.*kernel cosine"):
        require_shares("rbf", "permutation")
    with pytest.raises(ArgumentError, match=r"invariance pooled.*nothing to explain"):
        share_out(floats(QUERY), floats(QUERY), invariance="pooled")
    with pytest.raises(ArgumentError, match="integer tokens"):
        share_out(floats(QUERY), integers(QUERY))
    with pytest.raises(ShapeError):
        share_out(floats(QUERY), floats([[1.0, 2.0, 3.0]]))


def test_balance_changes_last_digits_only():
    shares = np.array([0.1, 0.2, 0.7, 0.0])
    total = np.nextafter(math.fsum(shares), 2)
    changed = balance(shares, total)
    assert math.fsum(changed) == total
    assert changed[3] == 0
    assert changed == pytest.approx(shares, abs=1e-15)
    assert balance(shares, math.fsum(shares)) is shares


def test_balance_comes_as_near_as_the_shares_allow():
    # Multiples of 2**-54 cannot sum to the total.
    shares, total = np.array([0.5, -0.4999999999]), 1.0000000827403710e-10
    found = math.fsum(balance(shares, total))
    assert abs(found - total) <= np.spacing(0.5)
    assert balance(np.zeros(3), 0.0).tolist() == [0, 0, 0]
