"""Why a picture is a hit: which patch of the query met which patch of it, and how much each pair adds to the score."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semret.arrays import Float64Array, FloatArray
from semret.centers import Center
from semret.errors import ArgumentError, StorageError
from semret.index.backbones.placement import place
from semret.index.collection import Collection
from semret.integer_tokens import IntegerTokens
from semret.outputs import require_distinct
from semret.paths import PathLike, absolute
from semret.retrieval.search.best_k import as_compared
from semret.retrieval.search.explained_picture import ExplainedPicture, Pair
from semret.retrieval.search.options import SearchOptions
from semret.retrieval.search.page import render_drawing
from semret.retrieval.search.query_pictures import EncodedImage, ImageLike, Seen
from semret.retrieval.search.regions import SearchedRegion
from semret.retrieval.similarity.integer_maps import prepare_integers
from semret.retrieval.similarity.maps import prepare
from semret.retrieval.similarity.query_score import level_maps, weigh_query
from semret.retrieval.similarity.shares import AnyMaps, Shares, share_out

if TYPE_CHECKING:
    from PIL import Image

_KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Formats of drawings by the end of a name."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """How the score of a picture comes about, pair by pair: a sequence of pairs, strongest first.

    Attributes
    ----------
    query, image : ExplainedPicture
        The picture that was searched with, and the one of the index.
    score : float
        The score that a search gives the picture, bit for bit.
    pairs : tuple of Pair
        Largest share first; equal ones in the order of the query's patches. The shares sum (`math.fsum`) to the score,
        bit for bit unless shares so cancel each other that all are larger than the score.
    unmatched_query, unmatched_image : tuple of int
        Patches without a partner. With a region, of the query's patches only those in it count.
    exact : bool
        Whether the matching is the best there is.
    region : SearchedRegion or None
        The part of the query that was searched with.
    """

    query: ExplainedPicture
    image: ExplainedPicture
    score: float
    pairs: tuple[Pair, ...] = field(repr=False)
    unmatched_query: tuple[int, ...] = field(default=(), repr=False)
    unmatched_image: tuple[int, ...] = field(default=(), repr=False)
    exact: bool = True
    region: SearchedRegion | None = field(default=None, repr=False, compare=False)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def maps(self) -> tuple[Float64Array, Float64Array]:
        """Return how much each place of the two pictures contributes.

        Returns
        -------
        query, image : ndarray of shape (H, W), float64
            The summed shares of each patch, 0 without a partner.
        """
        found = []
        for picture, side in ((self.query, "query_cell"), (self.image, "image_cell")):
            sums = np.zeros(picture.grid)
            np.add.at(sums.reshape(-1), [getattr(pair, side) for pair in self.pairs], [pair.share for pair in self])
            found.append(sums)
        return found[0], found[1]

    @property
    def can_be_drawn(self) -> bool:
        """Whether both are pictures: what is known by its features alone has no places to draw."""
        return 0 not in (*self.query.size, *self.image.size)

    def draw(self, *, pairs: int = 8, width: int = 1000, names: bool = True) -> Image.Image:
        """Draw both pictures with the strongest pairs joined, and a map of how much each place contributes.

        Parameters
        ----------
        pairs, width, names
            See `semret.retrieval.search.explained_drawing.draw_explanation`.

        Returns
        -------
        PIL.Image.Image
            Mode RGB. A picture whose file is gone or changed is an empty frame that says so.

        Raises
        ------
        ArgumentError
            If a number is out of range, or one of the two is known by its features alone.
        """
        if not self.can_be_drawn:
            unknown = self.query if 0 in self.query.size else self.image
            raise ArgumentError(
                f"{unknown.name} is known by its features alone, so there is nothing to draw; see pairs"
            )
        # Here to keep start-up light: explanations are mostly read as numbers.
        from semret.retrieval.search.explained_drawing import draw_explanation

        return draw_explanation(self, pairs=pairs, width=width, names=names)

    def save(self, path: PathLike, *, pairs: int = 8, width: int = 1000, names: bool = True) -> None:
        """Write the drawing to a file.

        Parameters
        ----------
        path : path
            Ending in ``.png``, ``.jpg``, ``.jpeg`` or ``.webp``.
        pairs, width, names
            See `draw`.

        Raises
        ------
        ArgumentError
            If the name ends otherwise, the file is one of the two pictures, or a number is out of range.
        StorageError
            If the file cannot be written.
        """
        kind = _KINDS.get(Path(path).suffix.lower())
        if kind is None:
            raise ArgumentError(f"cannot write {os.fspath(path)}: name a file that ends in {', '.join(_KINDS)}")
        sources = [picture.source for picture in (self.query, self.image)]
        require_distinct(path, [source for source in sources if isinstance(source, (str, os.PathLike))])
        data = self._encoded(kind, pairs=pairs, width=width, names=names)
        try:
            Path(path).write_bytes(data)
        except OSError as error:
            raise StorageError(f"cannot write {os.fspath(path)}: {error.strerror}; name another file") from error

    def jpeg(self, *, pairs: int = 8, width: int = 1000, names: bool = True) -> bytes:
        """Return the drawing as a JPEG file, for pages.

        Parameters
        ----------
        pairs, width, names
            See `draw`.

        Returns
        -------
        bytes

        Raises
        ------
        ArgumentError
            If a number is out of range.
        """
        return self._encoded("JPEG", pairs=pairs, width=width, names=names)

    def _encoded(self, kind: str, **options: Any) -> bytes:
        stream = io.BytesIO()
        self.draw(**options).save(stream, kind, quality=82)
        return stream.getvalue()

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the drawing, below the names of the pictures."""
        if not self.can_be_drawn:
            return f"<pre>{escape(repr(self))}</pre>"
        return render_drawing(self.jpeg(names=False), [self.query.label, self.image.label])

    def _repr_png_(self) -> bytes | None:
        """Return what other viewers show: the drawing."""
        return self._encoded("PNG") if self.can_be_drawn else None

    def as_json(self) -> dict[str, Any]:
        """Return the explanation for a JSON document.

        Returns
        -------
        dict
            Of numbers, strings, lists and dicts alone.
        """
        return {
            "query": self.query.as_json(),
            "image": self.image.as_json(),
            "score": self.score,
            "pairs": [pair.as_json() for pair in self.pairs],
            "unmatched": {"query": list(self.unmatched_query), "image": list(self.unmatched_image)},
        }


