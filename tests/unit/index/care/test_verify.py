"""What `verify` says in each case, and what makes a row sound."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semret.errors import IncompatibleIndexError, IndexLockedError, IndexNotFoundError
from semret.index.care import soundness
from semret.index.care.remains import read_remains
from semret.index.care.repair import repair
from semret.index.care.soundness import check_segment, examine_rows
from semret.index.care.verify import Report, find_damaged_index, verify
from semret.index.collection import Collection
from semret.index.store.catalog import Catalog
from semret.index.store.layout import Rows, checksum
from semret.index.store.lock import WriterLock
from semret.index.store.manifest import read_manifest
from semret.index.store.reading import SegmentReader
from semret.index.store.segments import write_segment


def details(report: Report) -> list[tuple[str, str]]:
    return [(defect.kind, defect.detail) for defect in report.defects]


def test_pictures_are_compared_with_the_index_only_when_asked(tiny_index, photos):
    (photos / "0.png").unlink()
    (photos / "1.png").write_bytes((photos / "2.png").read_bytes())
    (photos / "3.png").touch()
    (photos / "4.png").unlink()
    (photos / "4.png").mkdir()
    assert verify(tiny_index).sound
    report = verify(tiny_index, files=True)
    assert [(Path(defect.object).name, defect.detail) for defect in report.defects] == [
        ("0.png", "it is gone"),
        ("1.png", "its content has changed since it was indexed"),
        ("4.png", "is a directory"),
    ]
    assert {defect.remedy for defect in report.defects} == {"run semret index"}
    # That is for semret index to bring up to date, not for repair.
    assert repair(tiny_index)[0] == []


def test_each_kind_of_damage_has_its_words(tiny_index):
    segment = tiny_index / "segments" / "000001.h5"
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-100])
    assert details(verify(tiny_index)) == [("segment", f"it has {len(whole) - 100} bytes instead of {len(whole)}")]
    segment.unlink()
    assert details(verify(tiny_index)) == [("segment", "it cannot be read: No such file or directory")]
    segment.write_bytes(whole)
    (tiny_index / "manifest.json").unlink()
    ((kind, detail),) = details(verify(tiny_index))
    assert kind == "manifest"
    assert detail.endswith("it holds no manifest.json")


def test_a_manifest_with_another_digest_of_weights_is_not_the_one_in_the_catalog(tiny_index):
    path = tiny_index / "manifest.json"
    text = path.read_text()
    digest = read_manifest(tiny_index).identity.weights_sha256
    path.write_text(text.replace(digest, digest[::-1]))
    assert details(verify(tiny_index)) == [("manifest", "it is not the manifest in the catalog")]
    assert repair(tiny_index)[0] == ["restored manifest.json from the catalog"]
    assert path.read_text() == text


def test_an_index_of_a_newer_format_is_no_damaged_one(tiny_index):
    path = tiny_index / "manifest.json"
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 3'))
    # The catalog tells that the manifest alone is wrong ...
    assert [kind for kind, _ in details(verify(tiny_index))] == ["manifest"]
    with sqlite3.connect(tiny_index / "catalog.sqlite") as db:
        db.execute("PRAGMA user_version = 3")
    db.close()
    (tiny_index / "catalog.sha256").unlink()
    # ... and here that it is not.
    before = path.read_bytes(), (tiny_index / "catalog.sqlite").read_bytes()
    for attempt in (verify, repair):
        with pytest.raises(IncompatibleIndexError, match="index format 3"):
            attempt(tiny_index)
    assert before == (path.read_bytes(), (tiny_index / "catalog.sqlite").read_bytes())


def test_no_index_and_a_locked_one(tiny_index, tmp_path):
    with pytest.raises(IndexNotFoundError, match=r"is no index: it holds neither manifest\.json nor catalog\.sqlite"):
        verify(tmp_path)
    (tiny_index / "shortlist.faiss").write_bytes(b"x")
    with WriterLock(tiny_index):
        assert not verify(tiny_index).sound
        with pytest.raises(IndexLockedError):
            repair(tiny_index)
    assert repair(tiny_index)[1].sound


def test_an_index_is_found_without_its_manifest(tiny_index, monkeypatch):
    (tiny_index / "manifest.json").unlink()
    assert find_damaged_index(tiny_index) == tiny_index
    monkeypatch.chdir(tiny_index.parent)
    assert find_damaged_index() == tiny_index
    (tiny_index / "catalog.sqlite").unlink()
    with pytest.raises(IndexNotFoundError):
        find_damaged_index()


def test_progress_counts_segments_then_pictures(tiny_index):
    calls: list[tuple[int, int]] = []
    verify(tiny_index, files=True, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 7) for done in range(1, 8)]


def test_verify_leaves_the_index_as_it_is(tiny_index):
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in tiny_index.rglob("*") if file.is_file()}
    verify(tiny_index, files=True)
    assert before == {
        file: (file.read_bytes(), file.stat().st_mtime_ns) for file in tiny_index.rglob("*") if file.is_file()
    }


# -- soundness of rows


@pytest.fixture
def rows(tiny_index):
    """The rows of an index's only segment, and its manifest."""
    with Collection(tiny_index) as collection:
        everything = np.arange(6)
        reader = SegmentReader(tiny_index, collection.segments[1], collection.manifest)
        read = {name: collection.features.read(name, everything) for name in ("tokens", "pooled", "means")}
        whole = {name: reader.whole(name) for name in ("norms", "ids", "sha256", "sizes")}
        return Rows(**read, **whole), collection.manifest


