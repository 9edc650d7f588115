"""Metrics against numbers worked out by hand, against scikit-like definitions, and at their edges."""

import math

import numpy as np
import pytest

from semret.errors import ArgumentError, NonFiniteError, ShapeError
from semret.eval.metrics import f1_scores, jensen_shannon, set_iou, softmax
from semret.eval.statistics import compare_means, estimate_mean, pearson, spearman


def test_f1_counts_instances_of_each_class():
    # cups 2 against 1, books 1 against 3, no plant against 1: TP 2, FN 1, FP 3.
    assert f1_scores([2, 1, 0], [1, 3, 1]) == pytest.approx(2 * 2 / (2 * 2 + 1 + 3))


def test_f1_is_symmetric_and_broadcasts():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, size=(6, 5))
    table = f1_scores(counts[:, None], counts[None])
    assert table.shape == (6, 6)
    np.testing.assert_array_equal(table, table.T)
    np.testing.assert_array_equal(np.diag(table), 1.0)


def test_f1_of_two_empty_images_is_one_and_of_one_empty_image_zero():
    assert f1_scores([0, 0], [0, 0]) == 1.0
    assert f1_scores([0, 0], [0, 3]) == 0.0


def test_f1_refuses_other_classes_and_negative_counts():
    with pytest.raises(ShapeError, match="3 classes and retrieved 2"):
        f1_scores([1, 2, 3], [1, 2])
    with pytest.raises(ArgumentError, match="negative"):
        f1_scores([1, -1], [1, 2])


def test_iou_is_intersection_over_union_of_sets():
    assert set_iou([1, 1, 0, 1], [1, 0, 1, 1]) == pytest.approx(2 / 4)
    assert set_iou([5, 0], [1, 0]) == 1.0  # presence, not number
    assert set_iou([0, 0], [0, 0]) == 1.0
    with pytest.raises(ShapeError):
        set_iou([1, 0], [1, 0, 1])


def test_jensen_shannon_by_hand():
    # m = (.75, .25): KL((1,0)||m)/2 + KL((.5,.5)||m)/2
    expected = math.log(1 / 0.75) / 2 + (0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)) / 2
    assert jensen_shannon([1, 0], [0.5, 0.5]) == pytest.approx(expected)
    assert jensen_shannon([1, 0], [0, 1]) == pytest.approx(math.log(2))
    assert jensen_shannon([0.2, 0.8], [0.2, 0.8]) == 0.0


def test_jensen_shannon_agrees_with_scipy():
    from scipy.spatial.distance import jensenshannon

    p, q = np.random.default_rng(1).dirichlet(np.ones(9), size=2)
    assert jensen_shannon(p, q) == pytest.approx(jensenshannon(p, q) ** 2)


def test_jensen_shannon_of_nearly_equal_distributions_is_a_number_not_below_zero():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(1000), size=20)
    found = jensen_shannon(p, p * (1 + 1e-15 * rng.normal(size=p.shape)))
    assert np.isfinite(found).all()
    assert (found >= 0).all()


def test_jensen_shannon_refuses_what_is_no_distribution():
    with pytest.raises(ArgumentError, match="softmax"):
        jensen_shannon([2.0, 1.0], [0.5, 0.5])
    with pytest.raises(NonFiniteError):
        jensen_shannon([np.nan, 1.0], [0.5, 0.5])


def test_softmax_survives_large_logits():
    np.testing.assert_allclose(softmax([1000.0, 1000.0 + math.log(3)]), [0.25, 0.75], rtol=1e-9)


def test_estimate_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    hits = 0
    for trial in range(200):
        estimate = estimate_mean(rng.normal(0.3, 1.0, 60), seed=trial, resamples=300)
        hits += estimate.low <= 0.3 <= estimate.high
    assert 0.88 <= hits / 200 <= 0.99


def test_estimate_is_the_same_for_the_same_seed_and_of_one_value_is_that_value():
    values = np.random.default_rng(3).random(20)
    assert estimate_mean(values, seed=5) == estimate_mean(values, seed=5)
    assert estimate_mean(values, seed=5) != estimate_mean(values, seed=6)
    one = estimate_mean([0.7])
    assert (one.mean, one.low, one.high, one.n) == (0.7, 0.7, 0.7, 1)


def test_groups_widen_the_interval_of_repeated_values():
    values = np.repeat(np.random.default_rng(4).random(12), 10)
    alone = estimate_mean(values)
    grouped = estimate_mean(values, groups=np.repeat(np.arange(12), 10))
    assert grouped.mean == pytest.approx(alone.mean)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_paired_test_finds_a_shift_and_nothing_in_noise():
    rng = np.random.default_rng(5)
    base, noise = rng.random(80), rng.normal(0, 0.05, 80)
    shifted = compare_means(base + 0.1 + noise, base)
    assert shifted.p < 0.01
    assert shifted.low > 0
    # Of many comparisons without any difference, about one in twenty falls below 0.05.
    below = [compare_means(rng.normal(size=30), rng.normal(size=30), resamples=200).p < 0.05 for _ in range(200)]
    assert np.mean(below) < 0.12


def test_paired_test_of_equal_values_has_p_one_and_of_few_groups_no_small_p():
    assert compare_means([1.0, 2.0], [1.0, 2.0]).p == 1.0
    # Three groups have eight sign patterns, two of which are as extreme as all signs equal: p cannot be below 1/4.
    groups = np.repeat([0, 1, 2], 10)
    assert compare_means(np.ones(30), np.zeros(30), groups=groups).p > 0.2


def test_estimates_refuse_empty_and_broken_input():
    with pytest.raises(ShapeError, match="at least one query"):
        estimate_mean([])
    with pytest.raises(NonFiniteError):
        estimate_mean([1.0, np.nan])
    with pytest.raises(ShapeError, match="same queries"):
        compare_means([1.0, 2.0], [1.0])
    with pytest.raises(ShapeError, match="groups"):
        estimate_mean([1.0, 2.0], groups=[0])
    with pytest.raises(ArgumentError, match="resamples"):
        estimate_mean([1.0], resamples=0)


def test_correlations():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert pearson(x, -2 * x + 1) == pytest.approx(-1)
    assert spearman(x, np.exp(x)) == pytest.approx(1)
    assert pearson(x, np.exp(x)) < 0.95
    assert math.isnan(pearson(x, np.ones(4)))
    with pytest.raises(ShapeError):
        spearman(x, x[:3])
