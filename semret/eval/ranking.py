"""From scores to ranks, and late interaction of one map with many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float64Array, IndexVector
from semret.retrieval.search.candidates import TokenSource
from semret.retrieval.similarity.kernels import kernel_score
from semret.retrieval.similarity.maps import Maps


def score_maxsim(query: Maps, candidates: Maps, kernels: Sequence[str]) -> dict[str, Float64Array]:
    """Compare one map with many by late interaction, all kernels from one float32 product; (n,) each.

    The definitions are those of `semret.matched_similarity`, except that ``rbf`` is the summed squared distance to the
    nearest tokens, before the exponential.
    """
    own, others = query.token_squares[0], candidates.token_squares
    products = query.tokens[0] @ candidates.tokens.reshape(-1, candidates.tokens.shape[2]).T
    products = products.reshape(len(own), *others.shape).astype(np.float32, copy=False)
    scores: dict[str, Float64Array] = {}
    if "linear" in kernels:
        scores["linear"] = products.max(axis=2).sum(axis=0, dtype=np.float64)
    if "rbf" in kernels:
        nearest = (products - (others / 2).astype(np.float32)).max(axis=2).astype(np.float64)
        scores["rbf"] = np.maximum(own[:, None] - 2 * nearest, 0.0).sum(axis=0)
    if "cosine" in kernels:
        products *= _inverse_norms(others).astype(np.float32)
        scores["cosine"] = (products.max(axis=2) * _inverse_norms(own)[:, None]).mean(axis=0, dtype=np.float64)
    return scores


def _inverse_norms(squares: Float64Array) -> Float64Array:
    return np.divide(1.0, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)


def rank_rows(scores: Float64Array, allowed: NDArray[np.bool_], k: int) -> IndexVector:
    """Return the columns of the `k` largest allowed scores of each row, equal ones in order; -1 where there are none.

    Parameters
    ----------
    scores : ndarray of shape (Q, N)
    allowed : ndarray of shape (Q, N), bool
    k : int

    Returns
    -------
    ndarray of shape (Q, k), intp
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
    """Return at which place, from 1, each query's answer stands in the order of centred pooled cosines.

    Parameters
    ----------
    answers : ndarray of shape (Q,), intp
        Database rows.
    """
    middle = np.asarray(database.pooled, dtype=np.float64).mean(axis=0)
    one, many = (np.asarray(s.pooled, dtype=np.float64) - middle for s in (queries, database))
    scores = kernel_score("cosine", one @ many.T, (one**2).sum(axis=1)[:, None], (many**2).sum(axis=1)[None])
    own = scores[np.arange(len(scores)), answers][:, None]
    earlier = (scores == own) & (np.arange(scores.shape[1])[None] < answers[:, None])
    return np.asarray((((scores > own) | earlier) & allowed).sum(axis=1) + 1)
