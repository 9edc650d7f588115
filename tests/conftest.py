"""Shared by all tests: a small backbone that keeps the real contract, and pictures."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Containers often set it: then each of the hundreds of processes that are started here compiles the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
if not Path("/dev/nvidiactl").exists():
    # Without a card, kernels are interpreted on the processor; Triton asks when it is imported first.
    os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest

from tests.support.clocks import Ticks
from tests.support.networks import TinyBackbone
from tests.support.pictures import draw, draw_into

CLUSTER = "tests/cluster/"
LONG = (
    CLUSTER,
    "tests/unit/test_docs.py",
    "tests/unit/test_typing.py",
    "tests/unit/test_notebook.py",
    "tests/unit/test_current_folder.py",
)
"""Files of few and long tests. They come first: begun last, one would run alone while the other process has ended."""


IN_MEMORY, LEAST_ROOM = Path("/dev/shm"), 4 * 2**30
"""Where temporary folders are if so many bytes are free: thousands of small indexes are written through to the disk,
which takes longer than making them. What a killed process leaves is the same: it does not take the kernel with it."""


def pytest_configure(config):
    """Keep what is compiled of tests, for each process of xdist collects all of them; choose the temporary folder."""
    sys.dont_write_bytecode = False
    removed = config.getini("tmp_path_retention_policy") != "all"  # else folders of three runs would stay in memory
    if removed and IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free >= LEAST_ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))


def pytest_collection_modifyitems(items):
    """Put long files first; otherwise the order stays."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep the tests of a file, and all that need a Ray cluster, in one process: what they share is made once."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return CLUSTER if file.startswith(CLUSTER) else file

    # In the order of the tests, see `LONG`: xdist would begin with the files of most tests, which are quick ones.
    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture(scope="session")
def tiny_backbone():
    """The class, for tests that make networks of their own: ``tiny_backbone(name, seed, scale)``."""
    return TinyBackbone


@pytest.fixture(scope="session")
def draw_picture():
    """The function `draw`: ``draw_picture(seed)`` gives a PIL picture."""
    return draw


@pytest.fixture
def ticks(monkeypatch):
    """The clock of this test, a `Ticks`: stages that are measured with it overlap, or do not, on any machine."""
    clock = Ticks()
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


@pytest.fixture(scope="session")
def photos_and_index(tmp_path_factory):
    """A folder with `photos` and `tiny_index`, which are copied: they are made once for hundreds of tests."""
    from semret.index.sync.sync import sync

    folder = tmp_path_factory.mktemp("tiny")
    draw_into(folder / "photos", range(6))
    sync(folder / ".semret", [folder / "photos"], TinyBackbone)
    return folder


@pytest.fixture
def photos(tmp_path, photos_and_index):
    """A folder of six pictures, ``0.png`` to ``5.png``."""
    return Path(shutil.copytree(photos_and_index / "photos", tmp_path / "photos"))


@pytest.fixture
def tiny_index(tmp_path, photos, photos_and_index):
    """An index of `photos` made with the tiny backbone; its directory."""
    return Path(shutil.copytree(photos_and_index / ".semret", tmp_path / ".semret"))


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """A folder of twelve rendered pictures: three scenes of four arrangements, ``scene-001-1.jpg`` and so on."""
    from semret.eval.scenes.collection import render_collection

    folder = tmp_path_factory.mktemp("rendered") / "photos"
    render_collection(folder, 12, seed=1)
    return folder


@pytest.fixture(scope="session")
def rendered_index(rendered):
    """An index of `rendered` by the real default network at a small input size (16 tokens); its directory."""
    from semret.index.backbones.registry import create_backbone
    from semret.index.sync.sync import sync

    index = rendered.parent / ".semret"
    sync(index, [rendered], lambda: create_backbone(size=(128, 128)))
    return index


@pytest.fixture(scope="session")
def faults():
    """A `Faults`: ``faults("sync", index, [folder], kill_at=3)``."""
    from tests.support.fault_driver import Faults

    runner = Faults()
    yield runner
    runner.close()


@pytest.fixture(scope="session")
def index_contents():
    """The function `contents_of`."""
    from tests.support.indexes import contents_of

    return contents_of
