"""A small torch network that is a real `TorchBackbone`, fed as if the processor were a device of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from semret.index.backbones.layers import Outputs, Wiring
from semret.index.backbones.network import TorchBackbone
from semret.index.backbones.spec import BackboneSpec, LoadOptions, Preprocessing, Streams

SIDE, CHANNELS = 32, 24


class Small(nn.Module):
    """Patches of 8 x 8 to tokens: fixed weights, and some tokens that are far larger than others."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.last = nn.Conv2d(3, CHANNELS, 8, stride=8)
        self.head = nn.Linear(CHANNELS, 5)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 8)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.last(images).mean((2, 3)))


class FedNetwork(TorchBackbone):
    """Runs on the processor by the way that leads to an accelerator.

    Parameters
    ----------
    pooled : {"mean", "gem", "model"}
    fed : bool
        False for the usual way of the processor.
    largest : int
        Most pictures in a pass; more raise what torch raises where memory runs out.
    device : str
    """

    def __init__(self, pooled: str = "mean", *, fed: bool = True, largest: int = 10**9, device: str = "cpu") -> None:
        self.sizes: list[int] = []
        self._largest = largest

        def call(network: Small, images: Tensor) -> Outputs:
            if images.device.type != "meta":
                self.sizes.append(len(images))
                if len(images) > self._largest:
                    raise torch.OutOfMemoryError("CUDA out of memory")
            logits = network(images)
            return Outputs(pooled=torch.tanh(logits), logits=logits)

        spec = BackboneSpec(
            name="small", family="timm", checkpoint="small", licence="none", reference="tests", pooled=pooled
        )
        super().__init__(
            spec=spec,
            network=Small(),
            wiring=Wiring(layers={"last": "last"}, call=call),
            preprocessing=Preprocessing(size=(SIDE, SIDE), mean=(0.5,) * 3, std=(0.25,) * 3),
            options=LoadOptions(device=device),
            weights_sha256="0" * 64,
        )
        self.sizes.clear()
        self.feeds = fed

    @contextmanager
    def streams(self, batch_size: int) -> Iterator[Streams]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the same sums whatever else runs
        try:
            with super().streams(batch_size) as streams:
                yield streams
        finally:
            torch.set_num_threads(threads)
