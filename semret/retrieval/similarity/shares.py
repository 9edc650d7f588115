r"""What each pair of tokens contributes to the similarity of two maps.

Kernels ``cosine`` and ``linear`` are sums over the pairs that are compared: a pair's share is its inner product,
divided by both maps' norms under ``cosine``. Kernel ``rbf`` is an exponential of that sum, which has no such shares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from semret.arrays import Float64Array, IndexVector
from semret.errors import ArgumentError
from semret.retrieval.similarity.integer_maps import (
    IntegerMaps,
    contributions,
    exact_affinities,
    fsums,
    match_integers,
)
from semret.retrieval.similarity.integer_pairs import (
    best_integer_pairs,
    position_affinities,
    unmatched_integer_scores,
)
from semret.retrieval.similarity.kernels import kernel_score
from semret.retrieval.similarity.maps import Maps, in_units_of_input, match_maps
from semret.retrieval.similarity.maxsim import best_pairs
from semret.retrieval.similarity.pairs import check_shapes, matched_scores, unmatched_scores
from semret.retrieval.similarity.products import row_products

AnyMaps: TypeAlias = Maps | IntegerMaps
"""Token maps in floats, or in integers."""


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Which tokens were compared, and what each pair adds to the score.

    Attributes
    ----------
    score : float
        The similarity of the two maps.
    partners : ndarray of shape (Sq,), intp
        The token of the other map that each token of the query was compared with, -1 for none.
    shares : ndarray of shape (Sq,), float64
        What the pair adds to the score, 0 without a partner. `math.fsum` of them is the score, bit for bit, if any
        numbers as large as these can add up to it: see `balance`.
    exact : bool
        Whether the matching is the best there is.
    """

    score: float
    partners: IndexVector
    shares: Float64Array
    exact: bool


def require_shares(kernel: str, invariance: str) -> None:
    """Refuse what is no sum over pairs of tokens.

    Parameters
    ----------
    kernel, invariance : str
        As in `semret.matched_similarity`.

    Raises
    ------
    ArgumentError
        For kernel rbf and for invariance pooled.
    """
    if invariance == "pooled":
        raise ArgumentError(
            "invariance pooled compares whole pictures and no patches, there is nothing to explain; choose another"
        )
    if kernel == "rbf":
        raise ArgumentError(
            "kernel rbf is no sum over patches, so no patch has a share of it; explain with kernel cosine"
        )


def share_out(
    query: AnyMaps,
    other: AnyMaps,
    *,
    kernel: str = "cosine",
    invariance: str = "permutation",
    solver: str = "auction",
) -> Shares:
    """Compare two maps, and tell what each pair of tokens contributes.

    Parameters
    ----------
    query, other : Maps or IntegerMaps of length 1
        Both of one kind.
    kernel : {"cosine", "linear"}
    invariance : {"permutation", "none", "maxsim"}
        For ``none`` tokens are paired with those at the same position; for ``maxsim`` each with its best, which may
        serve many.
    solver : str
        A name of `semret.retrieval.matching.solvers.SOLVERS`.

    Returns
    -------
    Shares
        The score is that of a search, bit for bit.

    Raises
    ------
    ArgumentError
        If kernel or invariance have no shares.
    ShapeError
        If the maps do not fit each other.
    NonFiniteError
        If the score is beyond float64.

    Examples
    --------
    The best matching pairs crosswise, and is worth 3 * 1 + 1 * 2; the norms are sqrt(10) and sqrt(5).

    >>> from semret.retrieval.similarity.maps import prepare
    >>> query, other = prepare(np.array([[[3.0, 0.0], [0.0, 1.0]]])), prepare(np.array([[[0.0, 2.0], [1.0, 0.0]]]))
    >>> found = share_out(query, other, kernel="linear")
    >>> found.score, found.partners.tolist(), found.shares.tolist()
    (5.0, [1, 0], [3.0, 2.0])
    >>> share_out(query, other).shares.round(4).tolist()
    [0.4243, 0.2828]
    """
    require_shares(kernel, invariance)
    kinds = {"kernel": kernel, "invariance": invariance}
    if isinstance(query, IntegerMaps) and isinstance(other, IntegerMaps):
        check_shapes(query.shape[1:], other.shape[1:], invariance)
        return _integer_shares(query, other, solver, **kinds)
    if not isinstance(query, Maps) or not isinstance(other, Maps):
        raise ArgumentError("one map has integer tokens and the other has floats; pass both in one kind")
    check_shapes(query.tokens.shape[1:], other.tokens.shape[1:], invariance)
    return _float_shares(query, other, solver, **kinds)


