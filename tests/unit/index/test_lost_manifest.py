"""What has lost its manifest is the index that is meant all the same: an index above it is not taken in its place."""

from __future__ import annotations

import os
import shutil

import pytest

from semret.errors import IndexCorruptError, IndexNotFoundError, SemretError
from semret.index.care.repair import repair
from semret.index.care.verify import find_damaged_index, verify
from semret.index.collection import open_collection
from semret.index.location import default_index_path, find_index
from semret.index.sync.sync import sync


@pytest.fixture
def inner(tiny_index, monkeypatch):
    """An index that has lost its manifest, in a folder below that of a sound one; the folder is current."""
    folder = tiny_index.parent / "inner"
    shutil.copytree(tiny_index, folder / ".semret")
    (folder / ".semret" / "manifest.json").unlink()
    monkeypatch.delenv("SEMRET_INDEX", raising=False)
    monkeypatch.chdir(folder)
    return folder / ".semret"


@pytest.mark.parametrize("start", [None, "index", "folder"])
def test_the_damaged_index_is_meant_and_no_other(inner, start):
    start = {"index": inner, "folder": inner.parent}.get(start)
    assert find_index(start) == find_damaged_index(start) == inner
    with pytest.raises(SemretError, match=r"manifest.*verify --repair"):
        open_collection(find_index(start))
    assert not verify(find_damaged_index(start)).sound
    repair(find_damaged_index(start))
    assert verify(inner).sound


def test_a_manifest_that_is_no_file_is_a_damaged_one(inner):
    os.mkfifo(inner / "manifest.json")
    assert find_index(inner) == find_index() == inner
    with pytest.raises(SemretError, match=r"manifest\.json"):
        open_collection(inner)


def test_pictures_are_not_put_into_an_index_above(inner, photos, tiny_backbone):
    assert default_index_path() == inner
    with pytest.raises(IndexCorruptError, match="holds segments but no manifest"):
        sync(default_index_path(), [photos], tiny_backbone)


def test_the_beginning_of_an_index_is_none_yet(inner):
    for file in (inner / "segments").iterdir():
        file.unlink()
    assert find_index() == inner.parent.parent / ".semret"
    with pytest.raises(IndexNotFoundError):
        find_index(inner / "nowhere")
