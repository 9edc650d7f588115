"""What all kinds of questions to an index have in common: checks, features, and what may be a hit."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from semret.arrays import IdVector
from semret.errors import ArgumentError
from semret.index.collection import Collection
from semret.retrieval.search.comparing import Comparer
from semret.retrieval.search.copies import Copies
from semret.retrieval.search.embedding_reader import EmbeddingReader
from semret.retrieval.search.explain import explain
from semret.retrieval.search.options import SearchOptions
from semret.retrieval.search.query_features import itself, represent
from semret.retrieval.search.query_pictures import EncodedImage, ImageLike, Seen
from semret.retrieval.search.regions import Region
from semret.retrieval.search.results import SearchResult


class AnsweringReader(EmbeddingReader):
    """An open index and the steps of an answer.

    Parameters
    ----------
    collection : Collection
        The index, opened; see `open_index`.
    weights : path or None
        Checkpoint to load instead of the one that the backbone's name stands for. It must be the one that the index
        was made with.
    device : str or None
        Where the network runs; None chooses.
    """

    def __init__(
        self, collection: Collection, *, weights: str | os.PathLike[str] | None = None, device: str | None = None
    ) -> None:
        super().__init__(collection, weights=weights, device=device)
        self._copies = Copies(collection)
        self._comparer = Comparer(collection, self._copies)

    def _allowed(self, options: SearchOptions, among: IdVector | None) -> IdVector | None:
        """Return the ids that may be hits, ascending; None for all."""
        allowed = self.places.allowed(options.images)
        return allowed if among is None else among if allowed is None else np.intersect1d(allowed, among)

    def _seen(self, image: ImageLike, region: Region | None) -> Seen:
        return represent(self.collection, self._lookup, image, self.backbone, region)

    def _check(self, options: SearchOptions, image: ImageLike | None) -> int:
        """Refuse what cannot be answered before anything is done; return the length of the shortlist."""
        length = options.check(max(len(self), 1))
        if options.exclude_self is True and not isinstance(image, (int, str, os.PathLike, EncodedImage)):
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
