"""rq: one at a time, a process for each."""

from __future__ import annotations

from typing import Any

import redis
from common import REDIS, translate
from rq import Queue


def run(number: int) -> str:
    """The task."""
    return translate(number)


async def opened() -> Any:
    """What sends."""
    return Queue(connection=redis.Redis.from_url(REDIS))


async def send(queue: Any, number: int) -> None:
    """Queue one."""
    queue.enqueue("p_rq.run", number, result_ttl=3600)
