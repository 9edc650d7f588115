"""Principal directions, by LAPACK on one thread for each matrix.

A LAPACK of several threads has them wait for each other by spinning: beside a network that keeps all cores busy, an
eigenvalue problem of half a second took eight.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import numpy as np

from semret.arrays import Float64Array
from semret.index.codec.lapack import leading_eigenvectors

_one_at_a_time = threading.Lock()


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """For the length of a ``with`` block, let NumPy's BLAS use one thread for each of ours, in the whole process.

    Yields
    ------
    None
    """
    import scipy.linalg
    import threadpoolctl

    # SciPy has a BLAS of its own: what is not loaded yet is not set.
    del scipy
    # Blocks that overlapped would put back each other's setting.
    with _one_at_a_time, threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield


def principal_directions(scatter: Float64Array, count: int) -> Float64Array:
    """Return the leading eigenvectors of a symmetric matrix, the largest component of each positive.

    Parameters
    ----------
    scatter : ndarray of shape (C, C), float64
    count : int
        From 1 to C.

    Returns
    -------
    ndarray of shape (count, C), float64
        Orthonormal rows, the largest eigenvalue first.
    """
    leading = leading_eigenvectors(scatter, count)
    # Of equal components the first: which is the largest must not hang on the last bit.
    peak = (np.abs(leading) >= np.abs(leading).max(axis=1, keepdims=True) * (1 - 1e-9)).argmax(axis=1)
    return np.ascontiguousarray(leading * np.sign(leading[np.arange(len(leading)), peak])[:, None])
