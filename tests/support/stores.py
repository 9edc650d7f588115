"""File systems that behave as the packages for Azure and Google were seen to behave, on emulators of both."""

from __future__ import annotations

import contextlib
import datetime
import io
from pathlib import Path

from fsspec.registry import _registry, register_implementation
from fsspec.spec import AbstractFileSystem

OBJECTS: dict[str, tuple[bytes, int]] = {}
"""By their names, with the container: what they hold, and when they were changed. Of the one store that there is."""

_CONTAINERS = ("container", "index")


class AzureError(Exception):
    """What azure-core raises is no OSError, and has several lines."""

    def __init__(self, text):
        super().__init__(f"{text}\nRequestId:bc1774f3\nTime:2026-11-26T21:02:17Z\nContent: <?xml version='1.0'?>")


class Store(AbstractFileSystem):
    """What the two have in common; to write over an object changes its time."""

    cachable = False

    @classmethod
    def _strip_protocol(cls, path):
        for scheme in cls.protocol:
            path = path.removeprefix(f"{scheme}://")
        container, slash, rest = path.strip("/").partition("/")
        return container.partition("@")[0] + slash + rest

    def _absent(self, container):
        return AzureError(f"The container {container} does not exist.")

    def _require(self, path):
        container = path.partition("/")[0]
        if container not in _CONTAINERS:
            raise self._absent(container)

    def ls(self, path, detail=True, **_):
        top = self._strip_protocol(path)
        beginning = f"{top}/" if top else ""
        found = {name: _entry(name) for name in [top] if name in OBJECTS}
        for name in OBJECTS:
            if name.startswith(beginning):
                first, _, below = name.removeprefix(beginning).partition("/")
                first = beginning + first
                found[first] = {"name": first, "size": None, "type": "directory"} if below else _entry(name)
        if not found:
            raise FileNotFoundError(path)
        return list(found.values()) if detail else list(found)

    def _open(self, path, *_, **__):
        path = self._strip_protocol(path)
        if path not in OBJECTS:
            raise FileNotFoundError(path)
        return io.BytesIO(OBJECTS[path][0])

    def pipe_file(self, path, value, mode="overwrite"):
        path = self._strip_protocol(path)
        self._require(path)
        if mode == "create" and path in OBJECTS:
            raise FileExistsError(path)
        OBJECTS[path] = bytes(value), OBJECTS.get(path, (b"", 1_600_000_000))[1] + 1

    def put_file(self, lpath, rpath, *_, **__):
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def rm_file(self, path):
        if OBJECTS.pop(self._strip_protocol(path), None) is None:
            raise FileNotFoundError(path)


class Azure(Store):
    """As adlfs 2026.8: it calls itself abfs, whatever the address was."""

    protocol = ("abfs", "az", "abfss")


class Google(Store):
    """As gcsfs 2026.10: of a bucket that is not there it gives the address that it asked for."""

    protocol = ("gs", "gcs")

    def _absent(self, container):
        return FileNotFoundError(f"https://storage.invalid/upload/storage/v1/b/{container}/o")

    def glob(self, path, **options):
        self._require(path)
        return super().glob(path, **options)


class OldGoogle(Google):
    """As gcsfs 2024.10: it creates no object on condition."""

    def pipe_file(self, path, data):
        super().pipe_file(path, data)


@contextlib.contextmanager
def store(kind):
    """Have addresses of a kind lead to an empty store; give it."""
    OBJECTS.clear()
    former = {scheme: _registry.get(scheme) for scheme in kind.protocol}
    for scheme in kind.protocol:
        register_implementation(scheme, kind, clobber=True)
    try:
        yield kind()
    finally:
        for scheme, known in former.items():
            _registry.pop(scheme)
            if known is not None:
                register_implementation(scheme, known, clobber=True)
        OBJECTS.clear()


def _entry(name):
    data, stamp = OBJECTS[name]
    changed = datetime.datetime.fromtimestamp(stamp, datetime.UTC)
    return {"name": name, "size": len(data), "type": "file", "last_modified": changed}
