"""The verbs of tq for synchronous callers, whatever stands behind them: the store, or the API over HTTP.

``LocalClient`` and ``Client`` are backends, so that a command, or a program, is written once.
"""

from __future__ import annotations

import builtins
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, Self, TypedDict, Unpack

from pydantic import JsonValue

from tq.errors import AmbiguousId, ErrorRecord, TqError, UnknownMessage
from tq.failures import Failures, Retried
from tq.figures import Stats
from tq.filters import MessageFilter
from tq.messages import Change, Message, Status, Submission, parse_submission, wait_timeout
from tq.tallies import History
from tq.timeline import TimelineEntry

#: Ids that are named when it is not clear which is meant.
_CANDIDATES: Final = 5


class SubmissionFields(TypedDict, total=False):
    """What may be said of a text by keyword; absent and None are the same.

    ``to`` and ``source`` are BCP 47 tags; ``priority`` is 0 to 10, 10 the most urgent; ``context`` is sent
    and not translated; ``formality`` is ``formal`` or ``informal``; ``glossary`` maps terms to their
    translations, or is a list of ``{"source", "target", "mandatory"}``; ``cache`` = False never takes an
    earlier translation; ``parameters`` are sent with the request (``temperature``); ``metadata`` are further
    keys of the caller's own.
    """

    to: str | None
    source: str | None
    domain: str | None
    model: str | None
    priority: int | None
    metadata: Mapping[str, JsonValue] | None
    context: str | None
    formality: Literal["formal", "informal"] | None
    instructions: str | None
    glossary: Mapping[str, str] | Sequence[Mapping[str, JsonValue]] | None
    cache: bool | None
    fallback_models: Sequence[str] | None
    parameters: Mapping[str, JsonValue] | None
    message_id: str | None
    api_key: str | None


def make_submission(content: str, **fields: Unpack[SubmissionFields]) -> Submission:
    """A submission from friendly keywords.

    Raises:
        InvalidMessage: with an entry in ``errors`` for each thing that is wrong.
    """
    glossary = fields.get("glossary")
    known = {
        "source_language": fields.get("source"),
        "target_language": fields.get("to"),
        "domain": fields.get("domain"),
        "context": fields.get("context"),
        "formality": fields.get("formality"),
        "instructions": fields.get("instructions"),
        "glossary": dict(glossary) if isinstance(glossary, Mapping) else glossary and [*map(dict, glossary)],
    }
    models, parameters = fields.get("fallback_models"), fields.get("parameters")
    body = {
        "content": content,
        "model_name": fields.get("model"),
        "api_key": fields.get("api_key"),
        "priority": fields.get("priority"),
        "metadata": {
            **(fields.get("metadata") or {}),
            **{name: value for name, value in known.items() if value is not None},
        },
        "cache": fields.get("cache"),
        "fallback_models": None if models is None else [*models],
        "parameters": None if parameters is None else {**parameters},
        "message_id": fields.get("message_id"),
    }
    return parse_submission({name: value for name, value in body.items() if value is not None})


class Changes(Iterator[list[Change]]):
    """Batches of changes for ever, an empty one for each quiet round.

    ``next`` raises ``Unreachable`` while nothing answers; called again it goes on where it was, so that
    a broker's restart loses no change.
    """

    def close(self) -> None:
        """Let go of the connection."""


