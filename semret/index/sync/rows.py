"""From the features of a batch to the rows that are stored, or why they cannot be stored."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from semret._version import __version__
from semret.errors import BackboneError
from semret.index.backbones.features import Features, Shrunk
from semret.index.codec.codec import Codec
from semret.index.encoding import encode, finish_encoding
from semret.index.store.layout import Rows
from semret.index.store.manifest import Manifest
from semret.index.sync.loading import Loaded

DECODER = f"semret {__version__}, rules 2, Pillow {PIL.__version__}, pillow-heif {version('pillow-heif')}"
"""What decoded a file that was refused; when any of these versions changes, the file is tried again."""


def make_rows(manifest: Manifest, codec: Codec | None, batch: Sequence[Loaded], features: Features | Shrunk) -> Rows:
    """Bring the features of a batch into the form in which they are stored, with what is stored beside them.

    Parameters
    ----------
    manifest : Manifest
        Of the index: shapes and dtype.
    codec : Codec or None
        What tokens are stored with; None rounds them to the manifest's dtype.
    batch : sequence of Loaded
        N pictures.
    features : Features or Shrunk
        Theirs: tokens of shape (N, S, C) and pooled embeddings of shape (N, D), float32; or what `shrink_for` of the
        same manifest and codec made of them.

    Returns
    -------
    Rows
        N rows, see `semret.index.store.layout.columns`; the ids are 0 until `Changes.commit` sets them.

    Raises
    ------
    BackboneError
        If the network gave another shape than the manifest has, or a value that cannot be stored.
    """
    if isinstance(features, Shrunk):
        return _rows_of_shrunk(manifest, codec, batch, features)
    expected = (len(batch), *manifest.token_shape), (len(batch), manifest.identity.pooled_dim)
    found = features.tokens.shape, features.pooled.shape
    if found != expected:
        raise BackboneError(
            f"{manifest.identity.backbone} gave tokens and pooled embeddings of shapes {found[0]} and {found[1]}, "
            f"the index has {expected[0]} and {expected[1]}"
        )
    if not (np.isfinite(features.tokens).all() and np.isfinite(features.pooled).all()):
        raise BackboneError(_why_not_storable(manifest, batch, features))
    stored = _round(manifest, features) if codec is None else encode(codec, features.tokens, features.pooled)
    if not np.isfinite(stored["norms"]).all():
        raise BackboneError(_why_not_storable(manifest, batch, features))
    return _rows(batch, stored)


def _rows(batch: Sequence[Loaded], stored: dict[str, NDArray[Any]]) -> Rows:
    return Rows(
        **stored,
        ids=np.zeros(len(batch), dtype=np.int64),
        sha256=np.array([list(loaded.sha256 or b"") for loaded in batch], dtype=np.uint8),
        sizes=np.array([loaded.picture for loaded in batch], dtype=np.int32),
    )


def _rows_of_shrunk(manifest: Manifest, codec: Codec | None, batch: Sequence[Loaded], shrunk: Shrunk) -> Rows:
    """Return the same rows from what was made on a device; the images that it left open go the usual way, and first."""
    left: dict[int, Rows] = {}
    for place, tokens in shrunk.whole.items():
        image = Features(tokens[None], shrunk.pooled[place : place + 1], shrunk.grid)
        left[place] = make_rows(manifest, codec, batch[place : place + 1], image)
    if codec is None:
        stored = {**_with_statistics(shrunk.made["tokens"]), "pooled": shrunk.pooled}
    else:
        stored = finish_encoding(codec, shrunk.made, shrunk.pooled)
    for place, rows in left.items():
        for name, array in stored.items():
            if array is not None:
                array[place] = getattr(rows, name)[0]
    return _rows(batch, stored)


def _round(manifest: Manifest, features: Features) -> dict[str, NDArray[Any]]:
    """Return features as they are stored without a codec: means and norms are of the rounded tokens."""
    with np.errstate(over="ignore"):
        tokens = features.tokens.astype(manifest.dtype)
    return {**_with_statistics(tokens), "pooled": features.pooled.astype(np.float32)}


def _with_statistics(tokens: NDArray[Any]) -> dict[str, NDArray[Any]]:
    wide = tokens.astype(np.float64)
    with np.errstate(invalid="ignore"):
        means = wide.mean(axis=1).astype(np.float32)
    # Not by a product of vectors: the BLAS would wake threads of its own, which then keep a core busy with waiting.
    norms = np.sqrt(np.einsum("nsc,nsc->n", wide, wide))
    return {"tokens": tokens, "means": means, "norms": norms}


def _why_not_storable(manifest: Manifest, batch: Sequence[Loaded], features: Features) -> str:
    """Name the first picture whose features are not finite, or too large for the stored dtype."""
    name = manifest.identity.backbone
    largest = float(np.finfo(manifest.dtype).max)
    for loaded, given, pooled in zip(batch, features.tokens, features.pooled, strict=True):
        if not (np.isfinite(given).all() and np.isfinite(pooled).all()):
            return f"{name} gave NaN or infinity for {loaded.path}; report it, or use another model"
        peak = float(np.abs(given).max())
        if peak > largest:
            return (
                f"{name} gives values up to {peak:.3g} for {loaded.path}, beyond the range of {manifest.dtype}; "
                "index with --dtype float32 into another directory"
            )
    raise ValueError("all features are finite")
