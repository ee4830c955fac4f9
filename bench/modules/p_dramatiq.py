"""dramatiq: threads, results in Redis."""

from __future__ import annotations

from typing import Any

import dramatiq
from common import REDIS, translate
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

broker = RedisBroker(url=REDIS)
broker.add_middleware(Results(backend=RedisBackend(url=REDIS)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def run(number: int) -> str:
    """The task."""
    return translate(number)


async def opened() -> Any:
    """Nothing is needed to send."""


async def send(_: Any, number: int) -> None:
    """Queue one."""
    run.send(number)
