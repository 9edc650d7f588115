"""Who may ask the server, from where, and how much at once."""

from __future__ import annotations

import importlib.util
import ipaddress
from dataclasses import dataclass

from semret.errors import ArgumentError, MissingDependencyError
from semret.retrieval.native.threads import available_threads

SHORTEST_TOKEN = 16
"""Characters of the shortest token: what can be guessed protects nothing."""

MOST_AT_ONCE = 4
"""Searches at one time, unless told otherwise: each holds the tokens that it compares, and shares out its own work."""

MOST_WORKERS = 256

_NEEDED = {
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a server listens and what it accepts.

    Attributes
    ----------
    host : str
        Address or name that it listens on.
    port : int
        0 takes any that is free.
    token : str or None
        What a client must know; None asks nothing of anybody.
    open_to_all : bool
        Whether an address beyond this machine may be listened on without a token.
    names : tuple of str
        Host names, beyond this machine's own, that the server may be called by.
    most_upload_bytes : int
        Of one request.
    most_uploads_bytes : int
        Of all requests that are being received.
    most_waiting : int
        Searches that may wait for one another; the next is refused.
    workers : int or None
        Searches at one time; None takes one for each processor, at most `MOST_AT_ONCE`.

    Raises
    ------
    ArgumentError
        If others could reach the server unasked, the token is too short, or a number is out of range.
    """

    host: str = "127.0.0.1"
    port: int = 8100
    token: str | None = None
    open_to_all: bool = False
    names: tuple[str, ...] = ()
    most_upload_bytes: int = 64 * 10**6
    most_uploads_bytes: int = 10**9
    most_waiting: int = 64
    workers: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ArgumentError(f"the port is {self.port}, expected 0 to 65535")
        if self.workers is not None and not 1 <= self.workers <= MOST_WORKERS:
            raise ArgumentError(f"workers is {self.workers}, expected 1 to {MOST_WORKERS}")
        if self.most_upload_bytes < 1 or self.most_waiting < 1:
            raise ArgumentError("the server would accept nothing; uploads and waiting searches must be at least 1")
        if self.token is not None and (len(self.token) < SHORTEST_TOKEN or not _is_plain(self.token)):
            raise ArgumentError(
                f"the token must be {SHORTEST_TOKEN} or more characters of ASCII without spaces; this makes "
                "one: python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        if not self.is_local and self.token is None and not self.open_to_all:
            raise ArgumentError(
                f"on {self.host}, others than this computer could search and see the pictures; give --token, or "
                "--no-auth if everybody may"
            )

    @property
    def searches_at_once(self) -> int:
        """How many searches are worked on at one time."""
        return self.workers or min(available_threads(None), MOST_AT_ONCE)

    @property
    def is_local(self) -> bool:
        """Whether nothing but this machine can reach it."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, seen from itself.

    Parameters
    ----------
    host : str
        An address, or a name: of names, ``localhost`` alone is known.

    Returns
    -------
    bool
    """
    address = as_address(host)
    return address.is_loopback if address is not None else host.lower().rstrip(".") == "localhost"


def as_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address.

    Parameters
    ----------
    host : str
        With or without the brackets of IPv6.

    Returns
    -------
    ipaddress.IPv4Address, ipaddress.IPv6Address or None
        None for a name.
    """
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def require_extra() -> None:
    """Refuse to go on without the packages of the extra ``server``.

    Raises
    ------
    MissingDependencyError
        The message says what is missing, and how to install it.
    """
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingDependencyError(
            f"semret serve needs {', '.join(missing)}, not installed here; run pip install 'semret[server]'"
        )


def _is_plain(token: str) -> bool:
    return token.isascii() and token.isprintable() and " " not in token
