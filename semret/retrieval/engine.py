"""Search an index: embed the query, draw a shortlist, rerank it, and answer with hits."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, FloatArray, IdVector
from semret.errors import ArgumentError, ImageDecodeError, IndexEmptyError
from semret.index.collection import Collection, open_collection
from semret.index.location import PathLike, find_index
from semret.index.manifest import check_compatible
from semret.retrieval.candidates import Candidate, Lookup
from semret.retrieval.copies import NOBODY, Copies
from semret.retrieval.options import SearchOptions
from semret.retrieval.rerank import Query, Reranked, rerank
from semret.retrieval.results import Hit, SearchResult, Stats

if TYPE_CHECKING:
    from PIL import Image

    from semret.index.backbones.spec import Backbone


@dataclass(frozen=True)
class EncodedImage:
    """The content of a picture's file that came from elsewhere, and the name it is to be called by."""

    data: bytes
    name: str


ImageLike: TypeAlias = "str | os.PathLike[str] | EncodedImage | Image.Image | NDArray[np.uint8]"


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
        self._copies = Copies(collection)
        self._lookup = Lookup(collection)
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
        exclude_self: bool | int = False,
    ) -> SearchResult:
        """Find the `k` images most similar to a picture.

        Images of the same content, copies, are one hit that lists all their paths.

        Parameters
        ----------
        image : path, PIL image, or ndarray of shape (H, W, 3), uint8
            A file whose content is in the index is answered from the index, without loading a network.
        k, shortlist, kernel, invariance, solver, center, exhaustive, exclude_self
            See `SearchOptions`.

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
            exclude_self=exclude_self,
        )
        return self.search(image, options)

    def search(self, image: ImageLike, options: SearchOptions) -> SearchResult:
        """Do what `query` does, with the options as one value."""
        length = self._check(options, image)
        clock = _Clock()
        with clock("embed"):
            seen = self._represent(image)
        excluded = self._left_out(seen, options.exclude_self)
        with clock("shortlist"):
            ids, pooled_scores = self._copies.nearest(seen.pooled, length, excluded)
        if not options.exhaustive:
            ranked = self._rerank(seen, ids, options)
            return self._answer(seen, _Field(ids, pooled_scores, excluded=excluded), ranked, options, clock)
        allowed = np.setdiff1d(self.collection.ids, excluded)
        everything = allowed[self._copies.first_of_each(allowed)]
        ranked = self._rerank(seen, everything, options)
        pooled_scores = self.collection.pooled_scores(seen.pooled, everything)
        field = _Field(everything, pooled_scores, "all", excluded, shortlist=ids)
        return self._answer(seen, field, ranked, options, clock)

    def query_text(self, sentence: str, *, k: int = 5) -> SearchResult:
        """Find the `k` images nearest to a sentence in the space of the pooled embedding.

        A sentence has no patches, so nothing is matched: the score is the pooled cosine.

        Raises
        ------
        BackboneError
            If the backbone of the index has no text tower.
        """
        options = SearchOptions(k=k, invariance="pooled")
        self._check(options, None)
        clock = _Clock()
        with clock("embed"):
            embedding = self.backbone().embed_text([sentence])
        with clock("shortlist"):
            ids, found = self._copies.nearest(embedding[0], k)
        scores = np.clip(found, -1.0, 1.0)
        order = np.lexsort((ids, -scores))
        nothing_matched = {"read": 0.0, "match": 0.0}
        ranked = Reranked(rows=order, scores=scores[order], solved=0, pruned=0, exact=True, seconds=nothing_matched)
        seen = _Seen(_UNSEEN, embedding[0], sentence)
        return self._answer(seen, _Field(ids, scores, "all"), ranked, options, clock)

    def rerank(self, image: ImageLike, candidates: Sequence[Candidate], **options: Any) -> SearchResult:
        """Order candidates of your own first stage by similarity to a picture.

        Parameters
        ----------
        image : see `query`
        candidates : sequence of int or path
            Ids of the index, or paths of indexed files, relative to the current directory or to the root of the index,
            or absolute; repeats and copies count once. A hit lists the copies that are candidates.
        **options
            `k` (default, and at most: all candidates), `kernel`, `invariance`, `solver`, `center`, `exclude_self`.

        Raises
        ------
        ArgumentError
            If there is no candidate, or one is not in the index.
        """
        given = self._resolve(candidates)
        settings = replace(SearchOptions(**{"k": len(given), **options}), shortlist=None, exhaustive=False)
        self._check(settings, image)
        clock = _Clock()
        with clock("embed"):
            seen = self._represent(image)
        with clock("shortlist"):
            excluded = self._left_out(seen, settings.exclude_self)
            allowed = np.setdiff1d(given, excluded)
            ids = allowed[self._copies.first_of_each(allowed)]
            pooled_scores = self.collection.pooled_scores(seen.pooled, ids)
        field = _Field(ids, pooled_scores, "given", np.setdiff1d(self.collection.ids, allowed))
        ranked = self._rerank(seen, ids, settings)
        return self._answer(seen, field, ranked, settings, clock, wanted=settings.k if "k" in options else None)

    def find(self, candidate: Candidate) -> int | None:
        """Return the id of the image that an id or a path stands for, as `rerank` understands it; None without one."""
        return self._lookup.find(candidate)

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

    def _check(self, options: SearchOptions, image: ImageLike | None) -> int:
        """Refuse what cannot be answered before anything is done; return the length of the shortlist."""
        length = options.check(max(len(self), 1))
        if options.exclude_self is True and not isinstance(image, (str, os.PathLike, EncodedImage)):
            raise ArgumentError(
                "exclude_self is True, but the query is pixels, which no file can be told by; "
                "give the path of its file, or the id to leave out"
            )
        if not len(self):
            raise IndexEmptyError(f"the index {self.collection.path} is empty; run semret index PATH to fill it")
        chosen = options.exclude_self
        if not isinstance(chosen, bool) and (isinstance(chosen, str) or self._lookup.find(chosen) is None):
            raise ArgumentError(f"exclude_self is {chosen!r}, expected True, False, or an id that is in the index")
        return length

    def _left_out(self, seen: _Seen, what: bool | int) -> IdVector:
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

    def _represent(self, image: ImageLike) -> _Seen:
        seen = _identify(image)
        stored = None if seen.content is None else self.collection.find_hash(seen.content)
        if stored is not None:
            row = self.collection.rows([stored])[0]
            tokens = self.collection.tokens([stored])[0]
            return seen._replace(tokens=tokens, pooled=np.asarray(self.collection.pooled[row]))
        # Large photos are decoded at a reduced size, as they are when indexed.
        picture = _pixels(image, self.collection.manifest.identity.preprocessing.size)
        backbone = self.backbone()
        features = backbone.embed(backbone.prepare(picture)[None])
        # Rounded as stored tokens are, so that an image scores the same whether it comes from a file or the index.
        tokens = features.tokens[0].astype(self.collection.manifest.dtype)
        return seen._replace(tokens=tokens, pooled=features.pooled[0])

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
        seen: _Seen,
        field: _Field,
        ranked: Reranked,
        options: SearchOptions,
        clock: _Clock,
        *,
        wanted: int | None = None,
    ) -> SearchResult:
        short, best = field.shortlist, zip(ranked.rows.tolist(), ranked.scores.tolist(), strict=True)
        hits = tuple(self._hit(rank, row, score, field) for rank, (row, score) in enumerate(best, start=1))
        stats = Stats(
            database=len(self),
            shortlist=len(field.ids),
            solved=ranked.solved,
            pruned=ranked.pruned,
            exact_among_candidates=ranked.exact,
            seconds={**clock.seconds, **ranked.seconds},
            shortlist_recall=None if short is None else float(np.mean([hit.in_shortlist for hit in hits] or [True])),
            wanted=wanted if field.source == "given" else options.k,
            shortlist_wanted=None if options.exhaustive else options.shortlist,
            candidates=field.source,
            shortlist_tried=None if short is None else len(short),
        )
        return SearchResult(seen.name, hits, stats, seen.picture)

    def _hit(self, rank: int, row: int, score: float, field: _Field) -> Hit:
        id_ = int(field.ids[row])
        ids = np.setdiff1d(self._copies.of(id_), field.excluded)
        paths = self.collection.paths(ids)
        # The products of two float32 vectors of length 1 may exceed 1 in the last digits.
        pooled = float(np.clip(field.pooled_scores[row], -1.0, 1.0))
        found = None if field.shortlist is None else id_ in field.shortlist
        return Hit(rank, id_, paths[0], score, pooled, tuple(ids.tolist()), tuple(paths), found)

    def _resolve(self, candidates: Sequence[Candidate]) -> IdVector:
        """Return the distinct ids that candidates stand for, ascending."""
        ids: set[int] = set()
        for candidate in candidates:
            found = self._lookup.find(candidate)
            if found is None:
                raise ArgumentError(
                    f"candidate {os.fsdecode(candidate) if isinstance(candidate, os.PathLike) else candidate} "
                    f"is not in the index {self.collection.path}; index it first or leave it out"
                )
            ids.add(found)
        if not ids:
            raise ArgumentError("there are no candidates; give at least one id or path")
        return np.array(sorted(ids), dtype=np.int64)


class _Seen(NamedTuple):
    """What a query image looks like to the network, (S, C) and (D,), what it is called, and what it is told by."""

    tokens: FloatArray
    pooled: Float32Array
    name: str
    path: str | None = None
    content: str | None = None
    picture: bytes | None = None


class _Field(NamedTuple):
    """What a query was compared with: one id for each content, and which ids may not be shown as its copies."""

    ids: IdVector
    pooled_scores: Float64Array
    source: str = "shortlist"
    excluded: IdVector = NOBODY
    shortlist: IdVector | None = None


_UNSEEN = np.zeros((0, 0), dtype=np.float32)


def _identify(image: ImageLike) -> _Seen:
    """Return the name of a picture and the hash of its file, without looking at it."""
    if isinstance(image, EncodedImage):
        content = hashlib.sha256(image.data).hexdigest()
        return _Seen(_UNSEEN, _UNSEEN, image.name, content=content, picture=image.data)
    if isinstance(image, (str, os.PathLike)):
        from semret.index.files import hash_file

        path = os.fspath(image)
        return _Seen(_UNSEEN, _UNSEEN, path, path=path, content=hash_file(path))
    return _Seen(_UNSEEN, _UNSEEN, "<image>")


def _pixels(image: ImageLike, size: tuple[int, int]) -> Image.Image:
    from semret.index.images import as_rgb, decode_image

    if not isinstance(image, EncodedImage):
        return as_rgb(image, reduce_to=size)
    try:
        return decode_image(image.data, reduce_to=size)
    except ImageDecodeError as error:
        raise ImageDecodeError(f"{image.name}: {error}") from error


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
        Pictures above which an index is looked for where there is none above the current directory either.
    weights, device
        See `SearchEngine`.

    Raises
    ------
    IndexNotFoundError
        If there is no index.
    IndexCorruptError, IncompatibleIndexError
        If the index is damaged or of a newer format.
    """
    return SearchEngine(open_collection(find_index(path, near)), weights=weights, device=device)
