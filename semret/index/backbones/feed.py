"""Batches on their way to a device and back, several at a time, so that the device never waits for the processor.

Each thread that feeds the device has a lane: buffers that the device reaches by itself (pinned), and a stream for
copies. A lane gathers its pictures, has them copied while the batch of another lane is computed, queues the network
behind that one, and has copied back what came out while the next one runs. The passes themselves are queued one at a
time on the device's own stream, so that activations take the memory of one batch, however many lanes there are.

On a device without streams the same steps are done one after another; on the processor that is how they are tested.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semret.arrays import Float32Array
from semret.errors import ShapeError
from semret.index.backbones.features import Features, Shrink, Shrunk
from semret.index.backbones.memory import embed_what_fits
from semret.index.backbones.spec import Feed

LANES = 3
"""Batches on their way: one going there, one in the network, one coming back."""


class OnDevice(NamedTuple):
    """What the network gave for a batch, on its device.

    Attributes
    ----------
    tokens : Tensor of shape (n, S, C), float32
    others : dict of str to Tensor
        What comes back whatever is made of the tokens, n rows each.
    grid : (int, int)
    """

    tokens: Tensor
    others: dict[str, Tensor]
    grid: tuple[int, int]


class Reading(NamedTuple):
    """What is made of `OnDevice.others` once they are back.

    Attributes
    ----------
    pooled : ndarray of shape (n, D), float32
    logits : ndarray of shape (n, L), float32, or None
    """

    pooled: Float32Array
    logits: Float32Array | None


class DeviceFeed(Feed):
    """Feeds a network on a device, from up to `lanes` threads at a time.

    Parameters
    ----------
    run : callable
        Runs the network on a tensor (n, 3, H, W) of the device.
    read : callable
        Makes pooled embeddings and logits of `OnDevice.others`, and refuses what is not finite.
    device : torch.device
    size : (int, int)
        Height and width of the network's input.
    batch_size : int
        Most pictures in a batch.
    lanes : int
    name : str
        Of the network, for messages.
    """

    def __init__(
        self,
        run: Callable[[Tensor], OnDevice],
        read: Callable[[dict[str, NDArray[Any]]], Reading],
        *,
        device: torch.device,
        size: tuple[int, int],
        batch_size: int,
        lanes: int,
        name: str,
    ) -> None:
        self._run, self._read, self._name = run, read, name
        self._size = size
        self._shrinks = device.type != "mps"  # which has no float64
        self._passes = threading.Lock()
        self._free: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
        for _ in range(lanes):
            self._free.put(_Lane(device, (batch_size, *size, 3)))

    def embed(self, pictures: Sequence[Float32Array], shrink: Shrink | None) -> Features | Shrunk:
        """Run the network on a batch; see `Feed.embed`.

        Parameters
        ----------
        pictures : sequence of ndarray of shape (3, H, W), float32
            N of them, as many as `batch_size` at most.
        shrink : Shrink or None

        Returns
        -------
        Features or Shrunk

        Raises
        ------
        ShapeError
            If a picture does not have the shape of the network's input.
        BackboneError
            If not even one picture fits into memory, or what the network gives is not finite.
        """
        expected = (3, *self._size)
        for picture in pictures:
            if picture.shape != expected:
                raise ShapeError(f"a picture has shape {picture.shape}, {self._name} expects {expected}")
        shrink = shrink if self._shrinks else None
        lane = self._free.get()
        try:
            batch = lane.gather(pictures)
            return embed_what_fits(lambda part: self._embed(lane, part, shrink), batch, self._name)
        finally:
            lane.settle()
            self._free.put(lane)

    def _embed(self, lane: _Lane, batch: Tensor, shrink: Shrink | None) -> Features | Shrunk:
        images = lane.send(batch)
        with self._passes, torch.inference_mode(), lane.computing(images):
            found = self._run(images)
            made = {"tokens": found.tokens} if shrink is None else shrink(found.tokens)
        # As long as names refer to it, the memory of a tensor goes to no other batch.
        back = lane.fetch({**{f"other {name}": tensor for name, tensor in found.others.items()}, **made})
        pooled, logits = self._read({name: back.pop(f"other {name}") for name in found.others})
        if shrink is None:
            return Features(back["tokens"], pooled, found.grid, logits)
        left = [int(place) for place in np.flatnonzero(back.pop("open"))]
        whole = {place: lane.fetch({"whole": found.tokens[place]})["whole"] for place in left}
        return Shrunk(back, whole, pooled, found.grid)


class _Lane:
    """Buffers and a stream of copies, for one thread at a time.

    Parameters
    ----------
    device : torch.device
    shape : (int, int, int, int)
        Of the largest batch, channels last.
    """

    def __init__(self, device: torch.device, shape: tuple[int, int, int, int]) -> None:
        self._device = device
        self._pinned = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._pinned else None  # type: ignore[no-untyped-call]
        self._inputs = self._new(shape, torch.float32)
        self._outputs: dict[str, Tensor] = {}

    def gather(self, pictures: Sequence[Float32Array]) -> Tensor:
        """Copy pictures into the buffer, and return it as (n, 3, H, W)."""
        batch = self._inputs[: len(pictures)]
        for picture, place in zip(pictures, batch.numpy(), strict=True):
            place[:] = picture.transpose(1, 2, 0)
        return batch.permute(0, 3, 1, 2)

    def send(self, batch: Tensor) -> Tensor:
        """Begin to copy a batch, or a part of one, to the device."""
        with self._copying():
            images = batch.permute(0, 2, 3, 1).to(self._device, non_blocking=self._pinned)
        return images.permute(0, 3, 1, 2)

    @contextlib.contextmanager
    def computing(self, images: Tensor) -> Iterator[None]:
        """Let what is queued in this block wait for the copy, and copies back wait for it."""
        if self._stream is None:
            yield
            return
        passes = torch.cuda.default_stream(self._device)
        with torch.cuda.stream(passes):
            passes.wait_stream(self._stream)
            images.record_stream(passes)
            yield
            self._stream.wait_stream(passes)

    def fetch(self, tensors: dict[str, Tensor]) -> dict[str, NDArray[Any]]:
        """Copy tensors back, wait for that, and return arrays of their own."""
        with self._copying():
            whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
            copied = {
                name: self._buffer(name, tensor).copy_(tensor, non_blocking=self._pinned)
                for name, tensor in whole.items()
            }
        self.settle()
        return {name: tensor.numpy().copy() for name, tensor in copied.items()}

    def settle(self) -> None:
        """Wait for all copies, without keeping a core or the interpreter busy."""
        if self._stream is not None:
            event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            event.record(self._stream)
            event.synchronize()

    def _copying(self) -> AbstractContextManager[Any]:
        return contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _buffer(self, name: str, like: Tensor) -> Tensor:
        """Return a buffer of the same shape; it is kept for the next batch."""
        kept = self._outputs.get(name)
        if kept is None or kept.dtype != like.dtype or kept.shape[1:] != like.shape[1:] or len(kept) < len(like):
            kept = self._outputs[name] = self._new(like.shape, like.dtype)
        return kept[: len(like)]

    def _new(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        if self._pinned:
            with contextlib.suppress(RuntimeError):  # no memory that can be pinned: copies are slower without
                return torch.empty(shape, dtype=dtype, pin_memory=True)
        return torch.empty(shape, dtype=dtype)
