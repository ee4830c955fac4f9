"""streaq: asyncio, Redis streams."""

from __future__ import annotations

from typing import Any

from common import REDIS, SLOTS, translate_async
from streaq import Worker

worker = Worker(redis_url=REDIS, concurrency=SLOTS)


@worker.task
async def run(number: int) -> str:
    """The task."""
    return await translate_async(number)


async def opened() -> Any:
    """What sends."""
    return await worker.__aenter__()


async def send(_: Any, number: int) -> None:
    """Queue one."""
    await run.enqueue(number)
