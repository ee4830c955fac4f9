"""The message: its states, what may be submitted, and the document that answers show. Data, no I/O."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from tq.errors import ERRORS, AttemptError, FieldError, InvalidMessage, MessageCancelled, TqError
from tq.fields import (
    ID_PATTERN,
    ApiKey,
    CallbackUrl,
    FallbackModels,
    MessageId,
    Metadata,
    ModelName,
    Parameters,
    SomeText,
    Whole,
)
from tq.statuses import CallbackStatus, StatusName

# -- states ----------------------------------------------------------------------------------------


class Status(StrEnum):
    """Where a message stands."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def status_of(status: Status | StatusName) -> Status:
    """The status of this name.

    Raises:
        InvalidMessage: there is none.
    """
    try:
        return Status(status)
    except ValueError:
        raise InvalidMessage(f"there is no status {status!r}", fix=f"one of {', '.join(Status)}") from None


TERMINAL: Final = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})

#: from -> to -> who moves it. The store's scripts get their table from here: there is no other.
TRANSITIONS: Final[Mapping[Status, Mapping[Status, str]]] = {
    Status.QUEUED: {
        Status.RUNNING: "a worker claims it",
        Status.CANCELLED: "a person or program cancels it",
    },
    Status.RUNNING: {
        Status.COMPLETED: "the attempt succeeded",
        Status.FAILED: "the attempt failed for good",
        Status.RETRYING: "the attempt failed, another is due",
        Status.QUEUED: "its lease expired, or a draining worker released it",
        Status.CANCELLED: "a person or program cancels it",
    },
    Status.RETRYING: {
        Status.QUEUED: "its retry is due",
        Status.CANCELLED: "a person or program cancels it",
    },
    Status.FAILED: {Status.QUEUED: "a person or program retries it"},
    Status.CANCELLED: {Status.QUEUED: "a person or program retries it"},
    Status.COMPLETED: {},
}


def may_become(current: Status, wanted: Status) -> bool:
    """Whether the state machine has a way from ``current`` to ``wanted``."""
    return wanted in TRANSITIONS[current]


# -- queues and priorities -------------------------------------------------------------------------

HIGH_PRIORITY: Final = "high_priority"
DEFAULT: Final = "default"
#: Where a message goes whose worker process died under it twice: one slot a worker, no company.
QUARANTINE: Final = "quarantine"
QUEUES: Final = (HIGH_PRIORITY, DEFAULT)

MIN_PRIORITY: Final = 0
MAX_PRIORITY: Final = 10
HIGH_FROM: Final = 5


def get_queue_for_priority(priority: int) -> str:
    """The queue of a priority: ``high_priority`` from 5 up, ``default`` below.

    Raises:
        InvalidMessage: not an integer of 0 to 10.
    """
    if isinstance(priority, bool) or not isinstance(priority, int) or not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        raise InvalidMessage("the priority must be an integer from 0 to 10", fix="10 is the most urgent")
    return HIGH_PRIORITY if priority >= HIGH_FROM else DEFAULT


# -- what is submitted -----------------------------------------------------------------------------

#: Errors that are named one by one; a body of nothing but unknown fields has hundreds of thousands.
_MAX_ERRORS: Final = 50
#: Characters of an unknown field's name that are repeated.
_MAX_NAME: Final = 100


