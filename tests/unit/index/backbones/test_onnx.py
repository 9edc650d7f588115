"""``onnx:FILE``: exported networks, what is found out of them, and what is refused."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from semret.errors import ArgumentError, BackboneError, SemretError, WeightsNotFoundError
from semret.index.backbones.registry import create_backbone

FLOAT = TensorProto.FLOAT
SIDE, PATCH, CHANNELS = 32, 8, 6


def tensor(name: str, *shape: Any) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, list(shape))


def scalar(name: str, kind: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [])


def save(file: Path, nodes: list[onnx.NodeProto], outputs: list[onnx.ValueInfoProto], **options: Any) -> Path:
    inputs = options.get("inputs", [tensor("pixels", "N", 3, SIDE, SIDE)])
    graph = helper.make_graph(nodes, "net", inputs, outputs, options.get("weights", []))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, file)
    return file


def kernel() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((CHANNELS, 3, PATCH, PATCH)).astype(np.float32)


def patches(name: str = "map") -> onnx.NodeProto:
    return helper.make_node("Conv", ["pixels", "w"], [name], strides=[PATCH, PATCH], kernel_shape=[PATCH, PATCH])


def map_net(file: Path, **options: Any) -> Path:
    """A convolution: (N, 6, 4, 4)."""
    weights = [numpy_helper.from_array(kernel(), "w")]
    return save(file, [patches()], [tensor("map", "N", CHANNELS, None, None)], weights=weights, **options)


def sequence_net(file: Path) -> Path:
    """The same as a sequence with a class token (all ones) in front, and an embedding of the whole picture."""
    nodes = [
        patches(),
        helper.make_node("Reshape", ["map", "shape"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["patches"], perm=[0, 2, 1]),
        helper.make_node("Concat", ["class", "patches"], ["tokens"], axis=1),
        helper.make_node("ReduceMax", ["flat"], ["embedding"], axes=[2], keepdims=0),
    ]
    weights = [
        numpy_helper.from_array(kernel(), "w"),
        numpy_helper.from_array(np.array([1, CHANNELS, -1]), "shape"),
        numpy_helper.from_array(np.ones((1, 1, CHANNELS), np.float32), "class"),
    ]
    outputs = [tensor("tokens", 1, 17, CHANNELS), tensor("embedding", 1, CHANNELS)]
    return save(file, nodes, outputs, weights=weights)


def describe(file: Path, **fields: Any) -> None:
    file.with_suffix(".json").write_text(json.dumps({"mean": [0.5] * 3, "std": [0.5] * 3, **fields}))


def expected_tokens(batch: np.ndarray) -> np.ndarray:
    blocks = batch.reshape(len(batch), 3, SIDE // PATCH, PATCH, SIDE // PATCH, PATCH)
    return np.einsum("nciujv,kcuv->nijk", blocks, kernel()).reshape(len(batch), -1, CHANNELS)


@pytest.fixture
def batch() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)


def test_a_map_becomes_tokens(tmp_path: Path, batch: np.ndarray) -> None:
    file = map_net(tmp_path / "net.onnx")
    describe(file)
    backbone = create_backbone(f"onnx:{file}")
    features = backbone.embed(np.concatenate([batch, 2 * batch]))
    np.testing.assert_allclose(features.tokens, expected_tokens(np.concatenate([batch, 2 * batch])), atol=1e-4)
    np.testing.assert_allclose(features.pooled, features.tokens.mean(axis=1), atol=1e-6)
    identity = backbone.identity
    assert (identity.grid, identity.channels, identity.pooled_dim) == ((4, 4), CHANNELS, CHANNELS)
    assert (identity.layer, identity.pooled, identity.prefix_tokens) == ("map", "mean", 0)
    assert identity.preprocessing.size == (SIDE, SIDE)
    assert identity.preprocessing.mean == (0.5, 0.5, 0.5)


def test_a_sequence_loses_its_prefix_and_may_have_an_embedding(tmp_path: Path, batch: np.ndarray) -> None:
    file = sequence_net(tmp_path / "net.onnx")
    describe(file, prefix_tokens=1, pooled="embedding")
    features = create_backbone(f"onnx:{file}").embed(batch)
    np.testing.assert_allclose(features.tokens, expected_tokens(batch), atol=1e-4)
    np.testing.assert_allclose(features.pooled, expected_tokens(batch).max(axis=1), atol=1e-4)
    describe(file, prefix_tokens=1, pooled="class")
    np.testing.assert_array_equal(create_backbone(f"onnx:{file}").embed(batch).pooled, np.ones((1, CHANNELS)))


def test_channels_last_are_found(tmp_path: Path, batch: np.ndarray) -> None:
    nodes = [helper.make_node("Transpose", ["images"], ["pixels"], perm=[0, 3, 1, 2]), patches()]
    weights = [numpy_helper.from_array(kernel(), "w")]
    inputs = [tensor("images", "N", SIDE, SIDE, 3)]
    file = save(
        tmp_path / "net.onnx", nodes, [tensor("map", "N", CHANNELS, 4, 4)], inputs=inputs, weights=weights
    )  # fmt: skip
    describe(file)
    np.testing.assert_allclose(create_backbone(f"onnx:{file}").embed(batch).tokens, expected_tokens(batch), atol=1e-4)


def test_any_size_where_the_graph_takes_any(tmp_path: Path) -> None:
    file = map_net(tmp_path / "net.onnx", inputs=[tensor("pixels", "N", 3, "H", "W")])
    describe(file)
    assert create_backbone(f"onnx:{file}", size=(16, 40)).identity.grid == (2, 5)
    with pytest.raises(BackboneError, match="takes any input size; say which with --size"):
        create_backbone(f"onnx:{file}")
    fixed = map_net(tmp_path / "fixed.onnx")
    with pytest.raises(BackboneError, match="takes pictures of 32x32 only, not 64x64"):
        create_backbone(f"onnx:{fixed}", size=(64, 64))


def test_without_a_description_imagenets_scaling_is_used_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        backbone = create_backbone(f"onnx:{map_net(tmp_path / 'net.onnx')}")
    assert backbone.identity.preprocessing.mean == (0.485, 0.456, 0.406)
    assert "does not say how pixels are scaled" in caplog.text


def test_weights_may_lie_beside_the_graph_and_count_for_its_digest(tmp_path: Path, batch: np.ndarray) -> None:
    file = map_net(tmp_path / "net.onnx")
    describe(file)
    inside = create_backbone(f"onnx:{file}")
    model = onnx.load(file)
    external_data_helper.convert_model_to_external_data(model, location="net.bin", size_threshold=0)
    onnx.save(model, file)
    outside = create_backbone(f"onnx:{file}")
    np.testing.assert_array_equal(outside.embed(batch).tokens, inside.embed(batch).tokens)
    before = outside.identity.weights_sha256
    content = bytearray((tmp_path / "net.bin").read_bytes())
    content[0] ^= 1
    (tmp_path / "net.bin").write_bytes(content)
    assert create_backbone(f"onnx:{file}").identity.weights_sha256 != before


@pytest.mark.parametrize("place", ["/etc/passwd", "../net.bin", "link.bin", "sub/net.bin", "pipe.bin"])
def test_weights_elsewhere_are_refused(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for target in (tmp_path / "net.bin", folder / "sub" / "net.bin"):
        target.write_bytes(kernel().tobytes())
    (folder / "link.bin").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe.bin")
    file = map_net(folder / "net.onnx")
    model = onnx.load(file)
    weight = model.graph.initializer[0]
    external_data_helper.set_external_data(weight, location=place)
    weight.ClearField("raw_data")
    file.write_bytes(model.SerializeToString())
    with pytest.raises(SemretError, match="reads its weights from") as caught:
        create_backbone(f"onnx:{file}")
    assert "\n" not in str(caught.value)


def test_a_graph_that_could_run_for_ever_is_refused_also_within_another(tmp_path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [scalar("i", TensorProto.INT64), scalar("c", TensorProto.BOOL), tensor("x")],
        [scalar("d", TensorProto.BOOL), tensor("y")],
    )  # fmt: skip
    loop = helper.make_node("Loop", ["", "", "pixels"], ["map"], body=body)
    branch = helper.make_graph([loop], "branch", [], [tensor("map", None, None, None, None)])
    nested = helper.make_node("If", ["yes"], ["map"], then_branch=branch, else_branch=branch)
    for name, node in (("loop", loop), ("nested", nested)):
        file = save(tmp_path / f"{name}.onnx", [node], [tensor("map", None, None, None, None)])
        with pytest.raises(BackboneError, match="operator Loop, which can run for ever"):
            create_backbone(f"onnx:{file}")


@pytest.mark.parametrize("calls", ["itself", "the one before, twice"])
def test_functions_that_expand_without_end_are_refused(tmp_path: Path, calls: str) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]

    def function(number: int, *called: int) -> onnx.FunctionProto:
        names = ["x", *(f"v{step}" for step in range(1, len(called))), "y"]
        nodes = [
            helper.make_node(f"f{other}", [before], [after], domain="own")
            for other, before, after in zip(called, names[:-1], names[1:], strict=False)
        ]
        nodes = nodes or [helper.make_node("Neg", ["x"], ["y"])]
        return helper.make_function("own", f"f{number}", ["x"], ["y"], nodes, opsets)

    doubling = [function(0), *(function(number, number - 1, number - 1) for number in range(1, 40))]
    functions = [function(0, 0)] if calls == "itself" else doubling
    node = helper.make_node(f"f{len(functions) - 1}", ["pixels"], ["map"], domain="own")
    shape = ("N", 3, SIDE, SIDE)
    graph = helper.make_graph([node], "net", [tensor("pixels", *shape)], [tensor("map", *shape)])
    model = helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=8)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BackboneError, match="more than 1000000 operations"):
        create_backbone(f"onnx:{tmp_path / 'net.onnx'}")


ODD: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "cannot read the network"),
    "empty": (b"", "is no ONNX graph"),
    "text": (b"hello", "is no ONNX graph"),
    "zeros": (bytes(1000), "is no ONNX graph"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_graph_is_one_line(tmp_path: Path, name: str) -> None:
    content, message = ODD[name]
    file = tmp_path / "net.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises((BackboneError, WeightsNotFoundError), match=message) as caught:
        create_backbone(f"onnx:{file}")
    assert "\n" not in str(caught.value)


def test_damaged_graphs_are_one_line(tmp_path: Path) -> None:
    """Every fifth byte of a graph changed, one at a time: it still works, or it is refused by one of our errors."""
    original = map_net(tmp_path / "net.onnx").read_bytes()
    describe(tmp_path / "net.onnx")
    file = tmp_path / "net.onnx"
    refusals = []
    for place in range(0, 200, 5):
        content = bytearray(original)
        content[place] ^= 0x55
        file.write_bytes(content)
        try:
            create_backbone(f"onnx:{file}")
        except SemretError as error:
            refusals.append(str(error))
    assert len(refusals) > 5
    assert [text for text in refusals if "\n" in text or len(text) > 700] == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": [0, 3]}, "size is"),
        ({"mean": [1, 2]}, "mean is"),
        ({"std": [0, 1, 1]}, "std is"),
        ({"geometry": "melt"}, "geometry is"),
        ({"layout": "map_last"}, None),
        ({"layout": "sequence"}, "has 4 axes, expected 3"),
        ({"prefix_tokens": True}, "prefix_tokens is"),
        ({"colour": "red"}, "holds 'colour'"),
        ({"tokens": "nothing"}, "has no output 'nothing'"),
        ({"pooled": "nothing"}, "has no output 'nothing'"),
    ],
)
def test_a_description_is_checked(tmp_path: Path, fields: dict[str, Any], message: str | None) -> None:
    file = map_net(tmp_path / "net.onnx")
    describe(file, **fields)
    if message is None:
        assert create_backbone(f"onnx:{file}").identity.grid == (CHANNELS, 4)
        return
    with pytest.raises(BackboneError, match=message):
        create_backbone(f"onnx:{file}")


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff", b"[" * 10_000, b"3" * 100])
def test_a_description_that_is_none_is_one_line(tmp_path: Path, content: bytes) -> None:
    file = map_net(tmp_path / "net.onnx")
    file.with_suffix(".json").write_bytes(content)
    with pytest.raises(BackboneError, match=r"net\.json"):
        create_backbone(f"onnx:{file}")


def test_outputs_that_could_be_meant_are_named(tmp_path: Path, batch: np.ndarray) -> None:
    nodes = [patches(), helper.make_node("Neg", ["map"], ["negative"])]
    outputs = [tensor("map", "N", CHANNELS, 4, 4), tensor("negative", "N", CHANNELS, 4, 4)]
    weights = [numpy_helper.from_array(kernel(), "w")]
    file = save(tmp_path / "net.onnx", nodes, outputs, weights=weights)
    describe(file)
    with pytest.raises(BackboneError, match=r"2 outputs that could be tokens; name one with --layer.*map, negative"):
        create_backbone(f"onnx:{file}")
    chosen = create_backbone(f"onnx:{file}", layer="negative")
    np.testing.assert_allclose(chosen.embed(batch).tokens, -expected_tokens(batch), atol=1e-4)


def test_inputs_that_are_no_pictures_are_refused(tmp_path: Path) -> None:
    for shape in (("N", 7), ("N", 1, 8, 8)):
        node = helper.make_node("Identity", ["pixels"], ["map"])
        file = save(tmp_path / "net.onnx", [node], [tensor("map", *shape)], inputs=[tensor("pixels", *shape)])
        with pytest.raises(BackboneError, match=r"\(N, 3, H, W\)|3 channels"):
            create_backbone(f"onnx:{file}")


def test_a_device_that_the_runtime_lacks_is_named(tmp_path: Path) -> None:
    file = map_net(tmp_path / "net.onnx")
    with pytest.raises(ArgumentError, match="cannot use 'directml', only"):
        create_backbone(f"onnx:{file}", device="directml")
    with pytest.raises(ArgumentError, match="choose one of cpu, cuda, coreml, directml"):
        create_backbone(f"onnx:{file}", device="abacus")


def test_huge_intermediate_results_are_memory_not_a_crash(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["one"], keepdims=0),
        helper.make_node("Mul", ["pixels", "one"], ["map"]),
    ]
    weights = [numpy_helper.from_array(np.array([2**20, 2**22], np.int64), "size")]
    file = save(tmp_path / "net.onnx", nodes, [tensor("map", "N", 3, SIDE, SIDE)], weights=weights)
    # Runtimes before 1.21 compute what is constant as they load a graph; see the test below.
    with pytest.raises(BackboneError, match=r"runs out of memory (on one picture|while it is loaded)"):
        create_backbone(f"onnx:{file}")


@pytest.mark.parametrize(
    "error",
    [RuntimeError("[ONNXRuntimeError] : 6 : Exception during initialization: std::bad_alloc"), MemoryError()],
)
def test_a_graph_that_needs_too_much_memory_to_load_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    file = map_net(tmp_path / "net.onnx")
    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
    with pytest.raises(BackboneError, match=r"net\.onnx runs out of memory while it is loaded; choose a smaller model"):
        create_backbone(f"onnx:{file}")
