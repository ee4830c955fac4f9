"""The local client: the verbs of ``tq.Client`` on the store itself, without an API in between.

What ``tq submit`` and its siblings use unless TQ_URL is set, as ``celery`` itself talks to its
broker. Synchronous: it steps through the portal.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

from tq.backend import Backend, Changes
from tq.connection import NOBODY_LISTENS
from tq.errors import ErrorRecord, TqError, Unreachable, about
from tq.failures import Failures, Retried
from tq.figures import Stats
from tq.filters import MessageFilter
from tq.messages import Change, Message, Status, Submission, status_of
from tq.patience import id_of, require_several
from tq.plans import Plan
from tq.portal import PerProcess, get_portal
from tq.queue import TranslationQueue
from tq.settings import Settings
from tq.statuses import StatusName
from tq.submissions import Batch, Store, submit_each
from tq.tallies import History
from tq.timeline import TimelineEntry

T = TypeVar("T")

#: Messages that are stored at once.
_BATCH: Final = 1000


class LocalClient(Backend):
    """The queue, for synchronous callers. Use as a context manager, or call ``close``."""

    def __init__(self, settings: Settings | None = None) -> None:
        # One a process, so that a client made before a fork works after it, too.
        self._queues = PerProcess(lambda: TranslationQueue(settings))

    @property
    def _queue(self) -> TranslationQueue:
        return self._queues.get()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the queue's and wait for it; says so when it is the stack that is missing."""
        try:
            return get_portal().call(coroutine)
        except Unreachable as error:
            settings = self._queue.settings
            # One that answers otherwise, or too slowly, is there.
            if not settings.embedded or error.why not in NOBODY_LISTENS:
                raise
            raise Unreachable(
                "nothing to talk to",
                why=f"no stack runs on {settings.data_dir} and REDIS_HOST is not set",
                fix="start one with `tq up`, or set REDIS_HOST or TQ_URL",
            ) from None

    def _call_and_wake(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """As ``call``, and returns when a worker has been woken too."""

        async def wake() -> T:
            result = await coroutine
            await self._queue.publisher.flush()
            return result

        return self.call(wake())

    def _about(self, message: str | Message, verb: Callable[[str], Coroutine[Any, Any, T]], *, wake: bool = False) -> T:
        """Call what is about one message, whose id its errors have; ``wake``: as ``_call_and_wake`` does."""
        message_id = id_of(message)
        with about(message_id):
            return self._call_and_wake(verb(message_id)) if wake else self.call(verb(message_id))

    def close(self) -> None:
        """Publish what is due and close the connections."""
        get_portal().call(self._queue.aclose())

    def _submit(self, submission: Submission, idempotency_key: str | None) -> Message:
        """Returns when a worker has been woken too."""
        return self._call_and_wake(self._queue.submit(submission, idempotency_key))

    def _submitting(self, submissions: Iterable[Submission | TqError], patience: float) -> Plan[None]:
        return submit_each(_batches(submissions), _store, patience)

    def _do(self, step: object) -> Any:
        if isinstance(step, Store):
            return self._call_and_wake(self._queue.submit_many(step.submissions))
        return super()._do(step)

    def get(self, message_id: str | Message) -> Message:
        """See ``TranslationQueue.get``."""
        return self._about(message_id, self._queue.get)

    def get_many(self, message_ids: Iterable[str | Message]) -> builtins.list[Message | TqError]:
        """See ``TranslationQueue.get_many``."""
        require_several(message_ids)
        return self.call(self._queue.get_many([*map(id_of, message_ids)]))

    def list(
        self,
        status: Status | StatusName | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        matching: MessageFilter | None = None,
    ) -> tuple[builtins.list[Message], str | None]:
        """See ``TranslationQueue.list``."""
        wanted = None if status is None else status_of(status)
        return self.call(self._queue.list(wanted, limit=limit, cursor=cursor, matching=matching))

    def timeline(self, message_id: str | Message) -> builtins.list[TimelineEntry]:
        """See ``TranslationQueue.timeline``."""
        return self._about(message_id, self._queue.timeline)

    def pause(self, queue: str) -> None:
        """See ``TranslationQueue.pause``."""
        self.call(self._queue.pause(queue))

    def resume(self, queue: str) -> None:
        """See ``TranslationQueue.resume``."""
        self._call_and_wake(self._queue.resume(queue))

    def failures(self) -> Failures:
        """See ``TranslationQueue.failures``."""
        return self.call(self._queue.failures())

    def retry_failures(self, kind: str | None = None) -> Retried:
        """See ``TranslationQueue.retry_failures``, all of them; returns when workers have been woken too."""
        done = self._call_and_wake(self._queue.retry_failures(kind))
        while done.next_cursor is not None:
            done = done.and_then(self._call_and_wake(self._queue.retry_failures(kind, done.next_cursor)))
        return done

    def next(self) -> Message | None:
        """See ``TranslationQueue.next``."""
        return self.call(self._queue.next())

    def cancel(self, message_id: str | Message) -> Message:
        """See ``TranslationQueue.cancel``."""
        return self._about(message_id, self._queue.cancel)

    def retry(self, message_id: str | Message, api_key: str | None = None) -> Message:
        """See ``TranslationQueue.retry``; returns when a worker has been woken too."""
        return self._about(message_id, partial(self._queue.retry, api_key=api_key), wake=True)

    def set_status(
        self,
        message_id: str | Message,
        status: Status | StatusName,
        *,
        translation: str | None = None,
        error: str | ErrorRecord | None = None,
    ) -> Message:
        """See ``TranslationQueue.set_status``."""
        move = partial(self._queue.set_status, status=status_of(status), translation=translation, error=error)
        return self._about(message_id, move, wake=True)

    def stats(self) -> Stats:
        """See ``TranslationQueue.stats``."""
        return self.call(self._queue.stats())

    def history(self) -> History:
        """See ``TranslationQueue.history``."""
        return self.call(self._queue.history())

    def changes(self, after: str | None = None, *, block: float = 1.0) -> Changes:
        """Changes after a cursor (None: from now on); a round without any takes ``block`` seconds."""
        return _StreamOfStore(self, self._queue, after or self.call(self._queue.store.newest_cursor()), block)

    def send_callback(self, message_id: str | Message) -> Message:
        """See ``TranslationQueue.send_callback``."""
        return self._about(message_id, self._queue.send_callback)

    def health(self) -> dict[str, Any]:
        """That Redis answers.

        Raises:
            Unreachable: it does not.
        """
        self.call(self._queue.store.ping())
        return {"status": "ok"}


def _batches(submissions: Iterable[Submission | TqError]) -> Iterator[Batch[Submission]]:
    items = iter(submissions)
    while batch := [*islice(items, _BATCH)]:
        yield Batch(each if isinstance(each, TqError) else (each.message_id, each) for each in batch)


def _store(batch: Sequence[tuple[str | None, Submission]]) -> Plan[Sequence[Message | TqError]]:
    answers: Sequence[Message | TqError] = yield Store([submission for _, submission in batch])
    return answers


class _StreamOfStore(Changes):
    def __init__(self, client: LocalClient, queue: TranslationQueue, cursor: str, block: float) -> None:
        self._client = client
        self._store = queue.store
        self._cursor = cursor
        self._block = block

    def __next__(self) -> builtins.list[Change]:
        batch = self._client.call(self._store.changes(self._cursor, block=self._block))
        if batch:
            self._cursor = batch[-1].cursor
        return batch
