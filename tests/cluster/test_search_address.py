"""``semret serve --ray`` says an address at which something listens, whichever computer it was typed on."""

from __future__ import annotations

import pytest
import ray

from semret.server.settings import Settings


@pytest.mark.parametrize(
    ("host", "here", "shown"),
    [
        ("0.0.0.0", "10.0.0.7", "http://10.0.0.1:8100/"),
        ("::", "10.0.0.7", "http://10.0.0.1:8100/"),
        ("photos.example", "10.0.0.7", "http://photos.example:8100/"),
        ("127.0.0.1", "10.0.0.7", "http://127.0.0.1:8100/"),
        ("0.0.0.0", "10.0.0.1", "http://head:8100/"),
    ],
)
def test_another_computer_than_the_head_names_the_head(monkeypatch, host, here, shown):
    from semret.cluster.serving import page_address

    context = type("Context", (), {"gcs_address": "10.0.0.1:6379"})
    monkeypatch.setattr(ray, "get_runtime_context", context)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: here)
    monkeypatch.setattr("socket.gethostname", lambda: "head")
    assert page_address(Settings(host=host, open_to_all=True)) == shown


@pytest.mark.parametrize(
    ("host", "here", "said"),
    [
        (
            "127.0.0.1",
            "10.0.0.7",
            ["127.0.0.1 is that of the head, 10.0.0.1: only there the page can be opened; see --host"],
        ),
        ("127.0.0.1", "10.0.0.1", []),
        ("0.0.0.0", "10.0.0.7", []),
    ],
)
def test_an_address_of_the_head_alone_is_told_elsewhere(monkeypatch, host, here, said):
    from semret.cluster.serving import _tell_who_reaches_it

    monkeypatch.setattr(ray, "get_runtime_context", type("Context", (), {"gcs_address": "10.0.0.1:6379"}))
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: here)
    told = []
    _tell_who_reaches_it(Settings(host=host, open_to_all=True), told.append)
    assert told == said
