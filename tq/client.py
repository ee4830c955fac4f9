"""The HTTP client of tq's API: the verbs of the queue for programs elsewhere, and for `tq --url`.

from tq import Client
with Client("http://127.0.0.1:8000") as tq:
    message = tq.wait(tq.submit("Hello", to="fr", priority=9).message_id, timeout=60)
"""

from __future__ import annotations

import builtins
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, TypeVar

import httpx
from pydantic import ValidationError

from tq import wire
from tq.backend import Backend, Changes
from tq.errors import ErrorRecord, TqError, Unreachable
from tq.failures import Failures, Retried
from tq.figures import Stats
from tq.filters import MessageFilter
from tq.messages import Change, Message, Status, Submission
from tq.remote import Remote
from tq.tallies import History
from tq.timeline import TimelineEntry
from tq.wire import Request

T = TypeVar("T")

#: Changes read ahead of a slow caller.
_MAX_WAITING: Final = 10_000


class Client(Backend):
    """tq's API. Use as a context manager, or call ``close``; safe to share between threads.

    Args:
        url: of the API; TQ_URL when None, else the API that TQ_API_HOST and TQ_API_PORT name.
        token: bearer token; the first of TQ_API_TOKEN when None.
        timeout: seconds for one answer.

    Raises:
        InvalidSettings: the URL is not one.
    """

    _pauses: ClassVar[tuple[float, float]] = (0.05, 1.0)

    def __init__(self, url: str | None = None, token: str | None = None, *, timeout: float = 30.0) -> None:
        self._remote = Remote(url, token, timeout)
        self._http = httpx.Client(**self._remote.options())

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def _send(self, request: Request[T]) -> T:
        with self._remote.reaching():
            answer = self._http.request(**self._remote.arguments(request))
        return self._remote.read(request, answer)

    # -- the verbs ---------------------------------------------------------------------------------

    def _submit(self, submission: Submission, idempotency_key: str | None) -> Message:
        return self._send(wire.submit(submission, idempotency_key))

    def submit_many(self, submissions: Sequence[Submission | TqError]) -> builtins.list[Message | TqError]:
        """See ``Backend.submit_many``; a thousand a request."""
        good = [wire.encoded(item) for item in submissions if isinstance(item, Submission)]
        answers: Iterator[Message | TqError] = (
            result
            for start in range(0, len(good), wire.MOST_ITEMS)
            for result in self._send(wire.submit_batch(good[start : start + wire.MOST_ITEMS]))
        )
        return [next(answers) if isinstance(item, Submission) else item for item in submissions]

    def get(self, message_id: str) -> Message:
        """See ``Backend.get``."""
        return self._send(wire.get(message_id))

    def list(
        self,
        status: Status | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        matching: MessageFilter | None = None,
    ) -> tuple[builtins.list[Message], str | None]:
        """See ``Backend.list``."""
        return self._send(wire.page(status, limit, cursor, matching))

    def next(self) -> Message | None:
        """See ``Backend.next``."""
        return self._send(wire.next_message())

    def cancel(self, message_id: str) -> Message:
        """See ``Backend.cancel``."""
        return self._send(wire.cancel(message_id))

    def retry(self, message_id: str, api_key: str | None = None) -> Message:
        """See ``Backend.retry``."""
        return self._send(wire.retry(message_id, api_key))

    def set_status(
        self, message_id: str, status: Status, *, translation: str | None = None, error: str | ErrorRecord | None = None
    ) -> Message:
        """See ``Backend.set_status``."""
        return self._send(wire.set_status(message_id, status, translation, error))

    def timeline(self, message_id: str) -> builtins.list[TimelineEntry]:
        """See ``Backend.timeline``."""
        return self._send(wire.timeline(message_id))

    def pause(self, queue: str) -> None:
        """See ``Backend.pause``."""
        self._send(wire.pause(queue))

    def resume(self, queue: str) -> None:
        """See ``Backend.resume``."""
        self._send(wire.resume(queue))

    def failures(self) -> Failures:
        """See ``Backend.failures``."""
        return self._send(wire.failures())

    def retry_failures(self, kind: str | None = None) -> Retried:
        """See ``Backend.retry_failures``."""
        return self._send(wire.retry_failures(kind))

    def stats(self) -> Stats:
        """See ``Backend.stats``."""
        return self._send(wire.stats())

    def history(self) -> History:
        """See ``Backend.history``."""
        return self._send(wire.history())

    def changes(self, after: str | None = None, *, block: float = 1.0) -> Changes:
        """See ``Backend.changes``."""
        return _EventStream(self, after, block)

    def health(self) -> dict[str, Any]:
        """The version of the API, and which broker it uses.

        Raises:
            Unreachable: it does not answer.
        """
        return self._send(wire.health())

    def _events(self, after: str | None) -> Iterator[Change | str]:
        """One connection's changes after a cursor, and in between where it stands ("" if that is not known).

        Raises:
            Unreachable: the connection broke, or the API ended it.
        """
        arguments = self._remote.stream_arguments(wire.stream(after))
        with self._remote.reaching(), self._http.stream(**arguments) as answer:
            if not answer.is_success:
                answer.read()
                raise self._remote.error(answer)
            yield after or ""
            cursor, data = "", ""
            for line in answer.iter_lines():
                name, _, value = line.partition(":")
                if name == "id":
                    cursor = value.strip()
                elif name == "data":
                    data = value
                elif not line:
                    yield self._change(data) if data else cursor
                    data = ""
        raise self._remote.ended()

    def _change(self, data: str) -> Change:
        try:
            return Change.model_validate_json(data)
        except ValidationError:
            raise self._remote.foreign("change") from None


class _EventStream(Changes):
    """Reads in a thread of its own, so that a round can end while nothing comes."""

    def __init__(self, client: Client, after: str | None, block: float) -> None:
        self._client = client
        self._cursor = after
        self._block = block
        self._inbox: queue.Queue[Change | str | TqError] = self._connect()
        self._broken = False

    def _connect(self) -> queue.Queue[Change | str | TqError]:
        """Returns when the stream has begun: whatever happens from now on will be seen."""
        inbox: queue.Queue[Change | str | TqError] = queue.Queue(_MAX_WAITING)
        threading.Thread(target=self._read, args=(inbox, self._cursor), name="tq-events", daemon=True).start()
        first = inbox.get()
        if isinstance(first, TqError):
            raise first
        return inbox

    def _read(self, inbox: queue.Queue[Change | str | TqError], after: str | None) -> None:
        try:
            for item in self._client._events(after):  # noqa: SLF001 - a part of the client
                inbox.put(item)
        except TqError as error:
            inbox.put(error)
        except Exception as error:  # noqa: BLE001 - a client closed under us fails in many ways; our reader must hear of it
            inbox.put(Unreachable("the stream of changes broke", why=type(error).__name__))

    def __next__(self) -> list[Change]:
        if self._broken:
            self._inbox, self._broken = self._connect(), False
        batch: list[Change] = []
        with suppress(queue.Empty):
            item = self._inbox.get(timeout=self._block)
            while not isinstance(item, TqError):
                if isinstance(item, Change):
                    batch.append(item)
                self._cursor = item.cursor if isinstance(item, Change) else item or self._cursor
                item = self._inbox.get_nowait()
            self._broken = True
            if not batch:
                raise item
        return batch
