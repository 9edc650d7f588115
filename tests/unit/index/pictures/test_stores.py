"""Pictures in stores of all kinds keep the address that they were asked for at."""

from __future__ import annotations

import io
import tarfile

import pytest

from semret import paths
from semret.errors import ImageDecodeError, ImageSearchError
from semret.index.care.maintain import remove
from semret.index.care.verify import verify
from semret.index.collection import open_collection
from semret.index.pictures.exclusion import Exclusions
from semret.index.pictures.remote import expand, find_remote
from semret.index.pictures.sources import is_address, read_source
from semret.index.pictures.stores import reason
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.networks import TinyBackbone
from tests.support.pictures import draw

pytest.importorskip("fsspec")
from tests.support.stores import Azure, AzureError, Google, store


def _png(seed):
    stream = io.BytesIO()
    draw(seed).save(stream, "png")
    return stream.getvalue()


def _shard(seeds):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for seed in seeds:
            member = tarfile.TarInfo(f"{seed}.png")
            member.size = len(_png(seed))
            tar.addfile(member, io.BytesIO(_png(seed)))
    return stream.getvalue()


@pytest.fixture(params=[(Azure, "az"), (Azure, "abfss"), (Google, "gs"), (Google, "gcs")])
def photos(request):
    """A store with six pictures, two of them in a shard; the store, and the address of the container."""
    kind, scheme = request.param
    with store(kind) as fs:
        for seed in range(3):
            fs.pipe_file(f"container/photos/{seed}.png", _png(seed))
        fs.pipe_file("container/photos/below/3.png", _png(3))
        fs.pipe_file("container/photos/000.tar", _shard((4, 5)))
        yield fs, f"{scheme}://container"


def _paths(index):
    with open_collection(index) as collection:
        return sorted(collection.paths(collection.ids))


def _sync(index, *addresses):
    return sync(index, addresses, TinyBackbone, options=SyncOptions(codec="none"))


def test_they_are_kept_up_to_date_under_the_scheme_that_was_given(photos, tmp_path):
    fs, container = photos
    top = f"{container}/photos"
    assert _sync(tmp_path, top).added == 6
    names = ["0.png", "000.tar/4.png", "000.tar/5.png", "1.png", "2.png", "below/3.png"]
    assert _paths(tmp_path) == [f"{top}/{name}" for name in names]
    assert _sync(tmp_path, top).unchanged == 6
    fs.rm_file("container/photos/1.png")
    fs.pipe_file("container/photos/2.png", _png(9))
    report = _sync(tmp_path, top)
    assert (report.removed, report.updated, report.unchanged) == (1, 1, 4)
    assert verify(tmp_path, files=True).sound
    assert remove(tmp_path, [f"{top}/000.tar"]).removed == 2
    assert _paths(tmp_path) == [f"{top}/{name}" for name in ("0.png", "2.png", "below/3.png")]


def test_patterns_stand_for_addresses_of_the_scheme_that_was_given(photos):
    fs, container = photos
    fs.pipe_file("container/photos/001.tar", _shard((6,)))
    shards = [f"{container}/photos/{number}.tar" for number in ("000", "001")]
    assert expand(f"{container}/photos/*.tar") == shards
    assert [found.path for found in find_remote(shards[1], Exclusions(()))] == [f"{shards[1]}/6.png"]


def test_the_account_in_an_address_stays_in_it():
    with store(Azure) as fs:
        fs.pipe_file("container/photos/0.png", _png(0))
        fs.pipe_file("container/photos/000.tar", _shard((1,)))
        top = "az://container@account.dfs.core.windows.net"
        found = [found.path for found in find_remote(top, Exclusions(()))]
        assert sorted(found) == [f"{top}/photos/0.png", f"{top}/photos/000.tar/1.png"]


def test_a_query_may_lie_there(photos):
    _, container = photos
    assert read_source(f"{container}/photos/0.png") == _png(0)
    assert read_source(f"{container}/photos/000.tar/5.png") == _png(5)
    with pytest.raises(ImageDecodeError, match=rf"^{container}/photos/7.png: is not there$"):
        read_source(f"{container}/photos/7.png")
    with pytest.raises(ImageDecodeError, match=r"^nothing://here/7.png is no address that can be read: "):
        read_source("nothing://here/7.png")


def test_addresses_are_told_alike_for_queries_and_pictures():
    for tell in (is_address, paths.is_address):
        assert not tell("c://photos/1.png")
        assert tell("S3://container/1.png")


def test_where_nothing_is_it_is_said():
    with store(Google), pytest.raises(ImageSearchError, match=r"^there is nothing at gs://nowhere/\*.tar; give"):
        expand("gs://nowhere/*.tar")


def test_failures_are_told_in_a_short_line(tmp_path, monkeypatch):
    text = "Server failed to authenticate the request."
    assert reason(AzureError(text)) == text
    assert reason(OSError("\n RequestId:1")) == "RequestId:1"

    def refuse(*_, **__):
        raise AzureError(text)

    monkeypatch.setattr(Azure, "info", refuse)
    with store(Azure), pytest.raises(ImageSearchError) as caught:
        _sync(tmp_path / "index", "az://container/photos")
    assert str(caught.value) == f"az://container/photos cannot be listed: {text}"


@pytest.mark.parametrize("error", [PermissionError, AzureError])
def test_a_folder_below_that_cannot_be_listed_ends_the_run(photos, tmp_path, monkeypatch, error):
    fs, container = photos
    _sync(tmp_path, f"{container}/photos")
    ls = type(fs).ls

    def refuse(self, path, **options):
        if "below" in path:
            raise error("refused")
        return ls(self, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(fs), "ls", refuse)
        fs.pipe_file("container/photos/below/6.png", _png(6))
        with pytest.raises(ImageSearchError, match=rf"^{container}/photos cannot be listed: refused$"):
            _sync(tmp_path, f"{container}/photos")
    assert len(_paths(tmp_path)) == 6
    assert _sync(tmp_path, f"{container}/photos").added == 1


def test_a_folder_that_vanishes_meanwhile_is_an_empty_one(photos, monkeypatch):
    fs, container = photos
    ls = type(fs).ls

    def vanish(self, path, **options):
        if "below" in path:
            raise FileNotFoundError(path)
        return ls(self, path, **options)

    monkeypatch.setattr(type(fs), "ls", vanish)
    found = [found.path for found in find_remote(f"{container}/photos", Exclusions(()))]
    assert len(found) == 5


@pytest.mark.parametrize("scheme", ["az", "gs"])
def test_a_whole_account_is_not_indexed(scheme, tmp_path):
    with (
        store(Azure),
        store(Google),
        pytest.raises(ImageSearchError, match=f"^{scheme}:// names no bucket or container;"),
    ):
        list(find_remote(f"{scheme}://", Exclusions(())))


@pytest.mark.parametrize("error", [ValueError, RuntimeError])
def test_an_account_that_is_not_found_is_no_wrong_address(error, tmp_path, monkeypatch):
    with store(Azure):
        monkeypatch.setattr(Azure, "__init__", lambda *_, **__: (_ for _ in ()).throw(error("no account is named")))
        with pytest.raises(ImageSearchError, match=r"^az://container/photos cannot be opened: no account is named$"):
            _sync(tmp_path / "index", "az://container/photos")
