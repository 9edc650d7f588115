"""What was made of an upload is kept, and searches of several clients are worked on at one time."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

pytest.importorskip("fastapi")

from starlette.datastructures import UploadFile

from semret.errors import ArgumentError, ImageDecodeError
from semret.index.backbones.shared import SharedBackbone
from semret.index.sync.sync import sync
from semret.retrieval.search.engine import open_index
from semret.retrieval.search.query_pictures import EncodedImage
from semret.server import answering
from semret.server.asks import Ask, Form, Matching
from semret.server.recent import Recent
from semret.server.served import Served, View
from semret.server.settings import MOST_AT_ONCE, Settings
from tests.support.networks import TinyBackbone
from tests.support.pictures import draw, encode


def asked(picture, **options):
    """Return a question with an upload."""
    return Ask(options=Form(**options), wanted=[UploadFile(io.BytesIO(picture.data), filename=picture.name)])


def upload(seed, name="new.png"):
    return EncodedImage(encode(draw(seed), "PNG"), name)


def silent(done, total):
    pass


@pytest.fixture
def network():
    return TinyBackbone()


@pytest.fixture
def view(tiny_index, network):
    with open_index(tiny_index) as engine:
        engine._backbone = SharedBackbone(network)
        yield View(engine)


def test_an_explanation_of_an_upload_embeds_nothing_again(view, network):
    recent = Recent()
    result = answering.search(view, asked(upload(50)), recent, silent)
    assert network.embedded == 1
    hit = result[0]
    found = answering.explain(view, upload(50), hit.id, Matching(), recent)
    assert network.embedded == 1
    assert found["score"] == hit.score
    assert found == {"generation": view.generation, **found}
    expected = view.engine.explain(upload(50), hit.id).as_json()
    assert found["pairs"] == expected["pairs"]
    assert found["query"]["name"] == expected["query"]["name"] == "new.png"


def test_another_region_or_option_embeds_nothing_again_and_answers_the_same(view, network):
    recent = Recent()
    for options in ({}, {"k": 2}, {"region": "0%,0%,60%,60%"}, {"exclude_self": True}, {"invariance": "pooled"}):
        result = answering.search(view, asked(upload(50), **options), recent, silent)
        expected = view.engine.search(upload(50), Form(**options).as_search())
        assert [(hit.id, hit.score) for hit in result] == [(hit.id, hit.score) for hit in expected]
        assert set(result.stats.seconds) == set(expected.stats.seconds)
    # Five of those were ours, and the engine remembers nothing.
    assert network.embedded == 1 + 5


def test_a_name_is_that_of_the_request(view):
    recent = Recent()
    recent.represent(view, upload(50, "one.png"))
    assert recent.represent(view, upload(50, "two.png")).name == "two.png"


def test_an_upload_of_what_is_stored_needs_no_network(view, network, photos):
    picture = EncodedImage((photos / "0.png").read_bytes(), "x.png")
    result = answering.search(view, asked(picture, exclude_self=True), Recent(), silent)
    assert network.embedded == 0
    assert all(path.rpartition("/")[2] != "0.png" for hit in result for path in hit.paths)


def test_memory_is_bounded_and_what_was_used_last_stays(view, network):
    size = recent_size(view)
    recent = Recent(most_bytes=3 * size)
    for seed in (50, 51, 52):
        recent.represent(view, upload(seed))
    recent.represent(view, upload(50))
    assert network.embedded == 4
    recent.represent(view, upload(53))
    assert recent.bytes <= 3 * size
    recent.represent(view, upload(50))
    assert network.embedded == 5
    recent.represent(view, upload(51))
    assert network.embedded == 6
    tiny = Recent(most_bytes=1)
    tiny.represent(view, upload(50))
    assert tiny.bytes == 0


def recent_size(view):
    recent = Recent()
    recent.represent(view, upload(49))
    return recent.bytes


def test_pictures_are_not_kept(view):
    recent = Recent()
    assert recent.represent(view, upload(50)).picture is None


def test_one_picture_of_many_clients_is_one_pass(view, network):
    recent, embed, begin = Recent(), network.embed, threading.Event()

    def slow(batch):
        begin.wait(30)
        return embed(batch)

    network.embed = slow
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(recent.represent, view, upload(50)) for _ in range(8)]
        begin.set()
        tokens = {future.result().tokens.tobytes() for future in found}
    assert (network.embedded, len(tokens)) == (1, 1)


def test_what_fails_is_not_kept(view, network):
    recent = Recent()
    for _ in range(2):
        with pytest.raises(ImageDecodeError):
            recent.represent(view, EncodedImage(b"no picture", "x"))
    assert recent.bytes == 0


def test_a_change_of_the_index_keeps_what_was_made(view, network, photos, tiny_index):
    recent = Recent()
    first = answering.search(view, asked(upload(50), k=1), recent, silent)
    served = Served(view.engine)
    draw(50).save(photos / "same.png")
    sync(tiny_index, [photos], TinyBackbone)
    assert served.refresh()
    second = answering.search(served.view, asked(upload(50), k=1), recent, silent)
    assert network.embedded == 1
    assert second[0].score > first[0].score


def test_answers_of_many_threads_are_those_of_one(view):
    asks = [Ask(options=Form(k=4), wanted=[number]) for number in range(1, 7)]
    expected = [[(hit.id, hit.score) for hit in answering.search(view, ask, Recent(), silent)] for ask in asks]
    recent = Recent()

    def turn(number):
        found = answering.search(view, asks[number % 6], recent, silent)
        answering.search(view, asked(upload(60 + number % 5)), recent, silent)
        return [(hit.id, hit.score) for hit in found] == expected[number % 6]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(turn, range(60)))


def test_the_number_of_searches_at_one_time():
    assert 1 <= Settings().searches_at_once <= MOST_AT_ONCE
    assert Settings(workers=7).searches_at_once == 7
    for wrong in (0, -1, 1000):
        with pytest.raises(ArgumentError, match="workers is"):
            replace(Settings(), workers=wrong)
