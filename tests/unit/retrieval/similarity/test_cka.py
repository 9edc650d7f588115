"""HSIC and CKA against their definitions, written out with the centring matrix and with four nested sums."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from semret.errors import ArgumentError, NonFiniteError, ShapeError, UnknownNameError
from semret.retrieval.similarity.cka import cka, hsic, minibatch_cka


@pytest.fixture
def pair():
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(7, 4)), generator.normal(size=(7, 3))
    return x @ x.T, np.exp(-((y[:, None] - y) ** 2).sum(axis=2))


def test_biased_hsic_is_equation_1(pair):
    k, l = pair  # noqa: E741
    h = np.eye(7) - np.full((7, 7), 1 / 7)
    assert hsic(k, l) == pytest.approx(np.trace(k @ h @ l @ h) / 36, rel=1e-12)


def test_unbiased_hsic_is_the_mean_over_tuples_of_different_items(pair):
    k, l = pair  # noqa: E741
    total = count = 0.0
    for a, b, c, d in itertools.permutations(range(7), 4):
        total += k[a, b] * (l[a, b] + l[c, d] - 2 * l[a, c])
        count += 1
    assert hsic(k, l, estimator="unbiased") == pytest.approx(total / count, rel=1e-10)


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_cka_is_one_for_scaled_and_shifted_copies_and_symmetric(pair, estimator):
    k, l = pair  # noqa: E741
    assert cka(k, 3 * k + 5, estimator=estimator) == pytest.approx(1.0, abs=1e-12)
    assert cka(k, l, estimator=estimator) == pytest.approx(cka(l, k, estimator=estimator), abs=1e-15)
    assert cka(k, l, estimator=estimator) < 0.9


def test_cka_of_two_items_by_hand():
    # Centring leaves [[1, -1], [-1, 1]] times 1/2 and -1/2: perfectly opposed.
    assert cka(np.eye(2), 1 - np.eye(2)) == pytest.approx(-1.0)
    assert hsic(np.eye(2), np.eye(2)) == 1.0


def test_independent_data_average_to_zero_only_without_bias():
    generator = np.random.default_rng(0)
    found = {"biased": [], "unbiased": []}
    for _ in range(200):
        x, y = generator.normal(size=(2, 10, 5))
        for estimator, values in found.items():
            values.append(hsic(x @ x.T, y @ y.T, estimator=estimator))
    error = np.std(found["unbiased"]) / math.sqrt(200)
    assert abs(np.mean(found["unbiased"])) < 4 * error
    assert np.mean(found["biased"]) > 8 * error


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_a_constant_matrix_has_no_alignment(estimator):
    assert math.isnan(cka(np.full((5, 5), 0.1), np.eye(5) + np.arange(5) + np.arange(5)[:, None], estimator=estimator))


def test_one_batch_is_plain_cka_and_means_are_taken_before_the_ratio(pair):
    k, l = pair  # noqa: E741
    assert minibatch_cka([(k, l)]) == pytest.approx(cka(k, l, estimator="unbiased"), abs=1e-15)
    small = k[:5, :5], l[:5, :5]
    means = [
        (7 * hsic(*big, estimator="biased") + 5 * hsic(*little, estimator="biased")) / 12
        for big, little in [
            ((k, l), small),
            ((k, k), (small[0], small[0])),
            ((l, l), (small[1], small[1])),
        ]
    ]
    expected = means[0] / math.sqrt(means[1] * means[2])
    assert minibatch_cka([(k, l), small], estimator="biased") == pytest.approx(expected, abs=1e-14)


def test_refuses_what_cannot_be_aligned():
    with pytest.raises(ShapeError, match="square matrix of at least 2"):
        cka(np.eye(1), np.eye(1))
    with pytest.raises(ShapeError, match="square matrix of at least 4"):
        cka(np.eye(3), np.eye(3), estimator="unbiased")
    with pytest.raises(ShapeError, match="same items"):
        cka(np.eye(3), np.eye(4))
    with pytest.raises(ShapeError):
        cka(np.zeros((3, 4)), np.zeros((3, 4)))
    with pytest.raises(ArgumentError, match="not symmetric"):
        cka([[1.0, 0.0], [1.0, 1.0]], np.eye(2))
    with pytest.raises(NonFiniteError):
        cka([[1.0, np.nan], [np.nan, 1.0]], np.eye(2))
    with pytest.raises(UnknownNameError, match="did you mean unbiased"):
        cka(np.eye(4), np.eye(4), estimator="unbaised")
    with pytest.raises(ArgumentError, match="no batch"):
        minibatch_cka([])
