"""The stream of changes over a connection that is awaited; and read ahead, for who wants to look up in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Final

import httpx

from tq.errors import TqError, Unreachable
from tq.eventstream import EventStream
from tq.messages import Change
from tq.remote import Remote

#: Batches of changes read ahead of a slow caller.
_MAX_WAITING: Final = 10_000


async def follow(http: httpx.AsyncClient, remote: Remote, stream: EventStream) -> AsyncGenerator[list[Change], None]:
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
                yield remote.feed(stream, data)
    raise remote.ended()


class AsyncChanges(AsyncIterator[list[Change]]):
    """Batches of changes for ever, an empty one for each quiet round; await ``close`` at the end.

    ``anext`` raises ``Unreachable`` while nothing answers; called again it goes on where it was.

    Args:
        http: the connections.
        remote: the API.
        after: a cursor; from now on when None.
        block: seconds of a round in which nothing comes.
    """

    def __init__(self, http: httpx.AsyncClient, remote: Remote, after: str | None, block: float) -> None:
        self._http = http
        self._remote = remote
        self._stream = EventStream(after)
        self._block = block
        self._inbox: asyncio.Queue[list[Change] | TqError] = asyncio.Queue(_MAX_WAITING)
        self._reader: asyncio.Task[None] | None = None
        self._ready: list[Change] = []
        self._closed = False

    async def connect(self, within: float | None) -> None:
        """Returns when the stream has begun: whatever happens from now on will be seen.

        Raises:
            Unreachable: the API did not answer, within so many seconds if given.
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
        if isinstance(first, TqError):
            self._reader = None
            raise first
        self._ready = first

    async def _read(self) -> None:
        try:
            async for changes in follow(self._http, self._remote, self._stream):
                await self._inbox.put(changes)
        except TqError as error:
            await self._inbox.put(error)
        except Exception as error:  # noqa: BLE001 - a client closed under us fails in many ways; our reader must hear of it
            await self._inbox.put(Unreachable("the stream of changes broke", why=type(error).__name__))

    async def __anext__(self) -> list[Change]:
        return await self.hear(None)

    async def hear(self, within: float | None) -> list[Change]:
        """As ``anext``; a connection that is opened anew may take so many seconds."""
        if self._closed:
            raise StopAsyncIteration
        if self._reader is None:
            await self.connect(within)
        batch, self._ready = self._ready, []
        with suppress(TimeoutError, asyncio.QueueEmpty):
            item = self._inbox.get_nowait() if batch else await asyncio.wait_for(self._inbox.get(), self._block)
            while not isinstance(item, TqError):
                batch += item
                item = self._inbox.get_nowait()
            self._reader = None
            if not batch:
                raise item
        return batch

    async def close(self) -> None:
        """End the connection."""
        self._closed = True
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
