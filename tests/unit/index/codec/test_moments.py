"""Moments are exact, and so the same in whatever order and on however many threads rows come."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest

from semret.index.codec import moments as module
from semret.index.codec.eigenvectors import one_blas_thread
from semret.index.codec.file import pack
from semret.index.codec.fit import CodecFitter
from semret.index.codec.moments import Moments
from semret.index.codec.table import parse


def images(count=12, channels=40, seed=3) -> list[np.ndarray]:
    """Maps of very different size: their numbers span 24 powers of two."""
    rng = np.random.default_rng(seed)
    return [np.ldexp(rng.normal(size=(20, channels)), 2 * number - 12).astype(np.float32) for number in range(count)]


def sums_of(maps: list[np.ndarray]) -> tuple[bytes, bytes]:
    found = Moments(maps[0].shape[1])
    for rows in maps:
        found.add(rows)
    return found.mean().tobytes(), found.scatter().tobytes()


def test_the_order_changes_no_bit():
    maps = images()
    expected = sums_of(maps)
    assert sums_of(maps[::-1]) == expected
    random.Random(1).shuffle(maps)
    assert sums_of(maps) == expected


def test_threads_change_no_bit(monkeypatch):
    monkeypatch.setattr(module, "_ROOM", 500)
    maps = images() * 8
    found, gate = Moments(40), threading.Barrier(4)

    def add(part: list[np.ndarray]) -> None:
        gate.wait()
        for rows in part:
            found.add(rows)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, [maps[start::4] for start in range(4)]))
    assert (found.mean().tobytes(), found.scatter().tobytes()) == sums_of(maps)


@pytest.mark.parametrize("channels", [1, 31, 32, 33, 70])
def test_scatter_is_that_of_fractions(channels):
    rows = np.random.default_rng(0).integers(-5, 6, (300, channels)).astype(np.float32)
    found = Moments(channels)
    found.add(rows)
    wide = rows.astype(np.int64)
    expected = wide.T @ wide - np.outer(wide.sum(axis=0), wide.sum(axis=0)) / 300
    assert found.count == 300
    np.testing.assert_allclose(found.scatter(), expected, rtol=0, atol=1e-9)
    assert (found.scatter() == found.scatter().T).all()


def test_sums_beyond_the_digits_of_float64_are_rounded_once(monkeypatch):
    # Whole numbers of 20 bits, 20,000 of them: their squares add up beyond 2^53.
    rows = np.random.default_rng(2).integers(2**20 - 50, 2**20, (20_000, 2))
    rows[:, 1] -= 2**19 + np.arange(20_000) % 7
    found = Moments(2)
    for start in range(0, 20_000, 100):
        found.add(rows[start : start + 100].astype(np.float32))
    products = [[sum(int(a) * int(b) for a, b in zip(x, y, strict=True)) for y in rows.T] for x in rows.T]
    assert products[0][0] > 2**53
    assert found._sums[0].products(2).tolist() == [[float(Fraction(value)) for value in row] for row in products]


@pytest.mark.parametrize("name", ["pca8-int8", "pca8-pq2"])
def test_a_codec_does_not_depend_on_the_order_of_its_images(name):
    maps = images()
    packed = set()
    for order in (maps, maps[::-1], maps[5:] + maps[:5]):
        fitter = CodecFitter(parse(name), 40, 40, pooled_directions=6)
        for rows in order:
            fitter.add(rows[None], rows.mean(axis=0)[None])
        packed.add(pack(fitter.finish())[0])
    assert len(packed) == 1


def test_the_setting_of_the_blas_comes_back():
    import threadpoolctl

    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = threads()
        with one_blas_thread():
            assert set(threads()) <= {1}
        assert threads() == before
