"""Request and answer bodies of the API: how they are read, and their models.

Bodies are read here and not by FastAPI: within a bound, as strict JSON, and without answers that
repeat the refused values.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

from fastapi import HTTPException, Request
from jiter import from_json
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from tq.errors import ContentTooLarge, InvalidMessage, MalformedRequest, TqError
from tq.fields import TEXT_PATTERN, ApiKey, LanguageTag, SomeText, Text
from tq.messages import Message, QueueName, Status, Submission, invalid_message, parse_submission
from tq.problems import Problem, is_none
from tq.settings import Settings

MAX_BATCH: Final = 1000
MAX_LANGUAGES: Final = 100
#: Messages that are looked up at once; as many as a page of the list has at most.
MAX_LOOKUP: Final = 200
#: Values in one body: numbers, strings, lists, … A full batch with 64 keys of metadata an item has 70,000.
MAX_VALUES: Final = 250_000
#: Each value but the first stands after one of these.
_BEFORE_VALUES: Final = (b",", b"[", b"{")
_MIB: Final = 2**20
#: A batch of many small messages; one of few large ones is better sent as single messages.
_BATCH_BYTES: Final = 32 * _MIB
#: For all but the content: 120 KiB of metadata with a context, instructions and a glossary, however escaped.
_MARGIN: Final = 768 * 1024
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
        MalformedRequest: not JSON (RFC 8259: no NaN, no lone surrogates, no name twice in an object), not
            UTF-8, nested too deep.
        ContentTooLarge: more than ``most`` bytes or ``MAX_VALUES`` values; no more than that are kept.
        RequestTimeout: it comes too slowly.
        HTTPException: 415, the content type is not JSON, or it is compressed.
    """
    _require_json(request)
    body = await _read(request, most)
    if not body and optional:
        return {}
    if _has_too_many_values(body):
        raise ContentTooLarge(f"the body has more than {MAX_VALUES} JSON values", fix="submit less at once")
    try:
        return from_json(body, allow_inf_nan=False, cache_mode="keys", catch_duplicate_keys=True)
    except ValueError as error:
        # The parser's text says what and where, and repeats nothing of the body but a name.
        what, at, where = str(error).rpartition(" at line ")
        what = "an object has the same name twice" if what.startswith("Detected duplicate key") else what
        raise MalformedRequest("the body is not valid JSON in UTF-8", why=f"{what}{at}{where}") from None


def _require_json(request: Request) -> None:
    headers = request.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise HTTPException(415, "the body must be JSON, and its Content-Type header say application/json")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise HTTPException(415, "the body must not be compressed", {"Accept-Encoding": "identity"})


async def _read(request: Request, most: int) -> bytes:
    announced = request.headers.get("content-length", "")
    size = int(announced) if announced.isdecimal() and len(announced) < 20 else 0
    body = bytearray()
    if size <= most:
        async for chunk in request.stream():
            size = len(body) + len(chunk)
            if size > most:
                break
            body += chunk
    if size > most:
        raise ContentTooLarge(
            f"the body is larger than {most} bytes",
            why="that is what TQ_MAX_CONTENT leaves room for",
            fix="submit less at once, or raise TQ_MAX_CONTENT",
        )
    return bytes(body)


def _has_too_many_values(body: bytes) -> bool:
    """Whether decoding it would cost far more memory than its bytes: ``[[],[],[],…`` takes thirty times as much."""
    if sum(map(body.count, _BEFORE_VALUES)) < MAX_VALUES:
        return False
    # They may stand in strings. Without its escapes, a string goes from one quotation mark to the next.
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")
    outside = plain.split(b'"', 4 * MAX_VALUES)[::2]
    return sum(part.count(sign) for part in outside for sign in _BEFORE_VALUES) >= MAX_VALUES


