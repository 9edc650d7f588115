"""``semret serve``: what it refuses before it listens. The server itself is tested in tests/e2e."""

import socket
import subprocess
import sys

import pytest

from semret.cli import app
from tests.support.commands import error_of, invoke

TOKEN = "a-token-of-enough-signs"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--host", "0.0.0.0"], "others than this computer could search and see the pictures; give --token"),
        (["--token", "short"], "the token must be 16 or more"),
        (["--port", "70000"], "expected 0 to 65535"),
        (["--max-upload", "0"], "at least 1"),
    ],
)
def test_what_would_not_be_safe_is_refused(tiny_index, words, part):
    assert part in error_of(invoke(app, "serve", "--index", tiny_index, *words))


def test_a_token_and_no_auth_contradict_each_other(tiny_index):
    found = invoke(app, "serve", "--index", tiny_index, "--token", TOKEN, "--no-auth")
    assert found.exit_code == 2


def test_a_port_that_is_taken_is_told(tiny_index):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = error_of(invoke(app, "serve", "--index", tiny_index, "--port", port))
    assert f"cannot listen on 127.0.0.1, port {port}" in line
    assert "choose another --port" in line


def test_an_index_that_is_missing_is_told(tmp_path):
    assert "no index" in error_of(invoke(app, "serve", "--index", tmp_path))


def test_without_the_extra_there_is_one_line(tiny_index, monkeypatch):
    monkeypatch.setattr("semret.server.settings._NEEDED", {"no_such_module_at_all": "fastapi"})
    assert "pip install 'semret[server]'" in error_of(invoke(app, "serve", "--index", tiny_index))


def test_the_other_commands_need_no_extra():
    code = (
        "import sys, semret.cli; from semret.commands import serve;"
        "print([name for name in ('fastapi', 'uvicorn', 'pydantic', 'prometheus_client') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
