"""Similarity matrices of pictures and their bandwidths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semret.arrays import Float64Array
from semret.retrieval.similarity.kernels import median_bandwidth
from semret.retrieval.similarity.rsm import rsm


def compare_maps(
    tokens: NDArray[np.float32], kernels: Sequence[str], invariance: str, *, center: str | ArrayLike, solver: str
) -> tuple[dict[str, Float64Array], float | None]:
    """Return the similarity matrix of pictures for each kernel, and the bandwidth of rbf.

    An approximate solver, and maxsim, may score (a, b) and (b, a) differently: the mean of both is taken.

    Parameters
    ----------
    tokens : ndarray of shape (N, S, C)
        Also memory-mapped.
    kernels, invariance, center, solver
        See `semret.retrieval.similarity.rsm.rsm`.

    Returns
    -------
    matrices : dict of ndarray of shape (N, N)
    sigma : float or None
        None where rbf is not among the kernels, and for maxsim, whose distances differ from those of inner products.
    """
    asked = list(dict.fromkeys([*kernels, "linear"])) if "rbf" in kernels else list(kernels)
    found = rsm(tokens, kernel=asked, invariance=invariance, center=center, solver=solver)
    sigma = None
    if "rbf" in kernels and invariance != "maxsim":
        norms = np.diagonal(found["linear"])
        sigma = median_bandwidth(np.maximum(norms[:, None] + norms - 2 * found["linear"], 0.0))
    return {kernel: (found[kernel] + found[kernel].T) / 2 for kernel in kernels}, sigma
