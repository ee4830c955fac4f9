"""The asyncio pool on Celery's real hub: many at once, results in the main thread, drain and end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu.asynchronous import Hub

from tq.pool import TaskPool, wait_for
from tq.portal import get_portal


@pytest.fixture
def hub() -> Iterator[Any]:
    """Celery's event loop, in this thread."""
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def pool(hub: Any) -> TaskPool:
    """A started pool on that hub."""
    pool = TaskPool(limit=5000)
    pool.start()
    pool.register_with_event_loop(hub)
    return pool


def run_until(hub: Any, done: Callable[[], bool], description: str, seconds: float = 60) -> None:
    """Turn the hub until something is so."""
    deadline = time.monotonic() + seconds
    loop = hub.create_loop()
    while not done():
        assert time.monotonic() < deadline, f"waited in vain until {description}"
        next(loop)


def test_three_thousand_end_while_the_hub_is_slow(hub: Any, pool: TaskPool) -> None:
    """Results that arrive faster than the hub hands them over do not pile up on the stack; none is lost."""
    results, acknowledged, threads = [], [], set()

    def ended(result: Any) -> None:
        # As Celery does: the acknowledgement is left to the hub, and here it takes its time.
        threads.add(threading.current_thread())
        results.append(result)
        hub.call_soon(acknowledge, result)

    def acknowledge(result: Any) -> None:
        time.sleep(0.0003)
        acknowledged.append(result)

    for number in range(3000):
        pool.on_apply(lambda n: wait_for(asyncio.sleep(0.05 + n % 7 / 100, n)), (number,), callback=ended)
    run_until(hub, lambda: len(acknowledged) == 3000, "all are acknowledged")
    assert sorted(results) == list(range(3000))
    assert threads == {threading.main_thread()}
    pool.stop()


def test_a_failing_callback_harms_no_other(hub: Any, pool: TaskPool) -> None:
    """One result whose callback fails does not keep the others from being handed over."""
    results = []

    def ended(result: int) -> None:
        if result == 3:
            raise ValueError("a callback fails")
        results.append(result)

    for number in range(10):
        pool.on_apply(lambda n: wait_for(asyncio.sleep(0.01, n)), (number,), callback=ended)
    run_until(hub, lambda: len(results) == 9, "the nine are handed over")
    assert sorted(results) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    pool.stop()


def test_stop_drains(pool: TaskPool) -> None:
    """Stopping waits for what runs, and hands its results over without the hub's help."""
    results: list[int] = []
    for number in range(50):
        pool.on_apply(lambda n: wait_for(asyncio.sleep(0.2, n)), (number,), callback=results.append)
    pool.stop()
    assert sorted(results) == list(range(50))


def test_terminate_cancels(pool: TaskPool) -> None:
    """What does not end in time is cancelled, whether it has begun or not, and the pool ends at once."""
    cancelled = []

    def endless() -> None:
        try:
            wait_for(asyncio.sleep(3600))
        except asyncio.CancelledError:
            cancelled.append(1)

    began = time.monotonic()
    for _ in range(20):
        pool.on_apply(endless, callback=lambda _: None)
    get_portal().call(asyncio.sleep(0.05))
    pool.on_apply(endless, callback=lambda _: None)
    pool.terminate()
    assert time.monotonic() - began < 15
    assert len(cancelled) >= 20


def test_wait_for_outside_the_pool() -> None:
    """Elsewhere the same call blocks its thread, and raises what the coroutine raises."""

    async def fail() -> None:
        raise KeyError("x")

    assert wait_for(asyncio.sleep(0, "answer")) == "answer"
    with pytest.raises(KeyError):
        wait_for(fail())