def write(folder, rows, manifest):
    segment = write_segment(folder, 1, manifest, [rows])
    return segment, examine_rows(SegmentReader(folder, segment, manifest), manifest, None)


def test_rows_as_they_were_written_are_sound(tmp_path, rows):
    segment, examined = write(tmp_path, *rows)
    assert examined.sound.all()
    assert examined.sums_agree
    contents = {row: rows[0].sha256[row].tobytes() for row in range(6)}
    assert check_segment(tmp_path, segment, rows[1], None, contents) == []
    (defect,) = check_segment(tmp_path, segment, rows[1], None, {**contents, 2: bytes(32), 9: bytes(32)})
    assert defect.detail == "row 2 is of another picture; row 9 is of another picture"


@pytest.mark.parametrize("field", ["tokens", "pooled", "means", "norms"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -7.0])
def test_a_row_that_contradicts_itself_is_unsound_whatever_its_checksum(tmp_path, rows, field, value):
    whole, manifest = rows
    changed = getattr(whole, field).copy()
    changed.reshape(6, -1)[4, 0] = value
    if field == "pooled" and np.isfinite(value):
        # Nothing else is known of a pooled embedding: the model made it.
        assert write(tmp_path, replace(whole, pooled=changed), manifest)[1].sound.all()
        return
    segment, examined = write(tmp_path, replace(whole, **{field: changed}), manifest)
    assert np.flatnonzero(~examined.sound).tolist() == [4]
    (defect,) = check_segment(tmp_path, segment, manifest, None, {})
    assert defect.detail == "1 of 6 rows are damaged, the first is 4"


def test_blocks_of_rows_do_not_matter(tmp_path, rows, monkeypatch):
    monkeypatch.setattr(soundness, "_BLOCK_BYTES", 2 * rows[1].token_bytes + 1)
    assert write(tmp_path, *rows)[1].sums_agree


def test_sums_of_other_rows_are_noticed(tmp_path, rows):
    whole, manifest = rows
    segment, _ = write(tmp_path, whole, manifest)
    path = tmp_path / "segments" / "000001.h5"
    data = bytearray(path.read_bytes())
    start = segment.offsets["pooled_sum"]
    data[start : start + 8] = np.float64(1e6).tobytes()
    path.write_bytes(data)
    total = np.frombuffer(bytes(data[start : start + 8 * manifest.identity.pooled_dim]), np.uint8)
    crafted = replace(segment, sums={**segment.sums, "pooled_sum": checksum(total)})
    assert not examine_rows(SegmentReader(tmp_path, crafted, manifest), manifest, None).sums_agree


# -- what is read of a damaged catalog


def test_remains_of_a_sound_catalog_are_the_catalog(tiny_index):
    remains = read_remains(tiny_index)
    with Catalog(tiny_index) as catalog:
        assert remains.images == catalog.select("SELECT id, path, size, sha256 FROM images ORDER BY id")
        assert (remains.generation, remains.root, remains.style) == (
            catalog.generation,
            catalog.meta("root"),
            catalog.meta("style"),
        )
        assert (remains.last_id, remains.last_segment) == (catalog.next_id() - 1, catalog.next_segment() - 1)


def test_remains_survive_a_broken_header_and_are_none_of_no_catalog(tiny_index):
    path = tiny_index / "catalog.sqlite"
    whole = path.read_bytes()
    path.write_bytes(bytes(20) + whole[20:])
    assert len(read_remains(tiny_index).images) == 6
    for content in (b"", os.urandom(50_000), whole[:300]):
        path.write_bytes(content)
        assert read_remains(tiny_index).images == []


def test_tables_that_are_not_ours_are_not_read(tiny_index):
    with sqlite3.connect(tiny_index / "catalog.sqlite") as db:
        db.execute("DROP TABLE images")
        db.execute(
            "CREATE VIEW images AS WITH RECURSIVE r(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM r) "
            "SELECT id, x'00' AS path, 1 AS size, 1 AS mtime_ns, zeroblob(32) AS sha256 FROM r"
        )
    db.close()
    assert read_remains(tiny_index).images == []
    actions, report = repair(tiny_index)
    assert report.sound
    assert actions[0].startswith("rebuilt catalog.sqlite: 0 images and the features of 6 contents kept")


def test_undecodable_bytes_in_the_tables_definitions_are_damage_like_any_other(tiny_index):
    path = tiny_index / "catalog.sqlite"
    data = path.read_bytes()
    place = data.index(b"PRIMARY KEY NOT NULL")
    path.write_bytes(data[:place] + b"\xb1\xff" + data[place + 2 :])
    ((kind, _),) = details(verify(tiny_index))
    assert kind == "catalog"
    assert repair(tiny_index)[1].sound


def test_a_segment_under_a_second_name_is_not_another_one(tiny_index):
    names = [path.name for path in sorted((tiny_index / "segments").glob("*.h5"))]
    (tiny_index / "segments" / f"0{names[0]}").write_bytes((tiny_index / "segments" / names[0]).read_bytes())
    (tiny_index / "catalog.sqlite").write_bytes(b"nothing of a catalog" * 100)
    actions, report = repair(tiny_index)
    assert report.sound
    assert any("rebuilt catalog.sqlite" in action for action in actions)
    assert len(list((tiny_index / "segments").glob("*.h5"))) == len(names) + 1
