"""The API's own documentation: the OpenAPI document, and its pages without any other host."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from tq import problems
from tq.bodies import Batch, FailureSelection, Lookup, ReportedFailure, Revival, Selection, StatusChange
from tq.fields import JSON_SCHEMA
from tq.messages import CURSOR_PATTERN, Change, Submission

_REFERENCE: Final = "#/components/schemas/{model}"
#: Models that no route declares to FastAPI: bodies are read by hand, problems have a media type of their own.
_MODELS: Final[tuple[type[BaseModel], ...]] = (
    Submission,
    Batch,
    Lookup,
    Selection,
    Revival,
    FailureSelection,
    ReportedFailure,
    StatusChange,
    Change,
    problems.Problem,
)

#: The browser is forbidden to ask any other host: redoc would load its logo from one.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

_REASONS: Final[Mapping[int, str]] = {
    400: "The request is not HTTP as it should be, or its body not JSON in UTF-8.",
    401: "The bearer token is missing or wrong.",
    402: "TQ_BUDGET_PER_DAY is spent for this key and day. Nothing was changed.",
    403: "A page of another site asks (`Origin`), or other machines could and no token is set.",
    404: "No message has this id, or no queue this name.",
    408: "The request did not arrive in time.",
    409: "The message's state, or what is known under this id or idempotency key, forbids it.",
    413: "The content or the body is too large.",
    415: "The Content-Type is not JSON.",
    421: "The Host header does not name this API.",
    422: "The request is not valid; `errors` says where.",
    429: "Too many of these at once.",
    431: "The headers are too large.",
    500: "A defect of tq.",
    503: "Redis cannot be reached, refuses tq or is full; the queue is full; or the API is. Nothing was stored.",
}

#: What every operation may answer besides what its route declares: before the route is reached (``tq.gate``), or
#: when it fails.
_EVERYWHERE: Final = (400, 403, 408, 413, 421, 431, 500, 503)

_SECONDS: Final = {"description": "Seconds after which to ask again.", "schema": {"type": "integer", "minimum": 0}}
_HEADERS: Final[Mapping[int, dict[str, Any]]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}},
    429: {"Retry-After": _SECONDS | {"required": True}},
    503: {"Retry-After": _SECONDS},
}

#: Of an answer to a batch of which some found no room.
COMING_BACK: Final[Mapping[str, Any]] = {"Retry-After": _SECONDS}
#: Of answers to a submit: how many messages may wait, how many more, and queues that are paused.
PAUSED: Final = "TQ-Paused"
ROOM: Final[Mapping[str, Any]] = {
    "RateLimit-Policy": {
        "description": "How many messages may wait (TQ_MAX_QUEUED).",
        "schema": {"type": "string", "pattern": '^"queued";q=[0-9]+$'},
    },
    "RateLimit": {
        "description": "How many more may be submitted before 503; left out where that is not known.",
        "schema": {"type": "string", "pattern": '^"queued";r=[0-9]+$'},
    },
}
ACCEPTED: Final[Mapping[str, Any]] = {
    **ROOM,
    PAUSED: {
        "description": "Queues that it waits in and of which nothing begins, until somebody resumes them.",
        "schema": {"type": "string", "pattern": "^[a-z_]+(, [a-z_]+)*$"},
    },
}

Responses = dict[int | str, dict[str, Any]]


def failures(*statuses: int, headers: Mapping[str, Any] | None = None) -> Responses:
    """The ``responses`` of a route that may answer these statuses with a problem document, and these headers."""
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}}
    named = {status: _HEADERS.get(status, {}) | dict(headers or {}) for status in statuses}
    return {
        status: {"description": _REASONS[status], "content": content}
        | ({"headers": named[status]} if named[status] else {})
        for status in statuses
    }


def links(**following: tuple[str, Any]) -> dict[str, Any]:
    """The ``links`` of an answer that is a message: what can be done with it next.

    Args:
        following: under a name, the operation's id, and its body or None.
    """
    parameters = {"message_id": "$response.body#/message_id"}
    return {
        name: {"operationId": operation, "parameters": parameters} | ({} if body is None else {"requestBody": body})
        for name, (operation, body) in following.items()
    }


def event_stream(model: type[BaseModel], *, name: type[Enum]) -> dict[str, Any]:
    """The ``content`` of a stream of server-sent events: each has an id, a name and a model as data."""
    data = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": _REFERENCE.format(model=model.__name__)},
    }
    event = {
        "type": "object",
        "required": ["id", "event", "data"],
        "properties": {
            "id": {"type": "string", "pattern": CURSOR_PATTERN},
            "event": {"$ref": _REFERENCE.format(model=name.__name__)},
            "data": data,
        },
    }
    return {"text/event-stream": {"itemSchema": event}}


def body(model: type[BaseModel], *, example: Any, required: bool = True) -> dict[str, Any]:
    """The ``openapi_extra`` of a route that reads its body itself."""
    schema = {"$ref": _REFERENCE.format(model=model.__name__)}
    return {
        "requestBody": {"required": required, "content": {"application/json": {"schema": schema, "example": example}}}
    }


class _Files(StaticFiles):
    """Files that a browser keeps, and asks for again each time whether they are still the same."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        answer = super().file_response(*args, **kwargs)
        answer.headers.update({"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"})
        return answer


