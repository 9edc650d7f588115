"""Batches that do not fit into memory are run in parts."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from semret.arrays import Float32Array
from semret.errors import BackboneError
from semret.index.backbones.spec import Features

logger = logging.getLogger(__name__)

_COMPLAINTS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


def embed_what_fits(embed: Callable[[Float32Array], Features], batch: Float32Array, backbone: str) -> Features:
    """Run `embed` on a batch; where memory runs out, on its halves, and so on down to single images.

    Parameters
    ----------
    embed : callable
        From (n, 3, H, W) to `Features`.
    batch : ndarray of shape (N, 3, H, W), float32
        N at least 1.
    backbone : str
        Name for messages.

    Raises
    ------
    BackboneError
        If a single image does not fit.
    """
    try:
        return embed(batch)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if len(batch) == 1:
            height, width = batch.shape[2:]
            raise BackboneError(
                f"{backbone} runs out of memory on one picture of {height}x{width}; "
                "choose a smaller --size, a smaller model, or --device cpu"
            ) from error
    # Outside the handler, so that the failed attempt's tensors are gone before the next one starts.
    half = len(batch) // 2
    logger.warning("out of memory at %d images per batch, trying %d", len(batch), half)
    return _join([embed_what_fits(embed, part, backbone) for part in (batch[:half], batch[half:])])


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory ran out, on whichever device; torch has no one class for it."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _COMPLAINTS)


def _join(parts: list[Features]) -> Features:
    logits = [part.logits for part in parts if part.logits is not None]
    return Features(
        tokens=np.concatenate([part.tokens for part in parts]),
        pooled=np.concatenate([part.pooled for part in parts]),
        grid=parts[0].grid,
        logits=np.concatenate(logits) if logits else None,
    )
