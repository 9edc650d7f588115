"""The numbers of the paper (Wald et al., NeurIPS 2024), to stand beside ours for the same cell."""

from __future__ import annotations

PAPER = 'Wald et al., "Decoupling Semantic Similarity from Spatial Alignment for Neural Networks", NeurIPS 2024'

MODELS: dict[str, str] = {
    "clipseg": "CLIPSeg", "dinov2-giant": "DINOv2-G", "bit": "BiT-50", "clip": "CLIP", "sam": "SAM",
    "resnet18": "ResNet18", "resnet50": "ResNet50", "resnet101": "ResNet101", "convnextv2-base": "ConvNeXtV2-B",
    "vit-base": "ViT-B/16", "vit-large": "ViT-L/32",
}  # fmt: skip
"""Backbone names whose checkpoints the paper used, with its name for them."""

KERNELS = ("cosine", "linear", "rbf")
INVARIANCES = ("none", "permutation")

Pair = tuple[float, float]

TABLE_2: dict[str, dict[int, tuple[Pair, Pair, Pair]]] = {
    "CLIPSeg": {
        2500: ((0.240, 0.781), (0.233, 0.548), (0.205, 0.781)),
        5000: ((0.280, 0.835), (0.281, 0.624), (0.247, 0.836)),
        10000: ((0.344, 0.859), (0.328, 0.569), (0.293, 0.854)),
    },
    "DINOv2-G": {
        2500: ((0.765, 0.840), (0.767, 0.839), (0.735, 0.834)),
        5000: ((0.827, 0.876), (0.829, 0.876), (0.810, 0.876)),
        10000: ((0.857, 0.889), (0.856, 0.890), (0.843, 0.888)),
    },
    "BiT-50": {
        2500: ((0.670, 0.799), (0.659, 0.780), (0.582, 0.789)),
        5000: ((0.750, 0.846), (0.730, 0.823), (0.668, 0.835)),
        10000: ((0.800, 0.868), (0.782, 0.852), (0.741, 0.859)),
    },
    "CLIP": {
        2500: ((0.704, 0.803), (0.703, 0.792), (0.584, 0.779)),
        5000: ((0.784, 0.858), (0.780, 0.848), (0.679, 0.835)),
        10000: ((0.827, 0.876), (0.823, 0.867), (0.749, 0.863)),
    },
    "SAM": {
        2500: ((0.509, 0.735), (0.511, 0.695), (0.371, 0.703)),
        5000: ((0.614, 0.804), (0.616, 0.774), (0.474, 0.784)),
        10000: ((0.688, 0.838), (0.688, 0.815), (0.556, 0.823)),
    },
}
"""F1@1 on EgoObjects by model, size of the database, kernel (cosine, linear, rbf), invariance (none, permutation)."""

TABLE_3: dict[str, tuple[Pair, Pair, Pair]] = {
    "CLIPSeg": ((0.662, 0.694), (0.664, 0.654), (0.664, 0.696)),
    "DINOv2-G": ((0.689, 0.700), (0.686, 0.696), (0.686, 0.690)),
    "BiT-50": ((0.679, 0.687), (0.677, 0.677), (0.684, 0.687)),
    "CLIP": ((0.691, 0.701), (0.693, 0.701), (0.678, 0.687)),
    "SAM": ((0.690, 0.702), (0.687, 0.677), (0.679, 0.687)),
}
"""IoU on Cityscapes by model, kernel and invariance, as in `TABLE_2`."""

TABLE_1: dict[str, tuple[Pair, Pair, Pair]] = {
    "ResNet18": ((-0.276, -0.326), (-0.259, -0.270), (-0.176, -0.199)),
    "ResNet50": ((-0.248, -0.291), (-0.243, -0.261), (0.040, 0.029)),
    "ResNet101": ((-0.192, -0.276), (-0.174, -0.240), (0.091, 0.084)),
    "ConvNeXtV2-B": ((-0.134, -0.098), (-0.132, -0.171), (0.117, 0.090)),
    "ViT-B/16": ((-0.046, -0.100), (-0.045, -0.026), (-0.077, -0.122)),
    "ViT-L/32": ((-0.138, -0.188), (-0.138, -0.144), (-0.134, -0.166)),
    "DINOv2-G": ((-0.012, -0.044), (-0.013, -0.031), (-0.008, -0.048)),
}
"""Pearson correlation of similarity with JSD, 2,000 test images of ImageNet, by model, kernel and invariance."""


def table_2(model: str, database: int, kernel: str, invariance: str) -> float | None:
    """Return the paper's F1@1 for a cell, None where it has none."""
    return _cell(TABLE_2.get(MODELS.get(model, ""), {}).get(database), kernel, invariance)


def table_3(model: str, kernel: str, invariance: str) -> float | None:
    """Return the paper's IoU on Cityscapes for a cell, None where it has none."""
    return _cell(TABLE_3.get(MODELS.get(model, "")), kernel, invariance)


def table_1(model: str, kernel: str, invariance: str) -> float | None:
    """Return the paper's Pearson correlation for a cell, None where it has none."""
    return _cell(TABLE_1.get(MODELS.get(model, "")), kernel, invariance)


def _cell(row: tuple[Pair, Pair, Pair] | None, kernel: str, invariance: str) -> float | None:
    if row is None or kernel not in KERNELS or invariance not in INVARIANCES:
        return None
    return row[KERNELS.index(kernel)][INVARIANCES.index(invariance)]
