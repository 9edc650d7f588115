"""The queue without a network: order, bound, and clients that leave."""

from __future__ import annotations

import asyncio
import threading

import pytest

from semret.server.desk import Desk
from semret.server.problems import BusyError, GoneError


class Client:
    """Stands for a request whose client leaves when it is told to."""

    def __init__(self):
        self.left = asyncio.Event()

    async def receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}


async def work_at(desk, client, work):
    async with desk.place(client) as place:
        return await place.run(lambda: work(place))


def test_work_is_done_one_after_another_in_its_order():
    done = []

    async def main():
        desk = Desk(1, 10)
        await asyncio.gather(*(work_at(desk, Client(), lambda _, n=number: done.append(n)) for number in range(5)))
        assert desk.taken == 0

    asyncio.run(main())
    assert done == list(range(5))


def test_what_would_wait_behind_too_many_is_refused():
    async def main():
        desk, go = Desk(1, 1), threading.Event()
        tasks = [asyncio.create_task(work_at(desk, Client(), lambda _: go.wait(10))) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(BusyError, match="2 requests are waiting already"):
            await work_at(desk, Client(), lambda _: None)
        go.set()
        assert await asyncio.gather(*tasks) == [True, True]
        assert await work_at(desk, Client(), lambda _: 7) == 7

    asyncio.run(main())


def test_a_client_that_leaves_while_it_waits_frees_its_place_at_once():
    async def main():
        desk, go, begun = Desk(1, 1), threading.Event(), []
        first = asyncio.create_task(work_at(desk, Client(), lambda _: go.wait(10)))
        await asyncio.sleep(0.05)
        client = Client()
        second = asyncio.create_task(work_at(desk, client, lambda _: begun.append(1)))
        await asyncio.sleep(0.05)
        client.left.set()
        with pytest.raises(GoneError):
            await second
        assert desk.taken == 1
        go.set()
        await first
        assert begun == []

    asyncio.run(main())


def test_a_client_that_leaves_in_the_middle_ends_its_search():
    async def main():
        desk, begun, ended = Desk(1, 1), threading.Event(), threading.Event()

        def search(place):
            begun.set()
            try:
                for done in range(10_000):
                    place.progress(done, 10_000)
                    threading.Event().wait(0.01)
            except GoneError:
                ended.set()
                raise

        client = Client()
        task = asyncio.create_task(work_at(desk, client, search))
        await asyncio.to_thread(begun.wait, 10)
        client.left.set()
        with pytest.raises(GoneError):
            await task
        assert await asyncio.to_thread(ended.wait, 10)
        assert await work_at(desk, Client(), lambda _: 7) == 7
        assert desk.taken == 0

    asyncio.run(main())


def test_what_fails_frees_its_place():
    async def main():
        desk = Desk(1, 1)
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                await work_at(desk, Client(), lambda _: 1 // 0)
        assert desk.taken == 0

    asyncio.run(main())
