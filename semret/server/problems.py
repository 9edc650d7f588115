"""Errors as they are answered: a status, and one line."""

from __future__ import annotations

import json
import logging
import traceback
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from semret.errors import (
    ArgumentError,
    BackboneError,
    ClusterError,
    ImageDecodeError,
    IndexEmptyError,
    SemretError,
    ShapeError,
    UnknownNameError,
    cut_text,
)
from semret.names import escaped, one_line

_log = logging.getLogger(__name__)

RETRY_SECONDS = 2
"""When whoever was refused for want of room may come again."""

_STATUS: dict[type[SemretError], int] = {
    ArgumentError: 400,
    UnknownNameError: 400,
    ShapeError: 400,
    BackboneError: 400,
    IndexEmptyError: 409,
    ImageDecodeError: 422,
    # Of a cluster: what is lost is being started again.
    ClusterError: 503,
}


_COMMON = {
    404: "there is nothing at this address; /docs lists what there is",
    405: "this address is asked in another way; /docs says how",
}


class RefusedError(SemretError):
    """A request that is answered with a status of its own; the message is the answer.

    Parameters
    ----------
    status : int
    message : str
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class BusyError(RefusedError):
    """There is no room for a request now."""

    def __init__(self, message: str) -> None:
        super().__init__(503, message)


class GoneError(RefusedError):
    """The client has left; nobody reads the answer."""

    def __init__(self) -> None:
        super().__init__(499, "the client has left")


class Json(JSONResponse):
    """JSON in ASCII: a path may hold bytes that are no text, which UTF-8 could not carry."""

    def render(self, content: Any) -> bytes:
        """Return the body.

        Parameters
        ----------
        content : object
            Of plain values; no NaN.

        Returns
        -------
        bytes
        """
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def problem(error: Exception) -> Json:
    """Return the answer to a request that failed.

    Parameters
    ----------
    error : Exception
        What is no error of semret is told to the log alone, in a line.

    Returns
    -------
    Json
        ``{"error": LINE}``.
    """
    status, line = status_and_line(error)
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Json({"error": line}, status_code=status, headers=headers)


def status_and_line(error: Exception) -> tuple[int, str]:
    """Tell how an error is answered.

    Parameters
    ----------
    error : Exception

    Returns
    -------
    (int, str)
        Status of HTTP, and one line.
    """
    if isinstance(error, RefusedError):
        return error.status, one_line(error)
    if isinstance(error, SemretError):
        status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
        return status, one_line(error)
    if isinstance(error, HTTPException):
        return error.status_code, _COMMON.get(error.status_code) or error.detail[:1].lower() + error.detail[1:]
    if isinstance(error, (RequestValidationError, ValidationError)):
        return 400, escaped(_first_mistake(error))
    if isinstance(error, ClientDisconnect):
        return 499, "the client has left"
    where = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" at {where[0].filename}:{where[0].lineno}" if where else ""
    _log.error("a request failed by a mistake of ours: %s: %s%s", type(error).__name__, one_line(error), place)
    return 500, "this failed by a mistake of ours; the log of the server says where"


def _first_mistake(error: RequestValidationError | ValidationError) -> str:
    """Return what is wrong with the first wrong field, without quoting what came."""
    found = error.errors()[0]
    came_by = found["loc"][:1] if isinstance(error, RequestValidationError) else ()
    places = [str(part) for part in found["loc"][len(came_by) :]]
    name = cut_text(".".join(places)) if places else "the request"
    if found["type"] == "extra_forbidden":
        return f"{name} is no option; /docs lists what there is"
    message = str(found["msg"]).removeprefix("Value error, ")
    return f"{name}: {message[:1].lower()}{message[1:]}"
