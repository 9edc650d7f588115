"""The script that measures indexing on a card: what it writes of what it found, and its pretended card."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from tests.support.torch_networks import FedNetwork

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    for module in ("gpu_indexing", "documents"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return importlib.import_module("gpu_indexing")


def test_tables_have_the_card_the_ratios_and_the_cores_that_are_needed(script):
    rates = {"bare": 268.0, "new index": 134.0, "added": 241.2, "float16 tokens": 200.0}
    lines = script.as_markdown(
        {
            "card": "Some Card",
            "conditions": {"processor": "Some CPU", "cores": "16", "torch": "9"},
            "usable_cores": 16,
            "images": 100,
            "rounds": 2,
            "batch_size": 64,
            "small": False,
            "rates": {"float32": rates},
            "parts": {"float32": {"decode": 2.0, "network": 3.5}},
            "loading": {"1": 250.0, "2": 480.0},
            "pretended": {"268": 260.0},
        }
    ).splitlines()
    assert lines[0] == "Card: Some Card; Some CPU, 16 cores; torch 9; 16 cores in use."
    assert "| float32 | 268 | 134 (0.50) | 241 (0.90) | 200 (0.75) |" in lines
    assert "| network | 3.500 |" in lines
    assert lines[-2].endswith("250 on 1 threads, 480 on 2 threads. At 250 a core, 1000 a second take 4.0 cores.")
    assert lines[-1] == "Beside a pretended card, pictures a second: 260 of 268."


def test_files_are_indexed_beside_pretended_cards(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "LARGE", {"hidden_size": 160})
    folder = script.make_photos(tmp_path / "photos", 80)[0]
    found = script.pretended(FedNetwork(), folder, tmp_path)
    assert list(found) == ["268", "1000", "1862"]
    assert all(rate > 0 for rate in found.values())
