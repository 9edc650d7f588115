"""Similarity of two token maps, and of one map with many."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semret.arrays import Float64Array, IndexVector, as_tokens
from semret.errors import ArgumentError, ShapeError
from semret.retrieval.similarity.kernels import checked_scores, kernel_score, median_bandwidth, rbf
from semret.retrieval.similarity.maps import Maps, Measured, check_kernel, in_units_of_input, match_maps, prepare
from semret.retrieval.similarity.maxsim import maxsim_scores
from semret.retrieval.similarity.names import check_modes
from semret.retrieval.similarity.products import matched_product


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """The similarity of two token maps; `float` of it is its `score`.

    Attributes
    ----------
    score : float
        The similarity under the kernel.
    matched : float
        The inner product that the kernel was applied to, summed in float64. Where maps are so large or small that
        float64 cannot hold it, it is infinite or 0 beside a cosine that is right; other kernels refuse such maps.
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

    Nothing is subtracted from the maps unless `center` is given, while `SearchEngine.query` compares tokens less the
    channel mean of the index: the same two pictures have another score there, or with ``center="none"`` the same.

    Parameters
    ----------
    a, b : array_like or tensor of shape (Sq, C) and (Sd, C)
        Token maps; those of pictures come from `semret.embed`, those of an index from `SearchEngine.tokens`. float16 is
        computed in float32; products are float32 (float64 for float64 input), sums float64. Where ``Sq != Sd`` the
        smaller map is fully matched and norms run over *all* tokens: the similarity is that of the smaller map filled
        up with zero tokens, so content without a partner lowers the cosine.
    kernel : {"cosine", "linear", "rbf"}
        See `semret.retrieval.similarity.kernels.kernel_score`. A map is 1 to itself under cosine and rbf; the cosine
        with a map of norm zero is 0.
    invariance : {"permutation", "none", "maxsim", "pooled"}
    solver : str
        A name of `semret.retrieval.matching.SOLVERS`.
    center : array_like of shape (C,) or (S, C), or None
        Subtracted from every token of both maps, or position by position.
    sigma : float or None
        RBF bandwidth. By default :math:`\sigma^2` is the mean squared distance of the two maps over all matchings,
        :math:`\|a\|^2 + \|b\|^2 - 2 S \langle \bar a, \bar b \rangle`; pass one value to compare scores of many pairs.
    **options
        Of the solver.

    Returns
    -------
    Similarity

    Raises
    ------
    ShapeError
        If the maps do not fit each other or the centre.
    NonFiniteError
        If a value is NaN or infinite, as given or once it is centred, or a score would be.
    UnknownNameError, ArgumentError
        If a mode, the solver or one of its options is unknown, or sigma is out of range; if entries are masked, or
        the rbf kernel's squared distances leave float64.

    Examples
    --------
    The same two tokens, exchanged: matched they are the same map, position by position they have nothing in common.

    >>> import numpy as np
    >>> a = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> float(matched_similarity(a, a[::-1]))
    1.0
    >>> float(matched_similarity(a, a[::-1], invariance="none"))
    0.0

    Inner products are 3 and 0 for the first token of `a`, 4 and 0 for the second; only one of them can have the first
    token of `b`. The best matching is worth 0 + 4, the norms are 1.25 and 5, and 4 / 6.25 = 0.64. Late interaction
    gives the first token of `b` to both: 3 + 4.

    >>> a, b = np.array([[0.75, 0.0], [1.0, 0.0]]), np.array([[4.0, 0.0], [0.0, -3.0]])
    >>> found = matched_similarity(a, b)
    >>> found.matched, found.assignment.tolist(), round(found.score, 12), found.exact
    (4.0, [1, 0], 0.64, True)
    >>> matched_similarity(a, b, invariance="maxsim", kernel="linear").score
    7.0
    """
    check_modes(kernel, invariance, solver=solver)
    query, other = (prepare(as_tokens(tokens, name)[None], center) for tokens, name in ((a, "a"), (b, "b")))
    check_comparable(query, other, invariance)
    check_kernel(kernel, query, other)
    if kernel == "rbf" and sigma is None:
        sigma = default_sigma(query, other, invariance)
    if invariance != "permutation":
        _refuse_options(options, invariance)
        plain = float(unmatched_scores(query, other, kernel=kernel, invariance=invariance, sigma=sigma)[0])
        inner = _unmatched_product(query, other, invariance)
        return Similarity(score=plain, matched=inner, bound=plain, assignment=None, exact=True)
    found = match_maps(query, other, solver=solver, **options)
    score, bound = (
        matched_scores(query, other, value, kernel=kernel, sigma=sigma)[0] for value in (found.matched, found.bounds)
    )
    return Similarity(
        score=float(score),
        matched=float(in_units_of_input(found.matched, query.exponents, other.exponents)[0]),
        bound=float(bound),
        assignment=found.assignments[0],
        exact=found.exact,
    )


def check_comparable(a: Maps, b: Maps, invariance: str) -> None:
    """Refuse maps that do not agree in channels or, for invariance none, in positions.

    Parameters
    ----------
    a, b : Maps
    invariance : str

    Raises
    ------
    ShapeError
        If they do not.
    """
    check_shapes(a.tokens.shape[1:], b.tokens.shape[1:], invariance)


def check_shapes(a: tuple[int, ...], b: tuple[int, ...], invariance: str) -> None:
    """Do what `check_comparable` does, for shapes.

    Parameters
    ----------
    a, b : tuple of int
        ``(Sq, C)`` and ``(Sd, C)``.
    invariance : str

    Raises
    ------
    ShapeError
        If they do not agree.
    """
    if len(a) != 2 or len(b) != 2 or a[1] != b[1]:
        raise ShapeError(f"the maps have shapes {a} and {b}, expected (S, C) with the same number of channels")
    if invariance == "none" and a[0] != b[0]:
        raise ShapeError(
            f"the maps have {a[0]} and {b[0]} positions; invariance none compares equal positions, "
            "choose another invariance or resize one map"
        )


def _refuse_options(options: dict[str, Any], invariance: str) -> None:
    if options:
        raise ArgumentError(
            f"{', '.join(sorted(options))}: these are options of a solver, but invariance {invariance} matches nothing"
        )


def default_sigma(query: Maps, candidates: Maps, invariance: str = "permutation") -> float:
    r"""Return the bandwidth of one query against a set of candidates.

    `median_bandwidth` over the candidates of the mean squared distance over all matchings,
    :math:`\|a\|^2 + \|b\|^2 - 2 \min(S_q, S_d) \langle \bar a, \bar b \rangle`, which needs no matching; for invariance
    pooled, of the squared distances of the mean tokens.

    Parameters
    ----------
    query : Maps of length 1
    candidates : Maps of length n
    invariance : str

    Returns
    -------
    float
    """
    inner = (candidates.means @ query.means.T)[:, 0]
    if invariance == "pooled":
        return median_bandwidth(((candidates.means - query.means) ** 2).sum(axis=1))
    pairs = min(query.tokens.shape[1], candidates.tokens.shape[1])
    return median_bandwidth(np.maximum(query.squared_norms + candidates.squared_norms - 2 * pairs * inner, 0.0))


def matched_scores(
    query: Measured, candidates: Measured, products: Float64Array, *, kernel: str, sigma: float | None
) -> Float64Array:
    """Turn the inner products of one map with many into scores.

    Parameters
    ----------
    query : Maps or IntegerMaps of length 1
    candidates : Maps or IntegerMaps of length n
    products : ndarray of shape (n,), float64
        In the units of the maps.
    kernel : {"cosine", "linear", "rbf"}
    sigma : float or None
        RBF bandwidth.

    Returns
    -------
    ndarray of shape (n,), float64

    Raises
    ------
    ArgumentError
        See `semret.retrieval.similarity.maps.check_kernel`.
    NonFiniteError
        If a score is beyond float64.
    """
    check_kernel(kernel, query, candidates)
    if kernel == "linear":
        products = in_units_of_input(products, query.exponents, candidates.exponents)
    return kernel_score(kernel, products, query.squared_norms, candidates.squared_norms, sigma=sigma)


def unmatched_scores(
    query: Maps, candidates: Maps, *, kernel: str, invariance: str, sigma: float | None
) -> Float64Array:
    """Compare one map with many under an invariance that needs no matching.

    Parameters
    ----------
    query : Maps of length 1
    candidates : Maps of length n
    kernel : {"cosine", "linear", "rbf"}
    invariance : {"none", "maxsim", "pooled"}
    sigma : float or None
        RBF bandwidth.

    Returns
    -------
    ndarray of shape (n,), float64

    Raises
    ------
    ArgumentError, NonFiniteError
        See `matched_scores`.
    """
    check_kernel(kernel, query, candidates)
    if invariance == "none":
        return matched_scores(query, candidates, position_products(query, candidates), kernel=kernel, sigma=sigma)
    if invariance == "pooled" and kernel == "linear":
        inner = pooled_products(query, candidates)
        return matched_scores(query, candidates, inner, kernel=kernel, sigma=sigma)
    if invariance == "pooled":
        return pooled_scores(query.means[0], candidates.means, kernel=kernel, sigma=sigma)
    found = maxsim_scores(query, candidates, [kernel])[kernel]
    if kernel == "linear":
        found = in_units_of_input(found, query.exponents, candidates.exponents)
    return checked_scores(rbf(found, sigma) if kernel == "rbf" else found, kernel)


def _unmatched_product(query: Maps, other: Maps, invariance: str) -> float:
    if invariance == "maxsim":
        inner = maxsim_scores(query, other, ["linear"])["linear"]
    else:
        inner = (position_products if invariance == "none" else pooled_products)(query, other)
    return float(in_units_of_input(inner, query.exponents, other.exponents)[0])


def position_products(query: Maps, candidates: Maps) -> Float64Array:
    """Return the inner product of one map with each of many, position by position (equation 3).

    Parameters
    ----------
    query : Maps of length 1
    candidates : Maps of length n
        Of as many positions.

    Returns
    -------
    ndarray of shape (n,), float64
        In the units of the maps.
    """
    positions = np.arange(query.tokens.shape[1])
    return np.array([matched_product(query.tokens[0], tokens, positions) for tokens in candidates.tokens])


def pooled_products(query: Maps, candidates: Maps) -> Float64Array:
    """Return the inner product of one map's mean token with those of many.

    Parameters
    ----------
    query : Maps of length 1
    candidates : Maps of length n

    Returns
    -------
    ndarray of shape (n,), float64
        In the units of the maps.
    """
    return np.asarray(np.einsum("nc,c->n", candidates.means, query.means[0]))


def pooled_scores(
    query: NDArray[np.floating[Any]], candidates: NDArray[np.floating[Any]], *, kernel: str, sigma: float | None
) -> Float64Array:
    """Compare one pooled embedding with many.

    Parameters
    ----------
    query : ndarray of shape (D,)
    candidates : ndarray of shape (n, D)
    kernel : {"cosine", "linear", "rbf"}
    sigma : float or None
        RBF bandwidth.

    Returns
    -------
    ndarray of shape (n,), float64

    Raises
    ------
    ArgumentError
        If the kernel is rbf and `sigma` is out of range.
    NonFiniteError
        If a score is beyond float64.
    """
    one, many = query.astype(np.float64), candidates.astype(np.float64)
    squares = np.einsum("d,d->", one, one), np.einsum("nd,nd->n", many, many)
    return kernel_score(kernel, np.einsum("nd,d->n", many, one), *squares, sigma=sigma)
