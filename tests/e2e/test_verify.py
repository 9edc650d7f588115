"""A damaged index: every damage is found, no answer is wrong, and repair with the next run restores everything."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from semret.errors import IncompatibleIndexError, SemretError
from semret.index.care.repair import repair
from semret.index.care.verify import verify
from semret.index.collection import Collection
from semret.index.store import durable
from semret.index.store.catalog import Catalog
from semret.index.store.layout import columns
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from semret.retrieval.search.engine import open_index
from tests.support.indexes import token_bytes

DATA = (
    "manifest.json",
    "catalog.sqlite",
    "catalog.sha256",
    "shortlist.faiss",
    "directory.bin",
    "codec",
    "segments/000001.h5",
    "segments/000002.h5",
)
CODECS = ("none", "pca8-int8", "pca8-pq4")


@pytest.fixture(scope="module", params=CODECS)
def options(request):
    return SyncOptions(commit_rows=5, codec=request.param, fit_from=4)


@pytest.fixture(scope="module")
def home(tmp_path_factory, tiny_backbone, draw_picture, options):
    """A folder with twelve photos, two of them alike, and their index of two segments."""
    home = tmp_path_factory.mktemp("home")
    (home / "photos").mkdir()
    for number in range(12):
        draw_picture(min(number, 10)).save(home / "photos" / f"{number}.png")
    sync(home / ".semret", [home / "photos"], tiny_backbone, options=options)
    return home


@pytest.fixture
def path(index, name):
    """The file of the index that `name` stands for."""
    found = next(iter(index.glob("codec-*")), None) if name == "codec" else index / name
    if found is None or not found.exists():
        pytest.skip("this kind of index has no such file")
    return found


@pytest.fixture
def index(home):
    """The index of `home`, put back as it was afterwards."""
    whole = home / "whole"
    if not whole.exists():
        shutil.copytree(home / ".semret", whole)
    yield home / ".semret"
    shutil.rmtree(home / ".semret")
    shutil.copytree(whole, home / ".semret")


def flip(path: Path, position: int, mask: int = 0x40) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= mask
    path.write_bytes(data)


def images(index: Path) -> dict[str, tuple]:
    """All that an index holds: path to id, content hash and tokens."""
    with Collection(index) as collection:
        tokens = token_bytes(collection.tokens(collection.ids))
        names = map(os.path.basename, collection.paths(collection.ids))
        return {
            name: (int(id_), sha, one)
            for name, id_, sha, one in zip(
                names, collection.ids, collection.hashes(collection.ids), tokens, strict=True
            )
        }


def without_copies(found: dict[str, tuple]) -> dict[str, tuple]:
    """Leave out the ids of pictures that are stored twice: which copy had which is known to the catalog alone."""
    hashes = [value[1] for value in found.values()]
    return {name: value if hashes.count(value[1]) == 1 else value[1:] for name, value in found.items()}


def as_it_can_be_restored(found: dict[str, tuple], lost: str) -> dict[str, tuple]:
    """Leave out what a repair cannot know after the loss of this file."""
    if lost == "codec":
        # The pictures are embedded again and another codec is fitted, on what was rounded to float16 before.
        return {name: value[:2] for name, value in found.items()}
    return without_copies(found) if lost == "catalog.sqlite" else found


def answers(index: Path) -> list:
    """What a reader gets to see: hits, tokens, means, norms, centres."""
    with Collection(index) as collection:
        queries = np.eye(3, collection.manifest.pooled_length, dtype=np.float32)
        found = collection.shortlist(queries, 4)
        source = collection.source(found.ids[0])
        return [
            found.ids.tolist(),
            found.scores.tolist(),
            collection.paths(found.ids[0]),
            token_bytes(source.read(np.arange(4))),
            source.means.tobytes(),
            source.norms.tobytes(),
            None if (center := collection.features.center("channel").channel) is None else center.tobytes(),
            collection.features.center("position").position.tobytes(),
        ]


def is_found(index: Path) -> bool:
    """Whether verify notices damage, be it as a format of the future."""
    try:
        return not verify(index).sound
    except IncompatibleIndexError:
        return True


def is_honest(index: Path, expected: list) -> bool:
    """Whether a reader gets the right answers or is told that there are none to be had."""
    try:
        return answers(index) == expected
    except SemretError:
        return True


def positions(size: int, count: int) -> list[int]:
    return sorted({*range(0, size, max(1, size // count)), size - 1})


def test_a_sound_index_has_no_defects(index):
    report = verify(index, files=True)
    assert report.sound
    assert (report.images, report.segments) == (12, 3 if (index / "segments/000003.h5").exists() else 2)
    assert repair(index) == ([], verify(index))


@pytest.mark.parametrize("name", DATA)
def test_any_flipped_byte_is_found_and_no_answer_is_wrong(index, path):
    expected, whole = answers(index), path.read_bytes()
    missed, wrong = [], []
    for position in positions(len(whole), 80):
        flip(path, position, mask=1 << position % 8)
        if not is_found(index):
            missed.append(position)
        if not is_honest(index, expected):
            wrong.append(position)
        path.write_bytes(whole)
    assert (missed, wrong) == ([], [])


@pytest.mark.parametrize("name", DATA)
def test_any_truncation_is_found_and_no_answer_is_wrong(index, path):
    expected, whole = answers(index), path.read_bytes()
    cuts = sorted({*range(0, len(whole), 1024), len(whole) - 1, len(whole) // 2})
    for cut in cuts:
        path.write_bytes(whole[:cut])
        assert is_found(index), cut
        assert is_honest(index, expected), cut
    path.write_bytes(whole + b"\0")
    assert is_found(index)
    assert is_honest(index, expected)


@pytest.mark.parametrize("name", DATA)
def test_repair_and_the_next_run_restore_images_ids_and_features(home, index, name, path, tiny_backbone, options):
    before, whole = images(index), path.read_bytes()
    damages = [*(("flip", position) for position in positions(len(whole), 6)), ("cut", len(whole) // 2), ("gone", 0)]
    for kind, position in damages:
        if kind == "flip":
            flip(path, position)
        elif kind == "cut":
            path.write_bytes(whole[:position])
        else:
            path.unlink()
        _, report = repair(index)
        assert report.sound, (kind, position, report.defects)
        network = tiny_backbone()
        done = sync(index, [home / "photos"], lambda network=network: network, options=options)
        assert as_it_can_be_restored(images(index), name) == as_it_can_be_restored(before, name), (kind, position)
        assert verify(index, files=True).sound
        # What the damage did not touch is not embedded again: nothing at all unless a segment was hit.
        assert done.embedded <= (11 if name == "codec" else 8 if name.startswith("segments") else 0)
        shutil.rmtree(index)
        shutil.copytree(home / "whole", index)


@pytest.mark.parametrize("name", DATA)
def test_a_query_on_a_damaged_index_is_right_or_refused(home, index, name, path, options):
    picture, whole = home / "photos" / "2.png", path.read_bytes()

    def ask() -> list[tuple]:
        return [(hit.id, hit.path, hit.score) for hit in open_index(index).query(picture, k=4)]

    expected, refusals = ask(), []
    for position in positions(len(whole), 30):
        flip(path, position, mask=4)
        try:
            assert ask() == expected, position
        except SemretError as error:
            refusals.append(str(error))
        path.write_bytes(whole)
    # What answers is never the damaged part: a shortlist is made anew, and other rows of a segment are not asked for.
    # A stored picture's integers need no codec.
    unread = {("codec", "pca8-int8"), *((derived, options.codec) for derived in ("shortlist.faiss", "directory.bin"))}
    assert bool(refusals) == ((name, options.codec) not in unread)
    assert all(str(index) in refusal for refusal in refusals)


def test_one_damaged_row_costs_one_embedding(home, index, tiny_backbone, options):
    before = images(index)
    with Collection(index) as collection:
        offset = collection.segments[1].offsets["tokens"]
        stride = columns(collection.manifest, 1)["tokens"].bytes
    flip(index / "segments/000001.h5", offset + 3 * stride + 5)
    (defect,) = verify(index).defects
    assert "1 of" in defect.detail
    assert "the first is 3" in defect.detail
    actions, report = repair(index)
    assert report.sound
    assert any("dropped the rest" in action for action in actions)
    kept = images(index)
    assert kept == {name: value for name, value in before.items() if name in kept}
    assert len(kept) == 11
    assert sync(index, [home / "photos"], tiny_backbone, options=options).embedded == 1
    assert images(index) == before


def test_two_copies_of_a_lost_picture_come_back_with_one_embedding(home, index, tiny_backbone, options):
    before = images(index)
    (index / "segments/000001.h5").unlink()
    (index / "segments/000002.h5").unlink()
    assert repair(index)[1].sound
    assert images(index) == {}
    assert sync(index, [home / "photos"], tiny_backbone, options=options).embedded == 11
    after = images(index)
    assert {name: value[1:] for name, value in after.items()} == {name: value[1:] for name, value in before.items()}
    assert sorted(value[0] for value in after.values()) == sorted(value[0] for value in before.values())


def test_ids_given_before_the_damage_are_not_given_again(home, index, tiny_backbone, draw_picture, tmp_path, options):
    (index / "catalog.sqlite").write_bytes(b"")
    repair(index)
    extra = tmp_path / "new.png"
    draw_picture(99).save(extra)
    sync(index, [home / "photos"], tiny_backbone, options=options)
    sync(index, [extra], tiny_backbone, options=options)
    with Collection(index) as collection:
        assert collection.find_path(extra) > 12


def test_manifest_and_catalog_both_lost_cannot_be_repaired_and_is_said(index):
    (index / "manifest.json").write_bytes(b"{")
    (index / "catalog.sqlite").write_bytes(b"")
    segments = {file.name: file.read_bytes() for file in (index / "segments").iterdir()}
    _, report = repair(index)
    assert {defect.kind for defect in report.defects} == {"manifest", "catalog"}
    # What cannot be repaired is not made worse.
    assert {file.name: file.read_bytes() for file in (index / "segments").iterdir()} == segments


def test_what_killed_writers_leave_is_no_defect(index):
    (index / "segments" / "000009.h5").write_bytes(b"of a writer that never came to its commit")
    (index / "segments" / "000010.h5.tmp").write_bytes(b"half")
    (index / "shortlist.faiss.tmp").write_bytes(b"half")
    (index / "catalog.sha256").unlink()
    (index / "shortlist.faiss").unlink(missing_ok=True)
    (index / "lock").write_text('{"pid": 1, "host": "elsewhere", "since": 0}')
    assert verify(index, files=True).sound


# Forks a process for each labelled step of a repair, kills it there, repairs again, and prints the labels.
KILLER = """
import os, shutil, sys
from pathlib import Path
from semret.index.care import repair
from semret.index.store import durable
index, damaged = Path(sys.argv[1]), Path(sys.argv[2])
labels = []
while True:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        def checkpoint(label):
            if label not in labels:
                os.write(writing, label.encode())
                os._exit(9)
        durable.checkpoint = checkpoint
        repair.repair(index)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        label = pipe.read().decode()
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
    labels.append(label)
    if not repair.repair(index)[1].sound:
        sys.exit(f"killed at {label}, it cannot be repaired")
    shutil.rmtree(index)
    shutil.copytree(damaged, index)
