"""The documents say what is true: commands are documented, examples run, links lead somewhere."""

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def environment() -> dict[str, str]:
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    from semret.eval.scenes import render_collection

    folder = tmp_path_factory.mktemp("readme")
    render_collection(folder / "photos", 12, seed=1)
    return folder


def test_the_command_reference_is_not_stale():
    spec = importlib.util.spec_from_file_location("generate_cli", ROOT / "docs" / "generate_cli.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.TARGET.read_text(encoding="utf-8") == generate.reference(), "run `make docs`"


@pytest.mark.slow
def test_the_shell_example_runs(workplace):
    (example,) = [block for block in blocks("sh") if "semret index" in block]
    done = subprocess.run(
        ["bash", "-e"], input=example, cwd=workplace, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "scene-002-1.jpg" in done.stdout
    assert (workplace / "hits.html").read_text(encoding="utf-8").count("data:image/jpeg") == 6


@pytest.mark.slow
def test_the_python_example_runs(workplace):
    (example,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=workplace, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 1.000 photos/scene-002-1.jpg\n")
    assert "exact: True" in done.stdout


def test_the_first_two_commands_are_make_demo_and_make_test():
    assert re.findall(r"^make (\w+)", README, flags=re.MULTILINE)[:2] == ["demo", "test"]


@pytest.mark.parametrize("document", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=str)
def test_links_lead_to_files_that_exist(document):
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
