"""A network that several threads use as if each had it alone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from semret.arrays import Float32Array
from semret.index.backbones.features import Features
from semret.index.backbones.spec import Backbone, Streams


class SharedBackbone(Backbone):
    """Lets passes of a network run side by side, as many as it allows; those that come then wait.

    One pass alone has all processors. When a second begins meanwhile, those from then on have a part of them each, as
    while indexing, until nobody is left. What a pass gives does not depend on it.

    Parameters
    ----------
    backbone : Backbone
    """

    def __init__(self, backbone: Backbone) -> None:
        self.spec, self.identity = backbone.spec, backbone.identity
        self._backbone = backbone
        self._turn = threading.Condition()
        self._passes = 0
        self._alone_now = False
        self._lent = 0
        self._side_by_side = contextlib.ExitStack()
        self._most = 0

    @contextmanager
    def streams(self, batch_size: int) -> Iterator[Streams]:
        """Let a caller share the network out by itself for the length of a ``with`` block; see `Backbone.streams`.

        Parameters
        ----------
        batch_size : int

        Yields
        ------
        Streams
        """
        with self._backbone.streams(batch_size) as streams:
            self._lend(1)
            try:
                yield streams
            finally:
                self._lend(-1)

    def prepare(self, image: Image.Image) -> Float32Array:
        """Turn a picture into the network's input.

        Parameters
        ----------
        image : PIL.Image.Image

        Returns
        -------
        ndarray of shape (3, H, W), float32
        """
        return self._backbone.prepare(image)

    def embed(self, batch: Float32Array) -> Features:
        """Run the network on a batch, beside other threads that do.

        Parameters
        ----------
        batch : ndarray of shape (N, 3, H, W), float32

        Returns
        -------
        Features
        """
        with self._pass():
            return self._backbone.embed(batch)

    def embed_layers(self, batch: Float32Array) -> dict[str, Float32Array]:
        """Return the tokens of every layer; see `Backbone.embed_layers`.

        Parameters
        ----------
        batch : ndarray of shape (N, 3, H, W), float32

        Returns
        -------
        dict of str to ndarray of shape (N, S_l, C_l), float32
        """
        with self._alone():
            return self._backbone.embed_layers(batch)

    def embed_text(self, sentences: list[str]) -> Float32Array:
        """Return the embeddings of sentences; see `Backbone.embed_text`.

        Parameters
        ----------
        sentences : list of str

        Returns
        -------
        ndarray of shape (N, D), float32
        """
        with self._alone():
            return self._backbone.embed_text(sentences)

    def _lend(self, change: int) -> None:
        with self._turn:
            self._lent += change
            self._turn.notify_all()

    @contextmanager
    def _pass(self) -> Iterator[None]:
        with self._turn:
            while not self._may_begin():
                self._turn.wait()
            self._passes += 1
        try:
            yield
        finally:
            with self._turn:
                self._end()

    def _may_begin(self) -> bool:
        if self._alone_now:
            return False
        if not self._passes or self._lent:
            return True
        if not self._most:
            # The second of several: from now on each has its share of the processors.
            self._most = max(1, self._side_by_side.enter_context(self._backbone.streams(_MANY)).count)
        return self._passes < self._most

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._turn:
            self._turn.wait_for(lambda: not self._passes)
            self._passes, self._alone_now = 1, True
        try:
            yield
        finally:
            with self._turn:
                self._alone_now = False
                self._end()

    def _end(self) -> None:
        self._passes -= 1
        if not self._passes:
            self._side_by_side.close()
            self._most = 0
        self._turn.notify_all()


_MANY = 1 << 20
"""More pictures than any network takes at one time."""
