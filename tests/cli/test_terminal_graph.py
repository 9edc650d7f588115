"""What a person sees of the default network's graph being written, which happens once per installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.support.places import with_root


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "semret" / "graphs"


@pytest.fixture
def real_index(own_cache, tmp_path, photos):
    """An index of `photos` made with the default network, whose graph is gone again."""
    command = [sys.executable, "-m", "semret", "index", "photos", "--index", ".semret", "--size", "32x32"]
    made = subprocess.run(
        command, cwd=tmp_path, env=with_root(os.environ), capture_output=True, text=True, check=True, timeout=300
    )
    assert "writing the graph of efficientnet-lite0; this happens once per installation" in made.stderr
    shutil.rmtree(own_cache)
    (tmp_path / "new.jpg").write_bytes((photos / "0.png").read_bytes() + b"\0")
    return tmp_path / ".semret"


def test_a_search_draws_a_bar_while_it_writes_the_graph(own_cache, real_index, terminal):
    run = terminal("query", "new.jpg", tiny=False)
    assert run.end() == 0
    bars = [line for screen in run.seen for line in screen.splitlines() if line.startswith("preparing efficientnet")]
    assert bars
    assert any("━" in line for line in bars)
    # It goes again, and nothing else says the same.
    assert "preparing" not in run.screen
    assert "happens once" not in "\n".join(run.seen)
    assert run.screen.split()[:2] == ["rank", "score"]
    run = terminal("query", "new.jpg", tiny=False)
    assert run.end() == 0
    assert not any("preparing" in screen for screen in run.seen)


def test_without_a_terminal_a_line_says_it(own_cache, real_index, tmp_path):
    command = [sys.executable, "-m", "semret", "query", "new.jpg", "--index", ".semret"]
    run = subprocess.run(
        command, cwd=tmp_path, env=with_root(os.environ), capture_output=True, text=True, check=True, timeout=300
    )
    assert run.stderr.splitlines() == [
        "semret: writing the graph of efficientnet-lite0; this happens once per installation"
    ]
