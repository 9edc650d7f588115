from __future__ import annotations

import h5py
import numpy as np
import pytest

from semret.errors import ArgumentError, NonFiniteError, ShapeError, UnknownNameError
from semret.retrieval.similarity.names import INVARIANCES, KERNELS
from semret.retrieval.similarity.pairs import matched_similarity
from semret.retrieval.similarity.rsm import rsm


@pytest.fixture
def sets():
    generator = np.random.default_rng(21)
    return generator.normal(size=(5, 6, 4)).astype(np.float32), generator.normal(size=(3, 6, 4)).astype(np.float32)


@pytest.mark.parametrize("invariance", INVARIANCES)
def test_entries_are_pair_similarities_and_all_kernels_come_together(sets, invariance):
    x, y = sets
    found = rsm(x, y, kernel=KERNELS, invariance=invariance, sigma=3.0)
    assert list(found) == list(KERNELS)
    for kernel, matrix in found.items():
        pairs = [
            [float(matched_similarity(a, b, kernel=kernel, invariance=invariance, sigma=3.0)) for b in y] for a in x
        ]
        np.testing.assert_allclose(matrix, pairs, rtol=1e-13)
        np.testing.assert_array_equal(matrix, rsm(x, y, kernel=kernel, invariance=invariance, sigma=3.0))


@pytest.mark.parametrize("invariance", INVARIANCES)
def test_a_set_with_itself_is_what_two_copies_give(sets, invariance):
    x, _ = sets
    for kernel, matrix in rsm(x, kernel=KERNELS, invariance=invariance).items():
        np.testing.assert_allclose(matrix, rsm(x, x.copy(), kernel=kernel, invariance=invariance), rtol=1e-12)
        if invariance != "maxsim":
            np.testing.assert_array_equal(matrix, matrix.T)
        if kernel != "linear":
            np.testing.assert_allclose(np.diag(matrix), 1.0, rtol=1e-14)


def test_symmetric_work_is_done_once(sets):
    x, y = sets
    seen = []
    rsm(x, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (15, 15)
    rsm(x, y, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (15, 15)
    rsm(x, invariance="maxsim", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (25, 25)


def test_an_approximate_solver_is_asked_from_both_sides(sets):
    x, _ = sets
    np.testing.assert_array_equal(rsm(x, solver="greedy"), rsm(x, x.copy(), solver="greedy"))


@pytest.mark.parametrize("invariance", ["permutation", "none", "maxsim"])
def test_tiles_change_nothing(sets, invariance):
    x, y = sets
    for tile_bytes in (1, 4 * 6 * 4 * 2):
        for other in (None, y):
            whole = rsm(x, other, invariance=invariance, kernel="rbf", center="channel")
            tiled = rsm(x, other, invariance=invariance, kernel="rbf", center="channel", tile_bytes=tile_bytes)
            np.testing.assert_array_equal(whole, tiled)


def test_bandwidth_is_the_median_of_the_matrix(sets):
    x, y = sets
    linear = rsm(x, y, kernel="linear")
    distances = (x**2).sum(axis=(1, 2))[:, None] + (y**2).sum(axis=(1, 2)) - 2 * linear
    sigma = np.sqrt(np.median(distances)) + 1e-3
    np.testing.assert_allclose(rsm(x, y, kernel="rbf"), np.exp(-distances / (2 * sigma**2)), rtol=1e-6)


def test_layouts_hold_the_same_representations(sets):
    x, _ = sets
    grids = x.reshape(5, 2, 3, 4).transpose(0, 3, 1, 2)
    tokens = np.concatenate([np.full((5, 2, 4), 1e3, dtype=np.float32), x], axis=1)
    expected = rsm(x, invariance="none")
    np.testing.assert_array_equal(rsm(grids, invariance="none", layout="NCHW"), expected)
    np.testing.assert_array_equal(rsm(tokens, invariance="none", layout="NTD", prefix_tokens=2), expected)


def test_centres_come_from_the_database(sets):
    x, y = sets
    channel, position = y.mean(axis=(0, 1), dtype=np.float64), y.mean(axis=0, dtype=np.float64)
    for name, mean in (("channel", channel), ("position", position)):
        expected = rsm(x - mean, y - mean)
        np.testing.assert_allclose(rsm(x, y, center=name), expected, rtol=1e-5)
        np.testing.assert_array_equal(rsm(x, y, center=name), rsm(x, y, center=mean))
    np.testing.assert_allclose(rsm(x, center="channel"), rsm(x - x.mean(axis=(0, 1))), rtol=1e-4, atol=1e-6)


def test_sets_on_disk_are_read_by_slices(sets, tmp_path):
    x, y = sets
    np.save(tmp_path / "x.npy", x)
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["y"] = y
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        np.testing.assert_array_equal(rsm(mapped, file["y"], tile_bytes=200), rsm(x, y))


def test_sets_of_other_sizes_and_types(sets):
    x, y = sets
    assert rsm(x, y[:, :2]).shape == (5, 3)
    assert rsm(x[:0], y).shape == (0, 3)
    assert rsm(x[:0]).shape == (0, 0)
    np.testing.assert_allclose(rsm(x.astype(np.float16), y), rsm(x, y), atol=2e-3)
    integers = np.round(x).astype(np.int8)
    np.testing.assert_array_equal(rsm(integers), rsm(integers.astype(np.float32)))


def test_refusals(sets):
    x, y = sets
    with pytest.raises(ShapeError, match="layout NSC expects 3 axes"):
        rsm(x[0])
    with pytest.raises(ShapeError, match="no position or channel is left"):
        rsm(x, layout="NTD", prefix_tokens=6)
    with pytest.raises(ArgumentError, match="prefix_tokens is 1"):
        rsm(x, prefix_tokens=1)
    with pytest.raises(ShapeError, match="same number of channels"):
        rsm(x, y[:, :, :3])
    with pytest.raises(ShapeError, match="the centre has shape"):
        rsm(x, y, center=np.zeros(5))
    with pytest.raises(UnknownNameError, match="center 'mean'"):
        rsm(x, center="mean")
    with pytest.raises(UnknownNameError, match="layout 'NWHC'"):
        rsm(x, layout="NWHC")
    with pytest.raises(ArgumentError, match="kernel is empty"):
        rsm(x, kernel=[])
    with pytest.raises(ArgumentError, match="window: invariance none"):
        rsm(x, invariance="none", window=2)
    with pytest.raises(ArgumentError, match="tile_bytes is 0"):
        rsm(x, tile_bytes=0)
    with pytest.raises(NonFiniteError, match="y holds 1 NaN"):
        rsm(x, np.where(y == y[1, 2, 3], np.nan, y))
