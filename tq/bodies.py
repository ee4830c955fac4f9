"""Request and answer bodies of the API: how they are read, and their models.

Bodies are read here and not by FastAPI: within a bound, as strict JSON, and without answers that
repeat the refused values.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

from fastapi import HTTPException, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import from_json

from tq.errors import ContentTooLarge, InvalidMessage, MalformedRequest
from tq.messages import ApiKey, Message, Status, Text, field_error
from tq.problems import Problem, is_none
from tq.settings import Settings

MAX_BATCH: Final = 1000
_MIB: Final = 2**20
#: A batch of many small messages; one of few large ones is better sent as single messages.
_BATCH_BYTES: Final = 32 * _MIB
_MARGIN: Final = 64 * 1024
#: JSON may escape a byte of content in six characters: ``\u0001``.
_ESCAPED: Final = 6

M = TypeVar("M", bound=BaseModel)


def most_bytes(settings: Settings, *, batch: bool = False) -> int:
    """How large a body may be: room for one content of TQ_MAX_CONTENT, however it is escaped."""
    single = int(settings.max_content) * _ESCAPED + _MARGIN
    return max(single, _BATCH_BYTES) if batch else single


async def read_json(request: Request, most: int, *, optional: bool = False) -> Any:
    """The decoded body; ``{}`` for none at all where it is optional.

    The content type must say JSON: a page of another site could make a browser post any other type
    to an API on this machine without asking for permission first.

    Raises:
        MalformedRequest: not JSON (RFC 8259: no NaN, no lone surrogates), not UTF-8, nested too deep.
        ContentTooLarge: more than ``most`` bytes; no more than that are kept.
        HTTPException: 415, the content type is not JSON.
    """
    body = await _read(request, most)
    if not body and optional:
        return {}
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and media_type != "application/json" and not media_type.endswith("+json"):
        raise HTTPException(415, "the body must be JSON, and its Content-Type header say application/json")
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        # The parser's text says what and where, and repeats nothing of the body.
        raise MalformedRequest("the body is not valid JSON in UTF-8", why=str(error)) from None


async def _read(request: Request, most: int) -> bytes:
    announced = request.headers.get("content-length", "")
    size = int(announced) if announced.isdecimal() and len(announced) < 20 else 0
    chunks: list[bytes] = []
    if size <= most:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                break
            chunks.append(chunk)
    if size > most:
        raise ContentTooLarge(
            f"the body is larger than {most} bytes",
            why="that is what TQ_MAX_CONTENT leaves room for",
            fix="submit less at once, or raise TQ_MAX_CONTENT",
        )
    return b"".join(chunks)


def parse(model: type[M], data: object) -> M:
    """Decoded JSON as a model.

    Raises:
        InvalidMessage: with one entry in ``errors`` for each thing that is wrong.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        errors = [
            field_error(item["loc"], item["msg"]) for item in error.errors(include_input=False, include_url=False)
        ]
        raise InvalidMessage(
            "the body is not valid",
            why="; ".join(
                f"{item['field']}: {item['message']}" if item["field"] else item["message"] for item in errors
            ),
            fix="correct the named fields; nothing was changed",
            errors=errors,
        ) from None


# -- requests --------------------------------------------------------------------------------------


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Batch(_Body):
    """Messages to submit; each is accepted or refused by itself."""

    messages: Annotated[
        list[Any],
        Field(min_length=1, max_length=MAX_BATCH),
        WithJsonSchema(
            {
                "type": "array",
                "items": {"$ref": "#/components/schemas/Submission"},
                "minItems": 1,
                "maxItems": MAX_BATCH,
            }
        ),
    ]


class Selection(_Body):
    """Which message to process; the next one when absent."""

    message_id: str | None = None


class Revival(_Body):
    """What a failed or cancelled message needs to be tried again."""

    api_key: ApiKey | None = Field(None, description="Needed if the message was submitted with a key of its own.")


class ReportedFailure(_Body):
    """Why an attempt outside of tq failed."""

    type: str = Field("reported", pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="A stable word for the kind.")
    message: Text = Field(min_length=1, max_length=2000)
    retryable: bool = False


def _failure(value: object) -> object:
    return {"message": value} if isinstance(value, str) else value


_FAILURE_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": 2000},
        {"$ref": "#/components/schemas/ReportedFailure"},
        {"type": "null"},
    ],
    "default": None,
    "description": "With `failed` or `retrying`: why.",
}


class StatusChange(_Body):
    """The status that a program outside of tq's workers moves a message to."""

    status: Annotated[Status, Field(strict=False)]
    translation: Text | None = Field(None, description="With `completed`, where it is required.")
    error: Annotated[ReportedFailure | None, BeforeValidator(_failure), WithJsonSchema(_FAILURE_SCHEMA)] = None


# -- answers ---------------------------------------------------------------------------------------


class Accepted(BaseModel):
    """An item of a batch that was stored."""

    message: Message


class Refused(BaseModel):
    """An item of a batch that was not stored, and why."""

    error: Problem


class BatchResults(BaseModel):
    """One result for each item of the batch, in its order."""

    results: list[Accepted | Refused]


class MessagePage(BaseModel):
    """Messages, newest first."""

    messages: list[Message]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the page after; null on the last one.")


class ApiStatus(BaseModel):
    """What answers here."""

    status: str = "ok"
    version: str
    broker: str = Field(description="`connected`, or `unreachable` and why.")
    provider: str = Field(description="Who translates a message without a key of its own: `openai` or `pseudo`.")
    note: str | None = Field(
        default=None, exclude_if=is_none, description="With `pseudo`: that its output is not a translation."
    )


class Liveness(BaseModel):
    """The process lives."""

    status: str = "ok"
    version: str


class Readiness(BaseModel):
    """Whether submitted messages are stored and translated now."""

    status: str = Field(description="`ready` or `not ready`.")
    reasons: list[str] = Field(description="What is missing; empty when ready.")
