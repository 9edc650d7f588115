"""From a codec to a coarser one, by what is stored alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from semret.arrays import Float64Array
from semret.errors import ArgumentError
from semret.index.codec.codec import Codec, EncodedTokens
from semret.index.codec.projection import Projection
from semret.index.codec.quantiser import train_centroids
from semret.index.codec.table import CodecSpec, check_parts, may_become
from semret.integer_tokens import IntegerTokens


def coarser_codec(codec: Codec, spec: CodecSpec, sample: IntegerTokens) -> Codec:
    """Return the codec that goes on with the leading directions of another; queries are encoded by it as well.

    Its tokens are made from stored ones by `recode`.

    Parameters
    ----------
    codec : Codec
        What tokens are stored with.
    spec : CodecSpec
        Coarser, see `semret.index.codec.table.may_become`.
    sample : IntegerTokens
        Stored tokens of some images, for the centroids of a product quantiser; at least one image.

    Returns
    -------
    Codec
        Pooled embeddings stay as they are. The energy kept at the fit is reckoned from the sample's.

    Raises
    ------
    ArgumentError
        If it is not coarser, or its parts do not divide its directions.
    """
    if not may_become(codec.name, spec.name):
        raise ArgumentError(
            f"tokens stored with codec {codec.name} cannot become {spec.name}, expected a coarser one; "
            "index the pictures again into another directory"
        )
    dimension = min(spec.dimension, codec.dimension)
    rows = _coordinates(sample)
    tokens = Projection(mean=codec.tokens.mean, directions=codec.tokens.directions[:dimension])
    centroids = None
    if spec.kind == "pq":
        check_parts(spec.name, spec.parts, dimension)
        centroids = train_centroids(rows[..., :dimension].reshape(-1, dimension), spec.parts)
    whole, leading = float(np.square(rows).sum()), float(np.square(rows[..., :dimension]).sum())
    share = leading / whole if whole > 0 else 1.0
    return Codec(
        spec=spec,
        tokens=tokens,
        pooled=codec.pooled,
        pooled_exponent=codec.pooled_exponent,
        centroids=centroids,
        fitted=replace(codec.fitted, kept=codec.fitted.kept * share),
    )


def recode(codec: Codec, stored: IntegerTokens) -> EncodedTokens:
    """Return what a coarser codec stores of tokens that another stored.

    Parameters
    ----------
    codec : Codec
        As `coarser_codec` gave it.
    stored : IntegerTokens
        (n, S, d) of the codec that it came from.

    Returns
    -------
    EncodedTokens
        Kept is of its own directions, total of all that were stored: what lies beyond those is not known any more.
    """
    rows = _coordinates(stored)
    encoded = codec.encode_projected(rows[..., : codec.dimension])
    return replace(encoded, total=np.einsum("nsd,nsd->n", rows, rows))


def _coordinates(tokens: IntegerTokens) -> Float64Array:
    return np.asarray(tokens.scales[:, :, None].astype(np.float64) * tokens.integers)
