"""Indexing with a network on a device of its own: the processor stands for the device."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from semret.errors import BackboneError
from semret.index.backbones.features import Features, Shrunk
from semret.index.backbones.spec import Feed, Streams
from semret.index.collection import open_collection
from semret.index.sync import pipeline
from semret.index.sync.loading import Loaded
from semret.index.sync.pipeline import PIECE, Embedder, Shrinking
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from tests.support.pictures import age
from tests.support.torch_networks import FedNetwork


@pytest.fixture
def photos(tmp_path):
    """Return a folder of twenty pictures, a file that is none, and two copies."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        blocks = rng.integers(0, 256, (6, 7, 3), np.uint8)
        Image.fromarray(blocks).resize((70, 60), Image.Resampling.NEAREST).save(folder / f"{number:02d}.png")
    shutil.copy(folder / "03.png", folder / "04-copy.png")
    shutil.copy(folder / "18.png", folder / "00-copy.png")
    (folder / "07-broken.png").write_bytes(b"no picture")
    age(folder)
    return folder


def contents(index):
    """Return the datasets of all segments, row by row under the content's digest."""
    found = {}
    for file in sorted((index / "segments").glob("*.h5")):
        with h5py.File(file) as segment:
            datasets = {name: segment[name][:] for name in segment}
        for row, digest in enumerate(datasets["sha256"]):
            found[digest.tobytes()] = {
                name: array[row].tobytes() for name, array in datasets.items() if len(array) == len(datasets["sha256"])
            }
    return found


@pytest.mark.parametrize("options", [{"codec": "pca12-int8"}, {"codec": "pca8-pq4"}, {"codec": "none"}])
def test_the_index_is_the_same_as_without_a_device(tmp_path, photos, options):
    given = SyncOptions(batch_size=1, fit_from=6, commit_rows=7, **options)
    reports = [
        sync(tmp_path / name, [photos], lambda fed=fed: FedNetwork(fed=fed), options=given)
        for name, fed in (("fed", True), ("plain", False))
    ]
    assert [report.embedded for report in reports] == [20, 20]
    assert contents(tmp_path / "fed") == contents(tmp_path / "plain")
    assert [report.skipped for report in reports] == [((str(photos / "07-broken.png"), reports[1].skipped[0][1]),)] * 2


