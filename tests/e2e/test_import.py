"""Archives from strangers: what `verify` condemns is not imported, and nothing but an export is unpacked."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import tarfile
from pathlib import Path

import pytest

from semret.errors import ArgumentError, IndexCorruptError, IndexNotFoundError, SemretError, StorageError
from semret.index.care.maintain import compact, remove
from semret.index.care.repair import repair
from semret.index.care.transfer import export_index, import_index
from semret.index.care.verify import verify
from semret.index.collection import open_collection
from semret.index.store import durable
from semret.index.store.catalog_digest import digest_line
from semret.index.store.members import digest_of

ORDER = ("manifest.json", "catalog.sqlite", "catalog.sha256", "segments/000001.h5")


def pack(index: Path, target: Path) -> Path:
    """Archive an index as it is, crafted or not."""
    with tarfile.open(target, "w") as tar:
        for name in ORDER:
            tar.add(index / name, name)
    return target


def craft(index: Path, *statements: str) -> None:
    """Change a catalog behind semret's back, and give it the digest that makes it believed."""
    generation = int((index / "catalog.sha256").read_bytes().split()[0])
    with sqlite3.connect(index / "catalog.sqlite") as db:
        db.execute("PRAGMA writable_schema=ON")
        for statement in statements:
            db.execute(statement)
    db.close()
    (index / "catalog.sha256").write_bytes(digest_line(generation, digest_of(index / "catalog.sqlite")[0]))


def refused(source: Path, tmp_path: Path) -> str:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SemretError) as caught:
        import_index(source, tmp_path / "imported")
    assert sorted(tmp_path.iterdir()) == before
    assert "import.tmp" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


CRAFTED = {
    "an infinite offset": """UPDATE segments SET offsets = replace(offsets, '"ids": ', '"ids": 1e999, "x": ')""",
    "Infinity": "UPDATE segments SET offsets = '{\"tokens\": Infinity}'",
    "NaN": "UPDATE segments SET sums = '{\"norms\": NaN}'",
    "true": "UPDATE segments SET offsets = '{\"tokens\": true}'",
    "no map": "UPDATE segments SET sums = '[]'",
    "nested": "UPDATE segments SET sums = replace(hex(zeroblob(100000)), '0', '[')",
    "many digits": "UPDATE segments SET sums = '{\"norms\": ' || replace(hex(zeroblob(9000)), '0', '9') || '}'",
    "offsets of bytes": "UPDATE segments SET offsets = x'7b7d'",
    "rows without end": "UPDATE segments SET rows = 4611686018427387904",
    "no rows": "UPDATE segments SET rows = 0",
    "bytes of a text": "UPDATE segments SET bytes = 'many'",
    "a segment below nought": "UPDATE segments SET number = -1",
    "a digest of text": "UPDATE segments SET sha256 = 'x'",
    "a digest of bytes": "UPDATE segments SET sha256 = x'ff'",
    "a time of text": "UPDATE segments SET retired = 'never'",
    "an infinite time": "UPDATE segments SET retired = 9e999",
    "a sequence of text": "UPDATE sqlite_sequence SET seq = 'x'",
    "a sequence below nought": "UPDATE sqlite_sequence SET seq = -5",
    "a maximal sequence": "UPDATE sqlite_sequence SET seq = 9223372036854775807",
    "a sequence of another": "INSERT INTO sqlite_sequence VALUES ('meta', 3)",
    "a sequence twice": "INSERT INTO sqlite_sequence VALUES ('images', 3)",
    "a sequence that is too low": "UPDATE sqlite_sequence SET seq = 1",
    "two images on one row": "UPDATE contents SET row = 0",
    "a row that is not there": "UPDATE contents SET row = 100",
    "a negative row": "UPDATE contents SET row = -1 WHERE row = 0",
    "another segment": "UPDATE contents SET segment = 7",
    "a row of text": "UPDATE contents SET row = 'x' WHERE row = 0",
    "no contents": "DELETE FROM contents",
    "a negative id": "UPDATE images SET id = -3 WHERE id = 1",
    "a maximal id": "UPDATE images SET id = 9223372036854775807 WHERE id = 1",
    "an id that was never given": "UPDATE images SET id = 77 WHERE id = 1",
    "a hash of one byte": "UPDATE images SET sha256 = x'aa' WHERE id = 1",
    "a hash of text": "UPDATE images SET sha256 = 'aa' WHERE id = 1",
    "another picture's hash": "UPDATE images SET sha256 = zeroblob(32) WHERE id = 1",
    "a path of text": "UPDATE images SET path = 'a.png' WHERE id = 1",
    "an empty path": "UPDATE images SET path = x'' WHERE id = 1",
    "a path with a zero": "UPDATE images SET path = x'610062' WHERE id = 1",
    "a long path": "UPDATE images SET path = CAST(hex(zeroblob(40000)) AS BLOB) WHERE id = 1",
    "a path of 100 MB": "UPDATE images SET path = zeroblob(100000000) WHERE id = 1",
    "a size of text": "UPDATE images SET size = 'x' WHERE id = 1",
    "a time of bytes": "UPDATE images SET mtime_ns = x'00' WHERE id = 1",
    "a reason of bytes": "INSERT INTO skipped VALUES (x'61', 1, 1, x'ff', 'x')",
    "a generation of text": "UPDATE meta SET value = 'x' WHERE key = 'generation'",
    "a long generation": "UPDATE meta SET value = hex(zeroblob(9000)) WHERE key = 'generation'",
    "a root with a zero": "UPDATE meta SET value = 'a' || char(0) || 'b' WHERE key = 'root'",
    "a root of bytes": "UPDATE meta SET value = x'2e2e' WHERE key = 'root'",
    "no style": "DELETE FROM meta WHERE key = 'style'",
    "no root": "DELETE FROM meta WHERE key = 'root'",
    "another key": "INSERT INTO meta VALUES ('more', 'x')",
    "no manifest": "UPDATE meta SET value = '' WHERE key = 'manifest'",
    "a trigger": "CREATE TRIGGER t AFTER UPDATE ON meta BEGIN DELETE FROM images; END",
    "a foreign format": "PRAGMA user_version = 7",
}


