"""The stream of changes over a connection that is awaited, read ahead: who listens can look up, and be called off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Final

import httpx

from tq.errors import ChangesMissed, TqError, Unreachable
from tq.eventstream import EventStream, News
from tq.messages import Change
from tq.remote import Remote

#: Batches of changes read ahead of a slow caller.
_MAX_WAITING: Final = 10_000


async def follow(http: httpx.AsyncClient, remote: Remote, stream: EventStream) -> AsyncGenerator[News, None]:
    """What comes on one connection, as it comes; nothing when there will be no more.

    Raises:
        Unreachable: the connection broke, or the API ended it.
    """
    with remote.reaching():
        async with http.stream(**remote.stream_arguments(stream.request())) as answer:
            if not answer.is_success:
                await answer.aread()
            remote.begin(stream, answer)
            if stream.over:
                return
            async for data in answer.aiter_bytes():
                for news in remote.feed(stream, data):
                    yield news
    raise remote.ended()


class AsyncChanges(AsyncIterator[list[Change]]):
    """Batches of changes for ever, an empty one for each quiet round; await ``close`` at the end.

    ``anext`` raises one of ``errors.PASSING`` while nothing answers; called again it goes on where it was.

    Args:
        http: the connections.
        remote: the API.
        stream: what is read.
        block: seconds of a round in which nothing comes; None: it has no end.
    """

    def __init__(self, http: httpx.AsyncClient, remote: Remote, stream: EventStream, block: float | None) -> None:
        self._http = http
        self._remote = remote
        self._stream = stream
        self._block = block
        #: None: there will be no more.
        self._inbox: asyncio.Queue[News | TqError | None] = asyncio.Queue(_MAX_WAITING)
        self._closed = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._ready: list[Change] = []
        self._missed: ChangesMissed | None = None

    async def connect(self, within: float | None = None) -> None:
        """Returns when the stream has begun: whatever happens from now on will be seen.

        Raises:
            TqError: it does not: what the API says; or nothing, within so many seconds if given.
        """
        self._reader = asyncio.create_task(self._read(), name="tq-events")
        try:
            async with asyncio.timeout(within):
                first = await self._inbox.get()
        except TimeoutError:
            await self.close()
            raise self._remote.silent() from None
        except BaseException:
            await self.close()
            raise
        if isinstance(first, list):
            self._ready = first
        else:
            self._end(first, [])

    async def _read(self) -> None:
        end: TqError | None = None
        try:
            async for news in follow(self._http, self._remote, self._stream):
                await self._inbox.put(news)
        except TqError as error:
            end = error
        except Exception as error:  # noqa: BLE001 - a client closed under us fails in many ways; our reader must hear of it
            end = Unreachable("the stream of changes broke", why=type(error).__name__)
        await self._inbox.put(end)

    async def __anext__(self) -> list[Change]:
        batch = await self.hear()
        if batch is None:
            raise StopAsyncIteration
        return batch

    async def hear(self, within: float | None = None) -> list[Change] | None:
        """As ``anext``, but None at the end; a connection that is opened anew may take so many seconds."""
        if self._closed.is_set():
            return None
        if self._missed is not None:
            missed, self._missed = self._missed, None
            raise missed
        if self._reader is None:
            await self.connect(within)
            if self._closed.is_set():
                return None
        batch, self._ready = self._ready, []
        with suppress(TimeoutError, asyncio.QueueEmpty):
            item = self._inbox.get_nowait() if batch else await self._next()
            while isinstance(item, list):
                batch += item
                item = self._inbox.get_nowait()
            return self._end(item, batch)
        return batch

    async def _next(self) -> News | TqError | None:
        # Not wait_for, which may take a cancellation for an answer (Python 3.11).
        async with asyncio.timeout(self._block):
            return await self._inbox.get()

    def _end(self, item: TqError | None, batch: list[Change]) -> list[Change] | None:
        """What the caller is told of what came after these changes: they come first."""
        if item is None:
            self._closed.set()
            return batch or None
        if not isinstance(item, ChangesMissed):
            self._reader = None  # a new connection begins where this one broke, and says so if it does not
        if not batch:
            raise item
        if isinstance(item, ChangesMissed):
            self._missed = item
        return batch

    async def rest(self, seconds: float) -> None:
        """Sleep, unless it is closed meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    async def close(self) -> None:
        """End the connection; whoever waits for changes hears that there are no more."""
        self._closed.set()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        with suppress(asyncio.QueueFull):
            self._inbox.put_nowait(None)
