"""Where requests queue for the network and the solver, which are shared: a few work, a bounded number waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.requests import Request

from semret.server.problems import BusyError, GoneError

T = TypeVar("T")


class Place:
    """A place in the queue, for one request.

    Parameters
    ----------
    workers : ThreadPoolExecutor
    left : threading.Event
        Set when the client leaves.
    """

    def __init__(self, workers: ThreadPoolExecutor, left: threading.Event) -> None:
        self._workers = workers
        self._left = left
        self.running: Future[Any] | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """Do a piece of work when its turn has come.

        Parameters
        ----------
        work : callable
            Runs in a thread.

        Returns
        -------
        object
            What it returns.

        Raises
        ------
        GoneError
            If the client has left before it was begun.
        Exception
            Whatever it raises.
        """
        if self._left.is_set():
            raise GoneError
        future = self._workers.submit(work)
        self.running = future
        return await asyncio.wrap_future(future)

    def progress(self, done: int, total: int) -> None:
        """End the work in the middle if nobody waits for it any more; fit to be a search's ``progress``.

        Parameters
        ----------
        done, total : int
            Of candidates.

        Raises
        ------
        GoneError
            If the client has left.
        """
        del done, total
        if self._left.is_set():
            raise GoneError


class Desk:
    """Lets a few requests work at one time, and refuses what would wait behind too many.

    Parameters
    ----------
    workers : int
        Pieces of work at one time.
    most_waiting : int
        Requests that have a place, beyond those that work.
    """

    def __init__(self, workers: int, most_waiting: int) -> None:
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="semret-desk")
        self._most = workers + most_waiting
        self.taken = 0

    @asynccontextmanager
    async def place(self, request: Request) -> AsyncIterator[Place]:
        """Take a place for the length of a block; it is free again when the client leaves, or the block ends.

        Work that has begun keeps the place until it has ended, for it keeps the others waiting.

        Parameters
        ----------
        request : Request
            Its body must have been read.

        Yields
        ------
        Place

        Raises
        ------
        BusyError
            If all places are taken.
        GoneError
            If the client leaves.
        """
        if self.taken >= self._most:
            raise BusyError(f"{self.taken} requests are waiting already; try again in a moment")
        self.taken += 1
        left = threading.Event()
        place = Place(self._workers, left)
        task = asyncio.current_task()
        watcher = asyncio.create_task(_tell_when_gone(request, left, task))
        try:
            yield place
        except asyncio.CancelledError:
            if left.is_set() and task is not None:
                task.uncancel()
                raise GoneError from None
            raise
        finally:
            watcher.cancel()
            left.set()
            self._free_after(place.running)

    def first(self, work: Callable[[], object]) -> None:
        """Have something done that no request waits for, before what comes from now on.

        Parameters
        ----------
        work : callable
            Runs in a thread.
        """
        self._workers.submit(work)

    def close(self) -> None:
        """Let what works end, and begin nothing more."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _free_after(self, running: Future[Any] | None) -> None:
        if running is None or running.done() or running.cancel():
            self.taken -= 1
            return
        loop = asyncio.get_running_loop()
        running.add_done_callback(lambda _: _call(loop, self._free))

    def _free(self) -> None:
        self.taken -= 1


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)


async def _tell_when_gone(request: Request, left: threading.Event, task: asyncio.Task[object] | None) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    left.set()
    if task is not None:
        task.cancel()
