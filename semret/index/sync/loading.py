"""From files to network inputs, in threads and in order; a slow file is passed by the others."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace

from semret.arrays import Float32Array
from semret.errors import ImageDecodeError
from semret.index.backbones.spec import Backbone
from semret.index.pictures.decode import decode_image
from semret.index.pictures.files import read_file, reason_of, settled
from semret.index.pictures.find import FoundImage
from semret.index.pictures.remote import read_remote
from semret.paths import is_address

PATIENCE = 10.0
"""Seconds that the next file in order may take before those behind it are given first."""

_TICK = 1.0


@dataclass(frozen=True)
class Loaded:
    """A file that was read.

    Attributes
    ----------
    path : str
        Absolute.
    size, mtime_ns : int
        Of the file when it was read; of the walk if it could not be.
    sha256 : bytes or None
        Of the content; None if it could not be read.
    pixels : ndarray of shape (3, H, W), float32, or None
        The network's input; None where the features are stored already, or `reason` says what is wrong.
    picture : (int, int)
        Width and height of the upright picture in the file; (0, 0) if it was not decoded.
    reason : str or None
        Why the file is no usable picture.
    read_ns : int
        This computer's time just before it was read.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: bytes | None = None
    pixels: Float32Array | None = None
    picture: tuple[int, int] = (0, 0)
    reason: str | None = None
    read_ns: int = 0

    @property
    def stamp_ns(self) -> int:
        """The time stamp to recognise the file by, or -1 if it may change again without a sign."""
        return settled(self.mtime_ns, self.read_ns)


class Loader:
    """Read, hash, decode and prepare files.

    Parameters
    ----------
    backbone : callable
        Gives the network; called when the first picture has to be decoded, and only then.
    is_known : callable
        Tells whether the features of a content (SHA-256) are stored, so that it need not be decoded.
    size : (int, int) or None
        Height and width of the network's input, where that is known without loading it.
    """

    def __init__(
        self,
        backbone: Callable[[], Backbone],
        is_known: Callable[[bytes], bool],
        size: tuple[int, int] | None = None,
    ) -> None:
        self._backbone = backbone
        self._is_known = is_known
        self._size = size
        self._getting = 0
        self._counting = threading.Lock()

    @property
    def is_held_up(self) -> bool:
        """Whether a file waits for the network to be loaded; that time does not count against the file."""
        return self._getting > 0

    def load(self, found: FoundImage) -> Loaded:
        """Read one file.

        Parameters
        ----------
        found : FoundImage
            As the walk gave it.

        Returns
        -------
        Loaded
            If the file is no usable picture, with the reason instead of pixels: no error of a picture is raised.
        """
        path, started = found.path, time.time_ns()
        try:
            content = read_remote(found) if is_address(path) else read_file(path)
        except ImageDecodeError as error:
            # What is elsewhere may be there the next time.
            mtime_ns = -1 if is_address(path) else found.mtime_ns
            return Loaded(path, found.size, mtime_ns, reason=reason_of(error, path), read_ns=started)
        digest = bytes.fromhex(content.sha256)
        read = Loaded(path, content.size, content.mtime_ns, digest, read_ns=content.read_ns)
        if self._is_known(digest):
            return read
        size = self._size or self._network().identity.preprocessing.size
        try:
            picture = decode_image(content.data, reduce_to=size)
        except ImageDecodeError as error:
            return replace(read, reason=str(error))
        return replace(read, pixels=self._network().prepare(picture), picture=picture.info["original_size"])

    def _network(self) -> Backbone:
        with self._counting:
            self._getting += 1
        try:
            return self._backbone()
        finally:
            with self._counting:
                self._getting -= 1


