"""EfficientNet-Lite0 as a list of convolutions, and its weights with the batch normalisations folded in.

Knows arrays only: the network itself is built of it in torch (`semret.index.backbones.lite0_torch`) and as an ONNX
graph (`semret.index.backbones.lite0_graph`).

References
----------
.. [1] Tan, Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array
from semret.index.backbones.weights import check

STEM, HEAD, CLASSES = 32, 1280, 1000

_EPSILON = 1e-3
"""Of the batch normalisations, as TensorFlow's networks have it."""
_NORM = ("weight", "bias", "running_mean", "running_var")


class Stage(NamedTuple):
    """Blocks of one width: kernel size, stride of the first block, expansion, channels, and how many blocks."""

    kernel: int
    stride: int
    expansion: int
    channels: int
    repeats: int


STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)

LAYERS = ("stem", *(f"blocks.{number}" for number in range(len(STAGES))), "last")
"""What tokens can be taken from, from input to output; the last is the 1280-channel map before the classifier."""

CLIPPED = ("stem", "last")
"""Layers that end in ReLU6, whose tokens are never negative; the others end in a sum."""


class Convolution(NamedTuple):
    """A convolution of `kernel` x `kernel`, padded so that the output has ceil(input / stride) rows and columns.

    `clip` applies ReLU6 to the result.
    """

    path: str
    before: int
    after: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    clip: bool = True


class Block(NamedTuple):
    """Inverted residual: widen (unless the first stage), filter each channel, narrow; add the input where it fits."""

    path: str
    expand: Convolution | None
    depthwise: Convolution
    project: Convolution
    adds: bool


class Unit(NamedTuple):
    """A convolution and its batch normalisation: where they go, and their names in a file."""

    path: str
    convolution: str
    norm: str


STEM_CONVOLUTION = Convolution("stem", 3, STEM, 3, 2)
HEAD_CONVOLUTION = Convolution("head", STAGES[-1].channels, HEAD)


def pooling_of(layer: str | None, pooled: str) -> str:
    """Return how tokens of a layer are pooled.

    Parameters
    ----------
    layer : str or None
        None for the output of a module that is none of `LAYERS`.
    pooled : str
        The way for tokens that are never negative.

    Returns
    -------
    str
        `pooled` where they are, ``mean`` elsewhere.
    """
    return pooled if layer in CLIPPED else "mean"


def stages() -> list[list[Block]]:
    """Return the seven stages of the network, each a list of blocks.

    Returns
    -------
    list of list of Block
        From input to output.
    """
    found, width = [], STEM
    for number, stage in enumerate(STAGES):
        blocks = []
        for index in range(stage.repeats):
            stride = stage.stride if index == 0 else 1
            blocks.append(_block(f"blocks.{number}.{index}", width, stage, stride))
            width = stage.channels
        found.append(blocks)
    return found


def _block(path: str, before: int, stage: Stage, stride: int) -> Block:
    wide = before * stage.expansion
    return Block(
        path=path,
        expand=Convolution(f"{path}.expand", before, wide) if stage.expansion > 1 else None,
        depthwise=Convolution(f"{path}.depthwise", wide, wide, stage.kernel, stride, wide),
        project=Convolution(f"{path}.project", wide, stage.channels, clip=False),
        adds=stride == 1 and before == stage.channels,
    )


def convolutions() -> Iterator[Convolution]:
    """Yield all convolutions from input to output.

    Yields
    ------
    Convolution
    """
    yield STEM_CONVOLUTION
    for blocks in stages():
        for block in blocks:
            yield from filter(None, (block.expand, block.depthwise, block.project))
    yield HEAD_CONVOLUTION


def fold(state: Mapping[str, NDArray[Any]], what: str) -> dict[str, Float32Array]:
    """Fold each batch normalisation into its convolution, in float64.

    Parameters
    ----------
    state : mapping of str to ndarray
        A file of the package's layout, or of timm's ``tf_efficientnet_lite0``.
    what : str
        Names the weights in messages.

    Returns
    -------
    dict of str to ndarray, float32
        ``PATH.weight`` (after, before / groups, kernel, kernel) and ``PATH.bias`` (after,) for every convolution, and
        ``classifier.weight`` (classes, 1280), ``classifier.bias`` (classes,).

    Raises
    ------
    BackboneError
        If a tensor is missing, superfluous, or of another shape; the message names it.
    """
    timm = "conv_stem.weight" in state
    units, linear = list(timm_units() if timm else package_units()), "classifier" if timm else "_fc"
    own = {convolution.path: convolution for convolution in convolutions()}
    shapes: dict[str, tuple[int, ...]] = {f"{linear}.weight": (CLASSES, HEAD), f"{linear}.bias": (CLASSES,)}
    for unit in units:
        shape = own[unit.path]
        kernel = (shape.after, shape.before // shape.groups, shape.kernel, shape.kernel)
        shapes[f"{unit.convolution}.weight"] = kernel
        shapes |= {f"{unit.norm}.{leaf}": (shape.after,) for leaf in _NORM}
    counters = {f"{unit.norm}.num_batches_tracked" for unit in units}
    check(shapes, {name: tensor for name, tensor in state.items() if name not in counters}, what)
    folded = {f"classifier.{leaf}": state[f"{linear}.{leaf}"].astype(np.float32) for leaf in ("weight", "bias")}
    for unit in units:
        folded[f"{unit.path}.weight"], folded[f"{unit.path}.bias"] = _fold(state, unit)
    return folded


def _fold(state: Mapping[str, NDArray[Any]], unit: Unit) -> tuple[Float32Array, Float32Array]:
    weight, bias, mean, variance = (state[f"{unit.norm}.{leaf}"].astype(np.float64) for leaf in _NORM)
    scale = weight / np.sqrt(variance + _EPSILON)
    kernel = state[f"{unit.convolution}.weight"].astype(np.float64) * scale[:, None, None, None]
    return kernel.astype(np.float32), (bias - mean * scale).astype(np.float32)


def package_units() -> Iterator[Unit]:
    """Yield the network's convolutions with the package's names, which number the blocks through.

    Yields
    ------
    Unit
    """
    yield Unit("stem", "_conv_stem", "_bn0")
    number = 0
    for stage, shape in enumerate(STAGES):
        for index in range(shape.repeats):
            ours, theirs = f"blocks.{stage}.{index}", f"_blocks.{number}"
            if shape.expansion > 1:
                yield Unit(f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0")
            yield Unit(f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1")
            yield Unit(f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2")
            number += 1
    yield Unit("head", "_conv_head", "_bn1")


def timm_units() -> Iterator[Unit]:
    """Yield the network's convolutions with timm's names, which depend on whether a block widens first.

    Yields
    ------
    Unit
    """
    yield Unit("stem", "conv_stem", "bn1")
    for stage, shape in enumerate(STAGES):
        for index in range(shape.repeats):
            block = f"blocks.{stage}.{index}"
            parts = ["conv_pw", "conv_dw", "conv_pwl"] if shape.expansion > 1 else ["conv_dw", "conv_pw"]
            ours = ["expand", "depthwise", "project"][-len(parts) :]
            for position, (own, part) in enumerate(zip(ours, parts, strict=True), start=1):
                yield Unit(f"{block}.{own}", f"{block}.{part}", f"{block}.bn{position}")
    yield Unit("head", "conv_head", "bn2")
