"""What a client sends: questions as JSON, or as a form with pictures, within limits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request

from semret.server.asks import MOST_QUERIES, Ask, Form, Picture, Queries, Query
from semret.server.problems import RefusedError

MOST_JSON_BYTES = 2**20
"""Of a body that holds no pictures."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A form with pictures.

    Attributes
    ----------
    wanted : list of UploadFile
        The files called ``image``, at least one.
    also : list of int
        The fields called ``id``.
    avoided : list of UploadFile or int
        Files and fields called ``not``, if there may be any.
    fields : dict of str to str
        The others.
    """

    wanted: list[UploadFile]
    also: list[int]
    avoided: list[Picture]
    fields: dict[str, str]


async def read_asks(request: Request) -> list[Ask]:
    """Read the questions of a call.

    Parameters
    ----------
    request : Request
        A JSON object that is a `Query` or has ``queries``; or a form of files called ``image`` and fields that are
        called like the options, which hold for all files. Each file is a question; with ``all`` they are one, together
        with images of the index called ``id``. Files and ids called ``not`` are avoided.

    Returns
    -------
    list of Ask
        At least one, at most `MOST_QUERIES`.

    Raises
    ------
    RefusedError
        If it is neither, or there is no picture, or there are too many.
    ValidationError
        If an option does not fit.
    """
    if media_type(request) == "multipart/form-data":
        sent = await read_form(request, avoiding=True)
        options = Form.model_validate(sent.fields)
        if options.all:
            return [Ask(options=options, wanted=[*sent.wanted, *sent.also], avoided=sent.avoided, together=True)]
        if sent.also:
            raise RefusedError(400, "id goes with all=true: then the picture and the image are one question")
        return [Ask(options=options, wanted=[upload], avoided=sent.avoided) for upload in sent.wanted]
    body = await read_json(request)
    return [_ask(query) for query in _queries(body)]


def _queries(body: dict[str, Any]) -> list[Query]:
    return Queries.model_validate(body).queries if "queries" in body else [Query.model_validate(body)]


def _ask(query: Query) -> Ask:
    wanted = query.all or ([] if query.id is None else [query.id])
    return Ask(
        options=query,
        sentence=query.text,
        wanted=wanted,
        avoided=query.avoid or [],
        together=query.all is not None,
    )


async def read_form(request: Request, *, avoiding: bool = False) -> Sent:
    """Read a form with pictures; they wait on the disk, not in memory.

    Parameters
    ----------
    request : Request
    avoiding : bool
        Whether parts called ``not`` are pictures to avoid; else they are files of another name, or fields.

    Returns
    -------
    Sent

    Raises
    ------
    RefusedError
        If there is no picture, too many, a file of another name, or something that is no id.
    """
    form = await request.form(max_files=MOST_QUERIES, max_fields=64 + MOST_QUERIES, max_part_size=2**16)
    parts = form.multi_items()
    uploads = [value for name, value in parts if name == "image" and isinstance(value, UploadFile)]
    unwanted = ("not",) if avoiding else ()
    strange = [name for name, value in parts if isinstance(value, UploadFile) and name not in ("image", *unwanted)]
    if strange or not uploads:
        raise RefusedError(400, "the form has no file called image; send each picture as a file of that name")
    ids = [whole(value) for name, value in parts if name == "id" and isinstance(value, str)]
    others = [value for name, value in parts if name in unwanted]
    avoided = [whole(value) if isinstance(value, str) else value for value in others]
    if len(ids) + len(avoided) > MOST_QUERIES:
        raise RefusedError(400, f"the form names {len(ids) + len(avoided)} other pictures, at most {MOST_QUERIES} fit")
    fields = {name: value for name, value in parts if isinstance(value, str) and name not in ("id", *unwanted)}
    return Sent(wanted=uploads, also=ids, avoided=avoided, fields=fields)


def whole(text: str) -> int:
    """Read the id of an image.

    Parameters
    ----------
    text : str

    Returns
    -------
    int

    Raises
    ------
    RefusedError
        400 if it is none.
    """
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise RefusedError(400, f"id: expected the number of an image, got '{text[:40]}'")
    return int(text)


async def read_json(request: Request) -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    request : Request

    Returns
    -------
    dict

    Raises
    ------
    RefusedError
        415 if the body is not declared as JSON: pages of others may send any other type unasked. 400 if it is none,
        413 if it is too long.
    """
    if media_type(request) != "application/json":
        raise RefusedError(415, "expected application/json, or multipart/form-data with a file called image")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_JSON_BYTES:
            raise RefusedError(413, f"the JSON is longer than the limit of {MOST_JSON_BYTES} bytes")
        parts.append(part)
    try:
        body = json.loads(b"".join(parts))
    except (ValueError, RecursionError):
        raise RefusedError(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "the body is no JSON object")
    return body


def media_type(request: Request) -> str:
    """Return what a request says that its body is.

    Parameters
    ----------
    request : Request

    Returns
    -------
    str
    """
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
