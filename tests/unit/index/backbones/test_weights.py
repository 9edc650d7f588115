"""Where weights are looked for, how they are read, and what is said when they are not there."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from semret.errors import BackboneError, WeightsNotFoundError
from semret.index.backbones import hub
from semret.index.backbones.hub import find_weights
from semret.index.backbones.registry import create_backbone, spec_of
from semret.index.backbones.weights import assign, digest, read_state

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty Hugging Face cache, with the network forbidden."""
    from huggingface_hub import constants

    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def put_into_cache(cache: Path, repository: str, files: Path, commit: str, *, branch: str | None = None) -> Path:
    """Lay out a snapshot as the hub's client does."""
    root = cache / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / commit
    shutil.copytree(files, snapshot)
    if branch:
        (root / "refs").mkdir()
        (root / "refs" / branch).write_text(commit)
    return snapshot


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return a folder with a weight file, and nothing that says what it belongs to."""
    folder = tmp_path / "saved"
    folder.mkdir()
    save_file(TENSORS, folder / "model.safetensors")
    return folder


def test_safetensors_and_state_dicts_read_alike(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors")
    torch.save(TENSORS, tmp_path / "a.pth")
    torch.save(
        {"model": {f"module.{name}": tensor for name, tensor in TENSORS.items()}, "epoch": 3}, tmp_path / "b.pth"
    )
    # The format of torch before 1.6.
    torch.save(TENSORS, tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    for name in ("a.safetensors", "a.pth", "b.pth", "c.pth"):
        state = read_state([tmp_path / name])
        assert list(state) == sorted(state) or list(state) == list(TENSORS)
        assert all(torch.equal(state[key], TENSORS[key]) for key in TENSORS)


def test_the_content_decides_not_the_ending(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "weights.bin")
    assert set(read_state([tmp_path / "weights.bin"])) == set(TENSORS)


class Trap:
    """Pickles to a call that creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path, wrapped: bool) -> None:
    trap, file = tmp_path / "sprung", tmp_path / "weights.pth"
    if wrapped:
        torch.save({"state_dict": TENSORS, "extra": Trap(trap)}, file)
    else:
        file.write_bytes(pickle.dumps(Trap(trap)))
    with pytest.raises(BackboneError, match=str(file)):
        read_state([file])
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x10\0\0\0\0\0\0\0{broken header}", b"PK\x03\x04garbage"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(BackboneError, match=r"model\.safetensors"):
        read_state([file])


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    for name, save in (("a.safetensors", save_file), ("a.pth", torch.save)):
        save(TENSORS, tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(BackboneError, match=name):
            read_state([tmp_path / name])


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 1}, tmp_path / "a.pth")
    with pytest.raises(BackboneError, match="no named tensors"):
        read_state([tmp_path / "a.pth"])


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match="cannot read"):
        read_state([tmp_path / "nowhere.safetensors"])
    with pytest.raises(WeightsNotFoundError, match="no weights at"):
        hub.local_checkpoint(tmp_path / "nowhere")
    with pytest.raises(WeightsNotFoundError, match=r"expected one of model\.safetensors"):
        hub.local_checkpoint(tmp_path)


def test_digest_is_the_files_own_and_covers_every_part(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"first")
    two.write_bytes(b"second")
    assert digest([one]) == hashlib.sha256(b"first").hexdigest()
    assert digest([one, two]) == digest([two, one])
    before = digest([one, two])
    two.write_bytes(b"Second")
    assert digest([one, two]) != before


def test_assign_checks_names_and_shapes() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 2))
    good = {"0.weight": torch.ones(2, 3), "0.bias": torch.zeros(2)}
    assign(network, good, "net")
    assert torch.equal(network[0].weight, torch.ones(2, 3))
    with pytest.raises(BackboneError, match=r"1 tensors are missing \(0.bias"):
        assign(network, {"0.weight": good["0.weight"]}, "net")
    with pytest.raises(BackboneError, match=r"1 are not of this model \(1.weight"):
        assign(network, good | {"1.weight": torch.ones(1)}, "net")
    with pytest.raises(BackboneError, match=r"0.bias has shape \(3,\), expected \(2,\)"):
        assign(network, good | {"0.bias": torch.zeros(3)}, "net")


