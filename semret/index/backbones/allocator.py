"""Memory between forward passes: kept by the process, not given back to the system and asked for again."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from typing import Any

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 2**25
_LARGEST_TRIM_THRESHOLD = 2 * _LARGEST_MMAP_THRESHOLD
"""As far as glibc itself raises its thresholds in a process that allocates and frees large blocks."""

_KEPT = 2**28
"""Free bytes, for each thread that allocates, that are kept while `freed_memory_is_kept`."""


@contextlib.contextmanager
def freed_memory_is_kept() -> Iterator[None]:
    """For the length of a ``with`` block, keep freed memory for the next allocation; give it back at the end.

    A network frees all its maps after each picture. glibc returns them to the system, which hands them out again page
    by page, zeroed: a tenth of the time of indexing on a virtual machine (docs/adr/0007). Elsewhere than with glibc
    this does nothing. The thresholds are left where glibc's own adjustment would end, which they replace for the rest
    of the process.
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
