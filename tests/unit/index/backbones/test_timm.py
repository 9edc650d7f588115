"""timm: small networks with random weights in a safetensors file, as timm saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from semret.errors import BackboneError
from semret.index.backbones.registry import create_backbone

# Name, input size, grid, prefix tokens: a sequence, one with two prefix tokens, a map, a map with channels last; then a
# patch size that is a number, and blocks in lists of lists.
NETWORKS = [
    ("vit_tiny_patch16_224", (224, 224), (14, 14), 1),
    ("deit_tiny_distilled_patch16_224", (224, 224), (14, 14), 2),
    ("resnet10t", (176, 176), (6, 6), 0),
    ("swin_tiny_patch4_window7_224", (224, 224), (7, 7), 0),
    ("convnext_atto", (224, 224), (7, 7), 0),
    ("xcit_nano_12_p16_224", (224, 224), (14, 14), 1),
    ("twins_svt_small", (224, 224), (7, 7), 0),
]


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda row: row[0])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    name, *expected = request.param
    torch.manual_seed(2)
    network = timm.create_model(name).eval()
    file = tmp_path_factory.mktemp("timm") / "model.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, file)
    return name, network, file, *expected


def test_tokens_and_logits_are_the_librarys(saved: tuple[Any, ...]) -> None:
    name, network, file, size, grid, prefix = saved
    backbone = create_backbone(f"timm:{name}", weights=file, device="cpu")
    batch = np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32)
    features = backbone.embed(batch)
    with torch.no_grad():
        hidden = network.forward_features(torch.from_numpy(batch))
        logits = network(torch.from_numpy(batch)).numpy()
    if hidden.ndim == 3:
        expected = hidden[:, prefix:]
    elif name.startswith("swin"):
        expected = hidden.flatten(1, 2)
    else:
        expected = hidden.flatten(2).transpose(1, 2)
    assert backbone.identity.preprocessing.size == size
    assert features.grid == backbone.identity.grid == grid
    assert backbone.identity.prefix_tokens == prefix
    np.testing.assert_allclose(features.tokens, expected.numpy(), rtol=1e-3, atol=1e-4)
    assert features.logits is not None
    np.testing.assert_allclose(features.logits, logits, rtol=1e-3, atol=1e-4)


def test_layers_go_from_fine_to_coarse(saved: tuple[Any, ...]) -> None:
    name, _, file, size, grid, _ = saved
    backbone = create_backbone(f"timm:{name}", weights=file, device="cpu")
    layers = backbone.embed_layers(np.zeros((1, 3, *size), np.float32))
    assert len(layers) >= 4
    positions = [tokens.shape[1] for tokens in layers.values()]
    assert positions == sorted(positions, reverse=True)
    assert positions[-1] == grid[0] * grid[1]


def test_another_size(saved: tuple[Any, ...]) -> None:
    name, _, file, (height, width), grid, _ = saved
    size = (2 * height, width)
    backbone = create_backbone(f"timm:{name}", weights=file, size=size, device="cpu")
    assert abs(backbone.identity.grid[0] - 2 * grid[0]) <= 1
    assert backbone.identity.grid[1] == grid[1]
    tokens = backbone.embed(np.zeros((1, 3, *size), np.float32)).tokens
    assert tokens.shape[1] == backbone.identity.grid[0] * backbone.identity.grid[1]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("pit_ti_224", r"layer 'last' gives shape \(1, 1, 256\), no map of the picture"),
        ("crossvit_tiny_240", "CrossVit ends in 2 maps of different scales"),
    ],
)
def test_networks_that_end_in_no_map_or_in_several_are_refused(name: str, complaint: str, tmp_path: Path) -> None:
    network = timm.create_model(name)
    file = tmp_path / "model.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, file)
    with pytest.raises(BackboneError, match=complaint):
        create_backbone(f"timm:{name}", weights=file, device="cpu")


def test_unknown_networks_and_foreign_weights_are_refused(saved: tuple[Any, ...]) -> None:
    with pytest.raises(BackboneError, match=r"no network 'resnet1000'; did you mean"):
        create_backbone("timm:resnet1000")
    _, _, file, *_ = saved
    with pytest.raises(BackboneError, match="do not fit"):
        create_backbone("timm:mobilenetv3_small_050", weights=file, device="cpu")
