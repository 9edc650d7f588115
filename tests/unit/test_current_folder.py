"""Nothing that lies in the current folder changes what the program does: it may be a folder that came from anybody."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import semret

PACKAGE = Path(semret.__file__).parent

SOLVE = """
import numpy as np
from semret.retrieval.matching import match
print(match(np.arange(12.0).reshape(3, 4) ** 2 % 7).value)
"""

PLOT = """
from pathlib import Path
from semret.eval.report import plots
with plots._figure(Path("figure.png")) as figure:
    axes = figure.subplots()
    print(axes.patch.get_facecolor())
"""


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder.parent / "cache"), "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "content", "script", "expected"),
    [
        (".numba_config.yaml", "cpu_name: [nonsense\n", SOLVE, "10.0\n"),
        (".numba_config.yaml", "disable_jit: 1\n", SOLVE, "10.0\n"),
        ("matplotlibrc", "axes.facecolor: red\nbackend: module://planted\n", PLOT, "(1.0, 1.0, 1.0, 1.0)\n"),
    ],
)
def test_settings_in_the_current_folder_are_not_read(tmp_path, name, content, script, expected):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / name).write_text(content)
    # -P as the installed script, which does not put the current folder on the path
    assert run(folder, "-P", "-c", script) == expected


def test_modules_in_the_current_folder_are_not_imported(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("typer", "rich", "numpy", "PIL", "torch", "csv", "sitecustomize"):
        (folder / f"{name}.py").write_text("raise SystemExit('planted')\n")
    assert run(folder, "-m", "semret", "--version").startswith("semret ")
    assert "efficientnet-lite0" in run(folder, "-m", "semret", "models", "--format", "paths")


def test_numba_is_imported_in_one_place_only():
    importers = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            importers |= {file.name for name in names if name.split(".")[0] == "numba"}
    assert importers == {"compiler.py"}
