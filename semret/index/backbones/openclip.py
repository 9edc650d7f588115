"""Networks of open_clip, whose text tower answers queries in words.

open_clip is imported where it is used, because that takes seconds.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from semret.errors import BackboneError, cut_text
from semret.foreign import apart
from semret.index.backbones.hub import Checkpoint, hub_checkpoint, local_checkpoint
from semret.index.backbones.layers import Outputs, Wiring, find_blocks
from semret.index.backbones.network import TorchBackbone
from semret.index.backbones.preprocess import with_size
from semret.index.backbones.spec import BackboneSpec, LoadOptions, Preprocessing
from semret.index.backbones.timm import wire as wire_trunk
from semret.index.backbones.weights import digest, read_state

WEIGHT_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors", "pytorch_model.bin")
_GEOMETRIES = {"shortest": "crop", "squash": "squash"}


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
    architecture, tag = split_name(spec)
    checkpoint = _checkpoint(spec, architecture, tag, options)
    network = build(architecture, tag, size=options.size)
    fill(network, checkpoint, spec.name)
    preprocessing = spec.preprocessing or read_preprocessing(network, spec.name, options.geometry)
    return TorchBackbone(
        spec=spec,
        network=network,
        wiring=wire(network, architecture),
        preprocessing=with_size(preprocessing, options.size, options.geometry),
        options=options,
        weights_sha256=digest(checkpoint.weights),
        revision=checkpoint.revision,
    )


def split_name(spec: BackboneSpec) -> tuple[str, str]:
    """Return architecture and tag of ``ARCH/TAG``.

    Parameters
    ----------
    spec : BackboneSpec
        Whose checkpoint is ``ARCH/TAG``.

    Returns
    -------
    architecture : str
    tag : str
        Empty where there is none.

    Raises
    ------
    BackboneError
        If open_clip has no such architecture.
    """
    import open_clip

    architecture, _, tag = spec.checkpoint.partition("/")
    if open_clip.get_model_config(architecture) is None:
        raise BackboneError(f"open_clip has no architecture {architecture!r}; open_clip:ARCH/TAG takes ViT-B-32/openai")
    return architecture, tag


def _checkpoint(spec: BackboneSpec, architecture: str, tag: str, options: LoadOptions) -> Checkpoint:
    import open_clip

    if options.weights is not None:
        return local_checkpoint(options.weights, names=WEIGHT_NAMES)
    repository = str(open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub", "")) if tag else ""
    organisation, _, rest = repository.partition("/")
    name, _, file = rest.partition("/")
    if not name:
        known = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        raise BackboneError(
            f"open_clip has no weights {tag!r} for {architecture} on the hub ({known}); give a file with --weights"
        )
    names = (file,) if file else WEIGHT_NAMES
    return hub_checkpoint(f"{organisation}/{name}", spec.revision, backbone=spec.name, names=names, beside=())


def build(architecture: str, tag: str = "", *, size: tuple[int, int] | None = None, device: str = "cpu") -> nn.Module:
    """Return open_clip's network with random weights.

    Parameters
    ----------
    architecture : str
        Such as ``ViT-B-32``.
    tag : str
        Of the weights it will get, which decides about the activation function; empty takes the architecture's own.
    size : (int, int) or None
        Input height and width; None takes the architecture's own.
    device : str
        Where it is built; ``meta`` for shapes without numbers.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    BackboneError
        If open_clip cannot build it, or not in this size.
    """
    import open_clip

    quick = bool(open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu", False)) if tag else False
    with _quiet():
        try:
            network: nn.Module = _apart(
                architecture,
                lambda: open_clip.create_model(
                    architecture,
                    pretrained=None,
                    device=device,
                    force_quick_gelu=quick,
                    force_image_size=size,
                    pretrained_hf=False,
                    pretrained_image=False,
                ),
            )
        except Exception as error:  # among others whatever its own downloads of text towers raise
            reason = cut_text(error)
            hint = "; leave --size out" if size is not None else ""
            raise BackboneError(f"open_clip cannot build {architecture}: {reason}{hint}") from error
    return network


def _apart(architecture: str, call: Callable[[], Any]) -> Any:
    """Call a function of open_clip where no folder called like a text tower or tokenizer of its is taken for that."""
    import open_clip

    text = (open_clip.get_model_config(architecture) or {}).get("text_cfg", {})
    names = [text.get(key) for key in ("hf_model_name", "hf_tokenizer_name")]
    return apart(call, names=[name for name in names if name])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress open_clip's warning, on the root logger, that a model starts with random weights."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


def fill(network: nn.Module, checkpoint: Checkpoint, backbone: str) -> None:
    """Load the weights; position embeddings are interpolated where the input size differs.

    Parameters
    ----------
    network : torch.nn.Module
        As `build` gives it; changed in place.
    checkpoint : Checkpoint
        Its first weight file is loaded.
    backbone : str
        Name for messages.

    Raises
    ------
    BackboneError
        If the weights are damaged, or of another architecture.
    """
    import open_clip

    # Read by us first: open_clip would read archives of code and trained arrays of other frameworks as well.
    read_state(checkpoint.weights)
    with _quiet():
        try:
            open_clip.load_checkpoint(network, str(checkpoint.weights[0]), strict=True, weights_only=True)
        except Exception as error:  # weights that do not fit fail anywhere in the loader
            reason = cut_text(error)
            raise BackboneError(
                f"the weights do not fit {backbone}: {reason}; check --model, --weights, --size"
            ) from error


def read_preprocessing(network: nn.Module, backbone: str, geometry: str | None) -> Preprocessing:
    """Translate the preprocessing that open_clip attaches to a network.

    Parameters
    ----------
    network : torch.nn.Module
        As `build` gives it.
    backbone : str
        Name for messages.
    geometry : str or None
        What the caller chose instead of the network's own geometry.

    Returns
    -------
    Preprocessing

    Raises
    ------
    BackboneError
        If pictures are to be padded with a colour of their own, and the caller chose no other `geometry`.
    """
    import open_clip

    settings = open_clip.get_model_preprocess_cfg(network)
    size = settings["size"]
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    chosen = _GEOMETRIES.get(settings["resize_mode"])
    if chosen is None and geometry is None:
        raise BackboneError(f"{backbone} pads pictures ({settings['resize_mode']}); choose another geometry for it")
    return Preprocessing(
        size=(height, width),
        geometry="crop" if chosen == "crop" else "squash",
        resize_edge=max(height, width) if chosen == "crop" else None,
        crop_rounding="even",
        interpolation="bilinear" if settings["interpolation"] == "bilinear" else "bicubic",
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
    )


def wire(network: nn.Module, architecture: str) -> Wiring:
    """Find the layers of the image tower.

    ``last`` is the last hidden state, before the final normalisation, which belongs to the image embedding.

    Parameters
    ----------
    network : torch.nn.Module
        As `build` gives it.
    architecture : str
        Its name, by which its tokenizer is found.

    Returns
    -------
    Wiring

    Raises
    ------
    BackboneError
        If the tower is neither a transformer, nor a ResNet, nor one of timm's.
    """
    visual: Any = network.get_submodule("visual")
    text = TextTower(network, architecture)
    if hasattr(visual, "trunk"):
        return replace(wire_trunk(visual.trunk, prefix="visual.trunk."), call=_call_trunk, text=text)
    blocks = {name: f"visual.{path}" for name, path in find_blocks(visual).items()}
    if hasattr(visual, "transformer") and hasattr(visual, "conv1"):
        height, width = visual.conv1.kernel_size
        return Wiring(
            layers={**blocks, "last": "visual.transformer"}, call=_call, prefix=1, patch=(height, width), text=text
        )
    if hasattr(visual, "layer4"):
        stages: dict[str, str | None] = {f"block.{i}": f"visual.layer{i + 1}" for i in range(3)}
        return Wiring(layers={**stages, "last": "visual.layer4"}, call=_call, text=text)
    raise BackboneError(f"semret cannot read the image tower of {architecture}; use its hf: or timm: counterpart")


def _call(network: Any, images: Tensor) -> Outputs:
    return Outputs(pooled=network.encode_image(images))


def _call_trunk(network: Any, images: Tensor) -> Outputs:
    features = network.visual.trunk.forward_features(images)
    return Outputs(pooled=network.visual.head(network.visual.trunk.forward_head(features)), last=features)


class TextTower:
    """Sentences to embeddings in the space of the image embeddings; the tokenizer loads on first use.

    Parameters
    ----------
    network : torch.nn.Module
        Of open_clip.
    architecture : str
        Its name.
    """

    def __init__(self, network: nn.Module, architecture: str) -> None:
        self._network: Any = network
        self._architecture = architecture
        self._tokenizer: Any = None

    def __call__(self, sentences: list[str]) -> Tensor:
        """Return the embeddings of sentences.

        Parameters
        ----------
        sentences : list of str
            N of them; what is longer than the model's context is cut off.

        Returns
        -------
        Tensor of shape (N, D)
            On the network's device.

        Raises
        ------
        BackboneError
            If the tokenizer is neither on this machine nor reachable.
        """
        import open_clip

        if self._tokenizer is None:
            try:
                self._tokenizer = _apart(self._architecture, lambda: open_clip.get_tokenizer(self._architecture))
            except (OSError, ValueError, ImportError) as error:
                reason = cut_text(error)
                raise BackboneError(f"the tokenizer of {self._architecture} cannot be had: {reason}") from error
        device = next(self._network.parameters()).device
        embeddings: Tensor = self._network.encode_text(torch.as_tensor(self._tokenizer(sentences)).to(device))
        return embeddings
