"""The candidates of one chunk of a search that lie in one shard, and what is known of their scores so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from semret.arrays import Float64Array, IndexVector
from semret.cluster.parts import Asked
from semret.integer_tokens import IntegerTokens
from semret.retrieval.search.best_k import as_compared, side_of
from semret.retrieval.search.candidates import TokenSource
from semret.retrieval.search.float_side import FIRST_EFFORT, FloatSide

Step: TypeAlias = tuple[str, tuple[Any, ...]]
"""What is to be done with candidates, see `Bout.take`, and with what arguments."""


class Bout:
    """A comparison of a query with some candidates, step by step; what the steps give depends on them alone.

    Parameters
    ----------
    asked : Asked
    source : TokenSource
        Of the candidates.
    sigma : float or None
        RBF bandwidth.
    threads : int
        Threads of bounds and solver.

    Raises
    ------
    NonFiniteError, ShapeError
        If query and candidates cannot be compared.
    IndexCorruptError
        If what is read is damaged.
    """

    def __init__(self, asked: Asked, source: TokenSource, sigma: float | None, threads: int) -> None:
        center = None if asked.levelled else asked.center.tokens
        self._sigma = sigma
        self._side: Any = side_of(asked.query.tokens, replace(asked.options, threads=threads), center)
        self._tokens: Any = as_compared(source.read(np.arange(len(source.ids))), center)
        if not isinstance(self._side, FloatSide) and not isinstance(self._tokens, IntegerTokens):
            raise TypeError("the query is compared in integers, and the candidates are floats")
        self._field: Any = None
        self._given: Any = None

    def take(self, step: Step) -> Any:
        """Do one step.

        Parameters
        ----------
        step : (str, tuple)
            ``begin`` with whether to bound gives the extent (see `FloatSide.can_bound`) and first upper bounds, or None
            in their place; ``bound`` with places and what the field is sharpened with gives upper and lower bounds,
            floats have none; ``solve`` with places gives scores and whether they are exact; ``score`` gives scores.

        Returns
        -------
        object
        """
        name, arguments = step
        steps: dict[str, Callable[..., Any]] = {
            "begin": self._begin,
            "bound": self._bound,
            "solve": self._solve,
            "score": self._score,
        }
        return steps[name](*arguments)

    def _begin(self, bounds: bool) -> tuple[float, Float64Array | None]:
        extent = self._side.extent(self._tokens)
        if not bounds or not self._side.can_bound(extent):
            return extent, None
        everyone = np.arange(len(self._tokens))
        if isinstance(self._side, FloatSide):
            self._field = self._side.field(self._tokens, everyone, None, self._sigma)
            self._field.sharpen(everyone, FIRST_EFFORT)
        else:
            self._field, self._tokens = self._side.field(self._tokens, everyone, None, self._sigma)
            self._field.sweep()
        return extent, self._field.uppers.copy()

    def _bound(self, places: IndexVector, *arguments: Any) -> tuple[Float64Array, Float64Array | None]:
        places = np.array(places)
        self._field.sharpen(places, *arguments)
        lowers = None if isinstance(self._side, FloatSide) else self._field.lowers[places]
        return self._field.uppers[places], lowers

    def _solve(self, places: IndexVector) -> tuple[Float64Array, bool]:
        scores, exact = self._side.solve(self._tokens[np.array(places)], self._sigma)
        return scores, exact

    def _score(self) -> Float64Array:
        scores: Float64Array = self._side.score(self._tokens, self._sigma)
        return scores
