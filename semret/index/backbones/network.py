"""A torch network as a backbone: its layers are its tokens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semret.arrays import Float32Array
from semret.errors import BackboneError, ShapeError
from semret.forked import settle_torch
from semret.index.backbones.device import check_autocast, pick_device
from semret.index.backbones.features import Features
from semret.index.backbones.feed import LANES, DeviceFeed, OnDevice, Reading
from semret.index.backbones.layers import LayerMap, LayerReader, Outputs, Wiring, resolve_layer, run_layers
from semret.index.backbones.memory import embed_what_fits, freed_memory_is_kept, share_out
from semret.index.backbones.pooling import POOLINGS, pool, pool_sums
from semret.index.backbones.preprocess import prepare_image
from semret.index.backbones.spec import Backbone, BackboneSpec, Identity, LoadOptions, Preprocessing, Streams
from semret.index.backbones.tracing import outline

if TYPE_CHECKING:
    from PIL import Image


class TorchBackbone(Backbone):
    """A network with its wiring, preprocessing and device.

    Parameters
    ----------
    spec : BackboneSpec
        Row of the registry.
    network : torch.nn.Module
        Weights loaded; moved to the device and put into evaluation mode here.
    wiring : Wiring
        How to read it.
    preprocessing : Preprocessing
        Including the caller's size and geometry.
    options : LoadOptions
        Layer, device and precision are taken from here; the rest was used when the network was built.
    weights_sha256, revision : str
        Which weights these are.

    Raises
    ------
    BackboneError
        If the network does not take the input size, or has no such layer.
    """

    def __init__(
        self,
        *,
        spec: BackboneSpec,
        network: nn.Module,
        wiring: Wiring,
        preprocessing: Preprocessing,
        options: LoadOptions,
        weights_sha256: str,
        revision: str | None = None,
    ) -> None:
        self.spec = spec
        self.preprocessing = preprocessing
        self._wiring = wiring
        self._process = os.getpid()
        self._device = pick_device(options.device)
        self._pooling = options.pooled or spec.pooled
        self._autocast = check_autocast(options.autocast, self._device)
        self.feeds = self._device.type != "cpu"
        wanted = spec.layer if options.layer is None else options.layer
        self._layer, self._path = resolve_layer(wanted, wiring.layers, network, spec.name)
        self._network = place(network.eval().requires_grad_(False), self._device)
        outline = self._outline()
        self.identity = Identity(
            backbone=spec.name,
            family=spec.family,
            checkpoint=spec.checkpoint,
            revision=revision,
            weights_sha256=weights_sha256,
            preprocessing=preprocessing,
            layer=self._layer,
            pooled=self._pooling,
            prefix_tokens=int(outline[0].prefix.shape[1]),
            grid=outline[0].grid,
            channels=int(outline[0].tokens.shape[2]),
            pooled_dim=int(self._pooled(*outline).shape[1]),
            autocast=self._autocast,
        )
        self._reader = LayerReader(self._network, wiring, {self._layer: self._path})

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers from input to output; the final one is ``last``."""
        return tuple(self._wiring.layers)

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self._device

    @contextmanager
    def streams(self, batch_size: int) -> Iterator[Streams]:
        """Keep the device busy: a processor's threads each with a network of its own, an accelerator by a `Feed`.

        On a processor, each of torch's threads runs the network on its share of the batch. Within one pass threads wait
        for each other after every layer, and all wait for one that the system has put aside to decode a picture. While
        the block lasts, torch's number of threads is divided by that of the streams. Larger pictures go through one by
        one, for their maps outgrow the caches, and for some networks the memory.

        Parameters
        ----------
        batch_size : int
            Pictures that may be in the network at one time, in all streams together.

        Yields
        ------
        Streams
        """
        self._settle()
        if self.feeds:
            # Apple's devices run one stream, from one thread.
            lanes = LANES if self._device.type in ("cuda", "cpu") else 1
            yield Streams(lanes, batch_size, self._new_feed(batch_size, lanes))
            return
        threads = torch.get_num_threads()
        shared = share_out(threads, batch_size, self.preprocessing.size)
        torch.set_num_threads(threads // shared.count)
        try:
            with freed_memory_is_kept():
                yield shared
        finally:
            torch.set_num_threads(threads)

    def prepare(self, image: Image.Image) -> Float32Array:
        """Turn a picture into the network's input; any number of threads may do so at once.

        Parameters
        ----------
        image : PIL.Image.Image
            Mode RGB, already oriented.

        Returns
        -------
        ndarray of shape (3, H, W), float32
        """
        return prepare_image(image, self.preprocessing)

    def embed(self, batch: Float32Array) -> Features:
        """Run the network on a batch.

        Where memory runs out, the batch is run in halves, and so on down to single images.

        Parameters
        ----------
        batch : ndarray of shape (N, 3, H, W), float32
            Pictures as `prepare` gives them; N at least 1.

        Returns
        -------
        Features
            Of the N pictures.

        Raises
        ------
        ShapeError
            If the batch does not have the shape that `prepare` gives.
        BackboneError
            If not even one image fits into memory, or the output is not finite; if the network was loaded on an
            accelerator before this process was forked.
        """
        self._check(batch)
        self._settle()
        return embed_what_fits(self._embed, batch, self.spec.name)

    def embed_layers(self, batch: Float32Array) -> dict[str, Float32Array]:
        """Return the tokens of every layer, from input to output.

        Parameters
        ----------
        batch : ndarray of shape (N, 3, H, W), float32
            Pictures as `prepare` gives them; N at least 1.

        Returns
        -------
        dict of str to ndarray of shape (N, S_l, C_l), float32
            Name to tokens; grids and widths may differ from layer to layer.

        Raises
        ------
        ShapeError
            If the batch does not have the shape that `prepare` gives.
        """
        self._check(batch)
        self._settle()
        with torch.inference_mode(), self._precision():
            maps, _ = run_layers(self._network, self._wiring, self._wiring.layers, self._to_device(batch))
        return {name: _to_numpy(layer.tokens) for name, layer in maps.items()}

    def embed_text(self, sentences: list[str]) -> Float32Array:
        """Return the embeddings of sentences in the space of `Features.pooled`.

        Parameters
        ----------
        sentences : list of str
            N of them; what is longer than the model's context is cut off.

        Returns
        -------
        ndarray of shape (N, D), float32

        Raises
        ------
        BackboneError
            If the network has no text tower, or the pooled embedding is not in its space.
        """
        if self._wiring.text is None or self._pooling != "model":
            return super().embed_text(sentences)
        self._settle()
        with torch.inference_mode(), self._precision():
            return _to_numpy(self._wiring.text(sentences))

    def _settle(self) -> None:
        """Make torch fit to run in a process that was forked after the network was loaded, or refuse at once."""
        if self._process != os.getpid() and self._device.type != "cpu":
            raise BackboneError(
                f"{self.spec.name} was loaded on {self._device} before this process was forked, where it cannot run; "
                "open the index in the child, or start processes with the method spawn"
            )
        settle_torch()

    def _embed(self, batch: Float32Array) -> Features:
        with torch.inference_mode(), self._precision():
            maps, outputs = self._reader.run(self._to_device(batch))
        layer = maps[self._layer]
        tokens = _to_numpy(layer.tokens)
        averaged = self._pooling in POOLINGS
        pooled = pool(tokens, self._pooling) if averaged else _to_numpy(self._pooled(layer, outputs))
        logits = None if outputs.logits is None else _to_numpy(outputs.logits)
        self._require_finite(all(np.isfinite(array.sum(dtype=np.float64)) for array in (tokens, pooled)))
        return Features(tokens=tokens, pooled=pooled, grid=layer.grid, logits=logits)

    def _require_finite(self, is_finite: bool) -> None:
        if not is_finite:
            precision = self._autocast or "float32"
            raise BackboneError(f"{self.spec.name} gave NaN or infinity in {precision}; are the weights damaged?")

    def _new_feed(self, batch_size: int, lanes: int) -> DeviceFeed:
        return DeviceFeed(
            self._on_device,
            self._read,
            device=self._device,
            size=self.preprocessing.size,
            batch_size=batch_size,
            lanes=lanes,
            name=self.spec.name,
        )

    def _on_device(self, images: Tensor) -> OnDevice:
        """Run the network for a `DeviceFeed`; tokens are summed on the device where their mean is the embedding."""
        with self._precision():
            maps, outputs = self._reader.run(images.contiguous(memory_format=torch.channels_last))
        layer = maps[self._layer]
        tokens = layer.tokens.float()
        averaged = self._pooling in POOLINGS
        pooled = sum_tokens(tokens, self._pooling) if averaged else self._pooled(layer, outputs).float()
        others = {"pooled": pooled, "finite": torch.isfinite(tokens).flatten(1).all(1)}
        if outputs.logits is not None:
            others["logits"] = outputs.logits.float()
        return OnDevice(tokens, others, layer.grid)

    def _read(self, others: dict[str, NDArray[Any]]) -> Reading:
        pooled = others["pooled"]
        if self._pooling in POOLINGS:
            height, width = self.identity.grid
            pooled = pool_sums(pooled, height * width, self._pooling)
        self._require_finite(bool(others["finite"].all() and np.isfinite(pooled).all()))
        return Reading(pooled, others.get("logits"))

    def _to_device(self, batch: Float32Array) -> Tensor:
        # torch takes no array that it could not write to.
        images = torch.from_numpy(np.require(batch, np.float32, "W")).to(self._device)
        return images.contiguous(memory_format=torch.channels_last)

    def _pooled(self, layer: LayerMap, outputs: Outputs) -> Tensor:
        if self._pooling in POOLINGS:
            return layer.tokens.mean(dim=1)
        if self._pooling == "class":
            if not layer.prefix.shape[1]:
                raise BackboneError(f"layer {self._layer} of {self.spec.name} has no class token to pool by")
            return layer.prefix[:, 0]
        if outputs.pooled is None:
            raise BackboneError(f"{self.spec.name} has no image embedding of its own")
        return outputs.pooled.flatten(1)

    def _outline(self) -> tuple[LayerMap, Outputs]:
        paths = {self._layer: self._path}
        maps, outputs = outline(self._network, self._wiring, paths, self.preprocessing.size, self.spec.name)
        return maps[self._layer], outputs

    def _precision(self) -> AbstractContextManager[Any]:
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=getattr(torch, self._autocast))

    def _check(self, batch: Float32Array) -> None:
        expected = (3, *self.preprocessing.size)
        if batch.ndim != 4 or batch.shape[0] == 0 or batch.shape[1:] != expected:
            raise ShapeError(
                f"batch has shape {batch.shape}, {self.spec.name} expects (N, {expected})".replace(", (", ", ")
            )


