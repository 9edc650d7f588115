"""A server of its own process, with the tiny network of the tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.support.places import with_root
from tests.support.processes import command_of


class Server:
    """A running ``semret serve``; `client` asks it, `log` is what it has said so far."""

    def __init__(self, index: Path, *arguments: str, embed: float = 0, **environment: str) -> None:
        command = [
            *command_of("cli_driver"),
            "0",
            str(embed),
            "serve",
            "--port",
            "0",
            "--index",
            str(index),
            *arguments,
        ]
        own = {key: value for key, value in os.environ.items() if not key.startswith("SEMRET_")}
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, cwd=index.parent, env=with_root({**own, **environment})
        )
        self.log: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._ready.wait(60), "the server said nothing"
        found = re.search(r"http://\S+", " ".join(self.log))
        assert found, self.log
        self.address = found[0].rstrip("/")
        self.port = int(self.address.rpartition(":")[2])
        self.client = httpx2.Client(base_url=self.address, timeout=60)

    def _read(self) -> None:
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))
            if "http://" in line:
                self._ready.set()
        self._ready.set()

    def search(self, **query: object) -> dict:
        """Answer one question in JSON."""
        answer = self.client.post("/api/search", json=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["results"][0]

    def upload(self, *pictures: Path, client: httpx2.Client | None = None, **fields: object) -> httpx2.Response:
        """Search with files."""
        files = [("image", (picture.name, picture.read_bytes())) for picture in pictures]
        return (client or self.client).post("/api/search", files=files, data=fields)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tell it to stop, and return the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(60)
        self._reader.join(10)
        return status

    def close(self) -> None:
        """End it, and see that it has told nobody of its insides."""
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(10)
        self.process.stderr.close()
        assert "Traceback" not in "\n".join(self.log), self.log


@contextmanager
def running(index: Path, *arguments: str, **options: object) -> Iterator[Server]:
    """Run a server during a ``with`` block."""
    server = Server(index, *arguments, **options)
    try:
        yield server
    finally:
        server.close()
