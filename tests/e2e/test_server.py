"""``semret serve`` as a process of its own, asked over HTTP: answers, refusals, load, and the end."""

from __future__ import annotations

import io
import math
import os
import re
import shutil
import signal
import socket
import stat
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from semret.index.care.maintain import remove
from semret.index.sync.sync import sync
from semret.retrieval.search.engine import SearchEngine, open_index
from tests.support.networks import TinyBackbone
from tests.support.pictures import draw, draw_into
from tests.support.servers import running
from tests.support.waiting import eventually

STRANGE = os.fsdecode(b"b <i>\n\xff.png")
TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an index of ten pictures: eight different ones in a/, a strange name and a copy in a/deep/."""
    folder = tmp_path_factory.mktemp("served")
    draw_into(folder / "photos" / "a", range(8))
    (folder / "photos" / "a" / "deep").mkdir()
    draw(20).save(folder / "photos" / "a" / "deep" / STRANGE)
    shutil.copy(folder / "photos" / "a" / "3.png", folder / "photos" / "a" / "deep" / "copy.png")
    sync(folder / ".semret", [folder / "photos"], TinyBackbone)
    draw(77).save(folder / "new.png")
    return folder


@pytest.fixture(scope="module")
def server(place):
    with running(place / ".semret") as started:
        yield started


@pytest.fixture
def engine(place):
    found = open_index(place / ".semret")
    found._backbone = TinyBackbone()
    return found


def id_of(engine: SearchEngine, name: str) -> int:
    found = engine.find(engine.collection.root.folder / "photos" / name)
    assert found is not None
    return found


# Answers.


def pairs(hits):
    return [(hit["id"], hit["score"]) if isinstance(hit, dict) else (hit.id, hit.score) for hit in hits]


def test_an_image_of_the_index_is_answered_as_the_library_does(server, engine, place):
    expected = engine.query(place / "photos" / "a" / "2.png", k=4)
    assert pairs(server.search(id=id_of(engine, "a/2.png"), k=4)["hits"]) == pairs(expected)


def test_an_upload_is_answered_as_the_library_does(server, engine, place):
    answer = server.upload(place / "new.png", k=4, kernel="linear")
    assert answer.status_code == 200
    (found,) = answer.json()["results"]
    assert pairs(found["hits"]) == pairs(engine.query(place / "new.png", k=4, kernel="linear"))
    assert found["query"] == "new.png"


def test_a_batch_keeps_its_order_and_tells_what_fails(server, engine, place):
    one, other = id_of(engine, "a/1.png"), id_of(engine, "a/4.png")
    answer = server.client.post(
        "/api/search", json={"queries": [{"id": one, "k": 1}, {"id": 999}, {"id": other, "k": 1}]}
    )
    first, failed, last = answer.json()["results"]
    assert [first["hits"][0]["id"], last["hits"][0]["id"]] == [one, other]
    assert failed == {"error": "the index has no image 999", "status": 404}


def test_several_uploads_are_several_queries(server, engine, place):
    (place / "broken.png").write_bytes(b"no picture")
    answer = server.upload(place / "new.png", place / "broken.png", place / "photos" / "a" / "5.png", k=1)
    assert answer.status_code == 200
    new, broken, stored = answer.json()["results"]
    assert len(new["hits"]) == 1
    assert broken["status"] == 422
    assert broken["error"].startswith("broken.png: ")
    assert stored["hits"][0]["id"] == id_of(engine, "a/5.png")


def test_the_picture_itself_is_left_out_with_its_copies(server, engine):
    ids = {hit["id"] for hit in server.search(id=id_of(engine, "a/3.png"), k=10, exclude_self=True)["hits"]}
    assert not ids & {id_of(engine, "a/3.png"), id_of(engine, "a/deep/copy.png")}
    assert len(ids) == 8


def test_copies_are_one_hit(server, engine):
    hit = server.search(id=id_of(engine, "a/3.png"), k=1)["hits"][0]
    assert sorted(hit["ids"]) == sorted([id_of(engine, "a/3.png"), id_of(engine, "a/deep/copy.png")])


def test_a_region_is_answered_as_the_library_does(server, engine, place):
    expected = engine.query(place / "photos" / "a" / "2.png", k=3, region="0%,0%,60%,60%")
    found = server.search(id=id_of(engine, "a/2.png"), k=3, region="0%,0%,60%,60%")
    assert pairs(found["hits"]) == pairs(expected)
    assert found["region"] == expected.as_json()["region"]


@pytest.mark.parametrize("options", [{}, {"region": "0%,0%,60%,60%"}, {"exhaustive": True}])
def test_a_folder_holds_all_hits_and_the_best_of_them(server, engine, place, options):
    all_hits = engine.query(place / "photos" / "a" / "2.png", k=10, **options)
    inside = {id_of(engine, f"a/deep/{name}") for name in ("copy.png", STRANGE)}
    found = server.search(id=id_of(engine, "a/2.png"), k=10, folder="photos/a/deep", **options)["hits"]
    assert {hit["id"] for hit in found} == inside
    assert [hit["score"] for hit in found] == [hit.score for hit in all_hits if set(hit.ids) & inside]
    assert all(set(hit["ids"]) <= inside for hit in found)


def test_a_sentence_is_answered_by_the_pooled_embedding(place, engine):
    with running(place / ".semret", SEMRET_TESTS_TEXT="1") as server:
        everywhere = server.search(text="a mug", k=10)["hits"]
        assert [hit["score"] for hit in everywhere] == sorted((hit["score"] for hit in everywhere), reverse=True)
        inside = server.search(text="a mug", k=10, folder="photos/a/deep")["hits"]
        ids = {hit["id"] for hit in inside}
        assert ids == {id_of(engine, "a/deep/copy.png"), id_of(engine, f"a/deep/{STRANGE}")}
        assert {hit["score"] for hit in inside} <= {hit["score"] for hit in everywhere}
        assert server.client.post("/api/search", json={"text": "a", "region": "0,0,9,9"}).status_code == 400


def test_times_and_a_least_score_are_those_of_the_library(server, engine, place):
    one = id_of(engine, "a/2.png")
    every = engine.query(place / "photos" / "a" / "2.png", k=10)
    least = float(every.scores[2])
    found = server.search(id=one, k=10, min_score=least)
    assert pairs(found["hits"]) == pairs(every[:3])
    assert found["notes"] == [f"only 3 candidates reached a score of {least:g}"]
    assert pairs(server.search(id=one, k=10, since="2001", until="9998")["hits"]) == pairs(every)
    assert server.search(id=one, k=10, until="2001-05")["notes"] == ["no image passes the filter"]
    assert server.search(id=one, folder="photos/a/deep")["stats"]["allowed"] == 2
    form = {"since": "2001", "min_score": str(least), "k": "10"}
    with (place / "photos" / "a" / "2.png").open("rb") as file:
        answer = server.client.post("/api/search", files={"image": file}, data=form).json()["results"][0]
    assert pairs(answer["hits"]) == pairs(every[:3])
    for wrong in ({"since": "soon"}, {"since": "2024", "until": "2023"}, {"min_score": "much"}):
        refused = server.client.post("/api/search", json={"id": one, **wrong})
        assert (refused.status_code, set(refused.json())) == (400, {"error"})


def test_folders_are_listed(server):
    assert server.client.get("/api/info").json()["folders"] == ["photos", "photos/a", "photos/a/deep"]


def test_a_name_of_any_characters_comes_whole_and_is_shown_plainly(server, engine):
    found = server.search(id=id_of(engine, f"a/deep/{STRANGE}"), k=1)["hits"][0]
    assert found["path"].endswith(STRANGE)
    assert found["shown"].endswith(r"b <i>\n\xff.png") or found["shown"].endswith(r"b <i>\n\udcff.png")


def test_an_explanation_sums_to_the_score(server, engine, place):
    one, other = id_of(engine, "a/1.png"), id_of(engine, "a/4.png")
    hits = {hit["id"]: hit["score"] for hit in server.search(id=one, k=10)["hits"]}
    found = server.client.get("/api/explain", params={"query": one, "id": other}).json()
    assert found["score"] == hits[other]
    assert math.fsum(pair["share"] for pair in found["pairs"]) == pytest.approx(found["score"], abs=1e-12)
    assert found["query"]["path"].endswith("1.png")
    files = {"image": ("new.png", (place / "new.png").read_bytes())}
    uploaded = server.client.post("/api/explain", files=files, data={"id": other, "region": "0%,0%,50%,50%"})
    assert uploaded.status_code == 200
    assert uploaded.json()["query"]["name"] == "new.png"
    assert len(uploaded.json()["pairs"]) < 9


def test_a_preview_is_a_small_jpeg(server, place):
    answer = server.client.post("/api/preview", files={"image": ("new.png", (place / "new.png").read_bytes())})
    assert answer.content.startswith(b"\xff\xd8")
    assert answer.headers["content-type"] == "image/jpeg"


# Pictures.


def test_a_picture_is_the_file_that_was_indexed(server, engine, place):
    answer = server.client.get(f"/api/images/{id_of(engine, 'a/1.png')}")
    assert answer.content == (place / "photos" / "a" / "1.png").read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert "sandbox" in answer.headers["content-security-policy"]
    again = server.client.get(answer.url, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def test_a_thumbnail_is_small(server, engine):
    from PIL import Image

    answer = server.client.get(f"/api/images/{id_of(engine, 'a/1.png')}/thumbnail", params={"edge": 32})
    assert max(Image.open(io.BytesIO(answer.content)).size) == 32
    assert server.client.get(answer.url, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_what_is_not_what_was_indexed_is_not_shown(tmp_path):
    (tmp_path / "photos").mkdir()
    pictures = {how: tmp_path / "photos" / f"{how}.png" for how in ("changed", "gone", "link", "pipe", "other")}
    for seed, picture in enumerate(pictures.values()):
        draw(seed).save(picture)
    sync(tmp_path / ".semret", [tmp_path / "photos"], TinyBackbone)
    (tmp_path / "secret.txt").write_text("secret\n")
    for picture in pictures.values():
        picture.unlink()
    draw(9).save(pictures["changed"])
    pictures["link"].symlink_to(tmp_path / "secret.txt")
    os.mkfifo(pictures["pipe"])
    # A picture of the index, but another one.
    draw(0).save(pictures["other"])
    with running(tmp_path / ".semret") as server:
        for id_ in open_index(tmp_path / ".semret").collection.ids.tolist():
            for path in (f"/api/images/{id_}", f"/api/images/{id_}/thumbnail"):
                answer = server.client.get(path)
                assert answer.status_code == 410
                assert b"secret\n" not in answer.content
                assert "\n" not in answer.json()["error"]
            # Searching needs no file.
            assert len(server.search(id=id_, k=5)["hits"]) == 5


# Refusals.


def png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


POST = "/api/search"


@pytest.mark.parametrize(
    ("method", "path", "request_", "status", "part"),
    [
        ("POST", POST, {"json": {}}, 400, "needs one of id, all and text"),
        ("POST", POST, {"json": {"id": 1, "text": "a"}}, 400, "needs one of id, all and text"),
        ("POST", POST, {"json": {"id": 1, "k": 0}}, 400, "k: "),
        ("POST", POST, {"json": {"id": 1, "k": 100000}}, 400, "k: "),
        ("POST", POST, {"json": {"id": 1, "kernel": "cosin"}}, 400, "did you mean cosine?"),
        ("POST", POST, {"json": {"id": 1, "nonsense": 1}}, 400, "nonsense is no option"),
        ("POST", POST, {"json": {"id": 999}}, 404, "no image 999"),
        ("POST", POST, {"json": {"id": -1}}, 400, "id: "),
        ("POST", POST, {"json": {"id": 10**30}}, 400, "id: "),
        ("POST", POST, {"json": {"id": 1, "region": "1,2,3"}}, 400, "region"),
        ("POST", POST, {"json": {"id": 1, "region": "9999,9999,5,5"}}, 400, "region"),
        ("POST", POST, {"json": {"id": 1, "shortlist": 1, "k": 2}}, 400, "shortlist"),
        ("POST", POST, {"json": {"id": 1, "folder": "../.."}}, 400, "no image in a folder"),
        ("POST", POST, {"json": {"text": "a mug"}}, 400, "no text tower"),
        ("POST", POST, {"json": {"queries": []}}, 400, "queries"),
        ("POST", POST, {"json": {"queries": [{"id": 1}] * 33}}, 400, "queries"),
        ("POST", POST, {"json": [1]}, 400, "no JSON object"),
        ("POST", POST, {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "not JSON"),
        (
            "POST",
            POST,
            {"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}},
            400,
            "not JSON",
        ),
        (
            "POST",
            POST,
            {"content": b'{"a":"' + b"a" * 2**20 + b'"}', "headers": {"Content-Type": "application/json"}},
            413,
            "longer than the limit",
        ),
        ("POST", POST, {"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, "application/json"),
        ("POST", POST, {"files": {"picture": ("a.png", b"x")}}, 400, "no file called image"),
        ("POST", POST, {"files": {"image": ("a.png", b"")}}, 422, "a.png: is empty"),
        ("POST", POST, {"files": {"image": ("a.png", b"GIF89a")}}, 422, "a.png: "),
        ("POST", POST, {"files": {"image": ("big.png", png_of(30000, 30000))}}, 422, "more than the limit"),
        ("POST", POST, {"files": [("image", ("a.png", b"x"))] * 33}, 400, "Too many files"),
        (
            "POST",
            POST,
            {"content": b"--x\r\nnonsense", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
            400,
            "",
        ),
        ("POST", "/api/explain", {"files": {"image": ("a.png", b"x")}, "data": {"id": "x"}}, 400, "id: "),
        ("GET", "/api/explain?query=1&id=999", {}, 404, "no image 999"),
        ("GET", "/api/explain?query=1&id=2&invariance=pooled", {}, 400, "pooled"),
        ("GET", "/api/explain?id=2", {}, 400, "query: "),
        ("GET", "/api/images/999", {}, 404, "no image 999"),
        ("GET", "/api/images/999/thumbnail", {}, 404, "no image 999"),
        ("GET", "/api/images/1/thumbnail?edge=9999", {}, 400, "edge is 9999"),
        ("GET", "/api/images/..%2f..%2fetc%2fpasswd", {}, 404, "nothing at this address"),
        ("GET", "/page/../app.py", {}, 404, "nothing at this address"),
        ("GET", "/page/", {}, 404, "nothing at this address"),
        ("GET", "/redoc", {}, 404, "nothing at this address"),
        ("GET", POST, {}, 405, "asked in another way"),
        ("DELETE", "/api/images/1", {}, 405, "asked in another way"),
    ],
)
def test_what_does_not_fit_is_one_line_of_json(server, method, path, request_, status, part):
    answer = server.client.request(method, path, **request_)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert part.lower() in error.lower()
    assert error
    assert "\n" not in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost"}, 200),
        ({"Host": "127.0.0.1:1"}, 200),
        ({"Host": "[::1]:9"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "192.168.0.7"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:5", "Origin": "http://localhost:5"}, 200),
        ({"Host": "localhost:5", "Origin": "http://localhost:6"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
    ],
)
def test_other_names_and_other_pages_are_refused(server, headers, status):
    answer = server.client.get("/api/info", headers=headers)
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]


def test_a_post_from_another_page_is_refused_even_as_a_navigation(server):
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert server.client.post("/api/search", json={"id": 1}, headers=headers).status_code == 403


def test_headers_are_strict_and_tell_no_version(server):
    for path in ("/", "/docs", "/api/info", "/api/images/1", "/page/main.js", "/nowhere"):
        headers = server.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert path == "/api/images/1" or "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers


def test_the_page_asks_other_hosts_for_nothing(server):
    page = server.client.get("/").text + server.client.get("/docs").text
    files = set(re.findall(r'(?:src|href)="(page/[^"]+)"', page))
    assert len(files) > 3
    scripts = [name for name in files if name.endswith(".js")]
    for name in scripts:
        files |= {f"page/{found}" for found in re.findall(r'from "\./([^"]+)"', server.client.get(f"/{name}").text)}
    for name in files:
        answer = server.client.get(f"/{name}")
        assert answer.status_code == 200
        assert set(re.findall(r"https?://[\w.]+", answer.text)) <= {"http://www.w3.org"}
    assert not re.findall(r"<script>|<style|style=|\son\w+=", page)


def test_the_description_names_every_route(server):
    found = server.client.get("/openapi.json").json()
    assert {
        "/api/search",
        "/api/explain",
        "/api/images/{id}",
        "/api/images/{id}/thumbnail",
        "/api/info",
        "/healthz",
        "/metrics",
    } <= set(found["paths"])
    body = found["paths"]["/api/search"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data"}


def test_metrics_count(server):
    server.search(id=1)
    text = server.client.get("/metrics").text
    assert "semret_index_images 10.0" in text
    assert re.search(r'semret_request_seconds_count\{route="/api/search",status="200"\} [1-9]', text)
    assert 'semret_search_stage_seconds_count{stage="match"}' in text


# Who may ask.


def test_with_a_token_nothing_of_the_index_is_told_without_it(place):
    with running(place / ".semret", SEMRET_TOKEN=TOKEN) as server:
        for path in ("/", "/page/main.js", "/docs", "/healthz"):
            assert server.client.get(path).status_code == 200
        for path in ("/api/info", "/api/images/1", "/api/images/1/thumbnail", "/metrics", "/openapi.json", "/nowhere"):
            answer = server.client.get(path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        for wrong in ("Bearer nonsense", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", "Bearer é"):
            headers = {"Authorization": wrong.encode("latin-1")}
            assert server.client.get("/api/info", headers=headers).status_code == 401
            assert server.client.post("/api/login", headers=headers).status_code == 401
        assert server.client.get("/api/info", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        logged_in = server.client.post("/api/login", headers={"Authorization": f"Bearer {TOKEN}"})
        cookie = logged_in.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert TOKEN not in cookie
        assert server.client.get("/api/images/1").status_code == 200
        server.client.cookies.clear()
        assert server.client.get("/api/images/1").status_code == 401
        assert not any(TOKEN in line for line in server.log)


def test_beyond_this_machine_addresses_and_given_names_are_known(place):
    with running(place / ".semret", "--host", "0.0.0.0", "--no-auth", "--name", "photos.example") as server:
        client = httpx2.Client(base_url=f"http://127.0.0.1:{server.port}")
        for host, status in (("10.1.2.3:80", 200), ("photos.example", 200), ("evil.example", 403)):
            assert client.get("/api/info", headers={"Host": host}).status_code == status
        client.close()


# Limits and load.


def test_a_long_upload_is_refused_by_its_header_and_by_its_bytes(place):
    with running(place / ".semret", "--max-upload", "1") as server:
        declared = server.client.post("/api/search", files={"image": ("a.png", b"x" * 1_100_000)})
        assert declared.status_code == 413

        def parts():
            yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
            for _ in range(20):
                yield b"x" * 100_000

        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        try:
            status = server.client.post("/api/search", content=parts(), headers=headers).status_code
        except httpx2.TransportError:
            status = 413  # The connection was closed while the rest was being sent.
        assert status == 413
        assert server.client.get("/healthz").status_code == 200


def test_thirty_two_clients_get_the_right_answers(server, engine, place):
    names = [place / "photos" / "a" / f"{seed}.png" for seed in range(8)] + [place / "new.png"]
    expected = {name: pairs(engine.query(name, k=5)) for name in names}

    def ask(number):
        with httpx2.Client(base_url=server.address, timeout=60) as client:
            wrong = 0
            for turn in range(4):
                name = names[(number + turn) % len(names)]
                answer = server.upload(name, client=client, k=5)
                wrong += pairs(answer.json()["results"][0]["hits"]) != expected[name]
            return wrong

    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(ask, range(32))) == 0


def half_an_upload(server) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", server.port))
    stream.sendall(
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b'Content-Length: 100000\r\n\r\n--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nabc'
    )
    return stream


def test_slow_uploads_hold_up_nobody(place):
    with running(place / ".semret", "--max-waiting", "2") as server:
        streams = [half_an_upload(server) for _ in range(20)]
        assert server.search(id=1)["hits"]
        for stream in streams:
            stream.close()
        assert server.search(id=1)["hits"]


def test_too_many_are_told_to_come_again(place):
    with (
        running(place / ".semret", "--max-waiting", "1", "--workers", "1", embed=1.0) as server,
        ThreadPoolExecutor(6) as pool,
    ):
        eventually(lambda: "semret_searches_waiting 0.0" in server.client.get("/metrics").text)
        answers = list(pool.map(lambda _: server.upload(place / "new.png"), range(6)))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses[0] == 200
        assert statuses[-1] == 503
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert int(refused.headers["retry-after"]) > 0
        assert "waiting already" in refused.json()["error"]
        # Thumbnails do not wait for searches.
        assert server.client.get("/api/images/1/thumbnail").status_code == 200


def test_whoever_leaves_frees_their_place(place):
    with running(place / ".semret", "--max-waiting", "2", "--workers", "1", embed=1.5) as server:
        body = (place / "new.png").read_bytes()
        head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        whole = head + body + b"\r\n--x--\r\n"
        request = (
            b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            + f"Content-Length: {len(whole)}\r\n\r\n".encode()
            + whole
        )
        streams = []
        for _ in range(3):
            streams.append(socket.create_connection(("127.0.0.1", server.port)))
            streams[-1].sendall(request)
        waiting = lambda count: f"semret_searches_waiting {count}.0" in server.client.get("/metrics").text  # noqa: E731
        eventually(lambda: waiting(3))
        assert server.client.post("/api/search", json={"id": 1}).status_code == 503
        for stream in streams:
            stream.close()
        # One is being embedded and holds its place until that is done; those that waited are gone at once.
        eventually(lambda: waiting(1) or waiting(0))
        assert server.search(id=1)["hits"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_stopped_finishes_what_runs(place, number):
    with running(place / ".semret", embed=1.0) as server, ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(server.upload, place / "new.png") for _ in range(2)]
        eventually(lambda: "semret_searches_waiting 2.0" in server.client.get("/metrics").text)
        assert server.stop(number) == 0
        assert [future.result().status_code for future in futures] == [200, 200]
        assert len(server.log) == 1, server.log


def test_a_server_that_is_told_twice_waits_for_nothing(place):
    with running(place / ".semret", embed=20.0) as server, ThreadPoolExecutor(1) as pool:
        future = pool.submit(server.upload, place / "new.png")
        eventually(lambda: "semret_searches_waiting 1.0" in server.client.get("/metrics").text)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert server.stop(signal.SIGINT) == 130
        assert future.exception() is not None or future.result().status_code == 503


# The index changes.


@pytest.fixture
def growing(tmp_path):
    draw_into(tmp_path / "photos", range(4))
    sync(tmp_path / ".semret", [tmp_path / "photos"], TinyBackbone)
    return tmp_path


def test_what_a_writer_adds_is_found_without_a_gap(growing):
    with running(growing / ".semret") as server:
        done, failures = threading.Event(), []

        def ask():
            with httpx2.Client(base_url=server.address) as client:
                while not done.is_set():
                    answer = client.post("/api/search", json={"id": 1, "k": 3})
                    if answer.status_code != 200 or len(answer.json()["results"][0]["hits"]) != 3:
                        failures.append(answer.text)

        asking = threading.Thread(target=ask)
        asking.start()
        for seed in range(4, 7):
            draw(seed).save(growing / "photos" / f"{seed}.png")
            sync(growing / ".semret", [growing / "photos"], TinyBackbone)
            eventually(lambda seed=seed: server.client.get("/api/info").json()["images"] == seed + 1)
        done.set()
        asking.join()
        assert failures == []
        found = server.upload(growing / "photos" / "6.png", k=1).json()
        assert found["results"][0]["hits"][0]["score"] == pytest.approx(1)
        assert found["generation"] == server.client.get("/api/info").json()["generation"]


def test_while_the_catalog_cannot_be_read_the_former_state_is_served(growing):
    catalog = growing / ".semret" / "catalog.sqlite"
    with running(growing / ".semret") as server:
        trouble = lambda: server.client.get("/api/info").json()["trouble"]  # noqa: E731
        catalog.rename(growing / "elsewhere")
        eventually(trouble)
        assert "catalog.sqlite is missing" in trouble()
        assert server.client.get("/healthz").status_code == 200
        assert len(server.search(id=1, k=4)["hits"]) == 4
        (growing / "elsewhere").rename(catalog)
        eventually(lambda: trouble() is None)
        assert len(server.search(id=1, k=4)["hits"]) == 4
        assert len(server.log) == 2, server.log


def test_features_that_are_damaged_are_told_in_one_line(growing):
    for segment in (growing / ".semret" / "segments").iterdir():
        os.truncate(segment, segment.stat().st_size // 2)
    with running(growing / ".semret") as server:
        answer = server.client.post("/api/search", json={"id": 1})
        assert answer.status_code == 500
        assert "semret verify --repair" in answer.json()["error"]
        assert server.client.get("/api/images/1").status_code == 200


def test_an_empty_index_says_so(growing):
    draw(0).save(growing / "new.png")
    remove(growing / ".semret", [growing / "photos"])
    with running(growing / ".semret") as server:
        answer = server.upload(growing / "new.png")
        assert answer.status_code == 409
        assert "is empty" in answer.json()["error"]


def test_a_copied_index_that_cannot_be_written_is_served(growing, tmp_path_factory):
    folder = tmp_path_factory.mktemp("replica")
    shutil.copytree(growing, folder / "copy")
    index = folder / "copy" / ".semret"
    paths = [index, *index.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    before = {path: path.stat().st_mtime_ns for path in paths}
    try:
        with running(index) as server:
            assert len(server.search(id=1, k=4)["hits"]) == 4
            assert server.upload(folder / "copy" / "photos" / "2.png").status_code == 200
            assert server.client.get("/api/images/1").status_code == 200
            assert server.client.get("/api/info").json()["trouble"] is None
        assert {path: path.stat().st_mtime_ns for path in [index, *index.rglob("*")]} == before
    finally:
        for path in paths:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
