"""A clock that stands still until somebody looks at it."""

from __future__ import annotations

import itertools
import threading


class Ticks:
    """Stands where `time.perf_counter` stands: every look at it is a second later than the one before.

    What is measured with it tells how often and in which order a program looks at the clock, not how fast it is.
    """

    def __init__(self) -> None:
        self._count = itertools.count(1)
        self._lock = threading.Lock()

    def __call__(self) -> float:
        with self._lock:
            return float(next(self._count))
