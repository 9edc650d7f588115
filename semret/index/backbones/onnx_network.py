"""A graph on ONNX Runtime as a backbone: one of its outputs is its tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from semret.arrays import Float32Array
from semret.errors import BackboneError, ShapeError
from semret.index.backbones.features import Features
from semret.index.backbones.memory import embed_what_fits, freed_memory_is_kept, share_out
from semret.index.backbones.pooling import pool
from semret.index.backbones.preprocess import prepare_image
from semret.index.backbones.spec import Backbone, BackboneSpec, Identity, Preprocessing, Streams

if TYPE_CHECKING:
    from PIL import Image

    from semret.index.backbones.onnx_session import GraphSession

Layout = Literal["map_last", "map_first", "sequence"]
"""How an output holds tokens: (N, H, W, C), (N, C, H, W) or (N, prefix + S, C)."""


@dataclass(frozen=True, kw_only=True)
class GraphWiring:
    """How to read a graph.

    Attributes
    ----------
    images : str
        Name of the input.
    channels_last : bool
        Whether it takes (N, H, W, 3) instead of (N, 3, H, W).
    tokens : str
        Name of the output that the tokens are taken from.
    layout : {"map_last", "map_first", "sequence"}
    prefix : int
        Tokens in front of the patches in a sequence, which are removed.
    grid : (int, int) or None
        Of a sequence that is not square.
    pooled : str or None
        Name of the output that is the image's own embedding.
    logits : str or None
        Name of the output with class scores.
    batch : int or None
        Pictures that every pass takes, where the graph fixes their number, as exporters do unless told otherwise.
    """

    images: str = "images"
    channels_last: bool = False
    tokens: str = "tokens"
    layout: Layout = "map_last"
    prefix: int = 0
    grid: tuple[int, int] | None = None
    pooled: str | None = None
    logits: str | None = None
    batch: int | None = None

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs that are read, tokens first."""
        return [name for name in (self.tokens, self.pooled, self.logits) if name is not None]


@dataclass(frozen=True, kw_only=True)
class Identified:
    """What an index records of a network beside what one pass shows: see `semret.index.backbones.spec.Identity`."""

    layer: str
    weights_sha256: str
    checkpoint: str
    revision: str | None = field(default=None)


