"""Pictures from a pipe and from the web: a real server on the loopback that lies, drips, loops and answers well."""

from __future__ import annotations

import contextlib
import io
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from semret.errors import ImageDecodeError
from semret.index.pictures import sources
from semret.index.pictures import web as fetching
from semret.index.pictures.sources import is_address, read_source
from semret.index.pictures.web import fetch

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(200_000)


class Web:
    """Answers each request with the bytes, or the steps, that its path stands for."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.pages: dict[str, object] = {}
        self.requests: list[str] = []
        self.done = threading.Event()
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        scheme = "http" if context is None else "https"
        self.port = self._listening.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listening.accept()
                self._threads.append(threading.Thread(target=self._answer, args=(plain,)))
                self._threads[-1].start()

    def _answer(self, plain: socket.socket) -> None:
        # Whoever hangs up on us is right to.
        with contextlib.suppress(OSError), plain:
            stream = plain if self._context is None else self._context.wrap_socket(plain, server_side=True)
            with stream:
                request = b""
                while b"\r\n\r\n" not in request:
                    part = stream.recv(4096)
                    if not part:
                        return
                    request += part
                self.requests.append(request.decode())
                page = self.pages[request.split(b" ")[1].decode()]
                if isinstance(page, bytes):
                    stream.sendall(page)
                else:
                    page(stream)

    def close(self) -> None:
        self.done.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def web():
    server = Web()
    yield server
    server.close()


def answer(body: bytes = PICTURE, *, status: str = "200 OK", length: int | None = None, extra: str = "") -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{extra}\r\n".encode() + body


def to(where: str, status: int = 302) -> bytes:
    return answer(b"", status=f"{status} Moved", extra=f"Location: {where}\r\n")


def refusal(url: str, **options) -> str:
    """Return the reason, after the address that it must begin with."""
    with pytest.raises(ImageDecodeError) as caught:
        fetch(url, **options)
    text = str(caught.value)
    assert text.startswith(url)
    assert text.isprintable()
    return text.removeprefix(url).removeprefix(": ")


def test_a_picture_comes_as_it_lies_there(web):
    web.pages["/a%20b/%C3%A4.png?x=1"] = answer()
    assert read_source(f"{web.url}/a b/ä.png?x=1#part") == PICTURE
    request = web.requests[0].lower()
    assert request.startswith("get ")
    assert f"host: 127.0.0.1:{web.port}" in request
    assert "accept-encoding: identity" in request
    assert "cookie" not in request
    assert "authorization" not in request


def test_proxies_of_the_environment_are_not_used(web, monkeypatch):
    web.pages["/a"] = answer()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch(f"{web.url}/a") == PICTURE


def test_a_picture_in_pieces_or_of_undeclared_length(web):
    web.pages["/chunked"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    web.pages["/open"] = b"HTTP/1.0 200 OK\r\n\r\nabcdefg"
    assert fetch(f"{web.url}/chunked") == fetch(f"{web.url}/open") == b"abcdefg"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirections_are_followed(web, status):
    web.pages["/a/b"] = to("../c", status)
    web.pages["/c"] = to(f"{web.url}/d", status)
    web.pages["/d"] = answer()
    assert fetch(f"{web.url}/a/b") == PICTURE


def test_redirections_end(web):
    web.pages["/loop"] = to("/loop")
    assert refusal(f"{web.url}/loop") == "leads on more than 5 times"
    assert len(web.requests) == 6


@pytest.mark.parametrize("scheme", ["file", "ftp", "data", "gopher", "s3"])
def test_no_other_scheme_is_spoken_not_even_after_a_redirection(web, scheme):
    wrong = f"{scheme}://host/etc/passwd"
    reason = f"pictures are not read from {scheme} addresses, only from http and https, or a path"
    assert refusal(wrong) == reason
    web.pages["/a"] = to(wrong)
    assert refusal(f"{web.url}/a") == f" (led on to {wrong}): {reason}"


def test_an_address_that_is_none():
    assert refusal("http:///a") == "names no host"
    assert "port" in refusal("http://host:99999/").lower()
    assert "port" in refusal("http://host:x/").lower()
    with pytest.raises(ImageDecodeError, match=r"^https://\*\*\*@host/a: holds a user name or password"):
        fetch("https://me:secret@host/a")
    with pytest.raises(ImageDecodeError, match="not known"):
        fetch("http://" + "x" * 70 + ".invalid/")
    with pytest.raises(ImageDecodeError) as caught:
        fetch("ftp://\x1b[31m\u202e" + "x" * 5000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_what_the_server_answers_instead(web):
    web.pages["/404"] = answer(b"", status="404 \x1b[31mEvil")
    web.pages["/799"] = answer(b"", status="799 Odd")
    web.pages["/206"] = answer(status="206 Partial Content")
    web.pages["/nowhere"] = answer(b"", status="302 Found")
    web.pages["/gzip"] = answer(extra="Content-Encoding: gzip\r\n")
    web.pages["/noise"] = b"\0\1\2 hello\r\n\r\n"
    web.pages["/nothing"] = b""
    web.pages["/empty"] = answer(b"")
    assert refusal(f"{web.url}/404") == "the server answers 404 Not Found"
    assert refusal(f"{web.url}/799") == "the server answers 799"
    assert refusal(f"{web.url}/206") == "the server answers 206 Partial Content"
    assert refusal(f"{web.url}/nowhere") == "the server answers 302 and does not say where to go"
    assert refusal(f"{web.url}/gzip") == "the server sends it compressed ('gzip'), which was not asked for"
    assert refusal(f"{web.url}/noise").startswith("the server does not speak HTTP as it should")
    assert refusal(f"{web.url}/nothing")
    assert refusal(f"{web.url}/empty") == "is empty"


def test_a_host_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert refusal(f"http://127.0.0.1:{port}/a") == "connection refused"


def test_a_length_that_is_not_true(web):
    web.pages["/short"] = answer(length=len(PICTURE) + 1)
    web.pages["/cut"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc"
    assert refusal(f"{web.url}/short") == f"ends after {len(PICTURE)} of {len(PICTURE) + 1} bytes; try again"
    assert "try again" in refusal(f"{web.url}/cut")


def test_no_more_than_the_limit_is_taken(web, monkeypatch):
    monkeypatch.setattr(fetching, "MAX_BYTES", 100_000)
    sent = []

    def endless(stream):
        stream.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        while not web.done.is_set():
            sent.append(stream.send(bytes(10_000)))

    web.pages["/declared"] = answer(b"", length=10**15)
    web.pages["/endless"] = endless
    assert refusal(f"{web.url}/declared") == f"has {10**15} bytes, more than the limit of 100000"
    assert refusal(f"{web.url}/endless") == "has more than the limit of 100000 bytes"


@pytest.mark.parametrize(
    "before", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"]
)
def test_a_server_that_drips_gets_no_more_time_than_there_is(web, before):
    def drip(stream):
        stream.sendall(before)
        while not web.done.wait(0.02):
            stream.sendall(b"H")

    web.pages["/drip"] = drip
    assert refusal(f"{web.url}/drip", seconds=0.4) == "is not there after 0.4 seconds"


def test_a_server_that_keeps_silent(web, monkeypatch):
    monkeypatch.setattr(fetching, "IDLE_SECONDS", 0.2)
    web.pages["/silent"] = lambda _: web.done.wait(30)
    assert refusal(f"{web.url}/silent") == "the server keeps silent for 0.2 seconds"


def test_hosts_of_a_private_network_can_be_left_out(web, monkeypatch):
    web.pages["/a"] = answer()
    assert fetch(f"{web.url}/a", private=True) == PICTURE
    for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0"):
        reason = refusal(f"http://{host}:{web.port}/a", private=False)
        assert reason == "the host lies in a private network, from which pictures are not fetched here"
    # A name of the open internet that turns out to stand for us.
    us = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", web.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: us)
    assert "private network" in refusal("http://pictures.example/a", private=False)
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07::1", True),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address, public):
    assert fetching._is_public(address) is public


def test_a_certificate_that_nobody_vouches_for(tmp_path):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command = [openssl, "req", "-x509", *options, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Web(context)
    try:
        server.pages["/a"] = answer()
        reason = refusal(f"{server.url}/a")
        assert reason.startswith("the certificate of the server is not accepted: self")
        assert server.requests == []
    finally:
        server.close()


def test_https_from_a_server_that_does_not_speak_it():
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet():
            stream, _ = listening.accept()
            with stream:
                stream.sendall(b"220 mail.example ESMTP\r\n")
                stream.recv(1000)

        greeting = threading.Thread(target=greet)
        greeting.start()
        reason = refusal(f"https://127.0.0.1:{listening.getsockname()[1]}/a")
        greeting.join()
    assert reason.startswith("no secure connection can be made (")


def test_a_file_is_read_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(PICTURE)
    (tmp_path / "data:odd").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert read_source("a.png") == read_source(str(tmp_path / "a.png")) == PICTURE
    assert read_source("data:odd") == b"x"
    with pytest.raises(ImageDecodeError, match=r"^b\.png: no such file"):
        read_source("b.png")


def test_what_is_an_address():
    assert all(map(is_address, ("http://a", "HTTPS://a", "file:///a", "ftp://a", "data:image/png;base64,AA", "x+y://")))
    assert not any(map(is_address, ("a.jpg", "/a//b", "./http", "a:b.jpg", "C:\\a.jpg", "12:30.jpg", "-", "")))


def piped(monkeypatch, stream) -> None:
    monkeypatch.setattr(sys, "stdin", None if stream is None else SimpleNamespace(buffer=stream))


def test_a_picture_from_a_pipe(monkeypatch):
    piped(monkeypatch, io.BytesIO(PICTURE))
    assert read_source("-") == PICTURE


def test_a_pipe_without_a_picture(monkeypatch):
    monkeypatch.setattr(sources, "MAX_BYTES", 1000)
    terminal = io.BytesIO(b"x")
    terminal.isatty = lambda: True
    closed = io.BytesIO(b"x")
    closed.close()
    cases = [(io.BytesIO(), "is empty"), (None, "is closed"), (closed, "is closed"), (terminal, "is a terminal")]
    cases.append((io.BytesIO(bytes(1001)), "has more than the limit of 1000 bytes"))
    for stream, reason in cases:
        piped(monkeypatch, stream)
        with pytest.raises(ImageDecodeError, match=f"^standard input: {reason}"):
            read_source("-")
    piped(monkeypatch, io.BytesIO(bytes(1000)))
    assert len(read_source("-")) == 1000
