"""Folders of saved models that somebody else made: nothing in them chooses code, or reads outside of them."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from semret.errors import BackboneError, SemretError, WeightsNotFoundError
from semret.index.backbones.folder import read_configuration, read_json
from semret.index.backbones.hf_processors import find_preprocessing
from semret.index.backbones.registry import create_backbone
from semret.index.backbones.weights import digest, read_state

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CONFIG: dict[str, Any] = {
    "model_type": "vit",
    "architectures": ["ViTModel"],
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 16,
}
PROCESSOR: dict[str, Any] = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record every connection that is tried, and refuse it."""
    tried: list[Any] = []

    def connect(_: socket.socket, address: Any) -> None:
        tried.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *name, **_: connect(None, name))  # type: ignore[arg-type]
    return tried


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    torch.manual_seed(0)
    transformers.ViTModel(transformers.ViTConfig.from_dict(CONFIG)).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes())
    write(tmp_path)
    return tmp_path


def write(folder: Path, processor: Any = PROCESSOR, **settings: Any) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, **settings}))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def load(folder: Path) -> Any:
    return create_backbone("hf:someone/net", weights=folder, device="cpu")


@pytest.mark.parametrize(
    "settings",
    [
        {"attn_implementation": "some/kernel"},
        {"_attn_implementation": "some/kernel"},
        {"_attn_implementation_internal": "some/kernel@main:forward"},
        {"attn_implementation": {"": "some/kernel", "vision_config": "some/kernel"}},
        {"attn_implementation": "flash_attention_2"},
        {"experts_implementation": "some/kernel", "use_kernels": True, "kernel_config": {"a": "some/kernel"}},
        {"auto_map": {"AutoConfig": "trap.Config", "AutoModel": "some/repo--trap.Model"}},
        {"dtype": "trap", "torch_dtype": "float8_e4m3fn"},
        {"fusion_config": {"patch_embeddings": True}, "distributed_config": {"tp_size": 8}, "tp_plan": "auto"},
        {"_name_or_path": "some/other", "name_or_path": "/etc/passwd", "transformers_weights": "/etc/passwd"},
        {"architectures": ["TimmWrapperForImageClassification"]},
        {"architectures": [17]},
        {"architectures": "ResNetForImageClassification"},
    ],
)
def test_a_configuration_chooses_no_code(folder: Path, offline: list[Any], settings: dict[str, Any]) -> None:
    (folder / "trap.py").write_text(f"open({str(folder / 'sprung')!r}, 'w')")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/other"}))
    expected = load(folder)._network.state_dict()
    write(folder, **settings)
    network = load(folder)._network
    assert network.config._attn_implementation in ("sdpa", "eager")
    assert type(network).__name__ == "ViTModel"
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, expected[name])
    assert offline == []
    assert "trap" not in sys.modules
    assert not (folder / "sprung").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised"),
        ({"model_type": "timm_wrapper", "architecture": "hf-hub:some/repo"}, "from another library"),
        ({"model_type": "detr", "backbone": "hf-hub:some/repo", "use_timm_backbone": True}, "from another library"),
        ({"backbone_config": {"model_type": "timm_backbone", "backbone": "x"}}, "from another library"),
        ({"model_type": ["vit"]}, "holds no model that transformers knows"),
        ({"model_type": "vi\nt"}, "holds no model that transformers knows"),
        ({"num_hidden_layers": 10**9}, "more than any network has"),
        ({"num_labels": 10**9}, "more than any network has"),
        ({"hidden_size": 64}, "a tensor has another shape"),
        ({"hidden_size": 10**6}, "numbers, and its configuration describes"),
        ({"image_size": 10**6}, "numbers, and its configuration describes"),
    ],
)
def test_what_semret_cannot_load_is_refused_in_a_line(
    folder: Path, offline: list[Any], settings: dict[str, Any], message: str
) -> None:
    write(folder, **settings)
    with pytest.raises(BackboneError, match=message) as caught:
        load(folder)
    assert len(str(caught.value)) < 500 + 2 * len(str(folder))
    assert offline == []


def test_no_memory_is_taken_for_a_network_far_larger_than_its_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers.ViTModel, "from_pretrained", lambda *_, **__: pytest.fail("it was built"))
    write(folder, image_size=10**5)  # position embeddings of 5 GB
    with pytest.raises(BackboneError, match="its configuration describes 1,250,"):
        load(folder)


@pytest.mark.parametrize("value", [None, -1, 10**5, 1e308, "some/kernel", [[]], {}, True])
def test_a_crafted_value_is_taken_or_refused_in_a_line(folder: Path, offline: list[Any], value: Any) -> None:
    for key in (*CONFIG, "hidden_act", "num_channels", "qkv_bias", "pruned_heads", "layer_norm_eps", "encoder_stride"):
        write(folder, **{key: value})
        _taken_or_refused(folder)
    for key in ("size", "resample", "image_mean", "image_std", "crop_size", "do_resize", "rescale_factor", "crop_pct"):
        write(folder, {**PROCESSOR, "do_center_crop": True, key: value})
        _taken_or_refused(folder)
    assert offline == []


def _taken_or_refused(folder: Path) -> None:
    found: SemretError | None = None
    try:
        load(folder)
    except SemretError as error:
        found = error
    assert len(str(found)) < 500 + 2 * len(str(folder))


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 10**6, b'{"a": 1e999}', b"null", b"{"])
def test_json_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("config.json", "preprocessor_config.json", "model.safetensors.index.json"):
        (tmp_path / name).write_bytes(content)
    if content != b'{"a": 1e999}':
        with pytest.raises(BackboneError, match="fetch the model again"):
            read_json(tmp_path / "config.json")
        with pytest.raises(BackboneError, match="fetch the model again"):
            find_preprocessing(tmp_path)
    with pytest.raises(BackboneError, match="fetch"):
        load(tmp_path)


def test_files_that_are_none_are_refused_at_once(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(BackboneError, match="is a named pipe"):
        read_configuration(tmp_path / "config.json")
    for read in (lambda file: read_state([file]), lambda file: digest([file])):
        with pytest.raises((WeightsNotFoundError, OSError), match="is a named pipe"):
            read(tmp_path / "model.safetensors")
    with pytest.raises(WeightsNotFoundError, match="holds no weights"):
        load(tmp_path)
    (tmp_path / "long.json").touch()
    os.truncate(tmp_path / "long.json", 20 << 30)
    with pytest.raises(BackboneError, match="expected at most"):
        read_json(tmp_path / "long.json")


def test_a_tensor_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(10**12)}, tmp_path / "wide.bin")
    torch.save({"a": torch.eye(3).to_sparse()}, tmp_path / "sparse.bin")
    torch.save({"a": torch.eye(3)[:, :2]}, tmp_path / "part.bin")
    for name in ("wide.bin", "sparse.bin"):
        with pytest.raises(BackboneError, match="does not hold its own numbers"):
            read_state([tmp_path / name])
    assert read_state([tmp_path / "part.bin"])["a"].shape == (3, 2)


def test_a_split_model_names_files_beside_it_alone(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    for target in ("..", ".", "", "../part.safetensors", "/etc/passwd", 3, None, ["part.safetensors"]):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": target}}))
        with pytest.raises(BackboneError, match=r"outside its folder|no readable index"):
            load(folder)
