"""The catalog: transactions, its digest, interrupted commits, and files that somebody else has been at."""

import shutil
import sqlite3
import subprocess
import sys
import threading

import pytest

from semret.errors import IndexCorruptError, StorageError
from semret.index.care.verify import verify
from semret.index.collection import open_collection
from semret.index.store import durable
from semret.index.store.catalog import Catalog
from semret.index.store.catalog_digest import digest_line, read_digest
from semret.index.store.catalog_file import CATALOG_NAME, DIGEST_NAME, JOURNAL_NAME
from semret.index.store.schema import SCHEMA
from semret.index.writer import IndexWriter

META = {"root": "..", "style": "relative", "manifest": "{}"}


@pytest.fixture
def index(tmp_path):
    Catalog.create(tmp_path, META).close()
    return tmp_path


def put(catalog, path, sha=b"x" * 32):
    return catalog.change("INSERT INTO images (path, size, mtime_ns, sha256) VALUES (?, 1, 2, ?)", path, sha)


def test_a_transaction_is_a_generation(index):
    with Catalog(index, writable=True) as catalog:
        assert catalog.generation == 0
        with catalog.transaction():
            put(catalog, b"a")
        assert catalog.generation == 1
    with Catalog(index) as catalog:
        assert catalog.select("SELECT path FROM images") == [(b"a",)]
        assert (catalog.meta("root"), catalog.generation) == ("..", 1)


def test_an_error_inside_a_transaction_undoes_it(index):
    def broken(catalog):
        with catalog.transaction():
            put(catalog, b"a")
            raise KeyboardInterrupt

    with Catalog(index, writable=True) as catalog:
        with pytest.raises(KeyboardInterrupt):
            broken(catalog)
        assert catalog.generation == 0
        assert catalog.select("SELECT * FROM images") == []


def test_ids_and_segment_numbers_are_never_used_again(index):
    with Catalog(index, writable=True) as catalog:
        assert (catalog.next_id(), catalog.next_segment()) == (1, 1)
        with catalog.transaction():
            assert put(catalog, b"a") == 1
            catalog.change("INSERT INTO segments VALUES (1, 1, 1, '', '{}', '{}', NULL)")
        with catalog.transaction():
            catalog.change("DELETE FROM images")
            catalog.change("DELETE FROM segments")
        assert (catalog.next_id(), catalog.next_segment()) == (2, 2)


def test_a_reader_keeps_its_state_while_a_writer_waits(index):
    with Catalog(index) as reader, Catalog(index, writable=True) as writer:
        writer._db.execute("PRAGMA busy_timeout=50")
        with reader.reading():
            before = reader.generation
            with pytest.raises(StorageError, match="database is locked"), writer.transaction():
                put(writer, b"a")
            assert reader.generation == before
        with writer.transaction():
            put(writer, b"a")
        assert reader.generation == before + 1


def test_every_flipped_byte_is_noticed_on_opening(index):
    with Catalog(index, writable=True) as catalog, catalog.transaction():
        for name in range(20):
            put(catalog, b"photos/%d" % name)
    path = index / CATALOG_NAME
    raw = path.read_bytes()
    for position in [*range(100), *range(100, len(raw), 331)]:
        path.write_bytes(raw[:position] + bytes([raw[position] ^ 0x04]) + raw[position + 1 :])
        with pytest.raises((IndexCorruptError, StorageError)):
            Catalog(index).close()
    path.write_bytes(raw)
    Catalog(index).close()


@pytest.mark.parametrize("size", [0, 1, 99, 4096, -4096, -1])
def test_a_cut_catalog_is_noticed(size, index):
    path = index / CATALOG_NAME
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises((IndexCorruptError, StorageError)):
        Catalog(index)


def test_a_missing_catalog_is_named(index):
    (index / CATALOG_NAME).unlink()
    with pytest.raises(IndexCorruptError, match=r"catalog\.sqlite is missing; run semret verify --repair"):
        Catalog(index)


def test_a_digest_left_behind_by_a_killed_writer_is_renewed(index):
    before = read_digest(index / DIGEST_NAME)
    with Catalog(index, writable=True) as catalog, catalog.transaction():
        put(catalog, b"a")
    (index / DIGEST_NAME).write_bytes(digest_line(*before))
    Catalog(index).close()
    assert read_digest(index / DIGEST_NAME) == before
    Catalog(index, writable=True).close()
    assert read_digest(index / DIGEST_NAME)[0] == 1


def test_a_missing_digest_is_renewed_by_a_writer(index):
    (index / DIGEST_NAME).unlink()
    Catalog(index).close()
    Catalog(index, writable=True).close()
    assert read_digest(index / DIGEST_NAME)[0] == 0


def test_a_catalog_older_than_its_digest_is_damage(index):
    old = (index / CATALOG_NAME).read_bytes()
    with Catalog(index, writable=True) as catalog, catalog.transaction():
        put(catalog, b"a")
    (index / CATALOG_NAME).write_bytes(old)
    with pytest.raises(IndexCorruptError, match=r"is damaged, or older than catalog\.sha256 beside it"):
        Catalog(index)


