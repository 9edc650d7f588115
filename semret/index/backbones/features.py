"""What a backbone gives for a batch of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array

if TYPE_CHECKING:
    from torch import Tensor

Shrink: TypeAlias = "Callable[[Tensor], dict[str, Tensor]]"
"""Makes of tokens (n, S, C), float32, on their device, what is to come back instead of them: tensors of n rows each.

Among them is ``open``, (n,), bool: of which images the tokens themselves are wanted.
"""


@dataclass(frozen=True)
class Features:
    """What a backbone gives for a batch of N images.

    Attributes
    ----------
    tokens : ndarray of shape (N, S, C), float32
        Patch vectors in row-major grid order, prefix tokens removed.
    pooled : ndarray of shape (N, D), float32
        One embedding per image.
    grid : (int, int)
        H and W with ``S = H * W``.
    logits : ndarray of shape (N, L), float32, or None
        Class scores before the softmax.
    """

    tokens: Float32Array
    pooled: Float32Array
    grid: tuple[int, int]
    logits: Float32Array | None = None

    def part(self, start: int, stop: int) -> Features:
        """Return the features of some images of the batch.

        Parameters
        ----------
        start, stop : int
            Their places.

        Returns
        -------
        Features
        """
        logits = None if self.logits is None else self.logits[start:stop]
        return Features(self.tokens[start:stop], self.pooled[start:stop], self.grid, logits)

    @classmethod
    def join(cls, parts: Sequence[Features]) -> Features:
        """Return the features of all images of several batches.

        Parameters
        ----------
        parts : sequence of Features
            At least one.

        Returns
        -------
        Features
        """
        logits = [part.logits for part in parts if part.logits is not None]
        return cls(
            tokens=np.concatenate([part.tokens for part in parts]),
            pooled=np.concatenate([part.pooled for part in parts]),
            grid=parts[0].grid,
            logits=np.concatenate(logits) if logits else None,
        )


@dataclass(frozen=True)
class Shrunk:
    """What a backbone gives for a batch of N images whose tokens stayed on its device.

    Attributes
    ----------
    made : dict of str to ndarray
        What a `Shrink` made of them, N rows each; not to be relied on for the images in `whole`.
    whole : dict of int to ndarray of shape (S, C), float32
        Place in the batch, and tokens, of the images that it left open.
    pooled, grid
        As in `Features`.
    """

    made: dict[str, NDArray[Any]]
    whole: dict[int, Float32Array]
    pooled: Float32Array
    grid: tuple[int, int]

    def part(self, start: int, stop: int) -> Shrunk:
        """Return what there is of some images of the batch.

        Parameters
        ----------
        start, stop : int
            Their places.

        Returns
        -------
        Shrunk
        """
        made = {name: array[start:stop] for name, array in self.made.items()}
        whole = {place - start: tokens for place, tokens in self.whole.items() if start <= place < stop}
        return Shrunk(made, whole, self.pooled[start:stop], self.grid)

    @classmethod
    def join(cls, parts: Sequence[Shrunk]) -> Shrunk:
        """Return what there is of all images of several batches.

        Parameters
        ----------
        parts : sequence of Shrunk
            At least one.

        Returns
        -------
        Shrunk
        """
        whole: dict[int, Float32Array] = {}
        before = 0
        for part in parts:
            whole |= {before + place: tokens for place, tokens in part.whole.items()}
            before += len(part.pooled)
        made = {name: np.concatenate([part.made[name] for part in parts]) for name in parts[0].made}
        return cls(made, whole, np.concatenate([part.pooled for part in parts]), parts[0].grid)
