"""What people are told of the codec of an index."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from semret.index.codec.codec import Codec

REFIT_LOSS = 1.12
"""A refit would pay when so many times the share of energy is lost that was lost at the fit, and `REFIT_LEAST` more."""

REFIT_LEAST = 0.01


@dataclass(frozen=True, kw_only=True)
class Description:
    """The codec of an index in numbers.

    Attributes
    ----------
    name : str
    channels, directions : int
        Of a token, as the network gives it and as it is stored.
    bytes : int
        Of a stored map.
    fit_images : int
        What the codec was fitted on.
    energy_fit, energy_now : float
        Share of the energy of the centred tokens that lies in the kept directions: of the images of the fit, and of
        those that are indexed now. NaN where there is no energy, or nothing is indexed.
    """

    name: str
    channels: int
    directions: int
    bytes: int
    fit_images: int
    energy_fit: float
    energy_now: float

    @property
    def refit_pays(self) -> bool:
        """Whether the images that are indexed now differ so much from those of the fit that a new index is better."""
        return 1 - self.energy_now > REFIT_LOSS * (1 - self.energy_fit) + REFIT_LEAST


def describe(codec: Codec, positions: int, *, kept: float = 0.0, total: float = 0.0) -> Description:
    """Describe the codec of an index.

    Parameters
    ----------
    codec : Codec
    positions : int
        S of a map.
    kept, total : float
        Sums over all images that are indexed of what `semret.index.codec.codec.EncodedTokens` gives.

    Returns
    -------
    Description
    """
    columns = codec.code_columns(positions).values()
    return Description(
        name=codec.name,
        channels=codec.channels,
        directions=codec.dimension,
        bytes=sum(math.prod(shape) * np.dtype(dtype).itemsize for dtype, shape in columns),
        fit_images=codec.fitted.images,
        energy_fit=_share(codec.fitted.kept, codec.fitted.total),
        energy_now=_share(kept, total),
    )


def _share(kept: float, total: float) -> float:
    """Return a share of energy, at most 1: rounded directions may be a little too long."""
    return min(1.0, kept / total) if total > 0 else math.nan
