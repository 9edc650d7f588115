"""``onnx:FILE`` with graphs that torch's own exporter wrote, against torch's own output."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from semret.index.backbones.registry import create_backbone
from semret.index.backbones.spec import Backbone

SIDE = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Convolutional(nn.Module):
    """A small network of torchvision: its last map, an embedding, class scores."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torchvision.models.shufflenet_v2_x0_5(weights=None, num_classes=10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        net = self.network
        features = net.conv5(net.stage4(net.stage3(net.stage2(net.maxpool(net.conv1(images))))))
        embedding = features.mean([2, 3])
        return features, embedding, net.fc(embedding)


class Transformer(nn.Module):
    """Patches, a class token and a register before them, positions, two layers of attention."""

    def __init__(self, patch: int = 16, width: int = 48) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.prefix = nn.Parameter(torch.randn(1, 2, width))
        self.positions = nn.Parameter(torch.randn(1, 2 + (SIDE // patch) ** 2, width))
        layer = nn.TransformerEncoderLayer(width, 4, 96, activation="gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.prefix.expand(patches.shape[0], -1, -1), patches], dim=1)
        normalised: Tensor = self.norm(self.layers(tokens + self.positions))
        return normalised


def export(
    network: nn.Module, file: Path, outputs: list[str], *, fixed: int | None = None, **described: object
) -> Backbone:
    """Write a network with torch's exporter (the one that needs no further package), and load it.

    It takes any number of pictures, or only `fixed`.
    """
    example = torch.zeros(fixed or 2, 3, SIDE, SIDE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch recommends its other exporter, which needs onnxscript
        torch.onnx.export(
            network,
            (example,),
            str(file),
            dynamo=False,
            opset_version=17,
            input_names=["images"],
            output_names=outputs,
            dynamic_axes=None if fixed else {name: {0: "batch"} for name in ("images", *outputs)},
        )
    file.with_suffix(".json").write_text(json.dumps({"mean": MEAN, "std": STD, **described}))
    return create_backbone(f"onnx:{file}")


@pytest.fixture
def batch() -> np.ndarray:
    """Three pictures, prepared here by hand."""
    levels = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    return ((levels / 255 - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2)


def test_a_convolutional_network(tmp_path: Path, batch: np.ndarray) -> None:
    torch.manual_seed(0)
    network = Convolutional().eval()
    backbone = export(
        network,
        tmp_path / "cnn.onnx",
        ["map", "embedding", "scores"],
        tokens="map",
        pooled="embedding",
        logits="scores",
    )
    with torch.inference_mode():
        features, embedding, scores = (output.numpy() for output in network(torch.from_numpy(batch)))
    found = backbone.embed(batch)
    assert found.grid == (2, 2)
    assert (backbone.identity.channels, backbone.identity.pooled_dim) == (1024, 1024)
    np.testing.assert_allclose(found.tokens, features.reshape(3, 1024, 4).transpose(0, 2, 1), atol=1e-4)
    np.testing.assert_allclose(found.pooled, embedding, atol=1e-4)
    assert found.logits is not None
    np.testing.assert_allclose(found.logits, scores, atol=1e-4)


@pytest.mark.parametrize("pooled", ["mean", "class"])
def test_a_transformer(tmp_path: Path, batch: np.ndarray, pooled: str) -> None:
    torch.manual_seed(0)
    network = Transformer().eval()
    backbone = export(network, tmp_path / "vit.onnx", ["tokens"], prefix_tokens=2, pooled=pooled)
    with torch.inference_mode():
        sequence = network(torch.from_numpy(batch)).numpy()
    found = backbone.embed(batch)
    assert found.grid == (4, 4)
    assert backbone.identity.prefix_tokens == 2
    np.testing.assert_allclose(found.tokens, sequence[:, 2:], atol=1e-4)
    expected = sequence[:, 0] if pooled == "class" else sequence[:, 2:].mean(axis=1)
    np.testing.assert_allclose(found.pooled, expected, atol=1e-4)


def test_pictures_go_through_the_scaling_that_was_described(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Transformer().eval()
    backbone = export(network, tmp_path / "vit.onnx", ["tokens"], prefix_tokens=2)
    levels = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    prepared = ((levels / 255 - MEAN) / STD).astype(np.float32).transpose(2, 0, 1)
    with torch.inference_mode():
        sequence = network(torch.from_numpy(prepared)[None]).numpy()
    found = backbone.embed(backbone.prepare(Image.fromarray(levels))[None])
    np.testing.assert_allclose(found.tokens, sequence[:, 2:], atol=1e-4)


@pytest.mark.parametrize("fixed", [1, 2, 8])
def test_a_graph_for_a_fixed_number_of_pictures_takes_any(tmp_path: Path, batch: np.ndarray, fixed: int) -> None:
    """As exporters write it unless they are told otherwise."""
    torch.manual_seed(0)
    network = Convolutional().eval()
    outputs = ["map", "embedding", "scores"]
    described = {"tokens": "map", "pooled": "embedding", "logits": "scores"}
    backbone = export(network, tmp_path / "cnn.onnx", outputs, fixed=fixed, **described)
    with torch.inference_mode():
        features, embedding, scores = (output.numpy() for output in network(torch.from_numpy(batch)))
    found = backbone.embed(batch)
    np.testing.assert_allclose(found.tokens, features.reshape(3, 1024, 4).transpose(0, 2, 1), atol=1e-4)
    np.testing.assert_allclose(found.pooled, embedding, atol=1e-4)
    assert found.logits is not None
    np.testing.assert_allclose(found.logits, scores, atol=1e-4)
