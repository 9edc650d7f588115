"""The features of the images of a collection: row by row, their means, and as candidates for a rerank."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array, Float64Array, FloatArray, IndexVector
from semret.centers import CENTERINGS, Center
from semret.errors import UnknownNameError
from semret.index.codec.codec import Codec, decode_scaled
from semret.index.feature_rows import FeatureRows
from semret.index.segment_rows import SegmentRows
from semret.index.store.codec_file import read_codec
from semret.index.store.layout import mean_units
from semret.index.vectors import normalise
from semret.integer_tokens import IntegerTokens

_BLOCK = 1024
_BLOCK_BYTES = 2**26
_MEANS = {"channel": ("channel_sum", "means"), "position": ("position_sum", "tokens")}
"""The means that can be subtracted from tokens: the segments' sums that give them, and what these are sums of."""


class Features:
    """The features of N images, each at a row of a segment; read when they are taken.

    Parameters
    ----------
    stored : SegmentRows
        Where they are.
    """

    def __init__(self, stored: SegmentRows) -> None:
        self._stored = stored
        self._index, self._manifest = stored.index, stored.manifest
        self._known: dict[str, Float64Array] = {}

    def know(self, pooled: Float64Array | None, channel: Float64Array | None) -> None:
        """Take means over the images as they were found before, so that the segments need not be read for them.

        Parameters
        ----------
        pooled : ndarray of shape (D,), float64, or None
            Mean pooled embedding; None if it is to be computed.
        channel : ndarray of shape (C,), float64, or None
            Mean token; the same.
        """
        for name, mean in (("pooled_sum", pooled), ("channel_sum", channel)):
            if mean is not None and mean.shape == self._stored.column(name).shape:
                self._known[name] = mean

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._stored)

    @property
    def shape(self) -> tuple[int, int]:
        """``(S, C)`` of every image, as images are compared; with a codec, C is the number of its directions."""
        return self._manifest.map_shape

    @cached_property
    def codec(self) -> Codec | None:
        """What tokens and pooled embeddings are stored with; None where they are stored as they are.

        Raises
        ------
        IndexCorruptError
            If its file is missing or damaged.
        """
        entry = self._manifest.codec_file
        return None if entry is None else read_codec(self._index, entry)

    @property
    def _required_codec(self) -> Codec:
        if self.codec is None:
            raise ValueError("tokens are stored without a codec")
        return self.codec

    @cached_property
    def norms(self) -> Float64Array:
        """Frobenius norms of the stored tokens, (N,) float64."""
        return self.read_norms(np.arange(len(self)))

    @property
    def means(self) -> FeatureRows:
        """Mean tokens, (N, C) float32; rows are read when they are taken."""
        return FeatureRows(self.read_means, (len(self), self.shape[1]), "<f4")

    @property
    def pooled(self) -> FeatureRows:
        """Pooled embeddings as stored, (N, D) float32, or float16 with a codec; rows are read when they are taken."""
        column = self._stored.column("pooled")
        return FeatureRows(partial(self.read, "pooled"), (len(self), column.shape[1]), column.dtype)

    def read_tokens(self, rows: IndexVector) -> FloatArray | IntegerTokens:
        """Read the tokens of some images, as they are compared.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer
            As for `read`.

        Returns
        -------
        ndarray of shape (n, S, C), or IntegerTokens
            In the stored dtype; integers with a codec.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        found, entry = self.read("tokens", rows), self._manifest.codec_file
        if entry is None:
            return found
        if "scales" in self._manifest.token_columns:
            # The codec's file need not be read for these.
            return decode_scaled(entry.spec, entry.dimension, found, self.read("scales", rows))
        return self._required_codec.decode(found, None)

    def read_means(self, rows: IndexVector) -> Float32Array:
        """Read mean tokens of some images.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer
            As for `read`.

        Returns
        -------
        ndarray of shape (n, C), float32

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        found = self.read("means", rows)
        if self._manifest.codec_file is None:
            return found
        units = mean_units(self.read_norms(rows), self.shape[0])
        return (found * units[:, None]).astype(np.float32)

    def as_stored(self, tokens: FloatArray) -> FloatArray | IntegerTokens:
        """Return a network's tokens as they would be read from the index.

        Parameters
        ----------
        tokens : ndarray of shape (n, S, C), float32

        Returns
        -------
        ndarray of shape (n, S, C), or IntegerTokens
            In the stored dtype; integers with a codec.

        Raises
        ------
        ShapeError, NonFiniteError
            If the codec cannot encode them.
        """
        return tokens.astype(self._manifest.dtype) if self.codec is None else self.codec.tokens_of(tokens)

    def as_pooled(self, pooled: FloatArray) -> FloatArray:
        """Return a network's pooled embeddings, or those of sentences, as they would be read from the index.

        Parameters
        ----------
        pooled : ndarray of shape (n, P), float32

        Returns
        -------
        ndarray of shape (n, D), float32; float16 with a codec

        Raises
        ------
        ShapeError, NonFiniteError
            If the codec cannot encode them.
        """
        return pooled if self.codec is None else self.codec.encode_pooled(pooled)

    def uncentred(self, tokens: FloatArray | IntegerTokens) -> FloatArray | IntegerTokens:
        """Return stored tokens with the mean that a codec has subtracted from them.

        Parameters
        ----------
        tokens : ndarray of shape (n, S, C), or IntegerTokens
            As stored.

        Returns
        -------
        ndarray of shape (n, S, C), or of shape (n, S, C + 1) with a codec
            See `semret.index.codec.codec.Codec.with_mean`.
        """
        if self.codec is None or not isinstance(tokens, IntegerTokens):
            return tokens
        return self.codec.with_mean(tokens)

    def read(self, name: str, rows: IndexVector) -> NDArray[Any]:
        """Read features of some images.

        Parameters
        ----------
        name : {"tokens", "scales", "pooled", "means"}
        rows : ndarray of shape (n,), integer
            Positions from 0 to N - 1, in any order; one may come twice.

        Returns
        -------
        ndarray of shape (n, ...), in the stored dtype
            See `semret.index.store.layout.columns`.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        return self._stored.read(name, rows)

    def read_norms(self, rows: IndexVector) -> Float64Array:
        """Read Frobenius norms of the stored tokens of some images.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer
            As for `read`.

        Returns
        -------
        ndarray of shape (n,), float64

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        return self._stored.read_from_whole("norms", rows)

    def energies(self) -> tuple[float, float]:
        """Return the sums, over all rows of all segments, of squares of tokens as a codec stores them and as they were.

        Returns
        -------
        (float, float)

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        return self._stored.energies()

    def read_sizes(self, rows: IndexVector) -> NDArray[np.int32]:
        """Read width and height, in pixels, of some upright pictures.

        Parameters
        ----------
        rows : ndarray of shape (n,), integer
            As for `read`.

        Returns
        -------
        ndarray of shape (n, 2), int32

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        return self._stored.read_from_whole("sizes", rows)

    def center(self, mode: str = "channel") -> Center:
        """Return what to subtract before images are compared.

        Parameters
        ----------
        mode : {"channel", "position", "none"}

        Returns
        -------
        Center
            Without arrays for the mode ``none``, and where there are no images.

        Raises
        ------
        UnknownNameError
            If there is no such mode.
        IndexCorruptError
            If what is read is damaged.
        """
        if mode not in CENTERINGS:
            raise UnknownNameError(f"unknown centring {mode!r}; choose one of {', '.join(CENTERINGS)}")
        if mode == "none" or not len(self):
            return Center(mode=mode)
        if self._manifest.codec_file is not None:
            # A codec has subtracted the mean of the images that it was fitted on.
            return Center(mode=mode, position=self._position_mean if mode == "position" else None)
        pooled = self.pooled_mean.astype(np.float32)
        return Center(mode=mode, pooled=pooled, **{mode: self._mean(*_MEANS[mode]).astype(np.float32)})

    @cached_property
    def _position_mean(self) -> Float32Array:
        """Mean at each position of the tokens that a codec stores, (S, C): all of them are read for it."""
        step = max(1, _BLOCK_BYTES // (4 * self.shape[0] * self.shape[1]))
        total = np.zeros(self.shape)
        for start in range(0, len(self), step):
            part = self.read_tokens(np.arange(start, min(start + step, len(self))))
            values = part.as_floats() if isinstance(part, IntegerTokens) else part
            total += values.sum(axis=0, dtype=np.float64)
        return np.asarray(total / len(self), dtype=np.float32)

    @cached_property
    def pooled_mean(self) -> Float64Array:
        """What is subtracted from pooled embeddings for the shortlist, (D,) float64.

        The mean of all images, zeros where there are none; zeros with a codec, which has subtracted its own.
        """
        if self._manifest.codec_file is not None:
            return np.zeros(self._manifest.pooled_length)
        return self._mean("pooled_sum", "pooled")

    @cached_property
    def channel_mean(self) -> Float64Array:
        """Mean token, (C,) float64; zeros where there are no images."""
        return self._mean(*_MEANS["channel"])

    def _mean(self, total: str, rows: str) -> Float64Array:
        known = self._known.get(total)
        return self._stored.mean(total, rows) if known is None else known

    def unit_pooled(self) -> Float32Array:
        """Return the pooled embeddings as the shortlist compares them: the mean subtracted, scaled to length 1.

        Returns
        -------
        ndarray of shape (N, D), float32
            Zeros where an embedding is the mean itself.

        Raises
        ------
        IndexCorruptError
            If what is read is damaged.
        """
        mean = self.pooled_mean
        vectors = np.empty((len(self), len(mean)), dtype=np.float32)
        order = self._stored.in_order()
        for start in range(0, len(self), _BLOCK):
            rows = order[start : start + _BLOCK]
            vectors[rows] = normalise(self.read("pooled", rows), mean)
        return vectors
