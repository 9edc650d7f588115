"""A network that several threads use at once: what each gets, how many run side by side, and whoever needs it alone."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from semret.errors import BackboneError
from semret.index.backbones.registry import create_backbone
from semret.index.backbones.shared import SharedBackbone
from semret.index.backbones.spec import Streams
from tests.support.networks import TinyBackbone
from tests.support.pictures import draw


class Wide(TinyBackbone):
    """The tiny network, which lets `count` passes run side by side, and notes how many did."""

    def __init__(self, count):
        super().__init__()
        self.count = count
        self.guard, self.now, self.most, self.alone = threading.Lock(), 0, 0, True
        self.shared = self.opened = 0
        self.meet = None

    @contextmanager
    def streams(self, batch_size):
        self.opened += 1
        self.shared += 1
        yield Streams(min(self.count, batch_size), 1)
        self.shared -= 1

    def embed(self, batch):
        with self.guard:
            self.now += 1
            self.most = max(self.most, self.now)
        if self.meet is not None:
            self.meet.wait(30)
        found = super().embed(batch)
        with self.guard:
            self.now -= 1
        return found

    def embed_text(self, sentences):
        self.alone &= self.now == 0
        return np.zeros((len(sentences), 2), dtype=np.float32)


def inputs(network, count):
    return [network.prepare(draw(seed))[None] for seed in range(count)]


def test_as_many_passes_run_side_by_side_as_the_network_allows():
    network = Wide(3)
    network.meet = threading.Barrier(3)
    shared = SharedBackbone(network)
    pictures = inputs(network, 9)
    with ThreadPoolExecutor(9) as pool:
        # Three meet three times: with fewer side by side this would never end, with more it would be seen.
        found = list(pool.map(shared.embed, pictures))
    assert (network.most, network.shared) == (3, 0)
    for picture, features in zip(pictures, found, strict=True):
        assert features.tokens.tobytes() == TinyBackbone().embed(picture).tokens.tobytes()


def test_a_network_that_allows_one_pass_is_used_by_one_thread_at_a_time():
    network = Wide(1)
    shared = SharedBackbone(network)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(shared.embed, inputs(network, 40)))
    assert network.most == 1


def test_one_after_another_has_all_processors():
    network = Wide(4)
    shared = SharedBackbone(network)
    for picture in inputs(network, 3):
        shared.embed(picture)
    assert network.opened == 0


def test_sentences_have_the_network_alone():
    network = Wide(4)
    shared = SharedBackbone(network)
    pictures = inputs(network, 40)
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(shared.embed, picture) for picture in pictures]
        done += [pool.submit(shared.embed_text, ["a mug"]) for _ in range(20)]
        for future in done:
            future.result()
    assert network.alone
    assert (network.shared, network.now) == (0, 0)


def test_who_shares_the_network_out_is_not_held_up():
    network = Wide(4)
    network.meet = threading.Barrier(4)
    shared = SharedBackbone(network)
    with shared.streams(8) as streams, ThreadPoolExecutor(streams.count) as pool:
        list(pool.map(shared.embed, inputs(network, 8)))
    assert (network.most, network.opened) == (4, 1)


def test_a_pass_that_fails_gives_its_place_back():
    class Failing(Wide):
        def embed(self, batch):
            del batch
            raise MemoryError("no room")

        def embed_text(self, sentences):
            del sentences
            raise BackboneError("no text")

    shared = SharedBackbone(Failing(2))
    for _ in range(5):
        with pytest.raises(MemoryError):
            shared.embed(np.zeros((1, 3, 24, 24), dtype=np.float32))
        with pytest.raises(BackboneError):
            shared.embed_text(["a mug"])


def test_the_default_network_gives_the_same_to_one_and_to_many():
    network = create_backbone(size=(128, 128))
    pictures = [network.prepare(draw(seed, (160, 120)))[None] for seed in range(12)]
    alone = [network.embed(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(SharedBackbone(network).embed, pictures))
    for one, other in zip(alone, together, strict=True):
        assert one.tokens.tobytes() == other.tokens.tobytes()
        assert one.pooled.tobytes() == other.pooled.tobytes()