def _float_shares(query: Maps, other: Maps, solver: str, *, kernel: str, invariance: str) -> Shares:
    exact = True
    if invariance == "maxsim":
        partners, worths = best_pairs(query, other, kernel)
        score = unmatched_scores(query, other, kernel=kernel, invariance=invariance, sigma=None)
        return _late_shares(query, other, kernel, partners, worths, score)
    if invariance == "none":
        partners = np.arange(query.tokens.shape[1])
    else:
        found = match_maps(query, other, solver=solver, threads=1)
        partners, exact = found.assignments[0], found.exact
    worths = row_products(query.tokens[0], other.tokens[0], partners)
    return _of_products(query, other, kernel, partners, worths, exact)


def _integer_shares(query: IntegerMaps, other: IntegerMaps, solver: str, *, kernel: str, invariance: str) -> Shares:
    if invariance == "maxsim":
        partners, worths = best_integer_pairs(query, other, kernel)
        score = unmatched_integer_scores(query, other, kernel=kernel, invariance=invariance, sigma=None, threads=1)
        return _late_shares(query, other, kernel, partners, worths, score)
    if invariance == "none":
        worths = position_affinities(query, other)[0]
        return _of_products(query, other, kernel, np.arange(query.shape[1]), worths, True)
    found = match_integers(query, other, solver=solver, threads=1)
    worths = contributions(exact_affinities(query, other, threads=1), found.assignments)[0]
    return _of_products(query, other, kernel, found.assignments[0], worths, found.exact)


def _of_products(
    query: AnyMaps, other: AnyMaps, kernel: str, partners: IndexVector, worths: Float64Array, exact: bool
) -> Shares:
    """Turn the inner products of pairs to shares of the kernel of their sum."""
    score = float(matched_scores(query, other, fsums(worths[None]), kernel=kernel, sigma=None)[0])
    if kernel == "linear":
        shares = in_units_of_input(worths, query.exponents, other.exponents)
    else:
        shares = kernel_score(kernel, worths, query.squared_norms, other.squared_norms)
    return Shares(score=score, partners=partners, shares=balance(shares, score), exact=exact)


def _late_shares(
    query: AnyMaps, other: AnyMaps, kernel: str, partners: IndexVector, worths: Float64Array, score: Float64Array
) -> Shares:
    shares = in_units_of_input(worths, query.exponents, other.exponents) if kernel == "linear" else worths
    return Shares(score=float(score[0]), partners=partners, shares=balance(shares, float(score[0])), exact=True)


def balance(shares: Float64Array, total: float) -> Float64Array:
    """Make rounded shares add up to a total again, by the last digits of one of them.

    Parameters
    ----------
    shares : ndarray of shape (n,), float64
        Whose sum is the total but for rounding.
    total : float

    Returns
    -------
    ndarray of shape (n,), float64
        `math.fsum` of them is the total. Where all shares are larger than the total, so that their own last digits
        are too coarse for it, the sum is as near as these allow.

    Examples
    --------
    >>> thirds = balance(np.array([0.1, 0.2, 0.7]), 1.0000000000000002)
    >>> math.fsum(thirds), thirds.tolist()
    (1.0000000000000002, [0.1, 0.2, 0.7000000000000002])
    """
    if math.fsum(shares) == total:
        return shares
    missing, sizes = math.fsum([total, *-shares]), np.abs(shares)
    # The largest whose last digit is no coarser than the total's changes least; a pair that is worth nothing stays so.
    fine = [place for place in np.argsort(-sizes, kind="stable").tolist() if 0 < sizes[place] <= abs(total)]
    coarse = [place for place in np.argsort(sizes, kind="stable").tolist() if sizes[place] > abs(total)]
    best = shares
    for place in fine + coarse:
        changed = shares.copy()
        changed[place] += missing
        if math.fsum(changed) == total:
            return changed
        best = min(best, changed, key=lambda tried: abs(math.fsum([total, *-tried])))
    return best
