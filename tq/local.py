"""The local client: the verbs of ``tq.Client`` on the store itself, without an API in between.

What ``tq submit`` and its siblings use unless TQ_URL is set, as ``celery`` itself talks to its
broker. Synchronous: it steps through the portal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tq.errors import ErrorRecord, TqError
from tq.messages import Change, Message, Stats, Status, Submission
from tq.portal import get_portal
from tq.queue import TranslationQueue
from tq.settings import Settings


class LocalClient:
    """The queue, for synchronous callers. Use as a context manager, or call ``close``."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._portal = get_portal()
        self._queue = TranslationQueue(settings)

    def __enter__(self) -> LocalClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Publish what is due and close the connections."""
        self._portal.call(self._queue.aclose())

    def submit(self, submission: Submission, idempotency_key: str | None = None) -> Message:
        """See ``TranslationQueue.submit``; returns when a worker has been woken too."""

        async def submit() -> Message:
            message = await self._queue.submit(submission, idempotency_key)
            await self._queue.publisher.flush()
            return message

        return self._portal.call(submit())

    def submit_many(self, submissions: Sequence[Submission | TqError]) -> list[Message | TqError]:
        """See ``TranslationQueue.submit_many``."""

        async def submit() -> list[Message | TqError]:
            results = await self._queue.submit_many(submissions)
            await self._queue.publisher.flush()
            return results

        return self._portal.call(submit())

    def get(self, message_id: str) -> Message:
        """See ``TranslationQueue.get``."""
        return self._portal.call(self._queue.get(message_id))

    def list(
        self, status: Status | None = None, *, limit: int = 50, cursor: str | None = None
    ) -> tuple[list[Message], str | None]:
        """See ``TranslationQueue.list``."""
        return self._portal.call(self._queue.list(status, limit=limit, cursor=cursor))

    def next(self) -> Message | None:
        """See ``TranslationQueue.next``."""
        return self._portal.call(self._queue.next())

    def cancel(self, message_id: str) -> Message:
        """See ``TranslationQueue.cancel``."""
        return self._portal.call(self._queue.cancel(message_id))

    def retry(self, message_id: str, api_key: str | None = None) -> Message:
        """See ``TranslationQueue.retry``; returns when a worker has been woken too."""

        async def retry() -> Message:
            message = await self._queue.retry(message_id, api_key)
            await self._queue.publisher.flush()
            return message

        return self._portal.call(retry())

    def set_status(
        self, message_id: str, status: Status, *, translation: str | None = None, error: str | ErrorRecord | None = None
    ) -> Message:
        """See ``TranslationQueue.set_status``."""

        async def set_status() -> Message:
            message = await self._queue.set_status(message_id, status, translation=translation, error=error)
            await self._queue.publisher.flush()
            return message

        return self._portal.call(set_status())

    def stats(self) -> Stats:
        """See ``TranslationQueue.stats``."""
        return self._portal.call(self._queue.stats())

    def wait(self, message_id: str, timeout: float | None = None) -> Message:
        """See ``TranslationQueue.wait``."""
        return self._portal.call(self._queue.wait(message_id, timeout))

    def changes(self, after: str | None = None, *, block: float = 1.0) -> Iterator[list[Change]]:
        """See ``TranslationQueue.changes``: batches for ever, an empty one for each quiet ``block`` seconds."""
        stream = self._queue.changes(after, block=block)

        async def step() -> list[Change]:
            return await anext(stream)

        while True:
            yield self._portal.call(step())

    def health(self) -> dict[str, Any]:
        """The version of this library, and that Redis answers.

        Raises:
            Unreachable: it does not.
        """
        self._portal.call(self._queue.store.ping())
        return {"status": "ok"}
