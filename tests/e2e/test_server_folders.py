"""Folders of any name can be kept to over HTTP: as they are, as they are shown, and by their whole path."""

from __future__ import annotations

import json
import os

import pytest

from semret.index.sync.sync import sync
from tests.support.networks import TinyBackbone
from tests.support.pictures import draw
from tests.support.servers import running

pytestmark = pytest.mark.slow

NAMES = [os.fsdecode(b"K\xfcche"), "new\nline", " blank ", "back\\nslash", "plain", "\u202egpj"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folders")
    for seed, name in enumerate(NAMES):
        (folder / "photos" / name).mkdir(parents=True)
        draw(seed).save(folder / "photos" / name / "picture.png")
    sync(folder / ".semret", [folder / "photos"], TinyBackbone)
    return folder


@pytest.fixture(scope="module")
def server(place):
    with running(place / ".semret") as started:
        yield started


def found(server, folder: str, *, form: bool) -> list[str]:
    if form:
        files = {"image": ("new.png", png())}
        answer = server.client.post("/api/search", files=files, data={"folder": folder})
    else:
        # As Python and browsers write it: lone surrogates as escapes.
        body = json.dumps({"id": 1, "folder": folder}).encode()
        answer = server.client.post("/api/search", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    return [hit["path"].split("/")[-2] for hit in answer.json()["results"][0]["hits"]]


def png() -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    draw(99).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("form", [False, True])
def test_every_folder_can_be_chosen_as_it_is_shown(server, form):
    info = server.client.get("/api/info").json()
    assert sorted(info["folders"]) == sorted(["photos", *(f"photos/{name}" for name in NAMES)])
    assert len(info["shown_folders"]) == len(info["folders"])
    for folder, shown in list(zip(info["folders"], info["shown_folders"], strict=True))[1:]:
        assert shown.isprintable()
        assert found(server, shown, form=form) == [folder.removeprefix("photos/")]


def test_a_folder_may_be_named_as_it_is_or_by_its_whole_path(server, place):
    for name in NAMES:
        assert found(server, f"photos/{name}", form=False) == [name]
        assert found(server, f"{place}/photos/{name}/", form=False) == [name]
    assert len(found(server, f"{place}/photos", form=False)) == 5
    assert len(found(server, "/", form=False)) == 5


def test_a_folder_that_is_none_is_one_line(server):
    answer = server.client.post("/api/search", json={"id": 1, "folder": "no\nwhere"})
    assert answer.status_code == 400
    assert answer.json()["error"] == r"there is no image in a folder no\nwhere; /api/info lists the folders"


def test_a_name_in_an_error_is_shown_plainly(server):
    name = "a  b\u202e\x1b[31m.png"
    answer = server.client.post("/api/search", files={"image": (name, b"no picture")})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("a  b\\u202e")
    assert answer.json()["error"].isprintable()
    answer = server.client.post("/api/search", json={"id": 1, "k\u202e" + "x" * 10_000: 1})
    assert answer.json()["error"].startswith(r"k\u202ex")
    assert len(answer.json()["error"]) < 200
