from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from semret.errors import ShapeError
from semret.retrieval import native
from semret.retrieval.matching import match
from semret.retrieval.native import Native
from semret.retrieval.native import code_files as store
from tests.support.places import ROOT

AFFINITY = np.array([[3, 2, 1], [2, 0, 1], [1, 1, 0]], dtype=np.float32)


def row_products() -> Native:
    """Return a kernel that has not been called yet, and is quick to compile."""
    return Native("semret.retrieval.similarity.product_loops", "row_products")


def call(kernel: Native) -> list[float]:
    rows = np.array([[1, 2], [3, 4]], dtype=np.float32)
    out = np.empty(2)
    kernel(rows, rows, np.array([1, -1]), out)
    return out.tolist()


@pytest.fixture
def folder(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(native, "_announced", False)
    return tmp_path / "semret"


@pytest.fixture
def compilations(caplog):
    """Return a function that counts the kernels compiled so far, by the announcement of each."""
    caplog.set_level(logging.WARNING, logger="semret")

    def count() -> int:
        native._announced = False
        return sum("compiling" in record.message for record in caplog.records)

    return count


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_machine_code_of_one_kernel_serves_the_next(folder, compilations):
    assert call(row_products()) == [11.0, 0.0]
    assert compilations() == 1
    assert call(row_products()) == [11.0, 0.0]
    assert compilations() == 1
    assert only_file(folder).name.startswith("row_products-f4x2-f4x2-i8x1-f8x1.")


def flip_last(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def flip_first(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


def cut(content: bytes) -> bytes:
    return content[:100]


def empty(content: bytes) -> bytes:
    return content[:0]


@pytest.mark.parametrize("damage", [flip_first, flip_last, cut, empty])
def test_damaged_machine_code_is_ignored_and_made_anew(folder, compilations, damage):
    call(row_products())
    assert compilations() == 1
    file = only_file(folder)
    file.write_bytes(damage(file.read_bytes()))
    assert call(row_products()) == [11.0, 0.0]
    assert compilations() == 2
    assert call(row_products()) == [11.0, 0.0]
    assert compilations() == 2


def test_machine_code_for_another_processor_is_not_used(folder, compilations, monkeypatch):
    import llvmlite.binding as llvm

    call(row_products())
    assert compilations() == 1
    monkeypatch.setattr(llvm, "get_host_cpu_name", lambda: "another")
    store._environment.cache_clear()
    try:
        call(row_products())
    finally:
        store._environment.cache_clear()
    assert compilations() == 2
    assert len(list(folder.iterdir())) == 2


def test_a_file_under_the_name_of_another_is_not_used(folder):
    code = store.Code(symbol="f", machine_code=b"code")
    one, other = store.identity("one"), store.identity("other")
    assert store.write(folder, "one", one, code)
    assert store.read(folder, "one", one) == code
    only_file(folder).rename(folder / store._file_name("other", other))
    assert store.read(folder, "other", other) is None


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
@pytest.mark.parametrize("of", ["folder", "file"])
def test_what_everybody_can_write_is_not_trusted(folder, compilations, of):
    call(row_products())
    assert compilations() == 1
    (folder if of == "folder" else only_file(folder)).chmod(0o777)
    assert call(row_products()) == [11.0, 0.0]
    assert compilations() == 2


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_what_belongs_to_another_user_is_not_trusted(folder, monkeypatch):
    code, identity = store.Code(symbol="f", machine_code=b"code"), store.identity("one")
    assert store.write(folder, "one", identity, code)
    owner = folder.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert store.read(folder, "one", identity) == (code if owner == 0 else None)


def test_without_a_place_to_keep_it_a_kernel_works_all_the_same(tmp_path, monkeypatch, compilations):
    blocker = tmp_path / "file"
    blocker.write_text("no folder")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocker))
    compilations()
    assert call(row_products()) == [11.0, 0.0]
    assert compilations() == 1


def test_an_array_that_is_not_contiguous_is_refused():
    rows = np.zeros((4, 4), dtype=np.float32)[:, ::2]
    with pytest.raises(ShapeError, match="row_products got an array of strides"):
        row_products()(rows, rows, np.zeros(4, dtype=np.int64), np.zeros(4))


COLD = """
import sys, json, numpy as np
from semret.retrieval.similarity import coarse
from semret.retrieval.similarity import products
from semret.integer_tokens import IntegerTokens
from semret.retrieval.matching import AuctionBatch, match
from semret.retrieval.native import Native
from semret.retrieval.search.options import RerankOptions
from semret.retrieval.search.candidates import InMemoryTokens, Query
from semret.retrieval.search.rerank import rerank

tokens = np.random.default_rng(0).normal(size=(40, 9, 6)).astype(np.float16)
wide = tokens.astype(np.float64)
found = rerank(Query(tokens=tokens[7]), InMemoryTokens(tokens), RerankOptions(k=3))
query = coarse.quantise_query(wide[0])
for dtype in (np.float16, np.float32):
    coarse.coarse_affinities(query, coarse.quantise_maps(tokens.astype(dtype), None))
    coarse.coarse_affinities(query, tokens.astype(dtype))
for dtype in (np.float32, np.float64):
    batch = AuctionBatch(wide[:, :, :5].astype(dtype))
    batch.tighten("sweep")
    batch.solve()
    products.squares(tokens.astype(dtype))
match(wide[0], solver="greedy", row_norms=np.arange(9.0), column_norms=np.arange(6.0))
whole = IntegerTokens(integers=(20 * tokens).astype(np.int8), scales=np.ones((40, 9)))
for invariance in ("permutation", "maxsim"):
    rerank(Query(tokens=whole[[7]]), InMemoryTokens(whole), RerankOptions(k=3, invariance=invariance))
modules = [module for name, module in sys.modules.items() if name.startswith("semret")]
kernels = {one for module in modules for one in vars(module).values() if isinstance(one, Native)}
heavy = [name for name in ("numba", "torch", "scipy", "faiss") if name in sys.modules]
called = [kernel.name for kernel in kernels if kernel._functions]
print(json.dumps([heavy, sorted(called), found.rows.tolist(), found.solved, found.scores.tolist()]))
"""


def declared_kernels() -> set[str]:
    """The names of all kernels, wherever in the package they are made."""
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "semret").rglob("*.py")]
    return {name for source in sources for name in re.findall(r"= Native\([^()]*\"(\w+)\"\)", source)}


