"""EfficientNet-Lite0 as an ONNX graph, written node by node: one for all input sizes, up to the layer wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from semret.arrays import Float32Array
from semret.index.backbones.lite0_layout import (
    CLASSES,
    HEAD_CONVOLUTION,
    STEM_CONVOLUTION,
    Block,
    Convolution,
    stages,
)

_OPSET, _IR = 17, 8
"""Of ONNX 1.12 (2022), which every runtime that semret allows can read."""


def write_graph(weights: Mapping[str, Float32Array], layers: tuple[str, ...]) -> bytes:
    """Return the network as a serialised ONNX model.

    The input ``images`` has shape (N, H, W, 3), channels last as pictures lie in memory. For each layer there is an
    output ``tokens:LAYER`` of shape (N, H_l, W_l, C_l); with layer ``last``, ``logits`` of shape (N, 1000) as well.

    Parameters
    ----------
    weights : mapping of str to ndarray, float32
        As `semret.index.backbones.lite0_layout.fold` gives them.
    layers : tuple of str
        Names of `semret.index.backbones.lite0_layout.LAYERS`; what lies behind the last of them is left out.

    Returns
    -------
    bytes
    """
    graph = _Graph(weights)
    hidden = graph.transpose("images", "pixels", (0, 3, 1, 2))
    hidden = graph.convolve(hidden, STEM_CONVOLUTION)
    graph.take("stem", hidden, STEM_CONVOLUTION.after, layers)
    for number, blocks in enumerate(stages()):
        if graph.taken == len(layers):
            break
        for block in blocks:
            hidden = graph.add_block(hidden, block)
        graph.take(f"blocks.{number}", hidden, blocks[-1].project.after, layers)
    if "last" in layers:
        hidden = graph.convolve(hidden, HEAD_CONVOLUTION)
        graph.take("last", hidden, HEAD_CONVOLUTION.after, layers)
        graph.classify(hidden)
    return graph.serialise()


class _Graph:
    """Nodes, weights and outputs, as they are added."""

    def __init__(self, weights: Mapping[str, Float32Array]) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._constants = [
            numpy_helper.from_array(np.array(value, np.float32), name) for name, value in (("zero", 0.0), ("six", 6.0))
        ]
        self.taken = 0

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _weight(self, name: str) -> str:
        self._constants.append(numpy_helper.from_array(self._weights[name], name))
        return name

    def transpose(self, source: str, target: str, order: tuple[int, ...]) -> str:
        """Put axes into another order."""
        return self._add("Transpose", [source], target, perm=order)

    def convolve(self, images: str, shape: Convolution) -> str:
        """Add a convolution, and ReLU6 if it has one."""
        inputs = [images, self._weight(f"{shape.path}.weight"), self._weight(f"{shape.path}.bias")]
        # SAME_UPPER is TensorFlow's padding: ceil(input / stride) outputs, and the odd row or column after the end.
        result = self._add(
            "Conv",
            inputs,
            f"{shape.path}:sum",
            kernel_shape=[shape.kernel] * 2,
            strides=[shape.stride] * 2,
            group=shape.groups,
            auto_pad="SAME_UPPER",
        )
        return self._add("Clip", [result, "zero", "six"], f"{shape.path}:clipped") if shape.clip else result

    def add_block(self, images: str, block: Block) -> str:
        """Add an inverted residual."""
        hidden = images if block.expand is None else self.convolve(images, block.expand)
        result = self.convolve(self.convolve(hidden, block.depthwise), block.project)
        return self._add("Add", [result, images], f"{block.path}:added") if block.adds else result

    def take(self, layer: str, hidden: str, channels: int, layers: tuple[str, ...]) -> None:
        """Make a map an output, channels last, if its layer is wanted."""
        if layer in layers:
            name = self.transpose(hidden, f"tokens:{layer}", (0, 2, 3, 1))
            self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", None, None, channels]))
            self.taken += 1

    def classify(self, hidden: str) -> None:
        """Add the classifier on the mean of the map."""
        pooled = self._add("Flatten", [self._add("GlobalAveragePool", [hidden], "mean")], "pooled")
        inputs = [pooled, self._weight("classifier.weight"), self._weight("classifier.bias")]
        self._add("Gemm", inputs, "logits", transB=1)
        self._outputs.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES]))

    def serialise(self) -> bytes:
        """Return the finished model, checked by ONNX's own checker."""
        images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", "H", "W", 3])
        graph = helper.make_graph(self._nodes, "efficientnet-lite0", [images], self._outputs, self._constants)
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="semret")
        onnx.checker.check_model(model)
        data: bytes = model.SerializeToString(deterministic=True)
        return data
