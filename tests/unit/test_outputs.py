"""No command replaces what it reads."""

import os
import threading

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from semret import build
from semret.cli import app
from semret.commands.candidates import read_candidates
from semret.errors import ArgumentError
from semret.index.care.transfer import export_index
from semret.outputs import replaced, require_distinct


def test_the_same_file_by_any_name_is_refused(tmp_path):
    file = tmp_path / "a.npy"
    file.touch()
    (tmp_path / "link").symlink_to(file)
    (tmp_path / "hard").hardlink_to(file)
    (tmp_path / "folder").symlink_to(tmp_path)
    for name in ("a.npy", "link", "hard", "folder/a.npy", "folder/../a.npy"):
        if name.endswith("..") or not (tmp_path / name).exists():
            continue
        with pytest.raises(ArgumentError, match="which is read; name another file"):
            require_distinct(tmp_path / name, [tmp_path / "none", file])
    require_distinct(tmp_path / "b.npy", [file, tmp_path / "b.npy"])


def test_a_file_within_a_folder_that_is_read_is_refused(tmp_path):
    (tmp_path / "index" / "deep").mkdir(parents=True)
    for name in ("index/new", "index/deep/new", "index/none/new"):
        with pytest.raises(ArgumentError, match="it lies in"):
            require_distinct(tmp_path / name, [tmp_path / "index"])
    with pytest.raises(ArgumentError, match="which is read"):
        require_distinct(tmp_path / "index", [tmp_path / "index"])
    require_distinct(tmp_path / "indexes", [tmp_path / "index"])


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "library"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    build([folder], index=folder / ".semret", device="cpu")
    return folder


def test_an_index_is_not_exported_onto_itself_or_a_picture(library, tmp_path):
    index = library / ".semret"
    (tmp_path / "hard.tar").hardlink_to(library / "0.png")
    before = {path: path.read_bytes() for path in library.rglob("*") if path.is_file()}
    for target in (index / "manifest.json", index / "new.tar", library / "1.png", tmp_path / "hard.tar"):
        with pytest.raises(ArgumentError, match="cannot write"):
            export_index(index, target)
    assert {path: path.read_bytes() for path in library.rglob("*") if path.is_file()} == before
    export_index(index, tmp_path / "a.tar")
    export_index(index, tmp_path / "a.tar")


@pytest.mark.parametrize("command", ["query", "rerank"])
def test_a_page_does_not_replace_a_picture_an_index_or_a_list(library, tmp_path, command):
    other, listed = tmp_path / "other.png", tmp_path / "list.txt"
    Image.new("RGB", (40, 40)).save(other)
    listed.write_text("1\n")
    targets = [library / "1.png", library / ".semret" / "manifest.json", other, library / ".semret" / "page.html"]
    targets += [listed] if command == "rerank" else []
    more = ["--query", str(other), "--candidates", str(listed)] if command == "rerank" else [str(other), "-k", "1"]
    for target in targets:
        before = target.read_bytes() if target.exists() else None
        result = CliRunner().invoke(app, [command, *more, "--index", str(library / ".semret"), "--html", str(target)])
        assert result.exit_code == 1, result.output
        assert "cannot write" in result.stderr
        assert (target.read_bytes() if target.exists() else None) == before
    arguments = [command, *more, "--index", str(library / ".semret"), "--html", str(tmp_path / "page.html")]
    for _ in range(2):
        assert CliRunner().invoke(app, arguments).exit_code == 0


@pytest.mark.parametrize("name", ["egoobjects", "cityscapes"])
def test_a_report_does_not_go_into_the_data(tmp_path, name):
    for out in (tmp_path, tmp_path / "new"):
        result = CliRunner().invoke(app, ["eval", name, "--root", str(tmp_path), "--out", str(out)])
        assert result.exit_code == 1
        assert "cannot write" in result.stderr


def test_a_list_that_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(20 << 30)
    for name, match in (("pipe", "a named pipe.*pipe it to -"), ("zero", "a device"), ("sparse", "expected at most")):
        with pytest.raises(ArgumentError, match=match):
            read_candidates(tmp_path / name, lambda _: None)


def write(path, content):
    with replaced(path) as stream:
        stream.write(content)


def test_what_is_replaced_keeps_its_links_and_its_permissions(tmp_path):
    (tmp_path / "deep").mkdir()
    file, link = tmp_path / "deep" / "file", tmp_path / "link"
    link.symlink_to(file)
    write(link, b"first")
    assert (link.is_symlink(), file.read_bytes()) == (True, b"first")
    file.chmod(0o600)
    write(link, b"second")
    assert (link.is_symlink(), file.read_bytes(), file.stat().st_mode & 0o777) == (True, b"second", 0o600)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert list((tmp_path / "deep").iterdir()) == [file]


def test_an_error_leaves_what_was_there(tmp_path):
    (tmp_path / "file").write_bytes(b"former")
    with pytest.raises(TypeError), replaced(tmp_path / "file") as stream:
        stream.writelines([b"new", "no bytes"])
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"former"]


def test_a_pipe_is_written_to_and_stays(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write(tmp_path / "pipe", b"all of it")
    reader.join()
    assert (read, (tmp_path / "pipe").is_fifo()) == ([b"all of it"], True)


def test_a_name_as_long_as_names_can_be_is_written(tmp_path):
    write(tmp_path / ("n" * 255), b"content")
    write(tmp_path / ("n" * 255), b"other")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"other"]