def test_a_cold_process_needs_no_compiler_for_any_kernel():
    def run() -> list:
        done = subprocess.run([sys.executable, "-c", COLD], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    run()  # compiles, unless that is done
    heavy, called, rows, solved, scores = run()
    assert heavy == []
    assert called == sorted(declared_kernels())
    assert rows[0] == 7
    assert solved < 40
    assert scores[0] == 1.0


def test_linked_code_computes_what_compiled_code_does(folder):
    generator = np.random.default_rng(1)
    a, b = generator.normal(size=(2, 40, 100)).astype(np.float32)
    pairs = generator.permutation(40)
    compiled, linked = np.empty(40), np.empty(40)
    row_products()(a, b, pairs, compiled)
    row_products()(a, b, pairs, linked)
    np.testing.assert_array_equal(compiled, linked)
    np.testing.assert_allclose(linked, (a.astype(np.float64) * b[pairs]).sum(axis=1), rtol=1e-12)


def test_the_announcement_comes_once(folder, caplog):
    with caplog.at_level(logging.WARNING, logger="semret"):
        row_products()(AFFINITY, AFFINITY, np.arange(3), np.empty(3))
        wide = AFFINITY.astype(np.float64)
        row_products()(wide, wide, np.arange(3), np.empty(3))
    assert [record.message for record in caplog.records] == [
        "compiling the matching solvers; this happens once per installation and takes some seconds"
    ]


def test_nothing_is_announced_when_machine_code_is_on_disk(monkeypatch, caplog):
    match(AFFINITY)
    monkeypatch.setattr(native, "_announced", False)
    with caplog.at_level(logging.WARNING, logger="semret"):
        match(AFFINITY)
    assert not caplog.records


def test_a_numba_with_other_internals_serves_too(folder, monkeypatch):
    from semret.retrieval.native import emit

    def changed(*_: object) -> None:
        raise AttributeError("'CompileResult' object has no attribute 'fndesc'")

    monkeypatch.setattr(emit, "compile_kernel", changed)
    kernel = row_products()
    assert call(kernel) == [11.0, 0.0]
    assert call(kernel) == [11.0, 0.0]
    assert not folder.exists() or not list(folder.iterdir())


SOLVE = """
import logging
logging.basicConfig(format="semret: %(message)s")
import numpy as np
from semret.retrieval.matching import match
affinity = np.random.default_rng(0).normal(size=(9, 12)).astype(np.float32)
norms = {"row_norms": np.arange(9.0), "column_norms": np.arange(12.0)}
print([match(affinity, solver=name, **norms).value for name in ("auction", "greedy", "identity")])
"""


PRODUCTS = """
import logging
logging.basicConfig(format="semret: %(message)s")
import numpy as np
from semret.retrieval.native import Native
for dtype in (np.float32, np.float64):
    rows, out = np.array([[1, 2], [3, 4]], dtype=dtype), np.empty(2)
    Native("semret.retrieval.similarity.product_loops", "row_products")(rows, rows, np.array([1, -1]), out)
    print(out.tolist())
"""
"""Compiles two kernels, as `SOLVE` compiles several, those that take the least time."""


@pytest.fixture(scope="module")
def solved() -> str:
    """What `SOLVE` prints where everything is as usual."""
    return subprocess.run([sys.executable, "-c", SOLVE], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def installation(tmp_path) -> tuple[Path, dict[str, str]]:
    """A copy of the package in which nothing can be kept, not even by root, and an environment that runs it."""
    package = tmp_path / "site" / "semret"
    shutil.copytree(Path(native.__file__).parents[2], package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [package, *(path for path in package.rglob("*") if path.is_dir())]:
        (folder / "__pycache__").write_text("no folder")
    environment = {key: value for key, value in os.environ.items() if key not in ("NUMBA_CACHE_DIR", "HOME")}
    environment |= {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    return package, environment


HOMELESS = """
import pwd
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
"""


def start(environment: dict[str, str], folder: Path, program: str = SOLVE) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder,
    )


@pytest.mark.skipif(os.name != "posix", reason="HOME and XDG_CACHE_HOME are POSIX")
@pytest.mark.parametrize("case", ["file instead of a cache", "no home", "another's cache"])
def test_where_nothing_can_be_kept_kernels_are_compiled_in_memory_and_that_is_said_once(
    installation, tmp_path, solved, case
):
    package, environment = installation
    cache, work = tmp_path / "cache", tmp_path / "work"
    work.mkdir()
    environment["XDG_CACHE_HOME"] = str(cache)
    if case == "file instead of a cache":
        cache.write_text("no folder")
    elif case == "another's cache":
        (cache / "semret").mkdir(parents=True)
        (cache / "semret").chmod(0o777)  # to be trusted as little as one that belongs to somebody else
    else:
        del environment["XDG_CACHE_HOME"]
    # All solvers once; where they would be kept is the same for any kernel.
    program, expected = (SOLVE, solved) if case == "file instead of a cache" else (PRODUCTS, 2 * "[11.0, 0.0]\n")
    # A user whom the system does not know either has no home folder at all: "~" stays as it is.
    run = start(environment, work, HOMELESS + program if case == "no home" else program)
    out, said = run.communicate(timeout=120)
    assert (run.returncode, out) == (0, expected)
    assert said.count("\n") == 1, said
    assert said.startswith("semret: compiling the matching solvers in memory")
    assert str(package / "retrieval" / "native" / "__pycache__") in said
    assert not list(work.iterdir())
    assert not cache.is_dir() or not list((cache / "semret").iterdir())


def test_two_processes_at_once_compile_side_by_side_and_leave_one_set_of_files(installation, tmp_path):
    _, environment = installation
    cache = tmp_path / "cache"
    environment["XDG_CACHE_HOME"] = environment["HOME"] = str(cache)
    if sys.platform == "darwin":
        cache = cache / "Library" / "Caches"
    for _ in range(2):
        runs = [start(environment, tmp_path, PRODUCTS) for _ in range(2)]
        for run in runs:
            out, said = run.communicate(timeout=120)
            assert (run.returncode, out) == (0, 2 * "[11.0, 0.0]\n"), said
    assert said == ""
    titles = [file.name.split(".")[0] for file in (cache / "semret").iterdir()]
    assert len(titles) == len(set(titles)) == 2
    assert all(file.suffix == ".o" for file in (cache / "semret").iterdir())
