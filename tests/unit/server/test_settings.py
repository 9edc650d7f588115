"""Who may reach a server is decided before it listens."""

import pytest

from semret.errors import ArgumentError, MissingDependencyError
from semret.server import settings as module
from semret.server.settings import Settings, is_loopback, require_extra

TOKEN = "a-token-of-enough-signs"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST."])
def test_this_machine_needs_no_token(host):
    assert is_loopback(host)
    assert Settings(host=host).is_local


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.7", "photos.example", "127.0.0.1.example", "localhost.example"]
)
def test_others_need_a_token_or_a_word(host):
    with pytest.raises(ArgumentError, match="give --token, or --no-auth"):
        Settings(host=host)
    assert Settings(host=host, token=TOKEN).token == TOKEN
    assert Settings(host=host, open_to_all=True).token is None


@pytest.mark.parametrize(
    "token", ["", "short", "with a space in between", "with-ümlauts-in-between", "with\nlines-in-between"]
)
def test_a_token_that_could_be_guessed_or_not_be_sent_is_refused(token):
    with pytest.raises(ArgumentError, match="the token must be 16 or more"):
        Settings(token=token)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_is_one(port):
    with pytest.raises(ArgumentError, match="expected 0 to 65535"):
        Settings(port=port)


def test_a_server_that_accepts_nothing_is_refused():
    with pytest.raises(ArgumentError, match="at least 1"):
        Settings(most_waiting=0)


def test_the_extra_is_there():
    require_extra()


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setattr(module, "_NEEDED", {"json": "json", "no_such_module_at_all": "uvicorn"})
    with pytest.raises(
        MissingDependencyError, match=r"needs uvicorn, not installed here; run pip install 'semret\[server\]'"
    ):
        require_extra()
