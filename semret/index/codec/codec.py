"""A codec: what turns the tokens and pooled embeddings of a network into what an index stores, and back."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, FloatArray, require_ndim
from semret.errors import ShapeError
from semret.index.codec.projection import Projection
from semret.index.codec.rounding import LARGEST, Centroids, pack_pairs, round_tokens, unpack_pairs
from semret.index.codec.table import CodecSpec
from semret.integer_tokens import IntegerTokens

_LARGEST_HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True, kw_only=True)
class EncodedTokens:
    """The tokens of n images as they are stored, and how much of them that is.

    Attributes
    ----------
    codes : ndarray of shape (n, S, d), int8; (n, S, ceil(d / 2)), uint8; or (n, S, M), uint8
        For int8, int4 and pq.
    scales : ndarray of shape (n, S), float32, or None
        None for pq.
    kept, total : ndarray of shape (n,), float64
        Sums of squares of the projected and of the centred tokens: over any images, the retained energy is
        ``kept.sum() / total.sum()``.
    """

    codes: NDArray[Any]
    scales: Float32Array | None
    kept: Float64Array
    total: Float64Array

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a codec was fitted on.

    Attributes
    ----------
    images : int
        From 1.
    kept, total : float
        Sums of squares over their tokens, as in `EncodedTokens`.
    """

    images: int
    kept: float
    total: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Codec:
    """Projection and rounding of tokens and pooled embeddings, fitted once for an index.

    What it gives for an image depends on that image alone, bit for bit.

    Attributes
    ----------
    spec : CodecSpec
    tokens : Projection
        On d directions, as many as the spec names, or the channels where they are fewer.
    pooled : Projection
        Of the pooled embedding; with no directions (0, P), it is only centred.
    pooled_exponent : int
        What is stored of a pooled embedding is multiplied by 2 to this power.
    centroids : Centroids or None
        Of a product quantiser.
    fitted : Fitted
    """

    spec: CodecSpec
    tokens: Projection
    pooled: Projection
    pooled_exponent: int
    centroids: Centroids | None
    fitted: Fitted

    @property
    def name(self) -> str:
        """``pca64-int8``."""
        return self.spec.name

    @property
    def channels(self) -> int:
        """C of the tokens that it takes."""
        return self.tokens.channels

    @property
    def dimension(self) -> int:
        """The directions d."""
        return self.tokens.dimension

    @property
    def pooled_in(self) -> int:
        """P, the length of the pooled embeddings that it takes."""
        return self.pooled.channels

    @property
    def pooled_out(self) -> int:
        """E, the length of those that it gives."""
        return self.pooled.dimension or self.pooled.channels

    def code_columns(self, positions: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return dtype and shape, for one image, of what is stored of its tokens.

        Parameters
        ----------
        positions : int
            S.

        Returns
        -------
        dict of str to (str, tuple of int)
            ``tokens``, and ``scales`` but for a product quantiser.
        """
        return code_columns(self.spec, self.dimension, positions)

    def _images(self, tokens: FloatArray) -> FloatArray:
        require_ndim(tokens, 3, "tokens", "(n, S, C)")
        return tokens

    def project(self, tokens: FloatArray) -> Float32Array:
        """Return the coordinates of tokens before they are rounded to small integers.

        Parameters
        ----------
        tokens : ndarray of shape (n, S, C), float16, float32 or float64

        Returns
        -------
        ndarray of shape (n, S, d), float32

        Raises
        ------
        ShapeError, NonFiniteError
            If the shape is another, or a value not finite.
        """
        found = np.empty((*self._images(tokens).shape[:2], self.dimension), dtype=np.float32)
        for image, out in zip(tokens, found, strict=True):
            out[:] = self.tokens.coordinates(self.tokens.centred(image, "tokens"), "tokens")
        return found

    def encode(self, tokens: FloatArray) -> EncodedTokens:
        """Return what is stored of tokens.

        Parameters
        ----------
        tokens : ndarray of shape (n, S, C), float16, float32 or float64

        Returns
        -------
        EncodedTokens

        Raises
        ------
        ShapeError, NonFiniteError
            If the shape is another, or a value not finite.
        """
        coordinates, energies = [], []
        for image in self._images(tokens):
            centred = self.tokens.centred(image, "tokens")
            coordinates.append(self.tokens.coordinates(centred, "tokens"))
            energies.append(self.tokens.energies(centred, coordinates[-1]))
        return self._encoded(coordinates, tokens.shape[1], np.array(energies).reshape(-1, 2))

    def encode_projected(self, coordinates: FloatArray) -> EncodedTokens:
        """Return what is stored of tokens that are known by their coordinates only, as in a codec with more of them.

        Parameters
        ----------
        coordinates : ndarray of shape (n, S, d), float32 or float64
            Finite.

        Returns
        -------
        EncodedTokens
            Kept and total are both the sum of squares of the coordinates.

        Raises
        ------
        ShapeError
            If there is another number of coordinates.
        """
        require_ndim(coordinates, 3, "coordinates", "(n, S, d)")
        if coordinates.shape[2] != self.dimension:
            raise ShapeError(f"coordinates have shape {coordinates.shape}, the codec has {self.dimension} directions")
        wide = coordinates.astype(np.float64)
        energies = np.array([float(np.einsum("sd,sd->", image, image)) for image in wide])
        return self._encoded(list(wide), coordinates.shape[1], np.stack([energies, energies], axis=1))

    def _encoded(self, coordinates: list[Float64Array], positions: int, energies: Float64Array) -> EncodedTokens:
        columns = self.code_columns(positions)
        dtype, shape = columns["tokens"]
        codes = np.empty((len(coordinates), *shape), dtype=dtype)
        scales = np.empty((len(coordinates), positions), dtype=np.float32) if "scales" in columns else None
        for row, image in enumerate(coordinates):
            if scales is None:
                codes[row] = self._centroids.nearest(image)
                continue
            integers, scales[row] = round_tokens(image, LARGEST[self.spec.kind])
            codes[row] = integers if self.spec.kind == "int8" else pack_pairs(integers)
        return EncodedTokens(codes=codes, scales=scales, kept=energies[:, 0], total=energies[:, 1])

    @property
    def _centroids(self) -> Centroids:
        if self.centroids is None:
            raise ShapeError(f"codec {self.name} has no centroids")
        return self.centroids

    def decode(self, codes: NDArray[Any], scales: FloatArray | None) -> IntegerTokens:
        """Return the tokens that were stored.

        Parameters
        ----------
        codes, scales
            As `EncodedTokens` has them; for int8 they may lie in a mapped file, and are not copied.

        Returns
        -------
        IntegerTokens
            (n, S, d).

        Raises
        ------
        ShapeError
            If shape or dtype are not this codec's.
        """
        require_ndim(codes, 3, "codes", "(n, S, codes of a token)")
        columns = self.code_columns(codes.shape[1])
        dtype, shape = columns["tokens"]
        if codes.dtype != np.dtype(dtype) or codes.shape[1:] != shape or (scales is None) == ("scales" in columns):
            raise ShapeError(
                f"codes have shape {codes.shape} and dtype {codes.dtype}, codec {self.name} expects "
                f"{(len(codes), *shape)} and {np.dtype(dtype)}, {'with' if 'scales' in columns else 'without'} scales"
            )
        if scales is None:
            same = np.broadcast_to(np.float32(self._centroids.scale), codes.shape[:2])
            return IntegerTokens(integers=self._centroids.decode(codes), scales=same)
        return decode_scaled(self.spec, self.dimension, codes, scales)

    def tokens_of(self, tokens: FloatArray) -> IntegerTokens:
        """Return tokens as they will be read from an index: encoded and decoded.

        Parameters
        ----------
        tokens : ndarray of shape (n, S, C), float16, float32 or float64

        Returns
        -------
        IntegerTokens

        Raises
        ------
        ShapeError, NonFiniteError
            See `encode`.
        """
        encoded = self.encode(tokens)
        return self.decode(encoded.codes, encoded.scales)

    def encode_pooled(self, pooled: FloatArray) -> NDArray[np.float16]:
        """Return what is stored of pooled embeddings: centred, projected, times a power of two.

        Parameters
        ----------
        pooled : ndarray of shape (n, P), float16, float32 or float64

        Returns
        -------
        ndarray of shape (n, E), float16
            What would be beyond float16, thousands of times the largest of the fit, is cut to its largest number.

        Raises
        ------
        ShapeError, NonFiniteError
            If the shape is another, or a value not finite.
        """
        found = np.empty((len(pooled), self.pooled_out), dtype=np.float16)
        for row, one in enumerate(pooled):
            centred = self.pooled.centred(one[None], "pooled embedding")
            kept = self.pooled.coordinates(centred, "pooled embedding") if self.pooled.dimension else centred
            with np.errstate(over="ignore", under="ignore"):
                scaled = np.ldexp(kept[0], self.pooled_exponent)
                found[row] = np.clip(scaled, -_LARGEST_HALF, _LARGEST_HALF)
        return found

    @functools.cached_property
    def origin(self) -> Float32Array:
        """What was subtracted from all tokens, (d + 1,): its coordinates, and the length of what lies beside them.

        Written in the directions and in one more along the rest of the mean, tokens have all the inner products that
        the projected, uncentred ones have (as far as the directions are orthonormal).
        """
        mean = self.tokens.mean.astype(np.float64)[None]
        inside = self.tokens.coordinates(mean, "the mean")[0]
        rest = max(0.0, float(np.square(mean).sum() - np.square(inside).sum()))
        return np.append(inside, math.sqrt(rest)).astype(np.float32)

    def with_mean(self, tokens: IntegerTokens) -> Float32Array:
        """Return tokens with their mean, for comparisons that subtract none (centre ``none``).

        Where something is subtracted from all tokens anyway, `IntegerTokens.as_floats` will do.

        Parameters
        ----------
        tokens : IntegerTokens
            (n, S, d).

        Returns
        -------
        ndarray of shape (n, S, d + 1), float32
        """
        found = np.empty((*tokens.shape[:2], self.dimension + 1), dtype=np.float32)
        found[..., :-1] = tokens.scales[:, :, None] * tokens.integers + self.origin[:-1]
        found[..., -1] = self.origin[-1]
        return found


def decode_scaled(spec: CodecSpec, dimension: int, codes: NDArray[Any], scales: FloatArray) -> IntegerTokens:
    """Return tokens that were stored with scales: for these the name of the codec is enough.

    Parameters
    ----------
    spec : CodecSpec
        Of a codec of the kind ``int8`` or ``int4``.
    dimension : int
        The directions d that are really kept.
    codes : ndarray of shape (n, S, d), int8, or (n, S, ceil(d / 2)), uint8
    scales : ndarray of shape (n, S), float32

    Returns
    -------
    IntegerTokens
        (n, S, d); the codes themselves for int8.

    Raises
    ------
    NonFiniteError
        If a scale is NaN or infinite.
    """
    integers = codes if spec.kind == "int8" else unpack_pairs(codes, dimension)
    return IntegerTokens(integers=integers, scales=scales)


def code_columns(spec: CodecSpec, dimension: int, positions: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return dtype and shape, for one image, of what a codec stores of its tokens.

    Parameters
    ----------
    spec : CodecSpec
    dimension : int
        The directions d that are really kept.
    positions : int
        S.

    Returns
    -------
    dict of str to (str, tuple of int)
        ``tokens``, and ``scales`` but for a product quantiser; dtypes little-endian.
    """
    if spec.kind == "pq":
        return {"tokens": ("u1", (positions, spec.parts))}
    dtype, width = ("i1", dimension) if spec.kind == "int8" else ("u1", -(-dimension // 2))
    return {"tokens": (dtype, (positions, width)), "scales": ("<f4", (positions,))}


def statistics(tokens: IntegerTokens) -> tuple[Float32Array, Float64Array]:
    """Return the mean token and the Frobenius norm of each image.

    Parameters
    ----------
    tokens : IntegerTokens
        (n, S, d).

    Returns
    -------
    (ndarray of shape (n, d), float32, ndarray of shape (n,), float64)
        Norms are correctly rounded sums over the tokens, the same in any order of positions.
    """
    n, _, dimension = tokens.shape
    means, norms = np.zeros((n, dimension), dtype=np.float32), np.zeros(n)
    for row, (integers, scales) in enumerate(zip(tokens.integers, tokens.scales, strict=True)):
        wide = scales.astype(np.float64)
        means[row] = (wide[:, None] * integers).mean(axis=0) if len(wide) else 0
        squares = np.einsum("sd,sd->s", integers, integers, dtype=np.int64)
        norms[row] = math.sqrt(math.fsum(wide * wide * squares))
    return means, norms
