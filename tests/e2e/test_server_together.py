"""Several pictures as one question, and pictures to avoid, asked of ``semret serve`` over HTTP."""

from __future__ import annotations

import shutil

import pytest

from semret.index.sync.sync import sync
from semret.retrieval.search.engine import open_index
from tests.support.networks import TinyBackbone
from tests.support.pictures import draw_into
from tests.support.servers import running


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an index of eight pictures, one of which has a copy, and two that are not in it."""
    folder = tmp_path_factory.mktemp("together")
    draw_into(folder / "photos", range(8))
    (folder / "photos" / "deep").mkdir()
    shutil.copy(folder / "photos" / "3.png", folder / "photos" / "deep" / "copy.png")
    sync(folder / ".semret", [folder / "photos"], TinyBackbone)
    draw_into(folder, [77, 78])
    return folder


@pytest.fixture(scope="module")
def server(place):
    with running(place / ".semret") as started:
        yield started


@pytest.fixture(scope="module")
def engine(place):
    found = open_index(place / ".semret")
    found._backbone = TinyBackbone()
    return found


@pytest.fixture(scope="module")
def ids(place, engine):
    return [engine.find(place / "photos" / f"{seed}.png") for seed in range(8)]


def post(server, *files, **fields):
    """Send a form; files are (name, path)."""
    parts = [(name, (path.name, path.read_bytes())) for name, path in files]
    return server.client.post("/api/search", files=parts, data=fields)


def told(result):
    return [(hit["id"], hit["score"], hit["parts"]) for hit in result["hits"]]


def expected(found):
    return [(hit.id, hit.score, list(hit.parts)) for hit in found]


def test_images_of_the_index_are_one_question(server, engine, ids):
    found = server.search(all=[ids[1], ids[5]], k=4)
    assert told(found) == expected(engine.query_all([ids[1], ids[5]], k=4))
    assert [part["avoided"] for part in found["pictures"]] == [False, False]


def test_images_to_avoid_are_no_hits_and_count_against(server, engine, ids):
    found = server.search(**{"all": [ids[1], ids[5]], "not": [ids[3]], "combine": "ranks", "not_weight": 0.5, "k": 9})
    wanted = engine.query_all([ids[1], ids[5]], avoid=[ids[3]], combine="ranks", avoid_weight=0.5, k=9)
    assert told(found) == expected(wanted)
    assert ids[3] not in {hit["id"] for hit in found["hits"]}
    assert told(server.search(**{"id": ids[1], "not": [ids[3]], "k": 4})) == expected(
        engine.query_all([ids[1]], avoid=[ids[3]], k=4)
    )


def test_a_folder_and_a_least_score_hold_for_several(server, engine, place, ids):
    found = server.search(all=[ids[1], ids[5]], k=9, folder="photos/deep")
    assert [hit["id"] for hit in found["hits"]] == [engine.find(place / "photos" / "deep" / "copy.png")]
    every = engine.query_all([ids[1], ids[5]], k=9)
    least = server.search(all=[ids[1], ids[5]], k=9, min_score=float(every.scores[2]))
    assert told(least) == expected(every)[:3]


def test_uploads_and_images_of_the_index_are_one_question(server, engine, place, ids):
    new, other = place / "77.png", place / "78.png"
    answer = post(server, ("image", new), ("image", other), ("not", place / "photos" / "2.png"), all="true", id=ids[4])
    (found,) = answer.json()["results"]
    wanted = engine.query_all([new, other, ids[4]], avoid=[place / "photos" / "2.png"])
    assert told(found) == expected(wanted)
    assert [part["name"] for part in found["pictures"]][:2] == ["77.png", "78.png"]


def test_without_all_each_upload_is_a_question_that_avoids_the_same(server, engine, place, ids):
    answer = post(server, ("image", place / "77.png"), ("image", place / "78.png"), **{"not": [ids[0], ids[3]], "k": 3})
    first, second = answer.json()["results"]
    for name, found in (("77.png", first), ("78.png", second)):
        assert told(found) == expected(engine.query_all([place / name], avoid=[ids[0], ids[3]], k=3))


@pytest.mark.parametrize(
    ("question", "status", "part"),
    [
        ({"all": []}, 400, "all"),
        ({"all": [1] * 33}, 400, "all"),
        ({"all": [1, True]}, 400, "all: input should not be true"),
        ({"all": [1], "id": 1}, 400, "one of id, all and text"),
        ({"all": [1, 999]}, 404, "the index has no image 999"),
        ({"id": 1, "not": [999]}, 404, "the index has no image 999"),
        ({"id": 1, "not": [1]}, 400, "is to be avoided, but the same picture is searched with"),
        ({"id": 1, "avoid": [2]}, 400, "avoid"),
        ({"text": "a mug", "not": [1]}, 400, "a sentence has no patches"),
        ({"id": 1, "combine": "ranks"}, 400, "combine goes with all or not"),
        ({"all": [1, 2], "not_weight": 1}, 400, "not_weight goes with not"),
        ({"all": [1, 2], "combine": "votes"}, 400, "votes"),
        ({"id": 1, "not": [2], "not_weight": -1}, 400, "not_weight"),
        ({"all": [1, 2], "region": "0%,0%,50%,50%"}, 400, "a part of one picture"),
    ],
)
def test_what_does_not_fit_is_one_line(server, question, status, part):
    answer = server.client.post("/api/search", json=question)
    assert (answer.status_code, set(answer.json())) == (status, {"error"})
    assert part in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_what_does_not_fit_a_form_is_one_line(server, place):
    new = ("image", place / "77.png")
    for fields, part in (
        ({"id": "1"}, "id goes with all=true"),
        ({"all": "true", "id": "one"}, "expected the number of an image, got 'one'"),
        ({"not": ""}, "expected the number of an image, got ''"),
        ({"all": "perhaps"}, "all"),
        ({"not": ["1"] * 33}, "33 other pictures, at most 32"),
        ({"combine": "ranks"}, "combine goes with all or not"),
        ({"image": "a.jpg"}, "image is no option"),
    ):
        answer = post(server, new, **fields)
        assert answer.status_code == 400
        assert part in answer.json()["error"]
    answer = post(server, ("not", place / "77.png"))
    assert "no file called image" in answer.json()["error"]


def test_an_explanation_needs_one_id(server, place):
    upload = [("image", ("new.png", (place / "77.png").read_bytes()))]
    for fields in ({}, {"id": ["1", "2"]}):
        answer = server.client.post("/api/explain", files=upload, data=fields)
        assert answer.status_code == 400
        assert "expected the number of one image as id" in answer.json()["error"]


def test_nothing_is_avoided_where_nothing_is_searched(server, place):
    new = ("image", ("new.png", (place / "77.png").read_bytes()))
    unwanted = ("not", new[1])
    for address in ("/api/explain", "/api/preview"):
        answer = server.client.post(address, files=[new, unwanted], data={"id": "1"})
        assert (answer.status_code, "no file called image" in answer.json()["error"]) == (400, True)
    answer = server.client.post("/api/explain", files=[new], data={"id": "1", "not": "2"})
    assert (answer.status_code, answer.json()["error"][:19]) == (400, "not is no option; /")