print(*labels, sep="\\n")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["catalog.sqlite", "segments/000001.h5", "manifest.json", "codec"])
def test_a_repair_that_is_killed_at_any_step_can_be_repeated(home, index, name, path, tmp_path, tiny_backbone, options):
    before = images(index)
    if name == "manifest.json":
        path.unlink()
    else:
        flip(path, path.stat().st_size // 2)
    damaged = tmp_path / "damaged"
    shutil.copytree(index, damaged)
    command = [sys.executable, "-c", KILLER, str(index), str(damaged)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {
        "catalog.sqlite": "repair:set aside",
        "segments/000001.h5": "catalog:changed",
        "manifest.json": "manifest:written",
        "codec": "conversion:committed",
    }[name] in done.stdout.splitlines()
    sync(index, [home / "photos"], tiny_backbone, options=options)
    assert as_it_can_be_restored(images(index), name) == as_it_can_be_restored(before, name)


def test_a_repair_on_a_full_disk_leaves_the_damage_as_it_was(index, monkeypatch):
    flip(index / "catalog.sqlite", 5000)
    before = {file.relative_to(index): file.read_bytes() for file in index.rglob("*") if file.is_file()}

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "flush_file", fail)
    with pytest.raises(SemretError, match="No space left on device"):
        repair(index)
    after = {file.relative_to(index): file.read_bytes() for file in index.rglob("*") if file.is_file()}
    assert after == before


# -- crafted files


def rewrite_catalog(index: Path, *statements: str) -> None:
    """Change the catalog from outside, and give it the checksum that belongs to it."""
    with sqlite3.connect(index / "catalog.sqlite") as db:
        for statement in statements:
            db.execute(statement)
    db.close()
    (index / "catalog.sha256").unlink()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON images BEGIN DELETE FROM segments; END",
        "CREATE VIEW v AS SELECT writefile('stolen', 'x')",
        "CREATE TABLE more (x)",
        "ALTER TABLE meta ADD COLUMN x",
        "UPDATE segments SET rows = 4611686018427387904",
        "UPDATE segments SET bytes = 4611686018427387904",
        "UPDATE segments SET rows = -1",
        """UPDATE segments SET offsets = '{"tokens": -8}'""",
        """UPDATE segments SET offsets = '{"tokens": 9000000000000000000}'""",
        "UPDATE segments SET offsets = '[[[['",
        "UPDATE contents SET row = 4000000000",
        "UPDATE contents SET segment = 77",
        "UPDATE contents SET row = 0",
        "UPDATE images SET sha256 = x'00' WHERE id = 1",
        "UPDATE images SET sha256 = zeroblob(32) WHERE id = 3",
        "UPDATE sqlite_sequence SET seq = 0",
        "UPDATE meta SET value = '{}' WHERE key = 'manifest'",
        "DELETE FROM meta WHERE key = 'root'",
        "DELETE FROM contents",
        "DELETE FROM segments",
    ],
)
def test_a_crafted_catalog_is_refused_and_repaired(home, index, statement, tiny_backbone, options):
    before = images(index)
    rewrite_catalog(index, statement)
    assert is_found(index)
    _, report = repair(index)
    assert report.sound, report.defects
    sync(index, [home / "photos"], tiny_backbone, options=options)
    assert without_copies(images(index)) == without_copies(before)


