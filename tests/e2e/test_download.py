"""Weights fetched from a hub: a server on this machine that answers as the Hugging Face hub does, the real client, the
real command line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from semret.index.backbones.registry import spec_of
from tests.support.processes import Driver

pytestmark = pytest.mark.slow
MODEL = "resnet18"
REPOSITORY, COMMIT = spec_of(MODEL).checkpoint, str(spec_of(MODEL).revision)


class Hub(ThreadingHTTPServer):
    """Serves the files of one repository at one commit.

    `breaks` lists after how many bytes of the weight file the next connections close; `gated` asks for a licence.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.folder = folder
        self.requests: list[tuple[str, str, int]] = []
        self.breaks: list[int] = []
        self.gated = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        prefix = f"/{REPOSITORY}/resolve/"
        revision, _, name = self.path.removeprefix(prefix).partition("/")
        file = self.server.folder / name
        if self.server.gated and self.path.startswith(prefix):
            status, code, data = 403, "GatedRepo", b"{}"
        elif not self.path.startswith(prefix) or revision not in (COMMIT, "main") or not file.is_file():
            status, code, data = 404, "EntryNotFound", b"{}"
        else:
            status, code, data = 200, "", file.read_bytes()
        whole, start = len(data), 0
        etag = hashlib.sha256(data).hexdigest()
        wanted = self.headers.get("Range", "")
        if status == 200 and wanted.startswith("bytes="):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            status, data = 206, data[start:]
        self.server.requests.append((self.command, self.path, start))
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if not with_body:
            return
        if name.endswith(".safetensors") and self.server.breaks:
            data = data[: self.server.breaks.pop(0)]
            self.close_connection = True
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a network of the real class and size with random weights, as it is saved."""
    folder = tmp_path_factory.mktemp("resnet")
    torch.manual_seed(0)
    config = transformers.ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic")
    config.num_labels = 1000
    transformers.ResNetForImageClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(saved: Path) -> Iterator[Hub]:
    server = Hub(saved)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def hub(server: Hub, saved: Path, home: Path) -> Hub:
    """The hub as it is at first, and nothing fetched from it yet."""
    shutil.rmtree(home, ignore_errors=True)
    server.folder, server.gated = saved, False
    server.requests.clear()
    server.breaks.clear()
    return server


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the client fetches."""
    return tmp_path_factory.mktemp("client") / "home"


@pytest.fixture(scope="module")
def environment(server: Hub, home: Path) -> dict[str, str]:
    """What the client reads when it is imported."""
    clean = {name: os.environ[name] for name in os.environ if not name.lower().endswith(("_proxy", "_offline"))}
    return clean | {"HF_ENDPOINT": server.url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}


Command = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def driver(environment: dict[str, str]) -> Iterator[Driver]:
    started = Driver("hub_driver", {name: value for name, value in environment.items() if name != "SEMRET_INDEX"})
    yield started
    started.close()


@pytest.fixture
def semret(driver: Driver, tmp_path: Path) -> Command:
    """Run a command in a fork of a process that has imported the network's library; see `tests.support.hub_driver`."""

    def run(*words: str) -> SimpleNamespace:
        return SimpleNamespace(**driver({"words": words, "folder": str(tmp_path), "nowhere": False, "stdout": "file"}))

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{seed}.png")
    return folder


def test_a_named_model_is_fetched_at_its_pinned_commit_once(
    hub: Hub, photos: Path, tmp_path: Path, environment: dict[str, str], semret: Command
) -> None:
    # The program itself; the other commands run in forks.
    command = [sys.executable, "-m", "semret", "index", "photos", "--model", MODEL, "--format", "json"]
    first = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["added"] == 3
    asked = {path for _, path, _ in hub.requests if path.startswith(f"/{REPOSITORY}/resolve/")}
    assert f"/{REPOSITORY}/resolve/{COMMIT}/model.safetensors" in asked
    assert all(COMMIT in path or path.endswith("/main/config.json") for path in asked)
    reachable = [path for _, path, _ in hub.requests if "/main/" in path]
    assert len(reachable) == 1, "whether there is a network is found out once"
    identity = json.loads((tmp_path / ".semret" / "manifest.json").read_text())["identity"]
    assert identity["revision"] == COMMIT
    weights = hub.folder / "model.safetensors"
    assert identity["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    listed = json.loads(semret("models", "--format", "json").stdout)
    assert [row["name"] for row in listed if row["weights"]] == ["efficientnet-lite0", MODEL]
    # From now on no network is needed, and none is asked: not even for what the repository does not hold.
    hub.requests.clear()
    Image.open(photos / "1.png").save(tmp_path / "new.bmp")
    again = semret("query", "new.bmp", "-k", "1", "--format", "json")
    assert again.status == 0, again.stderr
    (hit,) = json.loads(again.stdout)[0]["hits"]
    assert Path(hit["path"]).name == "1.png"
    assert hub.requests == []


def test_a_download_that_breaks_off_is_taken_up_again(hub: Hub, photos: Path, tmp_path: Path, semret: Command) -> None:
    hub.breaks = [2**20]
    result = semret("index", "photos", "--model", MODEL)
    assert "Traceback" not in result.stderr
    assert result.stderr.count("peer closed connection") <= 1
    if result.status:  # releases of the client before 2.0 leave it to the user
        assert len(result.stderr.strip().splitlines()) == 1
        result = semret("index", "photos", "--model", MODEL)
    assert result.status == 0, result.stderr
    fetched = [start for method, path, start in hub.requests if method == "GET" and path.endswith(".safetensors")]
    assert len(fetched) == 2
    identity = json.loads((tmp_path / ".semret" / "manifest.json").read_text())["identity"]
    weights = hub.folder / "model.safetensors"
    assert identity["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_a_connection_that_never_holds_is_one_line_and_leaves_nothing(
    hub: Hub, photos: Path, tmp_path: Path, semret: Command
) -> None:
    hub.breaks = [0] * 100
    result = semret("index", "photos", "--model", MODEL)
    assert result.status == 1
    assert "Traceback" not in result.stderr
    ours = [line for line in result.stderr.splitlines() if line.startswith("semret: ")]
    assert len(ours) == 1
    assert "no weights for resnet18" in ours[0]
    assert not (tmp_path / ".semret").exists()
    hub.breaks = []
    assert semret("index", "photos", "--model", MODEL).status == 0


def test_a_gated_model_says_where_its_licence_is_accepted(
    hub: Hub, photos: Path, tmp_path: Path, semret: Command
) -> None:
    hub.gated = True
    result = semret("index", "photos", "--model", MODEL)
    assert result.status == 1
    (line,) = result.stderr.strip().splitlines()
    assert "no weights for resnet18 (microsoft/resnet-18)" in line
    assert "licence must be accepted" in line
    assert "hf auth login" in line


def test_a_repository_without_weights_is_named(hub: Hub, photos: Path, tmp_path: Path, semret: Command) -> None:
    hub.folder = tmp_path / "nothing"
    result = semret("index", "photos", "--model", MODEL)
    assert result.status == 1
    (line,) = result.stderr.strip().splitlines()
    assert "microsoft/resnet-18 holds none of model.safetensors" in line
