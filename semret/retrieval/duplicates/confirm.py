"""Whether one image is a copy of another: their best matching, how much of it keeps the arrangement, their pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from semret.arrays import Float64Array, FloatArray, IndexVector
from semret.index.collection import Collection
from semret.integer_tokens import IntegerTokens
from semret.retrieval.duplicates.pixels import SAME, same_share
from semret.retrieval.duplicates.small_pictures import SmallPictures
from semret.retrieval.search.best_k import BestK, Tokens, as_compared
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.similarity.arrangement import Arrangement, kept_arrangement
from semret.retrieval.similarity.integer_maps import prepare_integers
from semret.retrieval.similarity.maps import prepare
from semret.retrieval.similarity.shares import AnyMaps, share_out

_LAST = np.iinfo(np.int64).max


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """The images that are copies of one.

    Attributes
    ----------
    places : ndarray of shape (n,), intp
        Which of the candidates, ascending.
    scores : ndarray of shape (n,), float64
        At least the threshold.
    mirrored : list of bool
        Whether each is mirrored left to right.
    """

    places: IndexVector
    scores: Float64Array
    mirrored: list[bool]

    def __len__(self) -> int:
        return len(self.places)


class Confirmer:
    """Compares images of an index by what is stored of them.

    The score of two images is their cosine under the best one-to-one matching, times the share of it that keeps the
    arrangement (`semret.retrieval.similarity.arrangement`). A candidate whose cosine certainly lies below the threshold
    is ruled out by a bound, before it is solved.

    Parameters
    ----------
    collection : Collection
    threshold : float
        Score from which an image is a copy, above 0.
    pictures : SmallPictures or None
        Of the images: those whose score suffices are then laid over each other, and must look the same. None takes the
        score's word for it.
    """

    def __init__(self, collection: Collection, threshold: float, pictures: SmallPictures | None = None) -> None:
        self._features, self._threshold, self._pictures = collection.features, threshold, pictures
        self._grid = collection.manifest.identity.grid

    @cached_property
    def _center(self) -> FloatArray | None:
        return self._features.center("channel").tokens

    def confirm(self, row: int, candidates: IndexVector) -> Confirmed:
        """Find the copies of an image among some candidates.

        Parameters
        ----------
        row : int
            Position of the image in the collection.
        candidates : ndarray of shape (n,), integer
            Positions of others, n at least 1.

        Returns
        -------
        Confirmed

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        tokens = self._features.read_tokens(np.concatenate([[row], candidates]))
        compared = as_compared(tokens, self._center)
        alike = self._alike(tokens)
        query = self._prepared(compared[:1])
        places, scores, mirrored = [], [], []
        for place in alike.tolist():
            shares = share_out(query, self._prepared(compared[place + 1 : place + 2]))
            kept = kept_arrangement(shares.partners, shares.shares, self._grid)
            score = shares.score * kept.share
            if score >= self._threshold and self._look_alike(row, int(candidates[place]), kept):
                places.append(place)
                scores.append(score)
                mirrored.append(kept.mirrored)
        return Confirmed(places=np.array(places, dtype=np.intp), scores=np.array(scores), mirrored=mirrored)

    def _look_alike(self, row: int, other: int, kept: Arrangement) -> bool:
        if self._pictures is None:
            return True
        one, two = self._pictures.of(row), self._pictures.of(other)
        if one is None or two is None:
            return False
        return same_share(one[:, ::-1] if kept.mirrored else one, two, kept.way, enough=SAME) >= SAME

    def _alike(self, tokens: Tokens) -> IndexVector:
        """Return which of the candidates, all but the first map, are as similar as the threshold asks, ascending."""
        count = len(tokens) - 1
        query = tokens[:1] if isinstance(tokens, IntegerTokens) else tokens[0]
        best = BestK(query, RerankOptions(k=count), self._center, None)
        # As if so many had been found that are just good enough: bounds then rule out what is not.
        best.rows = np.full(count, -1, dtype=np.intp)
        best.ids = np.full(count, _LAST)
        best.scores = np.full(count, self._threshold)
        best.compare(np.arange(count), np.arange(count), tokens[1:])
        return np.sort(best.rows[best.rows >= 0])

    def _prepared(self, tokens: Tokens) -> AnyMaps:
        name = "the index's tokens"
        if isinstance(tokens, IntegerTokens):
            return prepare_integers(tokens, name)
        return prepare(tokens, self._center, name)
