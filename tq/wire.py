"""tq's HTTP API from the outside: each request as data, with how its answer is read. No I/O.

``tq.client`` and ``tq.async_client`` send them; ``tq.remote`` knows to whom, and what a refusal means.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from tq.errors import ERRORS, ApiError, ErrorRecord, InvalidMessage, TooManyStreams, TqError, unknown_message
from tq.failures import Failures, Retried
from tq.fields import check_message_id
from tq.figures import Stats
from tq.filters import MessageFilter
from tq.messages import Message, Status, Submission, status_of
from tq.patience import id_of
from tq.statuses import StatusName
from tq.tallies import History
from tq.timeline import Timeline, TimelineEntry

T = TypeVar("T")

#: What the ``type`` of tq's problem documents begins with.
PROBLEM: Final = "urn:tq:problem:"
#: Items that the API takes in one batch.
MOST_ITEMS: Final = 1000
#: Ids that the API looks up at once.
MOST_LOOKED_UP: Final = 200

#: Types of errors that older APIs call otherwise.
_RENAMED: Final = {"too-many-requests": TooManyStreams.type}

_MESSAGE: Final = "message, or not the one that was asked for"
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """One request.

    Attributes:
        method: of HTTP.
        path: below the API's root.
        noun: what it is answered with, for people.
        read: makes that of the decoded answer, which is None for 204; raises what Python raises when the answer
            is not one of tq's (ValueError, LookupError, TypeError, AttributeError).
        params: the query.
        headers: besides those of every request.
        content: the body, JSON.
        patience: seconds that the answer may take on purpose.
        within: seconds that all of it may take at most, whatever the client's own timeout is; None: that alone counts.
        message_id: of the message that errors are about.
    """

    method: str
    path: str
    noun: str
    read: Callable[[Any], T]
    params: Mapping[str, str | int | float] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)
    patience: float = 0.0
    within: float | None = None
    message_id: str | None = None

    def bounded(self, within: float | None) -> Request[T]:
        """The same, which may take so many seconds."""
        return replace(self, within=within)


# -- the verbs -------------------------------------------------------------------------------------


def submit(submission: Submission, idempotency_key: str | None) -> Request[Message]:
    """Submit one message."""
    headers = {} if idempotency_key is None else {"Idempotency-Key": _header(idempotency_key)}
    # A key that was used before answers the message that it was used for.
    read = partial(_the_message, submission.message_id if idempotency_key is None else None)
    return Request("POST", "messages", _MESSAGE, read, content=encoded(submission), headers=headers)


def submit_batch(items: Sequence[tuple[str | None, bytes]]) -> Request[list[Message | TqError]]:
    """Submit up to ``MOST_ITEMS`` messages, each with its id and ``encoded``."""
    content = b'{"messages":[' + b",".join(body for _, body in items) + b"]}"
    read = partial(_results, [message_id for message_id, _ in items])
    return Request("POST", "messages/batch", "result for each item of the batch", read, content=content)


def get(message_id: str | Message, wait: float = 0.0) -> Request[Message]:
    """The message; as soon as it has ended, or after ``wait`` seconds."""
    params = {"wait": round(wait, 3)} if wait > 0 else {}
    return _message("GET", message_id, params=params, patience=wait)


def lookup(ids: Sequence[str]) -> Request[list[Message | TqError]]:
    """Up to ``MOST_LOOKED_UP`` messages by their ids."""
    content = _json({"message_ids": [*ids]})
    return Request("POST", "messages/lookup", "message for each id", partial(_looked_up, ids), content=content)


def page(
    status: Status | StatusName | None, limit: int, cursor: str | None, matching: MessageFilter | None = None
) -> Request[tuple[list[Message], str | None]]:
    """One page of the list of messages."""
    params = _given(limit=limit, status=_name(status), cursor=cursor)
    if matching is not None:
        params |= matching.parameters()
    return Request("GET", "messages", "list of messages", _page, params=params)


def next_message() -> Request[Message | None]:
    """The message that a worker would take next."""
    return Request("GET", "messages/next", _MESSAGE, _message_or_none)


def cancel(message_id: str | Message) -> Request[Message]:
    """Cancel a message."""
    return _message("POST", message_id, "/cancel")


def retry(message_id: str | Message, api_key: str | None) -> Request[Message]:
    """Queue a message again."""
    return _message("POST", message_id, "/retry", content=_json({"api_key": api_key}) if api_key else None)


def set_status(
    message_id: str | Message, status: Status | StatusName, translation: str | None, error: str | ErrorRecord | None
) -> Request[Message]:
    """Move a message on."""
    body = _given(status=_name(status), translation=translation, error=error)
    return _message("POST", message_id, "/status", content=_json(body))


def timeline(message_id: str | Message) -> Request[list[TimelineEntry]]:
    """Every status that a message entered."""
    message_id = id_of(message_id)
    path, read = f"{_path(message_id)}/timeline", partial(_entries, message_id)
    return Request("GET", path, "timeline of this message", read, message_id=message_id)


def pause(queue: str) -> Request[None]:
    """Pause a queue."""
    return Request("POST", f"queues/{quote(queue, safe='', errors='replace')}/pause", "queue", lambda _: None)


def resume(queue: str) -> Request[None]:
    """Go on with a queue."""
    return Request("POST", f"queues/{quote(queue, safe='', errors='replace')}/resume", "queue", lambda _: None)


def failures() -> Request[Failures]:
    """Failed messages by reason."""
    return Request("GET", "queue/failures", "list of failures", Failures.model_validate)


def retry_failures(kind: str | None, cursor: str | None) -> Request[Retried]:
    """Queue up to a thousand failed messages again, those after a cursor."""
    content = _json({"type": kind, "cursor": cursor})
    return Request("POST", "queue/failures/retry", "number of messages", Retried.model_validate, content=content)


def stats() -> Request[Stats]:
    """Depths and figures."""
    return Request("GET", "queue/stats", "stats", Stats.model_validate)


def history() -> Request[History]:
    """The last hour."""
    return Request("GET", "queue/history", "history", History.model_validate)


def send_callback(message_id: str | Message) -> Request[Message]:
    """Send a webhook again."""
    return _message("POST", message_id, "/callback")


def health() -> Request[dict[str, Any]]:
    """What answers there."""
    return Request("GET", "", "version", _health)


def wanted(status: Status | StatusName | None, to: str | None, priority: int | None) -> dict[str, Any]:
    """Which changes a stream has, as parameters of ``stream``."""
    return _given(status=_name(status), to=to, priority=priority)


def stream(after: str | None, message_id: str | None, params: Mapping[str, Any]) -> Request[None]:
    """The stream of changes, those that are ``wanted``; or of all of one message's."""
    path = "events" if message_id is None else f"{_path(message_id)}/events"
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
    return Request("GET", path, "stream of changes", lambda _: None, params=params, headers=headers)


