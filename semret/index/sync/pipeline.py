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

from semret.index.backbones.features import Features, Shrink, Shrunk
from semret.index.backbones.spec import Backbone, Streams
from semret.index.sync.loading import Loaded
from semret.index.sync.report import usable_cores

PIECE = 8
"""Pictures whose features are finished by one thread at a time, beside a device."""

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


@dataclass(frozen=True)
class Shrinking(Generic[Result]):
    """What to do with tokens on a device of its own, instead of bringing them back.

    Attributes
    ----------
    choose : callable
        Asked for each batch; None has its tokens brought back.
    finish : callable
        Makes of what came back what the embedder's `finish` makes of features.
    """

    choose: Callable[[], Shrink | None]
    finish: Callable[[list[Loaded], Shrunk], Result]


@dataclass(frozen=True)
class _Piece(Generic[Result]):
    """Some files in a row, and what is to come of those of them that go through the network."""

    files: list[Loaded]
    pictures: list[Loaded]
    result: Future[Result] | None
    ends_batch: bool


class Embedder(Generic[Result]):
    """Puts pictures through the network in batches, several at once where the backbone allows it.

    Files go in and come out in the same order, with those that need no network in their places. At most twice
    `batch_size` pictures are held at a time, or two batches for each stream. Used in a ``with`` block; leaving it waits
    for the batches that were begun and drops the others.

    On a processor, the thread that embedded a batch finishes it. A device of its own is fed by threads that do nothing
    else; batches are then finished in pieces of `PIECE` pictures, on as many threads as there are cores.

    Parameters
    ----------
    backbone : callable
        Gives the network; called once there is a picture to embed.
    finish : callable
        Makes something of the features of a batch, or of a piece of it; called from several threads at a time.
    batch_size : int
        Pictures in the network at one time.
    is_known : callable
        Tells whether the features of a content (SHA-256) are stored already. The embedder itself keeps account of
        contents that are on their way through the network, so that each is embedded once.
    shrinking : Shrinking or None
        For a network on a device of its own.
    """

    def __init__(
        self,
        backbone: Callable[[], Backbone],
        finish: Callable[[list[Loaded], Features], Result],
        *,
        batch_size: int,
        is_known: Callable[[bytes], bool],
        shrinking: Shrinking[Result] | None = None,
    ) -> None:
        self._backbone = backbone
        self._finish = finish
        self._shrinking = shrinking
        self._batch_size = batch_size
        self._is_known = is_known
        self._gathered: list[Loaded] = []
        self._held = 0
        self._fresh: dict[bytes, Loaded] = {}
        self._embedding: set[bytes] = set()
        self._pending: deque[_Piece[Result]] = deque()
        self._batches = 0
        self._stack = contextlib.ExitStack()
        self._pool: ThreadPoolExecutor | None = None
        self._finishers: ThreadPoolExecutor | None = None
        self._streams = Streams(1, batch_size)
        self._most = batch_size

    def __enter__(self) -> Embedder[Result]:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for pool in (self._pool, self._finishers):
            if pool is not None:
                # After Ctrl-C nobody wants to wait for a forward pass; its thread ends with the process.
                pool.shutdown(wait=kind is not KeyboardInterrupt, cancel_futures=True)
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
        if self._held >= self._streams.pictures or len(self._gathered) >= 64 * self._batch_size:
            self._submit()

    def _ready(self) -> Iterator[Embedded[Result]]:
        """Give finished batches from the front; wait for one while there are too many."""
        while self._pending and (self._batches > self._most or self._is_done()):
            yield self._take()

    def _open(self) -> None:
        if self._pool is None:
            streams = self._stack.enter_context(self._backbone().streams(self._batch_size))
            self._streams = streams
            self._most = max(2 * streams.count, 2 * self._batch_size // streams.pictures)
            self._pool = ThreadPoolExecutor(streams.count, thread_name_prefix="semret-embed")
            if streams.feed is not None:
                self._finishers = ThreadPoolExecutor(usable_cores(), thread_name_prefix="semret-finish")

    def _submit(self) -> None:
        """Send what is gathered on its way."""
        files, pictures = self._gathered, list(self._fresh.values())
        self._gathered, self._fresh, self._held = [], {}, 0
        if not files:
            return
        self._batches += 1
        self._embedding.update(loaded.sha256 for loaded in pictures if loaded.sha256 is not None)
        pieces = self._cut(files, pictures)
        self._pending.extend(pieces)
        if pictures and self._pool is not None:
            self._pool.submit(self._embed, pieces)

    def _cut(self, files: list[Loaded], pictures: list[Loaded]) -> list[_Piece[Result]]:
        """Cut a batch into pieces that are finished one by one; on a processor into one."""
        size = PIECE if self._streams.feed is not None else len(files)
        fresh = {id(loaded) for loaded in pictures}
        pieces: list[_Piece[Result]] = []
        part: list[Loaded] = []
        chosen: list[Loaded] = []
        for place, loaded in enumerate(files, 1):
            part.append(loaded)
            if id(loaded) in fresh:
                chosen.append(loaded)
            if len(chosen) == size or place == len(files):
                pieces.append(_Piece(part, chosen, Future() if chosen else None, place == len(files)))
                part, chosen = [], []
        return pieces

    def _embed(self, pieces: list[_Piece[Result]]) -> None:
        """Embed a batch, and finish it or have it finished; what goes wrong is raised where results are taken."""
        pieces = [piece for piece in pieces if piece.pictures]
        pixels = [loaded.pixels for piece in pieces for loaded in piece.pictures if loaded.pixels is not None]
        features: Features | Shrunk
        try:
            if self._streams.feed is not None:
                shrink = None if self._shrinking is None else self._shrinking.choose()
                features = self._streams.feed.embed(pixels, shrink)
            else:
                # Both keep the order in memory that `prepare` chose; a picture alone is not copied.
                features = self._backbone().embed(pixels[0][None] if len(pixels) == 1 else np.stack(pixels))
        except BaseException as error:
            for piece in pieces:
                _set(piece, error)
            return
        start = 0
        for piece in pieces:
            stop = start + len(piece.pictures)
            if self._finishers is None:
                self._complete(piece, features)
            else:
                self._finishers.submit(self._complete, piece, features.part(start, stop))
            start = stop

    def _complete(self, piece: _Piece[Result], features: Features | Shrunk) -> None:
        try:
            if isinstance(features, Features):
                result = self._finish(piece.pictures, features)
            elif self._shrinking is not None:
                result = self._shrinking.finish(piece.pictures, features)
        except BaseException as error:
            _set(piece, error)
        else:
            if piece.result is not None:
                piece.result.set_result(result)

    def _is_done(self) -> bool:
        result = self._pending[0].result
        return result is None or result.done()

    def _take(self) -> Embedded[Result]:
        piece = self._pending.popleft()
        self._batches -= piece.ends_batch
        result = None if piece.result is None else piece.result.result()
        self._embedding.difference_update(loaded.sha256 for loaded in piece.pictures if loaded.sha256 is not None)
        return Embedded(piece.files, piece.pictures, result)


def _set(piece: _Piece[Result], error: BaseException) -> None:
    if piece.result is not None:
        piece.result.set_exception(error)
