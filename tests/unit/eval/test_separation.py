"""Overlapping crops against different pictures: areas by hand, and resampling pictures rather than batches."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from semret.eval.separation import separate, split_pairs


def random_batch(rng, pictures, gain=1.0):
    noise = rng.normal(size=(2 * pictures, 2 * pictures))
    matrix = noise + noise.T
    own = np.arange(pictures)
    lift = gain * rng.gamma(2.0, size=pictures)
    matrix[own, own + pictures] += lift
    matrix[own + pictures, own] += lift
    return matrix


def auc(positive, negative):
    """Area under the ROC curve, ties counting half, as SciPy has it."""
    return mannwhitneyu(positive, negative, method="asymptotic").statistic / (len(positive) * len(negative))


def test_a_tie_counts_half_as_in_scipy():
    # The pair of picture 0, 3, exceeds 1, 2 and 1 and ties with 3; that of picture 1, 6, exceeds them all.
    matrix = np.array([[9, 1, 3, 2], [1, 9, 3, 6], [3, 3, 9, 1], [2, 6, 1, 9]], dtype=float)
    found = separate([matrix], resamples=10)
    assert found.placements.tolist() == [3.5 / 4, 1.0]
    assert found.area == auc(*split_pairs(matrix))


def test_pairs_of_crops_are_told_apart():
    matrix = np.array([[9, 1, 5, 2], [1, 9, 3, 6], [5, 3, 9, 4], [2, 6, 4, 9]], dtype=float)
    same, different = split_pairs(matrix)
    assert sorted(same) == [5, 6]
    assert sorted(different) == [1, 2, 3, 4]


def test_the_area_is_the_mean_over_pictures_of_what_their_pair_exceeds():
    rng = np.random.default_rng(0)
    batches = [random_batch(rng, 6), random_batch(rng, 6)]
    found = separate(batches, resamples=50)
    assert found.area == pytest.approx(np.mean([auc(*split_pairs(matrix)) for matrix in batches]))
    assert found.placements.shape == (12,)


def test_ties_count_half():
    found = separate([np.ones((6, 6))], resamples=20)
    assert found.area == 0.5
    assert found.interval() == (0.5, 0.5)


def test_a_resample_is_the_area_of_the_pictures_drawn():
    rng = np.random.default_rng(1)
    matrix = random_batch(rng, 5)
    found = separate([matrix], seed=3, resamples=40)
    drawn = np.random.default_rng([3, 9]).integers(0, 5, size=(40, 5))
    for row, value in zip(drawn, found.resampled, strict=True):
        same = [matrix[i, i + 5] for i in row]
        different = [
            matrix[a, b]
            for place, i in enumerate(row)
            for j in row[place + 1 :]
            if i != j  # a picture's copy is no different picture
            for a in (i, i + 5)
            for b in (j, j + 5)
        ]
        assert (np.isnan(value) and not different) or value == pytest.approx(auc(same, different))


def test_the_interval_does_not_collapse_where_batches_happen_to_agree():
    rng = np.random.default_rng(2)
    matrix = random_batch(rng, 10)
    found = separate([matrix] * 4, resamples=400)  # four batches of one area: over batches there is no spread
    low, high = found.interval()
    assert low < found.area < high
    assert high - low > 0.05


def test_differences_are_paired_and_a_single_batch_has_one():
    rng = np.random.default_rng(4)
    one, other = (
        separate([random_batch(rng, 10, 2)], resamples=300),
        separate([random_batch(rng, 10, 0)], resamples=300),
    )
    assert one.minus(one) == (0, 0, 0)
    mean, low, high = one.minus(other)
    assert low < mean == one.area - other.area < high
