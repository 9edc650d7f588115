"""Opening files that somebody else may have put there."""

from __future__ import annotations

import os
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from semret import foreign
from semret.foreign import UnfitFileError, apart, open_regular, read_regular


def test_reads_a_regular_file_up_to_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"12345")
    assert read_regular(file, most=5) == b"12345"
    with open_regular(file) as stream:
        assert stream.read() == b"12345"
    with pytest.raises(UnfitFileError, match="has 5 bytes or more, expected at most 4"):
        read_regular(file, most=4)


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "socket", "sparse"])
def test_refuses_what_is_no_file_without_waiting(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    expected = "expected a regular file"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)  # the name of a socket has to be short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("f")
    else:
        with path.open("wb") as stream:
            stream.truncate(2**40)
        expected = "expected at most 1024"
    with pytest.raises(UnfitFileError, match=expected):
        read_regular(path, most=1024)


def test_a_link_is_followed_only_where_it_may_be(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1")
    (tmp_path / "link").symlink_to("f")
    assert read_regular(tmp_path / "link", most=9) == b"1"
    with pytest.raises(UnfitFileError, match="is a link"):
        read_regular(tmp_path / "link", most=9, follow=False)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", most=9)


def test_a_file_that_grows_without_telling_its_length_is_cut(tmp_path: Path) -> None:
    # Files of /proc claim a length of nought.
    with pytest.raises(UnfitFileError, match="expected at most 10"):
        read_regular("/proc/self/maps", most=10)


def test_what_is_called_apart_sees_another_current_folder_and_all_others_keep_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inside, go_on = threading.Event(), threading.Event()

    def look() -> tuple[str, bool]:
        inside.set()
        go_on.wait(10)
        return str(Path.cwd()), os.path.lexists("planted")

    (tmp_path / "planted").mkdir()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(apart, look)
        inside.wait(10)
        assert Path.cwd() == tmp_path
        go_on.set()
        folder, sees = asked.result()
    assert (folder, sees) == (("/", False) if sys.platform == "linux" else (str(tmp_path), True))
    assert Path.cwd() == tmp_path
    with pytest.raises(KeyError, match="gone"):
        apart(lambda: {}["gone"])


def test_where_it_cannot_be_called_apart_planted_names_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(foreign, "_moved_apart", lambda: False)
    assert apart(os.getcwd, names=["some/model"]) == str(tmp_path)
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "model").symlink_to("nowhere")
    with pytest.raises(UnfitFileError, match="in the current folder could be taken for part of a library"):
        apart(os.getcwd, names=["some/model"])
