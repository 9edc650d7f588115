"""Questions of several pictures and of sentences, and what all kinds of questions have in common."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from semret.arrays import Float32Array, IdVector
from semret.errors import ArgumentError
from semret.index.collection import Collection
from semret.index.vectors import normalise
from semret.progress import Progress, told
from semret.retrieval.search.answers import Compared
from semret.retrieval.search.candidates import Reranked
from semret.retrieval.search.comparing import Clock, Comparer
from semret.retrieval.search.copies import NOBODY, Copies
from semret.retrieval.search.embedding_reader import EmbeddingReader
from semret.retrieval.search.explain import explain
from semret.retrieval.search.options import SearchOptions
from semret.retrieval.search.query_features import as_question, itself, represent
from semret.retrieval.search.query_pictures import UNSEEN, EncodedImage, ImageLike, Seen, listed, unwrap
from semret.retrieval.search.regions import Region
from semret.retrieval.search.results import SearchResult
from semret.retrieval.search.several import AVOID_WEIGHT, Asked, Combining, check_together, search_together


class AnsweringReader(EmbeddingReader):
    """An open index that answers sentences and several pictures at once.

    Parameters
    ----------
    collection : Collection
        The index, opened; see `open_index`.
    weights : path or None
        Checkpoint to load instead of the one that the backbone's name stands for. It must be the one that the index
        was made with.
    device : str or None
        Where the network runs; None chooses. With ``cuda`` searches over all images are narrowed there, too: their
        answers are the same.
    """

    def __init__(
        self, collection: Collection, *, weights: str | os.PathLike[str] | None = None, device: str | None = None
    ) -> None:
        super().__init__(collection, weights=weights, device=device)
        self._copies = Copies(collection)
        self._comparer = Comparer(collection, self._copies, device)

    def search_all(
        self,
        images: ImageLike | Iterable[ImageLike],
        options: SearchOptions,
        *,
        avoid: ImageLike | Iterable[ImageLike] = (),
        combine: str = "scores",
        avoid_weight: float = AVOID_WEIGHT,
        among: IdVector | None = None,
        progress: Progress | bool | None = None,
    ) -> SearchResult:
        """Do what `SearchEngine.query_all` does, with the options as one value.

        Parameters
        ----------
        images, avoid : sequence of pictures
        options : SearchOptions
        combine : {"scores", "ranks"}
        avoid_weight : float
        among : ndarray of int64, ascending, or None
            Ids of the only images that may be hits; None for all.
        progress : callable, bool or None
            See `SearchEngine.query_all`.

        Returns
        -------
        SearchResult

        Raises
        ------
        ArgumentError, UnknownNameError, IndexEmptyError, ImageDecodeError, IncompatibleIndexError, WeightsNotFoundError
            See `SearchEngine.query_all`.
        """
        pictures, unwanted = listed(images, "images"), listed(avoid, "avoid")
        combining = Combining(how=combine, avoid_weight=avoid_weight)
        check_together(pictures, options)
        length = max(self._check(options, image) for image in pictures)
        allowed, clock = self._allowed(options, among), Clock()
        with clock("embed"):
            wanted = [self._seen(image, options.box) for image in pictures]
            asked = Asked(wanted, [self._seen(image, None) for image in unwanted])
        asked.check()
        left_out = [self._itself(seen, options.exclude_self) for seen in wanted]
        left_out += [self._itself(seen, True) for seen in asked.avoided]
        with told(progress, "matching") as tell:
            return search_together(
                self.collection,
                self._comparer,
                asked,
                options,
                combining,
                length=length,
                excluded=np.unique(np.concatenate(left_out)),
                among=allowed,
                clock=clock,
                progress=tell,
            )

    @property
    def device_maps(self) -> str | None:
        """What is compared on the device that was asked for, in words; None where that is the processor."""
        return self._comparer.on_device.describe()

    @property
    def why_not_on_device(self) -> str | None:
        """Why whole indexes are not compared on the device that was asked for, in words; None where they are."""
        return self._comparer.on_device.why_not

    def represent(
        self, image: ImageLike | None = None, *, tokens: ArrayLike | None = None, pooled: ArrayLike | None = None
    ) -> Seen:
        """Make the features of a picture, for several questions about it.

        Parameters
        ----------
        image, tokens, pooled : see `SearchEngine.query`

        Returns
        -------
        Seen
            Can be given to every question to this engine in place of the picture.

        Raises
        ------
        ArgumentError, IndexEmptyError, ImageDecodeError, IncompatibleIndexError, WeightsNotFoundError, ShapeError
            See `SearchEngine.query`.
        """
        self.require_images()
        return self._seen(unwrap(as_question(image, tokens, pooled)), None)

    def query_vector(self, image: ImageLike) -> Float32Array:
        """Return the pooled embedding of a picture, to be asked of a vector database that holds those of `pooled`.

        Parameters
        ----------
        image : see `SearchEngine.query`; or what `represent` returns
            It need not be in the index.

        Returns
        -------
        ndarray of shape (D,), float32
            The mean subtracted, scaled to length 1: its inner product with one of `pooled` is the score by which the
            shortlist ranks.

        Raises
        ------
        ArgumentError, IndexEmptyError, ImageDecodeError, IncompatibleIndexError, WeightsNotFoundError
            See `SearchEngine.query`.
        """
        pooled = np.asarray(self.represent(image).pooled)[None]
        vector: Float32Array = normalise(pooled, self.collection.features.pooled_mean)[0]
        return vector

    def query_text(self, sentence: str, *, k: int = 5, among: IdVector | None = None, **filters: Any) -> SearchResult:
        """Find the `k` images nearest to a sentence in the space of the pooled embedding.

        A sentence has no patches, so nothing is matched: the score is the pooled cosine.

        Parameters
        ----------
        sentence : str
        k : int
            Hits wanted, at least 1.
        among : ndarray of shape (n,), int64, or None
            As in `search`.
        **filters
            ``folder``, ``since``, ``until`` and ``min_score`` as for `query`.

        Returns
        -------
        SearchResult
            Best first; equal scores are ordered by id.

        Raises
        ------
        ArgumentError
            If `k` is no whole number of at least 1, or a filter is none.
        IndexEmptyError
            If the index holds no picture.
        BackboneError
            If the backbone of the index has no text tower.
        """
        options = SearchOptions(k=k, invariance="pooled", **filters)
        self._check(options, None)
        among = self._allowed(options, among)
        clock = Clock()
        with clock("embed"):
            embedding = self.collection.features.as_pooled(self.backbone().embed_text([sentence]))
        with clock("shortlist"):
            ids, found = self._copies.nearest(embedding[0], k, NOBODY, among)
        scores = np.clip(found, -1.0, 1.0)
        order = np.lexsort((ids, -scores))
        nothing_matched = {"read": 0.0, "match": 0.0}
        ranked = Reranked(rows=order, scores=scores[order], solved=0, pruned=0, exact=True, seconds=nothing_matched)
        seen = Seen(UNSEEN, embedding[0], sentence)
        return self._comparer.answer(seen, Compared(ids, scores, "all", among=among), ranked, options, clock)

    def _allowed(self, options: SearchOptions, among: IdVector | None) -> IdVector | None:
        """Return the ids that may be hits, ascending; None for all."""
        allowed = self.places.allowed(options.images)
        return allowed if among is None else among if allowed is None else np.intersect1d(allowed, among)

    def _seen(self, image: ImageLike, region: Region | None) -> Seen:
        return represent(self.collection, self._lookup, image, self.backbone, region)

    def _check(self, options: SearchOptions, image: ImageLike | None) -> int:
        """Refuse what cannot be answered before anything is done; return the length of the shortlist."""
        length = options.check(max(len(self), 1))
        if options.exclude_self is True and not _can_be_told(image):
            raise ArgumentError(
                "exclude_self is True, but the query is pixels, which no file can be told by; "
                "give the path of its file, or the id to leave out"
            )
        self.require_images()
        chosen = options.exclude_self
        if not isinstance(chosen, bool) and (not isinstance(chosen, (int, np.integer)) or self.find(chosen) is None):
            raise ArgumentError(f"exclude_self is {chosen!r}, expected True, False, or an id that is in the index")
        return length

    def _explained(self, result: SearchResult, seen: Seen, image: ImageLike, options: SearchOptions) -> SearchResult:
        """Add explanations to an answer, if they are asked for."""
        if not options.explain:
            return result
        found = tuple(explain(self.collection, seen, image, hit.id, options) for hit in result)
        return replace(result, explanations=found)

    def _itself(self, seen: Seen, what: bool | int) -> IdVector:
        return itself(self.collection, self._copies, seen, what)


def _can_be_told(image: ImageLike | None) -> bool:
    """Tell whether a query can be found in an index by its file."""
    if isinstance(image, Seen):
        return image.content is not None or image.path is not None
    return isinstance(image, (int, str, os.PathLike, EncodedImage))
