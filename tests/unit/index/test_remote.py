"""Pictures at addresses are indexed, shown and checked as files are."""

from __future__ import annotations

import functools
import http.server
import os
import pathlib
import tarfile
import threading

import numpy as np
import pytest

from semret.errors import ImageDecodeError, ImageSearchError, MissingDependencyError
from semret.index.care.maintain import remove
from semret.index.care.verify import verify
from semret.index.collection import open_collection
from semret.index.pictures.contents import read_content
from semret.index.pictures.exclusion import Exclusions
from semret.index.pictures.files import MAX_BYTES
from semret.index.pictures.find import FoundImage, LeftOut, SkippedPath
from semret.index.pictures.remote import expand, find_remote, read_remote, split_shard
from semret.index.store.root import Root
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from semret.paths import is_address
from tests.support.networks import TinyBackbone
from tests.support.pictures import LONG_AGO, age, draw, draw_into

_NOT_IN_PARTS = "is in a tar file that is not sent in parts; unpack it, or copy it to another store"


def _shard(path, seeds):
    """Write a tar file of pictures, each with what belongs to it, as WebDataset has them."""
    with tarfile.open(path, "w") as tar:
        for seed in seeds:
            draw(seed).save(path.with_name(f"{seed}.png"))
            path.with_name(f"{seed}.json").write_text("{}")
            for ending in ("png", "json"):
                tar.add(path.with_name(f"{seed}.{ending}"), f"./{seed}.{ending}")
                path.with_name(f"{seed}.{ending}").unlink()


@pytest.fixture
def elsewhere(tmp_path):
    """A folder with pictures, a shard and other things; its address begins with ``file://``."""
    folder = tmp_path / "elsewhere"
    draw_into(folder, range(4))
    draw_into(folder / "below", [4])
    (folder / "below" / "empty.png").touch()
    (folder / "below" / "notes.md").write_text("no picture")
    (folder / "film.mp4").write_bytes(b"film")
    (folder / ".hidden.png").write_bytes(b"hidden")
    _shard(folder / "000.tar", range(10, 13))
    age(folder)
    return folder


def test_what_lies_below_an_address_is_found(elsewhere):
    address = f"file://{elsewhere}"
    entries = list(find_remote(address, Exclusions()))
    found = sorted(entry.path for entry in entries if isinstance(entry, FoundImage))
    names = ["0.png", *[f"000.tar/{seed}.png" for seed in (10, 11, 12)], "1.png", "2.png", "3.png", "below/4.png"]
    assert found == [f"{address}/{name}" for name in names]
    assert {entry.mtime_ns for entry in entries if isinstance(entry, FoundImage)} == {LONG_AGO * 10**9}
    assert [entry for entry in entries if isinstance(entry, SkippedPath)] == [
        SkippedPath(f"{address}/below/empty.png", "is empty")
    ]
    assert [entry.kind for entry in entries if isinstance(entry, LeftOut)] == ["video"]


def test_an_index_of_addresses_is_that_of_the_files(elsewhere, tmp_path):
    shard = elsewhere / "000.tar"
    with tarfile.open(shard) as tar:
        tar.extractall(tmp_path / "plain", filter="data")
    report = sync(tmp_path / "index", [f"file://{elsewhere}"], TinyBackbone)
    assert (report.added, len(report.skipped)) == (8, 1)
    again = sync(tmp_path / "index", [f"file://{elsewhere}"], TinyBackbone)
    assert (again.unchanged, again.embedded) == (8, 0)
    sync(tmp_path / "files", [elsewhere, tmp_path / "plain"], TinyBackbone)
    with open_collection(tmp_path / "index") as one, open_collection(tmp_path / "files") as other:
        for collection in (one, other):
            assert len(collection) == 8
        assert sorted(one.hashes(one.ids)) == sorted(other.hashes(other.ids))
        paths = one.paths(one.ids)
        hashes = dict(zip(paths, one.hashes(one.ids), strict=True))
    for path in paths:
        assert path.startswith("file:///")
        assert read_content(path).sha256 == hashes[path]
    assert verify(tmp_path / "index", files=True).sound


def test_a_hit_is_opened_where_it_lies(elsewhere, tmp_path):
    import semret

    index = tmp_path / "index"
    sync(index, [f"file://{elsewhere}"], TinyBackbone, options=SyncOptions(codec="none"))
    with semret.open(index) as engine:
        ids = engine.collection.ids.tolist()
        path = f"file://{elsewhere}/000.tar/11.png"
        chosen = ids[engine.collection.paths(ids).index(path)]
        hit = engine.query(chosen, k=1).hits[0]
    assert hit.path == path
    np.testing.assert_array_equal(np.asarray(hit.image), np.asarray(draw(11)))


