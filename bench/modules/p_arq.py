"""arq: asyncio, results in Redis, no acknowledgement."""

from __future__ import annotations

from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from common import REDIS, SLOTS, translate_async

settings = RedisSettings.from_dsn(REDIS)


async def run(_: dict[str, Any], number: int) -> str:
    """The task."""
    return await translate_async(number)


class WorkerSettings:
    """Of the worker."""

    functions = (run,)
    redis_settings = settings
    max_jobs = SLOTS
    poll_delay = 0.1
    keep_result = 3600


async def opened() -> Any:
    """What sends."""
    return await create_pool(settings)


async def send(pool: Any, number: int) -> None:
    """Queue one."""
    await pool.enqueue_job("run", number)
