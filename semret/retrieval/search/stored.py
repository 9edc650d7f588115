"""What an index has stored, as queries and as arrays: maps by id, and features in the place of a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from semret.arrays import FloatArray, IdVector, require_finite, require_flag, require_memory
from semret.errors import ArgumentError, ShapeError, UnknownNameError
from semret.index.backbones.pooling import POOLINGS, pool
from semret.index.backbones.spec import OWN_FEATURES
from semret.index.collection import Collection
from semret.index.store.manifest import Manifest
from semret.integer_tokens import IntegerTokens
from semret.retrieval.search.lookup import Lookup
from semret.retrieval.search.query_pictures import UNSEEN, OwnFeatures, Seen

_CENTERS = ("none", "channel")


class Representations:
    """The token maps of all images of an index, in the order of ids, for `semret.rsm`; read by slices.

    Parameters
    ----------
    collection : Collection

    Attributes
    ----------
    shape : (int, int, int)
        ``(N, S, C)``; C is one more than the directions of a codec.
    dtype : dtype
    space : str
        What the channels are: the network, and the codec where there is one.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        positions, channels = collection.features.shape
        coded = collection.features.codec is not None
        self.shape = (len(collection), positions, channels + coded)
        self.dtype = np.dtype(np.float32 if coded else collection.manifest.dtype)
        self.space = _space(collection.manifest)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> FloatArray:
        """Return some maps, (n, S, C), the mean of a codec included."""
        return as_floats(self._collection, self._collection.tokens(self._collection.ids[rows]), "none")


def _space(manifest: Manifest) -> str:
    identity, entry = manifest.identity, manifest.codec_file
    network = identity.backbone if identity.backbone == OWN_FEATURES else f"{identity.backbone} layer {identity.layer}"
    weights = "" if identity.backbone == OWN_FEATURES else f" ({identity.weights_sha256[:8]})"
    return f"{network}{weights}" + ("" if entry is None else f" with codec {entry.name} ({entry.digest[:8]})")


def stored_maps(
    collection: Collection, ids: IdVector | Sequence[int], *, center: str, integers: bool
) -> FloatArray | IntegerTokens:
    """Do what `SearchEngine.tokens` does, for ids.

    Parameters
    ----------
    collection : Collection
    ids : sequence of int
        n of them.
    center : {"none", "channel"}
    integers : bool

    Returns
    -------
    ndarray of shape (n, S, C), or IntegerTokens

    Raises
    ------
    ArgumentError, UnknownNameError, IndexCorruptError
        See `SearchEngine.tokens`.
    """
    if center not in _CENTERS:
        raise UnknownNameError.among("center", center, _CENTERS)
    require_flag(integers, "integers")
    if integers and collection.features.codec is None:
        raise ArgumentError(
            f"{collection.name} stores floats, not integers; leave integers out, or store them with "
            "semret compact --codec pca64-int8"
        )
    require_memory(len(ids) * 4 * math.prod(collection.features.shape), f"the maps of {len(ids)} images")
    tokens = collection.tokens(ids)
    return tokens if integers else as_floats(collection, tokens, center)


def as_floats(collection: Collection, tokens: FloatArray | IntegerTokens, center: str) -> FloatArray:
    """Return stored tokens as numbers, with or without their mean.

    Parameters
    ----------
    collection : Collection
        Theirs.
    tokens : ndarray of shape (n, S, C), or IntegerTokens
    center : {"none", "channel"}

    Returns
    -------
    ndarray of shape (n, S, C)

    Raises
    ------
    IndexCorruptError
        If what is read is damaged.
    """
    features = collection.features
    if isinstance(tokens, IntegerTokens):
        found = tokens.as_floats() if center == "channel" else features.uncentred(tokens)
        return found.as_floats() if isinstance(found, IntegerTokens) else found
    mean = features.center(center).channel
    return tokens if mean is None else np.asarray(tokens.astype(np.float32) - mean)


def single(tokens: FloatArray | IntegerTokens) -> FloatArray | IntegerTokens:
    """Return the tokens of the only image of several, as a query has them.

    Parameters
    ----------
    tokens : ndarray of shape (1, S, C), or IntegerTokens of one image

    Returns
    -------
    ndarray of shape (S, C), or IntegerTokens of one image
    """
    return tokens if isinstance(tokens, IntegerTokens) else tokens[0]


def stored_picture(collection: Collection, lookup: Lookup, id_: int) -> Seen:
    """Return an image of the index as a query, without its features.

    Parameters
    ----------
    collection : Collection
    lookup : Lookup
        Of the collection.
    id_ : int

    Returns
    -------
    Seen

    Raises
    ------
    ArgumentError
        If there is no such image.
    """
    if lookup.find(id_) is None:
        raise ArgumentError(f"the index {collection.name} has no image with id {id_}; engine.ids are those that it has")
    path, content = collection.paths([id_])[0], collection.hashes([id_])[0]
    return Seen(UNSEEN, UNSEEN, path, path=path, content=content)


def own_features(collection: Collection, given: OwnFeatures) -> Seen:
    """Return features that the caller has as a query, in the form in which the index stores its own.

    Parameters
    ----------
    collection : Collection
    given : OwnFeatures

    Returns
    -------
    Seen

    Raises
    ------
    ShapeError, NonFiniteError
        If they are not such as are in the index.
    ArgumentError
        If the pooled embedding is missing and cannot be computed from the tokens.
    """
    identity, features = collection.manifest.identity, collection.features
    tokens = np.asarray(given.tokens, dtype=np.float32)
    if tokens.shape[1] != identity.channels:
        raise ShapeError(
            f"tokens have shape {tokens.shape}, expected (S, {identity.channels}): as the network gives them, "
            f"before any codec; those of the index come from {identity.backbone}"
        )
    pooled = _pooled(identity.pooled, identity.pooled_dim, tokens, given.pooled)
    stored = features.as_stored(tokens[None])
    if not isinstance(stored, IntegerTokens):
        require_finite(stored, f"tokens as {stored.dtype}")
    return Seen(single(stored), features.as_pooled(pooled)[0], "<features>")


def _pooled(how: str, length: int, tokens: FloatArray, given: FloatArray | None) -> FloatArray:
    if given is None:
        if how not in POOLINGS:
            raise ArgumentError(
                f"the pooled embedding of this index ({how}) cannot be computed from tokens; give it: pooled=..."
            )
        return pool(tokens[None], how)
    pooled = np.asarray(given, dtype=np.float32).reshape(-1)
    if len(pooled) != length:
        raise ShapeError(f"pooled has {np.size(given)} values, expected {length}")
    require_finite(pooled, "pooled")
    return pooled[None]
