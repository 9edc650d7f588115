"""Fitting a codec on the features of some images: means, principal directions, and centroids."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from semret.arrays import Float32Array, Float64Array, FloatArray, require_finite
from semret.errors import ArgumentError, ShapeError
from semret.index.codec.codec import Codec, Fitted
from semret.index.codec.eigenvectors import one_blas_thread, principal_directions
from semret.index.codec.moments import Moments
from semret.index.codec.projection import Projection, on_grid
from semret.index.codec.quantiser import train_centroids
from semret.index.codec.rounding import Centroids
from semret.index.codec.table import CodecSpec, check_parts

FIT_IMAGES = 256
"""Images that a codec is fitted on, spread evenly over what is to be indexed, where there are so many."""

POOLED_DIRECTIONS = 256
"""Directions that are kept of a pooled embedding."""

_SAMPLED = 64
_TOKEN_SHARE = 1e-3


def spread(count: int, wanted: int) -> list[int]:
    """Choose things that are spread evenly over all there are.

    Parameters
    ----------
    count : int
        How many there are.
    wanted : int

    Returns
    -------
    list of int
        Up to `wanted` different places from 0 to ``count - 1``, ascending: all where there are no more.
    """
    places = np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(int))
    return [int(place) for place in places]


class CodecFitter:
    """Gather what a codec is fitted on, image by image, and fit it.

    Several threads may add images at a time. The codec is the same, bit for bit, in whatever order they come.

    Parameters
    ----------
    spec : CodecSpec
    channels : int
        C of the tokens.
    pooled : int
        P, length of the pooled embeddings.
    pooled_directions : int or None
        Directions that are kept of them; None keeps them whole, as where sentences are compared with them.
    """

    def __init__(
        self, spec: CodecSpec, channels: int, pooled: int, *, pooled_directions: int | None = POOLED_DIRECTIONS
    ) -> None:
        self.spec = spec
        self._shape = (channels, pooled)
        self._pooled_directions = pooled_directions
        self._tokens = Moments(channels)
        self._sample: list[Float32Array] = []
        self._embeddings: list[Float64Array] = []

    def __len__(self) -> int:
        return len(self._embeddings)

    def add(self, tokens: FloatArray, pooled: FloatArray) -> None:
        """Add images.

        Parameters
        ----------
        tokens : ndarray of shape (n, S, C), float16, float32 or float64
        pooled : ndarray of shape (n, P), float16, float32 or float64

        Raises
        ------
        ShapeError
            If the shapes are others.
        NonFiniteError
            If a value is NaN or infinite.
        """
        if tokens.ndim != 3 or pooled.ndim != 2 or (tokens.shape[2], pooled.shape[1]) != self._shape:
            raise ShapeError(
                f"tokens and pooled embeddings have shapes {tokens.shape} and {pooled.shape}, "
                f"expected (n, S, {self._shape[0]}) and (n, {self._shape[1]})"
            )
        for image, embedding in zip(tokens, pooled, strict=True):
            require_finite(image, "tokens")
            require_finite(embedding, "pooled embedding")
            self._tokens.add(image)
            if self.spec.kind == "pq":
                chosen = np.linspace(0, len(image) - 1, min(len(image), _SAMPLED)).round().astype(np.intp)
                self._sample.append(image[chosen].astype(np.float32))
            self._embeddings.append(embedding.astype(np.float64))

    def finish(self) -> Codec:
        """Return the codec of what was added.

        Returns
        -------
        Codec

        Raises
        ------
        ArgumentError
            If nothing was added, or a product quantiser's parts do not divide the directions that there are.
        """
        if not self._tokens.count:
            raise ArgumentError(f"codec {self.spec.name} is fitted on no tokens, expected at least one image")
        dimension = min(self.spec.dimension, self._shape[0])
        if self.spec.kind == "pq":
            check_parts(self.spec.name, self.spec.parts, dimension)
        scatter = self._tokens.scatter()
        with one_blas_thread(), ThreadPoolExecutor(1, thread_name_prefix="semret-fit") as beside:
            # Two eigenvalue problems of the same size, each on a thread of its own.
            awaited = beside.submit(self._pooled_projection, scatter)
            tokens = Projection(
                mean=self._tokens.mean().astype(np.float32),
                directions=on_grid(principal_directions(scatter, dimension)),
            )
            wide = tokens.directions.astype(np.float64)
            kept = float(np.einsum("dc,dc->", wide @ scatter, wide))
            pooled = awaited.result()
        return Codec(
            spec=self.spec,
            tokens=tokens,
            pooled=pooled,
            pooled_exponent=self._pooled_exponent(pooled),
            centroids=self._centroids(tokens) if self.spec.kind == "pq" else None,
            fitted=Fitted(images=len(self), kept=max(kept, 0.0), total=max(float(np.trace(scatter)), 0.0)),
        )

    def _centroids(self, tokens: Projection) -> Centroids:
        # What is trained depends on the order; that of their digests is the images' own.
        images = sorted(self._sample, key=lambda image: hashlib.sha256(image.tobytes()).digest())
        sample = [tokens.coordinates(tokens.centred(image, "tokens"), "tokens") for image in images]
        return train_centroids(np.concatenate(sample), self.spec.parts)

    def _pooled_projection(self, scatter: Float64Array) -> Projection:
        moments = Moments(self._shape[1])
        moments.add(np.array(self._embeddings))
        mean = moments.mean().astype(np.float32)
        wanted = self._pooled_directions
        if wanted is None or wanted >= len(mean):
            return Projection(mean=mean, directions=np.empty((0, len(mean)), dtype=np.float16))
        own = moments.scatter()
        if self._shape[0] == self._shape[1] and (energy := float(np.trace(scatter))) > 0:
            # Fewer images than directions say nothing of the rest; the channels are the tokens', whose scatter does.
            own += scatter * (_TOKEN_SHARE * float(np.trace(own)) / energy)
        return Projection(mean=mean, directions=on_grid(principal_directions(own, wanted)))

    def _pooled_exponent(self, pooled: Projection) -> int:
        """Return the power of two that brings the largest stored number of the fit between 1/2 and 1."""
        largest = 0.0
        for embedding in self._embeddings:
            centred = pooled.centred(embedding[None], "pooled embedding")
            found = pooled.coordinates(centred, "pooled embedding") if pooled.dimension else centred
            largest = max(largest, float(np.abs(found).max(initial=0)))
        return -int(np.frexp(largest)[1])