def test_a_split_checkpoint_is_read_whole(tmp_path: Path) -> None:
    for position, (name, tensor) in enumerate(TENSORS.items()):
        save_file({name: tensor}, tmp_path / f"part{position}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a.weight": "part0.safetensors", "a.bias": "part1.safetensors"}}))
    found = hub.local_checkpoint(tmp_path)
    assert set(read_state(found.weights)) == set(TENSORS)
    (tmp_path / "part1.safetensors").unlink()
    with pytest.raises(WeightsNotFoundError, match="part1"):
        hub.local_checkpoint(tmp_path)


@pytest.mark.parametrize("target", ["../secret.safetensors", "/etc/passwd", "", 7])
def test_an_index_may_not_point_outside_its_folder(tmp_path: Path, target: Any) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": target}}))
    with pytest.raises(BackboneError, match="index"):
        hub.local_checkpoint(tmp_path)


def test_without_weights_one_line_says_which_where_and_what_to_do(cache: Path) -> None:
    with pytest.raises(WeightsNotFoundError) as caught:
        create_backbone("dinov2")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "dinov2",
        "facebook/dinov2-base",
        str(cache),
        "HF_HUB_OFFLINE is set",
        "hf download",
        "--weights",
        "lite0",
    ):
        assert part in message


@pytest.mark.parametrize("name", ["clip", "timm:resnet18.a1_in1k", "hf:someone/something", "sam"])
def test_every_family_says_so(cache: Path, name: str) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"no weights for .*HF_HUB_OFFLINE"):
        create_backbone(name)


def test_an_unreachable_hub_is_asked_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The hub's own client would try six times, for half a minute, and print each time."""
    import socket

    from huggingface_hub import constants

    attempts = []

    def refuse(*address: Any, **options: Any) -> Any:
        attempts.append(address)
        raise OSError("Network is unreachable")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    with pytest.raises(WeightsNotFoundError, match="unreachable"):
        create_backbone("dinov2")
    assert len(attempts) == 1
    assert capfd.readouterr().err == ""


def test_cached_weights_are_used_without_a_network(cache: Path, tmp_path: Path) -> None:
    import transformers

    torch.manual_seed(0)
    config = transformers.ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic")
    config.num_labels = 1000
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path / "model")
    assert find_weights(spec_of("resnet18")) is None
    snapshot = put_into_cache(cache, "microsoft/resnet-18", tmp_path / "model", str(spec_of("resnet18").revision))
    assert find_weights(spec_of("resnet18")) == snapshot / "model.safetensors"
    backbone = create_backbone("resnet18", device="cpu")
    assert backbone.identity.grid == (7, 7)
    assert backbone.identity.preprocessing == spec_of("resnet18").preprocessing
    assert backbone.identity.weights_sha256 == digest([snapshot / "model.safetensors"])
    # The registry holds the architecture, so the bare file gives the same network.
    bare = tmp_path / "bare.safetensors"
    shutil.copy(snapshot / "model.safetensors", bare)
    alone = create_backbone("resnet18", weights=bare, device="cpu")
    batch = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    np.testing.assert_array_equal(alone.embed(batch).tokens, backbone.embed(batch).tokens)
    assert backbone.identity.revision == spec_of("resnet18").revision == snapshot.name
    assert alone.identity.revision is None, "a file of the user's own is of no commit that we know"
    assert replace(alone.identity, revision=snapshot.name) == backbone.identity
    with pytest.raises(BackboneError, match="do not fit"):
        create_backbone("vit-b16", weights=bare, device="cpu")
    with pytest.raises(BackboneError, match="ResNetConfig, vit-b16 needs a ViTConfig"):
        create_backbone("vit-b16", weights=tmp_path / "model", device="cpu")


