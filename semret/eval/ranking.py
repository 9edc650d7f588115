"""From scores to ranks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, IndexVector
from semret.retrieval.search.candidates import TokenSource
from semret.retrieval.similarity.kernels import kernel_score


def rank_rows(scores: Float64Array, allowed: NDArray[np.bool_], k: int) -> IndexVector:
    """Find the columns of the `k` largest allowed scores of each row.

    Parameters
    ----------
    scores : ndarray of shape (Q, N)
    allowed : ndarray of shape (Q, N), bool
    k : int

    Returns
    -------
    ndarray of shape (Q, k), intp
        The largest first, equal ones in the order of the columns; -1 where fewer than `k` are allowed.
    """
    found = np.full((len(scores), k), -1, dtype=np.intp)
    for row, values in enumerate(scores):
        candidates = np.flatnonzero(allowed[row])
        if k < len(candidates):
            least = np.partition(values[candidates], len(candidates) - k)[len(candidates) - k]
            candidates = candidates[values[candidates] >= least]
        best = candidates[np.argsort(-values[candidates], kind="stable")][:k]
        found[row, : len(best)] = best
    return found


def shortlist_ranks(
    queries: TokenSource, database: TokenSource, allowed: NDArray[np.bool_], answers: IndexVector
) -> IndexVector:
    """Find at which place the pooled embeddings alone put each query's answer.

    Parameters
    ----------
    queries, database : TokenSource
        Q and N images.
    allowed : ndarray of shape (Q, N), bool
        Images that may not answer take no place.
    answers : ndarray of shape (Q,), intp
        Database rows.

    Returns
    -------
    ndarray of shape (Q,), intp
        Places from 1 in the order of centred pooled cosines; equal ones in the order of the rows.
    """
    middle = np.asarray(database.pooled, dtype=np.float64).mean(axis=0)
    one, many = (np.asarray(s.pooled, dtype=np.float64) - middle for s in (queries, database))
    scores = kernel_score("cosine", one @ many.T, (one**2).sum(axis=1)[:, None], (many**2).sum(axis=1)[None])
    own = scores[np.arange(len(scores)), answers][:, None]
    earlier = (scores == own) & (np.arange(scores.shape[1])[None] < answers[:, None])
    return np.asarray((((scores > own) | earlier) & allowed).sum(axis=1) + 1)
