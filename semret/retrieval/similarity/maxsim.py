"""Late interaction (MaxSim): every token of a query with its best token of a candidate, which may serve many.

Khattab and Zaharia, "ColBERT: efficient and effective passage search via contextualized late interaction over BERT",
SIGIR 2020, sum the largest cosines; here the cosine is their mean, so that a map is 1 to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from semret.arrays import Float64Array, FloatArray, IndexVector
from semret.retrieval.similarity.kernels import kernel_score
from semret.retrieval.similarity.maps import Maps, affinities
from semret.retrieval.similarity.products import row_products, squares


def maxsim_scores(query: Maps, candidates: Maps, kernels: Sequence[str]) -> dict[str, Float64Array]:
    r"""Compare one map with many by late interaction, under several kernels at once.

    ========  ====================================================================================
    kernel    score
    ========  ====================================================================================
    cosine    :math:`\frac{1}{S_q} \sum_s \max_t \cos(q_s, d_t)`; a token of norm 0 has cosine 0
    linear    :math:`\sum_s \max_t \langle q_s, d_t \rangle`
    rbf       :math:`\sum_s \min_t \|q_s - d_t\|^2`: the squared distance, to which the exponential is still to be
              applied
    ========  ====================================================================================

    The affinity, float32 for float32 maps, chooses each token's best token; of equal ones the first. The inner products
    of the chosen pairs are summed anew in float64, so scores do not depend on the candidates beside each other.

    Parameters
    ----------
    query : Maps of length 1
    candidates : Maps of length n
    kernels : sequence of {"cosine", "linear", "rbf"}
        They share the affinities.

    Returns
    -------
    dict from kernel to ndarray of shape (n,), float64
        In the order of `kernels`; in the units of the maps, see `Maps.exponents`.

    Examples
    --------
    Both tokens of the query are nearest to the candidate's first: 2 * 3 + 1 * 3, and |2 - 3|^2 + |1 - 3|^2.

    >>> import numpy as np
    >>> from semret.retrieval.similarity.maps import prepare
    >>> query = prepare(np.array([[[2.0, 0.0], [1.0, 0.0]]]))
    >>> candidate = prepare(np.array([[[3.0, 0.0], [0.0, 9.0]]]))
    >>> found = maxsim_scores(query, candidate, ["linear", "cosine", "rbf"])
    >>> {kernel: scores.tolist() for kernel, scores in found.items()}
    {'linear': [9.0], 'cosine': [1.0], 'rbf': [5.0]}
    """
    found = {kernel: np.empty(len(candidates)) for kernel in kernels}
    plain = [kernel for kernel in kernels if kernel != "cosine"]
    if "cosine" in found:
        levelled = _levelled(query), _levelled(candidates)
        if levelled[0] is query and levelled[1] is candidates:
            plain.append("cosine")
        else:
            _fill(*levelled, ["cosine"], found)
    if plain:
        _fill(query, candidates, plain, found)
    return found


def best_pairs(query: Maps, candidate: Maps, kernel: str) -> tuple[IndexVector, Float64Array]:
    """Return the best token for each token of a query, and what the two add to the score of late interaction.

    Parameters
    ----------
    query, candidate : Maps of length 1
    kernel : {"cosine", "linear"}

    Returns
    -------
    best : ndarray of shape (Sq,), intp
        Of equal tokens the first.
    worths : ndarray of shape (Sq,), float64
        In the units of the maps; their sum is what `maxsim_scores` gives, but for its rounding.
    """
    if kernel == "cosine":
        query, candidate = _levelled(query), _levelled(candidate)
    own, other = query.token_squares[0], candidate.token_squares[0]
    ((_, affinity, unit),) = affinities(query, candidate)
    best = _best_tokens(affinity[0], other, unit, kernel)
    dots = row_products(query.tokens[0], candidate.tokens[0], best)
    return best, kernel_score("cosine", dots, own, other[best]) / len(own) if kernel == "cosine" else dots


def _fill(query: Maps, candidates: Maps, kernels: Sequence[str], found: dict[str, Float64Array]) -> None:
    """Write the scores of all candidates under these kernels."""
    own = query.token_squares[0]
    for rows, affinity, unit in affinities(query, candidates):
        for row, products in enumerate(affinity, start=rows.start):
            other = candidates.token_squares[row]
            for kernel in kernels:
                best = _best_tokens(products, other, unit, kernel)
                dots = row_products(query.tokens[0], candidates.tokens[row], best)
                if kernel == "cosine":
                    found[kernel][row] = kernel_score("cosine", dots, own, other[best]).mean()
                elif kernel == "rbf":
                    found[kernel][row] = np.maximum(own + other[best] - 2 * dots, 0.0).sum()
                else:
                    found[kernel][row] = dots.sum()


def _levelled(maps: Maps) -> Maps:
    """Bring tokens of very different lengths to about one, by powers of two, on which no cosine depends.

    Other maps stay as they are, bit for bit: they are returned themselves.
    """
    known = maps.token_squares
    extreme = ~(known > known.max(axis=1, keepdims=True, initial=0.0) * 2.0**-100).all(axis=1)
    if not extreme.any():
        return maps
    exponents = np.where(extreme[:, None], np.frexp(np.abs(maps.tokens).max(axis=2))[1], 0)
    tokens: FloatArray = np.ldexp(maps.tokens, -exponents[:, :, None])
    found = squares(tokens)
    return replace(maps, tokens=tokens, token_squares=found, squared_norms=found.sum(axis=1))


def _best_tokens(products: FloatArray, squares: Float64Array, unit: float, kernel: str) -> IndexVector:
    """Return, for each row of `products`, the first column of largest cosine, product or nearness.

    Products are in units of `unit`, squared norms in those of the maps.
    """
    if kernel == "cosine":
        norms = np.sqrt(squares)
        longest = float(norms.max(initial=0.0))
        # Only proportions count. A token of norm 0 has products of 0 and stays there.
        inverse = np.divide(longest, norms, out=np.zeros_like(norms), where=norms > longest * 1e-30)
        products = products * inverse.astype(products.dtype)
    elif kernel == "rbf":
        products = 2 * products - (squares / unit).astype(products.dtype)
    return np.asarray(products.argmax(axis=1))
