"""Networks of transformers: DINOv2 and v3, SAM, CLIPSeg, SigLIP, BiT, and any other image model.

transformers is imported where it is used, because that takes seconds.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semret.errors import BackboneError, cut_text
from semret.index.backbones.folder import read_configuration
from semret.index.backbones.hf_processors import find_preprocessing
from semret.index.backbones.hf_text import TOKENIZER_FILES, TextTower, quiet
from semret.index.backbones.hub import Checkpoint, hub_checkpoint, local_checkpoint
from semret.index.backbones.layers import Outputs, Wiring, find_blocks
from semret.index.backbones.network import TorchBackbone
from semret.index.backbones.preprocess import with_size
from semret.index.backbones.spec import BackboneSpec, LoadOptions, Preprocessing
from semret.index.backbones.weights import digest, read_state

_BESIDE = ("config.json", "preprocessor_config.json")
_TOWERS = ("vision_model", "vision_encoder")
_STEMS = ("embeddings", "embedder", "patch_embed")
# Weights that take no part in embedding an image, so that a checkpoint may lack them.
_UNTOLD = 10_000_000
"""Numbers that a network may have beyond twice those of its weights: poolers, decoders and the like."""

_OPTIONAL = (
    "pooler",
    "mask_token",
    "position_ids",
    "logit_",
    "prompt_encoder",
    "mask_decoder",
    "shared_image_embedding",
)
# Networks whose published checkpoints hold them inside a larger one; not every release of the library looks there.
_INSIDE = {"CLIPSegModel": "clip."}
# Names in checkpoints from before the library renamed its tensors, which it no longer translates: ConvNeXt V2.
_FORMER = {".grn.gamma": ".grn.weight", ".grn.beta": ".grn.bias"}


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
    if options.weights is not None:
        checkpoint = local_checkpoint(options.weights)
    else:
        beside = (*_BESIDE, *TOKENIZER_FILES) if spec.text else _BESIDE
        checkpoint = hub_checkpoint(spec.checkpoint, spec.revision, backbone=spec.name, beside=beside)
    config = read_config(spec, checkpoint)
    if hasattr(config, "mask_ratio"):
        # Networks trained by filling in what was hidden at random: see everything.
        config.mask_ratio = 0.0
    network = build(spec, config, read_state(checkpoint.weights))
    wiring = wire(network, config, tokenizer=checkpoint.directory)
    return TorchBackbone(
        spec=spec,
        network=network,
        wiring=wiring,
        preprocessing=with_size(_preprocessing(spec, options, checkpoint), options.size, options.geometry),
        options=options,
        weights_sha256=digest(checkpoint.weights),
        revision=checkpoint.revision,
    )


def read_config(spec: BackboneSpec, checkpoint: Checkpoint) -> Any:
    """Return the network's configuration: the checkpoint's own, or for a bare weight file the registry's.

    Parameters
    ----------
    spec : BackboneSpec
        Whose architecture is expected.
    checkpoint : Checkpoint
        With or without a directory.

    Returns
    -------
    transformers.PretrainedConfig

    Raises
    ------
    BackboneError
        If the checkpoint is of another model, describes none that transformers knows, or comes without a configuration
        for which the registry has none either.
    """
    if checkpoint.directory is not None and (checkpoint.directory / "config.json").is_file():
        config = _configuration(checkpoint.directory)
        expected = spec.architecture.config if spec.architecture else type(config).__name__
        if type(config).__name__ != expected:
            found = type(config).__name__
            raise BackboneError(
                f"{checkpoint.directory} holds a {found}, {spec.name} needs a {expected}; check --model"
            )
        return config
    if spec.architecture is None:
        raise BackboneError(
            f"{checkpoint.weights[0]} comes without a config.json; {spec.name} needs the whole saved model directory"
        )
    return registered_config(spec)


def _configuration(directory: Path) -> Any:
    """Return the configuration of a saved model, made by us from its JSON: the library would do more than read it."""
    import transformers

    settings = read_configuration(directory / "config.json")
    kind = settings.get("model_type")
    known = isinstance(kind, str) and kind in transformers.CONFIG_MAPPING
    if not known:
        raise BackboneError(f"{directory} holds no model that transformers knows: its model_type is {str(kind)[:60]!r}")
    named = settings.get("architectures")
    if not (isinstance(named, list) and all(isinstance(name, str) for name in named)):
        # It only ever chooses between a classifier and the base; some releases refuse the whole file for it.
        settings.pop("architectures", None)
    with quiet():
        try:
            config = transformers.CONFIG_MAPPING[kind].from_dict(settings)
        except Exception as error:  # a wrong type or value makes each class of configuration fail in its own way
            reason = cut_text(error)
            raise BackboneError(f"{directory / 'config.json'} describes no {kind}: {reason}; fetch it again") from error
    # None leaves the choice between the library's own implementations to the library, in all parts of the network.
    config._attn_implementation = None
    return config


def registered_config(spec: BackboneSpec) -> Any:
    """Return the configuration that the registry holds for a named backbone.

    Parameters
    ----------
    spec : BackboneSpec
        A row with an `Architecture`.

    Returns
    -------
    transformers.PretrainedConfig

    Raises
    ------
    BackboneError
        If the row has no architecture.
    """
    import transformers

    if spec.architecture is None:
        raise BackboneError(f"the registry holds no architecture for {spec.name}")
    return getattr(transformers, spec.architecture.config)(**spec.architecture.settings)


def model_class(spec: BackboneSpec, config: Any) -> Any:
    """Return the class of transformers to build: the registry's, a classifier if the checkpoint is one, or the base.

    Parameters
    ----------
    spec : BackboneSpec
        Its architecture decides, if it has one.
    config : transformers.PretrainedConfig
        Of the checkpoint.

    Returns
    -------
    type
        A subclass of ``transformers.PreTrainedModel``.

    Raises
    ------
    BackboneError
        If transformers has no image model for such a configuration.
    """
    import transformers

    if spec.architecture is not None:
        return getattr(transformers, spec.architecture.model)
    named = getattr(config, "architectures", None)
    if isinstance(named, list) and named and str(named[0]).endswith("ForImageClassification"):
        classifier = getattr(transformers, str(named[0]), None)
        if getattr(classifier, "config_class", None) is type(config):
            return classifier
    try:
        found = transformers.MODEL_MAPPING[type(config)]
    except KeyError:
        raise BackboneError(f"transformers has no image model for a {type(config).__name__}") from None
    return found[0] if isinstance(found, (tuple, list)) else found


def build(spec: BackboneSpec, config: Any, state: dict[str, Tensor]) -> nn.Module:
    """Return the network with these weights; none that takes part in embedding images may be missing.

    Parameters
    ----------
    spec : BackboneSpec
        Names the model in messages.
    config : transformers.PretrainedConfig
        Says which network.
    state : dict of str to Tensor
        Weights by name, as the checkpoint has them.

    Returns
    -------
    torch.nn.Module
        In float32, on the processor.

    Raises
    ------
    BackboneError
        If a tensor is missing or has another shape, or the network is far larger than its weights.
    """
    cls = model_class(spec, config)
    state = {_present_name(name, cls): tensor for name, tensor in state.items()}
    with quiet():
        try:
            _require_proportion(cls, config, state, spec.name)
            network, report = cls.from_pretrained(
                None, config=config, state_dict=state, output_loading_info=True, dtype=torch.float32
            )
        except BackboneError:
            raise
        except Exception as error:  # a configuration that makes no sense fails anywhere in a network's own code
            reason = "a tensor has another shape" if "ignore_mismatched_sizes" in str(error) else cut_text(error)
            raise BackboneError(f"the weights do not fit {spec.name}: {reason}; check --model") from error
    missing = sorted(name for name in report["missing_keys"] if not any(part in name for part in _OPTIONAL))
    wrong = sorted(str(entry) for entry in report.get("mismatched_keys", ()))
    if missing or wrong:
        first = (
            f"{len(missing)} tensors are missing ({missing[0]} first)" if missing else f"{wrong[0]} has another shape"
        )
        raise BackboneError(f"the weights do not fit {spec.name}: {first}; check --model and --weights")
    return trim(network)


def _require_proportion(cls: Any, config: Any, state: dict[str, Tensor], backbone: str) -> None:
    """Refuse a network much larger than its weights, before it takes memory and is filled with random numbers."""
    with torch.device("meta"):
        described = sum(part.numel() for part in cls(config).state_dict().values())
    given = sum(part.numel() for part in state.values())
    if described > 2 * given + _UNTOLD:
        raise BackboneError(
            f"the weights do not fit {backbone}: they hold {given:,} numbers, and its configuration describes "
            f"{described:,}; check --model"
        )


def _present_name(name: str, cls: Any) -> str:
    """Return what a tensor of a checkpoint is called in the network that is to be built."""
    name = name.removeprefix(_INSIDE.get(cls.__name__, ""))
    for former, present in _FORMER.items():
        if name.endswith(former):
            return name.removesuffix(former) + present
    return name


def trim(network: nn.Module) -> nn.Module:
    """Return the part that embeds images, if the rest can be left out: SAM without prompts and mask decoder.

    Parameters
    ----------
    network : torch.nn.Module
        Of transformers.

    Returns
    -------
    torch.nn.Module
        `network` itself where no part can be left out.
    """
    encoder = getattr(network, "vision_encoder", None)
    return encoder if isinstance(encoder, nn.Module) else network


def wire(network: nn.Module, config: Any, *, tokenizer: Path | None = None) -> Wiring:
    """Find the layers, the patch size and the heads of a network of transformers by its structure.

    Layers are the embedding stage, the blocks of the image tower, and ``last``, the tower's last hidden state.

    Parameters
    ----------
    network : torch.nn.Module
        As `build` gives it.
    config : transformers.PretrainedConfig
        Its own.
    tokenizer : Path or None
        Directory with the files of the tokenizer; None without one, and then there are no text queries.

    Returns
    -------
    Wiring
    """
    root = _root(network)
    tower = network.get_submodule(root)
    dot = f"{root}." if root else ""
    layers: dict[str, str | None] = {}
    stem = next((name for name in _STEMS if hasattr(tower, name)), None)
    if stem is not None:
        layers["embeddings"] = dot + stem
    layers |= {name: dot + path for name, path in find_blocks(tower).items()}
    layers["last"] = root
    vision = getattr(config, "vision_config", config)
    text = None
    if tokenizer is not None and hasattr(network, "get_text_features"):
        text = TextTower(network, config, tokenizer)
    return Wiring(layers=layers, call=_caller(network, vision), prefix=1, patch=_patch_of(vision), text=text)


def _root(network: nn.Module) -> str:
    """Return the path of the module that turns pixels into the last hidden state."""
    for name in _TOWERS:
        if isinstance(getattr(network, name, None), nn.Module):
            return name
    base = getattr(network, "base_model_prefix", "")
    if type(network).__name__.endswith("ForImageClassification") and hasattr(network, base):
        return str(base)
    return ""


def _patch_of(vision: Any) -> tuple[int, int] | None:
    """Return the patch size where all layers share one grid; hierarchical networks write several widths or depths."""
    patch = getattr(vision, "patch_size", None)
    if patch is None or getattr(vision, "depths", None) or getattr(vision, "hidden_sizes", None):
        return None
    return (patch, patch) if isinstance(patch, int) else (int(patch[0]), int(patch[1]))


def _caller(network: Any, vision: Any) -> Callable[[Any, Tensor], Outputs]:
    embeds = hasattr(network, "get_image_features")
    accepted = inspect.signature(network.get_image_features if embeds else network.forward).parameters
    extras = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in accepted else {}
    patch = _patch_of(vision)

    def call(network: Any, images: Tensor) -> Outputs:
        inputs = _patches(images, int(vision.patch_size)) if "spatial_shapes" in accepted else {"pixel_values": images}
        if "noise" in accepted and patch is not None:
            # Masked autoencoders put the patches into the order of these numbers, random unless given.
            positions = (images.shape[-2] // patch[0]) * (images.shape[-1] // patch[1])
            inputs["noise"] = torch.arange(positions, device=images.device).float().expand(len(images), -1)
        # Not network.forward: a direct call would pass by the hooks of the root.
        output = (network.get_image_features if embeds else network)(**inputs, **extras)
        if isinstance(output, Tensor):
            return Outputs(pooled=output)
        return Outputs(pooled=getattr(output, "pooler_output", None), logits=getattr(output, "logits", None))

    return call


def _patches(images: Tensor, patch: int) -> dict[str, Tensor]:
    """Cut pictures into a sequence of patches, as SigLIP 2's flexible networks want them: (N, S, patch * patch * 3)."""
    count, channels, height, width = images.shape
    rows, columns = height // patch, width // patch
    cut = images[:, :, : rows * patch, : columns * patch].reshape(count, channels, rows, patch, columns, patch)
    return {
        "pixel_values": cut.permute(0, 2, 4, 3, 5, 1).reshape(count, rows * columns, patch * patch * channels),
        # On the processor: the network reads them as numbers.
        "spatial_shapes": torch.tensor([[rows, columns]] * count, device="cpu"),
    }


def _preprocessing(spec: BackboneSpec, options: LoadOptions, checkpoint: Checkpoint) -> Preprocessing:
    """Return the registry's preprocessing for the registry's checkpoint, else what a saved model says of itself."""
    pinned = spec.preprocessing if options.weights is None else None
    own = None
    if pinned is None and checkpoint.directory is not None:
        own = find_preprocessing(checkpoint.directory)
    chosen = pinned or own or spec.preprocessing
    if chosen is None:
        raise BackboneError(f"{spec.name} comes without preprocessor_config.json; semret cannot know its preprocessing")
    return chosen