class OnnxBackbone(Backbone):
    """A graph with its wiring and preprocessing.

    Parameters
    ----------
    spec : BackboneSpec
        Row of the registry.
    session : GraphSession
    wiring : GraphWiring
    preprocessing : Preprocessing
        Including the caller's size and geometry.
    pooling : str
        See `semret.index.backbones.pooling.POOLINGS`; ``model`` reads the output that `wiring` names, ``class`` takes
        the first prefix token.
    identified : Identified
    grid, channels, pooled_dim : optional
        What the graph is known to give; found out by a pass on a black picture where they are None.

    Raises
    ------
    BackboneError
        If the graph does not take the input size, or its outputs are no tokens.
    """

    def __init__(
        self,
        *,
        spec: BackboneSpec,
        session: GraphSession,
        wiring: GraphWiring,
        preprocessing: Preprocessing,
        pooling: str,
        identified: Identified,
        shape: tuple[tuple[int, int], int, int] | None = None,
    ) -> None:
        self.spec = spec
        self.preprocessing = preprocessing
        self._session = session
        self._wiring = wiring
        self._pooling = pooling
        if shape is None:
            found = self.embed(np.zeros((1, 3, *preprocessing.size), np.float32))
            shape = found.grid, found.tokens.shape[2], found.pooled.shape[1]
        self.identity = Identity(
            backbone=spec.name,
            family=spec.family,
            checkpoint=identified.checkpoint,
            revision=identified.revision,
            weights_sha256=identified.weights_sha256,
            preprocessing=preprocessing,
            layer=identified.layer,
            pooled=pooling,
            prefix_tokens=wiring.prefix,
            grid=shape[0],
            channels=shape[1],
            pooled_dim=shape[2],
        )

    @contextmanager
    def streams(self, batch_size: int) -> Iterator[Streams]:
        """Let each thread run the graph on pictures of its own; see `semret.index.backbones.network.TorchBackbone`.

        Parameters
        ----------
        batch_size : int

        Yields
        ------
        Streams
        """
        threads = self._session.threads
        shared = share_out(threads, batch_size, self.preprocessing.size)
        self._session.threads = threads // shared.count
        try:
            with freed_memory_is_kept():
                yield shared
        finally:
            self._session.threads = threads

    def prepare(self, image: Image.Image) -> Float32Array:
        """Turn an RGB picture into the network's input; safe in many threads at once.

        Parameters
        ----------
        image : PIL.Image.Image

        Returns
        -------
        ndarray of shape (3, H, W), float32
        """
        return prepare_image(image, self.preprocessing)

    def embed(self, batch: Float32Array) -> Features:
        """Run the network on a batch; in halves where memory runs out.

        Parameters
        ----------
        batch : ndarray of shape (N, 3, H, W), float32
            N at least 1.

        Returns
        -------
        Features

        Raises
        ------
        ShapeError
            If the batch does not have the shape that `prepare` gives.
        BackboneError
            If not even one image fits into memory, or the output is not finite or no tokens.
        """
        self._check(batch)
        return embed_what_fits(self._embed, batch, self.spec.name)

    def _check(self, batch: Float32Array) -> None:
        expected = (3, *self.preprocessing.size)
        if batch.ndim != 4 or batch.shape[0] == 0 or batch.shape[1:] != expected:
            raise ShapeError(
                f"batch has shape {batch.shape}, {self.spec.name} expects (N, {expected})".replace(", (", ", ")
            )

    def _embed(self, batch: Float32Array) -> Features:
        wiring = self._wiring
        found = dict(zip(wiring.outputs, self._run(batch), strict=True))
        tokens, grid, prefix = split_tokens(found[wiring.tokens], wiring, len(batch), self.spec.name)
        features = Features(
            tokens=tokens,
            pooled=self._pool(tokens, prefix, found),
            grid=grid,
            logits=None if wiring.logits is None else found[wiring.logits].astype(np.float32, copy=False),
        )
        for array in (features.tokens, features.pooled):
            if not np.isfinite(array).all():
                raise BackboneError(f"{self.spec.name} gave NaN or infinity; are the weights damaged?")
        return features

    def _run(self, batch: Float32Array) -> list[NDArray[Any]]:
        """Return the outputs; in passes of the graph's own number of pictures, the last one filled up with black."""
        names, fixed = self._wiring.outputs, self._wiring.batch
        if fixed is None or fixed == len(batch):
            return self._session.run(names, self._feed(batch))
        passes = []
        for start in range(0, len(batch), fixed):
            part = batch[start : start + fixed]
            filled = np.zeros((fixed, *batch.shape[1:]), np.float32)
            filled[: len(part)] = part
            passes.append([output[: len(part)] for output in self._session.run(names, self._feed(filled))])
        return [np.concatenate(outputs) for outputs in zip(*passes, strict=True)]

    def _feed(self, batch: Float32Array) -> dict[str, NDArray[Any]]:
        images = batch.transpose(0, 2, 3, 1) if self._wiring.channels_last else batch
        return {self._wiring.images: np.ascontiguousarray(images, dtype=np.float32)}

    def _pool(self, tokens: Float32Array, prefix: Float32Array, found: dict[str, NDArray[Any]]) -> Float32Array:
        if self._pooling == "class":
            if not prefix.shape[1]:
                raise BackboneError(f"{self.spec.name} has no class token to pool by; give the number of prefix tokens")
            return np.ascontiguousarray(prefix[:, 0])
        if self._pooling != "model":
            return pool(tokens, self._pooling)
        output = found[self._wiring.pooled or ""]
        if output.shape[0] != len(tokens) or output.size == 0:
            raise BackboneError(
                f"{self.spec.name}: pooled output has shape {output.shape}, expected ({len(tokens)}, D)"
            )
        return np.ascontiguousarray(output.reshape(len(tokens), -1), dtype=np.float32)


def split_tokens(
    output: NDArray[Any], wiring: GraphWiring, images: int, what: str
) -> tuple[Float32Array, tuple[int, int], Float32Array]:
    """Return an output as tokens, their grid, and the prefix tokens in front of them.

    Parameters
    ----------
    output : ndarray
        Three axes for a sequence, four for a map.
    wiring : GraphWiring
    images : int
        N.
    what : str
        Names the network in messages.

    Returns
    -------
    tokens : ndarray of shape (N, S, C), float32
    grid : (int, int)
    prefix : ndarray of shape (N, P, C), float32

    Raises
    ------
    BackboneError
        If the output has another shape, or its patches form no grid.
    """
    axes = 3 if wiring.layout == "sequence" else 4
    if output.ndim != axes or output.shape[0] != images or 0 in output.shape or output.dtype.kind != "f":
        raise BackboneError(
            f"{what}: output {wiring.tokens!r} has shape {output.shape} and type {output.dtype}, "
            f"expected {axes} axes of floating-point numbers for {images} pictures; name another with --layer"
        )
    if wiring.layout == "sequence":
        patches = output.shape[1] - wiring.prefix
        grid = wiring.grid or (round(max(patches, 0) ** 0.5),) * 2
        if patches < 1 or grid[0] * grid[1] != patches:
            raise BackboneError(
                f"{what}: {output.shape[1]} tokens without {wiring.prefix} in front of them are {patches}, "
                f"which form no grid of {grid[0]} x {grid[1]}; give prefix_tokens and grid"
            )
        whole = output.astype(np.float32, copy=False)
        return np.ascontiguousarray(whole[:, wiring.prefix :]), grid, whole[:, : wiring.prefix]
    last = output if wiring.layout == "map_last" else output.transpose(0, 2, 3, 1)
    tokens = np.ascontiguousarray(last, dtype=np.float32).reshape(images, -1, last.shape[3])
    return tokens, (int(last.shape[1]), int(last.shape[2])), tokens[:, :0]
