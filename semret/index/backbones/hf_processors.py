"""Read the preprocessing that a saved transformers model prescribes for itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from semret.errors import BackboneError, cut_text
from semret.index.backbones.folder import read_json
from semret.index.backbones.spec import Geometry, Preprocessing

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
_FILTERS: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
_BICUBIC_BY_DEFAULT = ("CLIP", "Bit", "ConvNext", "Siglip", "Chinese", "AltCLIP", "Blip", "Deit")
_MOST_PIXELS = 8192
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def find_preprocessing(directory: Path) -> Preprocessing | None:
    """Return the preprocessing that a saved model describes in ``(pre)processor_config.json``.

    Parameters
    ----------
    directory : Path
        Of the saved model.

    Returns
    -------
    Preprocessing or None
        None if there is neither file.

    Raises
    ------
    BackboneError
        If the file cannot be read, or asks for something that `Preprocessing` cannot express.
    """
    for name in ("preprocessor_config.json", "processor_config.json"):
        file = directory / name
        if not file.is_file():
            continue
        content = read_json(file)
        settings = content.get("image_processor", content if name.startswith("pre") else None)
        if isinstance(settings, dict):
            try:
                return read_preprocessing(settings)
            except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
                reason = cut_text(error)
                raise BackboneError(f"{file} describes no preprocessing that semret knows: {reason}") from error
    return None


def read_preprocessing(settings: Mapping[str, Any]) -> Preprocessing:
    """Translate the settings of an image processor of transformers.

    Parameters
    ----------
    settings : mapping
        As they are written in the JSON file; keys that are missing have the defaults of the processor's class.

    Returns
    -------
    Preprocessing

    Raises
    ------
    BackboneError
        If they leave the input size open, or ask for a step that `Preprocessing` cannot express.
    TypeError, ValueError, LookupError, AttributeError, ArithmeticError
        If a value is of another type, or no number, where one is expected.
    """
    kind = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")
    if not settings.get("do_resize", True):
        raise BackboneError(f"{kind} does not resize pictures; semret needs one input size for all")
    factor = settings.get("rescale_factor", 1 / 255)
    if not settings.get("do_rescale", True) or abs(factor * 255 - 1) > 1e-6:
        raise BackboneError(f"{kind} scales pixels by {str(factor)[:60]}; semret knows 1/255 only")
    size, geometry, edge = _geometry(kind, settings)
    default = 3 if kind.startswith(_BICUBIC_BY_DEFAULT) else 2
    resample = settings.get("resample", default)
    if resample not in _FILTERS:
        raise BackboneError(
            f"{kind} asks for the resampling filter {str(resample)[:60]}; semret knows {sorted(_FILTERS)}"
        )
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if settings.get("do_normalize", True):
        mean, std = (_triple(settings.get(f"image_{key}"), _IMAGENET[i]) for i, key in enumerate(("mean", "std")))
    if any(not 1 <= length <= _MOST_PIXELS for length in (*size, size[0] if edge is None else edge)):
        raise BackboneError(
            f"{kind} asks for pictures of {str(size)[:60]} pixels, expected edges of 1 to {_MOST_PIXELS}"
        )
    if not all(deviation > 0 for deviation in std):
        raise ValueError(f"deviation {std} is not positive")
    return Preprocessing(
        size=size, geometry=geometry, resize_edge=edge, interpolation=_FILTERS[resample], mean=mean, std=std
    )


def _geometry(kind: str, settings: Mapping[str, Any]) -> tuple[tuple[int, int], Geometry, int | None]:
    size = settings.get("size", 224)
    crops = settings.get("do_center_crop", settings.get("crop_size") is not None and "ViT" not in kind)
    if isinstance(size, int):
        # Before sizes were written as mappings, an integer meant the shortest edge where there was a crop.
        size = {"shortest_edge": size} if crops or "ConvNext" in kind else {"height": size, "width": size}
    if "ConvNext" in kind and "shortest_edge" in size:
        edge = int(size["shortest_edge"])
        # ConvNext's rule: from 384 pixels on nothing is cut away.
        if edge >= 384:
            return (edge, edge), "squash", None
        return (edge, edge), "crop", int(edge / settings.get("crop_pct", 224 / 256))
    if crops:
        crop = _pair(settings.get("crop_size", size))
        edge = size.get("shortest_edge")
        if edge is None:
            return crop, "crop" if _pair(size) != crop else "squash", max(_pair(size))
        return crop, "crop", int(edge)
    if "height" in size:
        return _pair(size), "squash", None
    if "longest_edge" in size and settings.get("do_pad", True) and settings.get("pad_size"):
        return _pair(settings["pad_size"]), "corner", None
    raise BackboneError(f"{kind} leaves the input size open ({str(size)[:60]}); semret needs one size for all pictures")


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        return int(size.get("height", edge)), int(size.get("width", edge))
    return (int(size), int(size)) if not isinstance(size, (list, tuple)) else (int(size[0]), int(size[1]))


def _triple(values: Any, default: tuple[float, float, float]) -> tuple[float, float, float]:
    if values is None:
        return default
    if isinstance(values, (int, float)):
        values = (values,) * 3
    red, green, blue = (float(value) for value in values)
    if not all(math.isfinite(value) for value in (red, green, blue)):
        raise ValueError(f"mean or deviation {values} is not finite")
    return red, green, blue
