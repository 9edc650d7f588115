"""The numbers of the paper (Wald et al., NeurIPS 2024), to stand beside ours for the same cell."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from semret.index.backbones.registry import spec_of

PAPER = 'Wald et al., "Decoupling Semantic Similarity from Spatial Alignment for Neural Networks", NeurIPS 2024'

EXTRACTORS: dict[str, str] = {
    "clipseg": "CLIPSeg", "dinov2-giant": "DINOv2-G", "bit": "BiT-50", "clip": "CLIP", "sam": "SAM",
}  # fmt: skip
"""Backbones of Tables 2 and 3, with the paper's names for them."""

CLASSIFIERS: dict[str, str] = {
    "resnet18": "ResNet18", "resnet50": "ResNet50", "resnet101": "ResNet101", "convnextv2-base": "ConvNeXtV2-B",
    "vit-b16": "ViT-B/16", "vit-l32": "ViT-L/32", "dinov2-giant-imagenet1k": "DINOv2-G",
}  # fmt: skip
"""Backbones of Tables 1 and 4, with the paper's names for them."""

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


TABLE_4: dict[str, dict[str, tuple[Pair, Pair, Pair]]] = {
    "pearson": {
        "ResNet18": ((-0.279, -0.328), (-0.264, -0.272), (-0.174, -0.197)),
        "ResNet50": ((-0.256, -0.305), (-0.249, -0.269), (0.028, 0.015)),
        "ResNet101": ((-0.235, -0.330), (-0.211, -0.274), (0.076, 0.067)),
        "ConvNeXtV2-B": ((-0.162, -0.126), (-0.160, -0.184), (0.077, 0.050)),
        "ViT-B/16": ((-0.058, -0.098), (-0.056, -0.031), (-0.079, -0.120)),
        "ViT-L/32": ((-0.142, -0.189), (-0.143, -0.152), (-0.131, -0.164)),
        "DINOv2-G": ((-0.016, -0.046), (-0.016, -0.030), (-0.013, -0.052)),
    },
    "spearman": {
        "ResNet18": ((-0.231, -0.337), (-0.239, -0.225), (-0.435, -0.476)),
        "ResNet50": ((-0.032, 0.007), (-0.046, -0.040), (0.128, 0.132)),
        "ResNet101": ((-0.007, -0.053), (-0.007, -0.077), (0.071, 0.068)),
        "ConvNeXtV2-B": ((-0.017, 0.026), (-0.013, -0.045), (0.143, 0.128)),
        "ViT-B/16": ((-0.013, -0.230), (-0.021, 0.029), (-0.220, -0.313)),
        "ViT-L/32": ((-0.034, -0.276), (-0.029, -0.014), (-0.335, -0.392)),
        "DINOv2-G": ((-0.014, -0.037), (-0.015, -0.022), (-0.015, -0.042)),
    },
}
"""Appendix E.1: Pearson's and Spearman's correlation; its Pearson column differs from `TABLE_1`, of the same title."""

TABLE_5: dict[tuple[str, int], str] = {
    ("ortools", 256): "4.26 ms", ("ortools", 1024): "69.6 ms", ("ortools", 4096): "1.52 s",
    ("scipy", 256): "5.10 ms", ("scipy", 1024): "148 ms", ("scipy", 4096): "8.75 s",
    ("identity", 256): "68.9 %", ("identity", 1024): "67.0 %", ("identity", 4096): "57.9 %",
    ("batch-optimal 128", 256): "97.6 %, 2.41 ms", ("batch-optimal 128", 1024): "94.5 %, 9.08 ms",
    ("batch-optimal 128", 4096): "92.8 %, 43.4 ms", ("batch-optimal 256", 256): "100 %, 4.56 ms",
    ("batch-optimal 256", 1024): "96.8 %, 16.9 ms", ("batch-optimal 256", 4096): "95.0 %, 95.9 ms",
    ("batch-optimal 512", 256): "100 %, 4.57 ms", ("batch-optimal 512", 1024): "98.6 %, 37.1 ms",
    ("batch-optimal 512", 4096): "96.8 %, 171 ms", ("batch-optimal 1024", 256): "100 %, 4.57 ms",
    ("batch-optimal 1024", 1024): "100 %, 79.5 ms", ("batch-optimal 1024", 4096): "98.2 %, 391 ms",
}  # fmt: skip
"""Share of the optimum and time of one matching by method and S: one core, ResNet101 on Tiny-ImageNet."""

QUERIES = 2000
"""Queries of Table 2."""

