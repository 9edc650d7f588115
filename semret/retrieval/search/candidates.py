"""What a rerank takes and gives: candidates whose tokens are read when wanted, a query, and the best of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from semret.arrays import Float64Array, FloatArray, IdVector, IndexVector, as_array, require_ndim
from semret.errors import ShapeError
from semret.integer_tokens import IntegerTokens
from semret.retrieval.similarity.integer_maps import prepare_integers


class TokenSource(Protocol):
    """Candidates whose tokens are read when they are wanted."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(S, C)`` of every candidate."""

    @property
    def ids(self) -> IdVector:
        """Ids of the candidates, (K,); they decide ties."""

    @property
    def norms(self) -> Float64Array:
        """Frobenius norms of the tokens as stored, (K,)."""

    @property
    def means(self) -> FloatArray:
        """Mean tokens as stored, (K, C)."""

    @property
    def pooled(self) -> FloatArray:
        """Pooled embeddings, (K, D)."""

    def read(self, rows: IndexVector) -> Any:
        """Return the stored tokens of some candidates.

        Parameters
        ----------
        rows : ndarray of shape (n,), intp
            Places of candidates, from 0.

        Returns
        -------
        ndarray of shape (n, S, C), or IntegerTokens
            In this order; not centred. Of one source, always of one kind.
        """


class InMemoryTokens:
    """Candidates whose tokens are one array: a `TokenSource` for features that are not in an index.

    Parameters
    ----------
    tokens : array_like of shape (K, S, C), or IntegerTokens
        float16, float32 or float64; an array of NumPy is not copied. Of other kinds of numbers float32 is made.
        `IntegerTokens` are compared with a query of such.
    ids : array_like of shape (K,), int64, or None
        Of equal scores the smaller id comes first. None numbers the candidates from 0.
    pooled : array_like of shape (K, D) or None
        Pooled embeddings, which invariance pooled alone compares. None takes the mean tokens.

    Attributes
    ----------
    tokens : ndarray of shape (K, S, C), or IntegerTokens
    shape : (int, int)
        ``(S, C)``.
    ids : ndarray of shape (K,), int64
    norms : ndarray of shape (K,), float64
        Frobenius norms. Infinite, or NaN, for maps that hold such values or leave float64; a rerank refuses the tokens
        that are not finite when it reads them.
    means : ndarray of shape (K, C), float32, or float64 for tokens in float64 and integer tokens
        Mean tokens.
    pooled : ndarray of shape (K, D)

    Raises
    ------
    ShapeError
        If `tokens` has not three axes, holds no numbers, or has no position or channel; if `ids` or `pooled` are not
        as many as the candidates.
    ArgumentError
        If entries are masked.

    Examples
    --------
    Two pictures of two tokens each; the second is the query with its tokens exchanged.

    >>> import numpy as np
    >>> from semret.retrieval.search.options import RerankOptions
    >>> from semret.retrieval.search.rerank import rerank
    >>> source = InMemoryTokens(np.array([[[1.0, 1.0], [1.0, 1.0]], [[0.0, 2.0], [1.0, 0.0]]]), ids=[7, 9])
    >>> source.norms.tolist(), source.means.tolist()
    ([2.0, 2.23606797749979], [[1.0, 1.0], [0.5, 1.0]])
    >>> found = rerank(Query(tokens=np.array([[1.0, 0.0], [0.0, 2.0]])), source, RerankOptions(k=1))
    >>> source.ids[found.rows].tolist(), found.scores.tolist()
    ([9], [1.0])
    """

    def __init__(
        self,
        tokens: ArrayLike | IntegerTokens,
        *,
        ids: ArrayLike | None = None,
        pooled: ArrayLike | None = None,
    ) -> None:
        self.tokens: FloatArray | IntegerTokens
        self.norms: Float64Array
        self.means: FloatArray
        if isinstance(tokens, IntegerTokens):
            self.tokens, (self.norms, self.means) = tokens, _integer_statistics(tokens)
        else:
            self.tokens = _floats(tokens)
            self.norms, self.means = _float_statistics(self.tokens)
        array = self.tokens
        self.shape: tuple[int, int] = (array.shape[1], array.shape[2])
        self.ids: IdVector = np.arange(len(array)) if ids is None else as_array(ids, "ids").astype(np.int64)
        self.pooled: FloatArray = self.means if pooled is None else as_array(pooled, "the pooled embeddings")
        for name, given, axes in (("ids", self.ids, 1), ("pooled", self.pooled, 2)):
            if given.ndim != axes or len(given) != len(array):
                raise ShapeError(
                    f"{name} has shape {given.shape}, expected {axes} axes, the first of length {len(array)} as of the "
                    "candidates' tokens"
                )

    def read(self, rows: IndexVector) -> FloatArray | IntegerTokens:
        """Return the tokens of these candidates.

        Parameters
        ----------
        rows : ndarray of shape (n,), intp
            Places of candidates, from 0.

        Returns
        -------
        ndarray of shape (n, S, C), or IntegerTokens
            All of them in their order are not copied.
        """
        everyone = len(rows) == len(self.tokens) and np.array_equal(rows, np.arange(len(rows)))
        return self.tokens if everyone else self.tokens[rows]


