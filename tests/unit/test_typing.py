"""What a user's type checker, as strict as it can be, makes of the public interface."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT

pytest.importorskip("mypy")

SCRIPT = """
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import semret
from semret.integer_tokens import IntegerTokens
from semret import Hit, SearchEngine, SearchResult, build, cka, matched_similarity, open, open_index, rsm


def search(picture: str) -> list[str]:
    engine = semret.open("photos", device="cpu")
    assert_type(engine, SearchEngine)
    assert_type(open("photos"), SearchEngine)
    assert_type(open_index("photos"), SearchEngine)
    result = engine.query(picture, k=3)
    assert_type(result, SearchResult)
    assert_type(result[0], Hit)
    assert_type(result[:2], tuple[Hit, ...])
    assert_type(result[-1].score, float)
    return [hit.path for hit in result[:2]] + [hit.path for hit in result]


def embed(pictures: list[str]) -> NDArray[np.float32]:
    found = semret.embed(pictures, model="efficientnet-lite0", progress=True)
    assert_type(found, semret.Embeddings)
    assert_type(found.grid, tuple[int, int])
    semret.build(features=found, ids=[3, 4])
    with semret.open_index() as engine:
        assert_type(engine, SearchEngine)
        assert_type(rsm(found, engine), NDArray[np.float64])
        assert_type(engine.query(3).scores, NDArray[np.float64])
        assert_type(engine.query(tokens=found.tokens[0], pooled=found.pooled[0]).paths, list[str])
        assert_type(engine.tokens(["a.jpg", 3], integers=True), IntegerTokens)
        engine.rerank(b"...", engine.query(np.zeros((3, 4, 3), np.uint8)))
        return rsm(engine.tokens(engine.query("a.jpg")[0])).astype(np.float32)


def compare(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    k = rsm(x)
    assert_type(k, NDArray[np.float64])
    both = rsm(x, y, kernel=["cosine", "rbf"])
    assert_type(both, dict[str, NDArray[np.float64]])
    assert_type(cka(k, both["rbf"]), float)
    return matched_similarity(x[0], y[0]).score + float(matched_similarity([[1.0]], [[2.0]]))


try:
    build(["photos"], model="efficientnet-lite0")
except semret.SemretError as error:
    print(error)
"""

STAR = """
from semret import *

with open("notes.txt", encoding="utf-8") as stream:
    print(stream.read(), open_index, __version__)
"""


@pytest.fixture
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What mypy knows of files that are as in the last run of the tests; empty where pytest keeps nothing."""
    kept = getattr(request.config, "cache", None)
    return tmp_path / "cache" if kept is None else Path(kept.mkdir("mypy"))


def test_scripts_pass_a_strict_type_checker(tmp_path: Path, cache: Path) -> None:
    # In one run: most of its time goes into what both import.
    scripts = {"script.py": SCRIPT, "star.py": STAR}
    for name, script in scripts.items():
        (tmp_path / name).write_text(script)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"]
    command += ["--config-file", "", "--cache-dir", str(cache), "--ignore-missing-imports"]
    paths = [str(tmp_path / name) for name in scripts]
    done = subprocess.run([*command, *paths], cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"no issues found in {len(scripts)} source files" in done.stdout
