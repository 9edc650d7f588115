"""Batches under way: order, several streams, what a failure and a repeated content do."""

from __future__ import annotations

import contextlib
import threading
import time

import numpy as np
import pytest

from semret.errors import BackboneError
from semret.index.backbones.spec import Features, Streams
from semret.index.pipeline import Embedder, Loaded


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
            if number == 39:
                release.set()
            yield picture(number)

    timer = threading.Timer(0.3, release.set)
    timer.start()
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
