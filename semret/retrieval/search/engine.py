"""Search an index: embed the query, draw a shortlist, rerank it, and answer with hits."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from semret.arrays import Float64Array, FloatArray, IdVector, as_array, as_tokens
from semret.errors import ArgumentError, IndexEmptyError
from semret.index.collection import Collection, open_collection
from semret.index.location import find_index
from semret.index.store.manifest import check_compatible
from semret.integer_tokens import IntegerTokens
from semret.paths import PathLike
from semret.progress import Progress, told
from semret.retrieval.search.answers import Compared, answer
from semret.retrieval.search.candidates import Query, Reranked
from semret.retrieval.search.copies import NOBODY, Copies
from semret.retrieval.search.explain import Explanation, explain
from semret.retrieval.search.first_stage import FirstStage
from semret.retrieval.search.lookup import Candidate
from semret.retrieval.search.options import SearchOptions
from semret.retrieval.search.query_pictures import (
    UNSEEN,
    EncodedImage,
    ImageLike,
    OwnFeatures,
    Seen,
    identify,
    pixels,
    unwrap,
)
from semret.retrieval.search.query_scored import rerank_by_query
from semret.retrieval.search.reader import IndexReader
from semret.retrieval.search.regions import Region, RegionLike, cut_tokens, find_region
from semret.retrieval.search.rerank import rerank
from semret.retrieval.search.results import SearchResult
from semret.retrieval.search.stored import own_features, single, stored_picture

if TYPE_CHECKING:
    from semret.index.backbones.spec import Backbone


class SearchEngine(IndexReader):
    """Answer queries from one generation of an index.

    A network is loaded only when a picture comes that is not stored, and then kept.

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
        super().__init__(collection)
        self._copies = Copies(collection)
        self._first_stage = FirstStage(collection)
        self._weights = weights
        self._device = device
        self._backbone: Backbone | None = None

    def __repr__(self) -> str:
        identity = self.collection.manifest.identity
        return f"<SearchEngine: {len(self)} images, {identity.backbone}, {self.collection.path}>"

    def __len__(self) -> int:
        """Return the number of images in the index."""
        return len(self.collection)

    def query(
        self,
        image: ImageLike | None = None,
        *,
        tokens: ArrayLike | None = None,
        pooled: ArrayLike | None = None,
        k: int = 5,
        shortlist: int | None = None,
        kernel: str = "cosine",
        invariance: str = "permutation",
        solver: str = "auction",
        center: str = "channel",
        exhaustive: bool = False,
        exclude_self: bool | int = False,
        region: RegionLike | None = None,
        score: str | None = None,
        explain: bool = False,
        progress: Progress | bool | None = None,
    ) -> SearchResult:
        """Find the `k` images most similar to a picture.

        Images of the same content, copies, are one hit that lists all their paths. Scores here are those of tokens less
        the channel mean of the index (`center`), while `semret.rsm` and `semret.matched_similarity` subtract nothing
        unless told to: for equal numbers give both the same centre.

        Parameters
        ----------
        image : path, id, bytes, file object, PIL image, or array or tensor of uint8
            One picture; several are several calls. An int is the id of an image of the index. Arrays are (H, W),
            (H, W, 3) or (H, W, 4), or have their planes first. A file whose content is in the index is answered from
            the index, without loading a network.
        tokens : array_like of shape (S, C), optional
            In place of a picture, its token map, as `semret.embed` or the network that made the index gives it.
        pooled : array_like of shape (D,), optional
            The pooled embedding that goes with `tokens`; by default it is computed from them, where the index's is a
            mean of tokens.
        k, shortlist, kernel, invariance, solver, center, exhaustive, exclude_self, region, score, explain
            See `SearchOptions`.
        progress : callable, bool or None
            Called with the number of candidates compared and their total; True draws a bar.

        Returns
        -------
        SearchResult
            Best first; equal scores are ordered by id. Shorter than `k` where there are fewer pictures.

        Raises
        ------
        ArgumentError, UnknownNameError
            If an option does not fit.
        IndexEmptyError
            If the index holds no picture.
        ImageDecodeError
            If the picture cannot be read.
        ShapeError, NonFiniteError
            If an array is no picture, or tokens are not such as are in the index.
        IncompatibleIndexError, WeightsNotFoundError
            If the network that made the index cannot be had.
        """
        question = _question(image, tokens, pooled)
        options = SearchOptions(
            k=k,
            shortlist=shortlist,
            kernel=kernel,
            invariance=invariance,
            solver=solver,
            center=center,
            exhaustive=exhaustive,
            exclude_self=exclude_self,
            region=region,
            score=score,
            explain=explain,
        )
        return self.search(question, options, progress=progress)

    def search(
        self,
        image: ImageLike,
        options: SearchOptions,
        *,
        among: IdVector | None = None,
        progress: Progress | bool | None = None,
    ) -> SearchResult:
        """Do what `query` does, with the options as one value.

        Parameters
        ----------
        image : see `query`
        options : SearchOptions
        among : ndarray of shape (n,), int64, or None
            The only ids that may be candidates and hits, ascending; None allows all. No hits for an empty one.
        progress : callable, bool or None
            Called with the number of candidates compared and their total; True draws a bar.

        Returns
        -------
        SearchResult

        Raises
        ------
        ArgumentError, IndexEmptyError, ImageDecodeError, IncompatibleIndexError, WeightsNotFoundError
            See `query`.
        """
        image = unwrap(image)
        length = self._check(options, image)
        with told(progress, "matching") as tell:
            return self._search(image, options, length, among, tell)

    def _search(
        self,
        image: ImageLike,
        options: SearchOptions,
        length: int,
        among: IdVector | None,
        progress: Progress | None,
    ) -> SearchResult:
        clock = _Clock()
        with clock("embed"):
            seen = self._in_region(self._represent(image), options.box)
        excluded = self._left_out(seen, options.exclude_self)
        with clock("shortlist"):
            ids, pooled_scores = self._nearest(seen.pooled, length, excluded, among)
        if not options.compares_all:
            ranked = self._rerank(seen, ids, options, progress)
            compared = Compared(ids, pooled_scores, excluded=excluded, among=among)
            return self._explained(self._answer(seen, compared, ranked, options, clock), seen, image, options)
        everything = self._copies.distinct(self.collection.ids if among is None else among, excluded)
        with clock("shortlist"):
            found = self._first_stage.promising(seen.tokens, everything, options)
        chosen = everything if found is None or options.exhaustive else found.ids
        ranked = self._rerank(seen, chosen, options, progress)
        pooled_scores = self.collection.pooled_scores(seen.pooled, chosen)
        tried = None if not options.exhaustive else ids if found is None else found.ids
        recall = None if found is None or options.exhaustive else found.recall
        source = "all" if recall is None else "patches"
        compared = Compared(chosen, pooled_scores, source, excluded, among, shortlist=tried, expected_recall=recall)
        return self._explained(self._answer(seen, compared, ranked, options, clock), seen, image, options)

    def explain(
        self,
        image: ImageLike,
        candidate: Candidate,
        *,
        kernel: str = "cosine",
        invariance: str = "permutation",
        solver: str = "auction",
        center: str = "channel",
        region: RegionLike | None = None,
        score: str | None = None,
    ) -> Explanation:
        """Tell how the score of one picture of the index comes about: which patches met, and what each pair adds.

        Parameters
        ----------
        image : see `query`
        candidate : int, path or Hit
            The picture of the index, see `rerank`.
        kernel, invariance, solver, center, region, score
            See `SearchOptions`. Kernel rbf and invariance pooled are no sums over patches and are refused.

        Returns
        -------
        Explanation
            Its shares sum to the score that `query` gives the picture.

        Raises
        ------
        ArgumentError, UnknownNameError
            If the picture is not in the index, or an option does not fit.
        IndexEmptyError, ImageDecodeError, IncompatibleIndexError, WeightsNotFoundError
            See `query`.
        """
        options = SearchOptions(
            k=1,
            kernel=kernel,
            invariance=invariance,
            solver=solver,
            center=center,
            region=region,
            score=score,
            explain=True,
        )
        image = unwrap(image)
        self._check(options, image)
        id_ = int(self._lookup.each(candidate)[0])
        seen = self._in_region(self._represent(image), options.box)
        return explain(self.collection, seen, image, id_, options)

    def query_text(self, sentence: str, *, k: int = 5, among: IdVector | None = None) -> SearchResult:
        """Find the `k` images nearest to a sentence in the space of the pooled embedding.

        A sentence has no patches, so nothing is matched: the score is the pooled cosine.

        Parameters
        ----------
        sentence : str
        k : int
            Hits wanted, at least 1.
        among : ndarray of shape (n,), int64, or None
            As in `search`.

        Returns
        -------
        SearchResult
            Best first; equal scores are ordered by id.

        Raises
        ------
        ArgumentError
            If `k` is no whole number of at least 1.
        IndexEmptyError
            If the index holds no picture.
        BackboneError
            If the backbone of the index has no text tower.
        """
        options = SearchOptions(k=k, invariance="pooled")
        self._check(options, None)
        clock = _Clock()
        with clock("embed"):
            embedding = self.collection.features.as_pooled(self.backbone().embed_text([sentence]))
        with clock("shortlist"):
            ids, found = self._nearest(embedding[0], k, NOBODY, among)
        scores = np.clip(found, -1.0, 1.0)
        order = np.lexsort((ids, -scores))
        nothing_matched = {"read": 0.0, "match": 0.0}
        ranked = Reranked(rows=order, scores=scores[order], solved=0, pruned=0, exact=True, seconds=nothing_matched)
        seen = Seen(UNSEEN, embedding[0], sentence)
        return self._answer(seen, Compared(ids, scores, "all", among=among), ranked, options, clock)

    def rerank(
        self,
        image: ImageLike,
        candidates: Iterable[Candidate],
        *,
        progress: Progress | bool | None = None,
        **options: Any,
    ) -> SearchResult:
        """Order candidates of your own first stage by similarity to a picture.

        Parameters
        ----------
        image : see `query`
        candidates : SearchResult, or sequence of int, path or Hit
            Ids of the index, or paths of indexed files, relative to the current directory or to the root of the index,
            or absolute; repeats and copies count once. A hit lists the copies that are candidates. Hits, of this index
            or another, stand for their paths.
        progress : callable, bool or None
            Called with the number of candidates compared and their total; True draws a bar.
        **options
            `k` (default, and at most: all candidates), `kernel`, `invariance`, `solver`, `center`, `exclude_self`,
            `region`, `score`, `explain`.

        Returns
        -------
        SearchResult
            Best first; equal scores are ordered by id.

        Raises
        ------
        ArgumentError
            If there is no candidate, or one is not in the index.
        IndexEmptyError
            If the index holds no picture.
        """
        self.require_images()
        image = unwrap(image)
        given = self._lookup.resolve(candidates)
        settings = replace(SearchOptions(**{"k": len(given), **options}), shortlist=None, exhaustive=False)
        self._check(settings, image)
        clock = _Clock()
        with clock("embed"):
            seen = self._in_region(self._represent(image), settings.box)
        with clock("shortlist"):
            excluded = self._left_out(seen, settings.exclude_self)
            ids = self._copies.distinct(given, excluded)
            pooled_scores = self.collection.pooled_scores(seen.pooled, ids)
        compared = Compared(ids, pooled_scores, "given", among=np.setdiff1d(given, excluded), counted="k" in options)
        with told(progress, "matching") as tell:
            ranked = self._rerank(seen, ids, settings, tell)
        result = self._answer(seen, compared, ranked, settings, clock)
        return self._explained(result, seen, image, settings)

    def find(self, candidate: Candidate) -> int | None:
        """Find the image that an id or a path stands for, as `rerank` understands it.

        Parameters
        ----------
        candidate : int or path

        Returns
        -------
        int or None
            Its id; None if the index has no such image.
        """
        return self._lookup.find(candidate)

    def require_images(self) -> None:
        """Refuse to go on without pictures.

        Raises
        ------
        IndexEmptyError
            If the index holds none.
        """
        if not len(self):
            raise IndexEmptyError(f"the index {self.collection.path} is empty; run semret index PATH to fill it")

    def backbone(self) -> Backbone:
        """Return the network that made the index, loading it once.

        Returns
        -------
        Backbone

        Raises
        ------
        IncompatibleIndexError
            If what is installed is not what made the index.
        WeightsNotFoundError
            If the weights cannot be had.
        """
        if self._backbone is None:
            # Here to keep start-up light: a picture that is stored needs no network.
            from semret.index.model_choice import ModelChoice

            loaded = ModelChoice(weights=self._weights, device=self._device).loader(self.collection.path)()
            check_compatible(self.collection.manifest, loaded.identity)
            self._backbone = loaded
        return self._backbone

    def reopened(self) -> SearchEngine:
        """Return an engine over the index as it is now, which keeps the network that is loaded if it still fits.

        Returns
        -------
        SearchEngine
            This one goes on answering from what it has.

        Raises
        ------
        IndexNotFoundError, IndexCorruptError, IncompatibleIndexError
            See `open_index`.
        """
        fresh = SearchEngine(open_collection(self.collection.path), weights=self._weights, device=self._device)
        if fresh.collection.manifest.identity == self.collection.manifest.identity:
            fresh._backbone = self._backbone
        return fresh

    def _nearest(
        self, pooled: FloatArray, length: int, excluded: IdVector, among: IdVector | None
    ) -> tuple[IdVector, Float64Array]:
        """Find the nearest contents by the pooled embedding, as `Copies.nearest` does, among some ids or all."""
        if among is None:
            return self._copies.nearest(pooled, length, excluded)
        ids = self._copies.distinct(among, excluded)
        scores = self.collection.pooled_scores(pooled, ids)
        best = np.lexsort((ids, -scores))[:length]
        return ids[best], scores[best]

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

    def _left_out(self, seen: Seen, what: bool | int) -> IdVector:
        """Return the ids that may not be among the hits, ascending."""
        if not isinstance(what, bool):
            return self._copies.of(what)
        if not what:
            return NOBODY
        stored = None if seen.content is None else self.collection.find_hash(seen.content)
        same = NOBODY if stored is None else self._copies.of(stored)
        # The file may have changed since it was indexed: what the index has of it is still the query itself.
        there = None if seen.path is None else self.collection.find_path(seen.path)
        return same if there is None else np.union1d(same, np.array([there], dtype=np.int64))

    def _represent(self, image: ImageLike) -> Seen:
        if isinstance(image, OwnFeatures):
            return own_features(self.collection, image)
        seen = stored_picture(self.collection, self._lookup, image) if isinstance(image, int) else identify(image)
        stored = None if seen.content is None else self.collection.find_hash(seen.content)
        if stored is not None:
            row = self.collection.rows([stored])[0]
            return seen._replace(
                tokens=single(self.collection.tokens([stored])),
                pooled=np.asarray(self.collection.features.pooled[row]),
                size=self.collection.size(stored),
            )
        # Large photos are decoded at a reduced size, as they are when indexed.
        picture = pixels(image, self.collection.manifest.identity.preprocessing.size)
        backbone = self.backbone()
        features = backbone.embed(backbone.prepare(picture)[None])
        # As they are stored, so that an image scores the same whether it comes from a file or the index.
        stored_as = self.collection.features
        return seen._replace(
            tokens=single(stored_as.as_stored(features.tokens)),
            pooled=stored_as.as_pooled(features.pooled)[0],
            size=picture.info["original_size"],
        )

    def _in_region(self, seen: Seen, region: Region | None) -> Seen:
        """Keep the tokens of a region; all for None."""
        if region is None:
            return seen
        if 0 in seen.size:
            raise ArgumentError(
                f"region {region} is a part of a picture, and {seen.name} is known by its features alone; "
                "query with the tokens that lie in it"
            )
        found = find_region(region, seen.size, self.collection.manifest.identity)
        return seen._replace(tokens=cut_tokens(seen.tokens, found.cells), region=found)

    def _rerank(self, seen: Seen, ids: IdVector, options: SearchOptions, progress: Progress | None = None) -> Reranked:
        features, tokens = self.collection.features, seen.tokens
        if options.center == "none" and isinstance(tokens, IntegerTokens):
            tokens = single(features.uncentred(tokens))
        query = Query(tokens=tokens, pooled=seen.pooled)
        center, source = features.center(options.center), self.collection.source(ids, options.center)
        if options.scores_query:
            cells = None if seen.region is None else seen.region.cells
            return rerank_by_query(query, source, options, center, cells=cells, progress=progress)
        return rerank(query, source, options, center=center, progress=progress)

    def _answer(
        self, seen: Seen, compared: Compared, ranked: Reranked, options: SearchOptions, clock: _Clock
    ) -> SearchResult:
        timed = replace(ranked, seconds={**clock.seconds, **ranked.seconds})
        return answer(self.collection, self._copies, seen, compared, timed, options)

    def _explained(self, result: SearchResult, seen: Seen, image: ImageLike, options: SearchOptions) -> SearchResult:
        """Add explanations to an answer, if they are asked for."""
        if not options.explain:
            return result
        found = tuple(explain(self.collection, seen, image, hit.id, options) for hit in result)
        return replace(result, explanations=found)


