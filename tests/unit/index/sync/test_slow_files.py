"""A file that takes very long holds up neither the pictures behind it nor what is committed of them."""

from __future__ import annotations

import functools
import threading

import pytest

from semret.index.collection import open_collection
from semret.index.sync import loading, local_run, uncommitted
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync


@pytest.fixture
def held(monkeypatch, photos):
    """The decoding of 0.png, which is the first, waits for this; nothing else does."""
    released, slow = threading.Event(), (photos / "0.png").read_bytes()
    real = loading.decode_image

    def decode(data, **options):
        if data == slow:
            assert released.wait(60)
        return real(data, **options)

    monkeypatch.setattr(loading, "decode_image", decode)
    monkeypatch.setattr(local_run, "load_files", functools.partial(loading.load_files, patience=0.05))
    yield released
    released.set()


def committed(index):
    """Return the names of what a reader finds."""
    if not (index / "manifest.json").exists():
        return []
    with open_collection(index) as collection:
        return sorted(path.rpartition("/")[2] for path, _, _ in collection.files())


def test_the_rest_is_committed_while_one_file_is_decoded(tmp_path, photos, tiny_backbone, held, monkeypatch):
    # All that is due is due at once; the last batch is not full and waits for no picture more.
    monkeypatch.setattr(uncommitted, "COMMIT_SECONDS", 0.0)
    index, reports = tmp_path / ".semret", []
    options = SyncOptions(batch_size=4, workers=2)
    run = threading.Thread(target=lambda: reports.append(sync(index, [photos], tiny_backbone, options=options)))
    run.start()
    others = [f"{number}.png" for number in range(1, 6)]
    try:
        while run.is_alive() and committed(index) != others:
            threading.Event().wait(0.02)
        assert run.is_alive()
    finally:
        held.set()
        run.join()
    assert committed(index) == ["0.png", *others]
    assert (reports[0].added, reports[0].images) == (6, 6)
    with open_collection(index) as collection:
        last = dict(zip((path for path, _, _ in collection.files()), collection.ids.tolist(), strict=True))
    assert last[str(photos / "0.png")] == 6  # the file that was late got the last id


def test_who_stops_keeps_what_is_there_and_takes_up_the_slow_file_next_time(tmp_path, photos, tiny_backbone, held):
    index, done = tmp_path / ".semret", []
    options = SyncOptions(batch_size=2, workers=2)

    def progress(count, total):
        done.append(count)

    report = sync(index, [photos], tiny_backbone, options=options, progress=progress, stop=lambda: len(done) >= 5)
    assert report.interrupted
    assert committed(index) == [f"{number}.png" for number in range(1, 6)]
    held.set()
    assert sync(index, [photos], tiny_backbone, options=options).added == 1
