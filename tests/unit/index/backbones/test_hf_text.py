"""Sentences as SigLIP and SigLIP 2 were trained to read them, through tokenizers of the real classes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from semret.errors import BackboneError
from semret.index.backbones.registry import create_backbone

T = transformers
LENGTH = 12
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = TOWER | {"image_size": 64, "patch_size": 16}
TEXT = TOWER | {
    "vocab_size": 100, "max_position_embeddings": LENGTH, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
SENTENCES = ["A red mug on a desk.", "a blue chair"]


def save_network(folder: Path) -> Any:
    torch.manual_seed(0)
    network = T.SiglipModel(T.SiglipConfig(vision_config=VISION, text_config=TEXT)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1 + (parameter.ndim == 1) * 0.5)
    network.save_pretrained(folder)
    T.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return network


def save_sentencepiece(folder: Path) -> Any:
    """Train a tokenizer on a few words and save it as SigLIP's repositories do, ``spiece.model`` and configuration."""
    import sentencepiece

    model = io.BytesIO()
    words = ["a", "red", "mug", "on", "the", "desk", "blue", "chair", "with", "lamp", "plant", "cup", "table", "and"]
    lines = [" ".join(words[start:] + words[:start]) for start in range(len(words))]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    (folder / "spiece.model").write_bytes(model.getvalue())
    tokenizer = T.SiglipTokenizer(vocab_file=str(folder / "spiece.model"), model_max_length=LENGTH)
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_gemma_like(folder: Path) -> Any:
    """Save a tokenizer that minds capitals, fills up in front, and gives a mask: all that SigLIP 2 must not have."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<pad>", "<eos>", "<unk>", "a", "red", "blue", "mug", "on", "desk", "chair", ".", "A"]
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = T.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left"
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def test_siglip_reads_sentences_with_its_own_tokenizer(tmp_path: Path) -> None:
    network, tokenizer = save_network(tmp_path), save_sentencepiece(tmp_path)
    backbone = create_backbone("siglip", weights=tmp_path, device="cpu")
    found = backbone.embed_text(SENTENCES)
    options = {"padding": "max_length", "max_length": LENGTH, "truncation": True, "return_tensors": "pt"}
    with torch.no_grad():
        output = network.get_text_features(input_ids=tokenizer(SENTENCES, **options)["input_ids"])
    expected = (output if isinstance(output, torch.Tensor) else output.pooler_output).numpy()
    assert found.shape == (2, 32)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-2


def test_siglip2_reads_lower_case_filled_up_at_the_end_without_a_mask(tmp_path: Path) -> None:
    network = save_network(tmp_path)
    save_gemma_like(tmp_path)
    backbone = create_backbone("siglip2", weights=tmp_path, device="cpu")
    ids = [[3, 4, 6, 7, 3, 8, 10, 0, 0, 0, 0, 0], [3, 5, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
    with torch.no_grad():
        output = network.get_text_features(input_ids=torch.tensor(ids))
    expected = (output if isinstance(output, torch.Tensor) else output.pooler_output).numpy()
    np.testing.assert_allclose(backbone.embed_text(SENTENCES), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(backbone.embed_text(["A RED MUG"]), backbone.embed_text(["a red mug"]))


def test_a_long_sentence_is_cut(tmp_path: Path) -> None:
    save_network(tmp_path)
    save_gemma_like(tmp_path)
    backbone = create_backbone("siglip2", weights=tmp_path, device="cpu")
    long = " ".join(["red"] * 40)
    np.testing.assert_array_equal(backbone.embed_text([long]), backbone.embed_text([long + " mug"]))


def test_a_tokenizer_that_is_not_there_is_named(tmp_path: Path) -> None:
    save_network(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "SiglipTokenizer"}')
    backbone = create_backbone("siglip", weights=tmp_path, device="cpu")
    with pytest.raises(BackboneError, match="holds no usable tokenizer for text queries"):
        backbone.embed_text(["a mug"])
