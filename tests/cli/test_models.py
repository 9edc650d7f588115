from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from semret.cli import app
from semret.index.backbones.registry import list_backbones
from tests.support.commands import error_of, invoke


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))


def models(*options: str) -> str:
    result = invoke(app, "models", *options)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def test_table_has_a_line_per_backbone_and_says_what_is_here() -> None:
    lines = models().splitlines()
    assert lines[0].split() == ["name", "checkpoint", "licence", "S", "C", "input", "text", "weights"]
    assert len(lines) == 1 + len(list_backbones())
    assert lines[1].split()[0] == "efficientnet-lite0"
    assert lines[1].endswith("here")
    dinov2 = next(line for line in lines if line.startswith("dinov2 "))
    assert dinov2.split() == ["dinov2", "facebook/dinov2-base", "Apache-2.0", "256", "768", "224x224", "to", "download"]


def test_json_tells_everything() -> None:
    rows = {row["name"]: row for row in json.loads(models("--format", "json"))}
    assert set(rows) == {spec.name for spec in list_backbones()}
    default = rows["efficientnet-lite0"]
    assert (default["S"], default["C"], default["grid"], default["classes"]) == (144, 1280, [12, 12], 1000)
    assert Path(default["weights"]).is_file()
    assert rows["dinov2-giant"]["weights"] is None
    assert rows["clip"]["text"] is True
    assert rows["sam"]["resizable"] is False
    assert rows["dinov2-base-registers"]["prefix_tokens"] == 5


def test_jsonl_csv_and_names_agree() -> None:
    rows = [json.loads(line) for line in models("--format", "jsonl").splitlines()]
    table = list(csv.DictReader(io.StringIO(models("--format", "csv"))))
    names = models("--format", "paths").splitlines()
    assert names == [row["name"] for row in rows] == [row["name"] for row in table]
    assert [str(row["C"]) for row in rows] == [row["C"] for row in table]


def test_cached_weights_show(tmp_path: Path) -> None:
    """Also where the cache holds another revision than the row names."""
    snapshot = tmp_path / "models--facebook--dinov2-small" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"")
    refs = snapshot.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    rows = {row["name"]: row["weights"] for row in json.loads(models("--format", "json"))}
    assert rows["dinov2-small"] == str(snapshot / "model.safetensors")
    assert rows["dinov2-large"] is None
    assert rows["dinov2-base"] is None


def test_the_list_loads_no_network_library() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from semret.cli import app; "
        "assert CliRunner().invoke(app, ['models']).exit_code == 0; "
        "print([name for name in ('torch', 'transformers', 'timm', 'open_clip', 'faiss') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_prepare_fills_the_cache_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = invoke(app, "models", "--prepare")
    assert first.exit_code == 0, first.output
    assert first.stdout == "the default model's graph and the matching solvers are in the cache\n"
    (graph,) = (tmp_path / "semret" / "graphs").iterdir()
    before = graph.stat().st_mtime_ns
    assert invoke(app, "models", "--prepare").exit_code == 0
    assert graph.stat().st_mtime_ns == before


def test_prepare_says_where_nothing_can_be_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "cannot be written; set XDG_CACHE_HOME to a folder of yours" in error_of(invoke(app, "models", "--prepare"))
