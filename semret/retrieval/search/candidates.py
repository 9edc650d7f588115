"""What a rerank takes and gives: candidates whose tokens are read when wanted, a query, and the best of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, FloatArray, IdVector, IndexVector, as_array


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
    def means(self) -> Float32Array:
        """Mean tokens as stored, (K, C)."""

    @property
    def pooled(self) -> Float32Array:
        """Pooled embeddings, (K, D)."""

    def read(self, rows: IndexVector) -> FloatArray:
        """Return the stored tokens of these candidates, (n, S, C)."""


class Center(Protocol):
    """What is subtracted from the maps of queries and candidates alike."""

    @property
    def channel(self) -> Float32Array | None:
        """One vector for all positions, (C,)."""

    @property
    def position(self) -> Float32Array | None:
        """One vector for each position, (S, C)."""

    @property
    def pooled(self) -> Float32Array | None:
        """What is subtracted from pooled embeddings, (D,)."""


@dataclass(frozen=True, kw_only=True)
class NoCenter:
    """The centre that subtracts nothing."""

    channel: None = None
    position: None = None
    pooled: None = None


@dataclass(frozen=True, kw_only=True)
class Query:
    """What is searched for.

    Attributes
    ----------
    tokens : ndarray of shape (Sq, C)
    pooled : ndarray of shape (D,) or None
        Needed by invariance pooled alone.
    excluded : ndarray of int64 or None
        Ids of candidates that may not be returned.
    """

    tokens: FloatArray
    pooled: NDArray[np.floating[Any]] | None = None
    excluded: IdVector | None = None

    def __post_init__(self) -> None:
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
