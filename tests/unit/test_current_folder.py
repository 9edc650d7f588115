"""Nothing that lies in the current folder changes what the program does: it may be a folder that came from anybody."""

from __future__ import annotations

import ast
import ctypes
import os
import shutil
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
"""Compiles functions that are inlined into others, and reads the settings again for each."""

COMPILE = """
import os
import numpy as np
from semret.retrieval.native import Native
rows, out = np.array([[1, 2], [3, 4]], dtype=np.float32), np.empty(2)
Native("semret.retrieval.similarity.product_loops", "row_products")(rows, rows, np.array([1, -1]), out)
print(out.tolist(), [name.split("-")[0] for name in os.listdir(os.environ["NUMBA_CACHE_DIR"] + "/semret")])
"""
"""Compiles the kernel that takes the least time, and names what is kept: nothing, if Python runs it."""

PLOT = """
from pathlib import Path
from semret.eval.report.palette import figure_of
with figure_of(Path("figure.png"), title="t") as figure:
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
        (".numba_config.yaml", "cpu_name: [nonsense\n", COMPILE, "[11.0, 0.0] ['row_products']\n"),
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


@pytest.mark.parametrize("name", ["logging", "typing", "importlib", "re", "warnings", "string", "collections"])
def test_no_module_of_python_itself_is_taken_from_the_current_folder(tmp_path, name):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / f"{name}.py").write_text("raise SystemExit('planted')\n")
    assert run(folder, "-m", "semret", "--version").startswith("semret ")


def test_a_module_of_the_current_folder_that_uses_semret_is_found_and_finds_its_own(tmp_path):
    folder = tmp_path / "project"
    (folder / "tool").mkdir(parents=True)
    (folder / "tool" / "__init__.py").write_text("import semret, beside\n")
    (folder / "tool" / "__main__.py").write_text("import sys, beside\nprint(beside.here, sys.path[0])\n")
    (folder / "beside.py").write_text("here = 'found'\n")
    assert run(folder, "-m", "tool") == f"found {folder}\n"


PLANTED = """
#include <stdio.h>
__attribute__((constructor)) static void run(void) {
    FILE *marker = fopen("%s", "w");
    if (marker) fclose(marker);
}
"""
LOAD = """
import os
import shutil
from semret.index.backbones.registry import create_backbone
if {forbidden}:
    from semret import foreign
    foreign._moved_apart = lambda: False
here = os.getcwd()
create_backbone(device="cpu")
assert os.getcwd() == here
print("loaded")
"""


@pytest.fixture
def planted_library(tmp_path):
    """A folder with a library for which the linker would look there when torch is loaded, and what it would write."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    folder, marker = tmp_path / "photos", tmp_path / "marker"
    folder.mkdir()
    (tmp_path / "planted.c").write_text(PLANTED % marker)
    library = folder / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "planted.c"], check=True)
    ctypes.CDLL(str(library))
    assert marker.exists()
    marker.unlink()
    return folder, marker


def test_no_library_of_the_current_folder_is_run_when_torch_is_loaded(planted_library):
    folder, marker = planted_library
    assert run(folder, "-P", "-c", LOAD.format(forbidden=False)) == "loaded\n"
    assert not marker.exists()


@pytest.mark.parametrize("below", ["", "tls", "glibc-hwcaps/x86-64-v2"])
def test_where_threads_share_their_folder_such_a_library_is_refused(planted_library, below):
    folder, marker = planted_library
    (folder / below).mkdir(parents=True, exist_ok=True)
    (folder / "libcuda.so.1").rename(folder / below / "libcuda.so.1")
    told = LOAD.format(forbidden=True).replace("create_backbone(d", "try: create_backbone(d").replace(
        "\nassert", "\nexcept Exception as error: print(type(error).__name__, error)\nassert"
    )  # fmt: skip
    said = run(folder, "-P", "-c", told).splitlines()[0]
    name = Path(below, "libcuda.so.1")
    assert said == (
        f"BackboneError {name} in the current folder could be taken for part of a library; change to another folder"
    )
    assert not marker.exists()


CACHE = """
import os, pwd, sys
for name in ("HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HF_HUB_OFFLINE"):
    os.environ.pop(name, None)
pwd.getpwuid = lambda uid: {}[uid]
from semret.errors import WeightsNotFoundError
from semret.index.backbones.hub import find_weights
from semret.index.backbones.registry import create_backbone, list_backbones
assert not any(find_weights(spec) for spec in list_backbones() if spec.family != "embedded")
for name in ("dinov2", "clip", "timm:resnet18"):
    try: create_backbone(name, device="cpu")
    except WeightsNotFoundError as error: assert "(set HF_HOME to a folder of yours)" in str(error), error
"""


def test_without_a_home_nothing_is_read_from_or_put_into_a_folder_called_like_it(tmp_path):
    folder = tmp_path / "photos"
    for repository in ("facebook--dinov2-base", "timm--vit_base_patch32_clip_224.openai"):
        at = folder / "~" / ".cache" / "huggingface" / "hub" / f"models--{repository}" / "snapshots" / ("0" * 40)
        at.mkdir(parents=True)
        for name in ("model.safetensors", "open_clip_model.safetensors", "config.json"):
            (at / name).write_bytes(b"{}")
    before = sorted(folder.rglob("*"))
    run(folder, "-P", "-c", CACHE)
    assert sorted(folder.rglob("*")) == before