# -- what is sent ----------------------------------------------------------------------------------


def body_of(submission: Submission) -> dict[str, Any]:
    """A submission as it is sent: what is as it is by default is left out, for an older API may not know all of it."""
    body = submission.model_dump(mode="json", exclude_defaults=True, exclude={"api_key"})
    if submission.api_key is not None:
        body["api_key"] = submission.api_key.get_secret_value()
    return body


def encoded(submission: Submission) -> bytes:
    """A submission as JSON."""
    return _json(body_of(submission))


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _name(status: Status | StatusName | None) -> str | None:
    return None if status is None else str(status_of(status))


def _json(data: Any) -> bytes:
    return _encode(data).encode()


def _path(message_id: str) -> str:
    try:
        check_message_id(message_id)
    except ValueError as error:
        raise unknown_message(message_id, why=str(error)) from None
    return f"messages/{quote(message_id, safe='')}"


def _header(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise InvalidMessage("the idempotency key must be 1 to 255 printable ASCII characters")
    return value


# -- what is answered ------------------------------------------------------------------------------


def error_of(problem: Mapping[str, Any]) -> TqError:
    """The error that the API's problem document stands for, as the class that it was there."""
    slug = str(problem.get("type", "")).removeprefix(PROBLEM)
    cls = ERRORS.get(_RENAMED.get(slug, slug), ApiError)
    what = str(problem.get("detail") or problem.get("title") or "the API reports an error")
    words = {name: str(problem.get(name) or "") for name in ("why", "fix")}
    if issubclass(cls, InvalidMessage):
        return cls(what, errors=problem.get("errors") or (), **words)
    return cls(what, **words)


def _message(method: str, message: str | Message, action: str = "", **options: Any) -> Request[Message]:
    message_id = id_of(message)
    read = partial(_the_message, message_id)
    return Request(method, _path(message_id) + action, _MESSAGE, read, message_id=message_id, **options)


def _the_message(message_id: str | None, data: Any) -> Message:
    """The one that was asked for: what answers may be confused, or the connection shared with somebody else."""
    message = Message.model_validate(data)
    if message_id is not None and message.message_id != message_id:
        raise ValueError("another message")
    return message


def _message_or_none(data: Any) -> Message | None:
    return None if data is None else Message.model_validate(data)


def _results(ids: Sequence[str | None], data: Any) -> list[Message | TqError]:
    return [
        _the_message(message_id, item["message"]) if item.get("message") else error_of(item.get("error") or {})
        for message_id, item in zip(ids, data["results"], strict=True)
    ]


def _looked_up(ids: Sequence[str], data: Any) -> list[Message | TqError]:
    found = {message.message_id: message for message in _all(Message, data["messages"])}
    return [found.get(message_id) or unknown_message(message_id) for message_id in ids]


def _page(data: Any) -> tuple[list[Message], str | None]:
    return _all(Message, data["messages"]), data.get("next_cursor")


def _entries(message_id: str, data: Any) -> list[TimelineEntry]:
    timeline = Timeline.model_validate(data)
    if timeline.message_id != message_id:
        raise ValueError("the timeline of another message")
    return timeline.entries


def _health(data: Any) -> dict[str, Any]:
    return {**data, "version": data["version"]}


M = TypeVar("M", bound=BaseModel)


def _all(model: type[M], items: list[Any]) -> list[M]:
    return [model.model_validate(item) for item in items]
