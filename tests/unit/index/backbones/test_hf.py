"""Small random checkpoints of the real classes, in the real layout on disk, compared with the library's own network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers

from semret.errors import BackboneError
from semret.index.backbones.registry import create_backbone


class Family(NamedTuple):
    """A tiny network: the name that loads it, how to build it, and what it must give for a 64 x 64 picture."""

    name: str
    build: Callable[[], Any]
    grid: tuple[int, int]
    prefix: int
    size: tuple[int, int] = (64, 64)
    logits: int | None = None


def vit_settings(**changes: Any) -> dict[str, Any]:
    settings = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
    }
    return settings | changes


def dinov2(**changes: Any) -> dict[str, Any]:
    return vit_settings(patch_size=8, **changes)


def tower(**changes: Any) -> dict[str, Any]:
    return vit_settings(num_channels=3, **changes)


TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "vocab_size": 100, "max_position_embeddings": 12, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
CNN = {"embedding_size": 16, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1]}

T = transformers
FAMILIES = {
    "dinov2": Family("dinov2", lambda: T.Dinov2Model(T.Dinov2Config(**dinov2())), (8, 8), 1),
    "dinov2 registers": Family(
        "dinov2-base-registers",
        lambda: T.Dinov2WithRegistersModel(T.Dinov2WithRegistersConfig(**dinov2())),
        (8, 8),
        5,
    ),
    "dinov2 classifier": Family(
        "dinov2-giant-imagenet1k",
        lambda: T.Dinov2ForImageClassification(T.Dinov2Config(**dinov2(use_swiglu_ffn=True, num_labels=7))),
        (8, 8),
        1,
        logits=7,
    ),
    "dinov3 vit": Family(
        "dinov3-base", lambda: T.DINOv3ViTModel(T.DINOv3ViTConfig(**vit_settings(num_register_tokens=4))), (4, 4), 5
    ),
    "dinov3 convnext": Family(
        "dinov3-convnext-tiny",
        lambda: T.DINOv3ConvNextModel(T.DINOv3ConvNextConfig(hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 2, 1])),
        (2, 2),
        1,
    ),
    "vit": Family(
        "vit-b16", lambda: T.ViTForImageClassification(T.ViTConfig(**vit_settings(num_labels=5))), (4, 4), 1, logits=5
    ),
    "resnet": Family(
        "resnet18",
        lambda: T.ResNetForImageClassification(T.ResNetConfig(**CNN, layer_type="basic", num_labels=6)),
        (2, 2),
        0,
        logits=6,
    ),
    "bit": Family(
        "bit",
        lambda: T.BitForImageClassification(T.BitConfig(**CNN, num_groups=4, num_labels=6)),
        (2, 2),
        0,
        logits=6,
    ),
    "convnextv2": Family(
        "convnextv2-base",
        lambda: T.ConvNextV2ForImageClassification(
            T.ConvNextV2Config(hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 2, 1], num_labels=6)
        ),
        (2, 2),
        0,
        logits=6,
    ),
    "sam": Family(
        "sam",
        lambda: T.SamModel(
            T.SamConfig(
                vision_config=vit_settings(output_channels=24, window_size=2, global_attn_indexes=[1], mlp_dim=64),
                prompt_encoder_config={"hidden_size": 24, "image_size": 64, "patch_size": 16},
                mask_decoder_config={
                    "hidden_size": 24, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                    "iou_head_hidden_dim": 16,
                },
            )
        ),
        (4, 4),
        0,
    ),
    "clipseg": Family(
        "clipseg",
        lambda: T.CLIPSegForImageSegmentation(
            T.CLIPSegConfig(
                vision_config=tower(image_size=32), text_config=TEXT, extract_layers=[0, 1], reduce_dim=16,
                decoder_num_attention_heads=2, decoder_intermediate_size=16, projection_dim=16,
            )
        ),
        (4, 4),
        1,
    ),
    "siglip": Family(
        "siglip",
        lambda: T.SiglipModel(T.SiglipConfig(vision_config=tower(), text_config=TEXT)),
        (4, 4),
        0,
    ),
    "siglip2 naflex": Family(
        "siglip2-naflex",
        lambda: T.Siglip2Model(
            T.Siglip2Config(vision_config=tower(num_patches=16) | {"image_size": None}, text_config=TEXT)
        ),
        (4, 4),
        0,
    ),
    "clip by hf:": Family(
        "hf:someone/clip",
        lambda: T.CLIPModel(T.CLIPConfig(vision_config=tower(), text_config=TEXT, projection_dim=16)),
        (4, 4),
        1,
    ),
}  # fmt: skip

PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 64, "width": 64},
    "resample": 2,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4],
}


@pytest.fixture(scope="module", params=FAMILIES, ids=str)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Family, Any, Path]:
    family = FAMILIES[request.param]
    torch.manual_seed(0)
    network = family.build().eval()
    # Initial weights are so small or so even that distinct positions would give equal tokens.
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1 + (parameter.ndim == 1) * 0.5)
    folder = tmp_path_factory.mktemp("model")
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return family, network, folder


@pytest.fixture
def batch() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((2, 3, 64, 64)).astype(np.float32)


def by_hand(network: Any, batch: np.ndarray) -> tuple[torch.Tensor, Any]:
    """Return the last hidden state of the image tower and the output of the library's own call."""
    images = torch.from_numpy(batch)
    with torch.no_grad():
        if hasattr(network, "get_image_embeddings"):
            return network.get_image_embeddings(images), None
        if type(network).__name__ == "CLIPSegForImageSegmentation":
            return network.clip.vision_model(images, interpolate_pos_encoding=True).last_hidden_state, None
        if type(network).__name__ == "Siglip2Model":
            # The library's image processor cuts pictures into patches; this is its order.
            patches = images.unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 4, 5, 1).reshape(2, 16, -1)
            shapes = torch.tensor([[4, 4], [4, 4]])
            mask = torch.ones(2, 16, dtype=torch.long)
            output = network.vision_model(patches, mask, shapes)
            return output.last_hidden_state, output.pooler_output
        if hasattr(network, "vision_model"):
            output = network.get_image_features(pixel_values=images)
            pooled = output if isinstance(output, torch.Tensor) else output.pooler_output
            return network.vision_model(images).last_hidden_state, pooled
        if hasattr(network, "classifier") or type(network).__name__.endswith("Classification"):
            base = getattr(network, network.base_model_prefix)
            return base(images).last_hidden_state, network(images).logits
        return network(images).last_hidden_state, None


