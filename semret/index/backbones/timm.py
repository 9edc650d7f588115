"""Networks of timm by name.

timm is imported where it is used, because that takes seconds.
"""

from __future__ import annotations

import difflib
from math import floor
from typing import Any

from torch import Tensor, nn

from semret.errors import BackboneError, cut_text
from semret.index.backbones.hub import Checkpoint, hub_checkpoint, local_checkpoint
from semret.index.backbones.layers import Outputs, Wiring, find_blocks
from semret.index.backbones.network import TorchBackbone
from semret.index.backbones.preprocess import with_size
from semret.index.backbones.spec import BackboneSpec, LoadOptions, Preprocessing
from semret.index.backbones.weights import digest, read_state


def load(spec: BackboneSpec, options: LoadOptions) -> TorchBackbone:
    """Load a checkpoint and wire it up.

    Parameters
    ----------
    spec : BackboneSpec
        The row of the registry, or the one made for a generic name.
    options : LoadOptions
        What the caller wants otherwise.

    Returns
    -------
    TorchBackbone
        On its device, ready to embed.

    Raises
    ------
    WeightsNotFoundError
        If the weights are neither on this machine nor reachable.
    BackboneError
        If they are damaged or of another model, or the input size or layer is impossible.
    """
    check_name(spec.checkpoint)
    checkpoint = _checkpoint(spec, options)
    read_state(checkpoint.weights)
    network = build(spec.checkpoint, size=options.size, checkpoint=checkpoint, backbone=spec.name)
    preprocessing = spec.preprocessing or read_preprocessing(network)
    return TorchBackbone(
        spec=spec,
        network=network,
        wiring=wire(network),
        preprocessing=with_size(preprocessing, options.size, options.geometry),
        options=options,
        weights_sha256=digest(checkpoint.weights),
        revision=checkpoint.revision,
    )


def check_name(name: str) -> None:
    """Make sure that timm has a network of this name.

    Parameters
    ----------
    name : str
        With or without the tag of its weights: ``resnet50.a1_in1k``.

    Raises
    ------
    BackboneError
        If it has none; the message offers close matches.
    """
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "timm.list_models() lists them"
        raise BackboneError(f"timm has no network {name!r}; {hint}")


def _checkpoint(spec: BackboneSpec, options: LoadOptions) -> Checkpoint:
    import timm

    if options.weights is not None:
        return local_checkpoint(options.weights)
    settings = timm.get_pretrained_cfg(spec.checkpoint)
    repository = getattr(settings, "hf_hub_id", None)
    if not repository:
        raise BackboneError(f"timm knows no weights for {spec.checkpoint} on the hub; give a file with --weights")
    names = {"names": (str(settings.hf_hub_filename),)} if getattr(settings, "hf_hub_filename", None) else {}
    return hub_checkpoint(repository, spec.revision, backbone=spec.name, beside=(), **names)


def build(
    name: str,
    *,
    size: tuple[int, int] | None = None,
    checkpoint: Checkpoint | None = None,
    backbone: str = "",
) -> nn.Module:
    """Return timm's network, with the weights of a checkpoint or random ones.

    Parameters
    ----------
    name : str
        As timm has it.
    size : (int, int) or None
        Input height and width, for which position embeddings are interpolated; None takes the network's own.
    checkpoint : Checkpoint or None
        Of one weight file; None for random weights.
    backbone : str
        Name for messages; empty takes `name`.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    BackboneError
        If the weights are of another network, or the network does not take the size.
    """
    import timm

    settings = timm.get_pretrained_cfg(name)
    fixed = bool(getattr(settings, "fixed_input_size", False))
    extras: dict[str, Any] = {"img_size": size} if size is not None and fixed else {}
    if checkpoint is not None:
        if len(checkpoint.weights) > 1:
            raise BackboneError(f"timm reads one weight file, {checkpoint.weights[0].parent} holds several")
        # Some networks were published as JAX archives, and releases up to 1.0.30 would take the file for one.
        extras["pretrained_cfg_overlay"] = {"file": str(checkpoint.weights[0]), "custom_load": False}
    try:
        network: nn.Module = timm.create_model(name, pretrained=checkpoint is not None, **extras)
    except Exception as error:  # weights and sizes that do not fit fail anywhere in a network's own code
        reason = cut_text(error)
        raise BackboneError(f"the weights or the size do not fit {backbone or name}: {reason}") from error
    return network


def read_preprocessing(network: nn.Module) -> Preprocessing:
    """Translate the preprocessing that timm attaches to a network, for evaluation.

    Parameters
    ----------
    network : torch.nn.Module
        As `build` gives it.

    Returns
    -------
    Preprocessing
    """
    import timm.data

    settings = timm.data.resolve_data_config({}, model=network)
    _, height, width = settings["input_size"]
    squash = settings["crop_mode"] == "squash"
    return Preprocessing(
        size=(height, width),
        geometry="squash" if squash else "crop",
        resize_edge=None if squash else floor(max(height, width) / settings["crop_pct"]),
        crop_rounding="even",
        interpolation="bilinear" if settings["interpolation"] == "bilinear" else "bicubic",
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
    )


def wire(network: nn.Module, *, prefix: str = "") -> Wiring:
    """Find the layers of a network of timm: its blocks or stages, and ``last``, what `forward_features` returns.

    Parameters
    ----------
    network : torch.nn.Module
        As `build` gives it.
    prefix : str
        Put before the paths of modules, for a network that is part of a larger one.

    Returns
    -------
    Wiring
    """
    layers: dict[str, str | None] = {name: prefix + path for name, path in find_blocks(network).items()}
    layers |= {
        f"block.{i}": f"{prefix}layer{i + 1}" for i in range(4) if not layers and hasattr(network, f"layer{i + 1}")
    }
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    if isinstance(patch, int):
        patch = (patch, patch)
    nhwc = getattr(network, "output_fmt", "NCHW") == "NHWC"
    return Wiring(
        layers={**layers, "last": None},
        call=_call,
        prefix=int(getattr(network, "num_prefix_tokens", 0)),
        patch=None if patch is None or nhwc else (int(patch[0]), int(patch[1])),
        nhwc=nhwc,
    )


def _call(network: Any, images: Tensor) -> Outputs:
    features = network.forward_features(images)
    if not isinstance(features, Tensor):
        raise BackboneError(f"{type(network).__name__} ends in {len(features)} maps of different scales, not in one")
    logits = network.forward_head(features) if getattr(network, "num_classes", 0) else None
    return Outputs(pooled=network.forward_head(features, pre_logits=True), logits=logits, last=features)