def _question(image: ImageLike | None, tokens: ArrayLike | None, pooled: ArrayLike | None) -> ImageLike:
    """Return what is asked for: a picture, or features in its place."""
    if image is not None and tokens is None and pooled is None:
        return image
    if image is not None or tokens is None:
        raise ArgumentError("expected either a picture, or tokens (with or without pooled) in its place")
    return OwnFeatures(as_tokens(tokens, "tokens"), None if pooled is None else as_array(pooled, "pooled"))


class _Clock:
    """Wall seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def open_index(
    path: str | os.PathLike[str] | None = None,
    *,
    near: Sequence[PathLike] = (),
    weights: str | os.PathLike[str] | None = None,
    device: str | None = None,
) -> SearchEngine:
    """Open an index for searching.

    Parameters
    ----------
    path : path or None
        The index directory, or a folder in or above which one is found as git finds ``.git``. None starts from
        ``SEMRET_INDEX`` or the current directory.
    near : sequence of path
        Pictures in whose folders and those above an index is looked for, if the current directory has none.
    weights, device
        See `SearchEngine`.

    Returns
    -------
    SearchEngine

    Raises
    ------
    IndexNotFoundError
        If there is no index.
    IndexCorruptError, IncompatibleIndexError
        If the index is damaged or of a newer format.
    """
    return SearchEngine(open_collection(find_index(path, near)), weights=weights, device=device)
