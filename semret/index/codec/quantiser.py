"""Training the centroids of a product quantiser, by FAISS."""

from __future__ import annotations

import numpy as np

from semret.arrays import Float32Array, Float64Array
from semret.forked import inherited
from semret.index.codec.rounding import LARGEST, Centroids
from semret.index.codec.table import CENTROIDS

_SEED = 1234

_USUAL = 50
"""Powers of two up to which numbers are squared and summed in float32 without ado."""


def train_centroids(coordinates: Float64Array, parts: int) -> Centroids:
    """Return centroids fitted to the parts of tokens, rounded to int8 with one scale.

    Parameters
    ----------
    coordinates : ndarray of shape (n, d), float64
        Of some tokens, n from 1; below 256, each is its own centroid.
    parts : int
        M, a divisor of d.

    Returns
    -------
    Centroids
        The same for the same coordinates.
    """
    # FAISS ends the process where squares leave float32; a power of two changes nothing but the exponents.
    exponent = int(np.frexp(np.abs(coordinates).max(initial=0.0))[1])
    exponent = exponent if abs(exponent) > _USUAL else 0
    means = np.ldexp(_means(np.ldexp(coordinates, -exponent).astype(np.float32), parts), exponent)
    largest = LARGEST["int8"]
    scale = np.float32(np.abs(means).max(initial=0) / largest)
    units = means / scale if scale > 0 else np.zeros_like(means)
    return Centroids(integers=np.clip(np.rint(units), -largest, largest).astype(np.int8), scale=float(scale))


def _means(rows: Float32Array, parts: int) -> Float64Array:
    import faiss

    # Cycled, so that there are as many as centroids; FAISS takes them as they are then.
    rows = np.resize(rows, (max(len(rows), CENTROIDS), rows.shape[1]))
    quantiser = faiss.ProductQuantizer(rows.shape[1], parts, 8)
    quantiser.cp.seed = _SEED
    quantiser.cp.min_points_per_centroid = 1
    threads = 1 if inherited("faiss") else faiss.omp_get_max_threads()
    # One thread: the order of its sums is then the same everywhere.
    faiss.omp_set_num_threads(1)
    try:
        quantiser.train(np.ascontiguousarray(rows))
    finally:
        faiss.omp_set_num_threads(threads)
    found = faiss.vector_to_array(quantiser.centroids)
    return found.astype(np.float64).reshape(parts, CENTROIDS, rows.shape[1] // parts)
