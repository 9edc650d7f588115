"""EfficientNet-Lite0 as a plain torch module, batch normalisations folded in: for GPUs, and to compare.

timm has the same network, and tests compare the two. This one exists because importing timm takes longer than
embedding a picture, and because without separate normalisations it runs about twice as fast on a processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from semret.arrays import Float32Array
from semret.index.backbones.layer_names import pick_layer
from semret.index.backbones.layers import Outputs, Wiring
from semret.index.backbones.lite0_layout import (
    CLASSES,
    HEAD,
    HEAD_CONVOLUTION,
    LAYERS,
    STEM_CONVOLUTION,
    Block,
    Convolution,
    pooling_of,
    stages,
)
from semret.index.backbones.network import TorchBackbone
from semret.index.backbones.preprocess import with_size
from semret.index.backbones.spec import BackboneSpec, LoadOptions
from semret.index.backbones.weights import digest


def load(spec: BackboneSpec, options: LoadOptions, file: Path, weights: Mapping[str, Float32Array]) -> TorchBackbone:
    """Wire the network up on torch.

    Parameters
    ----------
    spec : BackboneSpec
    options : LoadOptions
    file : Path
        Where the weights are from.
    weights : mapping of str to ndarray, float32
        See `make_network`.

    Returns
    -------
    TorchBackbone

    Raises
    ------
    BackboneError
        If the input size or the layer is impossible.
    ValueError
        If the row of the registry does not pin its preprocessing.
    """
    if spec.preprocessing is None:
        raise ValueError(f"{spec.name} must pin its preprocessing")
    layer = pick_layer(spec.layer if options.layer is None else options.layer, LAYERS)
    pooling = options.pooled or pooling_of(layer, spec.pooled)
    return TorchBackbone(
        spec=spec,
        network=make_network(weights),
        wiring=wire(),
        preprocessing=with_size(spec.preprocessing, options.size, options.geometry),
        options=replace(options, pooled=pooling),
        weights_sha256=digest([file]),
        revision=spec.revision,
    )


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow does: the output is ``ceil(input / stride)``, odd padding after the end."""

    def __init__(self, shape: Convolution) -> None:
        super().__init__(
            shape.before,
            shape.after,
            shape.kernel,
            stride=shape.stride,
            groups=shape.groups,
            padding=shape.kernel // 2,
        )
        self.clip = shape.clip

    def forward(self, images: Tensor) -> Tensor:
        """Convolve a batch of maps.

        Parameters
        ----------
        images : Tensor of shape (N, before, H, W)

        Returns
        -------
        Tensor of shape (N, after, ceil(H / stride), ceil(W / stride))
        """
        result = self._mix(images) if self.kernel_size == (1, 1) else self._slide(images)
        return functional.relu6(result, inplace=True) if self.clip else result

    def _mix(self, images: Tensor) -> Tensor:
        """Multiply the channels of every pixel: a product has the same bits from any number of threads."""
        return functional.linear(images.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)

    def _slide(self, images: Tensor) -> Tensor:
        weight = self.weight
        if self.stride == (2, 2):
            # TensorFlow pads an even side by one less before its start. Instead of a padded copy of the map, which may
            # be large, the kernel gets a row of zeros there.
            before = [1 - images.shape[axis] % 2 for axis in (-1, -2)]
            weight = functional.pad(weight, (before[0], 0, before[1], 0))
        return functional.conv2d(images, weight, self.bias, self.stride, self.padding, groups=self.groups)


class InvertedResidual(nn.Module):
    """One block of the network."""

    def __init__(self, shape: Block) -> None:
        super().__init__()
        self.expand = None if shape.expand is None else SameConv(shape.expand)
        self.depthwise = SameConv(shape.depthwise)
        self.project = SameConv(shape.project)
        self.adds = shape.adds

    def forward(self, images: Tensor) -> Tensor:
        """Run the block.

        Parameters
        ----------
        images : Tensor of shape (N, before, H, W)

        Returns
        -------
        Tensor of shape (N, after, ceil(H / stride), ceil(W / stride))
        """
        hidden = images if self.expand is None else self.expand(images)
        result: Tensor = self.project(self.depthwise(hidden))
        return result.add_(images) if self.adds else result


class LiteNet(nn.Module):
    """The network: ``stem``, seven ``blocks`` of the table, ``head``, and a linear ``classifier`` on the pooled map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(STEM_CONVOLUTION)
        self.blocks = nn.Sequential(*(nn.Sequential(*map(InvertedResidual, blocks)) for blocks in stages()))
        self.head = SameConv(HEAD_CONVOLUTION)
        self.classifier = nn.Linear(HEAD, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Classify pictures.

        Parameters
        ----------
        images : Tensor of shape (N, 3, H, W)

        Returns
        -------
        Tensor of shape (N, 1000)
            Logits.
        """
        features: Tensor = self.head(self.blocks(self.stem(images)))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


def make_network(weights: Mapping[str, Float32Array]) -> LiteNet:
    """Return the network with its weights.

    Parameters
    ----------
    weights : mapping of str to ndarray, float32
        As `semret.index.backbones.lite0_layout.fold` gives them.

    Returns
    -------
    LiteNet
    """
    network = LiteNet()
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return network


def wire() -> Wiring:
    """Return the layers: the stem, seven stages, and the 1280-channel map before the classifier.

    Returns
    -------
    Wiring
    """
    layers = {name: "head" if name == "last" else name for name in LAYERS}
    return Wiring(layers=layers, call=_call, light=True)


def _call(network: Any, images: Tensor) -> Outputs:
    return Outputs(logits=network(images))
