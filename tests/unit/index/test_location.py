"""Where an index is looked for, and what ``..`` and a vanished current directory mean for paths."""

import subprocess
import sys

import pytest

from semret.errors import ArgumentError, IndexNotFoundError
from semret.index.collection import open_collection
from semret.index.location import ENVIRONMENT, default_index_path, find_index
from semret.index.pictures.find import find_images
from semret.index.store.root import Root
from semret.index.sync.sync import sync
from semret.paths import absolute
from tests.support.places import with_root


def make_index(folder):
    (folder / ".semret").mkdir(parents=True)
    (folder / ".semret" / "manifest.json").write_text("{}")
    return folder / ".semret"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)


@pytest.fixture
def linked(tmp_path):
    """`here/ln` leads to `there/deep`; beside each lies an a.jpg."""
    for folder in ("here", "there/deep"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "here/ln").symlink_to(tmp_path / "there/deep")
    for place in ("here/a.jpg", "there/a.jpg", "there/deep/b.jpg"):
        (tmp_path / place).write_bytes(place.encode())
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("here/ln/../a.jpg", "there/a.jpg"),
        ("here/ln/b.jpg", "here/ln/b.jpg"),
        ("here/./ln/../../here//a.jpg", "here/a.jpg"),
        ("here/ln/..", "there"),
        ("there/deep/../a.jpg", "there/a.jpg"),
        ("gone/../here/a.jpg", "here/a.jpg"),
    ],
)
def test_two_dots_after_a_link_lead_where_the_kernel_goes(linked, monkeypatch, given, expected):
    monkeypatch.chdir(linked)
    assert absolute(given) == linked / expected
    assert absolute(linked / given) == linked / expected
    if not given.startswith("gone"):
        assert absolute(given).samefile(given)


def test_the_walk_takes_the_file_that_the_kernel_would(linked, monkeypatch):
    monkeypatch.chdir(linked)
    assert [found.path for found in find_images(["here/ln/../a.jpg"])] == [str(linked / "there/a.jpg")]
    found = [found.path for found in find_images(["here/ln"])]
    assert found == [str(linked / "here/ln/b.jpg")]


def test_stored_paths_with_two_dots_lead_where_the_kernel_goes(linked):
    root = Root(stored="..", folder=linked)
    assert root.to_path(b"here/ln/../a.jpg") == str(linked / "there/a.jpg")
    assert root.to_path(b"here/a.jpg") == str(linked / "here/a.jpg")


def test_an_index_replaced_by_a_link_keeps_its_root(tmp_path, photos, tiny_backbone):
    index = photos / ".semret"
    sync(index, [photos], tiny_backbone)
    index.rename(tmp_path / "moved")
    index.symlink_to(tmp_path / "moved")
    with open_collection(index) as collection:
        assert collection.root.folder == photos


def test_the_index_above_a_picture_is_found(tmp_path, monkeypatch):
    there = make_index(tmp_path / "photos")
    (tmp_path / "photos/2020").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert find_index(near=[tmp_path / "photos/2020/a.jpg"]) == there
    assert find_index(near=["../photos/a.jpg"]) == there
    assert find_index(near=["nothing.jpg", tmp_path / "photos"]) == there
    with pytest.raises(IndexNotFoundError, match=r"no \.semret in .*/here or a folder above; make one"):
        find_index()
    with pytest.raises(IndexNotFoundError, match=r"no \.semret in .*/here, .*/x/a\.jpg or a folder above"):
        find_index(near=[tmp_path / "x/a.jpg"])


def test_an_index_that_is_named_or_nearer_comes_first(tmp_path, monkeypatch):
    far, near, named = (make_index(tmp_path / name) for name in ("far", "near", "named"))
    monkeypatch.chdir(tmp_path / "near")
    picture = tmp_path / "far/a.jpg"
    assert find_index(near=[picture]) == near
    monkeypatch.setenv(ENVIRONMENT, str(named))
    assert find_index(near=[picture]) == named
    assert find_index(tmp_path / "far", near=[picture]) == far
    with pytest.raises(IndexNotFoundError, match="is no index"):
        find_index(tmp_path / "missing", near=[picture])


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A current directory that was deleted."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    yield tmp_path
    monkeypatch.chdir(tmp_path)


def test_absolute_paths_need_no_current_directory(nowhere):
    index = make_index(nowhere / "photos")
    assert absolute(nowhere / "photos/a.jpg") == nowhere / "photos/a.jpg"
    assert find_index(index) == index
    assert find_index(near=["a.jpg", nowhere / "photos/a.jpg"]) == index
    assert default_index_path(index) == index


def test_what_needs_a_vanished_current_directory_says_so(nowhere):
    for needs in (lambda: absolute("a.jpg"), default_index_path):
        with pytest.raises(ArgumentError, match="the current folder does not exist any more"):
            needs()
    with pytest.raises(
        IndexNotFoundError, match=r"no \.semret in the current folder \(it does not exist any more\) or a folder above"
    ):
        find_index()


def test_an_index_is_made_and_read_without_a_current_directory(nowhere, photos, tiny_backbone):
    index = nowhere / "index"
    assert sync(index, [photos], tiny_backbone).added == 6
    with open_collection(index) as collection:
        assert collection.paths(collection.ids[:1]) == [str(photos / "0.png")]
        assert collection.find_path(photos / "0.png") == 1


@pytest.mark.parametrize("command", [["info", "--index"], ["verify", "--index"]])
def test_commands_work_in_a_vanished_directory(tmp_path, photos, tiny_backbone, command):
    sync(tmp_path / "index", [photos], tiny_backbone)
    (tmp_path / "gone").mkdir()
    script = 'rmdir "$PWD"; exec "$@"'
    argv = ["sh", "-c", script, "sh", sys.executable, "-m", "semret", *command, str(tmp_path / "index")]
    ended = subprocess.run(argv, cwd=tmp_path / "gone", env=with_root(), capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
