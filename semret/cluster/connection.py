"""The connection of this process to a cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from semret.errors import ArgumentError, ClusterError, cut_text

_logger = logging.getLogger(__name__)

LOCAL = "local"
"""Stands for a cluster that is started on this computer and ends with the command."""

_CONNECT_SECONDS = 10.0

AUTO = "auto"
"""Stands for the cluster that this computer belongs to."""

_LEVEL = "RAY_BACKEND_LOG_LEVEL"
_TOKEN = "RAY_AUTH_TOKEN"
_OF_THE_CORE = re.compile(rb"\[\d{4}-\d\d-\d\d [\d:,]+ \w \d+ \d+\] \w+\.(cc|h):\d+: ")
_MOST_HELD = 2**16
_REFUSED = "InvalidAuthToken"
_OTHER_VERSION = "Version mismatch"
_LOOK_SECONDS = 5.0
_MISSED = 2
_FORMS = re.compile(rf"{AUTO}|{LOCAL}|ray://.*|[^/]+:\d+")
_NO_CLUSTER = "Could not find any running Ray instance"


def looks_like_cluster(text: str) -> bool:
    """Tell whether a text has the form of a cluster's address, and not that of a path.

    Parameters
    ----------
    text : str

    Returns
    -------
    bool
    """
    return _FORMS.fullmatch(text) is not None


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
    if address == LOCAL:
        _choose_token()
    with _core_kept_quiet() as written:
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False if address == LOCAL else None,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _no_answer(address, error, written()) from error
    ended = threading.Event()
    head = ray.get_runtime_context().gcs_address
    watcher = threading.Thread(target=_watch, args=(head, ended), name="semret-head", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        ray.shutdown()
        watcher.join()


def _choose_token() -> None:
    """Give the cluster of one command a token that ends with it.

    Ray would write one into the user's home, and take it for every cluster that is started later on this computer,
    which those who name it by an address would then not be let into.
    """
    places = (_TOKEN, "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE")
    if not (any(place in os.environ for place in places) or (Path.home() / ".ray" / "auth_token").exists()):
        os.environ[_TOKEN] = secrets.token_hex(16)


def _watch(head: str, ended: threading.Event) -> None:
    """Say when the head stops answering: after a minute of that Ray ends this process, without a word."""
    host, _, port = head.rpartition(":")
    missed = 0
    while not ended.wait(_LOOK_SECONDS):
        try:
            _knock(host, int(port))
            missed = 0
        except OSError:
            missed += 1
        if missed == _MISSED and not ended.is_set():
            _logger.warning(
                "the head of the cluster, %s, does not answer; if it stays so for a minute, this command ends, and the "
                "same command again continues",
                head,
            )


@contextlib.contextmanager
def _core_kept_quiet() -> Iterator[Callable[[], str]]:
    """Keep Ray's core from writing into the terminal of a command, where it calls every pool of workers an error.

    It warns that a worker which dies could not be started again once its arguments are gone, and they are held here.
    How much it says is read once, when a process connects; whoever has set RAY_BACKEND_LOG_LEVEL is left alone.

    Yields
    ------
    callable
        Gives what was written to standard error so far.
    """
    if _LEVEL in os.environ:
        yield str
        return
    os.environ[_LEVEL] = "fatal"
    try:
        with _stderr_without(_OF_THE_CORE) as written:
            yield written
    finally:
        os.environ.pop(_LEVEL, None)


@contextlib.contextmanager
def _stderr_without(unwanted: re.Pattern[bytes]) -> Iterator[Callable[[], str]]:
    """Hold back what this process and its libraries write to standard error; it follows at the end, less some lines."""
    try:
        former = os.dup(2)
    except OSError:  # there is none
        yield str
        return
    with tempfile.TemporaryFile() as held:

        def written() -> str:
            return os.pread(held.fileno(), _MOST_HELD, 0).decode(errors="replace")

        try:
            os.dup2(held.fileno(), 2)
            yield written
        finally:
            os.dup2(former, 2)
            os.close(former)
            held.seek(0)
            for line in held:
                if not unwanted.match(line):
                    os.write(2, line)


def _require_listener(address: str) -> None:
    """Refuse a head that nothing listens at: Ray would try for minutes, and say so between the lines of a command."""
    if address in (LOCAL, AUTO):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ArgumentError(f"{address!r} is no address of a cluster; expected local, auto, or HOST:PORT of its head")
    try:
        _knock(host, int(port))
    except (OSError, UnicodeError) as error:
        raise _no_answer(address, error) from error


def _knock(host: str, port: int) -> None:
    """Raise OSError where nothing listens."""
    socket.create_connection((host.removeprefix("[").removesuffix("]"), port), _CONNECT_SECONDS).close()


def _no_answer(address: str, error: Exception, written: str = "") -> ClusterError:
    """Say that there is no cluster, or none that lets this process in, and what to do."""
    if _REFUSED in written or _REFUSED in str(error):
        return ClusterError(
            f"the cluster at {address} asks for its token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to what "
            "ray get-auth-token prints on its head"
        )
    if _OTHER_VERSION in str(error):
        return ClusterError(f"the cluster at {address} cannot be joined: {cut_text(error, 400)}")
    if address == AUTO and _NO_CLUSTER in str(error):
        return ClusterError(
            "this computer belongs to no running Ray cluster; start one with ray start --head, name the head of "
            "another by HOST:PORT, or give local"
        )
    return ClusterError(
        f"no cluster answers at {address}: {cut_text(error)}; start one with ray start --head, or give local"
    )
