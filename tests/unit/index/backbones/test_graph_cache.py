"""Graphs that are written once per installation: whole or not at all, checked when read, made anew when damaged."""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from semret.index.backbones import graph_cache
from semret.index.backbones.graph_cache import cached_graph, graph_folder, is_cached

CONTENT = bytes(range(256)) * 100
ON = ("weights", "1")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def never() -> bytes:
    raise AssertionError("made although it was kept")


def kept() -> Path:
    (file,) = graph_folder().iterdir()
    return file


def test_a_graph_is_made_once() -> None:
    assert not is_cached("net", ON)
    assert cached_graph("net", ON, lambda: CONTENT) == CONTENT
    assert is_cached("net", ON)
    assert cached_graph("net", ON, never) == CONTENT


def test_other_weights_versions_or_names_are_other_graphs() -> None:
    cached_graph("net", ON, lambda: CONTENT)
    for title, depends_on in (("net", ("weights", "2")), ("net", ("weights1",)), ("other", ON)):
        assert cached_graph(title, depends_on, lambda: b"another") == b"another"


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "grown"])
def test_a_damaged_file_is_made_anew(damage: str) -> None:
    cached_graph("net", ON, lambda: CONTENT)
    file, whole = kept(), kept().read_bytes()
    file.write_bytes(
        {"cut": whole[:-1], "flip": whole[:-1] + bytes([whole[-1] ^ 1]), "empty": b"", "grown": whole + b"x"}[damage]
    )
    assert not is_cached("net", ON)
    assert cached_graph("net", ON, lambda: CONTENT) == CONTENT
    assert kept().read_bytes() == whole


@pytest.mark.parametrize("kind", ["world-writable", "link", "pipe", "folder"])
def test_what_somebody_else_could_have_put_there_is_not_used(kind: str, tmp_path: Path) -> None:
    cached_graph("net", ON, lambda: b"planted")
    file = kept()
    if kind == "world-writable":
        file.chmod(0o666)
    elif kind == "link":
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    else:
        file.unlink()
        os.mkfifo(file) if kind == "pipe" else file.mkdir()
    assert cached_graph("net", ON, lambda: CONTENT) == CONTENT


def test_where_nothing_can_be_kept_it_is_made_in_memory_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(graph_cache, "_said", [])
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert cached_graph("net", ON, lambda: CONTENT) == CONTENT
        assert cached_graph("net", ON, lambda: CONTENT) == CONTENT
    assert caplog.text.count("set XDG_CACHE_HOME to a folder of yours") == 1


def test_a_write_that_breaks_off_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(graph_cache.os, "fsync", full)
    assert cached_graph("net", ON, lambda: CONTENT) == CONTENT
    assert list(graph_folder().iterdir()) == []


def _make(number: int) -> bool:
    return cached_graph("net", ON, lambda: CONTENT) == CONTENT


def test_processes_that_start_at_once_leave_one_whole_file() -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert all(pool.map(_make, range(12)))
    assert cached_graph("net", ON, never) == CONTENT
    assert len(list(graph_folder().iterdir())) == 1


def test_the_default_network_imports_no_torch_before_or_after_its_graph_is_kept() -> None:
    script = (
        "import sys, numpy as np; from semret.index.backbones.registry import create_backbone; b = create_backbone();"
        "b.embed(np.zeros((1, 3, 384, 384), np.float32));"
        "print(sorted({'torch', 'timm', 'transformers', 'open_clip', 'scipy', 'numba', 'onnx'} & set(sys.modules)))"
    )
    shown = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    ]
    assert shown == ["['onnx']", "[]"]