def test_what_vanishes_elsewhere_is_treated_as_files_are(elsewhere, tmp_path):
    address = f"file://{elsewhere}"
    sync(tmp_path / "index", [address], TinyBackbone)
    (elsewhere / "0.png").unlink()
    (elsewhere / "000.tar").unlink()
    report = sync(tmp_path / "index", [address], TinyBackbone)
    assert (report.removed, report.kept, report.kept_in) == (1, 3, ((f"{address}/000.tar", 3),))
    remove(tmp_path / "index", [f"{address}/000.tar"])
    assert sync(tmp_path / "index", [address], TinyBackbone).images == 4


def test_a_shard_that_is_written_anew_is_read_anew(elsewhere, tmp_path):
    address = f"file://{elsewhere}/000.tar"
    sync(tmp_path / "index", [address], TinyBackbone)
    # Other places for the same names and lengths.
    _shard(elsewhere / "000.tar", [12, 11, 10, 13])
    report = sync(tmp_path / "index", [address], TinyBackbone)
    assert (report.added, report.unchanged, report.updated, report.embedded) == (1, 3, 0, 1)


def test_copies_elsewhere_are_images_of_their_own(elsewhere, tmp_path):
    address = f"file://{elsewhere}"
    sync(tmp_path / "index", [address], TinyBackbone)
    (elsewhere / "copy.png").write_bytes((elsewhere / "1.png").read_bytes())
    report = sync(tmp_path / "index", [address], TinyBackbone)
    assert (report.images, report.added, report.renamed, report.embedded) == (9, 1, 0, 0)


def test_a_list_names_addresses(elsewhere, tmp_path):
    (elsewhere / "list.txt").write_text(f"# pictures\n1.png\n\nfile://{elsewhere}/below/4.png\ngone.png\n")
    address = f"file://{elsewhere}/list.txt"
    report = sync(tmp_path / "index", [address], TinyBackbone)
    assert report.added == 2
    assert report.skipped == ((f"file://{elsewhere}/gone.png", "is not there"),)
    draw(30).save(elsewhere / "gone.png")
    report = sync(tmp_path / "index", [address], TinyBackbone)
    assert (report.unchanged, report.added, report.skipped) == (2, 1, ())


def test_patterns_leave_out_addresses(elsewhere, tmp_path):
    options = SyncOptions(exclude=("below/", "1?.png"))
    report = sync(tmp_path / "index", [f"file://{elsewhere}"], TinyBackbone, options=options)
    assert (report.added, report.excluded.files, report.excluded.folders) == (4, 3, 1)


def test_stars_stand_for_several_addresses(elsewhere):
    _shard(elsewhere / "001.tar", [14])
    assert expand(f"file://{elsewhere}/*.tar") == [f"file://{elsewhere}/{name}.tar" for name in ("000", "001")]
    with pytest.raises(ImageSearchError, match="there is nothing at"):
        expand(f"file://{elsewhere}/*.zip")


def test_paths_and_addresses_share_an_index(elsewhere, tmp_path, photos):
    sync(tmp_path / "index", [f"file://{elsewhere}/below", photos], TinyBackbone)
    with open_collection(tmp_path / "index") as collection:
        assert collection.paths(collection.ids)[-1] == f"file://{elsewhere}/below/4.png"
        assert str(photos / "0.png") in collection.paths(collection.ids)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("s3://bucket/a.jpg", True),
        ("file:///a.jpg", True),
        ("/photos/a.jpg", False),
        ("photos//a.jpg", False),
        ("c://photos", False),
        ("http:a.jpg", False),
        (pathlib.Path("s3://bucket"), False),
    ],
)
def test_addresses_are_told_from_paths(text, is_one):
    assert is_address(text) is is_one


@pytest.mark.parametrize("path", ["s3://bucket/a//b/../c.jpg", "https://host/a.jpg?size=2", "file:///a/b.jpg"])
def test_an_address_is_stored_as_it_is(tmp_path, path):
    root = Root.at(tmp_path / ".semret", tmp_path)
    assert root.to_stored(path) == path.encode()
    assert root.to_path(path.encode()) == path


