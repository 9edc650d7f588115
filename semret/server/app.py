"""The routes: which address answers what, and how it is described."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from semret._version import __version__
from semret.errors import SemretError
from semret.server import answering
from semret.server.asks import Form, Matching, Queries, Why
from semret.server.asks import Query as Question
from semret.server.assets import Asset, read_assets
from semret.server.gate import OPEN_PATHS, Gate, cookie_of, is_token
from semret.server.metrics import Metrics
from semret.server.problems import Json, RefusedError, problem
from semret.server.served import Served, WholeId
from semret.server.service import Service
from semret.server.settings import Settings

_DESCRIPTION = """Find pictures by what is in them, wherever it is in the picture. What fails is answered with
`{"error": "one line"}` and a status that says on which side the fault is; 503 comes with `Retry-After`."""


def create_app(service: Service, settings: Settings, metrics: Metrics) -> ASGIApp:
    """Make the application of one index.

    Parameters
    ----------
    service : Service
        At work.
    settings : Settings
        With the port that is listened on.
    metrics : Metrics

    Returns
    -------
    ASGI application
    """
    assets = read_assets()
    app = FastAPI(
        title="semret",
        description=_DESCRIPTION,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        default_response_class=Json,
    )
    for kind in (SemretError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _answer_problem)
    _add_searches(app, service)
    _add_pictures(app, service)
    _add_rest(app, service.served, settings, metrics)
    for path, asset in assets.items():
        app.add_api_route(path, _shower(asset), include_in_schema=False)
    return Gate(app, settings, metrics, OPEN_PATHS | assets.keys())


@contextlib.asynccontextmanager
async def _let_go(request: Request) -> AsyncIterator[None]:
    """Take uploads off the disk as soon as they are answered."""
    try:
        yield
    finally:
        await request.close()


async def _answer_problem(request: Request, error: Exception) -> Response:
    del request
    return problem(error)


def _add_searches(app: FastAPI, service: Service) -> None:
    @app.post("/api/search", summary="Search", openapi_extra=_searching(), responses=_PROBLEMS)
    async def search(request: Request) -> Json:
        """Find the images most like a picture, an image of the index, or a sentence.

        As JSON, one question, or several as `queries`. As a form, one or more files called `image`, and the options as
        fields. The answer holds `generation` and `results`, in the order of the questions. Of several questions, one
        that fails is `{"error", "status"}`.

        One question may have several pictures: `all` is a list of ids in JSON; in a form `all=true` makes one question
        of all files and of images of the index called `id`. `not` is what hits should not be like: ids in JSON, files
        or ids in a form. `pictures` tells them, `parts` of each hit its scores with each.
        """
        async with _let_go(request):
            return Json(await service.search(request))

    @app.get("/api/explain", summary="Explain", responses=_PROBLEMS)
    async def explain(request: Request, asked: Annotated[Why, Query()]) -> Json:
        """Tell which patches of the image `query` met which of the image `id`, and what each pair adds to the score."""
        return Json(await service.explain_stored(request, asked))

    @app.post("/api/explain", summary="Explain an upload", openapi_extra=_explaining(), responses=_PROBLEMS)
    async def explain_upload(request: Request) -> Json:
        """Do the same for an uploaded picture."""
        async with _let_go(request):
            return Json(await service.explain_upload(request))


def _add_pictures(app: FastAPI, service: Service) -> None:
    @app.get("/api/images/{id}", summary="The file of an image", response_class=Response, responses=_PROBLEMS)
    async def picture(request: Request, id: WholeId) -> Response:
        """Return the file as it was indexed; 410 if it is gone or has changed."""
        return await service.picture(request, id)

    @app.get("/api/images/{id}/thumbnail", summary="A small copy", response_class=Response, responses=_PROBLEMS)
    async def small(request: Request, id: WholeId, edge: int = 320) -> Response:
        """Return an upright JPEG whose longer side has at most `edge` pixels, 32 to 2048."""
        return await service.small(request, id, edge)

    @app.post("/api/preview", summary="A small copy of an upload", response_class=Response, openapi_extra=_one_image())
    async def preview(request: Request) -> Response:
        """Return an uploaded picture as a small JPEG: browsers cannot show every format that is searched with."""
        async with _let_go(request):
            return await service.preview(request)


def _add_rest(app: FastAPI, served: Served, settings: Settings, metrics: Metrics) -> None:
    @app.get("/api/info", summary="What is served")
    async def info() -> Json:
        """Tell the size, state, model and folders of the index; `trouble` is why a newer state cannot be opened."""
        return Json(await asyncio.to_thread(answering.info, served))

    @app.post("/api/login", summary="Take a cookie", status_code=204, response_class=Response)
    async def login(request: Request) -> Response:
        """Give a cookie for the token in the header Authorization: browsers send it for pictures as well."""
        response = Response(status_code=204)
        if settings.token is not None:
            if not is_token(request.headers, settings.token):
                raise RefusedError(401, "the token is wrong")
            name, value = cookie_of(settings.token, settings.port)
            response.set_cookie(name, value, httponly=True, samesite="strict", path="/")
        return response

    @app.get("/healthz", summary="Is it there")
    async def health() -> Json:
        """Answer."""
        return Json({"status": "ok"})

    @app.get("/metrics", summary="Numbers for Prometheus", response_class=Response)
    async def show_metrics() -> Response:
        """Return counters in the text format of Prometheus."""
        return Response(metrics.as_text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _shower(asset: Asset) -> Any:
    async def show(request: Request) -> Response:
        return asset.answer(request)

    return show


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "What came does not fit; nothing was done.",
        "content": {
            "application/json": {"schema": {"type": "object", "properties": {"error": {"type": "string"}}}},
        },
    },
    503: {"description": "Too many are waiting; `Retry-After` says when to come again."},
}


def _form(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"schema": {"type": "object", "properties": properties, "required": required}}


def _files() -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string", "format": "binary"}}


def _schema_of(model: type[Matching]) -> dict[str, Any]:
    found: dict[str, Any] = model.model_json_schema()["properties"]
    return found


def _searching() -> dict[str, Any]:
    ids = {"type": "array", "items": {"type": "integer"}}
    avoided = {"type": "array", "items": {"anyOf": [{"type": "string", "format": "binary"}, {"type": "integer"}]}}
    form = _form({"image": _files(), "id": ids, "not": avoided, **_schema_of(Form)}, ["image"])
    one, several = Question.model_json_schema(), Queries.model_json_schema(ref_template="#/components/schemas/{model}")
    several["properties"]["queries"]["items"] = one
    several.pop("$defs", None)
    json = {"schema": {"oneOf": [one, several]}, "example": {"id": 1, "k": 5, "exclude_self": True}}
    return {"requestBody": {"required": True, "content": {"application/json": json, "multipart/form-data": form}}}


def _explaining() -> dict[str, Any]:
    fields = {"image": {"type": "string", "format": "binary"}, "id": {"type": "integer"}, **_schema_of(Matching)}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": _form(fields, ["image", "id"])}}}


def _one_image() -> dict[str, Any]:
    form = _form({"image": {"type": "string", "format": "binary"}}, ["image"])
    return {"requestBody": {"required": True, "content": {"multipart/form-data": form}}}
