"""The stream of changes over HTTP: server-sent events (WHATWG HTML, "Server-sent events"), and waiting for an end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Final

from tq.broadcast import ROUND, Broadcast, Listener
from tq.errors import TqError
from tq.messages import TERMINAL, Change, Message, Status
from tq.queue import TranslationQueue

#: Streams at once: each keeps a connection of a client open.
MAX_STREAMS: Final = 256
#: Seconds of silence after which a comment tells proxies, and us, whether the client is still there.
_PING_EVERY: Final = 10.0
_PING: Final = b": ping\n\n"
#: Milliseconds after which a client that lost the stream comes back; it resumes by Last-Event-ID.
_RECONNECT: Final = 2000


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Which changes a stream has: those into a status, to a language, of a priority; None = all."""

    status: Status | None = None
    to: str | None = None
    priority: int | None = None

    def __call__(self, change: Change) -> bool:
        """Whether the stream has it."""
        return (
            self.status in (None, change.status)
            and self.priority in (None, change.priority)
            and (self.to is None or change.languages.partition("→")[2].lower() == self.to.lower())
        )


class Streams:
    """The open event streams of one process."""

    def __init__(self, queue: TranslationQueue) -> None:
        self._queue = queue
        self._broadcast = Broadcast(queue)
        self._open = 0
        self._closing = False

    @property
    def open(self) -> int:
        """How many there are."""
        return self._open

    @property
    def full(self) -> bool:
        """Whether no further stream may be opened."""
        return self._open >= MAX_STREAMS

    async def aclose(self) -> None:
        """Stop reading the stream of changes."""
        await self._broadcast.aclose()

    @contextmanager
    def closed_by_signals(self) -> Iterator[None]:
        """End all streams when a signal tells the server to stop.

        A server waits for open connections before it tells the application that it stops, so the
        application has to hear the signal itself. Outside of the main thread there are no signals;
        the server's own patience ends the streams then.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def close(number: int, frame: FrameType | None) -> None:
            self._closing = True
            handler = former[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)

        for number, handler in former.items():
            if callable(handler):
                signal.signal(number, close)
        try:
            yield
        finally:
            for number, handler in former.items():
                if callable(handler):
                    signal.signal(number, handler)

    async def events(self, after: str, wanted: ChangeFilter) -> AsyncIterator[bytes]:
        """Changes after a cursor as events, until the server stops, Redis fails or the client leaves."""
        with self._counted():
            async with self._broadcast.listen() as listener:
                # The id alone: a client that loses the stream before its first event can go on from here too.
                yield _head(after)
                cursor = after
                # What came before it listened.
                while newer(listener.cursor, cursor):
                    batch = await self._queue.store.changes(cursor, block=0.0)
                    if not batch:
                        break
                    cursor = batch[-1].cursor
                    yield _events(filter(wanted, batch))
                async for batch in self._heard(listener):
                    chosen = [change for change in batch if wanted(change) and newer(change.cursor, cursor)]
                    if chosen or not batch:
                        yield _events(chosen) or _PING

    async def events_of(self, message: Message, after: str | None) -> AsyncIterator[bytes]:
        """What became of a message, and what becomes of it until it has ended, as events.

        Args:
            message: which.
            after: a cursor; from its beginning when None.
        """
        with self._counted():
            async with self._broadcast.listen(message.message_id) as listener:
                yield _head(after)
                entries = [
                    entry
                    for entry in await self._queue.timeline(message.message_id)
                    if after is None or newer(entry.cursor, after)
                ]
                yield _events(entry.change_of(message) for entry in entries)
                if entries and entries[-1].ended:
                    return
                cursor = entries[-1].cursor if entries else after or "0-0"
                async for batch in self._heard(listener):
                    fresh = [change for change in batch if newer(change.cursor, cursor)]
                    if fresh or not batch:
                        yield _events(fresh) or _PING
                    if fresh and fresh[-1].status in TERMINAL:
                        return

    async def ended(self, message_id: str, seconds: float) -> Message:
        """The message, as soon as it has ended, or after so many seconds.

        Raises:
            UnknownMessage: there is none.
        """
        deadline = time.monotonic() + seconds
        async with self._broadcast.listen(message_id) as listener:
            message = await self._queue.get(message_id)
            while not message.ended and not self._closing and (left := deadline - time.monotonic()) > 0:
                if await listener.next(min(left, ROUND)):
                    message = await self._queue.get(message_id)
        return message

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count an open stream. Its answer has begun, so that an error cannot become a problem document.

        The client comes back with the id of the last event it saw.
        """
        self._open += 1
        try:
            with suppress(TqError):
                yield
        finally:
            self._open -= 1

    async def _heard(self, listener: Listener) -> AsyncIterator[list[Change]]:
        """Batches until the server stops; an empty one when it is time to say that the stream lives."""
        spoken = time.monotonic()
        while not self._closing:
            batch = await listener.next()
            if batch or time.monotonic() - spoken > _PING_EVERY:
                spoken = time.monotonic()
                yield batch


def newer(cursor: str, than: str) -> bool:
    """Whether a cursor of the stream comes after another."""
    return _numbers(cursor) > _numbers(than)


def _numbers(cursor: str) -> tuple[int, int]:
    moment, _, number = cursor.partition("-")
    return int(moment), int(number or 0)


def _head(cursor: str | None) -> bytes:
    return (f"id: {cursor}\n" if cursor else "").encode() + f"retry: {_RECONNECT}\n\n".encode()


def _events(changes: Iterable[Change]) -> bytes:
    return b"".join(
        f"id: {change.cursor}\nevent: {change.status}\ndata: {change.model_dump_json()}\n\n".encode()
        for change in changes
    )
