"""Compiled loops over many affinities, on several threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from semret.arrays import IndexVector
from semret.errors import ArgumentError

_CHUNK_ENTRIES = 1 << 18
"""Entries of affinity for which it is worth to wake a thread."""


def available_threads(threads: int | None) -> int:
    """Return `threads`, or the number of processors that this process may use.

    Raises
    ------
    ArgumentError
        If `threads` is below 1.
    """
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads < 1:
        raise ArgumentError(f"threads is {threads}, expected at least 1")
    return threads


def run_chunks(work: Callable[[IndexVector], bool], rows: IndexVector, entries: int, threads: int | None) -> bool:
    """Call `work` with parts of `rows`, each of affinities of `entries` numbers; return whether all calls did.

    `work` releases the interpreter's lock. Parts are small enough that threads finish together.
    """
    workers = min(available_threads(threads), len(rows))
    if workers <= 1 or len(rows) * entries < 2 * _CHUNK_ENTRIES:
        return work(rows)
    step = max(1, min(_CHUNK_ENTRIES // entries, len(rows) // workers))
    parts = [rows[start : start + step] for start in range(0, len(rows), step)]
    with ThreadPoolExecutor(workers) as pool:
        return all(pool.map(work, parts))


def rows_of(count: int) -> IndexVector:
    """Return 0, 1, ... `count` - 1."""
    return np.arange(count, dtype=np.intp)