@pytest.mark.parametrize("number", ["'../../stolen'", "-1", "0"])
def test_a_segment_number_that_is_no_number_names_no_file(index, number, tmp_path):
    rewrite_catalog(
        index,
        "CREATE TABLE copy AS SELECT * FROM segments",
        "DROP TABLE segments",
        "CREATE TABLE segments (number, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,"
        " sha256 TEXT NOT NULL, offsets TEXT NOT NULL, sums TEXT NOT NULL, retired REAL)",
        f"INSERT INTO segments SELECT {number}, rows, bytes, sha256, offsets, sums, 1.0 FROM copy",
        "DROP TABLE copy",
    )
    with pytest.raises(SemretError):
        Collection(index)
    outside = set(index.parent.rglob("*"))
    assert repair(index)[1].sound
    assert {path for path in outside if not path.is_relative_to(index)} <= set(index.parent.rglob("*"))


def craft_hdf5(path: Path, kind: str, secret: Path) -> None:
    """Write an HDF5 file whose tokens lie in, or lead to, another file."""
    import h5py

    with h5py.File(path, "w") as file:
        if kind == "external storage":
            file.create_dataset("tokens", (4, 9, 12), "<f2", external=[(str(secret), 0, 864)])
        elif kind == "external link":
            file["tokens"] = h5py.ExternalLink(str(secret), "/tokens")
        elif kind == "soft link":
            file["tokens"] = h5py.SoftLink("/elsewhere")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4, 9, 12), "<f2")
            layout[:] = h5py.VirtualSource(str(secret), "tokens", (4, 9, 12))
            file.create_virtual_dataset("tokens", layout)
        elif kind == "filter":
            file.create_dataset("tokens", (4, 9, 12), "<f2", compression="gzip", chunks=True)
        elif kind == "huge":
            file.create_dataset("tokens", (2**40, 9, 12), "<f2", chunks=(1, 9, 12))


