"""Candidates whose tokens lie in shards, in the places of tokens: bounded and solved there, chosen here.

What is bounded and solved, in which order, and which candidates are left out, is decided here by the code that decides
it on one machine, from the same bounds and scores. So hits, scores and counts are those of one machine, whatever the
number of shards. The first bounds of a chunk need no decision, and are made while the chunk before it is dealt with.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from semret.arrays import Float64Array, FloatArray, IndexVector
from semret.cluster.bout import Step
from semret.cluster.shards import Answer, Laid
from semret.cluster.spread import Spread, fresh_name
from semret.integer_tokens import IntegerTokens
from semret.retrieval.search.best_k import BestK, Tokens
from semret.retrieval.search.float_side import FIRST_EFFORT, FloatBounds, FloatSide
from semret.retrieval.search.integer_field import IntegerBounds
from semret.retrieval.search.integer_side import IntegerSide
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.similarity.pairs import check_shapes


class Chunk:
    """Candidates that are compared at a time, each in its shard; begun when it is made.

    Parameters
    ----------
    spread : Spread
    asked : Laid
        Of an `Asked`.
    positions : ndarray of shape (n,), intp
        Of the candidates in the collection.
    sigma : float or None
        RBF bandwidth.
    bounds : bool
        Whether first bounds are wanted.
    turn : int
        Which replicas are asked first.
    """

    def __init__(
        self, spread: Spread, asked: Laid, positions: IndexVector, sigma: float | None, *, bounds: bool, turn: int
    ) -> None:
        self._spread, self._asked, self._sigma, self._turn = spread, asked, sigma, turn
        self._count, self._name = len(positions), fresh_name()
        self._parts = spread.split(positions)
        self._candidates = [spread.places[positions[which]] for _, which in self._parts]
        # Where each candidate is: in which of the parts, and at which place of those there.
        self._owner, self._place = np.empty(self._count, dtype=np.intp), np.empty(self._count, dtype=np.intp)
        for number, (_, which) in enumerate(self._parts):
            self._owner[which], self._place[which] = number, np.arange(len(which))
        self._steps: list[list[Step]] = [[] for _ in self._parts]
        self._beginning = [self._ask(number, "begin", bounds) for number in range(len(self._parts))]

    def __len__(self) -> int:
        return self._count

    def _ask(self, number: int, step: str, *arguments: Any) -> Answer:
        self._steps[number].append((step, arguments))
        # With all steps so far: whoever answers may be new, and has to catch up.
        asked = self._asked.ref if step == "begin" else self._asked
        known = asked, f"{self._name}-{number}", self._candidates[number], self._sigma
        return self._spread.ask(self._parts[number][0], "work", *known, list(self._steps[number]), first=self._turn)

    @cached_property
    def _begun(self) -> list[tuple[float, Float64Array | None]]:
        return [answer.get() for answer in self._beginning]

    @property
    def extent(self) -> float:
        """See `FloatSide.extent`."""
        return float(np.max([extent for extent, _ in self._begun]))

    def first_bounds(self) -> Float64Array:
        """Return the cheap upper bounds of all candidates.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        out = np.empty(self._count)
        for (_, which), (_, uppers) in zip(self._parts, self._begun, strict=True):
            out[which] = uppers
        return out

    def each(self, places: IndexVector, step: str, *arguments: Any) -> list[tuple[IndexVector, Any]]:
        """Have every shard do a step with its candidates among some.

        Parameters
        ----------
        places : ndarray of shape (m,), intp
            In the chunk.
        step : str
            See `Bout.take`; takes places and then `arguments`.

        Returns
        -------
        list of (ndarray of intp, object)
            Which of `places`, and what the step gave.
        """
        owners = self._owner[places]
        chosen = [(number, np.flatnonzero(owners == number)) for number in np.unique(owners).tolist()]
        asked = [self._ask(number, step, self._place[places[which]], *arguments) for number, which in chosen]
        return [(which, answer.get()) for (_, which), answer in zip(chosen, asked, strict=True)]

    def score(self) -> Float64Array:
        """Score all candidates under an invariance that needs no matching.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        out = np.empty(self._count)
        asked = [self._ask(number, "score") for number in range(len(self._parts))]
        for (_, which), answer in zip(self._parts, asked, strict=True):
            out[which] = answer.get()
        return out

    def drop(self) -> None:
        """Let the shards forget what they know of it."""
        for number, (shard, _) in enumerate(self._parts):
            self._spread.shards.tell(shard, "drop", [f"{self._name}-{number}"], first=self._turn)


class Elsewhere:
    """Some candidates of a chunk, in the place of their tokens.

    Parameters
    ----------
    chunk : Chunk
    places : ndarray of shape (n,), intp
        Which of its candidates.
    shape : (int, int)
        ``(S, C)`` of each.

    Attributes
    ----------
    shape : (int, int, int)
    """

    def __init__(self, chunk: Chunk, places: IndexVector, shape: tuple[int, int]) -> None:
        self.chunk, self.places = chunk, places
        self.shape = (len(places), *shape)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, which: IndexVector | slice) -> Elsewhere:
        return Elsewhere(self.chunk, self.places[which], self.shape[1:])


class _Side:
    """What is done with candidates elsewhere, whatever their kind."""

    def extent(self, tokens: Elsewhere) -> float:
        return tokens.chunk.extent

    def score(self, tokens: Elsewhere, sigma: float | None) -> Float64Array:
        del sigma
        return tokens.chunk.score()[tokens.places]

    def solve(self, tokens: Elsewhere, sigma: float | None) -> tuple[Float64Array, bool]:
        del sigma
        scores, exact = np.empty(len(tokens)), True
        for which, (found, optimal) in tokens.chunk.each(tokens.places, "solve"):
            scores[which], exact = found, exact and optimal
        return scores, exact


class FloatsElsewhere(_Side, FloatSide):  # type: ignore[misc]  # the same side, of candidates that are no arrays
    """A query in floats against candidates elsewhere."""

    def field(self, tokens: Any, allowed: IndexVector, integers: Any, sigma: float | None) -> FloatBounds:
        """Return what is known of the scores of candidates; see `FloatSide.field`.

        Parameters
        ----------
        tokens : Elsewhere
        allowed, integers, sigma
            See `FloatSide.field`.

        Returns
        -------
        FloatBounds
        """
        del integers, sigma
        return _FloatBounds(tokens, allowed)


class IntegersElsewhere(_Side, IntegerSide):  # type: ignore[misc]
    """A query in integers against candidates elsewhere."""

    def field(
        self, tokens: Any, allowed: IndexVector, shared: Any, sigma: float | None
    ) -> tuple[IntegerBounds, Elsewhere]:
        """Return what is known of the scores of candidates, and what `solve` takes; see `IntegerSide.field`.

        Parameters
        ----------
        tokens : Elsewhere
        allowed, shared, sigma
            See `IntegerSide.field`.

        Returns
        -------
        IntegerBounds
        Elsewhere
        """
        del shared, sigma
        return _IntegerBounds(tokens, allowed, self.options.k), tokens


class _FloatBounds(FloatBounds):
    def __init__(self, tokens: Elsewhere, allowed: IndexVector) -> None:
        super().__init__(len(tokens), allowed)
        self._tokens = tokens

    def _bounds(self, places: IndexVector, level: int) -> Float64Array:
        if level == FIRST_EFFORT:
            return self._tokens.chunk.first_bounds()[self._tokens.places[places]]
        out = np.empty(len(places))
        for which, (uppers, _) in self._tokens.chunk.each(self._tokens.places[places], "bound", level):
            out[which] = uppers
        return out


class _IntegerBounds(IntegerBounds):
    def __init__(self, tokens: Elsewhere, allowed: IndexVector, k: int) -> None:
        super().__init__(len(tokens), allowed, k)
        self._tokens = tokens

    def _tighten(self, places: IndexVector, phases: int, threshold: float) -> None:
        if not phases:
            self.uppers[places] = self._tokens.chunk.first_bounds()[self._tokens.places[places]]
            return
        for which, (uppers, lowers) in self._tokens.chunk.each(self._tokens.places[places], "bound", phases, threshold):
            self.uppers[places[which]], self.lowers[places[which]] = uppers, lowers


class BestElsewhere(BestK):
    """The k best of candidates that lie in shards; see `BestK`."""

    def admitted(self, tokens: Any) -> Any:
        """Return candidates that fit the query; shards compare kinds of numbers, and read what they compare.

        Parameters
        ----------
        tokens : Elsewhere

        Returns
        -------
        Elsewhere
        """
        check_shapes(self.shape, tokens.shape[1:], self.options.invariance)
        return tokens

    def _make_side(self, tokens: Tokens, options: RerankOptions, center: FloatArray | None) -> Any:
        if not isinstance(tokens, IntegerTokens):
            return FloatsElsewhere(tokens, options, center)
        return (
            IntegersElsewhere(tokens, options)
            if center is None
            else FloatsElsewhere(tokens.as_floats()[0], options, center)
        )
