"""Walking folders: order, links, loops, what is left out and what is named with a reason."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from semret.errors import ImageSearchError
from semret.index.pictures.find import SUFFIXES, FoundImage, LeftOut, SkippedPath, find_images
from semret.index.pictures.kinds import unread_kind


@pytest.fixture
def folder(tmp_path):
    """Return a function that makes files (or folders, for names that end in a slash) and gives back their folder."""
    root = tmp_path / "pictures"
    root.mkdir()

    def make(*names: str) -> Path:
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir(exist_ok=True)
            else:
                path.write_bytes(b"x")
        return root

    return make


def names(root, paths=None, **options) -> list[str]:
    return [os.path.relpath(found.path, root) for found in find_images(paths or [root], **options)]


def test_pictures_are_told_by_suffix_in_any_case_and_come_in_order(folder):
    suffixes = ("jpg", "JPEG", "png", "webp", "BMP", "tif", "tiff", "Gif", "HEIC", "heif", "avif", "jfif", "jpe")
    root = folder(*(f"b.{suffix}" for suffix in suffixes), "a.txt", "jpg", ".jpg", "b.jpg.part", "z/a.png", "a/z.png")
    assert names(root) == [*sorted(f"b.{suffix}" for suffix in suffixes), "a/z.png", "z/a.png"]


def test_pictures_and_films_of_other_kinds_are_given_with_their_kind(folder):
    root = folder("a.CR2", "b.jxl", "c.mov", "d.txt", ".e.mov", "mov", "sub/f.svg", "g.cr2.part", "h.jpg")
    (root / "link.nef").symlink_to(root / "a.CR2")
    found = [entry for entry in find_images([root]) if isinstance(entry, LeftOut)]
    assert [(os.path.relpath(entry.path, root), entry.kind) for entry in found] == [
        ("a.CR2", "RAW"),
        ("b.jxl", "JPEG XL"),
        ("c.mov", "video"),
        ("link.nef", "RAW"),
        ("sub/f.svg", "vector graphics"),
    ]
    assert list(find_images([root / "c.mov"])) == [
        FoundImage(str(root / "c.mov"), 1, (root / "c.mov").stat().st_mtime_ns)
    ]


def test_no_suffix_is_both_read_and_left_out():
    assert {suffix: kind for suffix in SUFFIXES if (kind := unread_kind(suffix))} == {}


def test_size_and_time_are_those_of_the_file(folder):
    root = folder("a.jpg")
    os.utime(root / "a.jpg", ns=(5, 1_234_567_890_123_456_789))
    assert list(find_images([root])) == [FoundImage(str(root / "a.jpg"), 1, 1_234_567_890_123_456_789)]


def test_hidden_files_and_folders_are_left_out_unless_given(folder):
    root = folder(".a.jpg", ".git/b.jpg", "c/.d/e.jpg", "f.jpg")
    assert names(root) == ["f.jpg"]
    assert names(root, [root / ".git", root / ".a.jpg"]) == [".a.jpg", ".git/b.jpg"]


def test_excluded_folders_are_left_out_by_whatever_name_they_are_reached(folder):
    root = folder("index/a.jpg", "b.jpg")
    (root / "alias").symlink_to("index")
    assert names(root, exclude=[root / "index", root / "not there"]) == ["b.jpg"]


def test_a_path_that_does_not_exist_is_an_error_at_once(folder):
    root = folder("a.jpg")
    with pytest.raises(ImageSearchError, match=r"there is no file or folder .*nowhere; give the path"):
        find_images([root, root / "nowhere"])


def test_an_empty_folder_gives_nothing(folder):
    assert names(folder("a/", "b/c/")) == []


def test_a_file_given_is_taken_whatever_its_suffix_and_only_once(folder):
    root = folder("a.dat", "b.jpg", "c.jpg")
    assert names(root, [root, root / "c.jpg", root / "a.dat", root / "c.jpg", root]) == ["a.dat", "c.jpg", "b.jpg"]


def test_relative_paths_become_absolute(folder, monkeypatch):
    root = folder("a/b.jpg")
    monkeypatch.chdir(root)
    assert [found.path for found in find_images(["a/../a/"])] == [str(root / "a/b.jpg")]


def test_overlapping_folders_are_walked_once(folder):
    root = folder("a/b/c.jpg", "a/d.jpg")
    assert sorted(names(root, [root, root / "a", root / "a/b"])) == ["a/b/c.jpg", "a/d.jpg"]


def test_links_to_files_are_followed_and_dangling_ones_named(folder):
    root = folder("real.jpg")
    (root / "link.png").symlink_to("real.jpg")
    (root / "dangling.png").symlink_to("nowhere.png")
    (root / "self.png").symlink_to("self.png")
    (root / "dangling.txt").symlink_to("nowhere.txt")
    found = {os.path.relpath(item.path, root): item for item in find_images([root])}
    assert list(found) == ["dangling.png", "link.png", "real.jpg", "self.png"]
    assert found["dangling.png"] == SkippedPath(str(root / "dangling.png"), "is a link to nothing")
    assert isinstance(found["link.png"], FoundImage)
    assert "symbolic links" in found["self.png"].reason


def test_loops_of_links_end_and_real_names_win(folder):
    root = folder("b/x.jpg", "outside/y.jpg")
    (root / "b" / "up").symlink_to("..")
    (root / "a").symlink_to("b")
    (root / "c").symlink_to("a")
    assert names(root, [root / "b"]) == ["b/x.jpg", "b/up/outside/y.jpg"]
    assert names(root) == ["b/x.jpg", "outside/y.jpg"]


def test_what_is_no_file_is_named_and_never_opened(folder):
    root = folder("a.jpg")
    os.mkfifo(root / "fifo.jpg")
    os.mkfifo(root / "fifo")
    (root / "device.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(root):
        server.bind("socket.gif")
        found = {os.path.relpath(item.path, root): item for item in find_images([root, root / "fifo"])}
    assert {name: item.reason for name, item in found.items() if isinstance(item, SkippedPath)} == {
        "device.png": "is a character device",
        "fifo": "is a FIFO (named pipe)",
        "fifo.jpg": "is a FIFO (named pipe)",
        "socket.gif": "is a socket",
    }


def test_empty_and_oversized_files_are_named(folder, monkeypatch):
    root = folder("a.jpg")
    (root / "empty.jpg").touch()
    with (root / "huge.jpg").open("wb") as stream:
        stream.truncate(2**28 + 1)
    found = list(find_images([root]))
    assert [item.reason for item in found[1:]] == ["is empty", "has 268435457 bytes, more than the limit of 268435456"]


def test_names_of_any_kind_are_kept(folder):
    odd = [
        "new\nline.jpg",
        "quo'te\".jpg",
        " space .jpg",
        "\u2603\U0001f600.jpg",
        os.fsdecode(b"caf\xe9\xff.jpg"),
        "\x1b[31m.jpg",
    ]
    root = folder(*odd)
    assert names(root) == sorted(odd)


# Makes (or takes away) a tree of folders deeper than Python recurses; pytest itself could not clean it up.
DEEP = """
import os, sys
os.chdir(sys.argv[1])
for _ in range(1200):
    if sys.argv[2] == "make":
        os.mkdir("d")
    os.chdir("d")