@pytest.mark.parametrize("kind", CRAFTED)
def test_a_crafted_catalog_is_refused_by_import_and_condemned_by_verify(kind, tiny_index, tmp_path):
    sound = tmp_path / "sound"
    shutil.copytree(tiny_index, sound)
    craft(tiny_index, CRAFTED[kind])
    assert not verify(tiny_index).sound
    message = refused(pack(tiny_index, tmp_path / "x.tar"), tmp_path)
    assert message.startswith(f"{tmp_path / 'x.tar'} is no export of semret, or damaged (")
    # What import refuses, nobody else stumbles over: readers answer or refuse, repair and the next run restore.
    try:
        with open_collection(tiny_index) as collection:
            collection.tokens(collection.ids)
            collection.paths(collection.ids)
            export_index(tiny_index, tmp_path / "again.tar")
    except SemretError:
        pass
    repair(tiny_index)
    assert verify(tiny_index).sound


@pytest.mark.parametrize("row", [6, 100, 2**40])
def test_a_row_that_is_not_there_is_not_moved(row, tiny_index, tmp_path):
    remove(tiny_index, [tmp_path / "photos" / "0.png"])
    craft(tiny_index, f"UPDATE contents SET row = {row} WHERE row = 5")
    with pytest.raises(IndexCorruptError, match=f"the catalog names row {row}, it has 6; run semret verify --repair"):
        compact(tiny_index)


def test_a_catalog_in_wal_mode_is_refused(tiny_index, tmp_path):
    raw = bytearray((tiny_index / "catalog.sqlite").read_bytes())
    raw[18:20] = b"\2\2"
    (tiny_index / "catalog.sqlite").write_bytes(raw)
    generation = int((tiny_index / "catalog.sha256").read_bytes().split()[0])
    digest = digest_of(tiny_index / "catalog.sqlite")[0]
    (tiny_index / "catalog.sha256").write_bytes(digest_line(generation, digest))
    assert "asks for a write-ahead log" in refused(pack(tiny_index, tmp_path / "x.tar"), tmp_path)


