"""CKA of mini-batches: what a short last batch may do to it, and the jackknife against leaving pictures out by hand."""

import math

import numpy as np
import pytest

from semret.eval.alignment import align, difference
from semret.eval.experiments.cka import split_batches
from semret.retrieval.similarity.cka import cka, hsic, minibatch_cka


def views(count, channels=20, seed=0):
    """Similarity matrices of two representations that share some of what they hold."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, count, channels))
    y[:, :8] = x[:, :8]
    return x, y


def matrices(x, batches):
    return [x[batch] @ x[batch].T for batch in batches]


@pytest.mark.parametrize(("estimator", "off"), [("unbiased", 0.02), ("biased", 0.06)])
def test_a_last_batch_of_four_does_not_weigh_as_much_as_one_of_250(estimator, off):
    x, y = views(254)
    whole = cka(x[:250] @ x[:250].T, y[:250] @ y[:250].T, estimator=estimator)
    short = [slice(0, 250), slice(250, 254)]
    pairs = list(zip(matrices(x, short), matrices(y, short), strict=True))
    assert minibatch_cka(pairs, estimator=estimator) == pytest.approx(whole, abs=off)
    # What came of equal weights, with the biased estimator: far off.
    means = [
        sum(hsic(a, b) for a, b in chosen) for chosen in (pairs, [(k, k) for k, _ in pairs], [(q, q) for _, q in pairs])
    ]
    assert means[0] / math.sqrt(means[1] * means[2]) > whole + 0.15


@pytest.mark.parametrize(("estimator", "off"), [("unbiased", 0.02), ("biased", 0.05)])
def test_254_pictures_in_batches_of_250_give_what_all_together_give(estimator, off):
    x, y = views(254)
    batches = split_batches(254, 250)
    found = align(matrices(x, batches), matrices(y, batches), estimator=estimator)
    assert found.value == pytest.approx(cka(x @ x.T, y @ y.T, estimator=estimator), abs=off)


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_values_without_each_picture_are_those_of_leaving_it_out(estimator):
    x, y = views(16, 5)
    batches = [slice(0, 7), slice(7, 16)]
    ones, others = [matrix + 40 for matrix in matrices(x, batches)], matrices(y, batches)
    found = align(ones, others, estimator=estimator)
    assert found.value == pytest.approx(minibatch_cka(zip(ones, others, strict=True), estimator=estimator), abs=1e-12)
    expected = []
    for number, size in enumerate((7, 9)):
        for picture in range(size):
            kept = np.delete(np.arange(size), picture)
            pairs = list(zip(ones, others, strict=True))
            pairs[number] = tuple(matrix[np.ix_(kept, kept)] for matrix in pairs[number])
            expected.append(minibatch_cka(pairs, estimator=estimator))
    np.testing.assert_allclose(found.without, expected, atol=1e-12)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    x, y = views(4000)
    truth = cka(x @ x.T, y @ y.T, estimator="unbiased")
    hits = 0
    for seed in range(100):
        rows = np.random.default_rng(seed).choice(4000, 40, replace=False)
        low, high = align([x[rows] @ x[rows].T], [y[rows] @ y[rows].T], estimator="unbiased").interval()
        hits += low <= truth <= high
    assert 85 <= hits <= 100


def test_a_representation_with_itself_is_certain_and_differences_are_paired():
    x, y = views(30)
    batches = split_batches(30, 15)
    itself = align(matrices(x, batches), matrices(x, batches), estimator="unbiased")
    assert itself.interval() == pytest.approx((1, 1))
    one = align(matrices(x, batches), matrices(y, batches), estimator="unbiased")
    assert difference(one, one) == (0, 0, 0)
    value, low, high = difference(itself, one)
    assert value == pytest.approx(1 - one.value)
    assert low < value < high


def test_constant_matrices_have_no_alignment():
    found = align([np.ones((6, 6))], [np.eye(6)], estimator="biased")
    assert math.isnan(found.value)
    assert np.isnan(found.without).all()
