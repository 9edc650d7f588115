"""The default backbone with its real weights, on ONNX Runtime and on torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from semret.errors import ArgumentError, BackboneError, ShapeError
from semret.index.backbones import lite0_torch
from semret.index.backbones.efficientnet_lite0 import packaged_weights, read_weights
from semret.index.backbones.lite0_layout import CLIPPED, LAYERS, fold, package_units, timm_units
from semret.index.backbones.network import TorchBackbone
from semret.index.backbones.onnx_network import OnnxBackbone
from semret.index.backbones.pickled_tensors import read_legacy
from semret.index.backbones.registry import create_backbone, spec_of
from semret.index.backbones.spec import LoadOptions
from semret.index.backbones.weights import digest, read_state


@pytest.fixture(scope="module")
def backbone() -> OnnxBackbone:
    """The network as it runs on a processor: on ONNX Runtime."""
    loaded = create_backbone("efficientnet-lite0", size=(96, 128), layer="last", device="cpu")
    assert isinstance(loaded, OnnxBackbone)
    return loaded


def on_torch(**options: Any) -> TorchBackbone:
    """Return the same network on torch, as it runs on a GPU."""
    file, spec = packaged_weights(), spec_of("efficientnet-lite0")
    return lite0_torch.load(spec, LoadOptions(device="cpu", **options), file, read_weights(file, spec.name))


CASES = [
    *(((95, 129), layer) for layer in LAYERS),
    *(((64, 96), layer) for layer in LAYERS),
    *((size, "last") for size in ((33, 64), (224, 224), (256, 448), (384, 384))),
]


@pytest.mark.parametrize(("size", "layer"), CASES)
def test_onnx_runtime_and_torch_agree_at_every_size_and_layer(size: tuple[int, int], layer: str) -> None:
    images = np.random.default_rng(2).standard_normal((2, 3, *size)).astype(np.float32)
    graph, reference = create_backbone("efficientnet-lite0", size=size, layer=layer), on_torch(size=size, layer=layer)
    assert isinstance(graph, OnnxBackbone)
    assert graph.identity == reference.identity
    found, expected = graph.embed(images), reference.embed(images)
    assert found.grid == expected.grid == graph.identity.grid
    assert np.abs(expected.tokens).max() > 1
    np.testing.assert_allclose(found.tokens, expected.tokens, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.pooled, expected.pooled, rtol=0, atol=1e-4)
    if layer == "last":
        np.testing.assert_allclose(found.logits, expected.logits, rtol=0, atol=1e-4)


def test_pooling_is_gem_where_tokens_are_never_negative_and_as_the_manifest_says() -> None:
    found = {layer: create_backbone(size=(64, 64), layer=layer).identity.pooled for layer in LAYERS}
    assert found == {layer: "gem" if layer in CLIPPED else "mean" for layer in LAYERS}
    for backend in (create_backbone(size=(64, 64), pooled="mean"), on_torch(size=(64, 64), pooled="mean")):
        features = backend.embed(np.ones((1, 3, 64, 64), np.float32))
        assert backend.identity.pooled == "mean"
        np.testing.assert_allclose(features.pooled[0], features.tokens[0].mean(axis=0), atol=1e-6)


def test_the_packages_file_is_read_as_torch_reads_it() -> None:
    own, torchs = read_legacy(packaged_weights()), read_state([packaged_weights()])
    assert list(own) == list(torchs)
    for name, tensor in torchs.items():
        assert own[name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(own[name], tensor.numpy())


def test_a_reduced_precision_or_any_module_runs_on_torch() -> None:
    for options in ({"dtype": "bfloat16"}, {"layer": "blocks.3.1.depthwise"}):
        assert isinstance(create_backbone(size=(64, 64), device="cpu", **options), TorchBackbone)


@pytest.fixture(scope="module")
def reference() -> torch.nn.Module:
    """Return timm's own network with the weights, its batch normalisations unfolded.

    The package lists its tensors in the order of timm's network: an independent check of our rule for the names.
    """
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(dict(zip(network.state_dict(), read_state([packaged_weights()]).values(), strict=True)))
    return network.eval()


@pytest.fixture
def batch() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 3, 96, 128)).astype(np.float32)


def test_every_tensor_of_the_package_is_used_once() -> None:
    state = read_state([packaged_weights()])
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    named = ["_fc.weight", "_fc.bias"]
    for unit in package_units():
        named += [f"{unit.convolution}.weight", *(f"{unit.norm}.{leaf}" for leaf in norm)]
    assert len(named) == len(state) == 296
    assert set(named) == set(state)
    assert {unit.path for unit in package_units()} == {unit.path for unit in timm_units()}


def test_a_file_of_timms_layout_gives_the_same_network(
    backbone: OnnxBackbone, reference: torch.nn.Module, batch: np.ndarray, tmp_path: Path
) -> None:
    torch.save(reference.state_dict(), tmp_path / "timm.pth")
    other = create_backbone("efficientnet-lite0", weights=tmp_path / "timm.pth", size=(96, 128), device="cpu")
    np.testing.assert_array_equal(other.embed(batch).tokens, backbone.embed(batch).tokens)


@pytest.mark.parametrize("size", [(96, 128), (95, 129), (33, 64)])
def test_every_stage_is_timms(reference: torch.nn.Module, size: tuple[int, int]) -> None:
    """Odd sizes check the padding, which TensorFlow puts after the end."""
    images = np.random.default_rng(1).standard_normal((2, 3, *size)).astype(np.float32)
    layers = create_backbone("efficientnet-lite0", size=size, device="cpu").embed_layers(images)
    with torch.no_grad():
        final, maps = reference.forward_intermediates(torch.from_numpy(images), indices=[0, 1, 2, 3, 4])
    by_width = {int(feature.shape[1]): feature for feature in [*maps, final]}
    compared = 0
    for name, tokens in layers.items():
        expected = by_width.get(tokens.shape[2])
        if expected is not None:
            np.testing.assert_allclose(tokens, expected.flatten(2).transpose(1, 2).numpy(), atol=5e-4, err_msg=name)
            compared += 1
    assert compared >= 5


def test_a_tensor_that_no_rule_knows_is_reported() -> None:
    state = read_legacy(packaged_weights())
    state["_blocks.3._squeeze.weight"] = state.pop("_blocks.3._bn1.weight")
    with pytest.raises(BackboneError, match=r"1 tensors are missing \(_blocks.3._bn1.weight.*_squeeze"):
        fold(state, "the network")


def test_a_normalisation_of_another_width_is_reported() -> None:
    state = read_legacy(packaged_weights())
    state["_bn0.bias"] = np.zeros(1, np.float32)
    with pytest.raises(BackboneError, match=r"_bn0.bias has shape \(1,\), expected \(32,\)"):
        fold(state, "the network")


def test_folding_changes_nothing_but_rounding(
    backbone: OnnxBackbone, reference: torch.nn.Module, batch: np.ndarray
) -> None:
    features = backbone.embed(batch)
    with torch.no_grad():
        tokens = reference.forward_features(torch.from_numpy(batch)).flatten(2).transpose(1, 2).numpy()
        logits = reference(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(features.tokens, tokens, atol=2e-4)
    assert features.logits is not None
    np.testing.assert_allclose(features.logits, logits, atol=2e-4)
    assert np.abs(tokens).max() > 1
    np.testing.assert_array_equal(features.logits.argmax(1), logits.argmax(1))


def test_shapes_grid_and_identity(backbone: OnnxBackbone, batch: np.ndarray) -> None:
    features = backbone.embed(batch)
    assert features.tokens.shape == (3, 12, 1280)
    assert features.grid == (3, 4)
    assert features.pooled.shape == (3, 1280)
    assert features.logits is not None
    assert features.logits.shape == (3, 1000)
    assert {array.dtype for array in (features.tokens, features.pooled, features.logits)} == {np.dtype(np.float32)}
    identity = backbone.identity
    assert (identity.grid, identity.channels, identity.pooled_dim, identity.layer) == ((3, 4), 1280, 1280, "last")
    assert identity.weights_sha256 == digest([packaged_weights()])
    assert identity.preprocessing.size == (96, 128)
    assert identity.autocast is None


def test_an_image_has_the_same_tokens_whatever_batch_it_is_in(backbone: OnnxBackbone, batch: np.ndarray) -> None:
    together = backbone.embed(batch).tokens
    for position, image in enumerate(batch):
        np.testing.assert_allclose(backbone.embed(image[None]).tokens[0], together[position], atol=1e-4)


def test_streams_share_out_the_threads_and_give_them_back(
    backbone: OnnxBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    small = create_backbone("efficientnet-lite0", size=(96, 128))
    large = create_backbone("efficientnet-lite0", size=(384, 384))
    for network, batch_size, expected in (
        (small, 1, (1, 1, 4)),
        (small, 2, (2, 1, 2)),
        (small, 3, (3, 1, 1)),
        (small, 8, (4, 2, 1)),
        (small, 400, (4, 21, 1)),
        (large, 8, (4, 1, 1)),
    ):
        with network.streams(batch_size) as streams:
            assert (streams.count, streams.pictures, network._session.threads) == expected
        assert network._session.threads == 4
    with pytest.raises(KeyError), small.streams(8):
        raise KeyError
    assert small._session.threads == 4


def test_streams_of_torch_share_out_its_threads_and_give_them_back() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        network = on_torch(size=(96, 128))
        for batch_size, expected in ((1, (1, 1, 4)), (3, (3, 1, 1)), (8, (4, 2, 1))):
            with network.streams(batch_size) as streams:
                assert (streams.count, streams.pictures, torch.get_num_threads()) == expected
            assert torch.get_num_threads() == 4
        with pytest.raises(KeyError), network.streams(8):
            raise KeyError
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_the_number_of_threads_does_not_change_the_tokens(
    backbone: OnnxBackbone, batch: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = backbone.embed(batch).tokens
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found = create_backbone("efficientnet-lite0", size=(96, 128)).embed(batch).tokens
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_default_is_the_last_map_of_a_squashed_picture() -> None:
    identity = create_backbone("efficientnet-lite0", device="cpu").identity
    assert (identity.layer, identity.grid, identity.channels) == ("last", (12, 12), 1280)
    assert identity.preprocessing.geometry == "squash"


def test_layers_by_name_index_and_module(batch: np.ndarray) -> None:
    def layer_of(layer: str | int) -> tuple[str | int, tuple[int, int], int]:
        identity = create_backbone("efficientnet-lite0", size=(96, 128), layer=layer, device="cpu").identity
        return identity.layer, identity.grid, identity.channels

    assert layer_of("blocks.4") == ("blocks.4", (6, 8), 112)
    assert layer_of(-1) == layer_of("last") == layer_of("8") == ("last", (3, 4), 1280)
    assert layer_of("head") == ("head", (3, 4), 1280)
    assert layer_of(0) == ("stem", (48, 64), 32)
    assert layer_of("blocks.5.1.expand") == ("blocks.5.1.expand", (3, 4), 1152)


def test_all_layers_from_input_to_output(backbone: OnnxBackbone, batch: np.ndarray) -> None:
    layers = backbone.embed_layers(batch)
    assert tuple(layers) == backbone.layers == ("stem", *(f"blocks.{stage}" for stage in range(7)), "last")
    np.testing.assert_array_equal(layers["last"], backbone.embed(batch).tokens)
    assert layers["blocks.2"].shape == (3, 12 * 16, 40)


@pytest.mark.parametrize("layer", [9, -10, "blocks.9", "classifier"])
def test_a_layer_that_is_none_is_refused(layer: str | int) -> None:
    with pytest.raises(BackboneError, match="layer"):
        create_backbone("efficientnet-lite0", size=(64, 64), layer=layer, device="cpu")


def test_bfloat16_is_close_and_part_of_the_identity(backbone: OnnxBackbone, batch: np.ndarray) -> None:
    half = create_backbone("efficientnet-lite0", size=(96, 128), layer="last", dtype="bfloat16", device="cpu")
    assert half.identity.autocast == "bfloat16"
    exact, rounded = backbone.embed(batch).tokens, half.embed(batch).tokens
    assert rounded.dtype == np.float32
    assert not np.array_equal(exact, rounded)
    cosine = (exact * rounded).sum() / np.sqrt((exact**2).sum() * (rounded**2).sum())
    assert cosine > 0.98


def test_options_that_do_not_exist_are_refused() -> None:
    for option in ({"dtype": "int8"}, {"device": "abacus"}, {"geometry": "stretch"}, {"dtype": "float16"}):
        with pytest.raises(ArgumentError):
            create_backbone("efficientnet-lite0", size=(64, 64), **{"device": "cpu", **option})
    if not torch.cuda.is_available():
        with pytest.raises(ArgumentError, match="no device 'cuda'"):
            create_backbone("efficientnet-lite0", size=(64, 64), device="cuda")


@pytest.mark.parametrize("shape", [(0, 3, 96, 128), (3, 96, 128), (1, 3, 128, 96), (1, 1, 96, 128)])
def test_a_batch_of_another_shape_is_refused(backbone: OnnxBackbone, shape: tuple[int, ...]) -> None:
    for embed in (backbone.embed, backbone.embed_layers):
        with pytest.raises(ShapeError, match=r"expects \(N, 3, 96, 128\)"):
            embed(np.zeros(shape, np.float32))


def test_damaged_input_is_noticed(backbone: OnnxBackbone) -> None:
    with pytest.raises(BackboneError, match="NaN or infinity"):
        backbone.embed(np.full((1, 3, 96, 128), np.nan, np.float32))


def test_no_text_tower(backbone: OnnxBackbone) -> None:
    with pytest.raises(BackboneError, match="no text tower"):
        backbone.embed_text(["a mug"])


def test_a_uniform_picture_moved_by_the_stride_moves_its_tokens() -> None:
    """Convolutions commute with shifts of their stride: an object elsewhere gives the same tokens elsewhere."""
    backbone = create_backbone("efficientnet-lite0", size=(512, 512), layer="blocks.3", device="cpu")
    rng = np.random.default_rng(5)
    patch = Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8).astype(np.uint8))
    tokens = []
    for corner in ((128, 128), (256, 288)):
        picture = Image.new("RGB", (512, 512), (127, 127, 127))
        picture.paste(patch, corner)
        tokens.append(backbone.embed(backbone.prepare(picture)[None]).tokens[0].reshape(32, 32, -1))
    first, second = tokens[0][6:15, 6:15], tokens[1][6 + 10 : 15 + 10, 6 + 8 : 15 + 8]
    np.testing.assert_allclose(first, second, atol=1e-3)
    assert np.abs(first).max() > 0.5