CITYSCAPES_SIZES = (500, 2975)
"""Queries and database of Table 3: the official val and train splits."""

TEST_PICTURES = 2000
"""Pictures of Tables 1 and 4."""

EGOOBJECTS_TEST = (29_450, 29_550)
"""Fewest and most frames of the test split, of which the paper says "29.5K"."""

_IMAGENET_TEST = re.compile(r"ILSVRC2012_test_\d{8}\.JPEG")


def extractor(identity: Mapping[str, Any]) -> str | None:
    """Return the paper's name of a network of Tables 2 and 3, None if it is not one of them.

    Parameters
    ----------
    identity : mapping
        `semret.index.backbones.spec.Identity` as JSON. Checkpoint, revision, preprocessing (so the input size) and
        layer must be those that the name stands for; a checkpoint of the user's own is another network.

    Returns
    -------
    str or None
    """
    return _name(identity, EXTRACTORS)


def classifier(identity: Mapping[str, Any]) -> str | None:
    """Return the paper's name of a network of Tables 1 and 4; see `extractor`.

    Parameters
    ----------
    identity : mapping

    Returns
    -------
    str or None
    """
    return _name(identity, CLASSIFIERS)


def _name(identity: Mapping[str, Any], names: Mapping[str, str]) -> str | None:
    name = names.get(str(identity["backbone"]))
    if name is None:
        return None
    spec = spec_of(str(identity["backbone"]))
    expected = {
        "checkpoint": spec.checkpoint,
        "revision": spec.revision,
        "layer": spec.layer,
        "preprocessing": None if spec.preprocessing is None else asdict(spec.preprocessing),
    }
    same = all(_plain(identity[field]) == _plain(value) for field, value in expected.items())
    return name if same and identity.get("autocast") is None else None


def _plain(value: Any) -> Any:
    """Return a value with tuples as lists, as it reads from JSON."""
    return json.loads(json.dumps(value))


def is_imagenet_test(names: Sequence[str]) -> bool:
    """Tell whether these file names are `TEST_PICTURES` of ImageNet's test set, as its archive names them.

    Parameters
    ----------
    names : sequence of str

    Returns
    -------
    bool
    """
    return len(names) == TEST_PICTURES and all(_IMAGENET_TEST.fullmatch(name) for name in names)


def table_2(model: str | None, queries: int, database: int, kernel: str, invariance: str) -> float | None:
    """Return the paper's F1@1 on EgoObjects; whether the pictures are the paper's own is for the caller to know.

    Parameters
    ----------
    model : str or None
        As `extractor` gives it.
    queries, database : int
        Sizes; the paper has numbers for 2,000 queries only.
    kernel, invariance : str

    Returns
    -------
    float or None
        None where the paper has no number.
    """
    if queries != QUERIES:
        return None
    return _cell(TABLE_2.get(model or "", {}).get(database), kernel, invariance)


def table_3(model: str | None, queries: int, database: int, kernel: str, invariance: str) -> float | None:
    """Return the paper's IoU on Cityscapes.

    Parameters
    ----------
    model : str or None
        As `extractor` gives it.
    queries, database : int
        Sizes; the paper has numbers for those of the official splits only.
    kernel, invariance : str

    Returns
    -------
    float or None
        None where the paper has no number.
    """
    if (queries, database) != CITYSCAPES_SIZES:
        return None
    return _cell(TABLE_3.get(model or ""), kernel, invariance)


def table_1(model: str | None, kernel: str, invariance: str) -> float | None:
    """Return the paper's Pearson correlation.

    Parameters
    ----------
    model : str or None
        As `classifier` gives it.
    kernel, invariance : str

    Returns
    -------
    float or None
        None where the paper has no number.
    """
    return _cell(TABLE_1.get(model or ""), kernel, invariance)


def table_4(model: str | None, measure: str, kernel: str, invariance: str) -> float | None:
    """Return the correlation of the paper's appendix E.

    Parameters
    ----------
    model : str or None
        As `classifier` gives it.
    measure : {"pearson", "spearman"}
    kernel, invariance : str

    Returns
    -------
    float or None
        None where the paper has no number.
    """
    return _cell(TABLE_4.get(measure, {}).get(model or ""), kernel, invariance)


def _cell(row: tuple[Pair, Pair, Pair] | None, kernel: str, invariance: str) -> float | None:
    if row is None or kernel not in KERNELS or invariance not in INVARIANCES:
        return None
    return row[KERNELS.index(kernel)][INVARIANCES.index(invariance)]
