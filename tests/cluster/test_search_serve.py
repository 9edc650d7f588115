"""``semret serve --ray``: the interface of ``semret serve`` from a real cluster; new states, losses, the end."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
import ray

from semret.index.collection import open_collection
from semret.index.sync.report import SyncOptions
from semret.index.sync.sync import sync
from semret.retrieval.search.engine import SearchEngine
from tests.support.servers import Server
from tests.support.waiting import eventually

ARGUMENTS = ("--shards", "2", "--shard-cpus", "0", "--replicas", "2")


@pytest.fixture(scope="module")
def photos(tmp_path_factory, draw_picture):
    folder = tmp_path_factory.mktemp("serve") / "photos"
    for number in range(24):
        place = folder / ("first" if number < 16 else "more")
        place.mkdir(parents=True, exist_ok=True)
        draw_picture(number).save(place / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def index(photos, tiny_backbone):
    index = photos.parent / ".semret"
    sync(index, [photos / "first"], tiny_backbone, options=SyncOptions(codec="pca6-int8", fit_from=4, commit_rows=5))
    return index


@pytest.fixture(scope="module")
def server(index, ray_cluster):
    """A server of two replicas before two shards; the last test has stopped it."""
    server = Server(index, "--ray", ray_cluster.address, *ARGUMENTS)
    yield server
    server.close()


def actors(prefix):
    """Return the actors whose names begin so."""
    found = ray.util.list_named_actors(all_namespaces=True)
    return [ray.get_actor(**one) for one in found if one["name"].startswith(prefix)]


def test_it_says_where_it_is_and_nothing_else(server):
    assert len(server.log) == 1
    assert server.log[0].startswith("semret: serving 16 images of ")


def test_the_page_and_the_answers_are_those_of_one_machine(server, index, photos):
    engine = SearchEngine(open_collection(index))
    for options in ({"k": 5}, {"k": 3, "exhaustive": True}, {"folder": "photos/first", "exclude_self": True}):
        found = server.search(id=3, **options)
        matching = {name: value for name, value in options.items() if name != "folder"}
        expected = engine.query(3, **matching).as_json()
        assert found["hits"]
        assert found["stats"]["solved"] == expected["stats"]["solved"]
        assert [(hit["id"], hit["score"]) for hit in found["hits"]] == [
            (hit["id"], hit["score"]) for hit in expected["hits"]
        ]
    uploaded = server.upload(photos / "first" / "04.png", k=2).json()["results"][0]
    assert uploaded["hits"][0]["shown"].endswith("04.png")
    assert "<title>semret</title>" in server.client.get("/").text
    assert server.client.get("/api/images/1").content == (photos / "first" / "00.png").read_bytes()
    assert server.client.get("/api/images/1/thumbnail").headers["content-type"] == "image/jpeg"
    assert server.client.get("/api/explain", params={"query": 1, "id": 2}).json()["pairs"]
    refused = server.client.post("/api/search", json={"id": 1, "k": 0})
    assert refused.status_code == 400
    assert "k" in refused.json()["error"]
    assert server.client.get("/healthz", headers={"host": "elsewhere.example"}).status_code == 403


def test_a_new_state_is_taken_over_without_a_gap(server, photos, index, tiny_backbone):
    before = open_collection(index).generation
    seen, done = [], threading.Event()

    def ask():
        with httpx2.Client(base_url=server.address, timeout=60) as client:
            while not done.is_set():
                answer = client.post("/api/search", json={"id": 3, "k": 30})
                found = answer.json()
                seen.append((answer.status_code, found.get("generation"), len(found["results"][0]["hits"])))

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(ask) for _ in range(2)]
        try:
            sync(index, [photos / "more"], tiny_backbone)
            after = open_collection(index).generation
            eventually(lambda: len(seen) > 20 and all(one[1] == after for one in seen[-20:]))
        finally:
            done.set()
        for one in asked:
            one.result()
    assert {status for status, _, _ in seen} == {200}
    found = {generation: {hits for _, one, hits in seen if one == generation} for _, generation, _ in seen}
    assert found[before] == {16}
    assert found[after] == {24}


def test_a_replica_and_a_shard_that_are_killed_are_replaced(server):
    expected = server.search(id=3)["hits"]
    replicas = actors("SERVE_REPLICA")
    assert len(replicas) == 2
    lost = [replicas[0], actors("semret-")[0]]
    for process in ray.get([actor.__ray_call__.remote(lambda _: os.getpid()) for actor in lost]):
        os.kill(process, signal.SIGKILL)

    def answers():
        try:
            answer = server.client.post("/api/search", json={"id": 3})
        except httpx2.TransportError:
            return False
        return answer.status_code == 200 and answer.json()["results"][0]["hits"] == expected

    eventually(answers)
    eventually(lambda: len(actors("SERVE_REPLICA")) == 2)
    assert all(answers() for _ in range(20))


def test_a_second_server_in_the_cluster_is_refused_in_one_line(server, index, ray_cluster):
    second = Server.__new__(Server)
    with pytest.raises(AssertionError):
        second.__init__(index, "--ray", ray_cluster.address, *ARGUMENTS)
    assert second.process.wait(60) == 1
    assert len(second.log) == 1
    assert "Ray Serve runs in this cluster already" in second.log[0]
    second.process.stderr.close()


def test_sigterm_lets_what_is_asked_be_answered_and_leaves_nothing(server):
    many = {"queries": [{"id": 1 + number % 16, "k": 9, "exhaustive": True} for number in range(32)]}
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.client.post, "/api/search", json=many)
        time.sleep(0.3)
        assert server.stop() == 0
        answer = asked.result()
    assert answer.status_code == 200
    assert all(one["hits"] for one in answer.json()["results"])
    eventually(lambda: not actors("semret-") and not actors("SERVE_"))
