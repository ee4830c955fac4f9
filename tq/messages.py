"""The message: its states, what may be submitted, and the document that answers show. Data, no I/O."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    ValidationError,
    field_validator,
)

from tq.errors import FieldError, InvalidMessage, WaitTimeout
from tq.languages import check_language

# -- states ----------------------------------------------------------------------------------------


class Status(StrEnum):
    """Where a message stands."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


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

ID_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._~:@+=-]{0,127}"
_ID: Final = re.compile(ID_PATTERN, re.ASCII)
#: Words that stand where an id would in the API's paths.
_RESERVED_IDS: Final = frozenset({"next", "process", "batch"})
#: A NUL as JSON writes it, and not a backslash that stands before the letters u0000.
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_MAX_METADATA_KEYS: Final = 64
_MAX_METADATA_BYTES: Final = 16 * 1024


def check_message_id(value: str) -> str:
    """An id of 1 to 128 characters that is safe in a URL, a Redis key and a log line.

    Raises:
        ValueError: it is not.
    """
    if not _ID.fullmatch(value):
        raise ValueError("an id has 1 to 128 characters: letters, digits, and . _ ~ : @ + = - after the first")
    if value in _RESERVED_IDS:
        raise ValueError(f"{value!r} is a word of the API's paths")
    return value


def check_text(value: str) -> str:
    """Text that every part of tq can carry: Unicode without NUL.

    Raises:
        ValueError: it is not.
    """
    if "\x00" in value:
        raise ValueError("must not contain NUL characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain lone surrogates; it is not valid Unicode text") from None
    return value


