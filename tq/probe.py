"""Whether messages can be stored and workers be woken now."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tq.errors import TqError, Unreachable
from tq.queue import TranslationQueue

#: Seconds for Redis and the broker to answer when somebody asks whether they do.
_PATIENCE: Final = 3.0


class Probe:
    """Asks Redis, and the broker where that is another one; belongs to one asyncio loop."""

    def __init__(self, queue: TranslationQueue) -> None:
        self._queue = queue
        self._found = ("", 0.0)

    async def trouble(self, *, age: float = 0.0) -> str:
        """Why not; "" when all is well. What was found within the last ``age`` seconds is believed."""
        found, moment = self._found
        if time.monotonic() - moment >= age:
            found = await self._ask()
            self._found = (found, time.monotonic())
        return found

    async def _ask(self) -> str:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._queue.store.ping()
                if self._queue.settings.broker_url is not None:
                    await asyncio.to_thread(self._reach_broker)
        except TqError as error:
            return error.record()["message"]
        except TimeoutError:
            return f"Redis at {self._queue.settings.store_name} does not answer within {_PATIENCE:g} s"
        return ""

    def _reach_broker(self) -> None:
        try:
            with self._queue.publisher.app.connection_for_read() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=_PATIENCE)
        except Exception as error:  # noqa: BLE001 - kombu raises whatever the transport's own library does
            raise Unreachable("the broker of TQ_BROKER_URL cannot be reached", why=type(error).__name__) from None
