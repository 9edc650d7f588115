"""Segments: what is written is what HDF5 and the readers see, and any change of it is noticed."""

import functools
from pathlib import Path

import h5py
import numpy as np
import pytest

from semret.errors import IndexCorruptError, StorageError
from semret.index.codec.file import pack
from semret.index.codec.fit import CodecFitter
from semret.index.codec.table import parse
from semret.index.encoding import encode
from semret.index.store import durable
from semret.index.store.layout import Rows, checked_rows, checksum, columns, row_checksums, segment_path
from semret.index.store.manifest import Manifest
from semret.index.store.reading import SegmentReader
from semret.index.store.segments import write_segment


@functools.cache
def fitted(name, positions, channels):
    rng = np.random.default_rng(7)
    fitter = CodecFitter(parse(name), channels, channels, pooled_directions=6)
    fitter.add(rng.standard_normal((40, positions, channels)), rng.standard_normal((40, channels)))
    return fitter.finish()


@pytest.fixture(params=["float16", "float32", "pca8-int8", "pca5-int4", "pca4-pq2"])
def manifest(request, tiny_backbone):
    identity = tiny_backbone().identity
    if request.param.startswith("float"):
        return Manifest(identity=identity, created="", dtype=request.param)
    _, entry = pack(fitted(request.param, 9, identity.channels))
    return Manifest(identity=identity, created="", codec=request.param, codec_file=entry)


def features(manifest, count, rng):
    tokens = rng.standard_normal((count, *manifest.token_shape)).astype(manifest.dtype)
    pooled = rng.standard_normal((count, manifest.identity.pooled_dim)).astype("f4")
    if manifest.codec_file is not None:
        return encode(fitted(manifest.codec, *manifest.token_shape), tokens, pooled)
    return {
        "tokens": tokens,
        "pooled": pooled,
        "means": tokens.mean(axis=1, dtype="f8").astype("f4"),
        "norms": np.linalg.norm(tokens.astype("f8").reshape(count, -1), axis=1),
    }


def make(manifest, count, seed=0):
    rng = np.random.default_rng(seed)
    return Rows(
        **features(manifest, count, rng),
        ids=np.arange(10, 10 + count),
        sha256=rng.integers(0, 256, (count, 32), dtype="u1"),
        sizes=np.full((count, 2), 7, dtype="i4"),
    )


@pytest.fixture
def written(tmp_path, manifest):
    parts = [make(manifest, 3, 0), make(manifest, 2, 1)]
    return tmp_path, write_segment(tmp_path, 4, manifest, parts), parts


def test_h5py_reads_every_dataset_at_the_noted_offset(written, manifest):
    index, segment, parts = written
    raw = segment_path(index, 4).read_bytes()
    assert segment.rows == 5
    assert segment.bytes == len(raw)
    with h5py.File(segment_path(index, 4)) as file:
        assert set(file) == set(columns(manifest, 5)) == set(segment.offsets)
        for name, column in columns(manifest, 5).items():
            dataset = file[name]
            assert dataset.chunks is None
            assert (dataset.shape, dataset.dtype) == (column.shape, np.dtype(column.dtype))
            assert dataset.id.get_offset() == segment.offsets[name]
            start = segment.offsets[name]
            assert raw[start : start + column.bytes] == dataset[...].tobytes()
        assert np.array_equal(file["tokens"][...], np.concatenate([part.tokens for part in parts]))
        if manifest.codec_file is not None:
            mean = fitted(manifest.codec, *manifest.token_shape).tokens.mean
            drawn = [
                np.random.default_rng(seed).standard_normal((n, *manifest.token_shape)) for seed, n in ((0, 3), (1, 2))
            ]
            centred = np.concatenate(drawn).astype(manifest.dtype) - mean
            assert file["full_norms"][...] == pytest.approx(np.linalg.norm(centred.reshape(5, -1), axis=1), rel=1e-5)
            return
        total = file["tokens"][...].astype("f8").sum(axis=0)
        assert file["position_sum"][...] == pytest.approx(total, abs=1e-12)
        assert file["channel_sum"][...] == pytest.approx(file["means"][...].astype("f8").sum(axis=0), abs=1e-12)
        assert file["pooled_sum"][...] == pytest.approx(file["pooled"][...].astype("f8").sum(axis=0), abs=1e-12)


def test_the_same_rows_give_the_same_file(written, manifest, tmp_path):
    _, segment, parts = written
    (tmp_path / "other").mkdir()
    assert write_segment(tmp_path / "other", 4, manifest, parts) == segment