def sum_tokens(tokens: Tensor, how: str) -> Tensor:
    """Sum what `pool` averages, one position after another as NumPy does, so that the sums are the same.

    Parameters
    ----------
    tokens : Tensor of shape (N, S, C), float32
        C at least 2: NumPy adds up the tokens of a single channel in pairs.
    how : {"mean", "gem"}

    Returns
    -------
    Tensor of shape (N, C)
        For `pool_sums`; float64 where the device has it.
    """
    wide = torch.float32 if tokens.device.type == "mps" else torch.float64
    sums = torch.zeros((tokens.shape[0], tokens.shape[2]), dtype=wide, device=tokens.device)
    for position in tokens.unbind(1):
        if how == "mean":
            sums += position
        else:
            positive = position.to(wide).clamp(min=0)
            sums += positive * positive * positive
    return sums


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to its device, with convolution weights in the layout that is fastest (channels last).

    Parameters
    ----------
    network : torch.nn.Module
        Moved in place; one on torch's meta device, which has shapes only, is left there.
    device : torch.device
        Where it is to run.

    Returns
    -------
    torch.nn.Module
        In float32.
    """
    if any(parameter.is_meta for parameter in network.parameters()):
        return network
    moved = network.to(device=device, dtype=torch.float32)
    return moved.to(memory_format=torch.channels_last)


def _to_numpy(tensor: Tensor) -> Float32Array:
    array: Float32Array = np.ascontiguousarray(tensor.float().cpu().numpy())
    return array
