"""What commands that go over a whole index keep in memory of each image: tens of bytes, not its rows as objects."""

import hashlib
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from semret.index.backbones.features import Features
from semret.index.backbones.spec import Identity, Preprocessing
from semret.index.care import maintain
from semret.index.care.maintain import compact, remove
from semret.index.care.verify import verify
from semret.index.store.manifest import Manifest
from semret.index.store.root import Root
from semret.index.sync.changes import Changes
from semret.index.sync.loading import Loaded
from semret.index.sync.report import SyncOptions
from semret.index.sync.rows import make_rows
from semret.index.sync.sync import sync
from semret.index.writer import IndexWriter

FEW, MANY = 300, 1800
SOME = 100
MOST_BYTES = 220
"""Of an image. ADR 13 has figures; rows as objects were 800 and more."""

IDENTITY = Identity(
    backbone="none", family="timm", checkpoint="none", revision=None, weights_sha256="0" * 64,
    preprocessing=Preprocessing(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3), layer="last", pooled="mean",
    prefix_tokens=0, grid=(1, 1), channels=2, pooled_dim=2,
)  # fmt: skip


def file(root: Path, number: int) -> Loaded:
    """Make a file that stands for a picture, in a folder of a hundred."""
    path = root / f"{number // SOME:05d}" / f"{number:08d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"%d" % number)
    os.utime(path, ns=(10**18, 10**18))
    return Loaded(str(path), path.stat().st_size, 10**18, hashlib.sha256(b"%d" % number).digest(), read_ns=2 * 10**18)


def write(index: Path, root: Path, numbers: range) -> None:
    """Put made-up features of pictures into an index."""
    with IndexWriter(index, may_create=True) as writer:
        if not writer.exists:
            writer.create(Manifest(identity=IDENTITY, created="2026-01-01"), Root.choose(index, [root]), "absolute")
        changes = Changes(writer, SOME)
        for start in range(numbers.start, numbers.stop, SOME):
            loaded = [file(root, number) for number in range(start, start + SOME)]
            values = np.random.default_rng(start).standard_normal((SOME, 1, 2)).astype("f4")
            changes.keep(loaded, make_rows(writer.manifest, None, loaded, Features(values, values[:, 0], (1, 1))))
            for one in loaded:
                changes.place(one)
            changes.commit()
        writer.refresh_shortlist()


def nothing():
    raise AssertionError("nothing should have to be embedded")


def do_unchanged(index, root):
    assert sync(index, [root], nothing).unchanged


def do_gone(index, root):
    """A drive that is not connected: every image is looked for, and kept."""
    root.rename(root.with_name("elsewhere"))
    root.mkdir()
    assert sum(dict(sync(index, [root], nothing).kept_in).values())


def do_prune(index, root):
    root.rename(root.with_name("elsewhere"))
    (root / "other").mkdir(parents=True)
    assert sync(index, [root], nothing, options=SyncOptions(prune=True)).removed


def do_moved(index, root):
    """All files get another path; their contents are found again."""
    root.rename(root.with_name("elsewhere"))
    root.mkdir()
    root.with_name("elsewhere").rename(root / "inner")
    assert sync(index, [root], nothing).renamed


def do_add(index, root):
    write(index, root, range(MANY * 2, MANY * 2 + SOME))


def do_remove(index, root):
    assert remove(index, [root / "00001"]).removed == SOME


def do_compact(index, root):
    remove(index, [root / "00001" / f"{number:08d}.jpg" for number in (101, 103)])
    assert compact(index).dropped == 2


def do_verify(index, root):
    del root
    assert verify(index, files=True).sound


def do_repaired(index, root):
    """The catalog alone tells what is where."""
    del root
    (index / "directory.bin").unlink()
    with IndexWriter(index) as writer:
        writer.refresh_shortlist()


PORTIONS = {
    "store.sqlite_file": ["PORTION"],
    "store.scratch": ["_ROWS"],
    "store.catalog_file": ["_CHUNK"],
    "store.paged_file": ["_CHUNK_PAGES"],
    "store.catalog_table": ["_RUN", "_KEYS"],
    "store.directory_file": ["_BLOCK"],
    "sync.changes": ["_PORTION"],
    "sync.uncommitted": ["_MOST_OPERATIONS"],
    "sync.found_files": ["_PORTION"],
    "sync.survey": ["_WAITING"],
    "care.derived": ["_PART", "_BLOCK"],
}
COMMANDS = [do_unchanged, do_gone, do_prune, do_moved, do_add, do_remove, do_compact, do_verify, do_repaired]


@pytest.fixture
def small_portions(monkeypatch):
    """Have so few rows in memory at a time that portions of some thousand images count for nothing."""
    for module, names in PORTIONS.items():
        for name in names:
            monkeypatch.setattr(f"semret.index.{module}.{name}", 4096 if name == "_CHUNK" else 64, raising=False)
    monkeypatch.setattr(maintain, "rows_of_segment", lambda _: SOME)


def peak(command, place: Path, images: int) -> int:
    """Return the most bytes that Python and NumPy have allocated at a time while a command runs."""
    index, root = place / f"{images}" / "index", place / f"{images}" / "pictures"
    root.mkdir(parents=True)
    write(index, root, range(images))
    tracemalloc.start()
    try:
        command(index, root)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_commands_keep_tens_of_bytes_of_an_image(command, tmp_path, small_portions):
    peak(command, tmp_path / "warm", SOME * 2)  # what is imported, and kept for good, is there from now on
    # Twice: what another thread of the test's process allocates meanwhile is no command's.
    few, many = (min(peak(command, tmp_path / f"{trial}", images) for trial in range(2)) for images in (FEW, MANY))
    assert (many - few) / (MANY - FEW) < MOST_BYTES
