from __future__ import annotations

import csv
import io
import json
import re
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

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))


def models(*options: str) -> str:
    result = invoke(app, "models", *options)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def test_table_has_a_line_per_backbone_and_says_what_is_here() -> None:
    lines = models().splitlines()
    header = ["name", "take", "it", "for", "S", "C", "input", "text", "licence", "weights", "speed", "here"]
    assert lines[0].split() == header
    assert len(lines) == 1 + len(list_backbones())
    assert lines[1].split()[0] == "efficientnet-lite0"
    assert re.search(r"  here, 1\d\.\d MB +-$", lines[1])
    dinov2 = next(line for line in lines if line.startswith("dinov2-small "))
    assert "General patches, learnt without labels; the smallest and quickest of its kind." in dinov2
    assert dinov2.split()[-9:] == ["256", "384", "224x224", "Apache-2.0", "88.2", "MB", "to", "download", "-"]


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
    assert rows["dinov2-giant"]["bytes"] == 4 * rows["dinov2-giant"]["parameters"]
    assert default["bytes"] == Path(default["weights"]).stat().st_size
    assert all(row["purpose"].endswith(".") and row["speed"] is None for row in rows.values())


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


def test_some_can_be_named() -> None:
    assert models("clip", "sam", "--format", "paths").split() == ["clip", "sam"]
    assert models("hf:some/model").splitlines()[1].split()[:1] == ["hf:some/model"]
    assert "did you mean dinov2-small" in error_of(invoke(app, "models", "dinov2-smal"))


def test_a_speed_is_measured_remembered_and_shown_with_its_day() -> None:
    (row,) = json.loads(models_with_messages("efficientnet-lite0", "--measure", "--format", "json"))
    speed = row["speed"]
    assert speed["pictures_per_second"] > 0
    assert (speed["device"], speed["trained"]) == ("cpu", True)
    shown = next(line for line in models().splitlines() if line.startswith("efficientnet-lite0"))
    assert shown.endswith(f"/s, {speed['measured']}")
    (again,) = json.loads(models("efficientnet-lite0", "--format", "json"))
    assert again["speed"] == speed
    table = {line["name"]: line for line in csv.DictReader(io.StringIO(models("--format", "csv")))}
    assert float(table["efficientnet-lite0"]["pictures_per_second"]) == speed["pictures_per_second"]
    assert table["clip"]["measured"] == ""


def models_with_messages(*options: str) -> str:
    result = invoke(app, "models", *options)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_without_weights_random_numbers_are_measured() -> None:
    (row,) = json.loads(models_with_messages("resnet18", "--measure", "--format", "json"))
    assert row["weights"] is None
    assert row["speed"]["trained"] is False
    assert row["speed"]["pictures_per_second"] > 0


def test_what_cannot_be_measured_is_one_line_and_the_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from semret.index.backbones import speed

    monkeypatch.setattr(speed, "_memory", lambda: 1e9)
    result = invoke(app, "models", "hf:some/model", "dinov2-giant", "efficientnet-lite0", "--measure")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "semret: the weights of hf:some/model are not on this machine, and only they tell what network it is",
        "semret: dinov2-giant takes 4.5 GB, and this machine has 1.0 GB of memory",
        "semret: measured efficientnet-lite0",
    ]
    assert len(result.stdout.splitlines()) == 4


@pytest.mark.parametrize("content", ["", "[1]", '{"clip": {}}', '{"clip": {"pictures_per_second": -1}}', "{" * 10_000])
def test_a_damaged_cache_of_speeds_counts_for_nothing(content: str) -> None:
    from semret.index.backbones.speeds import speed_file

    speed_file().parent.mkdir(parents=True)
    speed_file().write_text(content)
    assert all(row["speed"] is None for row in json.loads(models("--format", "json")))


def test_speeds_of_another_machine_are_not_shown() -> None:
    from semret.index.backbones.speeds import Speed, keep_speeds, known_speeds

    values = {"pictures_per_second": 2.0, "threads": 1, "device": "cpu", "measured": "2026-01-01", "trained": True}
    keep_speeds({"clip": Speed(**values, machine="another computer")})
    assert known_speeds() == {}


def test_speeds_that_cannot_be_kept_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "cannot be written" in error_of(invoke(app, "models", "--measure"))


def test_a_device_is_for_measuring() -> None:
    assert invoke(app, "models", "--device", "cpu").exit_code == 2
