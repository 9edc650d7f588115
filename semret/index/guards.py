"""What keeps decoding within bounds: memory shared by many threads, Pillow's warnings, and JPEG files made to stall."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from typing import Any

# Pillow logs what it finds in damaged TIFF headers; without a handler Python would print that on stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA
_WITHOUT_LENGTH = (0x01, 0xD8)


def count_scans(data: bytes, enough: int) -> int:
    """Return the number of scans in a JPEG file, counting no further than `enough`.

    Markers are followed as a decoder does, so that a preview within the metadata, or what a telephone appends behind
    the picture, counts for nothing.
    """
    scans, position = 0, 2
    while scans < enough and (marker := _JPEG_MARKER.search(data, position)):
        code, position = data[marker.end() - 1], marker.end()
        if code == _END_OF_IMAGE:
            break
        scans += code == _START_OF_SCAN
        if code not in _WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2], "big")
    return scans


class Budget:
    """Lets pieces of work through while their weights sum to at most `total`; a heavier piece runs alone."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def __call__(self, weight: int) -> Iterator[None]:
        """Wait until `weight` fits, and hold it for the length of a ``with`` block."""
        with self._changed:
            self._changed.wait_for(lambda: self._used == 0 or self._used + weight <= self._total)
            self._used += weight
        try:
            yield
        finally:
            with self._changed:
                self._used -= weight
                self._changed.notify_all()


class PillowSilence:
    """While any thread is inside, warnings from Pillow's modules are ignored.

    `warnings.catch_warnings` restores a list that another thread may have changed meanwhile. This adds one filter when
    the first thread enters and takes that one away when the last leaves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filter: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                warnings.filterwarnings("ignore", module=r"PIL\.(?#silenced by semret)")
                self._filter = warnings.filters[0]
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._filter in warnings.filters:
                # An ignored warning is cached nowhere, so taking the entry out is all there is to do.
                warnings.filters.remove(self._filter)  # type: ignore[attr-defined]
