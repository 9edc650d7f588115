"""Files to network inputs, in threads, while the network works on those before."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from semret.arrays import Float32Array
from semret.errors import ImageDecodeError
from semret.index.backbones.spec import Backbone
from semret.index.images import FoundImage, decode_image, read_file, reason_of


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
        Width and height of the decoded picture.
    reason : str or None
        Why the file is no usable picture.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: bytes | None = None
    pixels: Float32Array | None = None
    picture: tuple[int, int] = (0, 0)
    reason: str | None = None


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

    def load(self, found: FoundImage) -> Loaded:
        """Read one file; whatever is wrong with it becomes the reason."""
        path = found.path
        try:
            content = read_file(path)
        except ImageDecodeError as error:
            return Loaded(path, found.size, found.mtime_ns, reason=reason_of(error, path))
        digest = bytes.fromhex(content.sha256)
        if self._is_known(digest):
            return Loaded(path, content.size, content.mtime_ns, digest)
        size = self._size or self._backbone().identity.preprocessing.size
        try:
            picture = decode_image(content.data, reduce_to=size)
        except ImageDecodeError as error:
            return Loaded(path, content.size, content.mtime_ns, digest, reason=str(error))
        pixels = self._backbone().prepare(picture)
        return Loaded(path, content.size, content.mtime_ns, digest, pixels, picture.info["original_size"])


def load_in_order(loader: Loader, found: Iterable[FoundImage], *, workers: int, ahead: int) -> Iterator[Loaded]:
    """Load files in threads and give them in their order; at most `ahead` are held at a time."""
    files = iter(found)
    pending: deque[Future[Loaded]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="semret-load")
    try:
        while True:
            while len(pending) < ahead and (file := next(files, None)) is not None:
                pending.append(pool.submit(loader.load, file))
            if not pending:
                return
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Lazy:
    """A network that is loaded when it is first wanted, by whichever thread wants it, and accepted or refused then."""

    def __init__(self, load: Callable[[], Backbone], accept: Callable[[Backbone], None]) -> None:
        self._load = load
        self._accept = accept
        self._lock = threading.Lock()
        self._loaded: Backbone | None = None

    def get(self) -> Backbone:
        """Return the network."""
        with self._lock:
            if self._loaded is None:
                loaded = self._load()
                self._accept(loaded)
                self._loaded = loaded
            return self._loaded


class Batches:
    """Gathers files until there are enough pictures for a forward pass; what needs none goes along in its place."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._gathered: list[Loaded] = []
        self._pictures = 0

    def add(self, loaded: Loaded) -> list[list[Loaded]]:
        """Take one file; return the batch that it completes, if it does."""
        self._gathered.append(loaded)
        self._pictures += loaded.pixels is not None
        return self.rest() if self._pictures >= self._size or len(self._gathered) >= 64 * self._size else []

    def rest(self) -> list[list[Loaded]]:
        """Return what is gathered as a batch, if anything is."""
        gathered, self._gathered, self._pictures = self._gathered, [], 0
        return [gathered] if gathered else []
