"""What runs in a shard: parts of indexes, opened when they are first asked for, and comparisons that are under way."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from semret.arrays import Float32Array, Float64Array, FloatArray, IdVector, IndexVector
from semret.centers import Center
from semret.cluster.bout import Bout, Step
from semret.cluster.holding import Holding
from semret.cluster.kept import Kept
from semret.cluster.parts import Asked, Part
from semret.integer_tokens import IntegerTokens
from semret.retrieval.search.rerank import centred_statistics

MOST_PARTS = 2
"""Parts that are kept open: that of the state that is searched, and that of the one before it or after it."""

MOST_BOUTS = 16
"""Comparisons that are kept. Another one may be let go of: what was known of it is found again when it is asked for."""

_MOST_QUERIES = 64


class Unknown:
    """The answer to a call that names what is not known here; it has to come again, with the thing itself."""


class UnknownHereError(Exception):
    """A part or a query is named that is not kept."""


class Shard:
    """Answers for parts of indexes. A call carries what is needed to answer it from nothing, or names it.

    So an actor that was started anew answers as the one before it, and one that is a replica as the first: what is kept
    only saves fetching and doing things again. Safe for several threads.

    Parameters
    ----------
    threads : int
        Threads that a comparison may use.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._parts: Kept[Holding] = Kept(MOST_PARTS)
        self._bouts: Kept[_Begun] = Kept(MOST_BOUTS)
        self._queries: Kept[Asked] = Kept(_MOST_QUERIES)

    def call(self, method: str, *arguments: Any) -> Any:
        """Do what is asked.

        Parameters
        ----------
        method : str
            One of the others.
        *arguments
            Parts and queries, or their keys.

        Returns
        -------
        object
            What the method returns; `Unknown` if a key is not known here.
        """
        try:
            return getattr(self, method)(*arguments)
        except UnknownHereError:
            return Unknown()

    def alive(self) -> tuple[int, int]:
        """Tell that this process is there.

        Returns
        -------
        (int, int)
            Its number, and the most memory that it has held, in bytes.
        """
        return os.getpid(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def open(self, part: Part | str) -> int:
        """Open a part, and read what every search needs.

        Parameters
        ----------
        part : Part or str

        Returns
        -------
        int
            How many images it has.
        """
        holding = self._holding(part)
        holding.warm()
        return len(holding)

    def nearest(
        self, part: Part | str, queries: Float32Array, length: int, probed: int | None
    ) -> tuple[IdVector, Float64Array, int] | None:
        """Find images by pooled embeddings.

        Parameters
        ----------
        part : Part or str
        queries, length, probed
            See `Holding.nearest`.

        Returns
        -------
        (ids, scores, found) or None
            See `Holding.nearest`.
        """
        return self._holding(part).nearest(np.array(queries), length, probed)

    def scores(self, part: Part | str, query: Float32Array, places: IndexVector) -> Float64Array:
        """Score images by pooled embeddings.

        Parameters
        ----------
        part : Part or str
        query, places
            See `Holding.scores`.

        Returns
        -------
        ndarray of shape (n,), float64
        """
        return self._holding(part).scores(np.array(query), places)

    def statistics(
        self, part: Part | str, asked: Asked | str, mean: Float64Array, places: IndexVector
    ) -> tuple[Float64Array, Float64Array]:
        """Return statistics of candidates.

        Parameters
        ----------
        part : Part or str
        asked : Asked or str
        mean : ndarray of shape (C,), float64
            The query's mean token, centred.
        places : ndarray of shape (n,), intp
            Positions in the part.

        Returns
        -------
        squared, inner : ndarray of shape (n,), float64
            See `centred_statistics`.
        """
        own = self._own(asked)
        source = self._holding(part).source(own, places)
        center = Center() if own.levelled else own.center
        return centred_statistics(mean, source, np.arange(len(places)), center)

    def pooled_distances(self, part: Part | str, asked: Asked | str, places: IndexVector) -> Float64Array:
        """Return squared distances of pooled embeddings from the query's.

        Parameters
        ----------
        part : Part or str
        asked : Asked or str
        places : ndarray of shape (n,), intp

        Returns
        -------
        ndarray of shape (n,), float64
        """
        return self._holding(part).pooled_distances(self._own(asked), places)

    def best_pooled(
        self, part: Part | str, asked: Asked | str, places: IndexVector, sigma: float | None
    ) -> tuple[IndexVector, Float64Array]:
        """Find the best candidates by pooled embeddings.

        Parameters
        ----------
        part : Part or str
        asked : Asked or str
        places, sigma
            See `Holding.best_pooled`.

        Returns
        -------
        places : ndarray of intp
        scores : ndarray of float64
        """
        return self._holding(part).best_pooled(self._own(asked), places, sigma)

    def work(
        self,
        part: Part | str,
        asked: Asked | str,
        name: str,
        places: IndexVector,
        sigma: float | None,
        steps: Sequence[Step],
    ) -> Any:
        """Do the last of some steps of a comparison, and those before it that have not been done here.

        Parameters
        ----------
        part : Part or str
        asked : Asked or str
        name : str
            Of the comparison: what no other has.
        places : ndarray of shape (n,), intp
            Its candidates: positions in the part.
        sigma : float or None
            RBF bandwidth.
        steps : sequence of Step
            All so far.

        Returns
        -------
        object
            What the last gives, see `Bout.take`.
        """

        def begin() -> _Begun:
            own = self._own(asked)
            return _Begun(Bout(own, self._holding(part).source(own, np.array(places)), sigma, self._threads))

        return self._bouts.get(name, begin).take(steps)

    def forget(self, key: str) -> None:
        """Close a part that nobody asks for any more; who does nevertheless has it opened again.

        Parameters
        ----------
        key : str
        """
        self._parts.drop(key)

    def drop(self, names: Sequence[str]) -> None:
        """Let go of comparisons that are done with.

        Parameters
        ----------
        names : sequence of str
        """
        for name in names:
            self._bouts.drop(name)

    def _holding(self, part: Part | str) -> Holding:
        if isinstance(part, str):
            return self._parts.get(part, _unknown)
        return self._parts.get(part.key, lambda: Holding(part, self._threads))

    def _own(self, asked: Asked | str) -> Asked:
        if isinstance(asked, str):
            return self._queries.get(asked, _unknown)
        return self._queries.get(asked.key, lambda: _writable(asked))


class _Begun:
    """A comparison, and the steps of it that have been done."""

    def __init__(self, bout: Bout) -> None:
        self._bout, self._done, self._last = bout, 0, None
        self._guard = threading.Lock()

    def take(self, steps: Sequence[Step]) -> Any:
        """Do what has not been done, and return what the last step gave."""
        with self._guard:
            for step in steps[self._done :]:
                self._last = self._bout.take(step)
                self._done += 1
            return self._last


def _unknown() -> Any:
    raise UnknownHereError


def _writable(asked: Asked) -> Asked:
    """Return a query with arrays of its own: what comes out of Ray's store is read-only, and compiled loops differ."""
    tokens, center = asked.query.tokens, asked.center
    own: Any
    if isinstance(tokens, IntegerTokens):
        own = replace(tokens, integers=np.array(tokens.integers), scales=np.array(tokens.scales))
    else:
        own = np.array(tokens)
    center = replace(center, channel=_own(center.channel), position=_own(center.position), pooled=_own(center.pooled))
    return replace(asked, query=replace(asked.query, tokens=own, pooled=_own(asked.query.pooled)), center=center)


def _own(array: FloatArray | None) -> Any:
    return None if array is None else np.array(array)
