"""Features as a codec would store them, to measure what it costs; elsewhere experiments work on full tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from semret.arrays import Float32Array
from semret.errors import ArgumentError
from semret.index.codec.codec import Codec
from semret.index.codec.fit import FIT_IMAGES, CodecFitter, spread
from semret.index.codec.table import parse
from semret.retrieval.similarity.sets import LAYOUTS, TILE_BYTES, RepresentationSet


class CodedMaps:
    """A set of representations that are encoded and decoded as they are read, for `semret.rsm`.

    Parameters
    ----------
    maps : RepresentationSet
        N maps of S tokens of C channels, in any layout.
    codec : Codec
        Fitted on such tokens.

    Attributes
    ----------
    shape : (int, int, int)
        ``(N, S, d + 1)``: the codec's directions, and one for what is left of the mean.
    dtype : dtype
        float32.
    positions : ndarray of shape (N,), intp, or None
        Tokens of each map, where maps differ.
    """

    def __init__(self, maps: RepresentationSet, codec: Codec) -> None:
        self._maps, self._codec = maps, codec
        self.shape = (*maps.shape[:2], codec.dimension + 1)
        self.dtype = np.dtype(np.float32)
        self.positions = maps.positions

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: slice) -> Float32Array:
        """Return some maps, (n, S, d + 1): inner products are those of the tokens as decoded, mean included."""
        return self._codec.with_mean(self._codec.tokens_of(self._maps.read(rows)))


def fit_codec(maps: RepresentationSet, name: str) -> Codec:
    """Fit a codec on maps that are spread evenly over a set.

    Parameters
    ----------
    maps : RepresentationSet
        At least one map.
    name : str
        See `semret.index.codec.table.parse`.

    Returns
    -------
    Codec

    Raises
    ------
    ArgumentError, UnknownNameError
        If there is no such codec, it is ``none``, or it does not suit the number of channels; if there is no map.
    NonFiniteError
        If a token is not finite.
    """
    spec = parse(name)
    if spec is None or not len(maps):
        raise ArgumentError(f"codec {name} cannot be fitted on {len(maps)} maps; leave the codec out")
    channels = maps.shape[2]
    fitter = CodecFitter(spec, channels, channels, pooled_directions=None)
    for place in spread(len(maps), FIT_IMAGES):
        tokens = maps.read(slice(place, place + 1))
        fitter.add(tokens, tokens.mean(axis=1, dtype=np.float64).astype(np.float32))
    return fitter.finish()


def coded(data: Any, name: str, *others: Any, layout: str = LAYOUTS[0], prefix_tokens: int = 0) -> list[CodedMaps]:
    """Encode sets of representations with a codec that is fitted on the last of them.

    Parameters
    ----------
    data : array_like of N representations in the given layout
        See `semret.rsm`.
    name : str
        Of the codec.
    *others : array_like
        More sets, of the same number of channels.
    layout, prefix_tokens
        See `semret.rsm`.

    Returns
    -------
    list of CodedMaps
        One for each set, in layout NSC without prefix tokens.

    Raises
    ------
    ShapeError, ArgumentError, UnknownNameError, NonFiniteError
        If a set does not fit its layout or the codec, or `fit_codec` raises it.
    """
    sets = [
        RepresentationSet(one, f"set {number}", layout, prefix_tokens, TILE_BYTES)
        for number, one in enumerate((data, *others), start=1)
    ]
    codec = fit_codec(sets[-1], name)
    return [CodedMaps(one, codec) for one in sets]
