"""The first stage of a search with a region of a large index: the images that hold words near the region's patches."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import NamedTuple

from semret.arrays import FloatArray, IdVector
from semret.errors import IndexCorruptError
from semret.index.collection import Collection
from semret.index.region_words import find_words
from semret.index.shortlist.word_recall import shares, unit_tokens
from semret.index.shortlist.words import WordIndex
from semret.integer_tokens import IntegerTokens
from semret.retrieval.search.options import SearchOptions


class Promising(NamedTuple):
    """The images that a first stage leaves.

    Attributes
    ----------
    ids : ndarray of shape (n,), int64
        Ascending.
    recall : float
        Share of the ten best images of a region that were among as many when it was measured on the collection.
    """

    ids: IdVector
    recall: float


class FirstStage:
    """Finds the images that may show a region; the words are opened when they are wanted. Safe for several threads.

    Parameters
    ----------
    collection : Collection
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._guard = threading.Lock()

    @cached_property
    def _words(self) -> WordIndex | None:
        return find_words(self._collection)

    def promising(
        self, tokens: FloatArray | IntegerTokens, allowed: IdVector, options: SearchOptions
    ) -> Promising | None:
        """Find the images that a region is compared with, in place of all.

        Parameters
        ----------
        tokens : ndarray of shape (n, C), or IntegerTokens of length 1
            Of the region, as stored.
        allowed : ndarray of shape (N,), int64
            Ids, ascending: one of each content.
        options : SearchOptions

        Returns
        -------
        Promising or None
            None where all are compared: without a region or without words, for a centre that they do not have, and
            where hardly more are allowed than would be compared.
        """
        if options.region is None or options.shortlist is not None or options.center != "channel":
            return None
        with self._guard:
            words = self._words
        if words is None or not isinstance(tokens, IntegerTokens):
            return None
        unit, lengths = unit_tokens(tokens)
        try:
            ids = words.candidates(unit[0], shares(lengths[0]), allowed, words.examined(options.k))
        except IndexCorruptError:
            # What damaged words cannot answer is answered without them.
            return None
        return None if len(ids) == len(allowed) else Promising(ids, words.lists.recall)