def explain(collection: Collection, seen: Seen, image: ImageLike, id_: int, options: SearchOptions) -> Explanation:
    """Explain the score of one picture of an index.

    Parameters
    ----------
    collection : Collection
    seen : Seen
        The query with its features, cut to its region.
    image : path, EncodedImage, PIL image or ndarray
        The query as it came.
    id_ : int
        Of the picture.
    options : SearchOptions
        How the two are compared.

    Returns
    -------
    Explanation

    Raises
    ------
    ArgumentError
        If the score is no sum over patches; if there is no picture of this id.
    IndexCorruptError
        If what is read is damaged.
    """
    # The score of the query's patches is linear in maps that have been changed for it.
    kernel = "linear" if options.scores_query else options.kernel
    compared = _compared(collection, seen, id_, options)
    shares = share_out(*compared, kernel=kernel, invariance=options.invariance, solver=options.solver)
    query, other = _query_picture(collection, seen, image), _indexed_picture(collection, id_)
    cells = np.arange(len(shares.partners)) if seen.region is None else seen.region.cells
    matched = np.flatnonzero(shares.partners >= 0)
    order = matched[np.argsort(-shares.shares[matched], kind="stable")]
    taken = np.isin(np.arange(other.grid[0] * other.grid[1]), shares.partners)
    return Explanation(
        query=query,
        image=other,
        score=shares.score,
        pairs=tuple(_pair(query, other, int(cells[row]), shares, row) for row in order.tolist()),
        unmatched_query=tuple(cells[shares.partners < 0].tolist()),
        unmatched_image=tuple(np.flatnonzero(~taken).tolist()),
        exact=shares.exact,
        region=seen.region,
    )


def _pair(query: ExplainedPicture, image: ExplainedPicture, cell: int, shares: Shares, row: int) -> Pair:
    partner = int(shares.partners[row])
    return Pair(
        query_cell=cell,
        image_cell=partner,
        query_box=query.box_of(cell),
        image_box=image.box_of(partner),
        share=float(shares.shares[row]),
    )


def _compared(collection: Collection, seen: Seen, id_: int, options: SearchOptions) -> tuple[AnyMaps, AnyMaps]:
    """Return query and candidate as a search compares them, see `semret.retrieval.search.rerank`."""
    features, query = collection.features, seen.tokens
    if options.center == "none" and isinstance(query, IntegerTokens):
        query = _single(features.uncentred(query))
    center: Center = features.center(options.center)
    candidate = collection.source([id_], options.center).read(np.zeros(1, dtype=np.intp))
    middle = center.tokens
    if options.scores_query:
        own = middle
        if own is not None and own.ndim == 2 and seen.region is not None:
            own = own[seen.region.cells]
        query, candidate, middle = weigh_query(query, own), level_maps(candidate, middle), None
    # A query of floats is one map, of integers one image of several.
    query = query if isinstance(query, IntegerTokens) else query[None]
    return _prepared(query, middle, "the query's tokens"), _prepared(candidate, middle, "the candidates' tokens")


def _single(tokens: FloatArray | IntegerTokens) -> FloatArray | IntegerTokens:
    return tokens if isinstance(tokens, IntegerTokens) else tokens[0]


def _prepared(tokens: FloatArray | IntegerTokens, middle: FloatArray | None, name: str) -> AnyMaps:
    compared = as_compared(tokens, middle)
    if isinstance(compared, IntegerTokens):
        return prepare_integers(compared, name)
    return prepare(compared, middle, name)


def _query_picture(collection: Collection, seen: Seen, image: ImageLike) -> ExplainedPicture:
    identity = collection.manifest.identity
    placement = place(seen.size, identity.preprocessing, identity.grid)
    if isinstance(image, Seen) and seen.picture is not None:
        image = EncodedImage(seen.picture, seen.name)
    source = image if seen.path is None else absolute(seen.path)
    if isinstance(source, Seen) and source.picture is not None:
        source = EncodedImage(source.picture, source.name)
    return ExplainedPicture(name=seen.name, placement=placement, source=source, sha256=seen.content)


def _indexed_picture(collection: Collection, id_: int) -> ExplainedPicture:
    identity = collection.manifest.identity
    (path,), (sha256,) = collection.paths([id_]), collection.hashes([id_])
    placement = place(collection.size(id_), identity.preprocessing, identity.grid)
    return ExplainedPicture(name=path, placement=placement, source=absolute(path), sha256=sha256, id=id_)
