"""Listens, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import uvicorn

from semret.errors import ArgumentError
from semret.server.app import create_app
from semret.server.metrics import Metrics
from semret.server.served import Served
from semret.server.service import Service
from semret.server.settings import Settings

FINISH_SECONDS = 30
"""How long requests that are being answered may take after the server was told to stop."""

EVERYWHERE = ("0.0.0.0", "::")
"""Addresses that stand for all those of a computer: they can be listened on, and not be opened."""

CLIENT_SECONDS = 30.0
"""A client that is waited for so long, for the rest of what it asks or to take what it was sent, is hung up on."""

_MOST_CONNECTIONS = 1000
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class _Wait:
    """What a client is waited for, and since when; None if it is not.

    Bodies have a limit of their own, in `semret.server.gate`.
    """

    request: object
    unsent: int
    since: float | None

    @classmethod
    def of(cls, connection: Any, before: _Wait | None, now: float) -> _Wait:
        """Look at a connection, which may have been looked at before."""
        request, unsent = connection.cycle, connection.transport.get_write_buffer_size()
        is_awaited = request is None or request.response_complete or unsent > 0
        if not is_awaited:
            return cls(request, unsent, None)
        same = before is not None and (before.request, before.unsent) == (request, unsent)
        return cls(request, unsent, before.since if same and before and before.since is not None else now)


class _Server(uvicorn.Server):
    """Ends quietly: being told to stop is how a server ends, not a failure."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Answer SIGTERM and Ctrl-C by finishing what runs; a second one ends at once."""

        def stop(number: int, frame: FrameType | None) -> None:
            del number, frame
            self.force_exit = self.should_exit
            self.should_exit = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def main_loop(self) -> None:
        """Answer until told to stop, and meanwhile hang up on clients that keep a connection and do nothing with it."""
        hanging_up = asyncio.create_task(self._hang_up_on_idle())
        try:
            await super().main_loop()
        finally:
            hanging_up.cancel()

    async def _hang_up_on_idle(self) -> None:
        waits: dict[Any, _Wait] = {}
        while True:
            await asyncio.sleep(min(1.0, CLIENT_SECONDS / 4))
            now = time.monotonic()
            connections = list(self.server_state.connections)
            waits = {one: _Wait.of(one, waits.get(one), now) for one in connections}
            for connection, wait in waits.items():
                if wait.since is not None and now - wait.since >= CLIENT_SECONDS:
                    connection.transport.abort()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is being answered; hang up where that is not to be waited for."""
        hanging_up = asyncio.create_task(self._hang_up_when_forced())
        try:
            await super().shutdown(sockets=sockets)
        finally:
            hanging_up.cancel()

    async def _hang_up_when_forced(self) -> None:
        # From Python 3.12 on a closed server waits for its connections, whatever uvicorn was told.
        while not self.force_exit:
            await asyncio.sleep(_LOOK_SECONDS)
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()


def listen(settings: Settings) -> socket.socket:
    """Begin to listen.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    socket.socket

    Raises
    ------
    ArgumentError
        If that is not possible, because another program has the port for instance.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host.removeprefix("[").removesuffix("]"), settings.port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ArgumentError(
            f"cannot listen on {settings.host}, port {settings.port}: {reason}; choose another --port or --host"
        ) from error
    # Connections inherit it. asyncio leaves it out for sockets that it did not make, and each answer waits 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve(served: Served, settings: Settings, ready: Callable[[str], None]) -> None:
    """Serve an index until SIGTERM or Ctrl-C; then finish what is being answered.

    Parameters
    ----------
    served : Served
    settings : Settings
    ready : callable
        Called with the address of the page once it can be opened.

    Raises
    ------
    ArgumentError
        See `listen`.
    KeyboardInterrupt
        If it was told a second time, while requests were being answered.
    """
    with listen(settings) as listener:
        settings = replace(settings, port=listener.getsockname()[1])
        metrics = Metrics()
        service = Service(served, settings, metrics)
        config = uvicorn.Config(
            create_app(service, settings, metrics),
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="off",
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=FINISH_SECONDS,
        )
        ready(address_of(settings))
        # The socket listens already: whoever comes before the server runs waits a moment.
        server = _Server(config)
        asyncio.run(_work(service, server, listener))
    if server.force_exit:
        raise KeyboardInterrupt


async def _work(service: Service, server: _Server, listener: socket.socket) -> None:
    async with service.working():
        await server.serve(sockets=[listener])


def address_of(settings: Settings) -> str:
    """Return the address that the page is opened by.

    Parameters
    ----------
    settings : Settings
        With the port that is listened on.

    Returns
    -------
    str
    """
    host = settings.host if settings.host not in EVERYWHERE else socket.gethostname()
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{host}:{settings.port}/"
