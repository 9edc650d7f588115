"""What keeps decoding within bounds: memory shared by many threads, and Pillow's warnings."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

# Pillow logs what it finds in damaged TIFF headers; without a handler Python would print that on stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class Budget:
    """Lets pieces of work through while their weights sum to at most `total`; a heavier piece runs alone.

    Parameters
    ----------
    total : int
        Of any unit.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def __call__(self, weight: int) -> Iterator[None]:
        """Wait until `weight` fits, and hold it for the length of a ``with`` block.

        Parameters
        ----------
        weight : int
            Of this piece of work.

        Yields
        ------
        None
            Once the piece may begin.
        """
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