if sys.argv[2] == "make":
    open("a.jpg", "wb").write(b"x")
else:
    os.unlink("a.jpg")
    for _ in range(1200):
        os.chdir("..")
        os.rmdir("d")
"""


def test_a_deep_tree_is_no_recursion(tmp_path):
    def change(action):
        subprocess.run([sys.executable, "-c", DEEP, str(tmp_path), action], check=True)

    change("make")
    try:
        assert [found.path for found in find_images([tmp_path])] == [str(tmp_path) + "/d" * 1200 + "/a.jpg"]
    finally:
        change("remove")


def test_a_folder_that_may_not_be_entered_is_named_and_the_rest_goes_on():
    code = """
import os, sys
from semret.index.pictures.find import find_images
if os.geteuid() == 0:
    os.setuid(65534)
for found in find_images([sys.argv[1]]):
    print(type(found).__name__, os.path.basename(found.path), getattr(found, "reason", ""), sep="|")
"""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        for folder in ("closed", "open"):
            (root / folder).mkdir()
            (root / folder / "a.jpg").write_bytes(b"x")
        (root / "link.jpg").symlink_to("closed/a.jpg")
        (root / "closed").chmod(0)
        done = subprocess.run([sys.executable, "-c", code, name], check=True, capture_output=True, text=True)
        (root / "closed").chmod(0o755)
    assert done.stdout.splitlines() == [
        "SkippedPath|link.jpg|permission denied",
        "SkippedPath|closed|folder cannot be read: permission denied",
        "FoundImage|a.jpg|",
    ]


def test_a_folder_of_very_many_files(tmp_path):
    count = 5_000
    for number in range(count):
        (tmp_path / f"{number:06}.jpg").touch()
    found = list(find_images([tmp_path]))
    assert len(found) == count
    assert found[-1] == SkippedPath(str(tmp_path / f"{count - 1:06}.jpg"), "is empty")


def test_a_file_that_vanishes_during_the_walk_is_named(folder):
    root = folder("a.jpg", "b.jpg")
    walk = find_images([root])
    assert next(walk) == FoundImage(str(root / "a.jpg"), 1, (root / "a.jpg").stat().st_mtime_ns)
    (root / "b.jpg").unlink()
    assert list(walk) == [SkippedPath(str(root / "b.jpg"), "vanished")]
