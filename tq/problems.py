"""Problem documents (RFC 9457): the one place where an error becomes an answer of the API.

``type`` is ``urn:tq:problem:<slug>`` and stable: the slug of a ``TqError``, or what HTTP calls the
status (``not-found``, ``method-not-allowed``). No problem repeats a refused value.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from tq.errors import InvalidMessage, TqError
from tq.jsonlog import fields
from tq.messages import field_error

logger = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:tq:problem:"
#: Seconds after which a caller may try again when we do not know better.
_RETRY_AFTER: Final = 5
_MAX_INSTANCE: Final = 256
#: What may stand in a path as it is, and the sign of what may not (RFC 3986, 3.3).
_PATH_CHARACTERS: Final = "/!$&'()*+,;=:@-._~%"
_STRAY_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CUT_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]?\Z")
#: Frames of a defect's traceback that are logged, innermost last.
_MAX_PLACES: Final = 8

#: What a plain HTTP error means here: detail and fix.
_EXPLANATIONS: Final[Mapping[int, tuple[str, str]]] = {
    404: ("the API has no such path", "GET /docs lists all of them"),
    405: ("the path does not answer to this method", "the Allow header names those it answers to"),
}


def is_none(value: object) -> bool:
    """For members that are left out rather than null."""
    return value is None


class RefusedField(BaseModel):
    """One thing that is wrong with a request."""

    field: str = Field(description="Where, with dots: `metadata.target_language`, `query.limit`.")
    message: str


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = Field(
        description="`urn:tq:problem:` and a stable word for the kind of error.",
        json_schema_extra={"pattern": f"^{TYPE_PREFIX}[a-z-]+$"},
    )
    title: str
    status: int = Field(json_schema_extra={"minimum": 400, "maximum": 599})
    detail: str = Field(description="What happened, and why.")
    instance: str = Field(description="The path that was asked for.", json_schema_extra={"format": "uri-reference"})
    fix: str | None = Field(default=None, exclude_if=is_none, description="What mends it.")
    errors: list[RefusedField] | None = Field(
        default=None, exclude_if=is_none, description="What is wrong, field by field."
    )


def problem_of(error: TqError, instance: str) -> Problem:
    """The problem document of an error."""
    return Problem(
        type=TYPE_PREFIX + error.type,
        title=error.title,
        status=error.http_status,
        detail=error.record()["message"],
        instance=instance,
        fix=error.fix or None,
        **{name: value for name, value in error.extra().items() if value},
    )


def response(error: TqError, instance: str, more: Mapping[str, str] | None = None) -> Response:
    """An error as the answer to a request, with ``more`` headers than it has by itself."""
    headers = {**(more or {}), **coming_back(error)}
    if error.http_status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return _answer(problem_of(error, instance), headers)


def coming_back(error: TqError) -> dict[str, str]:
    """The header that says when to try again what an error has refused, if that passes."""
    passes = error.retryable and error.http_status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}
    return {"Retry-After": str(_RETRY_AFTER)} if passes else {}


def unexpected(error: Exception, instance: str) -> Response:
    """A defect as an answer, without details.

    The log names the exception's class and place, but not its text, which may repeat what a message says.
    """
    places = "".join(traceback.format_tb(error.__traceback__)[-_MAX_PLACES:])
    said = fields(error=type(error).__name__)
    logger.error("unexpected %s while answering %s\n%s", type(error).__name__, instance, places.rstrip(), extra=said)
    return response(TqError("tq failed to answer this request", fix="the log of the API says where"), instance)


def instance_of(scope: Mapping[str, Any]) -> str:
    """The path of a request as a URI reference (RFC 3986) of bounded length, without its query."""
    raw: bytes = (scope.get("raw_path") or b"").partition(b"?")[0] or scope["path"].encode()
    path = quote(_STRAY_PERCENT.sub(b"%25", raw), safe=_PATH_CHARACTERS)
    if path.startswith("//"):
        path = f"/.{path}"  # or its first part would be the name of another host
    return _CUT_ESCAPE.sub("", path[:_MAX_INSTANCE])


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Have an app answer every error with a problem document.

    Args:
        app: the app.
        routes: its routes, for the Allow header of a 405: Starlette's names the methods of one route,
            but several may share a path.
    """

    async def tq_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, TqError):
            raise error
        return response(error, instance_of(request.scope))

    async def invalid_request(request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        errors = [field_error(item["loc"], item["msg"]) for item in error.errors()]
        invalid = InvalidMessage(
            "the request is not valid",
            why="; ".join(f"{item['field']}: {item['message']}" for item in errors),
            errors=errors,
        )
        return response(invalid, instance_of(request.scope))

    async def http_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        status = HTTPStatus(error.status_code)
        detail, fix = _EXPLANATIONS.get(status, (error.detail, ""))
        problem = Problem(
            type=TYPE_PREFIX + status.phrase.lower().replace(" ", "-"),
            title=status.phrase,
            status=status,
            detail=detail,
            instance=instance_of(request.scope),
            fix=fix or None,
        )
        headers = dict(error.headers or {})
        if allowed := _methods(routes, request.url.path) if status == HTTPStatus.METHOD_NOT_ALLOWED else "":
            headers["Allow"] = allowed
        return _answer(problem, headers)

    app.add_exception_handler(TqError, tq_error)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(HTTPException, http_error)


def _methods(routes: Sequence[BaseRoute], path: str) -> str:
    known = [route for route in routes if isinstance(route, APIRoute)]
    # As in OpenAPI, a path without parameters goes before one with.
    found = [route for route in known if route.path == path] or [
        route for route in known if route.path_regex.match(path)
    ]
    return ", ".join(sorted({method for route in found for method in route.methods or ()}))


def _answer(problem: Problem, headers: Mapping[str, str] | None) -> Response:
    return Response(problem.model_dump_json(), problem.status, headers, MEDIA_TYPE)
