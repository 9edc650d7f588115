"""Network inputs to features, in batches: pictures are decoded while the network works on those before."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from semret.index.backbones.spec import Backbone, Features
from semret.index.sync.loading import Loaded

Result = TypeVar("Result")
"""What is made of the features of a batch."""

Value = TypeVar("Value")


class Lazy(Generic[Value]):
    """A value that is made when it is first asked for, once for all threads.

    Parameters
    ----------
    make : callable
        Makes the value, in the thread that asks first; other threads wait meanwhile. If it raises, the next call of
        `get` tries again.
    """

    def __init__(self, make: Callable[[], Value]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[Value] = []

    def replace(self, value: Value) -> None:
        """Put another value in the place of the one that was made.

        Parameters
        ----------
        value : Value
        """
        with self._lock:
            self._made = [value]

    def get(self) -> Value:
        """Return the value.

        Returns
        -------
        Value
            The same object every time, unless it is replaced.

        Raises
        ------
        Exception
            Whatever `make` raises.
        """
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]


@dataclass(frozen=True)
class Embedded(Generic[Result]):
    """Some files that the network is done with.

    Attributes
    ----------
    files : list of Loaded
        In the order in which they were given.
    pictures : list of Loaded
        Those of them that went through the network: one for each new content.
    result : Result or None
        What was made of the features of `pictures`; None if there are none.
    """

    files: list[Loaded]
    pictures: list[Loaded]
    result: Result | None


class Embedder(Generic[Result]):
    """Puts pictures through the network in batches, several at once where the backbone allows it.

    Files go in and come out in the same order, with those that need no network in their places. At most twice
    `batch_size` pictures are held at a time, or two batches for each stream. Used in a ``with`` block; leaving it waits
    for the batches that were begun and drops the others.

    Parameters
    ----------
    backbone : callable
        Gives the network; called once there is a picture to embed.
    finish : callable
        Makes something of the features of a batch, in the thread that embedded it.
    batch_size : int
        Pictures in the network at one time.
    is_known : callable
        Tells whether the features of a content (SHA-256) are stored already. The embedder itself keeps account of
        contents that are on their way through the network, so that each is embedded once.
    """

    def __init__(
        self,
        backbone: Callable[[], Backbone],
        finish: Callable[[list[Loaded], Features], Result],
        *,
        batch_size: int,
        is_known: Callable[[bytes], bool],
    ) -> None:
        self._backbone = backbone
        self._finish = finish
        self._batch_size = batch_size
        self._is_known = is_known
        self._gathered: list[Loaded] = []
        self._held = 0
        self._fresh: dict[bytes, Loaded] = {}
        self._embedding: set[bytes] = set()
        self._pending: deque[tuple[list[Loaded], list[Loaded], Future[Result] | None]] = deque()
        self._stack = contextlib.ExitStack()
        self._pool: ThreadPoolExecutor | None = None
        self._pictures = self._most = batch_size

    def __enter__(self) -> Embedder[Result]:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is not None:
            # After Ctrl-C nobody wants to wait for a forward pass; its thread ends with the process.
            self._pool.shutdown(wait=kind is not KeyboardInterrupt, cancel_futures=True)
        self._stack.close()

    def add(self, loaded: Loaded) -> Iterator[Embedded[Result]]:
        """Take one file, and give what is ready.

        Parameters
        ----------
        loaded : Loaded
            With `pixels` if it is to go through the network.

        Returns
        -------
        iterator of Embedded
            In the order in which files were added; it has to be exhausted before the next call.

        Raises
        ------
        Exception
            Whatever the network or `finish` raised, when the batch's turn has come.
        """
        self._gather(loaded)
        return self._ready()

    def rest(self) -> Iterator[Embedded[Result]]:
        """Give everything that was taken, waiting for it.

        Yields
        ------
        Embedded
            In the order in which files were added.
        """
        self._submit()
        while self._pending:
            yield self._take()

    def _gather(self, loaded: Loaded) -> None:
        self._gathered.append(loaded)
        if loaded.pixels is not None and loaded.sha256 is not None:
            self._open()
            self._held += 1
            if loaded.sha256 not in self._embedding and not self._is_known(loaded.sha256):
                self._fresh[loaded.sha256] = loaded
        if self._held >= self._pictures or len(self._gathered) >= 64 * self._batch_size:
            self._submit()

    def _ready(self) -> Iterator[Embedded[Result]]:
        """Give finished batches from the front; wait for one while there are too many."""
        while self._pending and (len(self._pending) > self._most or self._is_done()):
            yield self._take()

    def _open(self) -> None:
        if self._pool is None:
            streams = self._stack.enter_context(self._backbone().streams(self._batch_size))
            self._pictures = streams.pictures
            self._most = max(2 * streams.count, 2 * self._batch_size // streams.pictures)
            self._pool = ThreadPoolExecutor(streams.count, thread_name_prefix="semret-embed")

    def _submit(self) -> None:
        """Send what is gathered on its way."""
        files, pictures = self._gathered, list(self._fresh.values())
        self._gathered, self._fresh, self._held = [], {}, 0
        future = None
        if pictures and self._pool is not None:
            self._embedding.update(loaded.sha256 for loaded in pictures if loaded.sha256 is not None)
            future = self._pool.submit(self._embed, pictures)
        if files:
            self._pending.append((files, pictures, future))

    def _embed(self, pictures: list[Loaded]) -> Result:
        pixels = [loaded.pixels for loaded in pictures if loaded.pixels is not None]
        # Both keep the order in memory that `prepare` chose; a picture alone is not copied.
        batch = pixels[0][None] if len(pixels) == 1 else np.stack(pixels)
        return self._finish(pictures, self._backbone().embed(batch))

    def _is_done(self) -> bool:
        future = self._pending[0][2]
        return future is None or future.done()

    def _take(self) -> Embedded[Result]:
        files, pictures, future = self._pending.popleft()
        result = None if future is None else future.result()
        self._embedding.difference_update(loaded.sha256 for loaded in pictures if loaded.sha256 is not None)
        return Embedded(files, pictures, result)
