"""Leading eigenvectors are those of NumPy, whether SciPy's routine can be had or not."""

from __future__ import annotations

import numpy as np
import pytest

from semret.index.codec import lapack


def matrix(size, seed=0):
    vectors = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
    return vectors, (vectors * np.arange(1, size + 1)) @ vectors.T


@pytest.fixture(params=["SciPy's", "another signature", "an error"])
def routine(request, monkeypatch):
    lapack._routine.cache_clear()
    if request.param == "another signature":
        monkeypatch.setattr(lapack, "_ARGUMENTS", ("char *", "long *"))
    elif request.param == "an error":
        # It leaves what says whether all went well as it was.
        monkeypatch.setattr(lapack, "_routine", lambda: lambda *_: None)
    # With the SciPy that is installed it can be had; NumPy's serves with others.
    assert (lapack._routine() is None) == (request.param == "another signature")
    yield
    monkeypatch.undo()
    lapack._routine.cache_clear()


@pytest.mark.usefixtures("routine")
@pytest.mark.parametrize(("size", "count"), [(1, 1), (2, 1), (5, 5), (70, 8), (300, 64)])
def test_the_leading_vectors_come_largest_first(size, count):
    vectors, symmetric = matrix(size)
    before = symmetric.copy()
    found = lapack.leading_eigenvectors(symmetric, count)
    assert found.shape == (count, size)
    signs = np.sign(np.einsum("kc,ck->k", found, vectors[:, ::-1][:, :count]))
    np.testing.assert_allclose(found * signs[:, None], vectors[:, ::-1][:, :count].T, atol=1e-12)
    assert (symmetric == before).all()


@pytest.mark.usefixtures("routine")
@pytest.mark.parametrize("symmetric", [np.zeros((6, 6)), np.eye(6), np.diag([1e-300, 0, 1e300, 0, 1, 1])])
def test_vectors_of_equal_values_are_orthonormal(symmetric):
    found = lapack.leading_eigenvectors(symmetric, 4)
    np.testing.assert_allclose(found @ found.T, np.eye(4), atol=1e-12)
