"""Centres: what is subtracted from all maps before they are compared. Their names, their arrays, their computation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from semret.arrays import Float32Array, Float64Array, FloatArray, require_finite
from semret.errors import NonFiniteError

CENTERINGS = ("channel", "position", "none")
"""What can be subtracted: one vector from all tokens, one at each position, or nothing. The first is the default."""


@dataclass(frozen=True, kw_only=True)
class Center:
    """The means of a database, which are subtracted from queries and candidates alike; by default, of none.

    Attributes
    ----------
    mode : {"channel", "position", "none"}
    channel : ndarray of shape (C,), float32, or None
        Mean over all images and positions; for mode ``channel``.
    position : ndarray of shape (S, C), float32, or None
        Mean over all images; for mode ``position``.
    pooled : ndarray of shape (D,), float32, or None
        Mean pooled embedding; None for mode ``none``.
    """

    mode: str = "none"
    channel: Float32Array | None = None
    position: Float32Array | None = None
    pooled: Float32Array | None = None

    @property
    def tokens(self) -> Float32Array | None:
        """What is subtracted from tokens: ``position`` (S, C) if there is one, else ``channel`` (C,), else None."""
        return self.channel if self.position is None else self.position


def mean_map(parts: Iterable[FloatArray], mode: str, name: str = "the maps") -> Float64Array | None:
    """Average maps that come in parts, summed in float64.

    Parameters
    ----------
    parts : iterable of ndarray of shape (n, S, C)
        All of one S and C; n may differ.
    mode : {"channel", "position", "none"}
    name : str
        Names the maps in a message.

    Returns
    -------
    ndarray of shape (C,) or (S, C), float64, or None
        The mean token; the mean token at each position; None for ``none``, or where there are no maps.

    Raises
    ------
    NonFiniteError
        If a value is NaN or infinite, or the mean is beyond float64.

    Examples
    --------
    >>> import numpy as np
    >>> maps = np.array([[[1.0, 0.0], [3.0, 0.0]], [[5.0, 2.0], [3.0, 2.0]]])
    >>> mean_map([maps], "position").tolist()
    [[3.0, 1.0], [3.0, 1.0]]
    >>> mean_map([maps[:1], maps[1:]], "channel").tolist()
    [3.0, 1.0]
    """
    if mode == "none":
        return None
    total, count = np.zeros(()), 0
    for part in parts:
        require_finite(part, name)
        with np.errstate(over="ignore", invalid="ignore"):
            total = total + part.sum(axis=0, dtype=np.float64)
        count += len(part)
    if not np.isfinite(total).all():
        raise NonFiniteError(f"the mean of {name} overflows float64; divide it by a power of two first")
    if count == 0:
        return None
    mean = total / count
    return mean if mode == "position" else np.asarray(mean.mean(axis=0))
