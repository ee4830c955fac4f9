"""The verbs of tq for synchronous callers, whatever stands behind them: the store, or the API over HTTP.

``LocalClient`` and ``Client`` are backends, so that a command, or a program, is written once.
"""

from __future__ import annotations

import builtins
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, ClassVar, Literal, Self, TypedDict, Unpack

from pydantic import JsonValue

from tq.errors import PASSING, ErrorRecord, TqError, UnknownMessage
from tq.failures import Failures, Retried
from tq.fields import is_message_id
from tq.figures import Stats
from tq.filters import CANDIDATES, MessageFilter, only_one
from tq.messages import Change, Message, Status, Submission, parse_submission, translation_of
from tq.patience import ROUND, WAIT_BREAKS, Breaks, Gathering, Watching, id_of
from tq.tallies import History
from tq.timeline import TimelineEntry


class SubmissionFields(TypedDict, total=False):
    """What may be said of a text by keyword; absent and None are the same.

    ``to`` and ``source`` are BCP 47 tags; ``priority`` is 0 to 10, 10 the most urgent; ``context`` is sent
    and not translated; ``formality`` is ``formal`` or ``informal``; ``glossary`` maps terms to their
    translations, or is a list of ``{"source", "target", "mandatory"}``; ``callback_url`` gets a signed webhook when the
    message has ended; ``cache`` = False never takes an earlier translation; ``parameters`` are sent with the
    request (``temperature``); ``metadata`` are further keys of the caller's own.
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
    callback_url: str | None
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
        "callback_url": fields.get("callback_url"),
        "message_id": fields.get("message_id"),
    }
    return parse_submission({name: value for name, value in body.items() if value is not None})


def checked(submission: str | Submission, fields: SubmissionFields) -> Submission:
    """What ``submit`` takes, as a submission.

    Raises:
        InvalidMessage: the text or a keyword breaks the contract.
        TypeError: a submission with keywords.
    """
    if isinstance(submission, str):
        return make_submission(submission, **fields)
    if fields:
        raise TypeError("a Submission says everything itself: pass keywords with a text only")
    return submission


def prepared(
    submissions: Iterable[str | Submission | TqError], fields: SubmissionFields
) -> Iterator[Submission | TqError]:
    """What ``submit_many`` takes, each as a submission or as the error that it is, or has.

    Raises:
        TypeError: a submission with keywords, or several texts with one id.
    """
    if fields.get("message_id") is not None:
        raise TypeError("one message_id cannot be that of several messages")
    return (item if isinstance(item, TqError) else _tried(item, fields) for item in submissions)


def _tried(submission: str | Submission, fields: SubmissionFields) -> Submission | TqError:
    try:
        return checked(submission, fields)
    except TqError as error:
        return error


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
        return self._submit(checked(message, fields), idempotency_key)

    @abstractmethod
    def _submit(self, submission: Submission, idempotency_key: str | None) -> Message: ...

    def submit_many(
        self, submissions: Iterable[str | Submission | TqError], **fields: Unpack[SubmissionFields]
    ) -> builtins.list[Message | TqError]:
        """Submit any number: ``submit_many(["Hello", "World"], to="fr")``, or submissions that say all themselves.

        One result each, in order: the message or why it was refused. An item that is an error already (it
        could not be made) is passed on in its place.
        """
        return self._submit_many(prepared(submissions, fields))

    @abstractmethod
    def _submit_many(self, submissions: Iterable[Submission | TqError]) -> builtins.list[Message | TqError]: ...

    def translate(
        self, message: str | Submission, *, timeout: float | None = None, **fields: Unpack[SubmissionFields]
    ) -> str:
        """Submit a text, wait for its end and return the translation: ``translate("Hello", to="fr")``.

        Raises:
            TqError: why there is none: what ``submit`` and ``wait`` raise; or the message's own error, as the class
                that its type names (``InvalidKey``, ``Refused``, …).
            MessageCancelled: somebody cancelled it.
        """
        return translation_of(self.wait(self.submit(message, **fields), timeout))

    @abstractmethod
    def get(self, message_id: str) -> Message:
        """The message.

        Raises:
            UnknownMessage: there is none.
        """

    @abstractmethod
    def get_many(self, message_ids: Iterable[str]) -> builtins.list[Message | TqError]:
        """Any number of messages; one result each, in order: the message, or ``UnknownMessage``."""

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
            if not is_message_id(prefix):
                raise  # what cannot be an id begins none
            found, _ = self.list(limit=CANDIDATES + 1, matching=MessageFilter(prefix=prefix))
            return only_one(found, prefix, unknown)

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
        """Queue failed messages again: all, or those with one type of error."""

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

    def watch(self, message_id: str | Message, timeout: float | None = None) -> Iterator[Message]:
        """The message now, and again whenever its status or attempt is another one, until it has ended.

        Raises:
            WaitTimeout: it had not ended after ``timeout`` seconds.
            UnknownMessage: there is none.
        """
        watching = Watching(timeout, self._pauses)
        while True:
            message = self.get(id_of(message_id))
            if watching.is_news(message):
                yield message
            if message.ended:
                return
            time.sleep(watching.pause(message))

    def wait(self, message_id: str | Message, timeout: float | None = None) -> Message:
        """The message once it has ended; look at its ``status``.

        Raises:
            WaitTimeout: it had not ended after ``timeout`` seconds.
            UnknownMessage: there is none.
        """
        *_, last = self.watch(message_id, timeout)
        return last

    def wait_many(self, messages: Iterable[str | Message | TqError], timeout: float | None = None) -> Iterator[Message]:
        """Each message once it has ended, in the order in which they end; look at their ``status``.

        It listens to the stream of changes, so that thousands take few requests.

        Args:
            messages: ids, or messages, or what ``submit_many`` answered. Any number; one that is given twice is
                answered once.
            timeout: seconds for all of them.

        Raises:
            TqError: one of them is that error.
            WaitTimeout: not all had ended after ``timeout`` seconds.
            UnknownMessage: one of them does not exist.
        """
        waiting = Gathering(messages, timeout)
        yield from waiting.ended
        if not waiting:
            return
        # Opened before the first look: what changes in between is seen twice rather than never.
        changes = self.changes(block=ROUND)
        breaks = Breaks(WAIT_BREAKS, met=lambda: True)
        try:
            while waiting:
                try:
                    due = waiting.due()
                    for _, result in waiting.found(due, self.get_many(due)):
                        if isinstance(result, TqError):
                            raise result
                        yield result
                    waiting.hear(next(changes) if waiting else ())
                    breaks.over()
                except PASSING as error:
                    waiting.miss()
                    time.sleep(waiting.deadline.within(breaks.pause(error)))
                if waiting:
                    waiting.require_time()
        finally:
            changes.close()
