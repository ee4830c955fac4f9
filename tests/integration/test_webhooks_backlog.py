"""Many webhooks at a time: how many are under way to a receiver, and how it is seen that they do not get through."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import Api
from prometheus_client.parser import text_string_to_metric_families
from receiver import Receiver
from servers import Valkey, wait_until

from tq.backend import make_submission
from tq.courier import Courier
from tq.figures import Backlog
from tq.queue import TranslationQueue
from tq.settings import Settings
from tq.webhooks import Outbox


class Slow(Receiver):
    """A receiver that answers nobody before it is told to, and knows how many wait for that."""

    def __init__(self) -> None:
        super().__init__()
        # Else five connections may wait to be taken, and the others are tried again by the kernel.
        self._server.socket.listen(256)
        self.go = threading.Event()
        self.waiting = 0
        self._lock = threading.Lock()
        self.before = self._wait

    def _wait(self) -> None:
        with self._lock:
            self.waiting += 1
        assert self.go.wait(60)


@pytest.fixture
def slow() -> Iterator[Slow]:
    """It lets everybody go at its end."""
    with Slow() as found:
        yield found
        found.go.set()


async def ended(queue: TranslationQueue, url: str, count: int) -> None:
    """So many messages with a callback that have ended."""
    for number in range(count):
        await queue.submit(make_submission("Hello", to="fr", message_id=f"m{number}", callback_url=url))
        await queue.cancel(f"m{number}")


@pytest.fixture
async def queue(valkey: Valkey, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[TranslationQueue]:
    """A queue that may call this machine, with settings of the test's."""
    assert valkey.socket.exists()
    settings: dict[str, Any] = getattr(request, "param", {})
    found = TranslationQueue(Settings(data_dir=tmp_path, callback_private=True, **settings))
    yield found
    await found.aclose()


@pytest.mark.parametrize(
    ("queue", "most"), [({}, 16), ({"callback_parallel": 3}, 3), ({"callback_parallel": 100}, 100)], indirect=["queue"]
)
async def test_so_many_at_a_time(queue: TranslationQueue, slow: Slow, most: int) -> None:
    """As many are under way to one receiver as the settings say, and no more; and all get there."""
    await ended(queue, slow.url(), most + 10)
    assert (await queue.store.backlog()).pending == most + 10
    courier = asyncio.create_task(Courier(queue, poll=0.02).run())
    await asyncio.to_thread(wait_until, lambda: slow.waiting >= most, lambda: f"{slow.waiting} are {most}", timeout=60)
    # Time enough to take more of them.
    await asyncio.sleep(0.3)
    assert slow.waiting == most
    assert (await queue.store.backlog()).pending == most + 10
    slow.go.set()
    await asyncio.to_thread(wait_until, lambda: slow.waiting >= most + 10, "all were sent", timeout=60)
    async with asyncio.timeout(30):
        while await queue.store.backlog() != Backlog():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)
    courier.cancel()
    await asyncio.gather(courier, return_exceptions=True)


async def test_no_receiver_has_all_there_is(queue: TranslationQueue, slow: Slow) -> None:
    """However few may be under way in all, others have half of them."""
    await ended(queue, slow.url(), 20)
    with Receiver() as quick:
        await queue.submit(make_submission("Hello", to="fr", message_id="quick", callback_url=quick.url()))
        await queue.cancel("quick")
        courier = asyncio.create_task(Courier(queue, poll=0.02, most=2).run())
        await asyncio.to_thread(wait_until, lambda: quick.received, "the other has its own", timeout=60)
        assert slow.waiting <= 1
        courier.cancel()
        await asyncio.gather(courier, return_exceptions=True)


async def test_how_late_they_are(queue: TranslationQueue, valkey: Valkey) -> None:
    """What is due and not taken is late; what is under way, or is to be sent again later, is pending alone."""
    await ended(queue, "https://one.example/", 1)
    await queue.submit(make_submission("Hello", to="fr", message_id="m", callback_url="https://two.example/"))
    await queue.cancel("m")
    with valkey.client() as redis:
        quarter = (redis.time()[0] - 900) * 1000
        (member,) = redis.zrange("tq:hooks:two.example:443", 0, -1)
        redis.zadd("tq:hooks:two.example:443", {member: quarter})
        redis.zadd("tq:hooks", {"two.example:443": quarter})
    backlog = await queue.store.backlog()
    assert (backlog.pending, 899 < backlog.overdue < 1000) == (2, True)
    outbox = Outbox(queue.store, 60)
    taken = await outbox.take(10, each=5, lease=45, overdue=0, rooms={})
    assert await queue.store.backlog() == Backlog(2, 0)
    for delivery in taken:
        assert await outbox.settle(delivery, "pending", delay=60, http_status=500, error="status")
    assert await queue.store.backlog() == Backlog(2, 0)


def figures(http: httpx.Client) -> dict[str, float]:
    """What /metrics says of webhooks."""
    families = text_string_to_metric_families(http.get("/metrics").text)
    samples = [each for family in families for each in family.samples if each.name.startswith("tq_webhooks_")]
    return {each.name: each.value for each in samples if not each.labels}


def test_the_backlog_is_a_metric(valkey: Valkey, environment: dict[str, str], tmp_path: Path, slow: Slow) -> None:
    """What is not delivered, and for how long it has been due: what is under way is not."""
    assert valkey.socket.exists()
    with Api(tmp_path, environment | {"TQ_CALLBACK_PRIVATE": "true"}) as api, api.client() as http:
        assert figures(http) == {"tq_webhooks_pending": 0, "tq_webhooks_oldest_due_seconds": 0}
        for number in range(3):
            body = {"content": "Hello", "message_id": f"m{number}", "callback_url": slow.url()}
            http.post("/messages", json=body).raise_for_status()
            http.post(f"/messages/m{number}/cancel").raise_for_status()
        wait_until(lambda: slow.waiting == 3, "all are under way")
        assert figures(http) == {"tq_webhooks_pending": 3, "tq_webhooks_oldest_due_seconds": 0}
        slow.go.set()
        wait_until(lambda: figures(http)["tq_webhooks_pending"] == 0, "all are delivered")
