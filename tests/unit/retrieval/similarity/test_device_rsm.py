"""`semret.rsm` on a device gives the matrix of the processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semret import rsm
from semret.errors import ArgumentError, NonFiniteError, ShapeError
from semret.retrieval.similarity import device_tiles
from tests.support import interpreter  # noqa: F401 - makes it quicker

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KERNELS = ["cosine", "linear", "rbf"]


@pytest.fixture
def maps():
    some = np.random.default_rng(0).standard_normal((5, 9, 12)).astype(np.float32)
    # One is another with its tokens in another order: their distance is 0, which the bandwidth leaves out.
    some[4] = some[1, ::-1]
    return some


def assert_equal(found, expected):
    for kernel in KERNELS:
        np.testing.assert_allclose(found[kernel], expected[kernel], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("room", [device_tiles._INTERPRETED_BYTES, 1])
def test_a_set_with_itself_in_tiles(maps, room, monkeypatch):
    monkeypatch.setattr(device_tiles, "_INTERPRETED_BYTES", room)
    told = []
    options = {"kernel": KERNELS, "center": "channel", "tile_bytes": 2 * maps[0].nbytes}
    found = rsm(maps, device=DEVICE, progress=lambda *now: told.append(now), **options)
    assert_equal(found, rsm(maps, **options))
    assert told[-1] == (15, 15)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_two_sets_of_other_sizes(maps, dtype):
    other = np.random.default_rng(1).standard_normal((3, 6, 12)).astype(dtype)
    x = maps.astype(dtype)
    assert_equal(rsm(x, other, kernel=KERNELS, device=DEVICE), rsm(x, other, kernel=KERNELS))


@pytest.mark.parametrize("scale", [1e-150, 1e150, 1e-250, 1e250])
def test_maps_far_from_one(maps, scale):
    x = maps.astype(np.float64) * scale
    np.testing.assert_allclose(rsm(x, device=DEVICE), rsm(x), rtol=1e-9)


def test_no_map(maps):
    assert rsm(maps[:0], maps, device=DEVICE).shape == (0, 5)


def test_what_is_not_finite_or_does_not_fit(maps):
    maps[3, 2, 1] = np.nan
    with pytest.raises(NonFiniteError, match="x"):
        rsm(maps, device=DEVICE)
    with pytest.raises(ShapeError, match="channels"):
        rsm(maps[:3], maps[:3, :, :7], device=DEVICE)


@pytest.mark.parametrize("options", [{"invariance": "none"}, {"invariance": "maxsim"}, {"solver": "greedy"}], ids=str)
def test_a_device_without_anything_to_match(maps, options):
    with pytest.raises(ArgumentError, match="leave the device out"):
        rsm(maps, device=DEVICE, **options)


@pytest.mark.parametrize("device", ["gpu", "", "mps", "cuda:99"])
def test_devices_that_cannot(maps, device):
    with pytest.raises(ArgumentError, match=f"device '{device}'"):
        rsm(maps, device=device)
