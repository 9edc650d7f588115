"""Indexes with something planted in them: every command, no harm to anything around them.

What is planted is anything that may stand in the place of a file; commands run in processes of their own with bounded
time and memory, and everything around the index is compared before and after.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from semret.index.care.verify import verify
from semret.index.collection import open_collection
from semret.index.store.catalog_digest import digest_line
from semret.index.store.catalog_file import MOST_BYTES
from semret.index.store.members import digest_of
from tests.support.processes import Driver

READERS = ("info", "verify", "files", "query", "rerank", "export")
WRITERS = ("index", "remove", "compact", "repair")
JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")


class Commands(Driver):
    """Runs commands in processes that are ended when they take too long; see `tests.support.command_driver`."""

    def __call__(self, *words: object) -> tuple[int, str]:
        answer = super().__call__([os.fspath(word) for word in words])
        return answer["status"], answer["output"]


@pytest.fixture(scope="module")
def commands():
    runner = Commands("command_driver")
    yield runner
    runner.close()


def words_of(name: str, home: Path) -> list[object]:
    """The command line of a command on the index of `home`."""
    index, picture = home / ".semret", home / "photos" / "0.png"
    given = ["--index", index]
    return {
        "info": ["info", *given],
        "verify": ["verify", *given],
        "files": ["verify", "--files", *given],
        "repair": ["verify", "--repair", *given],
        "query": ["query", picture, "-k", "1", "--invariance", "pooled", *given],
        "rerank": ["rerank", "--query", picture, "--candidates", home / "list.txt", "--invariance", "none", *given],
        "export": ["export", home.parent / "out.tar", *given],
        "index": ["index", index, home / "photos"],
        "remove": ["remove", picture, *given],
        "compact": ["compact", *given],
    }[name]


def state_of(folder: Path) -> dict[str, tuple]:
    """Everything below a folder, without following a link or opening what is no file."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        content = None
        if stat.S_ISREG(info.st_mode) and info.st_size < 2**24:
            content = path.read_bytes()
        elif stat.S_ISLNK(info.st_mode):
            content = os.fsencode(path.readlink())
        found[str(path.relative_to(folder))] = (stat.S_IFMT(info.st_mode), info.st_size, content)
    return found


@pytest.fixture
def home(tmp_path, tiny_index, photos, draw_picture):
    """A folder with pictures, their index, and a new picture that is not in it; beside it a file to be harmed."""
    home = tmp_path / "home"
    home.mkdir()
    photos.rename(home / "photos")
    tiny_index.rename(home / ".semret")
    draw_picture(77).save(home / "photos" / "new.png")
    (home / "list.txt").write_text("1\n2\n")
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "precious").write_bytes(b"precious")
    return home


def run_all(commands, home: Path, names=READERS + WRITERS) -> dict[str, tuple[int, str]]:
    """Run commands, each on a copy of `home` as it is; check that nobody is harmed, that readers only read."""
    answers = {}
    safe = home.parent / "safe"
    subprocess.run(["cp", "-a", "--sparse=always", home, safe], check=True)
    around = state_of(home.parent / "victim")
    for name in names:
        before = state_of(home)
        status, output = answers[name] = commands(*words_of(name, home))
        assert "Traceback" not in output, (name, output)
        assert status in (0, 1), (name, status, output)
        assert status == 0 or len(output.splitlines()) == 1 or name in ("verify", "files", "repair"), (name, output)
        assert state_of(home.parent / "victim") == around, name
        if name in READERS:
            assert state_of(home) == before, name
        else:
            assert {key: value for key, value in state_of(home).items() if not key.startswith(".semret")} == {
                key: value for key, value in before.items() if not key.startswith(".semret")
            }
            shutil.rmtree(home)
            subprocess.run(["cp", "-a", "--sparse=always", safe, home], check=True)
        (home.parent / "out.tar").unlink(missing_ok=True)
        assert sorted(path.name for path in home.parent.iterdir()) == ["home", "safe", "victim"], name
    return answers


def test_a_sound_index_passes_every_command(commands, home):
    answers = run_all(commands, home)
    assert {name: status for name, (status, _) in answers.items()} == dict.fromkeys(READERS + WRITERS, 0)


# -- journals


