"""A small random checkpoint of every family goes through ``semret index --weights`` and ``semret query``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from semret.cli import app
from tests.support.commands import invoke

T = transformers

VIT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64,
    "patch_size": 16,
}  # fmt: skip
TEXT = VIT | {
    "vocab_size": 20, "max_position_embeddings": 8, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
CNN = {"embedding_size": 16, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1], "num_labels": 4}
WORDS = ["<pad>", "<eos>", "<unk>", "a", "red", "blue", "mug", "on", "the", "desk"]


def sam() -> Any:
    heads = {"hidden_size": 24, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return T.SamModel(
        T.SamConfig(
            vision_config=VIT | {"output_channels": 24, "window_size": 2, "global_attn_indexes": [1], "mlp_dim": 64},
            prompt_encoder_config={"hidden_size": 24, "image_size": 64, "patch_size": 16},
            mask_decoder_config=heads | {"iou_head_hidden_dim": 16},
        )
    )


def clipseg() -> Any:
    return T.CLIPSegForImageSegmentation(
        T.CLIPSegConfig(
            vision_config=VIT, text_config=TEXT, extract_layers=[0, 1], reduce_dim=16, projection_dim=16,
            decoder_num_attention_heads=2, decoder_intermediate_size=16,
        )
    )  # fmt: skip


# Name, network, tokens per image.
SAVED: dict[str, tuple[Callable[[], Any], int]] = {
    "dinov2": (lambda: T.Dinov2Model(T.Dinov2Config(**VIT)), 16),
    "dinov2-base-registers": (lambda: T.Dinov2WithRegistersModel(T.Dinov2WithRegistersConfig(**VIT)), 16),
    "dinov2-giant-imagenet1k": (
        lambda: T.Dinov2ForImageClassification(T.Dinov2Config(**VIT, use_swiglu_ffn=True, num_labels=3)),
        16,
    ),
    "dinov3-base": (lambda: T.DINOv3ViTModel(T.DINOv3ViTConfig(**VIT, num_register_tokens=4)), 16),
    "dinov3-convnext-tiny": (
        lambda: T.DINOv3ConvNextModel(T.DINOv3ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])),
        4,
    ),
    "clipseg": (clipseg, 16),
    "sam": (sam, 16),
    "bit": (lambda: T.BitForImageClassification(T.BitConfig(**CNN, num_groups=4)), 4),
    "resnet18": (lambda: T.ResNetForImageClassification(T.ResNetConfig(**CNN, layer_type="basic")), 4),
    "convnextv2-base": (
        lambda: T.ConvNextV2ForImageClassification(
            T.ConvNextV2Config(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])
        ),
        4,
    ),
    "vit-b16": (lambda: T.ViTForImageClassification(T.ViTConfig(**VIT)), 16),
    "siglip": (lambda: T.SiglipModel(T.SiglipConfig(vision_config=VIT, text_config=TEXT)), 16),
    "siglip2-naflex": (
        lambda: T.Siglip2Model(
            T.Siglip2Config(vision_config=VIT | {"num_patches": 16, "image_size": None}, text_config=TEXT)
        ),
        16,
    ),
    "hf:someone/anything": (lambda: T.ViTModel(T.ViTConfig(**VIT)), 16),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of six pictures of coloured blocks."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(6):
        blocks = rng.integers(0, 256, (4, 5, 3), np.uint8).astype(np.uint8)
        Image.fromarray(blocks).resize((100, 80), Image.Resampling.NEAREST).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def query_picture(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """Return picture 3 as another file: its pixels are indexed, its bytes are not, so the model has to load."""
    file = tmp_path_factory.mktemp("query") / "three.bmp"
    Image.open(photos / "3.png").save(file)
    return file


def randomise(network: Any) -> Any:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1 + (parameter.ndim == 1) * 0.5)
    return network


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = T.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    fast.save_pretrained(folder)


def run(*arguments: str | Path) -> str:
    result = invoke(app, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def index_and_query(model: str, weights: Path, photos: Path, picture: Path, index: Path) -> dict[str, Any]:
    """Index the photos, query with a copy of one, check the answer; return the report."""
    report = json.loads(
        run("index", photos, "--model", model, "--weights", weights, "--index", index, "--device", "cpu",
            "--format", "json")
    )  # fmt: skip
    assert report["added"] == 6
    assert report["skipped"] == []
    answer = json.loads(
        run("query", picture, "-k", "3", "--index", index, "--weights", weights, "--format", "json", "--device", "cpu")
    )
    hits = answer[0]["hits"]
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert Path(hits[0]["path"]).name == "3.png"
    assert hits[0]["score"] == pytest.approx(1, abs=1e-3)
    assert hits[1]["score"] < hits[0]["score"]
    return report


@pytest.mark.parametrize("model", SAVED)
def test_a_saved_model_is_indexed_and_queried(model: str, photos: Path, query_picture: Path, tmp_path: Path) -> None:
    build, positions = SAVED[model]
    weights = tmp_path / "weights"
    randomise(build()).save_pretrained(weights)
    T.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(weights)
    index_and_query(model, weights, photos, query_picture, tmp_path / "index")
    manifest = (tmp_path / "index" / "manifest.json").read_text()
    identity = json.loads(manifest)["identity"]
    assert identity["backbone"] == model
    assert identity["grid"][0] * identity["grid"][1] == positions


def test_open_clip_answers_words_too(photos: Path, query_picture: Path, tmp_path: Path) -> None:
    import open_clip

    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    (tmp_path / "semret-e2e.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "semret-e2e.json")
    network = randomise(open_clip.create_model("semret-e2e", pretrained=None))
    weights = tmp_path / "weights.pt"
    torch.save(network.state_dict(), weights)
    index_and_query("open_clip:semret-e2e", weights, photos, query_picture, tmp_path / "index")
    check_words(tmp_path / "index", weights)


def test_siglip_answers_words_too(photos: Path, query_picture: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    randomise(SAVED["siglip"][0]()).save_pretrained(weights)
    save_tokenizer(weights)
    T.SiglipImageProcessor(size={"height": 64, "width": 64}).save_pretrained(weights)
    index_and_query("siglip", weights, photos, query_picture, tmp_path / "index")
    check_words(tmp_path / "index", weights)


def check_words(index: Path, weights: Path) -> None:
    def ask(sentence: str) -> list[dict[str, Any]]:
        printed = run(
            "query", "--text", sentence, "-k", "6", "--index", index, "--weights", weights, "--format", "json"
        )
        hits: list[dict[str, Any]] = json.loads(printed)[0]["hits"]
        return hits

    first, second = ask("a red mug on the desk"), ask("blue")
    scores = [hit["score"] for hit in first]
    assert len(scores) == 6
    assert scores == sorted(scores, reverse=True)
    assert scores != [hit["score"] for hit in second]
    page = index.parent / "words.html"
    result = CliRunner().invoke(
        app, ["query", "--text", "blue", "--index", str(index), "--weights", str(weights), "--html", str(page)]
    )
    assert result.stderr.splitlines() == [
        "semret: a sentence has no patches to match; ranked by the pooled embedding",
        f"semret: page written to {page}",
    ]
    assert "sentences by the pooled embedding" in page.read_text(encoding="utf-8")
    assert "permutation" not in page.read_text(encoding="utf-8")


def test_timm(photos: Path, query_picture: Path, tmp_path: Path) -> None:
    import timm

    network = randomise(timm.create_model("resnet10t"))
    weights = tmp_path / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, weights)
    index_and_query("timm:resnet10t", weights, photos, query_picture, tmp_path / "index")


def test_words_without_a_text_tower_are_refused_in_one_line(photos: Path, tmp_path: Path) -> None:
    weights, index = tmp_path / "weights", tmp_path / "index"
    randomise(SAVED["dinov2"][0]()).save_pretrained(weights)
    T.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(weights)
    run("index", photos, "--model", "dinov2", "--weights", weights, "--index", index)
    result = CliRunner().invoke(app, ["query", "--text", "mug", "--index", str(index), "--weights", str(weights)])
    assert result.exit_code == 1
    assert "no text tower" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_other_weights_than_the_index_was_made_with_are_refused(
    photos: Path, query_picture: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    for number in (0, 1):
        network = SAVED["dinov2"][0]()
        torch.manual_seed(number)
        network.embeddings.cls_token.data.normal_()
        network.save_pretrained(tmp_path / f"weights{number}")
        T.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path / f"weights{number}")
    run("index", photos, "--model", "dinov2", "--weights", tmp_path / "weights0", "--index", index)
    result = CliRunner().invoke(
        app, ["query", str(query_picture), "--index", str(index), "--weights", str(tmp_path / "weights1")]
    )
    assert result.exit_code == 1
    assert "weights" in result.stderr
