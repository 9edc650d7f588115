"""Sets of representations as a codec would store them."""

import numpy as np
import pytest

from semret.errors import ArgumentError, UnknownNameError
from semret.eval.coded import coded
from semret.retrieval.similarity.rsm import rsm


@pytest.fixture
def maps():
    return np.random.default_rng(3).standard_normal((9, 5, 6)).astype(np.float32) + 2


def test_all_directions_in_int8_change_similarities_by_the_rounding_alone(maps):
    (one,) = coded(maps, "pca6-int8")
    assert one.shape == (9, 5, 7)
    full, found = rsm(maps), rsm(one)
    assert not np.array_equal(full, found)
    assert found == pytest.approx(full, abs=0.01)
    # What lies in the mean is not lost: without it the maps have nothing in common.
    assert full.min() > 0.6


def test_other_layouts_are_read_as_maps(maps):
    grid = maps.transpose(0, 2, 1).reshape(9, 6, 5, 1)
    tokens = np.concatenate([np.full((9, 1, 6), 99, dtype=np.float32), maps], axis=1)
    expected = coded(maps, "pca3-int4")[0][:]
    assert np.array_equal(coded(grid, "pca3-int4", layout="NCHW")[0][:], expected)
    assert np.array_equal(coded(tokens, "pca3-int4", layout="NTD", prefix_tokens=1)[0][:], expected)


def test_the_codec_is_that_of_the_last_set(maps):
    other = maps[:4] * 3
    one, second = coded(maps, "pca2-int8", other)
    assert np.array_equal(second[:], coded(other, "pca2-int8")[0][:])
    assert not np.array_equal(one[:4], second[:])


@pytest.mark.parametrize(("name", "error"), [("none", ArgumentError), ("pca0-int8", UnknownNameError)])
def test_what_is_no_codec_is_refused(maps, name, error):
    with pytest.raises(error):
        coded(maps, name)
