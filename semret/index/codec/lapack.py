"""Some eigenvectors of a symmetric matrix, by LAPACK's ``dsyevr``, without the interpreter's lock.

`scipy.linalg.eigh` does the same and holds the lock meanwhile, so that the network stands still; `numpy.linalg.eigh`
lets it go and takes twice the time, for it finds all vectors. SciPy publishes the routine for compiled code.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array

_REAL = "__pyx_t_5scipy_6linalg_13cython_lapack_d *"
_ARGUMENTS = (
    *["char *"] * 3,
    *["int *", _REAL] * 2,
    _REAL,
    *["int *"] * 2,
    _REAL,
    "int *",
    *[_REAL] * 2,
    *["int *"] * 2,
    _REAL,
    *["int *"] * 4,
)
"""Of ``dsyevr``: with integers of another size it would be another function."""


def leading_eigenvectors(matrix: Float64Array, count: int) -> Float64Array:
    """Return the eigenvectors of the largest eigenvalues.

    Parameters
    ----------
    matrix : ndarray of shape (C, C), float64
        Symmetric and finite.
    count : int
        From 1 to C.

    Returns
    -------
    ndarray of shape (count, C), float64
        Orthonormal rows, the largest eigenvalue first, of either sign.

    Raises
    ------
    numpy.linalg.LinAlgError
        If they are not found.
    """
    routine = _routine()
    found = None if routine is None else _some(routine, matrix, count)
    return np.linalg.eigh(matrix)[1][:, ::-1][:, :count].T if found is None else found[::-1]


def _some(routine: Callable[..., None], matrix: Float64Array, count: int) -> Float64Array | None:
    """Return eigenvectors, the largest eigenvalue last; None if LAPACK reports an error."""
    size, copied = len(matrix), np.array(matrix, order="F")
    values, vectors = np.empty(size), np.empty((count, size))
    support = np.empty(2 * size, dtype=np.intc)

    def call(work: Float64Array, whole: NDArray[np.intc], lengths: tuple[int, int]) -> bool:
        numbers = np.array([size, size - count + 1, size, 0, size, *lengths, -1], dtype=np.intc)
        bounds, letters = np.zeros(3), np.array([b"V", b"I", b"L"])
        n, low, high, returned, stride, length, whole_length, info = _places(numbers)
        lower, upper, tolerance = _places(bounds)
        arrays = [array.ctypes.data for array in (copied, values, vectors, support, work, whole)]
        routine(
            *_places(letters), n, arrays[0], n, lower, upper, low, high, tolerance, returned,
            *arrays[1:3], stride, arrays[3], arrays[4], length, arrays[5], whole_length, info,
        )  # fmt: skip
        return bool(numbers[-1] == 0)

    # Asked for lengths of -1, it tells how much room it needs.
    work, whole = np.zeros(1), np.zeros(1, dtype=np.intc)
    if not call(work, whole, (-1, -1)):
        return None
    lengths = int(work[0]), int(whole[0])
    found = call(np.empty(lengths[0]), np.empty(lengths[1], dtype=np.intc), lengths)
    return vectors if found else None


def _places(array: NDArray[Any]) -> list[int]:
    """Return the address of each item."""
    return [array.ctypes.data + number * array.itemsize for number in range(len(array))]


@functools.cache
def _routine() -> Callable[..., None] | None:
    """Return SciPy's ``dsyevr``, None if there is none of the expected arguments."""
    from scipy.linalg import cython_lapack

    capsule = getattr(cython_lapack, "__pyx_capi__", {}).get("dsyevr")
    signature = f"void ({', '.join(_ARGUMENTS)})".encode()
    if capsule is None or not _function("PyCapsule_IsValid", ctypes.c_int)(capsule, signature):
        return None
    address = _function("PyCapsule_GetPointer", ctypes.c_void_p)(capsule, signature)
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(_ARGUMENTS))(address)


def _function(name: str, returns: Any) -> Callable[..., Any]:
    prototype = ctypes.PYFUNCTYPE(returns, ctypes.py_object, ctypes.c_char_p)
    found: Callable[..., Any] = prototype((name, ctypes.pythonapi))
    return found
