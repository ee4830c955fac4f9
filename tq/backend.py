"""The verbs of tq for synchronous callers, whatever stands behind them: the store, or the API over HTTP.

``LocalClient`` and ``Client`` are backends, so that a command, or a program, is written once.
"""

from __future__ import annotations

import builtins
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar, Unpack

from tq.errors import ErrorRecord, TqError, UnknownMessage, about
from tq.failures import Failures, Retried
from tq.fields import is_message_id
from tq.figures import Stats
from tq.filters import CANDIDATES, MessageFilter, only_one
from tq.messages import Change, Message, Status, Submission, translation_of
from tq.patience import ROUND, WAIT_BREAKS, Breaks, Deadline, Gathering, id_of
from tq.plans import Get, Give, Hear, Listen, Look, Pause, Plan, gather, giving, watch
from tq.statuses import StatusName
from tq.submissions import SubmissionFields, checked, make_submission, prepared
from tq.tallies import History
from tq.timeline import TimelineEntry

__all__ = ["Backend", "Changes", "SubmissionFields", "make_submission"]

T = TypeVar("T")


class Changes(Iterator[list[Change]]):
    """Batches of changes for ever, an empty one for each quiet round.

    ``next`` raises one of ``errors.PASSING`` while nothing answers; called again it goes on where it was, so that
    a broker's restart loses no change. It raises ``ChangesMissed`` where some were lost, and goes on after them.
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
        the message that is there; so an error's ``message_id`` tells whether it was stored all the same (``get``), or
        stores it (``submit`` with that).

        Raises:
            InvalidMessage: the message breaks the contract; ``errors`` says where.
            ContentTooLarge: the text is above TQ_MAX_CONTENT.
            DuplicateMessage: the id exists with another body.
            IdempotencyConflict: the key was used with another body.
            QueueFull: TQ_MAX_QUEUED messages wait already.
        """
        submission = checked(message, fields, idempotency_key)
        with about(submission.message_id):
            return self._submit(submission, idempotency_key)

    @abstractmethod
    def _submit(self, submission: Submission, idempotency_key: str | None) -> Message: ...

    def submit_many(
        self, submissions: Iterable[str | Submission | TqError], **fields: Unpack[SubmissionFields]
    ) -> builtins.list[Message | TqError]:
        """Submit any number: ``submit_many(["Hello", "World"], to="fr")``, or submissions that say all themselves.

        One result each, in order: the message or why it was refused, with its id as ``message_id``. An item that
        is an error already (it could not be made) is passed on in its place.
        """
        return [*self.submit_each(submissions, **fields)]

    def submit_each(
        self,
        submissions: Iterable[str | Submission | TqError],
        *,
        patience: float = 0.0,
        **fields: Unpack[SubmissionFields],
    ) -> Iterator[Message | TqError]:
        """The results of ``submit_many`` as they come, for more than memory holds: items are taken as they are sent.

        They go in batches, and nothing goes before the first result is asked for.

        Args:
            submissions: as ``submit_many`` takes them.
            patience: seconds for which items are submitted again that were refused because TQ_MAX_QUEUED messages
                wait, and for which it is waited for an API that is away; from the last progress on.
            **fields: of all texts.

        Raises:
            TqError: the first batch failed as a whole, so that nothing is known to be stored.
        """
        return self._each(self._submitting(prepared(submissions, fields), patience))

    @abstractmethod
    def _submitting(self, submissions: Iterable[Submission | TqError], patience: float) -> Plan[None]: ...

    def translate(
        self, message: str | Submission, *, timeout: float | None = None, **fields: Unpack[SubmissionFields]
    ) -> str:
        """Submit a text, wait for its end and return the translation: ``translate("Hello", to="fr")``.

        Raises:
            TqError: why there is none: what ``submit`` and ``wait`` raise; or the message's own error, as the class
                that its type names (``InvalidKey``, ``Refused``, …).
            MessageCancelled: somebody cancelled it.
        """
        message = checked(message, fields)
        with about(message.message_id):
            return translation_of(self.wait(self.submit(message), timeout))

    @abstractmethod
    def get(self, message_id: str | Message) -> Message:
        """The message.

        Raises:
            UnknownMessage: there is none.
        """

    @abstractmethod
    def get_many(self, message_ids: Iterable[str | Message]) -> builtins.list[Message | TqError]:
        """Any number of messages; one result each, in order: the message, or ``UnknownMessage``."""

    @abstractmethod
    def list(
        self,
        status: Status | StatusName | None = None,
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
    def timeline(self, message_id: str | Message) -> builtins.list[TimelineEntry]:
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
    def cancel(self, message_id: str | Message) -> Message:
        """Cancel a message that has not ended.

        Raises:
            UnknownMessage: there is none.
            IllegalTransition: it has ended.
        """

    @abstractmethod
    def retry(self, message_id: str | Message, api_key: str | None = None) -> Message:
        """Queue a failed or cancelled message again.

        Raises:
            UnknownMessage: there is none.
            IllegalTransition: it has not failed and was not cancelled.
            MissingKey: it came with a key of its own, and none is given.
        """

    @abstractmethod
    def set_status(
        self,
        message_id: str | Message,
        status: Status | StatusName,
        *,
        translation: str | None = None,
        error: str | ErrorRecord | None = None,
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
    def send_callback(self, message_id: str | Message) -> Message:
        """Send the webhook of a message that has ended again.

        Raises:
            UnknownMessage: there is none.
            NoCallback: it has no callback_url, or has not ended.
        """

    @abstractmethod
    def health(self) -> dict[str, Any]:
        """Return when the other side answers."""

    def watch(self, message_id: str | Message, timeout: float | None = None) -> Iterator[Message]:
        """The message now, and again whenever its status or attempt is another one, until it has ended.

        Raises:
            WaitTimeout: it had not ended after ``timeout`` seconds.
            UnknownMessage: there is none.
        """
        return self._each(watch(id_of(message_id), Deadline(timeout), self._pauses, self._breaks()))

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
            WaitTimeout: not all had ended after ``timeout`` seconds.
            TqError: the first of what is an error among them, or does not exist (``UnknownMessage``): once all others
                have ended and were given.
        """
        waiting = Gathering(messages, timeout)
        yield from waiting.ended
        with closing(self._each(gather(waiting, self._breaks()))) as results:
            yield from (result for _, result in results if waiting.good(result))
        waiting.require_all()

    # -- how they are done -------------------------------------------------------------------------

    def _breaks(self) -> Breaks:
        return Breaks(WAIT_BREAKS, met=lambda: False)

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def _do(self, step: object) -> Any:
        """Take a step."""
        match step:
            case Pause(seconds):
                self._sleep(seconds)
            case Get(message_id):
                return self.get(message_id)
            case Look(ids):
                return self.get_many(ids)
            case Listen():
                return self.changes(block=ROUND)
            case Hear(ear):
                return next(ear)
            case _:
                raise NotImplementedError(step)
        return None

    def _each(self, plan: Plan[Any]) -> Generator[Any, None, None]:
        """What a plan gives, as it does."""
        ears: list[Changes] = []
        answer: Any = None
        failure: TqError | None = None
        try:
            while True:
                try:
                    step = plan.send(answer) if failure is None else plan.throw(failure)
                except StopIteration:
                    return
                answer = failure = None
                if isinstance(step, Give):
                    yield from step.items
                    continue
                try:
                    answer = self._do(step)
                except TqError as error:
                    failure = error
                if isinstance(answer, Changes):
                    ears.append(answer)
        finally:
            plan.close()
            for ear in ears:
                ear.close()

    def _take(self, plan: Plan[T]) -> T:
        """What a plan returns."""
        [result] = self._each(giving(plan))
        taken: T = result
        return taken