def parse(model: type[M], data: object) -> M:
    """Decoded JSON as a model.

    Raises:
        InvalidMessage: with one entry in ``errors`` for each thing that is wrong.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise invalid_message(error, "the body is not valid", "correct the named fields; nothing was changed") from None


# -- requests --------------------------------------------------------------------------------------


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Batch(_Body):
    """Messages to submit, in one language or several; each is accepted or refused by itself."""

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
    target_languages: Annotated[list[LanguageTag], Field(max_length=MAX_LANGUAGES)] = Field(
        default_factory=list,
        json_schema_extra={"uniqueItems": True},
        description="Each message is submitted once for each of these, and has no target_language of its own; 1,000 in "
        "all. The results are in that order: all languages of the first message, then those of the second.",
    )

    def submissions(self) -> list[tuple[int, Submission | TqError]]:
        """What is to be submitted, or why it is not, each with the index of its item.

        Raises:
            InvalidMessage: that is more than a batch takes, or a language is named twice.
        """
        languages: list[str | None] = [*self.target_languages] or [None]
        if len(set(languages)) < len(languages):
            raise InvalidMessage("target_languages has a language twice", fix="name each once; nothing was submitted")
        if len(self.messages) * len(languages) > MAX_BATCH:
            raise InvalidMessage(
                f"the batch has more than {MAX_BATCH} messages",
                why=f"{len(self.messages)} in {len(languages)} languages",
                fix="submit less at once; nothing was submitted",
            )
        return [(index, self._parsed(item, tag)) for index, item in enumerate(self.messages) for tag in languages]

    def _parsed(self, item: Any, language: str | None) -> Submission | TqError:
        try:
            return parse_submission(item if language is None else self._in_language(item, language))
        except InvalidMessage as error:
            return error

    def _in_language(self, item: Any, language: str) -> Any:
        metadata = item.get("metadata", {}) if isinstance(item, dict) else None
        if not isinstance(metadata, dict):
            return item
        if metadata.get("target_language") is not None:
            raise InvalidMessage(
                "the message has a target_language of its own, and the batch has target_languages",
                fix="leave one of them out",
            )
        if item.get("message_id") is not None and len(self.target_languages) > 1:
            raise InvalidMessage(
                "one message_id cannot be that of several messages",
                fix="leave it out, or submit one message a language",
            )
        return {**item, "metadata": {**metadata, "target_language": language}}


class Lookup(_Body):
    """Which messages to look up."""

    message_ids: list[str] = Field(max_length=MAX_LOOKUP)


class Selection(_Body):
    """Which message to process; the next one when absent."""

    message_id: str | None = None


class Revival(_Body):
    """What a failed or cancelled message needs to be tried again."""

    api_key: ApiKey | None = Field(None, description="Needed if the message was submitted with a key of its own.")


class FailureSelection(_Body):
    """Which failed messages to retry; all when absent."""

    type: Annotated[str, Field(max_length=64)] | None = None
    cursor: str | None = Field(
        None, pattern="^[0-9]{1,18}$", description="`next_cursor` of the thousand before: go on after it."
    )


class ReportedFailure(_Body):
    """Why an attempt outside of tq failed."""

    type: str = Field("reported", pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="A stable word for the kind.")
    message: Text = Field(min_length=1, max_length=2000)
    retryable: bool = False


def _failure(value: object) -> object:
    return {"message": value} if isinstance(value, str) else value


_FAILURE_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": 2000, "pattern": TEXT_PATTERN},
        {"$ref": "#/components/schemas/ReportedFailure"},
        {"type": "null"},
    ],
    "default": None,
    "description": "With `failed` or `retrying`: why.",
}


_NONE: Final[dict[str, Any]] = {"type": "null"}


class StatusChange(_Body):
    """The status that a program outside of tq's workers moves a message to."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {
                    "properties": {
                        "status": {"const": Status.COMPLETED},
                        "translation": {"type": "string"},
                        "error": _NONE,
                    },
                    "required": ["translation"],
                },
                {"properties": {"status": {"enum": [Status.FAILED, Status.RETRYING]}, "translation": _NONE}},
                {
                    "properties": {
                        "status": {"enum": [Status.QUEUED, Status.RUNNING, Status.CANCELLED]},
                        "translation": _NONE,
                        "error": _NONE,
                    }
                },
            ]
        }
    )

    status: Annotated[Status, Field(strict=False)]
    translation: SomeText | None = Field(None, description="With `completed`, where it is required.")
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


class Found(BaseModel):
    """The messages of a look-up, in the order in which they were asked for."""

    messages: list[Message] = Field(description="Those that there are.")


class MessagePage(BaseModel):
    """Messages, newest first."""

    messages: list[Message]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the page after; null on the last one.")


class QueueState(BaseModel):
    """Whether a queue is paused now."""

    queue: QueueName
    paused: bool


class ApiStatus(BaseModel):
    """What answers here."""

    status: str = "ok"
    version: str
    broker: str = Field(description="`connected`, or `unreachable` and why.")
    paused: list[QueueName] = Field(default_factory=list, description="Queues of which nothing begins.")
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
    paused: list[QueueName] = Field(
        default_factory=list, description="Queues of which nothing begins; that does not make it unready."
    )
