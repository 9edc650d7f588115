"""Work on several threads at a time, above all compiled loops over many maps.

The threads are started once in a process: a rerank has a dozen steps of a few milliseconds, and starting a thread takes
about half a millisecond.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from semret.arrays import IndexVector, require_whole

Part = TypeVar("Part")

_CHUNK_ENTRIES = 1 << 18
"""Numbers of affinities that a part holds at most, and below twice of which one thread is faster."""


def available_threads(threads: int | None) -> int:
    """Return how many threads to use.

    Parameters
    ----------
    threads : int or None
        None takes all processors that this process may use.

    Returns
    -------
    int

    Raises
    ------
    ArgumentError
        If `threads` is below 1.
    """
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    require_whole(threads, "threads")
    return threads


def share_out(work: Callable[[Part], object], parts: Sequence[Part], threads: int | None) -> None:
    """Call `work` with every part, on several threads at a time, of which the calling one is the first.

    A call from within `work` does all its parts on its own thread. After an exception no further part is begun, and it
    is raised once those that have begun are done.

    Parameters
    ----------
    work : callable
    parts : sequence
    threads : int or None
        None takes all processors.

    Raises
    ------
    ArgumentError
        If `threads` is below 1.
    """
    count = min(available_threads(threads), len(parts))
    waiting = deque(parts)
    if count <= 1 or getattr(_state, "shares", False):
        while waiting:
            work(waiting.popleft())
        return

    def take() -> None:
        _state.shares = True
        try:
            while True:
                try:
                    part = waiting.popleft()
                except IndexError:
                    return
                work(part)
        except BaseException:
            waiting.clear()
            raise
        finally:
            _state.shares = False

    helpers = [_helpers().submit(take) for _ in range(count - 1)]
    try:
        take()
    finally:
        # Helpers that have not begun are cancelled; the others are waited for, as they use the caller's arrays.
        failures = [helper.exception() for helper in helpers if not helper.cancel()]
    for failure in failures:
        if failure is not None:
            raise failure


_state = threading.local()


@functools.cache
def _helpers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, available_threads(None) - 1), thread_name_prefix="semret-match")


if hasattr(os, "register_at_fork"):
    # Threads do not come along into a child process.
    os.register_at_fork(after_in_child=_helpers.cache_clear)


def in_threads(work: Callable[[int, int], None], items: int, threads: int | None) -> None:
    """Call ``work(start, stop)`` for slices that together are ``range(items)``, on several threads at a time.

    Parameters
    ----------
    work : callable
        Called once for each slice; once with ``(0, items)`` on one thread, also where `items` is 0.
    items : int
    threads : int or None
        None takes all processors.

    Raises
    ------
    ArgumentError
        If `threads` is below 1.
    """
    count = min(available_threads(threads), items)
    if count <= 1:
        work(0, items)
        return
    edges = np.linspace(0, items, min(4 * count, items) + 1).astype(int).tolist()
    share_out(lambda part: work(*part), list(itertools.pairwise(edges)), count)


def in_turns(work: Callable[[NDArray[np.int64]], object], items: int, threads: int | None) -> None:
    """Call ``work(counter)`` on several threads at a time; compiled loops take the numbers of their items from it.

    So the interpreter, which one thread holds at a time, has no part in sharing out, and threads end within an item of
    each other.

    Parameters
    ----------
    work : callable
        Called at most once by each thread, and at least once. Takes `semret.retrieval.native.turns.take_turn` of the
        counter, an array of shape (1,), until that is `items` or more.
    items : int
    threads : int or None
        None takes all processors.

    Raises
    ------
    ArgumentError
        If `threads` is below 1.
    """
    counter = np.zeros(1, dtype=np.int64)
    count = min(available_threads(threads), items)
    if count <= 1:
        work(counter)
    else:
        share_out(lambda _: work(counter), range(count), count)


def run_chunks(work: Callable[[IndexVector], bool], rows: IndexVector, entries: int, threads: int | None) -> bool:
    """Call `work` with parts of `rows`, small enough that threads finish together.

    Parameters
    ----------
    work : callable
        Takes some of `rows` and returns whether it succeeded; it releases the interpreter's lock.
    rows : ndarray of intp
        Numbers of affinities.
    entries : int
        Numbers that one affinity holds.
    threads : int or None
        None takes all processors.

    Returns
    -------
    bool
        Whether all calls succeeded.
    """
    workers = min(available_threads(threads), len(rows))
    if workers <= 1 or len(rows) * entries < 2 * _CHUNK_ENTRIES:
        return work(rows)
    step = max(1, min(_CHUNK_ENTRIES // entries, len(rows) // workers))
    parts = [rows[start : start + step] for start in range(0, len(rows), step)]
    answers: list[bool] = []
    share_out(lambda part: answers.append(work(part)), parts, workers)
    return all(answers)


def rows_of(count: int) -> IndexVector:
    """Return the numbers of all rows.

    Parameters
    ----------
    count : int

    Returns
    -------
    ndarray of shape (count,), intp
        0, 1, ... `count` - 1.
    """
    return np.arange(count, dtype=np.intp)
