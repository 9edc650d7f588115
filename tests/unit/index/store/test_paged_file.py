"""Files of arrays that are read in parts: nothing damaged is believed, nothing hostile takes memory."""

import numpy as np
import pytest

from semret.errors import IndexCorruptError
from semret.index.store.layout import Column
from semret.index.store.paged_file import PAGE, Kind, PagedFile, write_paged

KIND = Kind(
    b"semret-test-1\n",
    ("rows", "texts"),
    lambda counts: {
        "numbers": Column("<i8", (counts["rows"],)),
        "vectors": Column("<f4", (counts["rows"], 7)),
        "texts": Column("u1", (counts["texts"],)),
    },
    "test",
)
MARK = bytes(range(32))
MOST = {"rows": 10**6, "texts": 10**6}


def made(path, rows=3000, texts=5001):
    rng = np.random.default_rng(rows)
    arrays = {
        "numbers": rng.integers(-(2**60), 2**60, rows),
        "vectors": rng.standard_normal((rows, 7)).astype("f4"),
        "texts": rng.integers(0, 256, texts).astype("u1"),
    }
    blocks = {name: [array[:1], array[1:]] for name, array in arrays.items()}
    write_paged(path, KIND, MARK, {"rows": rows, "texts": texts}, blocks)
    return arrays


@pytest.mark.parametrize(("rows", "texts"), [(0, 0), (1, 0), (PAGE // 8, PAGE), (3000, 5001)])
def test_what_is_written_is_read_whole_in_parts_and_by_places(tmp_path, rows, texts):
    arrays = made(tmp_path / "file", rows, texts)
    file = PagedFile(tmp_path / "file", KIND, MOST)
    assert (file.mark, file.counts) == (MARK, {"rows": rows, "texts": texts})
    rng = np.random.default_rng(1)
    for name, array in arrays.items():
        assert file.whole(name).tobytes() == array.tobytes()
        assert file.whole(name).shape == array.shape
        for start, stop in np.sort(rng.integers(0, len(array) + 1, (50, 2)), axis=1).tolist():
            assert file.part(name, start, stop).tobytes() == array[start:stop].tobytes()
        for count in (0, 1, 5, len(array)):
            places = rng.integers(0, max(len(array), 1), min(count, len(array)))
            assert file.take(name, places).tobytes() == array[places].tobytes()
        for start, stop in ((-1, 0), (0, len(array) + 1), (1, 0)):
            with pytest.raises(IndexCorruptError):
                file.part(name, start, stop)
    file.require_sound()


def test_any_flipped_byte_and_any_cut_is_noticed(tmp_path):
    path = tmp_path / "file"
    made(path, 600, 100)
    whole = path.read_bytes()
    for position in [*range(0, len(whole), 41), len(whole) - 1]:
        changed = bytearray(whole)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(IndexCorruptError):
            PagedFile(path, KIND, MOST).require_sound()
    for length in (0, 1, PAGE - 1, PAGE, len(whole) - PAGE, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(IndexCorruptError):
            PagedFile(path, KIND, MOST)


def test_a_page_that_is_damaged_says_so_only_where_it_is_read(tmp_path):
    path = tmp_path / "file"
    arrays = made(path)
    data = bytearray(path.read_bytes())
    data[PAGE + 3 * PAGE + 8] ^= 1
    path.write_bytes(data)
    file = PagedFile(path, KIND, MOST)
    assert file.part("numbers", 0, PAGE // 8).tobytes() == arrays["numbers"][: PAGE // 8].tobytes()
    with pytest.raises(IndexCorruptError, match="a page does not have its checksum"):
        file.part("numbers", 3 * PAGE // 8, 3 * PAGE // 8 + 5)
    with pytest.raises(IndexCorruptError):
        file.whole("numbers")


def test_a_file_that_says_it_is_huge_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "file"
    made(path, 5, 5)
    data = bytearray(path.read_bytes())
    data[56:64] = (10**5).to_bytes(8, "little")
    path.write_bytes(data)
    with path.open("r+b") as stream:
        stream.truncate(20 * 2**30)
    with pytest.raises(IndexCorruptError):
        PagedFile(path, KIND, MOST)
    with pytest.raises(IndexCorruptError, match="larger than it can be"):
        PagedFile(path, KIND, {"rows": 100, "texts": 100})


def test_an_open_file_stays_what_it_was_when_another_takes_its_place(tmp_path):
    arrays = made(tmp_path / "file")
    file = PagedFile(tmp_path / "file", KIND, MOST)
    made(tmp_path / "file", 10, 10)
    assert file.whole("numbers").tobytes() == arrays["numbers"].tobytes()


def test_blocks_that_do_not_make_the_array_leave_nothing_behind(tmp_path):
    blocks = {"numbers": [np.zeros(3)], "vectors": [np.zeros((2, 7))], "texts": []}
    with pytest.raises(ValueError, match="numbers has 24 bytes, expected 16"):
        write_paged(tmp_path / "file", KIND, MARK, {"rows": 2, "texts": 0}, blocks)
    assert list(tmp_path.iterdir()) == []
