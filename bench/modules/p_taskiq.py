"""taskiq: asyncio, Redis streams with acknowledgement, results in Redis."""

from __future__ import annotations

from typing import Any

from common import REDIS, translate_async
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

broker = RedisStreamBroker(url=REDIS).with_result_backend(RedisAsyncResultBackend(redis_url=REDIS, result_ex_time=3600))


@broker.task
async def run(number: int) -> str:
    """The task."""
    return await translate_async(number)


async def opened() -> Any:
    """What sends."""
    await broker.startup()
    return broker


async def send(_: Any, number: int) -> None:
    """Queue one."""
    await run.kiq(number)
