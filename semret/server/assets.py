"""The files of the page, read once: nothing else of the disk can be asked for by name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGES = {"index.html": "/", "docs.html": "/docs"}


@dataclass(frozen=True)
class Asset:
    """A file of the page."""

    data: bytes
    media_type: str
    etag: str

    def answer(self, request: Request) -> Response:
        """Return it, or nothing if the browser has it already.

        Parameters
        ----------
        request : Request

        Returns
        -------
        Response
        """
        return cached(request, self.etag, self.data, self.media_type, "no-cache")


def cached(request: Request, etag: str, data: bytes, media_type: str, how: str) -> Response:
    """Return content with what a browser needs to keep it.

    Parameters
    ----------
    request : Request
    etag : str
        Of the content.
    data : bytes
    media_type : str
    how : str
        For ``Cache-Control``.

    Returns
    -------
    Response
        304 without content if the browser has it.
    """
    headers = {"ETag": f'"{etag}"', "Cache-Control": how}
    if f'"{etag}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)


def read_assets() -> dict[str, Asset]:
    """Read all files of the page.

    Returns
    -------
    dict of str to Asset
        By the path that they are asked for by.
    """
    found: dict[str, Asset] = {}
    for file in sorted(Path(__file__).with_name("page").iterdir()):
        if file.suffix in _MEDIA_TYPES:
            data = file.read_bytes()
            etag = hashlib.sha256(data).hexdigest()[:32]
            path = _PAGES.get(file.name, f"/page/{file.name}")
            found[path] = Asset(data, _MEDIA_TYPES[file.suffix], etag)
    return found
