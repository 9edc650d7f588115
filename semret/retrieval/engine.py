"""Search an index: embed the query, draw a shortlist, rerank it, and answer with hits."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, FloatArray, IdVector
from semret.errors import ArgumentError
from semret.index.collection import Collection, open_collection
from semret.index.location import find_index
from semret.index.manifest import check_compatible
from semret.retrieval.options import SearchOptions
from semret.retrieval.rerank import Query, Reranked, rerank
from semret.retrieval.results import Hit, SearchResult, Stats

if TYPE_CHECKING:
    from PIL import Image

    from semret.index.backbones.spec import Backbone

ImageLike: TypeAlias = "str | os.PathLike[str] | Image.Image | NDArray[np.uint8]"


class SearchEngine:
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
        self.collection = collection
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
        image: ImageLike,
        *,
        k: int = 5,
        shortlist: int | None = None,
        kernel: str = "cosine",
        invariance: str = "permutation",
        solver: str = "auction",
        center: str = "channel",
        exhaustive: bool = False,
    ) -> SearchResult:
        """Find the `k` images most similar to a picture.

        Parameters
        ----------
        image : path, PIL image, or ndarray of shape (H, W, 3), uint8
            A file whose content is in the index is answered from the index, without loading a network.
        k, shortlist, kernel, invariance, solver, center, exhaustive
            See `SearchOptions`.

        Returns
        -------
        SearchResult
            Best first; equal scores are ordered by id.

        Raises
        ------
        ArgumentError, UnknownNameError
            If an option does not fit.
        ImageDecodeError
            If the picture cannot be read.
        IncompatibleIndexError, WeightsNotFoundError
            If the network that made the index cannot be had.
        """
        options = SearchOptions(
            k=k,
            shortlist=shortlist,
            kernel=kernel,
            invariance=invariance,
            solver=solver,
            center=center,
            exhaustive=exhaustive,
        )
        return self.search(image, options)

    def search(self, image: ImageLike, options: SearchOptions) -> SearchResult:
        """Do what `query` does, with the options as one value."""
        length = options.check(len(self))
        clock = _Clock()
        with clock("embed"):
            seen = self._represent(image)
        with clock("shortlist"):
            found = self.collection.shortlist(seen.pooled[None], length)
            ids, pooled_scores = found.ids[0], found.scores[0].astype(np.float64)
        if not options.exhaustive:
            return self._answer(seen.name, ids, pooled_scores, self._rerank(seen, ids, options), clock)
        everything = self.collection.ids
        ranked = self._rerank(seen, everything, options)
        pooled_scores = self.collection.pooled_scores(seen.pooled, everything)
        recall = float(np.isin(everything[ranked.rows], ids).mean())
        return self._answer(seen.name, everything, pooled_scores, ranked, clock, recall)

    def query_text(self, sentence: str, *, k: int = 5) -> SearchResult:
        """Find the `k` images nearest to a sentence in the space of the pooled embedding.

        A sentence has no patches, so nothing is matched: the score is the pooled cosine.

        Raises
        ------
        BackboneError
            If the backbone of the index has no text tower.
        """
        length = SearchOptions(k=k, invariance="pooled").check(len(self))
        clock = _Clock()
        with clock("embed"):
            embedding = self.backbone().embed_text([sentence])
        with clock("shortlist"):
            found = self.collection.shortlist(embedding, min(length, k))
        ids, scores = found.ids[0], found.scores[0].astype(np.float64)
        order = np.lexsort((ids, -scores))
        nothing_matched = {"read": 0.0, "match": 0.0}
        ranked = Reranked(rows=order, scores=scores[order], solved=0, pruned=0, exact=True, seconds=nothing_matched)
        return self._answer(sentence, ids, scores, ranked, clock)

    def rerank(
        self, image: ImageLike, candidates: Sequence[int | str | os.PathLike[str]], **options: Any
    ) -> SearchResult:
        """Order candidates of your own first stage by similarity to a picture.

        Parameters
        ----------
        image : see `query`
        candidates : sequence of int or path
            Ids of the index, or paths of indexed files; repeats count once.
        **options
            `k` (default: all candidates), `kernel`, `invariance`, `solver`, `center`.

        Raises
        ------
        ArgumentError
            If there is no candidate, or one is not in the index.
        """
        ids = self._resolve(candidates)
        settings = SearchOptions(**{"k": len(ids), **options, "shortlist": len(ids)})
        settings.check(len(ids))
        clock = _Clock()
        with clock("embed"):
            seen = self._represent(image)
        with clock("shortlist"):
            pooled_scores = self.collection.pooled_scores(seen.pooled, ids)
        return self._answer(seen.name, ids, pooled_scores, self._rerank(seen, ids, settings), clock)

    def backbone(self) -> Backbone:
        """Return the network that made the index, loading it once.

        Raises
        ------
        IncompatibleIndexError
            If what is installed is not what made the index.
        WeightsNotFoundError
            If the weights cannot be had.
        """
        if self._backbone is None:
            from semret.index.choice import ModelChoice

            loaded = ModelChoice(weights=self._weights, device=self._device).loader(self.collection.path)()
            check_compatible(self.collection.manifest, loaded.identity)
            self._backbone = loaded
        return self._backbone

    def _represent(self, image: ImageLike) -> _Seen:
        if isinstance(image, (str, os.PathLike)):
            from semret.index.files import hash_file

            path = Path(image)
            stored = self.collection.find_hash(hash_file(path))
            if stored is not None:
                row = self.collection.rows([stored])[0]
                tokens = self.collection.tokens([stored])[0]
                return _Seen(tokens, np.asarray(self.collection.pooled[row]), os.fspath(image))
        from semret.index.images import as_rgb

        # Large photos are decoded at a reduced size, as they are when indexed.
        picture = as_rgb(image, reduce_to=self.collection.manifest.identity.preprocessing.size)
        backbone = self.backbone()
        features = backbone.embed(backbone.prepare(picture)[None])
        # Rounded as stored tokens are, so that an image scores the same whether it comes from a file or the index.
        tokens = features.tokens[0].astype(self.collection.manifest.dtype)
        name = os.fspath(image) if isinstance(image, (str, os.PathLike)) else "<image>"
        return _Seen(tokens, features.pooled[0], name)

    def _rerank(self, seen: _Seen, ids: IdVector, options: SearchOptions) -> Reranked:
        return rerank(
            Query(tokens=seen.tokens, pooled=seen.pooled),
            self.collection.source(ids),
            k=options.k,
            kernel=options.kernel,
            invariance=options.invariance,
            solver=options.solver,
            center=self.collection.center(options.center),
        )

    def _answer(
        self,
        name: str,
        ids: IdVector,
        pooled_scores: Float64Array,
        ranked: Reranked,
        clock: _Clock,
        shortlist_recall: float | None = None,
    ) -> SearchResult:
        chosen = ids[ranked.rows]
        paths = self.collection.paths(chosen)
        # Products of vectors of length 1 in float32 stray from a cosine's range by their rounding.
        cosines = np.clip(pooled_scores[ranked.rows], -1, 1)
        hits = tuple(
            Hit(rank=rank, id=int(id_), path=path, score=float(score), pooled_score=float(pooled))
            for rank, (id_, path, score, pooled) in enumerate(
                zip(chosen, paths, ranked.scores, cosines, strict=True), start=1
            )
        )
        stats = Stats(
            database=len(self),
            shortlist=len(ids),
            solved=ranked.solved,
            pruned=ranked.pruned,
            exact=ranked.exact,
            seconds={**clock.seconds, **ranked.seconds},
            shortlist_recall=shortlist_recall,
        )
        return SearchResult(name, hits, stats)

    def _resolve(self, candidates: Sequence[int | str | os.PathLike[str]]) -> IdVector:
        """Return the distinct ids that candidates stand for, ascending."""
        known = set(self.collection.ids.tolist())
        ids: set[int] = set()
        for candidate in candidates:
            found = (
                candidate
                if isinstance(candidate, (int, np.integer))
                else self.collection.find_path(os.fspath(candidate))
            )
            if found is None or int(found) not in known:
                raise ArgumentError(
                    f"candidate {candidate} is not in the index {self.collection.path}; index it first or leave it out"
                )
            ids.add(int(found))
        if not ids:
            raise ArgumentError("there are no candidates; give at least one id or path")
        return np.array(sorted(ids), dtype=np.int64)


class _Seen(NamedTuple):
    """What a query image looks like to the network: tokens (S, C), pooled embedding (D,), and the image's name."""

    tokens: FloatArray
    pooled: Float32Array
    name: str


class _Clock:
    """Wall seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start


def open_index(
    path: str | os.PathLike[str] | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str | None = None,
) -> SearchEngine:
    """Open an index for searching.

    Parameters
    ----------
    path : path or None
        The index directory, or a folder in or above which one is found as git finds ``.git``. None starts from
        ``SEMRET_INDEX`` or the current directory.
    weights, device
        See `SearchEngine`.

    Raises
    ------
    IndexNotFoundError
        If there is no index.
    IndexCorruptError, IncompatibleIndexError
        If the index is damaged or of a newer format.
    """
    return SearchEngine(open_collection(find_index(path)), weights=weights, device=device)
