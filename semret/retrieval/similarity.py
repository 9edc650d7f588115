"""Similarity of two token maps, and of one map with many."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semret.arrays import Float64Array, FloatArray, IndexVector, as_tokens
from semret.errors import ArgumentError, ShapeError
from semret.retrieval.kernels import check_modes, kernel_score, median_bandwidth, rbf
from semret.retrieval.maps import Maps, affinities, match_maps, prepare


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """The similarity of two token maps; `float` of it is its `score`.

    Attributes
    ----------
    score : float
        The similarity under the kernel.
    matched : float
        The inner product that the kernel was applied to, summed in float64.
    bound : float
        Upper bound of `score` over all assignments; `score` itself where no assignment is involved.
    assignment : ndarray of shape (Sq,), intp, or None
        Which token of `b` each token of `a` is matched with, -1 for none; None for invariances without a matching.
    exact : bool
        Whether the assignment is the best there is (within the rounding of the float32 affinity).
    """

    score: float
    matched: float
    bound: float
    assignment: IndexVector | None = field(repr=False)
    exact: bool

    def __float__(self) -> float:
        return self.score


def matched_similarity(
    a: ArrayLike,
    b: ArrayLike,
    *,
    kernel: str = "cosine",
    invariance: str = "permutation",
    solver: str = "auction",
    center: ArrayLike | None = None,
    sigma: float | None = None,
    **options: Any,
) -> Similarity:
    r"""Measure the similarity of two token maps, by default that of their best one-to-one matching (equation 4).

    ============  =================================================================================================
    invariance    what is compared
    ============  =================================================================================================
    permutation   :math:`m = \max_P \sum_s \langle a_s, b_{P(s)} \rangle`, then the kernel
    none          same positions, :math:`m = \sum_s \langle a_s, b_s \rangle` (equation 3), then the kernel
    maxsim        each token of `a` with its best token of `b`, which may serve many: cosine, the mean of the best
                  token cosines; linear, the sum of the largest inner products; rbf, the kernel of the summed squared
                  distances to the nearest tokens. Not symmetric.
    pooled        the mean tokens, then the kernel
    ============  =================================================================================================

    Parameters
    ----------
    a, b : array_like of shape (Sq, C) and (Sd, C)
        Token maps. float16 is computed in float32; products are float32 (float64 for float64 input), sums float64.
        Where ``Sq != Sd`` the smaller map is fully matched and norms run over *all* tokens: the similarity is that of
        the smaller map filled up with zero tokens, so content without a partner lowers the cosine.
    kernel : {"cosine", "linear", "rbf"}
        See `semret.retrieval.kernels.kernel_score`. A map is 1 to itself under cosine and rbf; the cosine with a map
        of norm zero is 0.
    invariance : {"permutation", "none", "maxsim", "pooled"}
    solver : str
        A name of `semret.retrieval.matching.SOLVERS`; `options` go to it.
    center : array_like of shape (C,) or (S, C), or None
        Subtracted from every token of both maps, or position by position.
    sigma : float or None
        RBF bandwidth. By default :math:`2\sigma^2` is the mean squared distance of the two maps over all matchings,
        :math:`\|a\|^2 + \|b\|^2 - 2 S \langle \bar a, \bar b \rangle`; pass one value to compare scores of many pairs.

    Returns
    -------
    Similarity

    Raises
    ------
    ShapeError
        If the maps do not fit each other or the centre.
    NonFiniteError
        If a value is NaN or infinite.
    UnknownNameError, ArgumentError
        If a mode, the solver or one of its options is unknown, or sigma is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> a = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> float(matched_similarity(a, a[::-1]))
    1.0
    >>> float(matched_similarity(a, a[::-1], invariance="none"))
    0.0
    """
    check_modes(kernel, invariance, solver=solver)
    query, other = (prepare(as_tokens(tokens, name)[None], center) for tokens, name in ((a, "a"), (b, "b")))
    check_comparable(query, other, invariance)
    if kernel == "rbf" and sigma is None:
        sigma = default_sigma(query, other, invariance)
    if invariance == "permutation":
        found = match_maps(query, other, solver=solver, **options)
        norms = query.squared_norms, other.squared_norms
        score = kernel_score(kernel, found.matched, *norms, sigma=sigma)
        bound = kernel_score(kernel, found.bounds, *norms, sigma=sigma)
        matched, assignment, exact = found.matched, found.assignments[0], found.exact
    else:
        _refuse_options(options, invariance)
        matched, score = unmatched_scores(query, other, kernel=kernel, invariance=invariance, sigma=sigma)
        bound, assignment, exact = score, None, True
    return Similarity(
        score=float(score[0]), matched=float(matched[0]), bound=float(bound[0]), assignment=assignment, exact=exact
    )


def similarities(
    query: ArrayLike,
    candidates: ArrayLike,
    *,
    kernel: str = "cosine",
    invariance: str = "permutation",
    solver: str = "auction",
    center: ArrayLike | None = None,
    sigma: float | None = None,
    threads: int | None = None,
    **options: Any,
) -> Float64Array:
    r"""Measure the similarity of one token map with each of many.

    Parameters
    ----------
    query : array_like of shape (Sq, C)
    candidates : array_like of shape (K, Sd, C)
    sigma : float or None
        By default :math:`2\sigma^2` is the median, over the candidates, of the mean squared distance over all
        matchings.
    threads : int or None
        Threads of the solver; None takes all.
    kernel, invariance, solver, center, **options
        See `matched_similarity`.

    Returns
    -------
    ndarray of shape (K,), float64
        Equal to `matched_similarity` of each pair (rbf: with this sigma). Empty for no candidates.

    Raises
    ------
    ShapeError, NonFiniteError, UnknownNameError, ArgumentError
        See `matched_similarity`.
    """
    check_modes(kernel, invariance, solver=solver)
    one = prepare(as_tokens(query, "query")[None], center)
    many = prepare(np.asarray(candidates), center, "candidates")
    if len(many) == 0:
        return np.zeros(0)
    check_comparable(one, many, invariance)
    if kernel == "rbf" and sigma is None:
        sigma = default_sigma(one, many, invariance)
    if invariance == "permutation":
        matched = match_maps(one, many, solver=solver, threads=threads, **options).matched
        return kernel_score(kernel, matched, one.squared_norms, many.squared_norms, sigma=sigma)
    _refuse_options(options, invariance)
    return unmatched_scores(one, many, kernel=kernel, invariance=invariance, sigma=sigma)[1]


def check_comparable(a: Maps, b: Maps, invariance: str) -> None:
    """Raise ShapeError unless the maps agree in channels and, for invariance none, in positions."""
    (positions_a, channels_a), (positions_b, channels_b) = a.tokens.shape[1:], b.tokens.shape[1:]
    if channels_a != channels_b:
        raise ShapeError(f"the maps have {channels_a} and {channels_b} channels, expected the same number")
    if invariance == "none" and positions_a != positions_b:
        raise ShapeError(
            f"the maps have {positions_a} and {positions_b} positions; invariance none compares equal positions, "
            "choose another invariance or resize one map"
        )


def _refuse_options(options: dict[str, Any], invariance: str) -> None:
    if options:
        raise ArgumentError(
            f"{', '.join(sorted(options))}: these are options of a solver, but invariance {invariance} matches nothing"
        )


def default_sigma(query: Maps, candidates: Maps, invariance: str = "permutation") -> float:
    r"""Return the bandwidth of one query against a set of candidates.

    :math:`2\sigma^2` is the median over the candidates of the mean squared distance over all matchings,
    :math:`\|a\|^2 + \|b\|^2 - 2 \min(S_q, S_d) \langle \bar a, \bar b \rangle`, which needs no matching; for invariance
    pooled, of the squared distances of the mean tokens.
    """
    inner = (candidates.means @ query.means.T)[:, 0]
    if invariance == "pooled":
        return median_bandwidth(((candidates.means - query.means) ** 2).sum(axis=1))
    pairs = min(query.tokens.shape[1], candidates.tokens.shape[1])
    return median_bandwidth(np.maximum(query.squared_norms + candidates.squared_norms - 2 * pairs * inner, 0.0))


def unmatched_scores(
    query: Maps, candidates: Maps, *, kernel: str, invariance: str, sigma: float | None
) -> tuple[Float64Array, Float64Array]:
    """Return inner products and scores of the invariances that need no matching: none, maxsim, pooled; (n,) each."""
    if invariance == "none":
        from semret.retrieval.products import matched_product

        positions = np.arange(query.tokens.shape[1])
        matched = np.array([matched_product(query.tokens[0], tokens, positions) for tokens in candidates.tokens])
        return matched, kernel_score(kernel, matched, query.squared_norms, candidates.squared_norms, sigma=sigma)
    if invariance == "pooled":
        return pooled_scores(query.means[0], candidates.means, kernel=kernel, sigma=sigma)
    return _maxsim(query, candidates, kernel, sigma)


def pooled_scores(
    query: NDArray[np.floating[Any]], candidates: NDArray[np.floating[Any]], *, kernel: str, sigma: float | None
) -> tuple[Float64Array, Float64Array]:
    """Return inner products and scores of one vector (D,) with many (n, D)."""
    one, many = query.astype(np.float64), candidates.astype(np.float64)
    inner = np.einsum("nd,d->n", many, one)
    return inner, kernel_score(kernel, inner, one @ one, np.einsum("nd,nd->n", many, many), sigma=sigma)


def _maxsim(query: Maps, candidates: Maps, kernel: str, sigma: float | None) -> tuple[Float64Array, Float64Array]:
    """Late interaction: the affinity chooses each token's best token, float64 products of the chosen pairs count."""
    from semret.retrieval.products import row_products, token_norms

    one, norms = query.tokens[0], token_norms(query.tokens[0])
    inner, score = np.empty(len(candidates)), np.empty(len(candidates))
    for rows, affinity, unit in affinities(query, candidates):
        for row, products in enumerate(affinity, start=rows.start):
            others = token_norms(candidates.tokens[row])
            best = _best_tokens(products * unit, others, kernel)
            dots, lengths = row_products(one, candidates.tokens[row], best), others[best]
            inner[row] = dots.sum()
            if kernel == "cosine":
                scale = norms * lengths
                score[row] = np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0).mean()
            elif kernel == "rbf":
                score[row] = rbf(np.maximum(norms**2 + lengths**2 - 2 * dots, 0.0).sum(), sigma)
            else:
                score[row] = inner[row]
    return inner, score


def _best_tokens(products: FloatArray, norms: Float64Array, kernel: str) -> IndexVector:
    """Return, for each row of `products`, the first column of largest cosine, inner product or nearness."""
    if kernel == "cosine":
        products = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    elif kernel == "rbf":
        products = 2 * products - norms**2
    return np.asarray(products.argmax(axis=1))
