"""The connection of this process to a cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import tempfile
from collections.abc import Iterator

from semret.errors import ArgumentError, ClusterError, cut_text

LOCAL = "local"
"""Stands for a cluster that is started on this computer and ends with the command."""

_CONNECT_SECONDS = 10.0

AUTO = "auto"
"""Stands for the cluster that this computer belongs to."""

_LEVEL = "RAY_BACKEND_LOG_LEVEL"
_NO_CLUSTER = "Could not find any running Ray instance"


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Be connected to a cluster in a ``with`` block; a connection that there is already is used, and left.

    Parameters
    ----------
    address : str
        ``local``, ``auto``, or ``HOST:PORT`` of the head.

    Yields
    ------
    None

    Raises
    ------
    ArgumentError
        If it is the address of a client (``ray://``), whose program runs elsewhere.
    ClusterError
        If there is no cluster, or it does not answer.
    """
    if address.startswith("ray://"):
        raise ArgumentError(
            f"{address} is for clients from outside; run the command on a computer of the cluster, with auto for the "
            "address, or hand it in with ray job submit"
        )
    # What this computer does is nobody else's business; Ray asks for it when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    _require_listener(address)
    try:
        with _core_kept_quiet():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False if address == LOCAL else None,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_answer(address, error) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _core_kept_quiet() -> Iterator[None]:
    """Keep Ray's core from writing into the terminal of a command, where it calls every pool of workers an error.

    It warns that a worker which dies could not be started again once its arguments are gone, and they are held here.
    How much it says is read once, when a process connects; whoever has set RAY_BACKEND_LOG_LEVEL is left alone.
    """
    if _LEVEL in os.environ:
        yield
        return
    os.environ[_LEVEL] = "fatal"
    try:
        with _stderr_without(_LEVEL.encode()):
            yield
    finally:
        os.environ.pop(_LEVEL, None)


@contextlib.contextmanager
def _stderr_without(unwanted: bytes) -> Iterator[None]:
    """Hold back what this process and its libraries write to standard error; it follows at the end, less some lines."""
    try:
        former = os.dup(2)
    except OSError:  # there is none
        yield
        return
    with tempfile.TemporaryFile() as held:
        try:
            os.dup2(held.fileno(), 2)
            yield
        finally:
            os.dup2(former, 2)
            os.close(former)
            held.seek(0)
            for line in held:
                if unwanted not in line:
                    os.write(2, line)


def _require_listener(address: str) -> None:
    """Refuse a head that nothing listens at: Ray would try for minutes, and say so between the lines of a command."""
    if address in (LOCAL, AUTO):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ArgumentError(f"{address!r} is no address of a cluster; expected local, auto, or HOST:PORT of its head")
    try:
        socket.create_connection((host.removeprefix("[").removesuffix("]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, UnicodeError) as error:
        raise _no_answer(address, error) from error


def _no_answer(address: str, error: Exception) -> ClusterError:
    """Say that there is no cluster, and what to do."""
    if address == AUTO and _NO_CLUSTER in str(error):
        return ClusterError(
            "this computer belongs to no running Ray cluster; start one with ray start --head, name the head of "
            "another by HOST:PORT, or give local"
        )
    return ClusterError(
        f"no cluster answers at {address}: {cut_text(error)}; start one with ray start --head, or give local"
    )
