"""Features that the caller has, checked before they go into an index: maps of any network, with names and ids."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semret.arrays import Float32Array, as_array, require_finite
from semret.errors import ArgumentError, NonFiniteError, ShapeError
from semret.index.backbones.features import Features
from semret.index.backbones.pooling import pool
from semret.index.backbones.spec import OWN_FEATURES, Identity, Preprocessing
from semret.index.store.entries import MOST
from semret.paths import PathLike


@dataclass(frozen=True, kw_only=True)
class GivenFeatures:
    """Features of N images, as they come.

    Attributes
    ----------
    tokens : array_like of shape (N, S, C) or (N, H, W, C)
        Whatever has a shape and is read by slices, or becomes an array.
    pooled : array_like of shape (N, D), or None
        None takes the mean tokens.
    paths : sequence of path, or None
        Names; those of files are opened.
    ids : sequence of int, or None
        From 1, distinct; None counts on.
    """

    tokens: Any
    pooled: Any = None
    paths: Sequence[PathLike] | None = None
    ids: Sequence[int] | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """H and W; one row where maps come without a grid."""
        shape = self.tokens.shape
        return (int(shape[1]), int(shape[2])) if len(shape) == 4 else (1, int(shape[1]))

    def __len__(self) -> int:
        return int(self.tokens.shape[0])

    def identity(self) -> Identity:
        """Return what the manifest says of such features: their shapes, and that there is no network.

        Returns
        -------
        Identity
        """
        channels = int(self.tokens.shape[-1])
        return Identity(
            backbone=OWN_FEATURES,
            family=OWN_FEATURES,
            checkpoint="",
            revision=None,
            weights_sha256="0" * 64,
            preprocessing=Preprocessing(size=(1, 1), mean=(0.0,) * 3, std=(1.0,) * 3),
            layer="",
            pooled="mean" if self.pooled is None else "given",
            prefix_tokens=0,
            grid=self.grid,
            channels=channels,
            pooled_dim=channels if self.pooled is None else int(self.pooled.shape[1]),
        )

    def read(self, rows: slice, dtype: str) -> Features:
        """Return some images' features as float32, rounded as `dtype` stores them.

        Parameters
        ----------
        rows : slice
        dtype : {"float16", "float32"}

        Returns
        -------
        Features

        Raises
        ------
        NonFiniteError
            If a value is not finite, or beyond the dtype.
        """
        tokens = _numbers(self.tokens[rows], "features", dtype)
        tokens = tokens.reshape(len(tokens), -1, tokens.shape[-1])
        pooled = pool(tokens) if self.pooled is None else _numbers(self.pooled[rows], "pooled", "float32")
        return Features(tokens, pooled, self.grid)


def _numbers(values: Any, name: str, dtype: str) -> Float32Array:
    given = as_array(values, name)
    if given.dtype.kind not in "fiub":
        raise ShapeError(f"{name} has dtype {given.dtype}, expected numbers")
    require_finite(given, name)
    with np.errstate(over="ignore"):
        found = given.astype(dtype).astype(np.float32)
    if not np.isfinite(found).all():
        hint = "; leave dtype out, or divide them" if dtype == "float16" else ""
        raise NonFiniteError(f"{name} has values up to {np.abs(given).max():.3g}, beyond the range of {dtype}{hint}")
    return np.asarray(found, dtype=np.float32)


def check_features(
    tokens: Any, pooled: Any, paths: Sequence[PathLike] | None, ids: Sequence[int] | None
) -> GivenFeatures:
    """Refuse features that are no such set, before anything is done.

    Parameters
    ----------
    tokens, pooled, paths, ids
        See `GivenFeatures`. What `semret.embed` returns brings its pooled embeddings, grid and paths along.

    Returns
    -------
    GivenFeatures

    Raises
    ------
    ShapeError
        If shapes do not fit each other.
    ArgumentError
        If names or ids are not distinct, or cannot be such.
    """
    if hasattr(tokens, "representations"):
        tokens, pooled, paths = _of_embeddings(tokens, pooled, paths)
    maps = tokens if hasattr(tokens, "shape") and hasattr(tokens, "dtype") else as_array(tokens, "features")
    if len(maps.shape) not in (3, 4) or 0 in maps.shape:
        raise ShapeError(
            f"features has shape {tuple(maps.shape)}, expected (N, S, C) or (N, H, W, C) of at least one image; "
            "embeddings (N, D) are maps of one token as x[:, None]"
        )
    embeddings = pooled if pooled is None or hasattr(pooled, "shape") else as_array(pooled, "pooled")
    if embeddings is not None and (len(embeddings.shape) != 2 or len(embeddings) != len(maps)):
        raise ShapeError(f"pooled has shape {tuple(embeddings.shape)}, expected ({len(maps)}, D)")
    names = None if paths is None else _distinct([os.fspath(path) for path in paths], "paths", len(maps))
    numbers = None if ids is None else _distinct([_id(one) for one in ids], "ids", len(maps))
    return GivenFeatures(tokens=maps, pooled=embeddings, paths=names, ids=numbers)


def _of_embeddings(given: Any, pooled: Any, paths: Any) -> tuple[Any, Any, Any]:
    """Take from the result of `semret.embed` what was not given otherwise."""
    if not hasattr(given, "pooled"):
        raise ArgumentError(f"features is a {type(given).__name__}, expected arrays, or what semret.embed returns")
    named = paths is None and len(set(given.names)) == len(given) and "<image>" not in given.names
    tokens = given.tokens.reshape(len(given), *given.grid, given.tokens.shape[2])
    return tokens, given.pooled if pooled is None else pooled, given.names if named else paths


def _id(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value < MOST:
        raise ArgumentError(f"an id is {value!r}, expected a whole number from 1; names of any kind are given as paths")
    return int(value)


def _distinct(values: list[Any], name: str, count: int) -> list[Any]:
    if len(values) != count:
        raise ShapeError(f"{name} has {len(values)} entries, expected {count}: one for each map")
    if len(set(values)) < count:
        twice = next(value for place, value in enumerate(values) if value in values[:place])
        raise ArgumentError(f"{name} holds {twice!r} twice, expected {count} distinct ones")
    if "" in values or any(isinstance(value, str) and "\0" in value for value in values):
        raise ArgumentError(f"{name} holds a name that is empty or has a zero byte")
    return values


def digest_of(features: Features, place: int) -> bytes:
    """Return what stands for the content of an image that has no file.

    Parameters
    ----------
    features : Features
    place : int
        Of the image in them.

    Returns
    -------
    bytes
        SHA-256 of the shapes and values.
    """
    digest = hashlib.sha256(f"features {features.tokens.shape[1:]} {features.pooled.shape[1:]}\n".encode())
    for values in (features.tokens[place], features.pooled[place]):
        digest.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
    return digest.digest()
