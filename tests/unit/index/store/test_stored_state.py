"""What says which files an index in an object store has comes from elsewhere: only what semret writes is taken."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semret.errors import IndexCorruptError
from semret.index.store.elsewhere import fetch_index
from semret.index.store.object_folder import ObjectFolder
from semret.index.store.stored_state import STATE_BYTES, StoredFile, StoredState, parse_state
from tests.support.addresses import MEMORY, state_at, sync_at
from tests.support.stored_rows import rows_by_path

STATE = StoredState(
    {
        "catalog.sqlite": StoredFile("0" * 64, 4096),
        "catalog.sha256": StoredFile("1" * 64, 80),
        "manifest.json": StoredFile("2" * 64, 900),
        "codec-0123456789abcdef.h5": StoredFile("3" * 64, 7),
        "segments/000001.h5": StoredFile("4" * 64, 0),
    }
)


def _refused(raw, match="memory://index/state.json is damaged"):
    with pytest.raises(IndexCorruptError, match=match) as caught:
        parse_state(raw, "memory://index/state.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def _with(files):
    known = json.loads(STATE.as_bytes())
    return json.dumps(known | {"files": known["files"] | files}, sort_keys=True, indent=0).encode() + b"\n"


def test_a_state_is_read_as_it_was_written():
    assert parse_state(STATE.as_bytes(), "here") == STATE
    assert STATE.objects[f"objects/{'4' * 64}"] == 0


@pytest.mark.parametrize(
    "name",
    ["../manifest.json", "/etc/passwd", "segments/../x.h5", "segments/1.h5", "segments/000001.h5\n", "lock", "",
     "segments/\u0661\u0661\u0661\u0661\u0661\u0661.h5", "codec-x.h5", "x" * 10**5, "a\nb", "state.json"],
)  # fmt: skip
def test_names_that_no_index_has_are_refused(name):
    _refused(_with({name: {"sha256": "5" * 64, "bytes": 1}}), "which no index has")


@pytest.mark.parametrize(
    "entry",
    [None, [], "0" * 64, {}, {"sha256": "5" * 64}, {"sha256": "5" * 64, "bytes": 1, "more": 1},
     {"sha256": "5" * 63, "bytes": 1}, {"sha256": "G" * 64, "bytes": 1}, {"sha256": "../" + "5" * 61, "bytes": 1},
     {"sha256": "5" * 64 + "\n", "bytes": 1}, {"sha256": 5, "bytes": 1}, {"sha256": "5" * 64, "bytes": -1},
     {"sha256": "5" * 64, "bytes": True}, {"sha256": "5" * 64, "bytes": 1.0}, {"sha256": "5" * 64, "bytes": "1"},
     {"sha256": "5" * 64, "bytes": 2**60}, {"sha256": "5" * 64, "bytes": None}, {"sha256": "5" * 64, "bytes": 1e400}],
)  # fmt: skip
def test_entries_of_other_types_are_refused(entry):
    _refused(_with({"segments/000002.h5": entry}))


@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"[]", b"{}", b"3", b"[" * 10**5, b"\xff\xfe", b'{"files": {}, "format": 1}',
     b'{"files": [], "format": 1}', b'{"files": {}, "format": 2}', b'{"files": {}, "format": 1' + b"0" * 10**4 + b"}",
     STATE.as_bytes().replace(b'"format": 1', b'"format": true'), STATE.as_bytes() + b" ",
     STATE.as_bytes().replace(b"{", b'{"files": {}, ', 1), STATE.as_bytes()[:-3]],
)  # fmt: skip
def test_what_is_no_state_is_refused(raw):
    _refused(raw)


@pytest.mark.parametrize("name", ["catalog.sqlite", "catalog.sha256", "manifest.json"])
def test_a_state_names_what_makes_an_index(name):
    files = {key: file for key, file in STATE.files.items() if key != name}
    _refused(StoredState(files).as_bytes(), f"it names no {name}")


@given(st.data())
def test_a_state_with_other_bytes_is_refused_or_the_same_kind(data):
    raw = bytearray(STATE.as_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        state = parse_state(bytes(raw), "there")
    except IndexCorruptError:
        return
    assert state.as_bytes() == raw
    assert len(state.files) == len(STATE.files)


def test_a_state_that_is_too_long_is_not_read(memory, pictures):
    ObjectFolder(MEMORY).put("state.json", b" " * (STATE_BYTES + 1))
    with pytest.raises(IndexCorruptError, match="is damaged: it has more than"):
        fetch_index(MEMORY)
    with pytest.raises(IndexCorruptError, match="is damaged: it has more than"):
        sync_at(MEMORY, pictures)
    assert list(memory) == ["/index/state.json"]


def test_objects_that_are_not_as_the_state_says_are_refused(memory, pictures, monkeypatch, tmp_path):
    sync_at(MEMORY, pictures)
    state, there = state_at(MEMORY), ObjectFolder(MEMORY)
    for number, (name, file) in enumerate(state.files.items()):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"another{number}"))
        raw = there.read(file.name, 2**25)
        there.put(file.name, raw[:-1] + bytes([raw[-1] ^ 1]))
        with pytest.raises(IndexCorruptError, match=r"is damaged: its digest is another; copy the index there again"):
            fetch_index(MEMORY)
        there.put(file.name, raw + b"longer")
        with pytest.raises(IndexCorruptError, match="is damaged: it has"):
            fetch_index(MEMORY)
        there.delete(file.name)
        with pytest.raises(IndexCorruptError, match="is missing"):
            fetch_index(MEMORY)
        there.put(file.name, raw)
        if not name.startswith("segments/"):
            continue
        # A state whose catalog has another segment there.
        other = dict(state.files) | {name: state.files["manifest.json"]}
        there.put("state.json", type(state)(other).as_bytes())
        with pytest.raises(IndexCorruptError, match="is damaged"):
            fetch_index(MEMORY)
        there.put("state.json", state.as_bytes())
    assert len(rows_by_path(fetch_index(MEMORY))) == 12
