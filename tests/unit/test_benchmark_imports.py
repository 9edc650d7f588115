"""The script that lists what a start imports: how it reads the interpreter's account and what it shows."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.delitem(sys.modules, "imports", raising=False)
    return importlib.import_module("imports")


def test_the_interpreters_account_is_read(script):
    found = {one.module: one for one in script.imports(["-c", "import json.decoder"])}
    assert {"json", "json.decoder", "json.scanner"} <= found.keys()
    assert found["json"].whole >= found["json"].alone
    assert found["json"].whole >= found["json.decoder"].alone


def test_medians_are_of_the_runs_that_imported_a_module(script):
    runs = [
        [script.Import("a", 1, 5), script.Import("b", 2, 2)],
        [script.Import("a", 3, 9)],
        [script.Import("a", 2, 6)],
    ]
    assert script.medians(runs) == [("a", 2, 6), ("b", 2, 2)]


def test_a_table_has_the_longest_and_the_sum(script):
    listed = [script.Import("a", 2.0, 6.0), script.Import("b.c", 4.0, 4.0)]
    assert script.table("semret --help", listed, 1).splitlines() == [
        "semret --help: 2 modules, 6 ms",
        "     whole     alone  module",
        "    6.0 ms    2.0 ms  a",
    ]
