"""An index in an object store is read through a cache that holds what its digests say."""

from __future__ import annotations

import pytest

import semret
from semret.errors import ArgumentError, IndexCorruptError, IndexNotFoundError, StorageError
from semret.index.location import default_index_path, find_index
from semret.index.store.elsewhere import fetch_index
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.networks import TinyBackbone
from tests.support.object_store import BUCKET, object_store, upload
from tests.support.pictures import draw_into
from tests.support.stored_rows import rows_by_path

ADDRESS = f"s3://{BUCKET}/index"
OPTIONS = SyncOptions(codec="pca8-int8", fit_from=8, commit_rows=4)


@pytest.fixture
def store(monkeypatch, tmp_path):
    """An S3 server, and a cache of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with object_store(monkeypatch) as client:
        yield client


@pytest.fixture
def index(store, tmp_path):
    """An index of twelve pictures, uploaded; the directory."""
    _grow(tmp_path, range(12))
    upload(store, tmp_path / "index", "index")
    return tmp_path / "index"


def _grow(folder, seeds):
    draw_into(folder / "photos", seeds)
    sync(folder / "index", [folder / "photos"], TinyBackbone, options=OPTIONS)


def _segments(client):
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix="index/segments/")
    return [found["Key"] for found in listed["Contents"]]


def test_an_index_elsewhere_answers_as_it_does_here(index):
    assert rows_by_path(fetch_index(ADDRESS)) == rows_by_path(index)
    with semret.open(ADDRESS) as there, semret.open(index) as here:
        for id_ in here.collection.ids.tolist():
            assert [(hit.id, hit.score) for hit in there.query(id_, k=5).hits] == [
                (hit.id, hit.score) for hit in here.query(id_, k=5).hits
            ]


def test_it_is_fetched_once(store, index, tmp_path):
    first = fetch_index(ADDRESS)
    for key in _segments(store):
        store.delete_object(Bucket=BUCKET, Key=key)
    assert fetch_index(ADDRESS + "/") == first
    assert find_index(ADDRESS) == first


def test_of_a_new_state_what_is_new_is_fetched(store, index, tmp_path):
    former = fetch_index(ADDRESS)
    old = _segments(store)
    _grow(tmp_path, range(12, 20))
    upload(store, index, "index")
    for key in old:
        store.delete_object(Bucket=BUCKET, Key=key)
    assert rows_by_path(fetch_index(ADDRESS)) == rows_by_path(index)
    assert not former.exists()


def test_a_state_that_is_read_stays(store, index, tmp_path):
    with semret.open(ADDRESS) as engine:
        before = [hit.id for hit in engine.query(1, k=3).hits]
        _grow(tmp_path, range(12, 20))
        upload(store, index, "index")
        assert len(rows_by_path(fetch_index(ADDRESS))) == 20
        assert [hit.id for hit in engine.query(1, k=3).hits] == before


def test_what_is_not_as_the_index_says_is_refused(store, index):
    key = _segments(store)[0]
    raw = bytearray(store.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    raw[len(raw) // 2] ^= 1
    store.put_object(Bucket=BUCKET, Key=key, Body=bytes(raw))
    with pytest.raises(IndexCorruptError, match=r"000001\.h5 is damaged: its digest is another"):
        fetch_index(ADDRESS)
    store.delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(IndexCorruptError, match=r"000001\.h5 is missing"):
        fetch_index(ADDRESS)
    store.put_object(Bucket=BUCKET, Key="index/catalog.sqlite", Body=b"x" * 5000)
    with pytest.raises(IndexCorruptError, match=f"{ADDRESS}/catalog.sqlite is damaged.*copy the index there again"):
        fetch_index(ADDRESS)


def test_where_there_is_no_index_it_is_said(store):
    with pytest.raises(IndexNotFoundError, match=f"{ADDRESS} is no index"):
        semret.open(ADDRESS)


def test_a_store_that_does_not_answer_is_told_in_one_line(store, index, monkeypatch):
    import fsspec

    fsspec.get_filesystem_class("s3").clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match=f"cannot read {ADDRESS}/state.json"):
        fetch_index(ADDRESS)


def test_what_needs_a_folder_refuses_an_address(store):
    with pytest.raises(ArgumentError, match=r"is written by semret index .* alone; do this in a folder"):
        default_index_path(ADDRESS)
