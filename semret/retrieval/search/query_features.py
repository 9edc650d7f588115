"""How a query becomes features, as the index stores its own; and which images are the query itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from semret.arrays import IdVector, as_array, as_tokens
from semret.errors import ArgumentError
from semret.index.collection import Collection
from semret.retrieval.search.copies import NOBODY, Copies
from semret.retrieval.search.lookup import Lookup
from semret.retrieval.search.query_pictures import ImageLike, OwnFeatures, Seen, identify, pixels
from semret.retrieval.search.regions import Region, cut_tokens, find_region
from semret.retrieval.search.stored import own_features, single, stored_picture

if TYPE_CHECKING:
    from semret.index.backbones.spec import Backbone


def represent(
    collection: Collection,
    lookup: Lookup,
    image: ImageLike,
    backbone: Callable[[], Backbone],
    region: Region | None = None,
) -> Seen:
    """Make the features of a query.

    Parameters
    ----------
    collection : Collection
    lookup : Lookup
        Of the collection.
    image : see `semret.retrieval.search.query_pictures.unwrap`
        As that returns it.
    backbone : callable
        Gives the network that made the index; called only for a picture that is not stored.
    region : Region or None
        Keep the tokens of this part alone.

    Returns
    -------
    Seen

    Raises
    ------
    ArgumentError, ImageDecodeError, IncompatibleIndexError, WeightsNotFoundError, ShapeError, NonFiniteError
        See `SearchEngine.query`.
    """
    seen = _whole(collection, lookup, image, backbone)
    return seen if region is None else _in_region(collection, seen, region)


def _whole(collection: Collection, lookup: Lookup, image: ImageLike, backbone: Callable[[], Backbone]) -> Seen:
    if isinstance(image, Seen):
        return image
    if isinstance(image, OwnFeatures):
        return own_features(collection, image)
    seen = stored_picture(collection, lookup, image) if isinstance(image, int) else identify(image)
    stored = None if seen.content is None else collection.find_hash(seen.content)
    if stored is not None:
        row = collection.rows([stored])[0]
        return seen._replace(
            tokens=single(collection.tokens([stored])),
            pooled=np.asarray(collection.features.pooled[row]),
            size=collection.size(stored),
        )
    # Large photos are decoded at a reduced size, as they are when indexed.
    picture = pixels(image, collection.manifest.identity.preprocessing.size)
    network = backbone()
    features = network.embed(network.prepare(picture)[None])
    # As they are stored, so that an image scores the same whether it comes from a file or the index.
    stored_as = collection.features
    return seen._replace(
        tokens=single(stored_as.as_stored(features.tokens)),
        pooled=stored_as.as_pooled(features.pooled)[0],
        size=picture.info["original_size"],
    )


def _in_region(collection: Collection, seen: Seen, region: Region) -> Seen:
    if 0 in seen.size:
        raise ArgumentError(
            f"region {region} is a part of a picture, and {seen.name} is known by its features alone; "
            "query with the tokens that lie in it"
        )
    found = find_region(region, seen.size, collection.manifest.identity)
    return seen._replace(tokens=cut_tokens(seen.tokens, found.cells), region=found)


def itself(collection: Collection, copies: Copies, seen: Seen, what: bool | int) -> IdVector:
    """Find the images that are the query itself, and may not be among its hits.

    Parameters
    ----------
    collection : Collection
    copies : Copies
        Of the collection.
    seen : Seen
        The query.
    what : bool or int
        `SearchOptions.exclude_self`.

    Returns
    -------
    ndarray of int64
        Ids, ascending.
    """
    if not isinstance(what, bool):
        return copies.of(what)
    if not what:
        return NOBODY
    stored = None if seen.content is None else collection.find_hash(seen.content)
    same = NOBODY if stored is None else copies.of(stored)
    # The file may have changed since it was indexed: what the index has of it is still the query itself.
    there = None if seen.path is None else collection.find_path(seen.path)
    return same if there is None else np.union1d(same, np.array([there], dtype=np.int64))


def as_question(image: ImageLike | None, tokens: ArrayLike | None, pooled: ArrayLike | None) -> ImageLike:
    """Return what is asked for: a picture, or features in its place.

    Parameters
    ----------
    image : see `SearchEngine.query`, or None
    tokens, pooled : array_like or None
        `SearchEngine.query` has their shapes.

    Returns
    -------
    ImageLike

    Raises
    ------
    ArgumentError
        If it is neither or both.
    ShapeError, NonFiniteError
        If the arrays are no features.
    """
    if image is not None and tokens is None and pooled is None:
        return image
    if image is not None or tokens is None:
        raise ArgumentError("expected either a picture, or tokens (with or without pooled) in its place")
    return OwnFeatures(as_tokens(tokens, "tokens"), None if pooled is None else as_array(pooled, "pooled"))
