"""Batches under way: order, several streams, what a failure and a repeated content do."""

from __future__ import annotations

import contextlib
import threading
import time

import numpy as np
import pytest

from semret.errors import BackboneError
from semret.index.backbones.features import Features
from semret.index.backbones.spec import Streams
from semret.index.pictures.find import FoundImage
from semret.index.sync.loading import Loaded, load_files
from semret.index.sync.pipeline import Embedder


class Recorder:
    """Stands where a backbone stands for an `Embedder`: pictures are told apart by the value of their pixels."""

    def __init__(self, streams: Streams, delays: dict[int, float] | None = None) -> None:
        self._streams = streams
        self._delays = delays or {}
        self._lock = threading.Lock()
        self.batches: list[list[int]] = []
        self.running = self.most = 0
        self.open = False

    @contextlib.contextmanager
    def streams(self, batch_size):
        assert batch_size >= 1
        self.open = True
        try:
            yield self._streams
        finally:
            self.open = False

    def embed(self, batch):
        numbers = [int(picture.max()) for picture in batch]
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
            self.batches.append(numbers)
        time.sleep(max(self._delays.get(number, 0.002) for number in numbers))
        with self._lock:
            self.running -= 1
        if -1 in numbers:
            raise BackboneError("it is broken")
        pooled = batch[:, :1, 0, 0]
        return Features(tokens=pooled[:, None], pooled=pooled, grid=(1, 1))


def picture(number, content=None):
    sha = (number if content is None else content).to_bytes(32, "big", signed=True)
    return Loaded(f"{number}.png", 1, 1, sha, np.full((4, 5, 3), number, np.float32).transpose(2, 0, 1))


def known(number):
    return Loaded(f"{number}.png", 1, 1, b"known" + bytes(27))


def values(pictures, features):
    assert len(pictures) == len(features.pooled)
    return [int(value) for value in features.pooled[:, 0]]


def run(backbone, files, *, batch_size=4, contents=()):
    stored = set(contents)
    taken = []
    with Embedder(lambda: backbone, values, batch_size=batch_size, is_known=stored.__contains__) as embedder:
        for file in files:
            for embedded in embedder.add(file):
                stored.update(loaded.sha256 for loaded in embedded.pictures)
                taken.append(embedded)
        taken += embedder.rest()
    assert not backbone.open
    return taken


def names(taken):
    return [int(loaded.path.removesuffix(".png")) for embedded in taken for loaded in embedded.files]


@pytest.mark.parametrize("streams", [Streams(1, 4), Streams(2, 2), Streams(3, 1), Streams(8, 1)])
def test_files_come_out_in_their_order_whichever_batch_is_done_first(streams):
    backbone = Recorder(streams, {0: 0.05, 7: 0.03})
    files = [known(number) if number % 5 == 3 else picture(number) for number in range(24)]
    taken = run(backbone, files)
    assert names(taken) == list(range(24))
    pictures = [number for number in range(24) if number % 5 != 3]
    assert [number for embedded in taken for number in embedded.result or []] == pictures
    assert sorted(number for batch in backbone.batches for number in batch) == pictures
    assert all(len(batch) <= streams.pictures for batch in backbone.batches)
    assert backbone.most <= streams.count


def test_streams_run_at_the_same_time():
    together = threading.Barrier(3, timeout=10)

    class Meeting(Recorder):
        def embed(self, batch):
            together.wait()
            return super().embed(batch)

    backbone = Meeting(Streams(3, 1))
    assert names(run(backbone, map(picture, range(6)), batch_size=3)) == list(range(6))
    assert not together.broken


def test_no_more_than_twice_the_batch_is_under_way():
    release = threading.Event()
    given = []

    class Held(Recorder):
        def embed(self, batch):
            release.wait(10)
            return super().embed(batch)

    def files():
        for number in range(40):
            given.append(number)
            if number == 8:
                timer.start()  # time enough to show whether more are taken
            if number == 39:
                release.set()
            yield picture(number)

    timer = threading.Timer(0.3, release.set)
    backbone = Held(Streams(2, 1))
    with Embedder(lambda: backbone, values, batch_size=4, is_known=lambda _: False) as embedder:
        for file in files():
            for _ in embedder.add(file):
                break
            if not release.is_set():
                assert len(given) <= 9
        assert sum(len(embedded.files) for embedded in embedder.rest()) > 0
    timer.cancel()


def test_a_content_is_embedded_once_however_often_it_comes():
    backbone = Recorder(Streams(2, 1), {1: 0.05})
    files = [picture(1), picture(2, content=1), picture(3), picture(4, content=1), picture(5, content=9)]
    taken = run(backbone, files, contents={(9).to_bytes(32, "big")})
    assert sorted(backbone.batches) == [[1], [3]]
    assert names(taken) == [1, 2, 3, 4, 5]


def test_without_a_picture_the_network_is_not_asked_for():
    def load():
        raise AssertionError("nobody needs it")

    with Embedder(load, values, batch_size=2, is_known=lambda _: True) as embedder:
        taken = [embedded for number in range(300) for embedded in embedder.add(known(number))]
        taken += embedder.rest()
    assert names(taken) == list(range(300))
    assert len(taken) == 3  # given on now and then, not held to the end
    assert all(embedded.result is None for embedded in taken)


def test_a_failure_ends_the_run_after_what_came_before_it():
    backbone = Recorder(Streams(2, 1), {0: 0.05})
    taken = []

    def embed_all():
        with Embedder(lambda: backbone, values, batch_size=2, is_known=lambda _: False) as embedder:
            for number in (0, -1, 2, 3, 4, 5, 6, 7):
                taken.extend(embedder.add(picture(number)))
            taken.extend(embedder.rest())

    with pytest.raises(BackboneError, match="broken"):
        embed_all()
    assert names(taken) == [0]
    assert not backbone.open
    assert backbone.running == 0


