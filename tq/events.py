"""Server-sent events: the stream of changes over HTTP (WHATWG HTML, "Server-sent events").

Each open stream holds one connection to Redis while it waits, so their number is bounded.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from tq.errors import TqError
from tq.messages import Change, Status
from tq.queue import TranslationQueue

#: Streams at once; well below the 100 connections that the store may open.
MAX_STREAMS: Final = 64
#: Seconds that a stream may take to notice that the server stops.
_ROUND: Final = 0.5
#: Seconds of silence after which a comment tells proxies, and us, whether the client is still there.
_PING: Final = 10.0
#: Milliseconds after which a client that lost the stream comes back; it resumes by Last-Event-ID.
_RECONNECT: Final = 2000


class Streams:
    """The open event streams of one process."""

    def __init__(self, queue: TranslationQueue) -> None:
        self._queue = queue
        self._open = 0
        self._closing = False

    @property
    def full(self) -> bool:
        """Whether no further stream may be opened."""
        return self._open >= MAX_STREAMS

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

    async def events(self, after: str, status: Status | None) -> AsyncIterator[bytes]:
        """Changes after a cursor as events, until the server stops, Redis fails or the client leaves."""
        self._open += 1
        try:
            # The id alone: a client that loses the stream before its first event can go on from here too.
            yield f"id: {after}\nretry: {_RECONNECT}\n\n".encode()
            spoken = time.monotonic()
            async for batch in self._queue.changes(after, block=_ROUND):
                if self._closing:
                    return
                chosen = [change for change in batch if status is None or change.status is status]
                if chosen:
                    yield b"".join(map(_event, chosen))
                elif time.monotonic() - spoken > _PING:
                    yield b": ping\n\n"
                else:
                    continue
                spoken = time.monotonic()
        except TqError:
            # The answer has begun, so this cannot become a problem document: the client comes back
            # with the id of the last event it saw.
            return
        finally:
            self._open -= 1


def _event(change: Change) -> bytes:
    return f"id: {change.cursor}\nevent: {change.status}\ndata: {change.model_dump_json()}\n\n".encode()
