"""The example that looks like a notebook runs as one: cell by cell, each showing its last value."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from tests.support.places import ROOT

EXAMPLE = ROOT / "examples" / "notebook.py"


def cells() -> list[str]:
    """Return the cells of code."""
    parts = re.split(r"^# %%(.*)\n", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [body for kind, body in zip(parts[1::2], parts[2::2], strict=True) if "[markdown]" not in kind]


def run_cell(code: str, names: dict[str, object]) -> object:
    """Run a cell as a notebook does, and return the value of its last expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder in which the example is run, as a script and then cell by cell."""
    return tmp_path_factory.mktemp("example")


@pytest.mark.slow
def test_it_runs_as_a_script(place):
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], cwd=place, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (place / "notebook" / "own" / "manifest.json").is_file()


@pytest.mark.slow
def test_every_cell_runs_and_shows_something(place, monkeypatch):
    """Where the script ran: its pictures are not rendered and its index is not made a second time."""
    monkeypatch.chdir(place)
    names: dict[str, object] = {"__name__": "__main__"}
    shown = []
    for code in cells():
        value = run_cell(code, names)
        html = getattr(value, "_repr_html_", None)
        shown.append(html() if html is not None else repr(value))
    assert sum("data:image/jpeg" in text for text in shown) == 4, "results and explanations are drawn"
    why, maps = names["why"], names["maps"]
    assert sum(pair.share for pair in why) == pytest.approx(why.score, abs=1e-12)
    assert names["by_features"].ids[0] == 1005
    assert maps.shape[0] == 3
    assert set(names["by_id"].paths) & set(names["result"].paths)
    assert "rank" in repr(names["table"])
    names["engine"].close()


@pytest.mark.slow
def test_the_page_runs_from_top_to_bottom(tmp_path, rendered, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").symlink_to(rendered, target_is_directory=True)
    page = (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(code, "notebook.md", "exec"), names)
    assert names["maps"].shape[0] == 3
    names["engine"].close()


def test_every_feature_of_a_notebook_is_in_the_example():
    text = "\n".join(cells())
    for call in (
        "embed(",
        "rsm(",
        "matched_similarity(",
        "cka(",
        "build(",
        "query(",
        "explain(",
        "to_pandas(",
        "features=",
    ):
        assert call in text