@pytest.mark.parametrize("options", [{"codec": "pca12-int8"}, {"dtype": "float16"}, {"dtype": "float32"}])
def test_batches_are_shrunk_where_they_are_and_files_stay_in_order(tmp_path, photos, options, monkeypatch):
    came = []
    embed = FedNetwork._new_feed

    def watched(network, batch_size, lanes):
        feed = embed(network, batch_size, lanes)
        inner = feed.embed
        feed.embed = lambda pictures, shrink: came.append(inner(pictures, shrink)) or came[-1]
        return feed

    monkeypatch.setattr(FedNetwork, "_new_feed", watched)
    seen = []
    report = sync(
        tmp_path / "index",
        [photos],
        FedNetwork,
        options=SyncOptions(batch_size=12, fit_from=20, **options),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (report.embedded, report.added, len(report.skipped)) == (20, 22, 1)
    assert seen == [(number, 23) for number in range(24)]
    kinds = {type(found) for found in came}
    # The pictures that the codec is fitted on come back whole; what is stored in float32 always does.
    assert kinds == ({Shrunk} if options == {"dtype": "float16"} else {Features})
    Image.new("RGB", (50, 60), "red").save(photos / "new.png")
    came.clear()
    assert sync(tmp_path / "index", [photos], FedNetwork).embedded == 1
    assert {type(found) for found in came} == ({Features} if options == {"dtype": "float32"} else {Shrunk})
    with open_collection(tmp_path / "index") as collection:
        placed = sorted(zip(collection.ids.tolist(), collection.files(), strict=True))
    order = [Path(path).name for _, (path, _, _) in placed]
    assert order[-1] == "new.png"
    if "codec" not in options:
        assert order[:-1] == sorted(order[:-1])


def test_memory_that_runs_out_changes_nothing_but_the_passes(tmp_path, photos):
    options = SyncOptions(batch_size=8, codec="none")
    networks = [FedNetwork(largest=3), FedNetwork()]
    for name, network in zip("ab", networks, strict=True):
        assert sync(tmp_path / name, [photos], lambda network=network: network, options=options).embedded == 20
    assert max(networks[0].sizes) == 8
    few, many = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert few.keys() == many.keys()
    for digest, row in few.items():
        one, other = (np.frombuffer(side["tokens"], np.float16) for side in (row, many[digest]))
        np.testing.assert_allclose(one.astype(float), other.astype(float), atol=4e-3)


def test_what_the_network_breaks_on_ends_the_run_in_one_line(tmp_path, photos):
    class Broken(FedNetwork):
        def prepare(self, image):
            pixels = super().prepare(image)
            return pixels * np.float32(np.nan) if image.info["original_size"] == (33, 44) else pixels

    Image.new("RGB", (33, 44)).save(photos / "11-strange.png")
    with pytest.raises(BackboneError, match="small gave NaN or infinity in float32"):
        sync(tmp_path / "index", [photos], Broken, options=SyncOptions(batch_size=4, codec="none", commit_rows=1))
    again = sync(tmp_path / "index", [photos], FedNetwork)  # what came before it is in the index
    assert 0 < again.unchanged < 23
    assert again.images == 23


# -- the embedder beside a device


class SlowFeed(Feed):
    """Stands where a `DeviceFeed` stands; pictures are told apart by the value of their pixels."""

    def __init__(self, delay: float = 0.002) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[str] = set()
        self.running = self.most = 0
        self._lock = threading.Lock()
        self._delay = delay

    def embed(self, pictures, shrink):
        numbers = [int(picture.max()) for picture in pictures]
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
            self.batches.append(numbers)
            self.threads.add(threading.current_thread().name.rsplit("_", 1)[0])
        time.sleep(self._delay * (1 + numbers[0] % 3))
        with self._lock:
            self.running -= 1
        if -1 in numbers:
            raise BackboneError("it is broken")
        pooled = np.array(numbers, np.float32)[:, None]
        if shrink is None:
            return Features(pooled[:, None], pooled, (1, 1))
        return Shrunk({"tokens": pooled[:, None]}, {}, pooled, (1, 1))


class Device:
    def __init__(self, feed, batch_size):
        self.feed, self.batch_size = feed, batch_size
        self.open = False

    def streams(self, _):
        return self

    def __enter__(self):
        self.open = True
        return Streams(3, self.batch_size, self.feed)

    def __exit__(self, *_):
        self.open = False


def picture(number, content=None):
    sha = (number if content is None else content).to_bytes(32, "big", signed=True)
    return Loaded(f"{number}.png", 1, 1, sha, np.full((3, 2, 2), number, np.float32))


def numbers_of(pictures, features):
    assert [int(loaded.path.removesuffix(".png")) for loaded in pictures] == [int(one) for one in features.pooled[:, 0]]
    return [int(one) for one in features.pooled[:, 0]]


@pytest.mark.parametrize("is_shrunk", [False, True])
def test_pieces_are_finished_by_other_threads_and_come_in_order(is_shrunk, monkeypatch):
    monkeypatch.setattr(pipeline, "usable_cores", lambda: 4)
    feed, finishers, kinds = SlowFeed(), set(), set()
    device = Device(feed, 20)

    def finish(pictures, features):
        finishers.add(threading.current_thread().name.rsplit("_", 1)[0])
        kinds.add(type(features))
        assert len(pictures) <= PIECE
        time.sleep(0.003 if features.pooled[0, 0] % 2 else 0)
        return numbers_of(pictures, features)

    shrinking = Shrinking(lambda: "something", finish) if is_shrunk else None
    taken, most = [], 0
    files = [Loaded(f"{n}.png", 1, 1, b"known" + bytes(27)) if n % 7 == 5 else picture(n) for n in range(300)]
    with Embedder(
        lambda: device, finish, batch_size=20, is_known=lambda sha: sha[:5] == b"known", shrinking=shrinking
    ) as embedder:
        for file in files:
            taken += embedder.add(file)
            most = max(most, embedder._batches)
        taken += embedder.rest()
    assert [loaded.path for embedded in taken for loaded in embedded.files] == [file.path for file in files]
    expected = [number for number in range(300) if number % 7 != 5]
    assert [number for embedded in taken for number in embedded.result or []] == expected
    assert sorted(number for batch in feed.batches for number in batch) == expected
    assert feed.threads == {"semret-embed"}
    assert finishers == {"semret-finish"}
    assert kinds == {Shrunk if is_shrunk else Features}
    assert feed.most <= 3
    assert most <= 6  # two batches for each stream: the most that are held
    assert not device.open


def test_a_content_is_embedded_once():
    feed = SlowFeed()
    files = [picture(number, content=number // 3) for number in range(60)]
    with Embedder(lambda: Device(feed, 4), numbers_of, batch_size=4, is_known=lambda _: False) as embedder:
        taken = [embedded for file in files for embedded in embedder.add(file)]
        known = {loaded.sha256 for embedded in taken for loaded in embedded.pictures}
        taken += embedder.rest()
    assert sorted(number // 3 for batch in feed.batches for number in batch) == list(range(20))
    assert len(known) < 20
    assert [loaded.path for embedded in taken for loaded in embedded.files] == [f"{number}.png" for number in range(60)]


@pytest.mark.parametrize("where", ["network", "finish"])
def test_a_failure_comes_after_what_was_before_it(where):
    def finish(pictures, features):
        if where == "finish" and 13 in features.pooled:
            raise BackboneError("it is broken")
        return numbers_of(pictures, features)

    device, taken = Device(SlowFeed(), 4), []
    numbers = [-1 if where == "network" and number == 13 else number for number in range(40)]

    def embed_all():
        with Embedder(lambda: device, finish, batch_size=4, is_known=lambda _: False) as embedder:
            for number in numbers:
                taken.extend(embedder.add(picture(number)))
            taken.extend(embedder.rest())

    with pytest.raises(BackboneError, match="broken"):
        embed_all()
    assert [number for embedded in taken for number in embedded.result] == list(range(12))
    assert not device.open
    assert device.feed.running == 0


def test_ctrl_c_waits_for_no_batch():
    release = threading.Event()

    class Stuck(SlowFeed):
        def embed(self, pictures, shrink):
            release.wait(60)
            return super().embed(pictures, shrink)

    device = Device(Stuck(), 2)

    def interrupted():
        with Embedder(lambda: device, numbers_of, batch_size=2, is_known=lambda _: False) as embedder:
            for number in range(8):
                list(embedder.add(picture(number)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not device.open
    release.set()
