from __future__ import annotations

import dataclasses
import hashlib
import io

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semret.errors import IndexCorruptError, SemretError
from semret.index.codec.codec import Codec
from semret.index.codec.entry import CodecEntry
from semret.index.codec.file import pack, unpack
from semret.index.codec.fit import CodecFitter
from semret.index.codec.table import parse

NAMES = ["pca6-int8", "pca5-int4", "pca6-pq3"]


def maps() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 7, 10)).astype(np.float32)


def fitted(name: str, directions: int | None = 4) -> Codec:
    fitter = CodecFitter(parse(name), 10, 10, pooled_directions=directions)
    fitter.add(maps(), maps().mean(axis=1))
    return fitter.finish()


@pytest.mark.parametrize("directions", [4, None])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_encodes_as_what_was_written(name, directions):
    codec = fitted(name, directions)
    raw, entry = pack(codec)
    read = unpack(raw, CodecEntry.from_json(entry.as_json()))
    one, other = codec.encode(maps()), read.encode(maps())
    np.testing.assert_array_equal(one.codes, other.codes)
    np.testing.assert_array_equal(
        codec.tokens_of(maps()).as_floats(), read.decode(other.codes, other.scales).as_floats()
    )
    pooled = maps().mean(axis=1)
    np.testing.assert_array_equal(codec.encode_pooled(pooled), read.encode_pooled(pooled))
    assert (read.fitted, read.spec, read.pooled_exponent) == (codec.fitted, codec.spec, codec.pooled_exponent)
    assert pack(read) == (raw, entry)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_hdf5_with_plain_arrays_at_the_offsets(name):
    raw, entry = pack(fitted(name))
    with h5py.File(io.BytesIO(raw)) as file:
        assert list(file) == sorted(entry.columns())
        for key, (dtype, shape) in entry.columns().items():
            assert file[key].dtype == np.dtype(dtype)
            assert file[key].shape == shape
            assert file[key].chunks is None
            stored = np.frombuffer(raw, dtype, file[key].size, entry.offsets[key]).reshape(shape)
            np.testing.assert_array_equal(stored, file[key])
    assert entry.digest == hashlib.sha256(raw).hexdigest()


def test_reading_takes_no_hdf5(monkeypatch):
    raw, entry = pack(fitted("pca6-int8"))
    monkeypatch.setattr(h5py, "File", None)
    assert unpack(raw, entry).dimension == 6


def test_a_byte_changed_anywhere_is_noticed():
    raw, entry = pack(fitted("pca6-pq3"))
    for place in range(len(raw)):
        changed = raw[:place] + bytes([raw[place] ^ 0x10]) + raw[place + 1 :]
        with pytest.raises(IndexCorruptError, match=r"^codec\.h5 is damaged: its digest is not the manifest's"):
            unpack(changed, entry)


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_shorter_or_longer_file_is_noticed(cut):
    raw, entry = pack(fitted("pca6-int8"))
    for other in (raw[:cut], raw + b"\0"):
        with pytest.raises(IndexCorruptError, match="put back the right file, or index"):
            unpack(other, entry, "here/codec.h5")


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_hostile_file_under_its_own_digest_is_refused_in_one_line_or_is_a_codec(name, data):
    raw, entry = pack(fitted(name))
    changed = bytearray(raw)
    for key, (dtype, shape) in entry.columns().items():
        item = np.dtype(dtype).itemsize
        place = entry.offsets[key] + item * data.draw(st.integers(0, int(np.prod(shape)) - 1))
        if data.draw(st.booleans()):
            changed[place : place + item] = data.draw(st.binary(min_size=item, max_size=item))
    hostile = dataclasses.replace(entry, digest=hashlib.sha256(changed).hexdigest())
    problem = ""
    try:
        codec = unpack(bytes(changed), hostile)
        codec.encode(maps())
        codec.encode_pooled(maps().mean(axis=1))
        codec.with_mean(codec.tokens_of(maps()))
    except SemretError as error:
        problem = str(error)
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("mean", np.nan, "not finite"),
        ("directions", 2.0, "no unit vectors"),
        ("directions", 2.0**-24, "no unit vectors"),
        ("pooled_directions", 2.0, "no unit vectors"),
        ("centroids", -128, "centroids are out of range"),
        ("numbers", [-1, 0, 1, 1, 1], "no float32"),
        ("numbers", [0.1, 0, 1, 1, 1], "no float32"),
        ("numbers", [1e300, 0, 1, 1, 1], "no float32"),
        ("numbers", [1, 5000, 1, 1, 1], "numbers are out of range"),
        ("numbers", [1, 0.5, 1, 1, 1], "numbers are out of range"),
        ("numbers", [1, 0, 0, 1, 1], "numbers are out of range"),
        ("numbers", [1, 0, 1, -1, 1], "numbers are out of range"),
    ],
)
def test_what_is_no_codec_is_refused(key, values, message):
    raw, entry = pack(fitted("pca6-pq3"))
    dtype, shape = entry.columns()[key]
    wrong = np.broadcast_to(np.asarray(values, dtype), shape).tobytes()
    changed = raw[: entry.offsets[key]] + wrong + raw[entry.offsets[key] + len(wrong) :]
    hostile = dataclasses.replace(entry, digest=hashlib.sha256(changed).hexdigest())
    with pytest.raises(IndexCorruptError, match=message):
        unpack(changed, hostile)


@pytest.mark.parametrize(
    "change",
    [
        {"name": 5},
        {"name": "none"},
        {"name": "pca6-int9"},
        {"name": "pca7-int8"},
        {"name": "pca6-pq3"},
        {"name": "pca" + "9" * 100 + "-int8"},
        {"digest": "0" * 63},
        {"digest": "G" * 64},
        {"digest": None},
        {"bytes": 2**40},
        {"bytes": 100},
        {"bytes": True},
        {"bytes": -1},
        {"channels": 2**30},
        {"channels": 10.0},
        {"channels": 1000},
        {"dimension": 0},
        {"dimension": 5},
        {"pooled_in": "10"},
        {"pooled_out": 11},
        {"pooled_out": 10},
        {"offsets": []},
        {"offsets": {}},
        {"offsets": {"mean": 0}},
        {"more": 1},
    ],
    ids=str,
)
def test_a_hostile_entry_is_refused(change):
    _, entry = pack(fitted("pca6-int8"))
    with pytest.raises((ValueError, TypeError)) as caught:
        CodecEntry.from_json({**entry.as_json(), **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("offset", [-1, 2**70, 10**6, 1.5, True, "0", None, "same"], ids=str)
def test_a_hostile_offset_is_refused(offset):
    _, entry = pack(fitted("pca6-int8"))
    offsets = {**entry.offsets, "mean": entry.offsets["directions"] if offset == "same" else offset}
    with pytest.raises((ValueError, TypeError), match="of the codec"):
        CodecEntry.from_json({**entry.as_json(), "offsets": offsets})


@pytest.mark.parametrize("document", [None, [], "pca6-int8", {}, 3])
def test_what_is_no_entry_is_refused(document):
    with pytest.raises(ValueError, match="fields of the codec are missing or unknown"):
        CodecEntry.from_json(document)
