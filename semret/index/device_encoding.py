"""What an index stores of tokens, made on the device where the network gave them: the same bytes as `encoding` makes.

Only a fraction of what the network gives then comes back. Every step either is exact whatever the order of its sums
(projections, see `semret.index.codec.projection`), or rounds each number by itself as IEEE 754 says, as NumPy does.
One number is neither, the sum of squares of all tokens, of which the square root is stored in float32: where its last
bits could round another way, the image is left open, and encoded by the processor. So are images that cannot be stored,
for the processor knows what to say of them.

Not for devices without float64.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from semret.index.backbones.features import Shrink
from semret.index.codec.codec import Codec
from semret.index.codec.projection import GRID, Projection
from semret.index.codec.rounding import LARGEST
from semret.index.store.manifest import Manifest

_NUMBERS = 2**21
"""Numbers in float64 that are worked on at a time: a few pictures."""

_BIAS = 1023
_FRACTION = 52
_LARGEST_SINGLE = float(np.finfo(np.float32).max)


def shrink_for(manifest: Manifest, codec: Codec | None) -> Shrink | None:
    """Return what makes of tokens on a device what the index stores of them.

    Parameters
    ----------
    manifest : Manifest
    codec : Codec or None
        Of the index.

    Returns
    -------
    Shrink or None
        None where the tokens have to come back as they are: stored in float32, or until there is a codec.
    """
    if codec is not None:
        return _encoder(codec)
    return round_to_half if manifest.codec == "none" and manifest.dtype == "float16" else None


@functools.lru_cache(maxsize=1)
def _encoder(codec: Codec) -> DeviceEncoder:
    """Return the same encoder for batch after batch: what it keeps on the device is copied there once."""
    return DeviceEncoder(codec)


def round_to_half(tokens: Tensor) -> dict[str, Tensor]:
    """Round tokens to float16; images with numbers beyond it are left open.

    Parameters
    ----------
    tokens : Tensor of shape (n, S, C), float32

    Returns
    -------
    dict of str to Tensor
        ``tokens`` (n, S, C), float16, and ``open`` (n,), bool.
    """
    halves = tokens.half()
    return {"tokens": halves, "open": ~torch.isfinite(halves).flatten(1).all(1)}


class DeviceEncoder:
    """Encodes tokens on their device, as `Codec.encode` does.

    Parameters
    ----------
    codec : Codec
        Of a product quantiser only the coordinates are made here.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._projection: _OnDevice | None = None

    def __call__(self, tokens: Tensor) -> dict[str, Tensor]:
        """Encode the tokens of some images.

        Parameters
        ----------
        tokens : Tensor of shape (n, S, C), float32
            n at least 1. What comes of NaN and infinity is left open.

        Returns
        -------
        dict of str to Tensor
            ``tokens`` and ``scales`` as in `EncodedTokens`, or ``coordinates`` (n, S, d), float64, for a product
            quantiser; ``totals`` (n,), float64; ``open`` (n,), bool.
        """
        if self._projection is None or self._projection.mean.device != tokens.device:
            self._projection = _OnDevice(self._codec.tokens, tokens.device)
        images = max(1, _NUMBERS // (tokens.shape[1] * tokens.shape[2]))
        parts = [self._encode(self._projection, part) for part in torch.split(tokens, images)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _encode(self, projection: _OnDevice, tokens: Tensor) -> dict[str, Tensor]:
        centred = tokens.double() - projection.mean
        coordinates = projection.coordinates(centred)
        totals = (centred * centred).sum((1, 2))
        # Twice what sums in any two orders can differ by: each term of each is rounded as often as there are terms.
        slack = 4 * centred[0].numel() * 2.0**-53
        low, high = (torch.sqrt(totals * bound).float() for bound in (1 - slack, 1 + slack))
        fits = coordinates.abs().amax((1, 2)) <= _LARGEST_SINGLE
        coordinates = torch.where(fits[:, None, None], coordinates, 0.0)
        found = {"totals": torch.where(fits, totals, 0.0), "open": ~(fits & (low == high))}
        kind = self._codec.spec.kind
        return found | ({"coordinates": coordinates} if kind == "pq" else _rounded(coordinates, kind))


class _OnDevice:
    """A `Projection` whose numbers lie on a device."""

    def __init__(self, projection: Projection, device: torch.device) -> None:
        self.mean = torch.from_numpy(projection.mean.astype(np.float64)).to(device)
        self._columns = torch.from_numpy(np.array(projection.columns)).to(device)
        self._bits = projection.bits

    def coordinates(self, centred: Tensor) -> Tensor:
        """Return what `Projection.coordinates` does of each image."""
        exponents = _exponents(centred.abs().amax((1, 2))) - self._bits
        integers = torch.round(centred * _powers(-exponents))
        return (integers @ self._columns) * _powers(exponents - GRID)


def _exponents(values: Tensor) -> Tensor:
    """Return the exponents that frexp gives of numbers from 0, float64, none of them subnormal."""
    exponents = (values.view(torch.int64) >> _FRACTION) - (_BIAS - 1)
    return torch.where(values > 0, exponents, 0)


def _powers(exponents: Tensor) -> Tensor:
    """Return powers of two as (n, 1, 1), made of their bits: no device rounds them."""
    return ((exponents.clamp(-_BIAS + 1, _BIAS) + _BIAS) << _FRACTION).view(torch.float64)[:, None, None]


def _rounded(coordinates: Tensor, kind: str) -> dict[str, Tensor]:
    """Do as `semret.index.codec.rounding.round_tokens` and `pack_pairs` do, for n images."""
    # A divisor that is a number of Python is multiplied by its inverse on a card, which rounds twice.
    largest = torch.full((1,), LARGEST[kind], dtype=torch.float64, device=coordinates.device)
    scales = (coordinates.abs().amax(2) / largest).float()
    wide = scales.double()[:, :, None]
    quotients = torch.where(wide > 0, coordinates / torch.where(wide > 0, wide, 1.0), 0.0)
    integers = torch.round(quotients).clamp(-LARGEST[kind], LARGEST[kind]).to(torch.int8)
    return {"tokens": integers if kind == "int8" else _packed(integers), "scales": scales}


def _packed(integers: Tensor) -> Tensor:
    nibbles = integers.view(torch.uint8) & 15
    packed = nibbles[..., ::2].clone()
    packed[..., : nibbles.shape[-1] // 2] |= nibbles[..., 1::2] << 4
    return packed
