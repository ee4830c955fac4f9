"""The stream of changes over HTTP: server-sent events (WHATWG HTML, "Server-sent events"), and waiting for an end."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

from tq.broadcast import Batch, Broadcast, Gap, Listener
from tq.errors import TooManyStreams, TqError, Unreachable
from tq.filters import ChangeFilter
from tq.messages import TERMINAL, Change, Message, newer, position
from tq.queue import TranslationQueue

#: Streams at once, and clients that wait for an end: each keeps a connection open.
MAX_STREAMS: Final = 256
MAX_WAITS: Final = 512
#: Seconds of silence after which a comment tells proxies, and us, whether the client is still there.
_PING_EVERY: Final = 10.0
#: Milliseconds after which a client that lost the stream comes back; it resumes by Last-Event-ID.
_RECONNECT: Final = 2000
#: Where the stream of changes begins: who asks for that wants what is there.
_BEGINNING: Final = "0-0"


_EVERYTHING: Final = ChangeFilter()


class Place:
    """A stream that was let in; give it back with ``leave``, which may be called twice."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._taken = True

    def leave(self) -> None:
        """There is room for another one."""
        if self._taken:
            self._taken = False
            self._streams.open -= 1


class Streams:
    """The open event streams of one process.

    Attributes:
        open: how many there are.
    """

    def __init__(self, queue: TranslationQueue) -> None:
        self._queue = queue
        self._broadcast = Broadcast(queue, _encoded)
        self._waits = 0
        self._closing = False
        self.open = 0

    def enter(self) -> Place:
        """Take a place for another stream.

        Raises:
            TooManyStreams: there is none.
        """
        if self.open >= MAX_STREAMS:
            raise TooManyStreams(f"{MAX_STREAMS} event streams are open already", fix="close some, or try again later")
        self.open += 1
        return Place(self)

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
        loop = asyncio.get_running_loop()
        former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def close(number: int, frame: FrameType | None) -> None:
            self._closing = True
            loop.call_soon_threadsafe(self._broadcast.end, Unreachable("the API stops"))
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
        """Changes after a cursor as events, until the server stops, Redis fails or the client leaves.

        What is lost, because nobody read it while it was kept, is told by an event ``gap``.
        """
        with suppress(TqError):
            async with self._broadcast.listen() as listener:
                cursor = after
                gap = await self._gap(cursor)
                # The id alone: a client that loses the stream before its first event can go on from here too.
                yield _head(gap.next if gap else cursor)
                while True:
                    if gap:
                        yield _gap(gap)
                        cursor = gap.next
                    if not newer(listener.cursor, cursor):
                        break
                    # What came before it listened.
                    batch = await self._queue.store.changes(cursor, block=0.0)
                    if not batch:
                        break
                    cursor = batch[-1].cursor
                    yield b"".join(map(_encoded, filter(wanted, batch)))
                    gap = await self._gap(cursor)
                async for news in self._heard(listener):
                    said = b""
                    for each in news:
                        if isinstance(each, Gap):
                            said += _gap(each)
                            cursor = each.next
                        else:
                            said += _chosen(each, wanted, cursor)
                            cursor = max(cursor, each.changes[-1].cursor, key=position)
                    if said or not news:
                        yield said or _ping(cursor)

    async def events_of(self, message: Message, after: str | None, wanted: ChangeFilter) -> AsyncIterator[bytes]:
        """What became of a message, and what becomes of it until it has ended, as events.

        Args:
            message: which.
            after: a cursor; from its beginning when None.
            wanted: which of its changes.
        """
        with suppress(TqError):
            async with self._broadcast.listen(message.message_id) as listener:
                yield _head(after)
                cursor = after or _BEGINNING
                while True:
                    # Its record has its own history: what the stream has lost is there.
                    entries = await self._queue.timeline(message.message_id)
                    fresh = [entry.change_of(message) for entry in entries if newer(entry.cursor, cursor)]
                    cursor = fresh[-1].cursor if fresh else cursor
                    if fresh:
                        yield _some(fresh, wanted)
                    if entries[-1].ended:
                        return
                    async for news in self._heard(listener):
                        if any(isinstance(each, Gap) for each in news):
                            break
                        heard = [each for each in news if isinstance(each, Batch)]
                        told = [change for each in heard for change in each.changes if newer(change.cursor, cursor)]
                        cursor = told[-1].cursor if told else cursor
                        if told or not news:
                            yield _some(told, wanted) if told else _ping(None)
                        if told and told[-1].status in TERMINAL:
                            return
                    else:
                        return

    async def ended(self, message_id: str, seconds: float, left: Awaitable[None]) -> Message:
        """The message, as soon as it has ended, or after so many seconds, or when nobody waits any more.

        Args:
            message_id: which.
            seconds: at most.
            left: done when the client has left.

        Raises:
            UnknownMessage: there is none.
            TooManyStreams: so many wait that there is no room for another one.
        """
        if self._waits >= MAX_WAITS:
            raise TooManyStreams(f"{MAX_WAITS} requests wait for an end already", fix="ask without `wait`")
        self._waits += 1
        leaving = asyncio.ensure_future(left)
        try:
            async with self._broadcast.listen(message_id) as listener:
                return await self._until_ended(message_id, listener, leaving, time.monotonic() + seconds)
        finally:
            leaving.cancel()
            self._waits -= 1

    async def _until_ended(
        self, message_id: str, listener: Listener, leaving: asyncio.Future[None], deadline: float
    ) -> Message:
        message = await self._queue.get(message_id)
        while not (message.ended or leaving.done() or self._is_closing()) and (left := deadline - time.monotonic()) > 0:
            hearing = asyncio.create_task(listener.next(left))
            try:
                both: set[asyncio.Future[Any]] = {hearing, leaving}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                if leaving.done():
                    break
                await hearing
            except TqError:
                if not self._is_closing():
                    raise
                break
            finally:
                hearing.cancel()
            message = await self._queue.get(message_id)
        return message

    def _is_closing(self) -> bool:
        return self._closing

    async def _gap(self, cursor: str) -> Gap | None:
        """What is lost after a cursor, which may also be of a time that this Redis has not seen."""
        lost, newest = await self._queue.store.span()
        if newer(cursor, newest):
            return Gap(cursor, newest)
        return Gap(cursor, lost) if lost and cursor != _BEGINNING and newer(lost, cursor) else None

    async def _heard(self, listener: Listener) -> AsyncIterator[list[Batch | Gap]]:
        """What comes until the server stops; nothing when it is time to say that the stream lives."""
        while not self._closing:
            yield await listener.next(_PING_EVERY)