def load_files(
    loader: Loader, found: Iterable[FoundImage], *, workers: int, ahead: int, patience: float = PATIENCE
) -> Generator[Loaded | None, None, None]:
    """Load files in threads and give them in their order, without letting a slow file hold up the others.

    If the next file in order takes longer than `patience`, it is set aside together with its thread, and a new thread
    is started in its place. The files behind it are given first, and the slow one when it is done. So the order is that
    of `found`, except that slow files come late. At most as many files are set aside as there are workers; at most
    `ahead` are held in all.

    Parameters
    ----------
    loader : Loader
        Loads one file.
    found : iterable of FoundImage
        The files; may be empty.
    workers : int
        Threads that load, not counting those that are busy with files set aside.
    ahead : int
        Files that are being loaded, or loaded and not yet given, at any time.
    patience : float
        Seconds.

    Yields
    ------
    Loaded or None
        None about once a second while nothing is ready, so that the caller can finish what it has, or stop.
    """
    files = iter(found)
    pending: deque[Future[Loaded]] = deque()
    late: list[Future[Loaded]] = []
    with _Threads(loader, workers, patience) as threads:
        clock = _Clock(loader)
        while True:
            while len(pending) + len(late) < ahead and (file := next(files, None)) is not None:
                pending.append(threads.submit(file))
            if done := next((future for future in late if future.done()), None):
                late.remove(done)
                threads.retire()
                yield from clock.without(done.result())
            elif pending and pending[0].done():
                yield pending.popleft().result()
                clock.start()
            elif pending and len(late) < workers and clock.waited() >= patience:
                late.append(pending.popleft())
                threads.start()
                clock.start()
            elif not (pending or late):
                return
            elif not _any_done([*late, *itertools.islice(pending, 1)], min(_TICK, max(patience, 0.01))):
                yield from clock.without(None)


def _any_done(futures: list[Future[Loaded]], seconds: float) -> bool:
    return bool(wait(futures, seconds, FIRST_COMPLETED).done)


class _Clock:
    """How long the next file in order has been waited for, not counting the time that the caller took."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._since = time.monotonic()
        self._was_held_up = False

    def start(self) -> None:
        """Begin to wait for another file."""
        self._since = time.monotonic()

    def waited(self) -> float:
        """Return the seconds waited; 0 while the network is being loaded, or was at the look before."""
        is_held_up = self._loader.is_held_up
        if is_held_up or self._was_held_up:
            self.start()
        self._was_held_up = is_held_up
        return time.monotonic() - self._since

    def without(self, given: Loaded | None) -> Iterator[Loaded | None]:
        """Give something to the caller, and do not count the time until the caller comes back."""
        before = time.monotonic()
        yield given
        self._since += time.monotonic() - before


class _Threads:
    """Threads that load files in the order in which they are submitted, as many as are wanted at the moment.

    Not a `ThreadPoolExecutor`: its number of threads is fixed, and at its end the program waits for all of them, even
    for one that hangs on a file of a network drive that no longer answers.
    """

    def __init__(self, loader: Loader, count: int, patience: float) -> None:
        self._loader = loader
        self._patience = patience
        self._tasks: queue.SimpleQueue[tuple[FoundImage, Future[Loaded]] | None] = queue.SimpleQueue()
        self._count = 0
        self._unfinished: set[Future[Loaded]] = set()
        for _ in range(count):
            self.start()

    def __enter__(self) -> _Threads:
        return self

    def __exit__(self, *exception: object) -> None:
        """Drop what was not begun, and wait for the rest, but no longer than `patience`."""
        del exception
        running = [future for future in self._unfinished.copy() if not future.cancel()]
        for _ in range(self._count):
            self._tasks.put(None)
        while wait(running, self._patience).not_done and self._loader.is_held_up:
            pass  # a thread that is loading the network must not be left behind: ending the program would crash it

    def submit(self, file: FoundImage) -> Future[Loaded]:
        """Have a file loaded."""
        future: Future[Loaded] = Future()
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        self._tasks.put((file, future))
        return future

    def start(self) -> None:
        """Add a thread."""
        self._count += 1
        threading.Thread(target=self._work, name=f"semret-load-{self._count}", daemon=True).start()

    def retire(self) -> None:
        """Let a thread end once it is free and what was submitted so far is begun."""
        self._count -= 1
        self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            file, future = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._loader.load(file))
            except BaseException as error:
                future.set_exception(error)
            del task, file, future  # nothing is held while the next file is waited for