@pytest.mark.parametrize(
    ("address", "shard", "member"),
    [
        ("s3://b/000.tar/a/1.jpg", "s3://b/000.tar", "a/1.jpg"),
        ("s3://b/a/1.jpg", "s3://b/a/1.jpg", None),
        ("s3://b/000.tar", "s3://b/000.tar", None),
    ],
)
def test_shards_are_told_from_their_members(address, shard, member):
    assert split_shard(address) == (shard, member)


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("missing.png", 10, "is not there"),
        ("000.tar/99.png", 10, "is not in its tar file any more"),
        ("0.png", MAX_BYTES + 1, f"has {MAX_BYTES + 1} bytes, more than the limit of {MAX_BYTES}"),
        ("below/empty.png", -1, "is empty"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(elsewhere, name, size, reason):
    path = f"file://{elsewhere}/{name}"
    with pytest.raises(ImageDecodeError) as caught:
        read_remote(FoundImage(path, size, 0))
    assert str(caught.value) == f"{path}: {reason}"


def test_what_cannot_be_found_is_told_in_one_line(tmp_path):
    with pytest.raises(ImageSearchError, match="there is nothing at file:///nowhere"):
        sync(tmp_path / "index", ["file:///nowhere"], TinyBackbone)
    with pytest.raises(ImageSearchError, match="is no address that can be read"):
        sync(tmp_path / "index", ["nothing://here"], TinyBackbone)


def test_without_fsspec_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'semret\[cluster\]'"):
        sync(tmp_path / "index", ["s3://bucket/photos"], TinyBackbone)


@pytest.fixture
def website(elsewhere):
    """The address of `elsewhere` on a web server, which tells neither lengths in its pages nor parts of files."""
    handler = functools.partial(_Quiet, directory=str(elsewhere))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_a_website_is_indexed(website, tmp_path):
    report = sync(tmp_path / "index", [f"{website}/"], TinyBackbone)
    assert report.added == 5
    assert [reason for path, reason in report.skipped if "000.tar" in path] == [_NOT_IN_PARTS] * 3
    with open_collection(tmp_path / "index") as collection:
        assert f"{website}/below/4.png" in collection.paths(collection.ids)


def test_a_list_on_a_website_names_what_lies_beside_it(website, elsewhere, tmp_path):
    (elsewhere / "list.txt").write_text("1.png\nbelow/4.png\n000.tar/11.png\n")
    report = sync(tmp_path / "index", [f"{website}/list.txt"], TinyBackbone)
    assert (report.added, report.skipped) == (2, ((f"{website}/000.tar/11.png", _NOT_IN_PARTS),))


# -- what the user has not named


def _stranger(path):
    return read_remote(FoundImage(path, -1, -1, vouched=False))


@pytest.mark.parametrize(
    "address",
    [
        "memory://a.jpg",
        "sftp://host/a.jpg",
        "github://owner:name@main/a.jpg",
        "zip://a.jpg::file:///etc/passwd.zip",
        "http://example.org/a.jpg::file:///etc/passwd",
        "s3://bucket/a.jpg::file:///etc/passwd",
        "http://example.org/000.tar/a.jpg",
    ],
)
def test_what_a_stranger_names_is_not_fetched_by_whatever_can(address, monkeypatch):
    monkeypatch.setattr("semret.index.pictures.remote.file_system", lambda *_: pytest.fail("it was asked for"))
    with pytest.raises(ImageDecodeError, match="is not fetched because an index or a list names it; set SEMRET_TRUST"):
        _stranger(address)


def test_a_strangers_index_asks_no_host_of_the_own_network(website, elsewhere, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(_Quiet, "do_GET", lambda self: asked.append(self.path))
    with pytest.raises(ImageDecodeError, match="lies in a private network"):
        read_content(f"{website}/1.png")
    assert asked == []


@pytest.mark.parametrize("beginning", ["{}", "{}/", "http://elsewhere.example {}/below/../ {}/1.png"])
def test_what_the_environment_names_is_trusted(website, elsewhere, monkeypatch, beginning):
    monkeypatch.setenv("SEMRET_TRUST", beginning.replace("{}", website))
    assert read_content(f"{website}/1.png").data == (elsewhere / "1.png").read_bytes()


def test_the_beginning_of_a_name_is_not_trusted(website, monkeypatch):
    monkeypatch.setenv("SEMRET_TRUST", website[:-1])
    with pytest.raises(ImageDecodeError, match="lies in a private network"):
        read_content(f"{website}/1.png")


def test_a_strangers_local_address_opens_only_what_a_path_would(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe.tar")
    for address in (f"file://{tmp_path}/pipe.png", f"file://{tmp_path}/pipe.tar/a.png", "file:///dev/zero"):
        with pytest.raises(ImageDecodeError, match="cannot be read"):
            _stranger(address)


def test_a_list_from_elsewhere_vouches_for_its_own_store_alone(website, elsewhere):
    other = "http://127.0.0.2:1/a.png"
    (elsewhere / "list.txt").write_text(f"1.png\n{website}/2.png\n{other}\nfile:///etc/a.png\ns3://bucket/a.png\n")
    there = {entry.path: entry.vouched for entry in find_remote(f"{website}/list.txt", Exclusions())}
    assert list(there.values()) == [True, True, False, False, False]
    here = [entry.vouched for entry in find_remote(f"file://{elsewhere}/list.txt", Exclusions())]
    assert here == [True] * 5


def test_what_a_list_from_elsewhere_leads_to_is_skipped(website, elsewhere, tmp_path):
    (elsewhere / "list.txt").write_text("1.png\nmemory://a.png\nhttp://127.0.0.2:1/a.png\n")
    report = sync(tmp_path / "index", [f"{website}/list.txt"], TinyBackbone)
    assert report.added == 1
    reasons = dict(report.skipped)
    assert reasons["memory://a.png"].startswith("is not fetched because an index or a list names it")
    assert reasons["http://127.0.0.2:1/a.png"].startswith("the host lies in a private network")