@pytest.mark.parametrize("rows", [[0], [4, 0], [1, 2, 3], [3, 3, 1], []])
def test_a_reader_gives_the_rows_asked_for_in_their_order(rows, written, manifest):
    index, segment, parts = written
    reader = SegmentReader(index, segment, manifest)
    for name in checked_rows(columns(manifest, 5)):
        expected = np.concatenate([getattr(part, name) for part in parts])[np.array(rows, dtype=int)]
        assert np.array_equal(reader.take(name, np.array(rows, dtype=np.intp)), expected)
    assert np.array_equal(reader.whole("norms"), np.concatenate([part.norms for part in parts]))


def test_every_flipped_byte_of_the_data_is_noticed_or_without_effect(written, manifest):
    index, segment, _ = written
    path = segment_path(index, 4)
    raw = path.read_bytes()
    rows = np.arange(5)

    def read():
        reader = SegmentReader(index, segment, manifest)
        parts = [reader.take(name, rows) for name in checked_rows(columns(manifest, 5))]
        return [part.tobytes() for part in (*parts, *(reader.whole(name) for name in segment.sums))]

    intact, complaints = read(), []
    for position in range(0, len(raw), 11):
        path.write_bytes(raw[:position] + bytes([raw[position] ^ 0x10]) + raw[position + 1 :])
        try:
            assert read() == intact
        except IndexCorruptError as error:
            complaints.append(str(error))
    assert len(complaints) >= sum(column.bytes for column in columns(manifest, 5).values()) // 12
    for complaint in complaints:
        assert "000004.h5 is damaged" in complaint
        assert "semret verify --repair" in complaint


@pytest.mark.parametrize("size", [0, 1, 4096, -1])
def test_a_cut_file_is_damaged(size, written, manifest):
    index, segment, _ = written
    path = segment_path(index, 4)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(IndexCorruptError, match=r"it has \d+ bytes instead of \d+"):
        SegmentReader(index, segment, manifest).take("tokens", np.array([0]))


def test_a_missing_file_is_damaged(written, manifest):
    index, segment, _ = written
    segment_path(index, 4).unlink()
    with pytest.raises(IndexCorruptError, match="the file is missing"):
        SegmentReader(index, segment, manifest).whole("norms")


def test_offsets_outside_the_file_are_refused(written, manifest):
    import dataclasses

    index, segment, _ = written
    for offset in (-1, segment.bytes, 2**60):
        crafted = dataclasses.replace(segment, offsets={**segment.offsets, "tokens": offset})
        with pytest.raises(IndexCorruptError, match="places tokens outside the file"):
            SegmentReader(index, crafted, manifest)
    crafted = dataclasses.replace(segment, rows=2**50)
    with pytest.raises(IndexCorruptError, match="outside the file"):
        SegmentReader(index, crafted, manifest)


def test_a_checksum_changes_with_any_byte_of_any_length():
    rng = np.random.default_rng(0)
    for length in (0, 1, 7, 8, 9, 31):
        data = rng.integers(0, 256, length, dtype="u1")
        seen = {checksum(data)}
        for position in range(length):
            for value in range(1, 256):
                changed = data.copy()
                changed[position] ^= value
                seen.add(checksum(changed))
                assert checksum(changed) != checksum(data)


def test_checksums_of_rows_are_checksums():
    for width in (3, 8, 12):
        rows = np.random.default_rng(width).integers(0, 256, (5, width), dtype="u1")
        assert row_checksums(rows).tolist() == [checksum(row) for row in rows]


def test_everything_is_on_disk_before_the_next_thing_depends_on_it(tmp_path, manifest, monkeypatch):
    import os

    log = []
    fsync, replace = os.fsync, type(tmp_path).replace
    folder = tmp_path / "segments"

    def logged_fsync(descriptor):
        log.append(("flush", str(Path("/proc/self/fd", str(descriptor)).readlink())))
        fsync(descriptor)

    def logged_replace(self, target):
        log.append(("rename", str(target)))
        return replace(self, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to tell what is flushed")
    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(type(tmp_path), "replace", logged_replace)
    write_segment(tmp_path, 1, manifest, [make(manifest, 1)])
    assert log == [
        ("flush", str(folder / "000001.h5.tmp")),
        ("rename", str(folder / "000001.h5")),
        ("flush", str(folder)),
    ]


def test_an_error_while_writing_leaves_nothing_and_says_which_file(tmp_path, manifest, monkeypatch):
    def fail(label):
        if label == "segment:written":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "checkpoint", fail)
    with pytest.raises(StorageError, match=r"cannot write .*000001\.h5: No space left .* make room"):
        write_segment(tmp_path, 1, manifest, [make(manifest, 1)])
    assert list((tmp_path / "segments").iterdir()) == []
