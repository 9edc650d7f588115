"""open_clip: a small architecture of the real classes, its state dict on disk, and its text tower."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import open_clip
import pytest
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from semret.errors import BackboneError, WeightsNotFoundError
from semret.index.backbones.registry import create_backbone

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
TOWERS: dict[str, dict[str, Any]] = {
    "vit": {"image_size": 64, "layers": 3, "width": 64, "head_width": 32, "patch_size": 16},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32, "patch_size": None},
    "timm": {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_pool": "token", "timm_proj": "linear"},
}
GRIDS = {"vit": ((4, 4), 1), "resnet": ((2, 2), 0), "timm": ((14, 14), 1)}
MEAN = (0.48145466, 0.4578275, 0.40821073)


@pytest.fixture(scope="module", params=TOWERS)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Path]:
    """Return the kind of image tower, open_clip's own network, and the folder with its weights."""
    kind = request.param
    folder = tmp_path_factory.mktemp("clip")
    config = {"embed_dim": 24, "vision_cfg": TOWERS[kind], "text_cfg": TEXT}
    (folder / f"semret-test-{kind}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    torch.manual_seed(1)
    network = open_clip.create_model(f"semret-test-{kind}", pretrained=None).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1 + (parameter.ndim == 1) * 0.5)
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folder / "model.safetensors"
    )
    return kind, network, folder


@pytest.fixture
def batch(tiny: tuple[str, Any, Path]) -> np.ndarray:
    edge = TOWERS[tiny[0]]["image_size"]
    return np.random.default_rng(3).standard_normal((2, 3, edge, edge)).astype(np.float32)


def hidden_by_hand(kind: str, network: Any, batch: np.ndarray) -> np.ndarray:
    """Return the last hidden state by running the parts of the tower one after the other."""
    visual, images = network.visual, torch.from_numpy(batch)
    with torch.no_grad():
        if kind == "timm":
            return visual.trunk.forward_features(images)[:, 1:].numpy()
        if kind == "resnet":
            hidden = visual.stem(images)
            for stage in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
                hidden = stage(hidden)
            return hidden.flatten(2).transpose(1, 2).numpy()
        patches = visual.conv1(images).flatten(2).transpose(1, 2)
        first = visual.class_embedding.expand(len(batch), 1, -1)
        hidden = visual.ln_pre(torch.cat([first, patches], dim=1) + visual.positional_embedding)
        for block in visual.transformer.resblocks:
            hidden = block(hidden)
        return hidden[:, 1:].numpy()


def test_tokens_and_embedding_are_the_librarys(tiny: tuple[str, Any, Path], batch: np.ndarray) -> None:
    kind, network, folder = tiny
    backbone = create_backbone(f"open_clip:semret-test-{kind}", weights=folder, device="cpu")
    features = backbone.embed(batch)
    grid, prefix = GRIDS[kind]
    assert features.grid == backbone.identity.grid == grid
    assert backbone.identity.prefix_tokens == prefix
    np.testing.assert_allclose(features.tokens, hidden_by_hand(kind, network, batch), rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        pooled = network.encode_image(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(features.pooled, pooled, rtol=1e-3, atol=1e-5)
    assert backbone.identity.preprocessing.mean == MEAN
    assert list(backbone.embed_layers(batch))[-1] == "last"


def test_a_file_is_as_good_as_its_folder(tiny: tuple[str, Any, Path], batch: np.ndarray, tmp_path: Path) -> None:
    kind, network, folder = tiny
    torch.save({"state_dict": network.state_dict()}, tmp_path / "trained.pt")
    name = f"open_clip:semret-test-{kind}"
    first = create_backbone(name, weights=tmp_path / "trained.pt", device="cpu").embed(batch)
    second = create_backbone(name, weights=folder / "model.safetensors", device="cpu").embed(batch)
    np.testing.assert_array_equal(first.tokens, second.tokens)


def test_weights_of_another_architecture_are_refused(tiny: tuple[str, Any, Path]) -> None:
    _, _, folder = tiny
    other = "open_clip:ViT-S-32" if "ViT-S-32" in open_clip.list_models() else "open_clip:ViT-B-32"
    with pytest.raises(BackboneError, match="do not fit"):
        create_backbone(other, weights=folder / "model.safetensors", device="cpu")


def test_another_size_interpolates_positions(tiny: tuple[str, Any, Path]) -> None:
    kind, _, folder = tiny
    edge, (rows, columns) = TOWERS[kind]["image_size"], GRIDS[kind][0]
    name, size = f"open_clip:semret-test-{kind}", (edge + 32, edge)
    if kind != "vit":
        # Attention pooling has one learned position per cell of its map, and open_clip does not resize timm's.
        with pytest.raises(BackboneError, match="--size"):
            create_backbone(name, weights=folder, size=size, device="cpu")
        return
    backbone = create_backbone(name, weights=folder, size=size, device="cpu")
    assert backbone.identity.grid == (rows + 2, columns)
    tokens = backbone.embed(np.ones((1, 3, *size), np.float32)).tokens
    assert tokens.shape[1] == (rows + 2) * columns


def test_sentences_get_the_librarys_embeddings(tiny: tuple[str, Any, Path]) -> None:
    kind, network, folder = tiny
    backbone = create_backbone(f"open_clip:semret-test-{kind}", weights=folder, device="cpu")
    sentences = ["a red mug on a desk", "two dogs"]
    with torch.no_grad():
        expected = network.encode_text(open_clip.get_tokenizer(f"semret-test-{kind}")(sentences)).numpy()
    found = backbone.embed_text(sentences)
    assert found.shape == (2, backbone.identity.pooled_dim) == (2, 24)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("open_clip:NoSuchNet/openai", "no architecture 'NoSuchNet'"),
        ("open_clip:ViT-B-32/nowhere", "no weights 'nowhere'"),
    ],
)
def test_unknown_names_are_refused(name: str, complaint: str) -> None:
    with pytest.raises(BackboneError, match=complaint):
        create_backbone(name)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match=str(tmp_path)):
        create_backbone("clip", weights=tmp_path)


def test_a_folder_called_like_a_text_tower_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from semret.index.backbones import openclip

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    words = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained("roberta-base")
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    transformers.RobertaConfig(vocab_size=2, **small).save_pretrained("roberta-base")
    assert open_clip.get_tokenizer("roberta-ViT-B-32").tokenizer.vocab_size == 2
    with pytest.raises(BackboneError, match="cannot build roberta-ViT-B-32"):
        openclip.build("roberta-ViT-B-32")
    tower = openclip.TextTower(torch.nn.Linear(1, 1), "roberta-ViT-B-32")
    with pytest.raises(BackboneError, match="the tokenizer of roberta-ViT-B-32 cannot be had"):
        tower(["a"])
