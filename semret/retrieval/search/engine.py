"""Search an index: embed the query, draw a shortlist, rerank it, and answer with hits."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from semret.arrays import IdVector
from semret.index.collection import open_collection
from semret.index.location import find_index
from semret.paths import PathLike
from semret.progress import Progress, told
from semret.retrieval.search.answering_reader import AnsweringReader
from semret.retrieval.search.answers import Compared
from semret.retrieval.search.comparing import Clock
from semret.retrieval.search.dates import DateLike
from semret.retrieval.search.explain import Explanation, explain
from semret.retrieval.search.filters import Folders
from semret.retrieval.search.lookup import Candidate
from semret.retrieval.search.options import SearchOptions
from semret.retrieval.search.query_features import as_question
from semret.retrieval.search.query_pictures import ImageLike, unwrap
from semret.retrieval.search.regions import RegionLike
from semret.retrieval.search.results import SearchResult
from semret.retrieval.search.several import AVOID_WEIGHT


class SearchEngine(AnsweringReader):
    """Answer queries from one generation of an index; safe for use from several threads.

    A network is loaded only when a picture comes that is not stored, and then kept.

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
        folder: Folders = None,
        since: DateLike | None = None,
        until: DateLike | None = None,
        min_score: float | None = None,
        progress: Progress | bool | None = None,
    ) -> SearchResult:
        """Find the `k` images most similar to a picture.

        Images of the same content, copies, are one hit that lists all their paths. Scores here are those of tokens less
        the channel mean of the index (`center`), while `semret.rsm` and `semret.matched_similarity` subtract nothing
        unless told to: for equal numbers give both the same centre.

        Parameters
        ----------
        image : path, id, bytes, file object, PIL image, or array or tensor of uint8
            One picture; for several as one question see `query_all`. An int is the id of an image of the index. Arrays
            are (H, W), (H, W, 3) or (H, W, 4), or have their planes first. A file whose content is in the index is
            answered from the index, without loading a network.
        tokens : array_like of shape (S, C), optional
            In place of a picture, its token map, as `semret.embed` or the network that made the index gives it.
        pooled : array_like of shape (D,), optional
            The pooled embedding that goes with `tokens`; by default it is computed from them, where the index's is a
            mean of tokens.
        k, shortlist, kernel, invariance, solver, center, exhaustive, exclude_self, region, score, explain
            See `SearchOptions`.
        folder, since, until, min_score
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
        question = as_question(image, tokens, pooled)
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
            folder=folder,
            since=since,
            until=until,
            min_score=min_score,
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
        among = self._allowed(options, among)
        with told(progress, "matching") as tell:
            clock = Clock()
            with clock("embed"):
                seen = self._seen(image, options.box)
            excluded = self._itself(seen, options.exclude_self)
            compared = self._comparer.candidates(seen, options, length, excluded, among, clock)
            ranked = self._comparer.rank(seen, compared.ids, options, tell)
            result = self._comparer.answer(seen, compared, ranked, options, clock)
            return self._explained(result, seen, image, options)

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
        seen = self._seen(image, options.box)
        return explain(self.collection, seen, image, id_, options)

    def query_all(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        avoid: ImageLike | Iterable[ImageLike] = (),
        combine: str = "scores",
        avoid_weight: float = AVOID_WEIGHT,
        progress: Progress | bool | None = None,
        **options: Any,
    ) -> SearchResult:
        """Find the images most similar to several pictures at once, or to one but not to others.

        Each picture has a shortlist; every image of any of them is matched with every picture, and no score is left
        out: hits, scores and ties are those of brute force over these candidates.

        Parameters
        ----------
        images : sequence of pictures
            At least one, in any form that `query` takes.
        avoid : sequence of pictures
            They and their copies are no hits, and what is like them comes later.
        combine, avoid_weight
            See `semret.retrieval.search.several.Combining`.
        progress : callable, bool or None
            Called with the number of pairs compared and their total; True draws a bar.
        **options
            As for `query`, but for ``explain``; ``region`` if there is one picture in `images`.

        Returns
        -------
        SearchResult
            `Hit.parts` are the scores with each picture, those to avoid last.

        Raises
        ------
        ArgumentError, UnknownNameError
            If there is no picture, one is both wanted and avoided, or an option does not fit.
        IndexEmptyError, ImageDecodeError, IncompatibleIndexError, WeightsNotFoundError
            See `query`.
        """
        return self.search_all(
            images,
            SearchOptions(**options),
            avoid=avoid,
            combine=combine,
            avoid_weight=avoid_weight,
            progress=progress,
        )

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
            `region`, `score`, `explain`, `folder`, `since`, `until`, `min_score`.

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
        within = given if (allowed := self._allowed(settings, None)) is None else np.intersect1d(given, allowed)
        clock = Clock()
        with clock("embed"):
            seen = self._seen(image, settings.box)
        with clock("shortlist"):
            excluded = self._itself(seen, settings.exclude_self)
            ids = self._copies.distinct(within, excluded)
            pooled_scores = self.collection.pooled_scores(seen.pooled, ids)
        compared = Compared(ids, pooled_scores, "given", among=np.setdiff1d(within, excluded), counted="k" in options)
        with told(progress, "matching") as tell:
            ranked = self._comparer.rank(seen, ids, settings, tell)
        result = self._comparer.answer(seen, compared, ranked, settings, clock)
        return self._explained(result, seen, image, settings)


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
