"""The API's own documentation: the OpenAPI document, and its pages without any other host."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from tq import problems
from tq.bodies import Batch, ReportedFailure, Revival, Selection, StatusChange
from tq.messages import Change, Submission

_REFERENCE: Final = "#/components/schemas/{model}"
#: Models that no route declares to FastAPI: bodies are read by hand, problems have a media type of their own.
_MODELS: Final[tuple[type[BaseModel], ...]] = (
    Submission,
    Batch,
    Selection,
    Revival,
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
    400: "The body is not JSON, or not UTF-8.",
    401: "The bearer token is missing or wrong.",
    404: "No message has this id.",
    409: "The message's state, or what is known under this id or idempotency key, forbids it.",
    413: "The content or the body is too large.",
    415: "The Content-Type is not JSON.",
    422: "The request is not valid; `errors` says where.",
    429: "Too many of these at once.",
    500: "A defect of tq.",
    503: "Redis cannot be reached, refuses tq or is full, or the queue is full; nothing was stored.",
}

Responses = dict[int | str, dict[str, Any]]


def failures(*statuses: int) -> Responses:
    """The ``responses`` of a route that may answer these statuses with a problem document."""
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}}
    return {status: {"description": _REASONS[status], "content": content} for status in statuses}


def body(model: type[BaseModel], *, example: Any, required: bool = True) -> dict[str, Any]:
    """The ``openapi_extra`` of a route that reads its body itself."""
    schema = {"$ref": _REFERENCE.format(model=model.__name__)}
    return {
        "requestBody": {"required": required, "content": {"application/json": {"schema": schema, "example": example}}}
    }


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
        self.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
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
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for path, methods in document["paths"].items():
            for operation in methods.values():
                # FastAPI declares its own 422 wherever there is a parameter; ours are declared by `failures`.
                answer = operation["responses"].get("422", {})
                if "application/json" in answer.get("content", {}):
                    del operation["responses"]["422"]
                if self._secured and path not in self._open_paths:
                    operation["security"] = [{"token": []}]
                    operation["responses"]["401"] = failures(401)[401]
        if self._secured:
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}


async def _same(page: HTMLResponse) -> HTMLResponse:
    return page
