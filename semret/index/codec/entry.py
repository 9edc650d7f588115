"""What a manifest says of the codec of an index: its name, its digest, and where its arrays lie in its file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from semret.index.codec.table import CENTROIDS, CodecSpec, check_parts, parse

CODEC_BYTES = 2**28
"""Most bytes of a codec's file."""

ALIGNMENT = 64
"""Of the arrays in the file."""

_LENGTHS = {"channels": 2**20, "dimension": 2048, "pooled_in": 2**20, "pooled_out": 2**20}


@dataclass(frozen=True, kw_only=True)
class CodecEntry:
    """What a manifest says of a codec.

    Attributes
    ----------
    name : str
        ``pca64-int8``.
    digest : str
        SHA-256 of the file, in hexadecimal.
    bytes : int
        Of the file.
    channels, dimension : int
        C, and the directions d that are kept.
    pooled_in, pooled_out : int
        P and E; equal where pooled embeddings are centred but not projected.
    offsets : dict of str to int
        Of each array in the file.

    Raises
    ------
    ValueError, TypeError
        If a field has another type, is out of range, or does not fit the others; the message says which.
    """

    name: str
    digest: str
    bytes: int
    channels: int
    dimension: int
    pooled_in: int
    pooled_out: int
    offsets: dict[str, int] = field(hash=False)

    def __post_init__(self) -> None:
        if type(self.name) is not str or type(self.digest) is not str or type(self.offsets) is not dict:
            raise TypeError("a field of the codec has another type")
        if len(self.name) > 32 or not re.fullmatch(r"[0-9a-f]{64}", self.digest):
            raise ValueError("the name or the digest of the codec has another form")
        for name, most in (*_LENGTHS.items(), ("bytes", CODEC_BYTES)):
            value = getattr(self, name)
            if type(value) is not int or not 0 < value <= most:
                raise ValueError(f"{name} of the codec is no number from 1 to {most}")
        self._check_lengths()
        self._check_offsets()

    def _check_lengths(self) -> None:
        spec = self.spec
        if self.dimension != min(spec.dimension, self.channels) or self.pooled_out > self.pooled_in:
            raise ValueError("the lengths of the codec do not fit each other")
        if spec.kind == "pq":
            check_parts(self.name, spec.parts, self.dimension)

    def _check_offsets(self) -> None:
        columns = self.columns()
        if set(self.offsets) != set(columns):
            raise ValueError("the codec has other arrays")
        end = 0
        for offset, (dtype, shape) in sorted(self._places()):
            if type(offset) is not int or not end <= offset <= self.bytes:
                raise ValueError("the arrays of the codec overlap, or lie outside its file")
            end = offset + np.dtype(dtype).itemsize * math.prod(shape)
        if end > self.bytes:
            raise ValueError("the arrays of the codec lie outside its file")

    def _places(self) -> Iterator[tuple[int, tuple[str, tuple[int, ...]]]]:
        for name, column in self.columns().items():
            if type(self.offsets[name]) is not int:
                raise TypeError("an offset of the codec is no number")
            yield self.offsets[name], column

    @property
    def spec(self) -> CodecSpec:
        """What the name says.

        Raises
        ------
        ValueError
            If it is ``none``, which has no file.
        """
        spec = parse(self.name)
        if spec is None:
            raise ValueError("codec none has no file")
        return spec

    def columns(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return dtype (little-endian) and shape of each array, in the order of the file.

        Returns
        -------
        dict of str to (str, tuple of int)
        """
        directions = self.pooled_out if self.pooled_out < self.pooled_in else 0
        return columns(self.spec, self.channels, self.dimension, self.pooled_in, directions)

    def as_json(self) -> dict[str, Any]:
        """Return the fields for a manifest.

        Returns
        -------
        dict
        """
        return asdict(self)

    @classmethod
    def from_json(cls, document: Any) -> CodecEntry:
        """Return the entry that a manifest holds.

        Parameters
        ----------
        document : object
            From JSON that may have been written by anybody.

        Returns
        -------
        CodecEntry

        Raises
        ------
        ValueError, TypeError
            If it is not what `as_json` gives.
        """
        if type(document) is not dict or set(document) != {one.name for one in fields(cls)}:
            raise ValueError("fields of the codec are missing or unknown")
        return cls(**document)


def columns(
    spec: CodecSpec, channels: int, dimension: int, pooled: int, pooled_directions: int
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return dtype (little-endian) and shape of each array of a codec's file, in the order of the file.

    ``mean`` and ``directions`` of tokens and of pooled embeddings; ``centroids`` of a product quantiser; ``numbers``:
    the scale of the centroids, the exponent of pooled embeddings, and images, kept and total energy of the fit.

    Parameters
    ----------
    spec : CodecSpec
    channels, dimension : int
        C and d.
    pooled, pooled_directions : int
        P, and the directions that are kept of it; 0 where all is kept.

    Returns
    -------
    dict of str to (str, tuple of int)
    """
    found: dict[str, tuple[str, tuple[int, ...]]] = {
        "mean": ("<f4", (channels,)),
        "directions": ("<f2", (dimension, channels)),
        "pooled_mean": ("<f4", (pooled,)),
    }
    if pooled_directions:
        found["pooled_directions"] = ("<f2", (pooled_directions, pooled))
    if spec.kind == "pq":
        found["centroids"] = ("i1", (spec.parts, CENTROIDS, dimension // spec.parts))
    return {**found, "numbers": ("<f8", (5,))}


def plan_entry(spec: CodecSpec, *, channels: int, pooled: int, pooled_directions: int | None) -> CodecEntry:
    """Return what a manifest would say of a codec that has not been fitted, to reckon sizes with.

    Parameters
    ----------
    spec : CodecSpec
    channels, pooled : int
        C and P.
    pooled_directions : int or None
        As for `semret.index.codec.fit.CodecFitter`.

    Returns
    -------
    CodecEntry
        With a digest of zeros.
    """
    dimension = min(spec.dimension, channels)
    directions = 0 if pooled_directions is None or pooled_directions >= pooled else pooled_directions
    offsets, end = {}, 0
    for name, (dtype, shape) in columns(spec, channels, dimension, pooled, directions).items():
        offsets[name] = end
        end += np.dtype(dtype).itemsize * math.prod(shape)
    return CodecEntry(
        name=spec.name,
        digest="0" * 64,
        bytes=end,
        channels=channels,
        dimension=dimension,
        pooled_in=pooled,
        pooled_out=directions or pooled,
        offsets=offsets,
    )
