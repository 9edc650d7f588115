"""What may be read may be asked about with HEAD, as programs that watch a server and `curl -I` do."""

from __future__ import annotations

import pytest

from tests.support.servers import running

pytestmark = pytest.mark.slow


def test_head_is_answered_as_get_without_a_body(tiny_index):
    with running(tiny_index) as server:
        for path in (
            "/",
            "/healthz",
            "/docs",
            "/api/info",
            "/api/images/1",
            "/api/images/1/thumbnail",
            "/openapi.json",
        ):
            read, asked = server.client.get(path), server.client.head(path)
            assert (asked.status_code, asked.content) == (200, b"")
            for name in ("content-type", "content-length", "content-security-policy", "etag"):
                assert asked.headers.get(name) == read.headers.get(name), (path, name)
        assert server.client.head("/nowhere").status_code == 404
        assert server.client.head("/api/search").status_code == 405
        assert server.client.head("/api/images/1", headers={"Host": "elsewhere"}).status_code == 403
