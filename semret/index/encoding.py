"""Features in the form in which a codec stores them, with what is stored beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from semret.arrays import FloatArray
from semret.index.codec.coarser import recode
from semret.index.codec.codec import Codec, EncodedTokens
from semret.index.store.layout import Rows, compact_statistics


def encode(codec: Codec, tokens: FloatArray, pooled: FloatArray) -> dict[str, NDArray[Any]]:
    """Encode the features of some images.

    Parameters
    ----------
    codec : Codec
    tokens : ndarray of shape (n, S, C), float16 or float32
    pooled : ndarray of shape (n, P), float32

    Returns
    -------
    dict of str to ndarray
        Fields of `semret.index.store.layout.Rows`: ``tokens``, ``scales`` of most codecs, ``means``, ``norms``,
        ``full_norms`` and ``pooled``.

    Raises
    ------
    ShapeError, NonFiniteError
        If a shape is another, or a value not finite.
    """
    return {**_stored(codec, codec.encode(tokens)), "pooled": codec.encode_pooled(pooled)}


def finish_encoding(codec: Codec, made: dict[str, NDArray[Any]], pooled: FloatArray) -> dict[str, NDArray[Any]]:
    """Finish what was begun on the network's device, see `semret.index.device_encoding.DeviceEncoder`.

    Parameters
    ----------
    codec : Codec
    made : dict of str to ndarray
        What the encoder made, n rows each.
    pooled : ndarray of shape (n, P), float32

    Returns
    -------
    dict of str to ndarray
        As `encode`, the same bytes.
    """
    if "coordinates" in made:
        codes, scales = codec.encode_projected(made["coordinates"]).codes, None
    else:
        codes, scales = made["tokens"], made["scales"]
    zeros = np.zeros(len(pooled))
    encoded = EncodedTokens(codes=codes, scales=scales, kept=zeros, total=made["totals"])
    return {**_stored(codec, encoded), "pooled": codec.encode_pooled(pooled)}


def encode_rows(codec: Codec, rows: Rows, before: Codec | None) -> Rows:
    """Encode rows of a segment anew.

    Parameters
    ----------
    codec : Codec
        The one that they are to be stored with.
    rows : Rows
    before : Codec or None
        The one that they are stored with, which `codec` was made coarser from; None where they are floats.

    Returns
    -------
    Rows
        The same images.
    """
    if before is None:
        encoded: dict[str, Any] = encode(codec, rows.tokens, rows.pooled)
    else:
        encoded = _stored(codec, recode(codec, before.decode(rows.tokens, rows.scales)))
        # What lay beyond the former directions is known by its norm alone.
        encoded = {**encoded, "pooled": rows.pooled, "full_norms": rows.full_norms}
    return Rows(**encoded, ids=rows.ids, sha256=rows.sha256, sizes=rows.sizes)


def _stored(codec: Codec, encoded: EncodedTokens) -> dict[str, Any]:
    return {
        "tokens": encoded.codes,
        "scales": encoded.scales,
        **compact_statistics(codec.decode(encoded.codes, encoded.scales)),
        "full_norms": np.sqrt(encoded.total).astype(np.float32),
    }
