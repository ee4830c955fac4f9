"""One reader of the stream of changes for all of a process that listen to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tq.errors import Overloaded, TqError
from tq.messages import Change
from tq.queue import TranslationQueue

#: Seconds that a quiet look at the stream takes, and after which a reader without listeners ends.
ROUND: Final = 0.5
#: Changes that wait for a listener; one that is slower is told so, and comes back with its cursor.
_MOST: Final = 10_000


class Listener:
    """Changes after ``cursor``, as they come."""

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        self._changes: deque[Change] = deque()
        self._news = asyncio.Event()
        self._end: TqError | None = None

    def put(self, changes: list[Change]) -> None:
        """There are further ones."""
        if len(self._changes) > _MOST:
            self.end(Overloaded("this stream of changes is read too slowly", fix="go on after its last event"))
        else:
            self._changes.extend(changes)
            self._news.set()

    def end(self, why: TqError) -> None:
        """There will be no more."""
        self._end = self._end or why
        self._news.set()

    async def next(self, seconds: float = ROUND) -> list[Change]:
        """Those that have come; waits so long for the first.

        Raises:
            TqError: the stream is not read any more.
        """
        if not self._news.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                return []
        if self._end is not None:
            raise self._end
        changes = list(self._changes)
        self._changes.clear()
        self._news.clear()
        return changes


class Broadcast:
    """Reads the stream while somebody listens, on one connection; belongs to one asyncio loop."""

    def __init__(self, queue: TranslationQueue) -> None:
        self._queue = queue
        self._everything: set[Listener] = set()
        self._by_id: dict[str, set[Listener]] = {}
        self._cursor = ""
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    @asynccontextmanager
    async def listen(self, message_id: str | None = None) -> AsyncIterator[Listener]:
        """Hear of all changes from now on, or of those of one message.

        Raises:
            Unreachable: Redis does not answer.
        """
        async with self._starting:
            if self._reader is None or self._reader.done():
                self._cursor = await self._queue.store.newest_cursor()
                self._reader = asyncio.create_task(self._read())
            # Here, where the reader cannot end for want of listeners.
            listener = Listener(self._cursor)
            group = self._everything if message_id is None else self._by_id.setdefault(message_id, set())
            group.add(listener)
        try:
            yield listener
        finally:
            group.discard(listener)
            if message_id is not None and not group and self._by_id.get(message_id) is group:
                del self._by_id[message_id]

    async def aclose(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async for batch in self._queue.changes(self._cursor, block=ROUND):
                if batch:
                    self._cursor = batch[-1].cursor
                    self._tell(batch)
                elif not self._everything and not self._by_id:
                    return
        except TqError as error:
            for listener in {*self._everything, *(each for group in self._by_id.values() for each in group)}:
                listener.end(error)

    def _tell(self, batch: list[Change]) -> None:
        for listener in self._everything:
            listener.put(batch)
        if self._by_id:
            for change in batch:
                for listener in self._by_id.get(change.message_id, ()):
                    listener.put([change])
