"""What a client that awaits waits for, which ends when the client is closed in another task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tq.errors import ClientClosed


class Interruptible:
    """Requests and pauses under way; belongs to one event loop."""

    def __init__(self) -> None:
        self._closed = False
        self._limits: set[asyncio.Timeout] = set()

    def require_open(self) -> None:
        """Return unless they were ended.

        Raises:
            ClientClosed: they were.
        """
        if self._closed:
            raise ClientClosed

    @asynccontextmanager
    async def within(self, seconds: float | None) -> AsyncIterator[None]:
        """Around what may take so many seconds; None: any number.

        Raises:
            TimeoutError: it took longer.
            ClientClosed: it was ended, before it or during it.
        """
        self.require_open()
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                self._limits.add(limit)
                yield
        except Exception:
            # What was ended under it fails in many ways.
            if self._closed:
                raise ClientClosed from None
            raise
        finally:
            self._limits.discard(limit)

    async def sleep(self, seconds: float) -> None:
        """Sleep.

        Raises:
            ClientClosed: it was ended before that was over.
        """
        async with self.within(None):
            await asyncio.sleep(seconds)

    def bar(self) -> None:
        """Let nothing more begin."""
        self._closed = True

    def close(self) -> None:
        """End what is under way."""
        self.bar()
        for limit in self._limits:
            with suppress(RuntimeError):  # its time is over already
                limit.reschedule(0)