def _check_line(value: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise ValueError("must not contain control characters")
    return check_text(value)


def _check_key(value: SecretStr) -> SecretStr:
    key = value.get_secret_value()
    if not 1 <= len(key) <= 512 or not all("!" <= char <= "~" for char in key):
        raise ValueError("must be 1 to 512 printable ASCII characters without spaces")
    return value


Text = Annotated[str, AfterValidator(check_text)]
Line = Annotated[str, AfterValidator(_check_line), Field(min_length=1, max_length=200)]
ApiKey = Annotated[
    SecretStr, AfterValidator(_check_key), Field(json_schema_extra={"maxLength": 512, "pattern": "^[!-~]+$"})
]


class Submission(BaseModel):
    """A message as it is submitted; unknown fields and other types than these are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    content: Text = Field(
        description="The text to translate: not empty, at most TQ_MAX_CONTENT bytes of UTF-8.",
        json_schema_extra={"pattern": r"\S"},
    )
    model_name: Line | None = Field(default=None, description="The model; TQ_MODEL when absent.")
    api_key: ApiKey | None = Field(
        None, description="A key for this message alone; stored sealed, deleted when the message ends, never shown."
    )
    priority: int = Field(default=0, ge=MIN_PRIORITY, le=MAX_PRIORITY, description="10 is the most urgent.")
    metadata: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="source_language, target_language (BCP 47), domain, and up to 64 keys of your own (16 KiB in all).",
    )
    message_id: str | None = Field(
        default=None,
        description="Your own id; made for you when absent.",
        json_schema_extra={"pattern": f"^{ID_PATTERN}$"},
    )

    @field_validator("content")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be empty or only white space: there is nothing to translate")
        return value

    @field_validator("message_id")
    @classmethod
    def _valid_id(cls, value: str | None) -> str | None:
        return None if value is None else check_message_id(value)

    @field_validator("metadata")
    @classmethod
    def _valid_metadata(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if len(value) > _MAX_METADATA_KEYS:
            raise ValueError(f"must not have more than {_MAX_METADATA_KEYS} keys")
        for name in ("source_language", "target_language"):
            tag = value.get(name)
            if tag is not None:
                if not isinstance(tag, str):
                    raise ValueError(f"{name} must be a string")
                try:
                    check_language(tag)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from None
        domain = value.get("domain")
        if domain is not None:
            if not isinstance(domain, str) or len(domain) > 200:
                raise ValueError("domain must be a string of at most 200 characters")
            _check_line(domain)
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (ValueError, RecursionError):
            raise ValueError("must be plain JSON, without NaN or infinities") from None
        if len(check_text(text).encode()) > _MAX_METADATA_BYTES or _ESCAPED_NUL.search(text):
            raise ValueError(f"must not be larger than {_MAX_METADATA_BYTES} bytes of JSON, or contain NUL characters")
        return value

    @property
    def queue(self) -> str:
        """The queue that its priority belongs to."""
        return get_queue_for_priority(self.priority)

    def fingerprint(self, key_digest: str) -> str:
        """A digest of everything that makes this submission what it is, its id aside.

        Two submissions with one id, or one idempotency key, are the same when their fingerprints
        are. ``key_digest`` stands for the api_key, so that the key itself is not hashed unkeyed.
        """
        body = [self.content, self.model_name, self.priority, self.metadata, key_digest]
        canonical = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


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


def invalid_message(error: ValidationError) -> InvalidMessage:
    """A pydantic error as ours, without the refused values."""
    errors = [field_error(item["loc"], item["msg"]) for item in error.errors(include_input=False, include_url=False)]
    return InvalidMessage(
        "the message is not valid",
        why="; ".join(f"{item['field']}: {item['message']}" if item["field"] else item["message"] for item in errors),
        fix="correct the named fields and submit again; nothing was stored",
        errors=errors,
    )


def field_error(location: tuple[int | str, ...], message: str) -> FieldError:
    """Where and what, in the words a caller can use: without pydantic's prefixes and Python's types."""
    if message.startswith("Input should be a valid dictionary"):
        message = "must be a JSON object"
    return {
        "field": ".".join(str(part) for part in location),
        "message": message.removeprefix("Value error, ").removeprefix("Assertion failed, "),
    }


# -- what is answered ------------------------------------------------------------------------------


class MessageError(BaseModel):
    """Why the message failed, or why its last attempt did."""

    model_config = ConfigDict(frozen=True)

    type: str
    message: str
    retryable: bool


class Usage(BaseModel):
    """Tokens that the provider counted, over all attempts that got an answer."""

    model_config = ConfigDict(frozen=True)

    prompt_tokens: int
    completion_tokens: int


class Message(BaseModel):
    """The message document. Times are RFC 3339 UTC; ``translation`` is set when completed."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    message_id: str
    status: Status
    queue: str
    priority: int
    content: str
    model_name: str | None
    metadata: dict[str, JsonValue]
    provider: str | None
    translation: str | None
    error: MessageError | None
    warnings: list[str]
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    next_retry_at: datetime | None
    usage: Usage | None

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


class Change(BaseModel):
    """One entry of the stream of changes: a message entered a status. Carries no text."""

    model_config = ConfigDict(frozen=True)

    cursor: str = Field(description="Position in the stream; pass it as `after` to go on from here.")
    at: datetime
    message_id: str
    status: Status
    priority: int
    languages: str
    attempts: int
    info: str = Field(default="", description="The error's type, or the model, or the seconds until the retry.")


class QueueDepth(BaseModel):
    """What waits at one priority of one queue; ``oldest_wait`` in seconds."""

    model_config = ConfigDict(frozen=True)

    queue: str
    priority: int | None
    queued: int
    oldest_wait: float


class WorkerInfo(BaseModel):
    """A process that takes messages, as of its last heartbeat; given up at ``alive_until`` without another."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    provider: str
    slots: int
    running: int
    alive_until: datetime


class Stats(BaseModel):
    """What ``GET /queue/stats`` answers. Throughput counts messages that ended in the last minute."""

    model_config = ConfigDict(frozen=True)

    queues: dict[str, int] = Field(description="queued messages per queue")
    priorities: list[QueueDepth] = Field(description="per queue and priority, only where something waits")
    oldest_wait: float = Field(description="seconds the longest-waiting queued message has waited")
    counts: dict[Status, int] = Field(description="messages kept, by status")
    running: int
    retries_pending: int
    workers: list[WorkerInfo]
    throughput: dict[str, float] = Field(description="completed and failed a minute; attempts a minute")


def wait_timeout(message: Message, timeout: float | None) -> WaitTimeout:
    """What a caller hears whose patience ran out."""
    return WaitTimeout(
        f"message {message.message_id} is still {message.status} after {timeout or 0:g} s",
        fix="it goes on: ask again with `tq status`",
    )


def utc(milliseconds: int) -> datetime:
    """Unix milliseconds as an aware UTC time."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
