"""Object stores, and pictures to index."""

import pytest

from tests.support.pictures import draw_into


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """A cache of this test; its folder. It lies below the root of what is indexed, too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def memory(cache):
    """A store in the memory of this process, which creates objects on condition; its files by their paths."""
    fs = pytest.importorskip("fsspec").filesystem("memory")

    def clear():
        fs.store.clear()
        fs.pseudo_dirs[:] = [""]

    clear()
    yield fs.store
    clear()


@pytest.fixture
def pictures(tmp_path):
    """A folder of twelve pictures."""
    draw_into(tmp_path / "photos", range(12))
    return tmp_path / "photos"
