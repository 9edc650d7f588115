"""Fetch a picture from the web, bounded in length and in time.

Only http and https are spoken, also after a redirection. Proxies are not used, and nothing of the user's (cookies,
passwords) is sent. What the server says about the type of the content is ignored: a picture is told by its content.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import ipaddress
import socket
import ssl
import time
import urllib.parse
from http import HTTPStatus
from typing import cast

from semret._version import __version__
from semret.index.pictures.files import MAX_BYTES, unreadable

FETCH_SECONDS = 120.0
"""Time that fetching one picture may take in all, redirections included."""

IDLE_SECONDS = 20.0
"""Time that a server may keep silent, and that it may take to be reached."""

MAX_REDIRECTS = 5
"""Redirections that are followed for one picture."""

_PART = 2**16
_SHOWN = 200
_REDIRECTIONS = {301, 302, 303, 307, 308}
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
_HEADERS = {
    "User-Agent": f"semret/{__version__}",
    "Accept": "image/*,*/*;q=0.5",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


def fetch(url: str, *, seconds: float = FETCH_SECONDS, private: bool = True) -> bytes:
    """Return what lies at an address on the web.

    Parameters
    ----------
    url : str
        With the scheme http or https.
    seconds : float
        Time allowed in all; a server that sends drop by drop gets no more.
    private : bool
        Whether hosts of this machine and its own network may be asked. For an address that the user typed they may. A
        server that takes addresses from strangers must pass False, or strangers read through it what only it can reach.
        Every address that a host name stands for is checked when it is connected to, also after a redirection.

    Returns
    -------
    bytes
        At least one and at most `MAX_BYTES`.

    Raises
    ------
    ImageDecodeError
        If it is no such address, or nothing of 1 to `MAX_BYTES` bytes comes in time; the message is ``URL: REASON``.
    """
    deadline = time.monotonic() + seconds
    shown, where = _shown(url), url
    for _ in range(MAX_REDIRECTS + 1):
        try:
            answer = _ask(where, deadline, private)
        except _RefusedError as refused:
            raise unreadable(shown, str(refused)) from refused
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise unreadable(shown, _reason(error, deadline, seconds)) from error
        if isinstance(answer, bytes):
            return answer
        where = urllib.parse.urljoin(where, answer)
        shown = f"{_shown(url)} (led on to {_shown(where)})"
    raise unreadable(_shown(url), f"leads on more than {MAX_REDIRECTS} times")


class _RefusedError(Exception):
    """A reason for which an address is not fetched."""


def _ask(url: str, deadline: float, private: bool) -> bytes | str:
    """Ask one server once, and return the content or where to ask instead."""
    host, port, secure, target = _parsed(url)
    with _Connection(host, port, secure, deadline, private) as connection:
        connection.request("GET", target, headers=_HEADERS)
        answer = connection.getresponse()
        if answer.status in _REDIRECTIONS:
            if location := answer.getheader("Location"):
                return location
            raise _RefusedError(f"the server answers {answer.status} and does not say where to go")
        if answer.status != HTTPStatus.OK:
            raise _RefusedError(f"the server answers {_status(answer.status)}")
        if (coding := answer.getheader("Content-Encoding", "identity").strip().lower()) != "identity":
            raise _RefusedError(f"the server sends it compressed ({coding[:20]!a}), which was not asked for")
        return _body(answer)


def _parsed(url: str) -> tuple[str, int, bool, str]:
    """Return host, port, whether it is https, and what is asked for."""
    parts = urllib.parse.urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in ("http", "https"):
        raise _RefusedError(
            f"pictures are not read from {scheme or 'such'} addresses, only from http and https, or a path"
        )
    if not parts.hostname:
        raise _RefusedError("names no host")
    if parts.username is not None or parts.password is not None:
        raise _RefusedError("holds a user name or password, which are not sent; fetch it otherwise and pipe it into -")
    secure = scheme == "https"
    port = parts.port if parts.port is not None else (443 if secure else 80)
    # What is quoted already stays as it is.
    target = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    if parts.query:
        target += "?" + urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    return parts.hostname, port, secure, target


def _body(answer: http.client.HTTPResponse) -> bytes:
    declared = answer.length
    if declared is not None and declared > MAX_BYTES:
        raise _RefusedError(f"has {declared} bytes, more than the limit of {MAX_BYTES}")
    parts, size = [], 0
    while part := answer.read1(_PART):
        size += len(part)
        if size > MAX_BYTES:
            raise _RefusedError(f"has more than the limit of {MAX_BYTES} bytes")
        parts.append(part)
    if declared is not None and size < declared:
        raise _RefusedError(f"ends after {size} of {declared} bytes; try again")
    if not size:
        raise _RefusedError("is empty")
    return b"".join(parts)


class _Connection(http.client.HTTPConnection):
    """A connection of which every step, and all together, are limited in time."""

    def __init__(self, host: str, port: int, secure: bool, deadline: float, private: bool) -> None:
        super().__init__(host, port)
        self.default_port = 443 if secure else 80  # the header that names the host leaves it out
        self._secure = secure
        self._deadline = deadline
        self._private = private
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._opened.close()

    def connect(self) -> None:
        """Connect to the first address of the host that answers."""
        plain = self._opened.enter_context(self._reach())
        plain.settimeout(_left(self._deadline))
        if self._secure:
            context = ssl.create_default_context()
            plain = self._opened.enter_context(context.wrap_socket(plain, server_hostname=self.host))
        self.sock = cast(socket.socket, _Timed(plain, self._deadline))

    def _reach(self) -> socket.socket:
        failure: OSError = OSError("the host has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            if not self._private and not _is_public(str(address[0])):
                raise _RefusedError("the host lies in a private network, from which pictures are not fetched here")
            reached = socket.socket(family, kind, protocol)
            try:
                reached.settimeout(_left(self._deadline))
                reached.connect(address)
            except OSError as error:
                reached.close()
                failure = error
            else:
                return reached
        raise failure


class _Timed:
    """A socket whose time limit is set anew before every operation, to what is left until the deadline."""

    def __init__(self, plain: socket.socket, deadline: float) -> None:
        self._plain = plain
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._plain.settimeout(_left(self._deadline))
        self._plain.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        del mode  # http.client reads bytes
        return io.BufferedReader(_Received(self._plain, self._deadline))

    def close(self) -> None:
        """Do nothing: the answer may still be read when its connection is closed, and `_Connection` hangs up."""


class _Received(io.RawIOBase):
    def __init__(self, plain: socket.socket, deadline: float) -> None:
        self._plain = plain
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        self._plain.settimeout(_left(self._deadline))
        return self._plain.recv_into(cast(memoryview, buffer))


def _left(deadline: float) -> float:
    """Return for how long to wait now, in seconds."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return min(left, IDLE_SECONDS)


