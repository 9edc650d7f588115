"""The gate without a network: what it bounds, and what it hands on."""

import asyncio
import json

import pytest
from starlette.responses import PlainTextResponse

from semret.server import gate as module
from semret.server.gate import Gate, cookie_of
from semret.server.metrics import Metrics
from semret.server.settings import Settings


async def reading(scope, receive, send):
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await PlainTextResponse(str(size))(scope, receive, send)


async def failing(scope, receive, send):
    raise ZeroDivisionError("a secret")


def ask(gate, parts, *, headers=(), path="/api/search"):
    """Return status and text of an answer; `parts` are the pieces of the body, None for one that never comes."""
    sent, queue = [], list(parts)

    async def receive():
        part = queue.pop(0)
        if part is None:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": part, "more_body": bool(queue)}

    async def send(message):
        sent.append(message)

    named = [(b"host", b"localhost"), *headers]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": named}
    asyncio.run(gate(scope, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return sent[0]["status"], sent[1]["body"].decode()


def gate_of(app=reading, **settings):
    return Gate(app, Settings(**settings), Metrics(), frozenset())


def test_a_body_within_the_limit_is_handed_on():
    assert ask(gate_of(most_upload_bytes=10), [b"12345", b"67890"]) == (200, "10")


def test_a_body_is_cut_off_at_the_limit():
    status, text = ask(gate_of(most_upload_bytes=10), [b"12345", b"678901"])
    assert status == 413
    assert "limit of 10 bytes" in json.loads(text)["error"]


def test_a_declared_length_is_refused_unread():
    assert ask(gate_of(most_upload_bytes=10), [None], headers=[(b"content-length", b"11")])[0] == 413


def test_a_body_that_does_not_come_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "BODY_SECONDS", 0.05)
    status, text = ask(gate_of(), [b"1", None])
    assert status == 408
    assert "nothing of the request came" in text


def test_all_bodies_together_are_bounded_and_what_is_answered_is_forgotten():
    gate = gate_of(most_uploads_bytes=10)
    for _ in range(3):
        assert ask(gate, [b"12345678"]) == (200, "8")
    assert ask(gate, [b"12345678", b"901"])[0] == 503
    assert ask(gate, [b"12345678"]) == (200, "8")


def test_a_mistake_of_ours_is_told_to_the_log_alone(caplog):
    status, text = ask(gate_of(failing), [b""])
    assert status == 500
    assert "secret" not in text
    assert "ZeroDivisionError: a secret" in caplog.text
    assert "test_gate.py" in caplog.text


def test_the_cookie_of_one_port_is_not_that_of_another():
    token = "a-token-of-enough-signs"
    name, value = cookie_of(token, 8100)
    gate = gate_of(token=token)
    assert ask(gate, [b""], headers=[(b"cookie", f"{name}={value}".encode())])[0] == 200
    assert ask(gate, [b""], headers=[(b"cookie", f"semret-8101={value}".encode())])[0] == 401
    assert ask(gate, [b""], headers=[(b"cookie", f"{name}={token}".encode())])[0] == 401
    assert ask(gate, [b""], headers=[(b"cookie", b'\xff;;=;[]="')])[0] == 401


@pytest.mark.parametrize("value", ["-5", "1e3", "٣", "9" * 30])
def test_a_length_that_is_no_number_does_not_pass_for_a_small_one(value):
    headers = [(b"content-length", value.encode("utf-8"))]
    assert ask(gate_of(most_upload_bytes=3), [b"1234"], headers=headers)[0] == 413


@pytest.mark.parametrize("origin", ["http://[", "null", "", "http://elsewhere"])
def test_an_origin_that_is_none_of_this_server_is_refused_and_no_mistake_of_ours(origin):
    status, text = ask(gate_of(), [b""], headers=[(b"origin", origin.encode())])
    assert status == 403
    assert "another page asks" in text


def test_a_second_origin_does_not_hide_behind_the_first():
    headers = [(b"origin", b"http://localhost"), (b"origin", b"http://elsewhere")]
    assert ask(gate_of(), [b""], headers=headers[:1])[0] == 200
    assert ask(gate_of(), [b""], headers=headers)[0] == 403


def test_one_name_is_called_and_no_other():
    status, text = ask(gate_of(), [b""], headers=[(b"host", b"elsewhere")])
    assert status == 400
    assert "send one Host" in text