class Submission(BaseModel):
    """A message as it is submitted; unknown fields and other types than these are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    content: SomeText = Field(description="The text to translate: at most TQ_MAX_CONTENT bytes of UTF-8.")
    model_name: ModelName | None = Field(default=None, description="The model; TQ_MODEL when absent.")
    api_key: ApiKey | None = Field(
        None, description="A key for this message alone; stored sealed, deleted when the message ends, never shown."
    )
    priority: Whole = Field(default=0, ge=MIN_PRIORITY, le=MAX_PRIORITY, description="10 is the most urgent.")
    metadata: Metadata = Field(
        default_factory=dict,
        description="source_language, target_language (BCP 47), domain, context, formality, instructions, glossary, "
        "and keys of your own: 64 in all, and 16 KiB besides context, instructions and glossary.",
    )
    message_id: MessageId | None = Field(default=None, description="Your own id; made for you when absent.")
    cache: bool = Field(default=True, description="Whether an earlier translation of the same text may be taken.")
    fallback_models: FallbackModels = Field(
        default_factory=list,
        description="Models to try after the first, in order; those of TQ_FALLBACK_MODELS when empty.",
    )
    parameters: Parameters = Field(
        default_factory=dict, description="Sent with the request as they are; each goes before that of TQ_PARAMETERS."
    )
    callback_url: CallbackUrl | None = Field(
        default=None,
        description="Where a signed webhook (standardwebhooks.com) is sent when the message has ended: https, without "
        "user and password, at most 2,048 characters, to no private address; `http` and private addresses only with "
        "TQ_CALLBACK_PRIVATE.",
    )

    @property
    def queue(self) -> str:
        """The queue that its priority belongs to."""
        return get_queue_for_priority(self.priority)

    def options(self) -> dict[str, Any]:
        """What a message may have besides, as far as it is not as by default."""
        chosen: dict[str, Any] = {
            "fallback_models": self.fallback_models,
            "parameters": self.parameters,
            "callback_url": self.callback_url,
        }
        return {name: value for name, value in chosen.items() if value} | ({} if self.cache else {"cache": False})

    def fingerprint(self, key_digest: str) -> str:
        """A digest of everything that makes this submission what it is, its id aside.

        Two submissions with one id, or one idempotency key, are the same when their fingerprints
        are. ``key_digest`` stands for the api_key, so that the key itself is not hashed unkeyed.
        """
        body: list[Any] = [self.content, self.model_name, self.priority, self.metadata, key_digest]
        if options := self.options():
            body.append(options)
        return hashlib.blake2b(_canonical(body).encode(), digest_size=16).hexdigest()


_canonical: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


def parse_submission(data: object) -> Submission:
    """A validated submission from decoded JSON.

    Raises:
        InvalidMessage: with one entry in ``errors`` for each thing that is wrong; values are not
            repeated.
    """
    try:
        return Submission.model_validate(data)
    except ValidationError as error:
        raise invalid_message(error) from None


def invalid_message(
    error: ValidationError,
    what: str = "the message is not valid",
    fix: str = "correct the named fields and submit again; nothing was stored",
) -> InvalidMessage:
    """A pydantic error as ours, without the refused values."""
    errors = _field_errors(error)
    return InvalidMessage(
        what,
        why="; ".join(f"{item['field']}: {item['message']}" if item["field"] else item["message"] for item in errors),
        fix=fix,
        errors=errors,
    )


def _field_errors(error: ValidationError) -> list[FieldError]:
    """A pydantic error as one entry for each thing that is wrong, or as one for all of too many."""
    count = error.error_count()
    if count > _MAX_ERRORS:
        return [{"field": "", "message": f"{count} things are wrong with it: too many to be named"}]
    return [field_error(item["loc"], item["msg"]) for item in error.errors(include_input=False, include_url=False)]


def field_error(location: tuple[int | str, ...], message: str) -> FieldError:
    """Where and what, in the words a caller can use: without pydantic's prefixes and Python's types."""
    if message.startswith("Input should be a valid dictionary"):
        message = "must be a JSON object"
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    # Metadata is checked as a whole, which says what of it is wrong.
    name, colon, rest = message.partition(": ")
    if colon and location[-1:] == ("metadata",) and name.isidentifier():
        location, message = (*location, name), rest
    return {"field": ".".join(_shortened(str(part)) for part in location), "message": message}


def _shortened(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]}…"


# -- what is answered ------------------------------------------------------------------------------
# What only the OpenAPI document says (``json_schema_extra``) is not checked when a document is read: that would cost
# time, and lock an older client out.


def shown(**schema: Any) -> Any:
    """A field with a rule that only the OpenAPI document says."""
    return Field(json_schema_extra=schema)


def _set_only(field: str, *statuses: Status) -> JsonValue:
    """As JSON Schema: the field is set with these statuses, and null with all others."""
    return {
        "if": {"properties": {"status": {"enum": [*statuses]}}},
        "then": {"properties": {field: {"not": {"type": "null"}}}},
        "else": {"properties": {field: {"type": "null"}}},
    }


_Id = Annotated[str, shown(pattern=f"^{ID_PATTERN}$")]
PriorityNumber = Annotated[int, shown(minimum=MIN_PRIORITY, maximum=MAX_PRIORITY)]
QueueName = Annotated[str, shown(enum=[*QUEUES, QUARANTINE])]
Count = Annotated[int, shown(minimum=0)]
Amount = Annotated[float, shown(minimum=0)]


class BrokenRule(BaseModel):
    """One thing that was wrong with the answer of a model: the rule, in words, and what exactly."""

    model_config = ConfigDict(frozen=True)

    rule: str
    message: str
    detail: str


class MessageError(BaseModel):
    """Why the message failed, or why its last attempt did."""

    model_config = ConfigDict(frozen=True)

    type: str
    message: str
    retryable: bool
    violations: list[BrokenRule] = Field(
        default_factory=list, description="What was wrong with the answer, where that is the reason."
    )


class Usage(BaseModel):
    """Tokens that the provider counted, over all attempts that got an answer."""

    model_config = ConfigDict(frozen=True)

    prompt_tokens: Count
    completion_tokens: Count


class Callback(BaseModel):
    """How it stands with a message's webhook."""

    model_config = ConfigDict(frozen=True)

    url: str = Field(description="Its beginning: at most a short first part of the path, and no values of the query.")
    status: CallbackStatus = Field(
        description="`waiting`: the message has not ended. `pending`: it is sent, or sent again. `failed`: given up. "
        "`disabled`: the receiver answered 410, and wants no more."
    )
    attempts: Count = 0
    last_status: int | None = Field(default=None, description="HTTP status of the last answer.")
    last_error: str | None = Field(default=None, description="What was wrong with the last attempt, in a word.")
    next_attempt_at: datetime | None = None
    delivered_at: datetime | None = None