def _is_public(address: str) -> bool:
    """Tell whether an IP address is one of the open internet, also where IPv6 notation hides one of IPv4."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found in _TRANSLATED:
            found = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        else:
            found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast


def _reason(error: Exception, deadline: float, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        if time.monotonic() >= deadline:
            return f"is not there after {seconds:g} seconds"
        return f"the server keeps silent for {IDLE_SECONDS:g} seconds"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the server is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no secure connection can be made ({error.reason or 'the server does not speak TLS'})"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "the host is not known; check the address and the connection to the network"
    if isinstance(error, http.client.IncompleteRead):
        return f"ends after {len(error.partial)} bytes of its last part; try again"
    if isinstance(error, http.client.HTTPException):
        return f"the server does not speak HTTP as it should ({type(error).__name__})"
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:]


def _status(code: int) -> str:
    """Return a status with the standard's name for it; what the server calls it is not shown."""
    return f"{code} {HTTPStatus(code).phrase}" if code in list(HTTPStatus) else str(code)


def _shown(url: str) -> str:
    """Return an address for a message: one line, printable, without a password."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if separator and "@" in host:
        url = scheme + separator + "***@" + host.rpartition("@")[2] + slash + path
    printable = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in url)
    return printable if len(printable) <= _SHOWN else printable[: _SHOWN - 3] + "..."
