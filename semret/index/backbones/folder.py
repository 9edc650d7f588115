"""The files of a saved model that is not ours: read within bounds, and stripped of what would choose code or files.

A configuration may name kernels on a hub, quantisers, plug-ins, Python files, or another network to load as a part. We
choose all of that, so nothing of it is handed on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semret.errors import BackboneError
from semret.foreign import read_regular

_MOST_BYTES = 32 << 20
_MOST_LAYERS = 1000
_MOST_LABELS = 1_000_000
"""A configuration makes a name for each of its classes, before a tensor is looked at."""

_CODE = frozenset(
    {
        "attn_implementation",
        "experts_implementation",
        "auto_map",
        "custom_pipelines",
        "trust_remote_code",
        "dtype",
        "torch_dtype",
        "use_kernels",
        "kernel_config",
        "fusion_config",
        "distributed_config",
        "tp_plan",
        "base_model_tp_plan",
        "base_model_pp_plan",
        "device_map",
        "compile_config",
        "transformers_weights",
        "name_or_path",
        "use_pretrained_backbone",
    }
)
"""Keys of a configuration that would choose code, a file or a device. Those with a leading underscore go as well."""


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Parameters
    ----------
    file : Path
        Of at most 32 MiB.

    Returns
    -------
    dict
        May be empty.

    Raises
    ------
    BackboneError
        If the file cannot be read, is too long, no regular file, or holds anything but a JSON object.
    """
    try:
        content = json.loads(read_regular(file, most=_MOST_BYTES).decode("utf-8"))
    except OSError as error:
        raise BackboneError(f"cannot read {file}: it {error.strerror or error}; fetch the model again") from error
    except (ValueError, RecursionError) as error:
        raise BackboneError(f"{file} is no readable JSON; fetch the model again") from error
    if not isinstance(content, dict):
        raise BackboneError(f"{file} holds no JSON object; fetch the model again")
    return content


def read_configuration(file: Path) -> dict[str, Any]:
    """Return a network's configuration without what would choose code or files, at any depth.

    Parameters
    ----------
    file : Path
        A ``config.json`` or another of the JSON files of a saved model.

    Returns
    -------
    dict
        Without the keys of `_CODE`, and without those that begin with an underscore.

    Raises
    ------
    BackboneError
        If it cannot be read; if the network is quantised, takes a part from another library or a hub, or has more
        layers than any network.
    """
    found: dict[str, Any] = _stripped(read_json(file), file)
    return found


def _stripped(value: Any, file: Path) -> Any:
    if isinstance(value, list):
        return [_stripped(item, file) for item in value]
    if not isinstance(value, dict):
        return value
    _refuse(value, file)
    return {key: _stripped(item, file) for key, item in value.items() if key not in _CODE and not key.startswith("_")}


def _refuse(settings: Mapping[str, Any], file: Path) -> None:
    if settings.get("quantization_config"):
        raise BackboneError(f"{file} describes a quantised network; semret needs plain weights")
    kind = settings.get("model_type")
    outside = str(kind).startswith("timm") or settings.get("use_timm_backbone") or settings.get("backbone")
    if outside:
        raise BackboneError(f"{file} takes a part of its network from another library; name that with timm:NAME")
    for key, value in settings.items():
        counts = value if isinstance(value, list) else [value]
        most = _MOST_LAYERS if "layers" in key or "depth" in key else _MOST_LABELS if key == "num_labels" else None
        if most is not None and any(_is_number(count) and count > most for count in counts):
            raise BackboneError(f"{file} asks for {key} of {str(value)[:40]}, more than any network has")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