class DocumentedApi(FastAPI):
    """FastAPI whose OpenAPI document says what ``failures`` and ``body`` refer to.

    Args:
        secured: whether a bearer token is asked for.
        open_paths: the paths that need none all the same.
        options: see FastAPI.
    """

    def __init__(self, *, secured: bool, open_paths: frozenset[str], **options: Any) -> None:
        super().__init__(docs_url=None, redoc_url=None, **options)
        self._secured = secured
        self._open_paths = open_paths
        self.mount("/static", _Files(directory=Path(__file__).parent / "static"))
        swagger = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=f"{self.title} - Swagger UI",
            swagger_js_url="/static/swagger-ui/swagger-ui-bundle.js",
            swagger_css_url="/static/swagger-ui/swagger-ui.css",
            swagger_favicon_url="/static/swagger-ui/favicon-32x32.png",
            swagger_ui_parameters={"validatorUrl": None},
        )
        redoc = get_redoc_html(
            openapi_url="/openapi.json",
            title=f"{self.title} - ReDoc",
            redoc_js_url="/static/redoc/redoc.standalone.js",
            redoc_favicon_url="/static/swagger-ui/favicon-32x32.png",
            with_google_fonts=False,
        )
        for path, page in (("/docs", swagger), ("/redoc", redoc)):
            page.headers["Content-Security-Policy"] = _POLICY
            self.add_api_route(path, partial(_same, page), include_in_schema=False, response_class=HTMLResponse)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, made once."""
        if self.openapi_schema is None:
            self._complete(super().openapi())
        return self.openapi_schema or {}

    def _complete(self, document: dict[str, Any]) -> None:
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        _, definitions = models_json_schema([(model, "validation") for model in _MODELS], ref_template=_REFERENCE)
        schemas.update(definitions["$defs"])
        schemas["JsonValue"] = JSON_SCHEMA
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for path, methods in document["paths"].items():
            for operation in methods.values():
                answers = operation["responses"]
                # FastAPI declares its own 422 wherever there is a parameter; ours are declared by `failures`.
                if "application/json" in answers.get("422", {}).get("content", {}):
                    del answers["422"]
                common = failures(*_EVERYWHERE)
                if self._secured and path not in self._open_paths:
                    operation["security"] = [{"token": []}]
                    common |= failures(401)
                for status, answer in common.items():
                    answers.setdefault(str(status), answer)["content"] |= answer["content"]
                operation["responses"] = {status: answers[status] for status in sorted(answers)}
                for parameter in operation.get("parameters", []):
                    parameter["schema"] = _sendable(parameter["schema"])
        if self._secured:
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}


def _sendable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter without its null: URLs and headers can leave a parameter out, but have no null."""
    choices: list[dict[str, Any]] = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) != 1:
        return schema
    return choices[0] | {name: value for name, value in schema.items() if name != "anyOf"}


async def _same(page: HTMLResponse) -> HTMLResponse:
    return page