class Backend(ABC):
    """The verbs. A context manager; all of them raise ``Unreachable`` when nothing answers."""

    #: Seconds between two looks at a message that is waited for: the first pause, and the longest.
    _pauses: ClassVar[tuple[float, float]] = (0.01, 0.25)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Let go of all connections."""

    def submit(
        self, message: str | Submission, idempotency_key: str | None = None, **fields: Unpack[SubmissionFields]
    ) -> Message:
        """Submit a message: ``submit("Hello", to="fr", priority=9)``, or a ``Submission``.

        It is durable when this returns. The same id or idempotency key with the same body answers
        the message that is there.

        Raises:
            InvalidMessage: the message breaks the contract; ``errors`` says where.
            ContentTooLarge: the text is above TQ_MAX_CONTENT.
            DuplicateMessage: the id exists with another body.
            IdempotencyConflict: the key was used with another body.
            QueueFull: TQ_MAX_QUEUED messages wait already.
        """
        if isinstance(message, Submission):
            if fields:
                raise TypeError("a Submission says everything itself: pass keywords with a text only")
            return self._submit(message, idempotency_key)
        return self._submit(make_submission(message, **fields), idempotency_key)

    @abstractmethod
    def _submit(self, submission: Submission, idempotency_key: str | None) -> Message: ...

    @abstractmethod
    def submit_many(self, submissions: Sequence[Submission | TqError]) -> list[Message | TqError]:
        """Submit several; one result each, in order: the message or why it was refused.

        An item that is an error already (it could not be made) is passed on in its place.
        """

    @abstractmethod
    def get(self, message_id: str) -> Message:
        """The message.

        Raises:
            UnknownMessage: there is none.
        """

    @abstractmethod
    def list(
        self,
        status: Status | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        matching: MessageFilter | None = None,
    ) -> tuple[list[Message], str | None]:
        """Up to ``limit`` (1 to 200) messages, newest first, and the cursor of the page after, or None.

        With a filter a page may have fewer, even none, although there is one after it.
        """

    def resolve(self, prefix: str) -> str:
        """The id that this is, or that alone begins so.

        Raises:
            UnknownMessage: there is none.
            AmbiguousId: there are several.
        """
        try:
            return self.get(prefix).message_id
        except UnknownMessage as unknown:
            found, _ = self.list(limit=_CANDIDATES + 1, matching=MessageFilter(prefix=prefix)) if prefix else ([], None)
            if not found:
                raise unknown from None
        if len(found) > 1:
            shown = ", ".join(message.message_id for message in found[:_CANDIDATES])
            raise AmbiguousId(
                f"several ids begin with {prefix!r}",
                why=shown + (", …" if len(found) > _CANDIDATES else ""),
                fix="give more of it",
            )
        return found[0].message_id

    @abstractmethod
    def timeline(self, message_id: str) -> builtins.list[TimelineEntry]:
        """Every status that a message entered, oldest first, and what each attempt came to.

        Raises:
            UnknownMessage: there is none.
        """

    @abstractmethod
    def pause(self, queue: str) -> None:
        """Have nothing more of a queue begin until it is resumed; what runs goes on.

        Raises:
            UnknownQueue: there is none of that name.
        """

    @abstractmethod
    def resume(self, queue: str) -> None:
        """Go on with a queue that was paused.

        Raises:
            UnknownQueue: there is none of that name.
        """

    @abstractmethod
    def failures(self) -> Failures:
        """Failed messages by reason, the most frequent first."""

    @abstractmethod
    def retry_failures(self, kind: str | None = None) -> Retried:
        """Queue failed messages again, up to 1,000: all, or those with one type of error."""

    @abstractmethod
    def next(self) -> Message | None:
        """The message that a worker would take next, untouched; None when nothing waits."""

    @abstractmethod
    def cancel(self, message_id: str) -> Message:
        """Cancel a message that has not ended.

        Raises:
            UnknownMessage: there is none.
            IllegalTransition: it has ended.
        """

    @abstractmethod
    def retry(self, message_id: str, api_key: str | None = None) -> Message:
        """Queue a failed or cancelled message again.

        Raises:
            UnknownMessage: there is none.
            IllegalTransition: it has not failed and was not cancelled.
            MissingKey: it came with a key of its own, and none is given.
        """

    @abstractmethod
    def set_status(
        self, message_id: str, status: Status, *, translation: str | None = None, error: str | ErrorRecord | None = None
    ) -> Message:
        """Move a message on, for a program that translates outside of tq's workers.

        Raises:
            UnknownMessage: there is none.
            IllegalTransition: the state machine has no such way.
            InvalidMessage: completed without a translation, or one with another status.
        """

    @abstractmethod
    def stats(self) -> Stats:
        """Depths, counts, workers and throughput, at one moment."""

    @abstractmethod
    def history(self) -> History:
        """What came of messages and attempts in each minute of the last hour, oldest first."""

    @abstractmethod
    def changes(self, after: str | None = None, *, block: float = 1.0) -> Changes:
        """Changes after a cursor (None: from now on); a round without any takes ``block`` seconds."""

    @abstractmethod
    def health(self) -> dict[str, Any]:
        """Return when the other side answers."""

    def watch(self, message_id: str, timeout: float | None = None) -> Iterator[Message]:
        """The message now, and again whenever its status or attempt is another one, until it has ended.

        Raises:
            WaitTimeout: it had not ended after ``timeout`` seconds.
            UnknownMessage: there is none.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause, longest = self._pauses
        seen = None
        while True:
            message = self.get(message_id)
            if (message.status, message.attempts) != seen:
                seen = (message.status, message.attempts)
                yield message
            if message.ended:
                return
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise wait_timeout(message, timeout)
                pause = min(pause, left)
            time.sleep(pause)
            pause = min(pause * 1.5, longest)

    def wait(self, message_id: str, timeout: float | None = None) -> Message:
        """The message once it has ended; look at its ``status``.

        Raises:
            WaitTimeout: it had not ended after ``timeout`` seconds.
            UnknownMessage: there is none.
        """
        *_, last = self.watch(message_id, timeout)
        return last
