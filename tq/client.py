"""The HTTP client of tq's API: the verbs of the queue for programs elsewhere, and for `tq --url`.

from tq import Client
with Client("http://127.0.0.1:8000") as tq:
    message = tq.wait(tq.submit("Hello", to="fr", priority=9).message_id, timeout=60)
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any, ClassVar, TypeVar, Unpack
from weakref import WeakSet

import httpx

from tq import steps, wire
from tq.backend import Backend, Changes
from tq.errors import PASSING, ClientClosed, ErrorRecord, TqError, about
from tq.eventstream import EventStream, chosen
from tq.failures import Failures, Retried
from tq.figures import Stats
from tq.filters import MessageFilter
from tq.messages import Change, Message, Status, Submission, translation_of
from tq.patience import PAUSES, ROUND, WAIT_BREAKS, Breaks, Deadline, id_of
from tq.plans import Get, Hear, Listen, Look, Plan
from tq.portal import PerProcess
from tq.reader import ChangeReader
from tq.remote import Remote
from tq.sockets import Sockets
from tq.statuses import StatusName
from tq.submissions import SubmissionFields, checked
from tq.tallies import History
from tq.timeline import TimelineEntry
from tq.wire import Request

T = TypeVar("T")


class _State:
    """What belongs to one process."""

    def __init__(self, remote: Remote) -> None:
        self.sockets = Sockets()
        self.http = httpx.Client(**remote.options(), event_hooks=self.sockets.hooks)
        self._readers: WeakSet[ChangeReader] = WeakSet()
        self._lock = threading.Lock()

    def add(self, reader: ChangeReader) -> None:
        """Have it end with the client."""
        with self._lock:
            self.sockets.require_open()
            self._readers.add(reader)

    def close(self) -> None:
        """End whatever is under way."""
        with self._lock:
            readers = [*self._readers]
            # First, so that they end without an error.
            for reader in readers:
                reader.call_off()
            self.sockets.close()
        for reader in readers:
            reader.close()
        self.http.close()


class Client(Backend):
    """tq's API. Use as a context manager, or call ``close``; safe to share between threads, and with children.

    Args:
        url: of the API; TQ_URL when None, else the API that TQ_API_HOST and TQ_API_PORT name.
        token: bearer token; the first of TQ_API_TOKEN when None.
        timeout: seconds for one answer.

    Raises:
        InvalidSettings: the URL is not one, the token cannot be sent, or the timeout is not above 0.
    """

    _pauses: ClassVar[tuple[float, float]] = PAUSES

    def __init__(self, url: str | None = None, token: str | None = None, *, timeout: float = 30.0) -> None:
        self._remote = Remote(url, token, timeout)
        # A process each: a child that used its parent's connections would read the answers to its parent.
        self._states = PerProcess(lambda: _State(self._remote))

    @property
    def _here(self) -> _State:
        return self._states.get()

    def close(self) -> None:
        """Close all connections, also while other threads use them.

        ``events`` and ``changes`` end there. Whatever else is under way, or is asked for later, raises
        ``errors.ClientClosed``; a message that was being submitted may be stored.
        """
        self._here.close()

    def _send(self, request: Request[T]) -> T:
        here, deadline, body = self._here, Deadline(request.within), bytearray()
        with about(request.message_id):
            with (
                self._remote.reaching(),
                here.sockets.in_use(),
                here.http.stream(**self._remote.arguments(request)) as answer,
            ):
                for data in answer.iter_bytes():
                    body += data
                    if deadline.passed:  # httpx knows how long each piece may take, but not all of them
                        raise TimeoutError
            return self._remote.read(request, answer, body)

    def _breaks(self) -> Breaks:
        return Breaks(WAIT_BREAKS, met=self._remote.was_met)

    def _do(self, step: object) -> Any:
        match step:
            case Request():
                return self._send(step)
            case Get(message_id, within):
                return self._send(wire.get(message_id).bounded(within))
            case Look(ids, within):
                return self._send(wire.lookup(ids).bounded(within))
            case Listen(within):
                return self._listen(EventStream(), ROUND, within)
            case Hear(ear, within):
                changes = ear.hear(within)
                if changes is None:
                    raise ClientClosed
                return changes
            case _:
                return super()._do(step)

    def _sleep(self, seconds: float) -> None:
        self._here.sockets.sleep(seconds)

    def _read(self, request: Request[T]) -> T:
        """What can be asked for again."""
        return self._take(steps.read(request, met=self._remote.was_met))

    # -- the verbs ---------------------------------------------------------------------------------

    def _submit(self, submission: Submission, idempotency_key: str | None) -> Message:
        return self._take(steps.submit(submission, idempotency_key, Deadline(None), met=self._remote.was_met))

    def _submitting(self, submissions: Iterable[Submission | TqError], patience: float) -> Plan[None]:
        return steps.submit_each(submissions, patience, met=self._remote.was_met)

    def translate(
        self, message: str | Submission, *, timeout: float | None = None, **fields: Unpack[SubmissionFields]
    ) -> str:
        """See ``Backend.translate``."""
        submission, deadline = checked(message, fields), Deadline(timeout)
        with about(submission.message_id):
            accepted = self._take(steps.submit(submission, None, deadline, met=self._remote.was_met))
            return translation_of(self._wait(accepted.message_id, deadline))

    def get(self, message_id: str | Message) -> Message:
        """See ``Backend.get``."""
        return self._read(wire.get(message_id))

    def get_many(self, message_ids: Iterable[str | Message]) -> builtins.list[Message | TqError]:
        """See ``Backend.get_many``."""
        return self._take(steps.get_many(message_ids, met=self._remote.was_met))

    def wait(self, message_id: str | Message, timeout: float | None = None) -> Message:
        """See ``Backend.wait``; one request for each 25 seconds, and a restart of the API is waited for, too."""
        return self._wait(id_of(message_id), Deadline(timeout))

    def _wait(self, message_id: str, deadline: Deadline) -> Message:
        return self._take(steps.wait(message_id, deadline, met=self._remote.was_met))

    def list(
        self,
        status: Status | StatusName | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        matching: MessageFilter | None = None,
    ) -> tuple[builtins.list[Message], str | None]:
        """See ``Backend.list``."""
        return self._read(wire.page(status, limit, cursor, matching))

    def next(self) -> Message | None:
        """See ``Backend.next``."""
        return self._read(wire.next_message())

    def cancel(self, message_id: str | Message) -> Message:
        """See ``Backend.cancel``."""
        return self._send(wire.cancel(message_id))

    def retry(self, message_id: str | Message, api_key: str | None = None) -> Message:
        """See ``Backend.retry``."""
        return self._send(wire.retry(message_id, api_key))

    def set_status(
        self,
        message_id: str | Message,
        status: Status | StatusName,
        *,
        translation: str | None = None,
        error: str | ErrorRecord | None = None,
    ) -> Message:
        """See ``Backend.set_status``."""
        return self._send(wire.set_status(message_id, status, translation, error))

    def timeline(self, message_id: str | Message) -> builtins.list[TimelineEntry]:
        """See ``Backend.timeline``."""
        return self._read(wire.timeline(message_id))

    def pause(self, queue: str) -> None:
        """See ``Backend.pause``."""
        self._send(wire.pause(queue))

    def resume(self, queue: str) -> None:
        """See ``Backend.resume``."""
        self._send(wire.resume(queue))

    def failures(self) -> Failures:
        """See ``Backend.failures``."""
        return self._read(wire.failures())

    def retry_failures(self, kind: str | None = None) -> Retried:
        """See ``Backend.retry_failures``."""
        return self._take(steps.retry_failures(kind))

    def stats(self) -> Stats:
        """See ``Backend.stats``."""
        return self._read(wire.stats())

    def history(self) -> History:
        """See ``Backend.history``."""
        return self._read(wire.history())

    def changes(self, after: str | None = None, *, block: float = 1.0) -> Changes:
        """See ``Backend.changes``."""
        return self._listen(EventStream(after), block, None)

    def _listen(self, stream: EventStream, block: float, within: float | None) -> ChangeReader:
        reader = self._reader(stream, block)
        reader.connect(within)
        return reader

    def _reader(self, stream: EventStream, block: float | None) -> ChangeReader:
        reader = ChangeReader(self._here.http, self._remote, stream, block)
        self._here.add(reader)
        return reader

    def events(
        self,
        after: str | None = None,
        *,
        message_id: str | Message | None = None,
        status: Status | StatusName | None = None,
        to: str | None = None,
        priority: int | None = None,
    ) -> Iterator[Change]:
        """Changes as they happen, for ever; or those of one message, from its beginning until it has ended.

        It begins when the first is asked for. A broken connection is opened again where it was, so that
        nothing is missed; and it ends when the client is closed.

        Args:
            after: the ``cursor`` of a change: those after it.
            message_id: all of this message's, whatever they are; no other filter goes with it.
            status: only changes into this status, ``Status.FAILED`` or ``"failed"``.
            to: only those of this target language.
            priority: only those of messages of exactly this priority, 0 to 10.

        Raises:
            InvalidMessage: there is no such status or priority.
            ChangesMissed: the API does not have some of them any more; it goes on with ``after=error.cursor``.
            Unreachable: the API could not be reached for 30 seconds, or not at all.
            TooManyStreams: it had no place for another listener for 30 seconds.
            UnknownMessage: there is no such message.
        """
        breaks = self._breaks()
        one = None if message_id is None else id_of(message_id)
        with about(one), closing(self._reader(chosen(after, one, status, to, priority), None)) as reader:
            while True:
                try:
                    changes = reader.hear()
                except PASSING as error:
                    reader.rest(breaks.pause(error))
                    continue
                if changes is None:
                    return
                breaks.over()
                yield from changes

    def send_callback(self, message_id: str | Message) -> Message:
        """See ``Backend.send_callback``."""
        return self._send(wire.send_callback(message_id))

    def health(self) -> dict[str, Any]:
        """The version of the API, and which broker it uses.

        Raises:
            Unreachable: it does not answer.
        """
        return self._send(wire.health())