def _floats(tokens: ArrayLike) -> FloatArray:
    array = as_array(tokens, "the candidates' tokens")
    require_ndim(array, 3, "the candidates' tokens", "(K, S, C)")
    if 0 in array.shape[1:] or array.dtype.kind not in "fiub":
        raise ShapeError(
            f"the candidates' tokens have shape {array.shape} and dtype {array.dtype}, "
            "expected numbers, with at least one position and one channel"
        )
    floats: FloatArray = array if array.dtype.kind == "f" else array.astype(np.float32)
    return floats


def _float_statistics(tokens: FloatArray) -> tuple[Float64Array, FloatArray]:
    """Return Frobenius norms and mean tokens."""
    precision = np.float64 if tokens.dtype == np.float64 else np.float32
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ksc,ksc->k", tokens, tokens, dtype=np.float64)
        return np.sqrt(squares), tokens.mean(axis=1, dtype=np.float64).astype(precision)


def _integer_statistics(tokens: IntegerTokens) -> tuple[Float64Array, FloatArray]:
    """Return Frobenius norms and mean tokens, as float64."""
    maps = prepare_integers(tokens, "the candidates' tokens")
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(np.sqrt(maps.squared_norms), maps.exponents), np.ldexp(maps.means, maps.exponents[:, None])


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is searched for.

    Attributes
    ----------
    tokens : ndarray of shape (Sq, C), or IntegerTokens of length 1
    pooled : ndarray of shape (D,) or None
        Needed by invariance pooled alone.
    excluded : ndarray of int64 or None
        Ids of candidates that may not be returned.
    """

    tokens: FloatArray | IntegerTokens
    pooled: NDArray[np.floating[Any]] | None = None
    excluded: IdVector | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.tokens, IntegerTokens):
            object.__setattr__(self, "tokens", as_array(self.tokens, "the query's tokens"))
        if self.pooled is not None:
            object.__setattr__(self, "pooled", as_array(self.pooled, "the query's pooled embedding"))


@dataclass(frozen=True, kw_only=True)
class Reranked:
    """The best candidates of one query.

    Attributes
    ----------
    rows : ndarray of shape (k,), intp
        Their places among the candidates, best first; equal scores in the order of ids. Shorter than `k` when there
        are fewer candidates.
    scores : ndarray of shape (k,), float64
    solved, pruned : int
        Candidates matched, and candidates ruled out by an upper bound. Both 0 where the invariance needs no matching.
    exact : bool
        Whether scores are those of optimal matchings. The order is in any case the one that the solver would give if
        it solved every candidate.
    seconds : dict
        Wall time by stage: ``read``, ``match``.
    """

    rows: IndexVector
    scores: Float64Array
    solved: int
    pruned: int
    exact: bool
    seconds: dict[str, float] = field(default_factory=dict)
