"""What transitions count, on a real server: each attempt once, with its outcome and reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from servers import Valkey

from tq.local import LocalClient
from tq.messages import Status
from tq.settings import Settings
from tq.store import POISON_AFTER, QUARANTINE_AFTER, Store
from tq.tallies import Minute, Totals

POISONED: Any = {"type": "poison", "message": "died", "retryable": False}
BODY = {"content": "Hello", "model_name": "m", "metadata": {"target_language": "fr"}}


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    """A store whose leases are short."""
    store = Store(valkey.url, result_ttl=60, lease=0.05)
    yield store
    await store.aclose()


async def submit(store: Store, message_id: str, *, max_queued: int = 100, budget: int = 0) -> str:
    """What the store says to a message."""
    outcome, *_ = await store.submit(
        message_id,
        fingerprint="print",
        idempotency="",
        priority=0,
        body=BODY,
        languages="→fr",
        sealed="",
        max_queued=max_queued,
        payer=("default", budget),
    )
    return str(outcome)


async def attempt(store: Store, message_id: str, status: Status, **how: Any) -> None:
    """One attempt that ends so."""
    claim = await store.claim(message_id, "w#1")
    assert claim is not None
    for _ in range(2):
        # Said twice, as after a lost answer: counted once.
        assert await store.settle(message_id, claim.epoch, status, fields={}, **how)


async def counted(store: Store) -> tuple[Totals, Minute]:
    """The totals, and all minutes as one: the clock may have moved on."""
    totals, history = await asyncio.gather(store.totals(), store.history())
    busy = [minute for minute in history.minutes if minute.attempts or minute.cancelled or minute.errors]
    if not busy:
        return totals, history.minutes[-1]
    names = ("attempts", "completed", "failed", "cancelled", "retried")
    sums = {name: sum(getattr(minute, name) for minute in busy) for name in names}
    errors: dict[str, int] = {}
    for minute in busy:
        for reason, count in minute.errors.items():
            errors[reason] = errors.get(reason, 0) + count
    return totals, busy[-1].model_copy(update={**sums, "errors": errors})


async def test_each_end_is_counted_once(store: Store) -> None:
    """Completed, retried, failed, put off, put back, cancelled: in the totals, and in this minute."""
    for number in range(6):
        assert await submit(store, f"m{number}") == "new"
    assert await submit(store, "m0") == "same"
    await attempt(store, "m0", Status.COMPLETED, info="openai", calls=[0.2, 3.0])
    await attempt(store, "m1", Status.RETRYING, info="rate-limited", delay=60)
    await attempt(store, "m2", Status.FAILED, info="invalid-key", calls=[0.01])
    await attempt(store, "m3", Status.RETRYING, info="attempt-deferred", delay=60, deferred=True)
    await attempt(store, "m4", Status.QUEUED, info="released")
    assert await store.claim("m4", "w#2")
    assert await store.cancel("m4") == "ok"
    assert await store.cancel("m5") == "ok"
    totals, minute = await counted(store)
    assert totals.attempts == {
        ("completed", ""): 1,
        ("retried", "rate-limited"): 1,
        ("failed", "invalid-key"): 1,
        ("deferred", ""): 1,
        ("released", ""): 1,
        ("cancelled", ""): 1,
    }
    assert totals.ended == {Status.COMPLETED: 1, Status.FAILED: 1, Status.CANCELLED: 2}
    assert totals.submitted == 6
    assert dict(totals.calls)["0.1"] == 1
    assert (dict(totals.calls)["+Inf"], totals.calls_seconds) == (3, 3.21)
    assert (minute.attempts, minute.completed, minute.failed, minute.cancelled, minute.retried) == (5, 1, 1, 2, 1)
    assert minute.errors == {"rate-limited": 1, "invalid-key": 1}
    assert minute.p50 is not None
    assert 0 < minute.p50 <= (minute.p95 or 0) < 30


async def test_expired_leases_and_poison_are_counted(store: Store) -> None:
    """Each lease that runs out; the last one of a message that kills fails it, with its reason."""
    await submit(store, "m")
    for _ in range(POISON_AFTER):
        assert await store.claim("m", "dead#1")
        await asyncio.sleep(0.06)
        await store.reap(POISONED)
    totals, minute = await counted(store)
    assert totals.attempts == {("expired", ""): POISON_AFTER - 1, ("failed", "poison"): 1}
    assert totals.expiries == POISON_AFTER > QUARANTINE_AFTER
    assert (minute.attempts, minute.failed, minute.errors) == (POISON_AFTER, 1, {"poison": 1})


async def test_refused_submissions_are_counted(store: Store) -> None:
    """A full queue and a spent budget, each by its reason; nothing was submitted."""
    await submit(store, "m0")
    assert await submit(store, "m1", max_queued=1) == "full"
    await attempt(store, "m0", Status.COMPLETED, tokens=(10, 10), cost=5, account="default")
    assert await submit(store, "m2", budget=5) == "budget"
    totals, _ = await counted(store)
    assert totals.refused == {"queue-full": 1, "budget-exceeded": 1}
    assert totals.submitted == 1


async def test_minutes_go_and_totals_stay(store: Store, valkey: Valkey) -> None:
    """What is kept by the minute has a TTL of a little more than an hour; the totals have none."""
    await submit(store, "m")
    await attempt(store, "m", Status.FAILED, info="refusal")
    with valkey.client() as redis:
        (key,) = redis.keys("tq:minute:*")
        assert 3_600_000 < redis.pttl(key) <= 3_720_000
        assert redis.pttl("tq:totals") == -1


def test_what_a_program_outside_reports_is_bounded(http: httpx.Client, api_valkey: Valkey) -> None:
    """An error of a type that tq does not know is counted as one of the others."""
    message_id = http.post("/messages", json={"content": "Hello"}).json()["message_id"]
    path = f"/messages/{message_id}/status"
    assert http.post(path, json={"status": "running"}).status_code == 200
    error = {"type": "their-own-thing", "message": "no", "retryable": False}
    assert http.post(path, json={"status": "failed", "error": error}).status_code == 200
    minutes = http.get("/queue/history").json()["minutes"]
    assert len(minutes) == 60
    assert [minute["errors"] for minute in minutes if minute["errors"]] == [{"other": 1}]
    assert sum(minute["failed"] for minute in minutes) == 1
    with api_valkey.client() as redis:
        assert redis.hget("tq:totals", "failed:other") == "1"


def test_the_clients_agree(http: httpx.Client, api_valkey: Valkey) -> None:
    """The store's own client and that of the API give the same history."""
    from tq.client import Client

    http.post("/messages", json={"content": "Hello", "message_id": "gone"})
    http.post("/messages/gone/cancel")
    with LocalClient(Settings(data_dir=api_valkey.folder)) as local, Client(str(http.base_url)) as client:
        near, far = local.history().minutes, client.history().minutes
    assert sum(minute.cancelled for minute in near) == sum(minute.cancelled for minute in far) == 1
    assert {minute.at for minute in near} & {minute.at for minute in far}
