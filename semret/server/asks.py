"""What a client asks for: read from JSON or from a form with pictures, within limits."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from starlette.datastructures import UploadFile
from starlette.requests import Request

from semret.names import escaped
from semret.retrieval.search.options import SearchOptions
from semret.retrieval.search.query_pictures import EncodedImage, ImageLike
from semret.server.problems import RefusedError
from semret.server.served import View, WholeId

MOST_QUERIES = 32
"""Queries of one call."""

MOST_HITS = 1000
"""Of one query."""

MOST_JSON_BYTES = 2**20
"""Of a body that holds no pictures."""

_NAME_LENGTH = 255


def _as_text(folder: object) -> object:
    """Write out what of a name is no text, so that it can be checked as text; `View.within` reads it back."""
    return folder if not isinstance(folder, str) or _is_text(folder) else escaped(folder)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class Matching(BaseModel):
    """How pictures are compared; the defaults are those of ``semret query``."""

    model_config = ConfigDict(extra="forbid")

    kernel: str = Field("cosine", description="cosine, linear or rbf")
    invariance: str = Field("permutation", description="permutation, none, maxsim or pooled")
    solver: str = Field("auction", description="a name of the table of solvers")
    center: str = Field("channel", description="channel, position or none")
    score: str | None = Field(None, description="symmetric or query")
    region: str | None = Field(
        None,
        max_length=200,
        description="part of the picture to search with: X,Y,W,H in pixels, or X%,Y%,W%,H%",
        examples=["10%,20%,50%,40%"],
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_number(cls, value: object, info: ValidationInfo) -> object:
        """Refuse true for 1: a client that sends it means something else."""
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError(f"input should not be {str(value).lower()}; true and false are for switches")
        return value

    def names(self) -> dict[str, Any]:
        """Return the choices by the names that the library has for them.

        Returns
        -------
        dict
        """
        return {name: getattr(self, name) for name in Matching.model_fields}


class Why(Matching):
    """Two images of the index that are to be compared."""

    query: WholeId = Field(description="the image that was searched with")
    id: WholeId = Field(description="the image that was found")


class Options(Matching):
    """How one query is answered."""

    k: int = Field(5, ge=1, le=MOST_HITS, description="hits wanted")
    shortlist: int | None = Field(None, ge=1, description="candidates to rerank")
    exhaustive: bool = Field(False, description="rerank the whole index")
    exclude_self: bool = Field(False, description="leave out the picture itself and its copies")
    folder: Annotated[str | None, BeforeValidator(_as_text)] = Field(
        None,
        max_length=4096,
        description="only images in this folder, and below it: from the root of the index, or absolute",
    )
    since: str | None = Field(
        None,
        max_length=64,
        description="only images whose files were last changed on or after this date: a day, month, year or moment",
        examples=["2024-05"],
    )
    until: str | None = Field(None, max_length=64, description="as since: on or before this date")
    min_score: float | None = Field(None, allow_inf_nan=False, description="only hits that score at least this")

    def as_search(self) -> SearchOptions:
        """Return the options as the library takes them.

        Returns
        -------
        SearchOptions

        Raises
        ------
        ArgumentError, UnknownNameError
            If one does not fit.
        """
        return SearchOptions(
            k=self.k,
            shortlist=self.shortlist,
            exhaustive=self.exhaustive,
            exclude_self=self.exclude_self,
            **self.names(),
            **self.filters(),
        )

    def filters(self) -> dict[str, Any]:
        """Return what hits must be, but for their folder, by the names that the library has for it.

        Returns
        -------
        dict
        """
        return {"since": self.since, "until": self.until, "min_score": self.min_score}


class Query(Options):
    """One question: an image of the index by its id, or a sentence where the model has a text tower."""

    id: WholeId | None = Field(None, description="an image of the index")
    text: str | None = Field(None, min_length=1, max_length=2000, description="a sentence")

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> Query:
        if (self.id is None) == (self.text is None):
            raise ValueError("a query needs an id or a text, and not both; pictures are sent as multipart/form-data")
        if self.text is not None and (self.region is not None or self.exclude_self):
            raise ValueError("a sentence has no region, and is in no index; leave region and exclude_self out")
        return self


class Queries(BaseModel):
    """Several questions in one call."""

    model_config = ConfigDict(extra="forbid")

    queries: Annotated[list[Query], Field(min_length=1, max_length=MOST_QUERIES)]


class Ask:
    """One question, ready to be answered.

    Parameters
    ----------
    options : Options
    sentence : str or None
    upload : UploadFile or None
    id_ : int or None
        Of an image of the index. One of the three is given.
    """

    def __init__(
        self, options: Options, *, sentence: str | None = None, upload: UploadFile | None = None, id_: int | None = None
    ) -> None:
        self.options = options
        self.sentence = sentence
        self._upload = upload
        self._id = id_

    def picture(self, view: View) -> ImageLike:
        """Return the picture of the question; what was uploaded is read into memory only now.

        Parameters
        ----------
        view : View

        Returns
        -------
        EncodedImage, or int
            An upload, or the id of an image of the index.

        Raises
        ------
        RefusedError
            404 if the index has no such image; 422 if an upload is empty.
        """
        if self._upload is not None:
            return encoded(self._upload)
        if self._id is None or view.engine.find(self._id) is None:
            raise RefusedError(404, f"the index has no image {self._id}")
        return self._id


def encoded(upload: UploadFile) -> EncodedImage:
    """Read what was uploaded, from memory or from the disk where it waited.

    Parameters
    ----------
    upload : UploadFile

    Returns
    -------
    EncodedImage

    Raises
    ------
    RefusedError
        422 if it is empty.
    """
    upload.file.seek(0)
    name, data = (upload.filename or "picture")[:_NAME_LENGTH], upload.file.read()
    if not data:
        raise RefusedError(422, f"{name}: is empty")
    return EncodedImage(data, name)


async def read_asks(request: Request) -> list[Ask]:
    """Read the questions of a call.

    Parameters
    ----------
    request : Request
        A JSON object that is a `Query` or has ``queries``; or a form of files called ``image`` and fields that are
        called like the options, which hold for all files.

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
    if _media_type(request) == "multipart/form-data":
        uploads, fields = await read_form(request)
        options = Options.model_validate(fields)
        return [Ask(options, upload=upload) for upload in uploads]
    body = await read_json(request)
    found = Queries.model_validate(body).queries if "queries" in body else [Query.model_validate(body)]
    return [Ask(query, sentence=query.text, id_=query.id) for query in found]


async def read_form(request: Request) -> tuple[list[UploadFile], dict[str, str]]:
    """Read a form with pictures; they wait on the disk, not in memory.

    Parameters
    ----------
    request : Request

    Returns
    -------
    (list of UploadFile, dict of str to str)
        The pictures, at least one, and the other fields.

    Raises
    ------
    RefusedError
        If there is no picture, too many, or a file of another name.
    """
    form = await request.form(max_files=MOST_QUERIES, max_fields=64, max_part_size=2**16)
    uploads = [value for name, value in form.multi_items() if name == "image" and isinstance(value, UploadFile)]
    fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    strange = [name for name, value in form.multi_items() if isinstance(value, UploadFile) and name != "image"]
    if strange or not uploads:
        raise RefusedError(400, "the form has no file called image; send each picture as a file of that name")
    return uploads, fields


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
    if _media_type(request) != "application/json":
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


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
