"""Backbones by name: what there is, and the one function that loads one."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from semret.arrays import require_size, require_text, require_whole
from semret.errors import ArgumentError, BackboneError, UnknownNameError
from semret.forked import settle_torch
from semret.index.backbones.libraries import load_adapter
from semret.index.backbones.memory import is_out_of_memory
from semret.index.backbones.spec import AUTOCASTS, Backbone, BackboneSpec, Family, Geometry, LoadOptions
from semret.index.backbones.table import BACKBONES

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_BACKBONE = "efficientnet-lite0"
"""Its weights come with the installation."""

_ADAPTERS: Mapping[str, str] = {
    "embedded": "semret.index.backbones.efficientnet_lite0",
    "hf": "semret.index.backbones.hf",
    "onnx": "semret.index.backbones.onnx",
    "open_clip": "semret.index.backbones.openclip",
    "timm": "semret.index.backbones.timm",
}
_GENERIC = ("hf", "onnx", "open_clip", "timm")


class Adapter(Protocol):
    """What a module of a family provides."""

    def load(self, spec: BackboneSpec, options: LoadOptions) -> Backbone:
        """Load the weights and return the backbone.

        Parameters
        ----------
        spec : BackboneSpec
            The row of the registry, or the one made for a generic name.
        options : LoadOptions
            What the caller wants otherwise.

        Returns
        -------
        Backbone
        """


def list_backbones() -> list[BackboneSpec]:
    """Return the rows of the registry, the default first.

    Returns
    -------
    list of BackboneSpec
    """
    return list(BACKBONES.values())


def spec_of(name: str) -> BackboneSpec:
    """Return the spec that a name stands for.

    That is a row of the registry, or one made for ``hf:ORG/NAME``, ``onnx:FILE``, ``open_clip:ARCH/TAG`` or
    ``timm:NAME``.

    Parameters
    ----------
    name : str
        As the user types it after ``--model``.

    Returns
    -------
    BackboneSpec

    Raises
    ------
    UnknownNameError
        If there is no such backbone; the message offers close matches.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    family, separator, checkpoint = name.partition(":")
    if separator and family in _GENERIC and checkpoint:
        if family == "onnx":
            # The index remembers the file, and is searched from other folders than it was made in.
            checkpoint = str(Path(checkpoint).absolute())
        return BackboneSpec(
            name=f"{family}:{checkpoint}",
            family=cast(Family, family),
            checkpoint=checkpoint,
            licence="see the checkpoint's page",
            reference=checkpoint,
            prefix_tokens=None,
            # Every network of open_clip has a text tower in the space of its image embedding.
            pooled="model" if family == "open_clip" else "mean",
            text=family == "open_clip",
        )
    close = difflib.get_close_matches(name, BACKBONES, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}? " if close else ""
    raise UnknownNameError(
        f"unknown backbone {name!r}; {hint}semret models lists them; "
        "hf:ORG/NAME, onnx:FILE, open_clip:ARCH/TAG and timm:NAME load any other"
    )


def check_options(
    *,
    size: object = None,
    geometry: object = None,
    layer: object = None,
    device: object = None,
    precision: object = None,
) -> None:
    """Refuse options of the wrong type before anything is loaded.

    Parameters
    ----------
    size, geometry, layer, device, precision
        See `create_backbone`, whose `dtype` is the precision.

    Raises
    ------
    ArgumentError
    """
    if size is not None:
        require_size(size)
    for name, value in (("geometry", geometry), ("device", device), ("precision", precision)):
        if value is not None:
            require_text(value, name)
    if layer is not None and not isinstance(layer, str):
        require_whole(layer, "layer", -(2**31))


def create_backbone(
    name: str = DEFAULT_BACKBONE,
    *,
    weights: str | os.PathLike[str] | None = None,
    size: tuple[int, int] | None = None,
    geometry: str | None = None,
    layer: str | int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    pooled: str | None = None,
) -> Backbone:
    """Load a backbone.

    Parameters
    ----------
    name : str
        See `spec_of`.
    weights : path, optional
        Checkpoint to load instead of the one that the name stands for: a safetensors file, a torch state dict, or a
        directory with a saved model.
    size : (int, int), optional
        Input height and width in pixels; default: the spec's.
    geometry : {"squash", "crop", "letterbox", "corner"}, optional
        How a picture is brought to that size; default: the spec's.
    layer : str or int, optional
        ``"last"``, an index into the layers (negative from the end), a layer's name, or the path of any module.
    device : str, optional
        ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; default: the best there is.
    dtype : {"float32", "bfloat16", "float16"}, optional
        Precision of the network's matrix products; tokens are float32 in any case.
    pooled : {"mean", "gem", "class", "model"}, optional
        How tokens become the pooled embedding; default: the spec's way.

    Returns
    -------
    Backbone
        On its device, ready to embed.

    Raises
    ------
    UnknownNameError
        If there is no such backbone.
    WeightsNotFoundError
        If the weights are neither on this machine nor reachable.
    BackboneError
        If weights, size or layer do not fit the network, or the network does not fit into memory.
    ArgumentError
        If an option has no such value.
    """
    require_text(name, "model")
    check_options(size=size, geometry=geometry, layer=layer, device=device, precision=dtype)
    spec = spec_of(name)
    if dtype is not None and dtype not in AUTOCASTS:
        raise ArgumentError(f"cannot compute in {dtype!r}; choose one of {', '.join(AUTOCASTS)}")
    options = LoadOptions(
        weights=None if weights is None else Path(weights),
        size=size,
        geometry=cast("Geometry | None", geometry),
        layer=layer,
        device=device,
        autocast=dtype,
        pooled=pooled,
    )
    settle_torch()
    adapter = cast(Adapter, load_adapter(_ADAPTERS[spec.family]))
    try:
        return adapter.load(spec, options)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise BackboneError(
            f"{name} runs out of memory while it is loaded; choose a smaller model, or --device cpu"
        ) from error
