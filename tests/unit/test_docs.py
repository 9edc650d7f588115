"""The documents say what is true: commands are documented, examples run, links lead somewhere."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def environment() -> dict[str, str]:
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"}


def run(command: list[str], folder: Path, text: str | None = None) -> str:
    done = subprocess.run(
        command,
        input=text,
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """The folder of the project as `make demo` leaves it: an environment, and the demo's pictures, index and page."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / ".venv").symlink_to(sys.prefix)
    run([sys.executable, str(ROOT / "examples" / "demo.py")], folder)
    return folder


def test_the_command_reference_is_not_stale():
    spec = importlib.util.spec_from_file_location("generate_cli", ROOT / "docs" / "generate_cli.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.TARGET.read_text(encoding="utf-8") == generate.reference(), "run `make docs`"


@pytest.mark.slow
def test_the_demo_writes_a_page(workplace):
    assert (workplace / "demo" / "hits.html").read_text(encoding="utf-8").count("data:image/jpeg") == 6


@pytest.mark.slow
def test_the_shell_example_runs_after_the_demo(workplace):
    (example,) = [block for block in blocks("sh") if "semret index" in block]
    shown = run(["bash", "-e"], workplace, example)
    assert "60 images in" in shown
    assert "demo/pictures/scene-002-1.jpg" in shown
    assert (workplace / "hits.html").read_text(encoding="utf-8").count("data:image/jpeg") == 6


@pytest.mark.slow
def test_the_python_example_runs_after_the_demo(workplace):
    (example,) = blocks("python")
    shown = run([sys.executable, "-c", example], workplace)
    assert shown.startswith("1 1.000 demo/pictures/scene-002-1.jpg\n")


@pytest.mark.slow
@pytest.mark.parametrize("document", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.stem)
def test_commands_of_the_documents_run_after_the_demo(document, workplace):
    """Blocks marked ``sh`` are run in order, in the folder that the README's steps leave; others are ``text``."""
    run_commands(document, workplace)


def run_commands(document: Path, workplace: Path) -> None:
    for example in blocks("sh", document.read_text(encoding="utf-8")):
        run(["bash", "-e"], workplace, ". .venv/bin/activate\n" + example)


@pytest.mark.slow
def test_the_table_of_the_evaluation_is_what_its_command_found(workplace):
    """To two queries of forty: on another machine near scores may be in another order."""
    document, report = ROOT / "docs" / "evaluation.md", workplace / "results" / "report.json"
    if not report.exists():  # the test above leaves it
        run_commands(document, workplace)
    page = document.read_text(encoding="utf-8")
    columns = re.search(r"^\| kernel \| (.*) \|$", page, flags=re.MULTILINE)[1].split(" | ")
    found = {
        (metric["cell"]["kernel"], metric["cell"]["invariance"]): metric["mean"]
        for metric in json.loads(report.read_text(encoding="utf-8"))["metrics"]
        if metric["name"] == "f1@1" and "kernel" in metric["cell"]
    }
    told = {}
    for kernel in ("cosine", "linear", "rbf"):
        cells = re.search(rf"^\| {kernel} \| (.*) \|$", page, flags=re.MULTILINE)[1].split(" | ")
        told |= {(kernel, column): float(cell.split()[0]) for column, cell in zip(columns, cells, strict=True)}
    assert told == pytest.approx(found, abs=0.05)


def test_every_block_of_commands_says_whether_it_is_run():
    for document in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        if document.name == "cli.md":
            continue
        for language, body in re.findall(r"^```(\w*)\n(.*?)^```", document.read_text("utf-8"), flags=re.M | re.S):
            if re.search(r"^ *(semret|pip|python|make) ", body, flags=re.MULTILINE):
                assert language in ("sh", "python", "text"), (
                    f"{document.name}: mark the block sh (is run) or text: {body}"
                )


def test_the_first_two_commands_are_make_demo_and_make_test():
    assert re.findall(r"^make (\w+)", README, flags=re.MULTILINE)[:2] == ["demo", "test"]


@pytest.mark.parametrize("document", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=str)
def test_links_lead_to_files_that_exist(document):
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