@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_keeps_the_order_in_memory_of_its_pictures(count):
    shapes = []

    class Watching(Recorder):
        def embed(self, batch):
            shapes.append((batch.shape, batch.transpose(0, 2, 3, 1).flags.c_contiguous))
            return super().embed(batch)

    run(Watching(Streams(1, count)), [picture(number) for number in range(count)])
    assert shapes == [((count, 3, 4, 5), True)]


# -- files that are loaded ahead


class Shelf:
    """Stands where a `Loader` stands; files that are named in `held` are loaded when they are released."""

    def __init__(self, *held: int) -> None:
        self.held = {f"{number}": threading.Event() for number in held}
        self.begun: list[str] = []
        self.is_held_up = False
        self._lock = threading.Lock()
        self.running = self.most = 0

    def load(self, found):
        with self._lock:
            self.begun.append(found.path)
            self.running += 1
            self.most = max(self.most, self.running)
        if found.path in self.held:
            assert self.held[found.path].wait(60)
        with self._lock:
            self.running -= 1
        if found.path == "-1":
            raise BackboneError("it is broken")
        return Loaded(found.path, 1, 1)


def found(*numbers):
    return [FoundImage(f"{number}", 1, 1) for number in numbers]


def next_path(loading):
    """Return the next file, however long it takes."""
    return next(loaded.path for loaded in loading if loaded is not None)


def test_files_are_loaded_in_their_order_and_not_too_far_ahead():
    shelf = Shelf()
    given = []

    def files():
        for file in found(*range(50)):
            given.append(file)
            yield file

    for done, loaded in enumerate(load_files(shelf, files(), workers=3, ahead=8)):
        assert loaded.path == f"{done}"
        assert len(given) <= done + 8
    assert done == 49
    assert shelf.most <= 3


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_slow_file_is_passed_by_all_the_others(workers):
    shelf = Shelf(2)
    loading = load_files(shelf, found(*range(30)), workers=workers, ahead=5, patience=0.05)
    others = [next_path(loading) for _ in range(29)]
    assert others == [f"{number}" for number in range(30) if number != 2]
    assert next(loading) is None  # nothing is ready, and the caller is told so
    shelf.held["2"].set()
    assert next_path(loading) == "2"
    assert list(loading) == []


def test_as_many_files_may_be_slow_as_there_are_workers():
    shelf = Shelf(0, 1, 2)
    loading = load_files(shelf, found(*range(10)), workers=2, ahead=6, patience=0.02)
    assert [next(loading) for _ in range(3)] == [None] * 3
    shelf.held["1"].set()
    assert next_path(loading) == "1"
    passing = [next_path(loading) for _ in range(7)]
    assert passing == [f"{number}" for number in range(3, 10)]
    shelf.held["2"].set()
    assert next_path(loading) == "2"
    shelf.held["0"].set()
    assert next_path(loading) == "0"
    assert list(loading) == []


def test_what_is_set_aside_counts_among_what_is_held():
    shelf = Shelf(0, 5)
    given = []

    def files():
        for file in found(*range(40)):
            given.append(file)
            yield file

    loading = load_files(shelf, files(), workers=2, ahead=4, patience=0.02)
    for done in range(38):
        next_path(loading)
        assert len(given) <= done + 1 + 4 + 1
    for event in shelf.held.values():
        event.set()
    assert len([loaded for loaded in loading if loaded is not None]) == 2


def test_nobody_is_slow_while_the_network_is_loaded():
    shelf = Shelf(0)
    shelf.is_held_up = True
    # Long enough for a busy machine to hand over a file that is let go, and waited through five times all the same.
    loading = load_files(shelf, found(*range(6)), workers=2, ahead=4, patience=0.5)
    assert [next(loading) for _ in range(5)] == [None] * 5
    shelf.is_held_up = False
    shelf.held["0"].set()
    assert [next_path(loading) for _ in range(6)] == [f"{number}" for number in range(6)]


def test_no_file_is_charged_with_the_time_the_network_took_to_load():
    shelf = Shelf(0)
    shelf.is_held_up = True
    loading = load_files(shelf, found(*range(3)), workers=1, ahead=3, patience=0.2)
    assert next(loading) is None
    shelf.is_held_up = False
    assert next(loading) is None  # the file has as much time as any other, from now on
    assert next_path(loading) == "1"
    shelf.held["0"].set()
    assert sorted([next_path(loading), next_path(loading)]) == ["0", "2"]


def test_who_stops_does_not_wait_for_a_slow_file():
    shelf = Shelf(0)
    loading = load_files(shelf, found(*range(20)), workers=1, ahead=3, patience=0.02)
    assert next_path(loading) == "1"
    loading.close()
    assert shelf.running == 1
    assert len(shelf.begun) < 20
    shelf.held["0"].set()


@pytest.mark.parametrize("held", [(), (-1,)])
def test_an_error_of_the_loader_ends_the_run(held):
    shelf = Shelf(*held)
    loading = load_files(shelf, found(0, -1, 2, 3), workers=2, ahead=4, patience=0.02)
    assert next_path(loading) == "0"
    if held:
        assert [next_path(loading), next_path(loading)] == ["2", "3"]
        shelf.held["-1"].set()
    with pytest.raises(BackboneError, match="broken"):
        next_path(loading)
