"""Memory of a network: batches that do not fit are run in parts, and freed memory is kept between passes."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from semret.errors import BackboneError
from semret.index.backbones.features import Features, Shrunk
from semret.index.backbones.spec import Streams

logger = logging.getLogger(__name__)

_PIXELS = 2**18
"""Pixels in one pass on a processor, if they are of several pictures: five of 224x224, one from 362x362 on."""

_COMPLAINTS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 2**25
_LARGEST_TRIM_THRESHOLD = 2 * _LARGEST_MMAP_THRESHOLD
"""As far as glibc itself raises its thresholds in a process that allocates and frees large blocks."""

_KEPT = 2**28
"""Free bytes, for each thread that allocates, that are kept while `freed_memory_is_kept`."""


class Sliceable(Protocol):
    """An array or tensor of a batch."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, key: slice) -> Any:
        """Return some of them."""

    @property
    def shape(self) -> Any:
        """(N, 3, H, W)."""


Batch = TypeVar("Batch", bound=Sliceable)
Found = TypeVar("Found", Features, Shrunk, Features | Shrunk)


def embed_what_fits(embed: Callable[[Batch], Found], batch: Batch, backbone: str) -> Found:
    """Run `embed` on a batch; where memory runs out, on its halves, and so on down to single images.

    Parameters
    ----------
    embed : callable
        From (n, 3, H, W) to `Features` or `Shrunk`.
    batch : ndarray or tensor of shape (N, 3, H, W), float32
        N at least 1.
    backbone : str
        Name for messages.

    Returns
    -------
    Features or Shrunk
        Of all N images.

    Raises
    ------
    BackboneError
        If a single image does not fit.
    """
    try:
        return embed(batch)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if len(batch) == 1:
            height, width = batch.shape[2:]
            raise BackboneError(
                f"{backbone} runs out of memory on one picture of {height}x{width}; "
                "choose a smaller --size, a smaller model, or --device cpu"
            ) from error
    # Outside the handler, so that the failed attempt's tensors are gone before the next one starts.
    half = len(batch) // 2
    logger.warning("out of memory at %d images per batch, trying %d", len(batch), half)
    parts: list[Any] = [embed_what_fits(embed, part, backbone) for part in (batch[:half], batch[half:])]
    joined: Found = parts[0].join(parts)
    return joined


def share_out(threads: int, batch_size: int, size: tuple[int, int]) -> Streams:
    """Share a batch out over the threads of a processor, each with a network pass of its own.

    Parameters
    ----------
    threads : int
        At least 1.
    batch_size : int
        Pictures that may be in the network at one time, in all streams together.
    size : (int, int)
        Height and width of the network's input.

    Returns
    -------
    Streams
    """
    count = min(threads, batch_size)
    return Streams(count, max(1, min(batch_size // count, _PIXELS // (size[0] * size[1]))))


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory ran out, on any device; torch has no single class for that.

    Parameters
    ----------
    error : BaseException
        Of torch or Python.

    Returns
    -------
    bool
    """
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _COMPLAINTS)


@contextlib.contextmanager
def freed_memory_is_kept() -> Iterator[None]:
    """For the length of a ``with`` block, keep freed memory for the next allocation; give it back at the end.

    A network frees all its maps after each picture. glibc returns them to the system, which hands them out again page
    by page, zeroed: a tenth of the time of indexing on a virtual machine (docs/adr/0007). Elsewhere than with glibc
    this does nothing. The thresholds are left where glibc's own adjustment would end, which they replace for the rest
    of the process.

    Yields
    ------
    None
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    library.mallopt(_TRIM_THRESHOLD, _KEPT)
    try:
        yield
    finally:
        library.mallopt(_TRIM_THRESHOLD, _LARGEST_TRIM_THRESHOLD)
        library.malloc_trim(0)


def _glibc() -> Any:
    """Return the C library if it is glibc, else None."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