def _chosen(batch: Batch, wanted: ChangeFilter, cursor: str) -> bytes:
    """The bytes of those changes after a cursor that a stream is to have."""
    if wanted == _EVERYTHING and newer(batch.changes[0].cursor, cursor):
        return batch.data
    pairs = zip(batch.changes, batch.parts, strict=True)
    return b"".join(part for change, part in pairs if wanted(change) and newer(change.cursor, cursor))


def _some(changes: Sequence[Change], wanted: ChangeFilter) -> bytes:
    """Those that are wanted; when the last is not, its id all the same: who comes back has no use for it either."""
    data = b"".join(map(_encoded, filter(wanted, changes)))
    return data if wanted(changes[-1]) else data + f"id: {changes[-1].cursor}\n\n".encode()


def _head(cursor: str | None) -> bytes:
    return (f"id: {cursor}\n" if cursor else "").encode() + f"retry: {_RECONNECT}\n\n".encode()


def _ping(cursor: str | None) -> bytes:
    """A comment, with how far everything was heard: who comes back has missed nothing before it."""
    return b": ping\n" + (f"id: {cursor}\n" if cursor else "").encode() + b"\n"


def _gap(gap: Gap) -> bytes:
    return f"id: {gap.next}\nevent: gap\ndata: {json.dumps(gap._asdict())}\n\n".encode()


def _encoded(change: Change) -> bytes:
    return f"id: {change.cursor}\nevent: {change.status}\ndata: {change.model_dump_json()}\n\n".encode()