@pytest.mark.parametrize("kind", ["external storage", "external link", "soft link", "virtual", "filter", "huge"])
@pytest.mark.parametrize("vouched", [False, True])
def test_a_crafted_segment_leads_nowhere(index, kind, vouched, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    path = index / "segments/000001.h5"
    craft_hdf5(path, kind, secret)
    if vouched:
        # A catalog that gives the file its size and digest: what is read is still what lies at the offsets.
        with path.open("ab") as stream:
            stream.truncate(20_000)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rewrite_catalog(index, f"UPDATE segments SET bytes = 20000, sha256 = '{digest}' WHERE number = 1")
    assert is_found(index)
    with pytest.raises(SemretError):
        answers(index)
    assert repair(index)[1].sound
    assert secret.read_bytes() == b"secret" * 1000


def test_a_segment_that_is_a_link_is_replaced_without_touching_its_target(index, tmp_path):
    target = tmp_path / "elsewhere.h5"
    target.write_bytes(b"not an index")
    (index / "segments/000001.h5").unlink()
    (index / "segments/000001.h5").symlink_to(target)
    assert repair(index)[1].sound
    assert target.read_bytes() == b"not an index"


def test_a_shortlist_of_faiss_itself_is_not_read_but_named(index):
    import faiss

    expected = answers(index)
    for made in ("IVF1,Flat", "HNSW8", "Flat"):
        crafted = faiss.index_factory(12, made)
        vectors = np.random.default_rng(0).standard_normal((64, 12)).astype(np.float32)
        crafted.train(vectors)
        crafted.add(vectors)
        faiss.write_index(crafted, str(index / "shortlist.faiss"))
        assert [defect.kind for defect in verify(index).defects] == ["shortlist"]
        assert answers(index) == expected
    (index / "shortlist.faiss").write_bytes(
        b"IxFI" + (2**30).to_bytes(4, "little") + (2**60).to_bytes(8, "little") + bytes(99)
    )
    assert [defect.kind for defect in verify(index).defects] == ["shortlist"]
    assert answers(index) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"grid": [2**19, 2**19]},
        {"grid": [-3, 3]},
        {"grid": []},
        {"channels": 2**70},
        {"channels": "12"},
        {"pooled_dim": 0},
        {"backbone": {"$ref": "os.system"}},
        {"more": 1},
    ],
)
def test_a_crafted_manifest_is_refused(index, change):
    manifest = json.loads((index / "manifest.json").read_bytes())
    manifest["identity"].update(change)
    (index / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    assert is_found(index)
    with pytest.raises(SemretError):
        Collection(index)
    assert repair(index)[1].sound


def test_a_manifest_of_deep_nesting_is_refused(index):
    (index / "manifest.json").write_text("[" * 100_000)
    assert [defect.kind for defect in verify(index).defects] == ["manifest"]


def test_the_checksum_of_the_catalog_is_made_anew_by_a_repair(index):
    (index / "catalog.sha256").write_bytes(b"1 " + b"0" * 64 + b" 00000000\n")
    assert repair(index)[1].sound
    with Catalog(index) as catalog:
        assert catalog.problems() == []