def flatten(hidden: torch.Tensor, prefix: int) -> np.ndarray:
    tokens = hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden[:, prefix:]
    return tokens.numpy()


def test_tokens_are_those_of_the_librarys_own_network(saved: tuple[Family, Any, Path], batch: np.ndarray) -> None:
    family, network, folder = saved
    backbone = create_backbone(family.name, weights=folder, device="cpu")
    features = backbone.embed(batch)
    hidden, _ = by_hand(network, batch)
    expected = flatten(hidden, family.prefix)
    assert np.ptp(expected, axis=1).max() > 1e-3, "the test needs tokens that differ from one position to another"
    np.testing.assert_allclose(features.tokens, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert features.grid == family.grid
    assert backbone.identity.prefix_tokens == family.prefix
    assert backbone.identity.channels == expected.shape[2]
    assert backbone.identity.grid == family.grid


def test_logits_or_image_embedding_are_the_librarys(saved: tuple[Family, Any, Path], batch: np.ndarray) -> None:
    family, network, folder = saved
    backbone = create_backbone(family.name, weights=folder, device="cpu")
    features = backbone.embed(batch)
    _, other = by_hand(network, batch)
    if family.logits:
        assert features.logits is not None
        assert features.logits.shape == (2, family.logits)
        np.testing.assert_allclose(features.logits, other.numpy(), rtol=1e-3, atol=1e-4)
    else:
        assert features.logits is None
    if backbone.spec.pooled == "model":
        np.testing.assert_allclose(features.pooled, other.numpy(), rtol=1e-3, atol=1e-4)
    else:
        np.testing.assert_allclose(features.pooled, features.tokens.mean(axis=1), rtol=1e-4, atol=1e-5)
    assert backbone.identity.pooled_dim == features.pooled.shape[1]


def test_streams_give_what_one_call_gives(saved: tuple[Family, Any, Path]) -> None:
    """Several threads run one network at the same time, and none reads the layers of another's picture."""
    family, _, folder = saved
    backbone = create_backbone(family.name, weights=folder, device="cpu")
    pictures = np.random.default_rng(4).standard_normal((12, 1, 3, *family.size)).astype(np.float32)
    alone = [backbone.embed(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(backbone.embed, pictures))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.tokens, other.tokens, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(one.pooled, other.pooled, rtol=1e-4, atol=1e-5)


def test_every_layer_is_a_map_and_the_final_one_is_the_default(
    saved: tuple[Family, Any, Path], batch: np.ndarray
) -> None:
    family, _, folder = saved
    backbone = create_backbone(family.name, weights=folder, device="cpu")
    layers = backbone.embed_layers(batch)
    assert list(layers)[-1] == "last"
    assert len(layers) >= 4
    np.testing.assert_array_equal(layers["last"], backbone.embed(batch).tokens)
    for tokens in layers.values():
        assert tokens.dtype == np.float32
        assert tokens.shape[0] == 2
    earlier = create_backbone(family.name, weights=folder, layer=-2, device="cpu")
    name = list(layers)[-2]
    assert earlier.identity.layer == name
    np.testing.assert_allclose(earlier.embed(batch).tokens, layers[name], rtol=1e-5, atol=1e-6)


def test_the_saved_processor_decides_the_preprocessing(saved: tuple[Family, Any, Path]) -> None:
    family, _, folder = saved
    identity = create_backbone(family.name, weights=folder, device="cpu").identity
    assert identity.preprocessing.size == family.size
    assert identity.preprocessing.mean == (0.5, 0.4, 0.3)
    assert identity.preprocessing.interpolation == "bilinear"


def test_a_missing_tensor_is_named(saved: tuple[Family, Any, Path], tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    family, _, folder = saved
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    state = load_file(broken / "model.safetensors")
    candidates = [name for name in state if "vision" in name and "layer_norm1.weight" in name]
    candidates = candidates or [name for name in state if "weight" in name and ("norm" in name or "layer" in name)]
    del state[candidates[0]]
    save_file(state, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"do not fit .*missing"):
        create_backbone(family.name, weights=broken, device="cpu")


@pytest.mark.parametrize("name", ["dinov2", "vit-b16", "siglip", "clipseg"])
def test_permuted_patches_give_permuted_tokens_where_positions_are_unknown(name: str, tmp_path: Path) -> None:
    """Attention knows positions through their embeddings only: without them, moving patches moves tokens."""
    family = next(family for family in FAMILIES.values() if family.name == name)
    torch.manual_seed(0)
    network = family.build()
    with torch.no_grad():
        for path, parameter in network.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1 + (parameter.ndim == 1) * 0.5)
            if "position_embedding" in path:
                parameter.zero_()
    network.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    backbone = create_backbone(name, weights=tmp_path, device="cpu")
    rng = np.random.default_rng(4)
    rows, columns = backbone.identity.grid
    patch = 64 // rows
    patches = rng.standard_normal((rows * columns, 3, patch, patch)).astype(np.float32)
    order = rng.permutation(rows * columns)

    def lay(cells: np.ndarray) -> np.ndarray:
        grid = cells.reshape(rows, columns, 3, patch, patch)
        return grid.transpose(2, 0, 3, 1, 4).reshape(1, 3, 64, 64)

    straight = backbone.embed(lay(patches)).tokens[0]
    moved = backbone.embed(lay(patches[order])).tokens[0]
    np.testing.assert_allclose(moved, straight[order], rtol=1e-3, atol=1e-4)
    assert np.abs(moved - straight).max() > 1e-2


def test_a_masked_autoencoder_sees_the_whole_picture_in_order(tmp_path: Path, batch: np.ndarray) -> None:
    """By itself it hides three quarters of the patches, other ones each time, and shuffles the rest."""
    torch.manual_seed(0)
    network = transformers.ViTMAEModel(transformers.ViTMAEConfig(**vit_settings())).eval()
    network.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    backbone = create_backbone("hf:someone/mae", weights=tmp_path, device="cpu")
    features = backbone.embed(batch)
    assert features.grid == (4, 4)
    np.testing.assert_allclose(backbone.embed(batch[1:]).tokens[0], features.tokens[1], rtol=1e-4, atol=1e-5)
    # The same encoder as a plain network, whose patches are never hidden: its tensors have the same names.
    plain = tmp_path / "plain"
    shutil.copytree(tmp_path, plain)
    config = json.loads((plain / "config.json").read_text())
    config |= {"model_type": "vit", "architectures": ["ViTModel"]}
    (plain / "config.json").write_text(json.dumps(config))
    expected = create_backbone("hf:someone/vit", weights=plain, device="cpu").embed(batch)
    np.testing.assert_allclose(features.tokens, expected.tokens, rtol=1e-3, atol=1e-4)


def test_a_network_that_cannot_be_traced_is_run_instead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    network = transformers.ViTModel(transformers.ViTConfig(**vit_settings()))
    network.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))

    def fail(*_: Any) -> Any:
        raise RuntimeError("unsupported scalarType")

    monkeypatch.setattr("semret.index.backbones.tracing._trace", fail)
    backbone = create_backbone("hf:someone/vit", weights=tmp_path, device="cpu")
    assert (backbone.identity.grid, backbone.identity.channels, backbone.identity.prefix_tokens) == ((4, 4), 32, 1)
    with pytest.raises(BackboneError, match=r"does not take pictures of 8x8.*leave --size out"):
        create_backbone("hf:someone/vit", weights=tmp_path, size=(8, 8), device="cpu")


def test_names_from_before_the_library_renamed_its_tensors_are_understood(tmp_path: Path, batch: np.ndarray) -> None:
    """Published checkpoints of ConvNeXt V2 have ``grn.gamma`` and ``grn.beta``; transformers 5 finds them missing."""
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    network = FAMILIES["convnextv2"].build()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1 + (parameter.ndim == 1) * 0.5)
    network.save_pretrained(tmp_path / "present")
    (tmp_path / "present" / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    shutil.copytree(tmp_path / "present", tmp_path / "former")
    state = load_file(tmp_path / "present" / "model.safetensors")
    former = {
        name.replace("grn.weight", "grn.gamma").replace("grn.bias", "grn.beta"): tensor
        for name, tensor in state.items()
    }
    assert sum(".grn.gamma" in name for name in former) == 5
    save_file(former, tmp_path / "former" / "model.safetensors", metadata={"format": "pt"})
    tokens = [
        create_backbone("convnextv2-base", weights=tmp_path / age, device="cpu").embed(batch).tokens
        for age in ("present", "former")
    ]
    np.testing.assert_array_equal(tokens[0], tokens[1])
