"""Clients that keep a connection and do nothing with it are hung up on; those that are answered are not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import uvicorn

from semret.server import run as module

SECONDS = 0.4


async def answer(scope, receive, send):
    """Answer after a while, with as many bytes as the path says."""
    await asyncio.sleep(3 * SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x" * int(scope["path"][1:])})


def with_server(monkeypatch, client: Callable[[int], Awaitable[bytes]]) -> bytes:
    monkeypatch.setattr(module, "CLIENT_SECONDS", SECONDS)

    async def work() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = uvicorn.Config(answer, log_config=None, lifespan="off", timeout_keep_alive=60)
            server = module._Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                return await asyncio.wait_for(client(listener.getsockname()[1]), 20)
            finally:
                server.should_exit = server.force_exit = True
                await serving

    return asyncio.run(work())


async def rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


def test_half_a_request_is_not_waited_for_without_end(monkeypatch):
    async def client(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /1 HTTP/1.1\r\nHost: x\r\nX: ")
        try:
            return await rest(reader)
        finally:
            writer.close()

    assert with_server(monkeypatch, client) == b""


def test_a_header_that_comes_a_byte_at_a_time_is_not_waited_for_either(monkeypatch):
    async def client(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        reading = asyncio.create_task(rest(reader))
        writer.write(b"GET /1 HTTP/1.1\r\nX: ")
        while not reading.done():
            writer.write(b"x")
            await asyncio.sleep(SECONDS / 10)
        writer.close()
        return await reading

    assert with_server(monkeypatch, client) == b""


def test_a_connection_without_a_request_is_hung_up_on_before_and_after_one(monkeypatch):
    async def client(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await rest(reader) == b""
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /5 HTTP/1.1\r\nHost: x\r\n\r\n")
        # The answer takes longer than a client may; then the server waits for another request, and not for ever.
        found = await rest(reader)
        writer.close()
        return found

    assert with_server(monkeypatch, client).endswith(b"xxxxx\r\n0\r\n\r\n")


def test_an_answer_that_nobody_takes_is_given_up(monkeypatch):
    async def client(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port)) as stalled:
            stalled.setblocking(False)
            stalled.sendall(b"GET /50000000 HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(10 * SECONDS)
            taken = b""
            try:
                while piece := stalled.recv(2**20):
                    taken += piece
            except ConnectionError:
                return b"hung up"
            except BlockingIOError:
                return b"still there"
            return b"hung up" if len(taken) < 50_000_000 else taken[:20]

    assert with_server(monkeypatch, client) == b"hung up"