def test_any_flipped_byte_of_the_digest_is_noticed(index):
    path = index / DIGEST_NAME
    raw = path.read_bytes()
    for position in range(len(raw)):
        path.write_bytes(raw[:position] + bytes([raw[position] ^ 0x01]) + raw[position + 1 :])
        with pytest.raises(IndexCorruptError):
            Catalog(index)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER evil AFTER INSERT ON images BEGIN DELETE FROM images; END",
        "CREATE VIEW more AS SELECT * FROM images",
        "CREATE TABLE more (x)",
        "DROP TABLE skipped",
        "ALTER TABLE images ADD COLUMN more",
        "PRAGMA user_version=9",
    ],
)
def test_a_catalog_with_anything_else_in_it_is_refused(statement, index):
    with sqlite3.connect(index / CATALOG_NAME) as db:
        db.execute(statement)
    db.close()
    (index / DIGEST_NAME).unlink()
    with pytest.raises(IndexCorruptError, match="its tables are not those of semret"):
        Catalog(index)


def test_the_schema_is_what_the_documentation_says(index):
    db = sqlite3.connect(index / CATALOG_NAME)
    assert dict(db.execute("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite%'")) == SCHEMA
    assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    db.close()


@pytest.mark.parametrize("offsets", ["", "[]", "{", '{"tokens": "x"}', "null", "[" * 100_000])
def test_a_crafted_segment_entry_is_damage(offsets, index):
    with Catalog(index, writable=True) as catalog:
        with catalog.transaction():
            catalog.change("INSERT INTO segments VALUES (1, 1, 1, '', ?, '{}', NULL)", offsets)
        with pytest.raises(IndexCorruptError, match="the entry of a segment is not valid"):
            catalog.segments()


KILLED = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size=1")
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE images SET sha256 = zeroblob(3000)")
rows = [(b"%d" % i,) for i in range(900)]
db.executemany("INSERT INTO images (path, size, mtime_ns, sha256) VALUES (?, 1, 1, zeroblob(3000))", rows)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def interrupted(tiny_index):
    """An index whose catalog was left half written: the journal is all that can put it right."""
    subprocess.run([sys.executable, "-c", KILLED, str(tiny_index / CATALOG_NAME)], check=False)
    assert (tiny_index / JOURNAL_NAME).stat().st_size > 512
    return tiny_index


def test_an_interrupted_commit_is_undone_for_a_reader_in_a_copy_and_by_a_writer_in_place(interrupted):
    before = {file: file.read_bytes() for file in interrupted.glob("*") if file.is_file()}
    assert verify(interrupted).sound
    with open_collection(interrupted) as collection:
        assert len(collection) == 6
    assert {file: file.read_bytes() for file in interrupted.glob("*") if file.is_file()} == before
    with IndexWriter(interrupted):
        pass
    assert not (interrupted / JOURNAL_NAME).exists()
    with open_collection(interrupted) as collection:
        assert len(collection) == 6


WRITER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0.2)
db.execute("PRAGMA cache_size=1")
try:
    db.execute(sys.argv[2])
    db.execute("UPDATE meta SET value = '77' WHERE key = 'generation'")
    if "stay" in sys.argv:
        print("held", flush=True)
        sys.stdin.readline()
    db.execute("COMMIT")
    print("committed", flush=True)
except sqlite3.OperationalError as error:
    print(error, flush=True)
"""


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_reader_beside_a_writer_in_the_middle_of_a_commit_sees_one_state(begin, tiny_index, monkeypatch):
    command = [sys.executable, "-c", WRITER, str(tiny_index / CATALOG_NAME), begin, "stay"]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "held\n"
    # Nothing is copied and nothing undone for a writer that lives.
    monkeypatch.setattr(Catalog, "_copy_aside", lambda _: pytest.fail("copied"))
    released = threading.Timer(1.0, lambda: (writer.stdin.write("\n"), writer.stdin.flush()))
    released.start()
    with Catalog(tiny_index) as catalog:
        assert catalog.generation in (1, 77)
        assert len(catalog.select("SELECT id FROM images")) == 6
    released.join()
    assert writer.communicate(timeout=30)[0] == "committed\n"


def test_a_catalog_that_is_closed_leaves_the_locks_of_others_in_this_process_alone(tiny_index):
    with Catalog(tiny_index) as reader, reader.reading():
        before = reader.generation
        Catalog(tiny_index).close()
        command = [sys.executable, "-c", WRITER, str(tiny_index / CATALOG_NAME), "BEGIN IMMEDIATE"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == "database is locked\n"
        assert reader.generation == before


def test_a_catalog_with_another_name_elsewhere_is_read_but_not_written(tiny_index, tmp_path):
    (tmp_path / "other").hardlink_to(tiny_index / CATALOG_NAME)
    Catalog(tiny_index).close()
    with pytest.raises(IndexCorruptError, match="has another name elsewhere"):
        Catalog(tiny_index, writable=True)


def test_a_copied_index_opens_elsewhere(tiny_index, tmp_path):
    shutil.copytree(tiny_index, tmp_path / "copy")
    assert len(open_collection(tmp_path / "copy")) == 6


def test_checkpoints_do_nothing_by_themselves():
    assert durable.checkpoint("anything") is None


def test_every_damaged_byte_of_the_schema_is_reported_as_damage(tiny_index):
    catalog = tiny_index / CATALOG_NAME
    sound = catalog.read_bytes()
    for position in range(0, 4096, 5):
        catalog.write_bytes(sound[:position] + b"\xb1" + sound[position + 1 :])
        if sound[position] != 0xB1:
            with pytest.raises((IndexCorruptError, StorageError)):
                open_collection(tiny_index)
