"""The files of an index are files of its own: what a link leads to is none of them."""

import pytest

from semret.errors import IndexCorruptError
from semret.index.care.verify import verify
from semret.index.store.members import open_member, read_member


@pytest.mark.parametrize("read", [lambda path: open_member(path).close(), lambda path: read_member(path, most=10)])
def test_a_link_is_no_file_of_an_index(tmp_path, read):
    (tmp_path / "other").write_bytes(b"content")
    read(tmp_path / "other")
    (tmp_path / "link").symlink_to("other")
    with pytest.raises(IndexCorruptError, match="link is a link"):
        read(tmp_path / "link")


@pytest.mark.parametrize("name", ["manifest.json", "segments/000001.h5"])
def test_an_index_of_which_a_file_lies_elsewhere_is_not_sound(tiny_index, tmp_path, name):
    assert verify(tiny_index).sound
    (tiny_index / name).rename(tmp_path / "moved")
    (tiny_index / name).symlink_to(tmp_path / "moved")
    assert not verify(tiny_index).sound
