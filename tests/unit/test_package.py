"""What importing the package does, and what it must not do."""

import builtins
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import semret

HEAVY = "torch", "faiss", "numba", "h5py", "transformers", "timm", "open_clip", "ortools", "matplotlib"


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


def test_importing_semret_loads_nothing_heavy():
    assert loaded_after("import semret") == set()


def test_help_loads_nothing_heavy():
    statement = (
        "from typer.testing import CliRunner; from semret.cli import app; r = CliRunner().invoke(app, ['--help']);"
        "assert r.exit_code == 0 and 'query' in r.stdout, r.output"
    )
    assert loaded_after(statement) == set()


def test_indexing_and_a_new_picture_load_neither_torch_nor_a_model_library(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for place in ("photos/a.png", "photos/b.png", "new.png"):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / place)
    statement = (
        f"import os; os.chdir({str(tmp_path)!r}); from typer.testing import CliRunner; from semret.cli import app;"
        "index = CliRunner().invoke(app, ['index', 'photos']); query = CliRunner().invoke(app, ['query', 'new.png']);"
        "assert index.exit_code == 0 and 'a.png' in query.stdout, index.output + query.output"
    )
    assert loaded_after(statement) & {"torch", "timm", "transformers", "open_clip", "ortools", "matplotlib"} == set()


def test_the_check_above_can_fail():
    assert loaded_after("import h5py") == {"h5py"}


@pytest.mark.parametrize("name", [name for name in semret.__all__ if name != "__version__"])
def test_every_public_name_loads_and_is_documented(name):
    assert getattr(semret, name).__doc__


def test_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = semret.nonsense


def test_dir_lists_the_public_names():
    assert set(semret.__all__) <= set(dir(semret))


def test_every_name_that_loads_is_listed_or_the_alias():
    assert {*semret.__all__, "open"} == {*semret._EXPORTS, "__version__"}
    assert semret.open is semret.open_index


def test_a_star_import_replaces_nothing_of_python():
    names: dict[str, object] = {}
    exec("from semret import *", names)
    assert not set(dir(builtins)) & (set(names) - {"__builtins__"} - {name for name in names if name[:2] == "__"})
    assert names["open_index"] is semret.open_index
