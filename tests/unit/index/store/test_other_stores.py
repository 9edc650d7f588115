"""An index in a store for Azure or Google: what the packages for them do differently, and what they cannot do."""

from __future__ import annotations

import pytest

import semret
from semret.errors import ArgumentError, StorageError
from semret.index.care.verify import find_damaged_index, verify
from semret.index.collection import open_collection
from semret.index.location import find_index
from semret.index.store.cache import known_as
from semret.index.store.elsewhere import fetch_index
from semret.index.store.object_folder import ObjectFolder
from semret.index.summary import summarise
from tests.support.addresses import MEMORY, compact_at, remove_at, sync_at
from tests.support.stored_rows import rows_by_path

pytest.importorskip("fsspec")
from tests.support.stores import OBJECTS, Azure, Google, OldGoogle, store

_BOTH = pytest.mark.parametrize(("kind", "address"), [(Azure, "az://index/one"), (Google, "gs://index/one")])


@_BOTH
def test_an_index_is_written_there_as_in_a_folder(kind, address, cache, pictures, tmp_path):
    with store(kind):
        for index in (address, tmp_path / "index"):
            assert sync_at(index, pictures).added == 12
            assert remove_at(index, pictures / "3.png").removed == 1
            assert compact_at(index).dropped == 1
        assert rows_by_path(fetch_index(address)) == rows_by_path(tmp_path / "index")
        assert "index/one/writer.lock" not in OBJECTS


@_BOTH
def test_a_container_that_is_not_there_is_told_in_a_line(kind, address, cache, pictures):
    address = address.replace("index/", "nowhere/")
    with store(kind), pytest.raises(StorageError) as caught:
        sync_at(address, pictures)
    what = {Azure: "The container nowhere does not exist.", Google: "there is no such bucket or container"}[kind]
    assert str(caught.value) == f"cannot create {address}/writer.lock: {what}"


def test_a_package_that_creates_nothing_on_condition_is_refused(cache, pictures):
    with store(OldGoogle):
        with pytest.raises(ArgumentError, match="the package for it here, has no put"):
            sync_at("gs://index/one", pictures)
        assert not OBJECTS


def test_an_index_that_was_fetched_is_called_by_its_address(memory, pictures, tmp_path):
    sync_at(MEMORY, pictures)
    folder = find_index(MEMORY)
    assert known_as(folder) == MEMORY
    with open_collection(folder) as collection:
        assert collection.name == MEMORY
        assert summarise(collection).index == MEMORY
    assert verify(find_damaged_index(MEMORY)).index == MEMORY
    with (
        semret.open(MEMORY) as engine,
        pytest.raises(ArgumentError, match=f"the index {MEMORY} has no image with id 99"),
    ):
        engine.query(99)
    remove_at(MEMORY, pictures / "1.png")
    assert known_as(find_index(MEMORY)) == MEMORY


def test_a_folder_is_called_by_its_path_whatever_lies_beside_it(memory, pictures, tmp_path):
    sync_at(MEMORY, pictures)
    address = find_index(MEMORY).parent / "address"
    for folder in (tmp_path / "index", tmp_path / ("0" * 64) / "index"):
        sync_at(folder, pictures)
        (folder.parent / "address").write_bytes(address.read_bytes())
        with open_collection(folder) as collection:
            assert collection.name == str(folder)
    address.write_bytes(b"s3://another/index")
    assert known_as(find_index(MEMORY)) == str(find_index(MEMORY))


def test_a_cache_that_cannot_say_whose_it_is_is_read_all_the_same(memory, pictures, cache):
    sync_at(MEMORY, pictures)
    address = find_index(MEMORY).parent / "address"
    address.unlink()
    address.mkdir()
    assert known_as(find_index(MEMORY)) == str(find_index(MEMORY))
    assert ObjectFolder(MEMORY).read("state.json", 2**25) is not None