class Message(BaseModel):
    """The message document. Times are RFC 3339 UTC; ``translation`` is set when completed."""

    model_config = ConfigDict(
        frozen=True,
        protected_namespaces=(),
        json_schema_extra={
            "allOf": [
                _set_only("translation", Status.COMPLETED),
                _set_only("next_retry_at", Status.RETRYING),
                _set_only("finished_at", *sorted(TERMINAL)),
            ]
        },
    )

    message_id: _Id
    status: Status
    queue: QueueName
    priority: PriorityNumber
    content: str
    model_name: str | None
    metadata: dict[str, JsonValue]
    provider: str | None
    translation: str | None
    error: MessageError | None
    warnings: list[str]
    attempts: Count
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    next_retry_at: datetime | None
    usage: Usage | None
    cost: Amount | None = Field(
        default=None,
        description="What all attempts cost, in the currency of TQ_PRICES; null: nothing yet, or it is not known.",
    )
    cached: bool = Field(default=False, description="Whether the translation was taken from the translation memory.")
    detected_language: str | None = Field(
        default=None, description="The source language, as it was detected where none was given."
    )
    cache: bool = True
    fallback_models: list[str] = Field(default_factory=list)
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    callback: Callback | None = Field(default=None, description="Its webhook, if it has a callback_url.")

    @property
    def ended(self) -> bool:
        """Whether it is in a terminal status."""
        return self.status in TERMINAL

    @property
    def languages(self) -> str:
        """``en→fr``; ``→fr`` when the source language is not known."""
        source = self.metadata.get("source_language") or ""
        return f"{source}→{self.metadata.get('target_language') or ''}"

    def document(self) -> dict[str, Any]:
        """The message as JSON-ready data."""
        return self.model_dump(mode="json")


CURSOR_PATTERN: Final = r"^[0-9]{1,18}(-[0-9]{1,18})?$"
_LAST_NUMBER: Final = 10**18 - 1


def newer(cursor: str, than: str) -> bool:
    """Whether a cursor of the stream of changes comes after another."""
    return position(cursor) > position(than)


def before(cursor: str) -> str:
    """The cursor just before one."""
    moment, number = position(cursor)
    return f"{moment}-{number - 1}" if number else f"{max(0, moment - 1)}-{_LAST_NUMBER}"


def position(cursor: str) -> tuple[int, int]:
    """Where a cursor stands among others."""
    moment, _, number = cursor.partition("-")
    return int(moment), int(number or 0)


class Change(BaseModel):
    """One entry of the stream of changes: a message entered a status. Carries no text."""

    model_config = ConfigDict(frozen=True)

    cursor: str = Field(
        description="Position in the stream; pass it as `after` to go on from here.",
        json_schema_extra={"pattern": CURSOR_PATTERN},
    )
    at: datetime
    message_id: _Id
    status: Status
    priority: PriorityNumber
    languages: str
    attempts: Count
    info: str = Field(default="", description="The error's type, or the model, or the seconds until the retry.")


def failure(message: Message) -> TqError:
    """The error of a message as an exception of the class that its type names."""
    kind, what = (message.error.type, message.error.message) if message.error else ("", "it failed without an error")
    error = ERRORS.get(kind, AttemptError)(what)
    error.message_id = message.message_id
    return error


def translation_of(message: Message) -> str:
    """The translation of a message that has ended.

    Raises:
        TqError: why it failed, as the class that its type names.
        MessageCancelled: somebody cancelled it.
    """
    if message.status is Status.CANCELLED:
        raise MessageCancelled(f"message {message.message_id} was cancelled", fix="queue it again with `tq retry`")
    if message.translation is None:
        raise failure(message)
    return message.translation


def utc(milliseconds: int) -> datetime:
    """Unix milliseconds as an aware UTC time."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