def test_a_small_catalog_of_endless_rows_is_given_up(tiny_index, tmp_path):
    """Every page of a tree may lead to one and the same page: a few pages have more rows than can be counted."""
    with sqlite3.connect(tiny_index / "catalog.sqlite") as db:
        values = [(b"%06d" % number, 1, 1, "x", "y") for number in range(4000)]
        db.executemany("INSERT INTO skipped VALUES (?, ?, ?, ?, ?)", values)
        root = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'skipped'").fetchone()[0]
    db.close()
    raw = bytearray((tiny_index / "catalog.sqlite").read_bytes())
    page = raw[(root - 1) * 4096 : root * 4096]
    assert page[0] == 2
    # Each cell of the root begins with the page below it: now that is a second root, below which are the leaves.
    extra = len(raw) // 4096 + 1
    for level in range(3):
        raw += page
        cells = int.from_bytes(page[3:5], "big")
        for number in range(cells):
            cell = int.from_bytes(page[12 + 2 * number : 14 + 2 * number], "big")
            start = (root - 1) * 4096 if level == 0 else len(raw) - 2 * 4096
            raw[start + cell : start + cell + 4] = (extra + level).to_bytes(4, "big")
        start = (root - 1) * 4096 if level == 0 else len(raw) - 2 * 4096
        raw[start + 8 : start + 12] = (extra + level).to_bytes(4, "big")
    raw[28:32] = (len(raw) // 4096).to_bytes(4, "big")
    (tiny_index / "catalog.sqlite").write_bytes(raw)
    generation = int((tiny_index / "catalog.sha256").read_bytes().split()[0])
    digest = digest_of(tiny_index / "catalog.sqlite")[0]
    (tiny_index / "catalog.sha256").write_bytes(digest_line(generation, digest))
    assert "without end" in refused(pack(tiny_index, tmp_path / "x.tar"), tmp_path)
    assert repair(tiny_index)[1].sound


# -- the archive itself


def member(name: str, data: bytes = b"", **fields) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    head = info.tobuf(tarfile.PAX_FORMAT if "pax_headers" in fields else tarfile.GNU_FORMAT)
    return head + data + bytes(-len(data) % 512)


def wrong_archives(good: bytes, manifest: bytes) -> dict[str, bytes]:
    """Archives by what is wrong with them; each begins or ends with what an export has."""
    sparse = member("manifest.json", manifest, type=tarfile.GNUTYPE_SPARSE)
    huge = bytearray(member("x", type=b"x"))
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", 2**33
    return {
        "a link": member("catalog.sqlite", type=tarfile.SYMTYPE, linkname="/etc/passwd") + good,
        "a hard link": member("manifest.json", type=tarfile.LNKTYPE, linkname="/etc/passwd") + good,
        "a device": member("lock", type=tarfile.CHRTYPE) + good,
        "a pipe": member("lock", type=tarfile.FIFOTYPE) + good,
        "a folder": member("segments", type=tarfile.DIRTYPE) + good,
        "a way out": member("../manifest.json", manifest) + good,
        "an absolute name": member("/tmp/manifest.json", manifest) + good,
        "another name": member("catalog.sqlite-journal", b"x") + good,
        "a file twice": member("manifest.json", manifest) + good,
        "a sparse file": sparse + good,
        "a long name": member("x" * 5000, b"") + good,
        "a header of many gigabytes": info.tobuf(tarfile.GNU_FORMAT) + good,
        "a header for all": member("g", b"19 path=../../evil\n", type=b"g") + good,
        "a hidden name": member("manifest.json", manifest, pax_headers={"path": "../evil"}) + good,
        "a hidden sparse file": member("manifest.json", manifest, pax_headers={"GNU.sparse.major": "1"}) + good,
        "a hidden size": member("manifest.json", manifest, pax_headers={"size": "99999999999"}) + good,
        "a size that is none": member("manifest.json", manifest, pax_headers={"size": "1.5"}) + good,
        "headers of headers": bytes(huge) * 3000 + good,
        "something behind": good.rstrip(b"\0") + bytes(2048) + b"evil" + bytes(508),
        "zeros without end": good + bytes(2**21),
        "a byte in a header": good[:10] + b"?" + good[11:],
        "nothing": b"",
        "zeros": bytes(10240),
        "cut": good[: len(good) // 2],
        "cut in a header": good[:300],
        "without an end": good.rstrip(b"\0"),
    }


def test_every_wrong_archive_is_refused(tiny_index, tmp_path):
    good = export_index(tiny_index, tmp_path / "good.tar").read_bytes()
    archives = wrong_archives(good, (tiny_index / "manifest.json").read_bytes())
    for kind, data in archives.items():
        source = tmp_path / "x.tar"
        source.write_bytes(data)
        assert "is no export of semret, or damaged" in refused(source, tmp_path), kind
    source.write_bytes(good)
    assert verify(import_index(source, tmp_path / "imported")).images == 6


def test_any_flipped_bit_of_an_archive_is_noticed_or_means_nothing(tiny_index, tmp_path):
    good = export_index(tiny_index, tmp_path / "good.tar").read_bytes()
    source = tmp_path / "x.tar"
    for position in range(0, len(good), len(good) // 60):
        data = bytearray(good)
        data[position] ^= 1 << position % 8
        source.write_bytes(data)
        try:
            imported = import_index(source, tmp_path / "imported")
        except SemretError:
            continue
        assert verify(imported).sound
        shutil.rmtree(imported)


def test_a_segment_that_the_catalog_does_not_name_so_is_refused_before_it_is_unpacked(tiny_index, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ORDER[:3]:
            tar.add(tiny_index / name, name)
        tar.addfile(tarfile.TarInfo("segments/000002.h5"), io.BytesIO())
    assert "it holds 'segments/000002.h5'" in refused(tmp_path / "x.tar", tmp_path)
    with (tiny_index / "segments" / "000001.h5").open("ab") as segment:
        segment.write(b"more")
    assert "expected at most" in refused(pack(tiny_index, tmp_path / "x.tar"), tmp_path)


def test_an_archive_of_an_earlier_version_is_read(tiny_index, tmp_path):
    """They were written by tarfile, with the time of each file in a header of its own."""
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for name in ORDER:
            tar.add(tiny_index / name, name)
    assert b"mtime=" in (tmp_path / "x.tar").read_bytes()
    assert verify(import_index(tmp_path / "x.tar", tmp_path / "imported")).images == 6


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name, reason in {"pipe": "a named pipe", "endless": "a device", ".": "a folder"}.items():
        with pytest.raises(IndexNotFoundError, match=f"it is {reason}, expected a regular file"):
            import_index(tmp_path / name, tmp_path / "imported")
    with pytest.raises(IndexNotFoundError, match="there is no file"):
        import_index(tmp_path / "none", tmp_path / "imported")


def test_a_link_where_the_import_is_prepared_leads_nowhere(tiny_index, tmp_path):
    source = export_index(tiny_index, tmp_path / "x.tar")
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_bytes(b"precious")
    (tmp_path / "imported.import.tmp").symlink_to(victim)
    assert verify(import_index(source, tmp_path / "imported")).sound
    assert [path.name for path in victim.iterdir()] == ["precious"]


@pytest.mark.parametrize("value", [None, True, -1, 1e300, "x", [], {}, [1, "a"], {"a": 1}])
def test_a_manifest_of_any_type_is_refused_or_harmless(value, tiny_index, tmp_path):
    path = tiny_index / "manifest.json"
    document = json.loads(path.read_text())
    for part in (document, document["identity"], document["identity"]["preprocessing"]):
        for key in part:
            kept, part[key] = part[key], value
            text = json.dumps(document, indent=2, sort_keys=True) + "\n"
            path.write_text(text)
            with sqlite3.connect(tiny_index / "catalog.sqlite") as db:
                db.execute("UPDATE meta SET value = ? WHERE key = 'manifest'", (text,))
            db.close()
            (tiny_index / "catalog.sha256").unlink(missing_ok=True)
            try:
                open_collection(tiny_index).close()
                verify(tiny_index)
            except SemretError:
                pass
            part[key] = kept


# -- where an export cannot go


def test_an_export_replaces_no_device_and_follows_no_link(tiny_index, tmp_path):
    for target in ("/dev/full", tmp_path, tmp_path / "none" / "x.tar"):
        with pytest.raises(ArgumentError, match="give the name of a file in an existing folder"):
            export_index(tiny_index, target)
    (tmp_path / "precious").write_bytes(b"precious")
    for name in ("x.tar.tmp", "x.tar.catalog.tmp"):
        (tmp_path / name).symlink_to(tmp_path / "precious")
    export_index(tiny_index, tmp_path / "x.tar")
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_an_export_that_cannot_be_written_names_its_target(tiny_index, tmp_path, monkeypatch):
    target = tmp_path / ("x" * 300)
    with pytest.raises(StorageError, match=r"cannot write .*xxx: File name too long$") as caught:
        export_index(tiny_index, target)
    assert "catalog" not in str(caught.value)

    class Full(io.FileIO):
        def write(self, data):
            del data
            raise OSError(28, "No space left on device")

    create = durable.create_temporary

    def create_full(path):
        create(path).close()
        return Full(durable.temporary(path), "r+b")

    monkeypatch.setattr(durable, "create_temporary", create_full)
    with pytest.raises(StorageError, match=r"cannot write .*/x\.tar: No space left on device; ") as caught:
        export_index(tiny_index, tmp_path / "x.tar")
    assert "catalog" not in str(caught.value)
    assert not list(tmp_path.glob("x.tar*"))


def test_an_export_that_cannot_be_read_names_its_source(tiny_index, tmp_path):
    segment = tiny_index / "segments" / "000001.h5"
    segment.rename(tmp_path / "kept")
    with pytest.raises(IndexCorruptError, match=r"segments/000001\.h5 is damaged: the file is missing"):
        export_index(tiny_index, tmp_path / "x.tar")
    os.mkfifo(segment)
    with pytest.raises(IndexCorruptError, match=r"segments/000001\.h5 is a named pipe"):
        export_index(tiny_index, tmp_path / "x.tar")
    assert not list(tmp_path.glob("x.tar*"))