def test_without_a_network_another_cached_revision_serves_and_is_named(
    cache: Path, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pinned = "1" * 40
    put_into_cache(cache, "some/net", saved, "2" * 40)
    main = put_into_cache(cache, "some/net", saved, "3" * 40, branch="main")
    os.utime(main, (0, 0))
    found = hub.hub_checkpoint("some/net", pinned, backbone="net")
    assert found.weights == (main / "model.safetensors",)
    assert (found.directory, found.revision) == (main, "3" * 40)
    (line,) = caplog.messages
    for part in ("net wants", pinned, "some/net", "HF_HUB_OFFLINE is set", "3" * 40):
        assert part in line
    # The revision itself goes before any other, and nothing needs saying.
    caplog.clear()
    exact = put_into_cache(cache, "some/net", saved, pinned)
    os.utime(exact, (0, 0))
    assert hub.hub_checkpoint("some/net", pinned, backbone="net").directory == exact
    assert caplog.messages == []


def test_of_several_cached_revisions_the_latest_serves(cache: Path, saved: Path) -> None:
    for commit, seconds in (("a" * 40, 10), ("b" * 40, 30), ("c" * 40, 20)):
        os.utime(put_into_cache(cache, "some/net", saved, commit), (seconds, seconds))
    found = hub.cached_checkpoint("some/net", "1" * 40)
    assert found is not None
    assert found.directory is not None
    assert found.directory.name == "b" * 40
    # A snapshot without weights, as an interrupted download leaves it, is passed over.
    (found.directory / "model.safetensors").unlink()
    found = hub.cached_checkpoint("some/net", "1" * 40)
    assert found is not None
    assert found.directory is not None
    assert found.directory.name == "c" * 40


def test_the_hub_is_asked_for_the_pinned_revision_before_another_one_serves(
    cache: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a network, a cache that holds another revision does not undo the pin."""
    put_into_cache(cache, "some/net", saved, "2" * 40, branch="main")
    asked = []

    def download(repository: str, name: str, *, revision: str) -> str:
        asked.append((repository, name, revision))
        return str(put_into_cache(cache, repository, saved, revision) / name)

    monkeypatch.setattr(hub, "_unreachable", lambda _: "")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    found = hub.hub_checkpoint("some/net", "1" * 40, backbone="net", beside=())
    assert asked == [("some/net", "model.safetensors", "1" * 40)]
    assert found.directory is not None
    assert found.directory.name == "1" * 40


def test_the_command_that_fetches_names_the_pinned_revision(cache: Path) -> None:
    with pytest.raises(
        WeightsNotFoundError, match=r"hf download facebook/dinov2-base --revision [0-9a-f]{40} --local-dir dinov2-base,"
    ):
        create_backbone("dinov2")


def test_the_default_needs_no_download() -> None:
    file = find_weights(spec_of("efficientnet-lite0"))
    assert file is not None
    assert file.is_file()


def test_a_generic_name_needs_the_whole_folder(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors")
    with pytest.raises(BackboneError, match=r"without a config\.json"):
        create_backbone("hf:someone/net", weights=tmp_path / "a.safetensors")


def test_remote_code_is_never_run(tmp_path: Path) -> None:
    """A configuration may name Python files beside it; they must not be imported."""
    config = {"model_type": "never-heard-of", "auto_map": {"AutoConfig": "trap.Config", "AutoModel": "trap.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "trap.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'sprung')!r}).touch()\n")
    save_file(TENSORS, tmp_path / "model.safetensors")
    with pytest.raises(BackboneError, match="no model that transformers knows"):
        create_backbone("hf:someone/net", weights=tmp_path)
    assert not (tmp_path / "sprung").exists()
