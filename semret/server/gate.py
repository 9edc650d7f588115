"""What every request passes: who asks, from which page, by which name of this server, and with how much to read."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from semret.server.metrics import Metrics
from semret.server.problems import BusyError, RefusedError, problem
from semret.server.settings import Settings, as_address, is_loopback

BODY_SECONDS = 30.0
"""A body of which nothing comes for so long is given up."""

OPEN_PATHS = frozenset({"/", "/docs", "/healthz", "/api/login"})
"""Answered to whoever may reach the server: they show nothing of the index. So are the files of the page."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_READING = ("GET", "HEAD")


class Gate:
    """Refuses what may not be asked, before anything of the body is read, and bounds what is read.

    Against DNS rebinding, a request must call the server by a name that is its own. Against other pages in the same
    browser, it must not come from one. See `Settings` for the token and the limits.

    Parameters
    ----------
    app : ASGI application
    settings : Settings
    metrics : Metrics
    open_paths : frozenset of str
        Paths that need no token.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, open_paths: frozenset[str]) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._open = open_paths
        self._receiving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Parameters
        ----------
        scope, receive, send
            As ASGI has them.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        body = _Body(receive, self, Headers(scope=scope))
        with self._metrics.request(scope, answer):
            try:
                self._check(scope, body.headers)
                body.check()
                # What may be read may be asked about: whoever listens sends no body to HEAD.
                asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
                await self._app(asked, body.receive, answer.send)
            except Exception as error:
                # Also what the application has told the log and raised again.
                if not answer.begun:
                    await problem(error)(scope, receive, answer.send)
            except asyncio.CancelledError:
                # The server was told to stop, and this has taken too long; the task ends here either way.
                if not answer.begun:
                    await problem(BusyError("the server is being stopped"))(scope, receive, answer.send)
            finally:
                self._receiving -= body.received

    def take(self, count: int) -> None:
        """Count bytes that came in.

        Parameters
        ----------
        count : int

        Raises
        ------
        BusyError
            If all requests together would hold too many.
        """
        if self._receiving + count > self._settings.most_uploads_bytes:
            raise BusyError("too much is being uploaded at this moment; try again in a moment")
        self._receiving += count

    @property
    def most_bytes(self) -> int:
        """Of one request."""
        return self._settings.most_upload_bytes

    def _check(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        if len(headers.getlist("host")) > 1:
            raise RefusedError(400, "the request calls the server by several names; send one Host")
        if not is_own_name(host, self._settings):
            raise RefusedError(
                403, f"this server is not called {host[:80]!r}; reach it by its address, or start it with --name NAME"
            )
        if comes_from_elsewhere(scope["method"], host, headers):
            raise RefusedError(403, "another page asks, which may not; open this server's own page, or send no Origin")
        if scope["path"] not in self._open and not self._is_known(headers):
            raise RefusedError(401, "the token is missing or wrong; send it as Authorization: Bearer TOKEN")

    def _is_known(self, headers: Headers) -> bool:
        token = self._settings.token
        return token is None or is_token(headers, token) or _has_cookie(headers, token, self._settings.port)


def is_own_name(host: str, settings: Settings) -> bool:
    """Tell whether a Host header names this server.

    A page that makes its own name lead here (DNS rebinding) sends that name: addresses cannot be misled so.

    Parameters
    ----------
    host : str
        Of the header, with or without a port.
    settings : Settings

    Returns
    -------
    bool
    """
    name = _name_of(host)
    if is_loopback(name) or name in {own.lower() for own in (settings.host, *settings.names)}:
        return True
    return not settings.is_local and as_address(name) is not None


def comes_from_elsewhere(method: str, host: str, headers: Headers) -> bool:
    """Tell whether a page of another server makes the browser ask.

    Parameters
    ----------
    method, host : str
    headers : Headers

    Returns
    -------
    bool
        False for what is no browser: it sends neither header.
    """
    if any(_server_of(origin) != host.lower() for origin in headers.getlist("origin")):
        return True
    site = headers.get("sec-fetch-site", "none")
    # Following a link to here is nobody's attack; fetching, embedding and posting from elsewhere may be.
    follows = method in _READING and headers.get("sec-fetch-mode") == "navigate"
    return site not in ("same-origin", "none") and not follows


def _server_of(origin: str) -> str:
    """Return host and port of an Origin, lower case; of what is none, nothing."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def is_token(headers: Headers, token: str) -> bool:
    """Tell whether a request carries the token in its header, in a time that tells nothing of it.

    Parameters
    ----------
    headers : Headers
    token : str

    Returns
    -------
    bool
    """
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


def cookie_of(token: str, port: int) -> tuple[str, str]:
    """Return the cookie that stands for a token: browsers send it for pictures as well.

    Parameters
    ----------
    token : str
    port : int
        Cookies are shared by all ports of a host, so it is in the name.

    Returns
    -------
    (str, str)
        Name, and a value from which the token cannot be told.
    """
    return f"semret-{port}", hmac.digest(token.encode(), b"semret cookie", hashlib.sha256).hex()


def _has_cookie(headers: Headers, token: str, port: int) -> bool:
    name, value = cookie_of(token, port)
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(headers.get("cookie", ""))
    except CookieError:
        return False
    given = jar[name].value if name in jar else ""
    return hmac.compare_digest(given.encode(), value.encode())


def _name_of(host: str) -> str:
    """Return a Host header without its port, lower case, as `as_address` takes it."""
    text = host.strip().lower()
    if text.startswith("["):
        return text.partition("]")[0].removeprefix("[")
    return text.partition(":")[0]


class _Answer:
    """Sends an answer with the headers that all have, and notes its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False
        self.status = 500

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun, self.status = True, message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)


class _Body:
    """Hands on what a client sends, within limits of length and of time."""

    def __init__(self, receive: Receive, gate: Gate, headers: Headers) -> None:
        self._receive = receive
        self._gate = gate
        self._is_whole = False
        self.headers = headers
        self.received = 0

    def check(self) -> None:
        """Refuse by what the header says, before a byte of the body is read."""
        declared = self.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._gate.most_bytes:
            raise self._too_long()

    async def receive(self) -> Message:
        if self._is_whole:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), BODY_SECONDS)
        except TimeoutError:
            raise RefusedError(408, f"nothing of the request came for {BODY_SECONDS:.0f} seconds") from None
        if message["type"] == "http.request":
            count = len(message.get("body", b""))
            if self.received + count > self._gate.most_bytes:
                raise self._too_long()
            self._gate.take(count)
            self.received += count
            self._is_whole = not message.get("more_body", False)
        return message

    def _too_long(self) -> RefusedError:
        return RefusedError(
            413, f"the request is longer than the limit of {self._gate.most_bytes} bytes; send smaller pictures"
        )