def journal(victim: Path, pages: int, page: int = 4096) -> bytes:
    """A journal that undoes nothing, and names another file as the journal of journals, which SQLite then deletes."""
    name = os.fsencode(victim)
    head = (JOURNAL_MAGIC + struct.pack(">IIIII", 0, 1, pages, 512, page)).ljust(512, b"\0")
    end = struct.pack(">II", len(name), sum(name) & 0xFFFFFFFF) + JOURNAL_MAGIC
    return head + struct.pack(">I", 0x40000000 // page + 1) + name + end


def test_a_journal_that_names_another_file_deletes_nothing_and_is_set_aside_by_repair(commands, home):
    index, victim = home / ".semret", home.parent / "victim" / "precious"
    pages = (index / "catalog.sqlite").stat().st_size // 4096
    (index / "catalog.sqlite-journal").write_bytes(journal(victim, pages))
    answers = run_all(commands, home)
    for name in set(answers) - {"repair", "verify", "files"}:
        assert answers[name][0] == 1
        assert "catalog.sqlite-journal would have another file deleted" in answers[name][1]
        assert "run semret verify --repair" in answers[name][1]
    assert answers["verify"][0] == answers["files"][0] == 1
    assert answers["repair"][0] == 0
    assert commands(*words_of("repair", home))[0] == 0
    assert victim.read_bytes() == b"precious"
    assert verify(index).sound
    assert verify(index).images == 6
    assert (index / "catalog.sqlite-journal.damaged").exists()


def test_a_journal_beside_a_damaged_catalog_is_not_believed_when_it_is_rebuilt(commands, home):
    index, victim = home / ".semret", home.parent / "victim" / "precious"
    raw = bytearray((index / "catalog.sqlite").read_bytes())
    raw[20:40] = b"x" * 20
    (index / "catalog.sqlite").write_bytes(raw)
    (index / "catalog.sqlite-journal").write_bytes(journal(victim, len(raw) // 4096))
    answers = run_all(commands, home)
    assert answers["repair"][0] == 0
    assert commands(*words_of("repair", home))[0] == 0
    assert victim.read_bytes() == b"precious"
    assert verify(index).images == 6


def test_a_journal_that_would_make_the_catalog_endless_is_refused(commands, home):
    index = home / ".semret"
    head = (JOURNAL_MAGIC + struct.pack(">IIIII", 0, 1, 2**31, 512, 4096)).ljust(512, b"\0")
    (index / "catalog.sqlite-journal").write_bytes(head + bytes(1024))
    for name, (status, output) in run_all(commands, home).items():
        assert (status == 0) == (name == "repair")
        assert f"expected at most {MOST_BYTES}" in output or name == "repair"


@pytest.mark.parametrize("size", [1, 7, 8, 28, 511, 512, 5000])
@pytest.mark.parametrize("fill", [b"\0", b"\xd9", JOURNAL_MAGIC])
def test_a_journal_of_anything_is_nothing_or_damage(size, fill, home):
    index = home / ".semret"
    (index / "catalog.sqlite-journal").write_bytes((fill * size)[:size])
    before = state_of(home)
    verify(index)
    assert state_of(home) == before


@pytest.mark.parametrize("name", ["catalog.sqlite-wal", "catalog.sqlite-shm"])
@pytest.mark.parametrize("content", [b"", b"x" * 40000])
def test_a_write_ahead_log_is_not_let_near_sqlite(name, content, commands, home):
    (home / ".semret" / name).write_bytes(content)
    for command, (status, output) in run_all(commands, home).items():
        assert (status == 0) == (command == "repair")
        assert f"{name} is no part of an index" in output or command == "repair"


def set_digest(index: Path) -> None:
    """Give a catalog that somebody has been at the digest it needs to be believed."""
    with sqlite3.connect(index / "catalog.sqlite") as db:
        generation = int(db.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()[0])
    db.close()
    digest = digest_of(index / "catalog.sqlite")[0]
    (index / "catalog.sha256").write_bytes(digest_line(generation, digest))


def test_a_catalog_in_wal_mode_is_refused(commands, home):
    index = home / ".semret"
    raw = bytearray((index / "catalog.sqlite").read_bytes())
    raw[18:20] = b"\2\2"
    (index / "catalog.sqlite").write_bytes(raw)
    (index / "catalog.sha256").unlink()
    for name, (status, output) in run_all(commands, home).items():
        assert (status == 0) == (name == "repair")
        assert "it asks for a write-ahead log" in output or name == "repair"


# -- a schema of traps

TRAPS = {
    "a view for a table": ["DROP TABLE meta", "CREATE VIEW meta AS {endless}"],
    "a view for the sequence": [
        "UPDATE sqlite_schema SET type = 'view', rootpage = 0, sql = 'CREATE VIEW "
        "sqlite_sequence AS {endless}' WHERE name = 'sqlite_sequence'"
    ],
    "a virtual table": ["CREATE VIRTUAL TABLE more USING fts3(x)"],
    "a table called by SQLite": [
        "INSERT INTO sqlite_schema VALUES ('table', 'sqlite_more', 'sqlite_more', 3, 'CREATE TABLE sqlite_more (x)')"
    ],
    "a trigger": ["CREATE TRIGGER t AFTER INSERT ON images BEGIN DELETE FROM images; END"],
    "an index over an expression": ["CREATE INDEX i ON images (abs(id))"],
}
ENDLESS = "WITH RECURSIVE n(key, value) AS (SELECT 1, 2 UNION ALL SELECT key + 1, 2 FROM n) SELECT key, value FROM n"


@pytest.mark.parametrize("trap", TRAPS)
def test_a_schema_of_traps_is_refused_before_anything_in_it_runs(trap, commands, home):
    index = home / ".semret"
    generation = int((index / "catalog.sha256").read_bytes().split()[0])
    with sqlite3.connect(index / "catalog.sqlite") as db:
        db.execute("PRAGMA writable_schema=ON")
        for statement in TRAPS[trap]:
            db.execute(statement.replace("{endless}", ENDLESS + " WHERE key < 0"))
    db.close()
    digest = digest_of(index / "catalog.sqlite")[0]
    (index / "catalog.sha256").write_bytes(digest_line(generation, digest))
    for name, (status, output) in run_all(commands, home).items():
        assert (status == 0) == (name == "repair"), (name, output)
        assert "its tables are not those of semret" in output or name == "repair"


# -- anything in the place of a file

PLACES = (
    "manifest.json",
    "catalog.sqlite",
    "catalog.sqlite-journal",
    "catalog.sha256",
    "lock",
    "shortlist.faiss",
    "directory.bin",
    "segments",
    "segments/000001.h5",
    "segments/000002.h5.tmp",
    "catalog.sha256.tmp",
    "shortlist.faiss.tmp",
    "directory.bin.tmp",
    "repair",
)
HUGE = 20 * 2**30


def plant(kind: str, place: Path, victim: Path) -> None:
    """Put something in the place of a file of an index, or where there is none."""
    original = place.with_name(place.name + ".original")
    if place.is_dir():
        place.rename(original)
    elif place.exists():
        original.write_bytes(place.read_bytes())
        place.unlink()
    if kind == "link to itself elsewhere":
        if original.exists():
            shutil.move(original, victim / "original")
        place.symlink_to(victim / "original")
    elif kind == "link to a file":
        place.symlink_to(victim / "precious")
    elif kind == "hard link":
        place.hardlink_to(victim / "precious")
    elif kind == "link to a device":
        place.symlink_to("/dev/zero")
    elif kind == "link to nothing":
        place.symlink_to(victim / "new")
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        try:
            os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("only root makes devices")
    elif kind == "folder":
        place.mkdir()
    elif kind == "sparse":
        head = original.read_bytes() if original.is_file() else b""
        with place.open("wb") as stream:
            stream.write(head)
            stream.truncate(HUGE)
    if original.is_dir():
        shutil.rmtree(original)
    else:
        original.unlink(missing_ok=True)


OTHERS = ("link to itself elsewhere", "link to a file", "link to a device", "link to nothing", "hard link")
KINDS = ("pipe", *(pytest.param(kind, marks=pytest.mark.slow) for kind in (*OTHERS, "device", "folder", "sparse")))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_the_place_of_a_file_does_harm(kind, place, commands, home):
    plant(kind, home / ".semret" / place, home.parent / "victim")
    run_all(commands, home, ("info", "verify", "query", "export", "index", "repair"))


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["pipe", *OTHERS, "device", "folder", "sparse"])
def test_nor_does_it_to_the_commands_that_are_run_less_often(kind, place, commands, home):
    plant(kind, home / ".semret" / place, home.parent / "victim")
    run_all(commands, home, ("files", "rerank", "remove", "compact"))


# -- a folder whose name is no text


def test_every_command_works_below_a_folder_whose_name_is_no_utf8(commands, home, tmp_path):
    above = tmp_path / os.fsdecode(b"bad\xff")
    above.mkdir()
    home = home.rename(above / "home")
    index, picture = home / ".semret", home / "photos" / "0.png"
    for name in ("info", "files", "query", "rerank", "export", "index", "repair", "remove", "compact"):
        status, output = commands(*words_of(name, home))
        assert (status, "Traceback" in output) == (0, False), (name, output)
    # With the index elsewhere, the root that is stored has the name in it.
    shutil.rmtree(index)
    index = tmp_path / "other" / "index"
    assert commands("index", index, home / "photos")[0] == 0
    root = os.fsencode(home / "photos")
    db = sqlite3.connect(index / "catalog.sqlite")
    db.text_factory = bytes
    assert db.execute("SELECT value FROM meta WHERE key = 'root'").fetchone()[0] == root
    db.close()
    given = ["--index", index]
    for words in (
        ["info", *given],
        ["info", "--format", "json", *given],
        ["verify", "--files", *given],
        ["query", picture, "--invariance", "pooled", "-k", "2", *given],
        ["query", picture, "--invariance", "pooled", "-k", "2", "--format", "json", *given],
        ["export", above / "x.tar", *given],
        ["import", above / "x.tar", "--index", above / "imported"],
        ["import", above / "x.tar", "--index", tmp_path / "there", "--root", home / "photos"],
        ["verify", "--files", "--index", above / "imported"],
        ["verify", "--files", "--index", tmp_path / "there"],
        ["index", index, home / "photos"],
    ):
        status, output = commands(*words)
        assert (status, "Traceback" in output) == (0, False), (words, output)
    # A rebuilt catalog knows it still.
    raw = bytearray((index / "catalog.sqlite").read_bytes())
    raw[20:40] = b"x" * 20
    (index / "catalog.sqlite").write_bytes(raw)
    assert commands("verify", "--repair", *given)[0] == 0
    with open_collection(index) as collection:
        assert os.fsencode(collection.root.folder) == root
        assert os.fsencode(collection.paths([1])[0]) == root + b"/0.png"
    assert commands("remove", picture, *given)[0] == 0
