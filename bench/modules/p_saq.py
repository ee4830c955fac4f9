"""saq: asyncio, results in Redis."""

from __future__ import annotations

from typing import Any

from common import REDIS, SLOTS, translate_async
from saq import Queue

queue = Queue.from_url(REDIS)


async def run(_: dict[str, Any], *, number: int) -> str:
    """The task."""
    return await translate_async(number)


settings = {"queue": queue, "functions": [run], "concurrency": SLOTS}


async def opened() -> Any:
    """What sends."""
    await queue.connect()
    return queue


async def send(sender: Any, number: int) -> None:
    """Queue one."""
    await sender.enqueue("run", number=number, timeout=120, ttl=3600)
