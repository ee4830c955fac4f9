"""Celery as people wire it by hand: late acknowledgement, threads, the Redis backend."""

from __future__ import annotations

from typing import Any

from celery import Celery
from common import REDIS, translate

app = Celery("bench", broker=REDIS, backend=REDIS)
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    worker_send_task_events=True,
)


@app.task
def run(number: int) -> str:
    """The task."""
    return translate(number)


async def opened() -> Any:
    """What sends."""
    return app.amqp.producer_pool.acquire()


async def send(producer: Any, number: int) -> None:
    """Queue one."""
    run.apply_async((number,), producer=producer)
