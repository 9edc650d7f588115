"""Similarity of integer token maps, exact but for one rounding of each number and one of each sum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from semret.arrays import Float64Array, IndexVector
from semret.errors import ShapeError
from semret.integer_tokens import IntegerTokens
from semret.retrieval.similarity.integer_maps import (
    IntegerMaps,
    affinity_parts,
    contributions,
    exact_affinities,
    fsums,
    match_integers,
    prepare_integers,
)
from semret.retrieval.similarity.kernels import checked_scores, median_bandwidth, rbf
from semret.retrieval.similarity.maps import check_kernel, in_units_of_input
from semret.retrieval.similarity.names import check_modes
from semret.retrieval.similarity.pairs import Similarity, check_shapes, matched_scores


@dataclass(frozen=True, kw_only=True)
class IntegerSimilarity(Similarity):
    """The similarity of two integer maps, and which pair is worth how much.

    Attributes
    ----------
    contributions : ndarray of shape (Sq,), float64
        What the pair of each token of `a` adds to `matched`, which is their correctly rounded sum; 0 without a partner.
        Divided by the two norms they are its shares of a cosine.
    """

    contributions: Float64Array = field(repr=False)


def integer_similarity(
    a: IntegerTokens,
    b: IntegerTokens,
    *,
    kernel: str = "cosine",
    solver: str = "auction",
    sigma: float | None = None,
    **options: Any,
) -> IntegerSimilarity:
    """Measure the similarity of two integer token maps by their best one-to-one matching.

    Parameters
    ----------
    a, b : IntegerTokens of length 1
        Of as many numbers a token; they may differ in positions.
    kernel, solver, sigma, **options
        See `semret.matched_similarity`.

    Returns
    -------
    IntegerSimilarity
        Score, assignment and what each pair contributes.

    Raises
    ------
    ShapeError
        If there is not one map on each side, or they do not fit each other.
    UnknownNameError, ArgumentError, NonFiniteError
        See `semret.matched_similarity`.

    Examples
    --------
    The same two tokens, exchanged; the second is worth 4 * 4 * 0.5 * 0.5 = 4.

    >>> integers = np.array([[[2, 0], [0, 4]]], dtype=np.int8)
    >>> a = IntegerTokens(integers=integers, scales=np.float32([[1.0, 0.5]]))
    >>> b = IntegerTokens(integers=integers[:, ::-1], scales=np.float32([[0.5, 1.0]]))
    >>> found = integer_similarity(a, b)
    >>> found.score, found.assignment.tolist(), found.contributions.tolist()
    (1.0, [1, 0], [4.0, 4.0])
    """
    check_modes(kernel, "permutation", solver=solver)
    if len(a) != 1 or len(b) != 1:
        raise ShapeError(f"the maps are {len(a)} and {len(b)} in number, expected one on each side")
    query, other = prepare_integers(a, "a"), prepare_integers(b, "b")
    check_shapes(query.shape[1:], other.shape[1:], "permutation")
    check_kernel(kernel, query, other)
    if kernel == "rbf" and sigma is None:
        sigma = default_bandwidth(query, other)
    found = match_integers(query, other, solver=solver, **options)
    score, bound = (
        matched_scores(query, other, value, kernel=kernel, sigma=sigma)[0] for value in (found.matched, found.bounds)
    )
    worth = contributions(exact_affinities(query, other, threads=1), found.assignments)[0]
    return IntegerSimilarity(
        score=float(score),
        matched=float(in_units_of_input(found.matched, query.exponents, other.exponents)[0]),
        bound=float(bound),
        assignment=found.assignments[0],
        exact=found.exact,
        contributions=in_units_of_input(worth, query.exponents, other.exponents),
    )


def default_bandwidth(query: IntegerMaps, candidates: IntegerMaps) -> float:
    """Return the bandwidth of one query against a set of candidates, see `semret.retrieval.similarity.pairs`.

    Parameters
    ----------
    query : IntegerMaps of length 1
    candidates : IntegerMaps of length n

    Returns
    -------
    float
    """
    inner = (candidates.means @ query.means.T)[:, 0]
    pairs = min(query.shape[1], candidates.shape[1])
    return median_bandwidth(np.maximum(query.squared_norms + candidates.squared_norms - 2 * pairs * inner, 0.0))


def unmatched_integer_scores(
    query: IntegerMaps,
    candidates: IntegerMaps,
    *,
    kernel: str,
    invariance: str,
    sigma: float | None,
    threads: int | None = None,
) -> Float64Array:
    r"""Compare one integer map with many under an invariance that needs no matching.

    For maxsim the cosine of two tokens is :math:`dot / \sqrt{square \cdot square}` of their integers, whatever their
    scales; a token of norm 0 has cosine 0.

    Parameters
    ----------
    query : IntegerMaps of length 1
    candidates : IntegerMaps of length n
    kernel : {"cosine", "linear", "rbf"}
    invariance : {"none", "maxsim"}
    sigma : float or None
        RBF bandwidth.
    threads : int or None
        None takes all processors.

    Returns
    -------
    ndarray of shape (n,), float64

    Raises
    ------
    ArgumentError, NonFiniteError
        See `semret.retrieval.similarity.pairs.matched_scores`.
    """
    check_kernel(kernel, query, candidates)
    if invariance == "none":
        products = fsums(position_affinities(query, candidates))
        return matched_scores(query, candidates, products, kernel=kernel, sigma=sigma)
    found = np.empty(len(candidates))
    if kernel == "cosine":
        query, candidates = _of_length_one(query), _of_length_one(candidates)
    for rows, affinity in affinity_parts(query, candidates, threads=threads):
        found[rows] = _late(query, candidates[rows], affinity, kernel)
    if kernel == "linear":
        found = in_units_of_input(found, query.exponents, candidates.exponents)
    return checked_scores(rbf(found, sigma) if kernel == "rbf" else found, kernel)


def position_affinities(query: IntegerMaps, candidates: IntegerMaps) -> Float64Array:
    """Return the affinities of equal positions.

    Parameters
    ----------
    query : IntegerMaps of length 1
    candidates : IntegerMaps of length n
        Of as many positions.

    Returns
    -------
    ndarray of shape (n, S), float64
    """
    dots = np.einsum("nsd,sd->ns", candidates.integers, query.integers[0], dtype=np.int32)
    return np.asarray(dots * (candidates.scales * query.scales[0]))


def best_integer_pairs(query: IntegerMaps, candidate: IntegerMaps, kernel: str) -> tuple[IndexVector, Float64Array]:
    """Return the best token for each token of a query, and what the two add to the score of late interaction.

    Parameters
    ----------
    query, candidate : IntegerMaps of length 1
    kernel : {"cosine", "linear"}

    Returns
    -------
    best : ndarray of shape (Sq,), intp
        Of equal tokens the first.
    worths : ndarray of shape (Sq,), float64
        In the units of the maps; their sum is the score, but for its rounding.
    """
    if kernel == "cosine":
        query, candidate = _of_length_one(query), _of_length_one(candidate)
    worths = exact_affinities(query, candidate, threads=1)
    if kernel == "cosine":
        worths = _cosines(query, candidate, worths) / query.shape[1]
    return np.asarray(worths[0].argmax(axis=1)), worths[0].max(axis=1)


def _late(query: IntegerMaps, candidates: IntegerMaps, affinity: Float64Array, kernel: str) -> Float64Array:
    if kernel == "rbf":
        sums = query.token_squares[0][:, None] + candidates.token_squares[:, None, :]
        return fsums(np.maximum(sums - 2 * affinity, 0.0).min(axis=2))
    if kernel == "cosine":
        return fsums(_cosines(query, candidates, affinity).max(axis=2)) / query.shape[1]
    return fsums(affinity.max(axis=2))


def _cosines(query: IntegerMaps, candidates: IntegerMaps, affinity: Float64Array) -> Float64Array:
    """Divide the inner products of integers by the lengths of theirs."""
    lengths = np.sqrt(query.squares[0][:, None] * candidates.squares[:, None, :].astype(np.float64))
    return np.asarray(np.divide(affinity, lengths, out=np.zeros_like(affinity), where=lengths > 0))


def _of_length_one(maps: IntegerMaps) -> IntegerMaps:
    """Give the tokens that are not 0 the scale 1: their affinities then are the inner products of their integers."""
    present = maps.scales != 0
    return IntegerMaps(
        integers=maps.integers,
        scales=present.astype(np.float64),
        squares=np.where(present, maps.squares, np.int32(0)),
        exponents=np.zeros_like(maps.exponents),
    )
