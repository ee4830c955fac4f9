"""One reader of the stream of changes for all of a process that listen to it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from tq.errors import Overloaded, TqError
from tq.messages import Change, newer
from tq.queue import TranslationQueue

#: Seconds that a quiet look at the stream takes, and after which a reader without listeners ends.
ROUND: Final = 0.5
#: Changes that wait for a listener; one that is slower is told so, and comes back with its cursor.
_MOST: Final = 10_000
#: Seconds without a look after which some changes may be gone before they were read.
_LATE: Final = 2.0
#: Seconds between two looks for each stream that hears of them, and at most.
_PACE: Final = 0.001
_MOST_PACE: Final = 0.25


class Batch(NamedTuple):
    """Changes that came together, the bytes of each, and of all, as every stream has them."""

    changes: Sequence[Change]
    parts: Sequence[bytes]
    data: bytes


class Gap(NamedTuple):
    """Changes between two cursors are lost: nobody read them while they were kept."""

    after: str
    next: str


class Listener:
    """Changes after ``cursor``, as they come."""

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        self._news: deque[Batch | Gap] = deque()
        self._waiting = 0
        self._some = asyncio.Event()
        self._end: TqError | None = None

    def put(self, news: Batch | Gap) -> None:
        """There is something further."""
        if self._waiting > _MOST:
            self.end(Overloaded("this stream of changes is read too slowly", fix="go on after its last event"))
            return
        self._waiting += len(news.changes) if isinstance(news, Batch) else 1
        self._news.append(news)
        self._some.set()

    def end(self, why: TqError) -> None:
        """There will be no more."""
        self._end = self._end or why
        self._some.set()

    async def next(self, seconds: float) -> list[Batch | Gap]:
        """What has come; waits so long for it.

        Raises:
            TqError: the stream is not read any more.
        """
        if not self._some.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._some.wait()
            except TimeoutError:
                return []
        if self._end is not None:
            raise self._end
        news = list(self._news)
        self._news.clear()
        self._waiting = 0
        self._some.clear()
        return news


class Broadcast:
    """Reads the stream while somebody listens, on one connection; belongs to one asyncio loop.

    Args:
        queue: whose changes.
        encode: makes the bytes of a change, once for all streams.
    """

    def __init__(self, queue: TranslationQueue, encode: Callable[[Change], bytes]) -> None:
        self._queue = queue
        self._encode = encode
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

    def end(self, why: TqError) -> None:
        """Nobody hears any more."""
        for listener in self._listeners():
            listener.end(why)

    async def aclose(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        try:
            looked = time.monotonic()
            async for batch in self._queue.changes(self._cursor, block=ROUND):
                if batch:
                    if time.monotonic() - looked > ROUND + _LATE:
                        await self._tell_of_gap()
                    self._cursor = batch[-1].cursor
                    self._tell(batch)
                    # What comes meanwhile goes out together: each delivery costs, whatever is in it.
                    await asyncio.sleep(min(_MOST_PACE, len(self._everything) * _PACE))
                elif not self._everything and not self._by_id:
                    return
                looked = time.monotonic()
        except TqError as error:
            self.end(error)

    async def _tell_of_gap(self) -> None:
        lost, _ = await self._queue.store.span()
        if lost and newer(lost, self._cursor):
            for listener in self._listeners():
                listener.put(Gap(self._cursor, lost))

    def _listeners(self) -> Iterator[Listener]:
        yield from tuple(self._everything)
        for group in tuple(self._by_id.values()):
            yield from tuple(group)

    def _tell(self, batch: list[Change]) -> None:
        if self._everything:
            parts = [self._encode(change) for change in batch]
            news = Batch(batch, parts, b"".join(parts))
            for listener in self._everything:
                listener.put(news)
        if self._by_id:
            for change in batch:
                if listeners := self._by_id.get(change.message_id):
                    part = self._encode(change)
                    for listener in listeners:
                        listener.put(Batch([change], [part], part))
