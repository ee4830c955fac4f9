"""Webhooks that are sent again because somebody asks for it, and how those are found that were given up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from callbacks import ended, state, until
from receiver import Receiver
from servers import Valkey, wait_until

from tq.backend import make_submission
from tq.courier import Courier
from tq.errors import NoCallback, UnknownMessage
from tq.filters import MessageFilter
from tq.messages import Status
from tq.queue import TranslationQueue
from tq.settings import Settings


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody who wants to be called."""
    with Receiver() as found:
        yield found


@pytest.fixture
async def queue(valkey: Valkey, tmp_path: Path) -> AsyncIterator[TranslationQueue]:
    """A queue that may call this machine."""
    assert valkey.socket.exists()
    found = TranslationQueue(Settings(data_dir=tmp_path, callback_private=True, result_ttl=60))
    yield found
    await found.aclose()


async def test_what_was_given_up(queue: TranslationQueue, valkey: Valkey, receiver: Receiver) -> None:
    """It has all its attempts again, under the same id; the message is kept as long as that takes, and no longer."""
    receiver.statuses = [500] * 6
    await ended(queue, receiver.url())
    assert (await until(queue, "failed")).attempts == 3
    sent = (await queue.send_callback("m")).callback
    assert sent is not None
    assert (sent.status, sent.attempts, sent.last_status) == ("pending", 3, 500)
    with valkey.client() as redis:
        assert redis.pttl("tq:message:m") > 86_400_000
    assert (await until(queue, "failed")).attempts == 6
    await queue.send_callback("m")
    found = await until(queue, "delivered")
    assert (found.attempts, found.last_status, found.last_error, found.delivered_at is None) == (7, 204, None, False)
    assert len({got.headers["webhook-id"] for got in receiver.received}) == 1
    with valkey.client() as redis:
        assert 0 < redis.pttl("tq:message:m") <= 60_000
        assert redis.keys("tq:hooks*") == []


@pytest.mark.parametrize(("statuses", "stands"), [([], "delivered"), ([410], "disabled")])
async def test_what_got_lost_behind_its_receiver(
    queue: TranslationQueue, receiver: Receiver, statuses: list[int], stands: str
) -> None:
    """What was delivered, or was not wanted, is sent again if somebody says so."""
    receiver.statuses = statuses
    await ended(queue, receiver.url())
    await until(queue, stands)
    asked = (await queue.send_callback("m")).callback
    assert asked is not None
    assert (asked.status, asked.delivered_at) == ("pending", None)
    assert (await until(queue, "delivered")).attempts == 2
    assert len({got.headers["webhook-id"] for got in receiver.received}) == 1


async def test_what_would_be_sent_later(queue: TranslationQueue, receiver: Receiver) -> None:
    """The pause until its next attempt is cut short."""
    receiver.statuses = [429]
    receiver.headers = {"Retry-After": "3600"}
    await ended(queue, receiver.url())
    courier = asyncio.create_task(Courier(queue, poll=0.02).run())
    async with asyncio.timeout(30):
        while (await state(queue)).last_status != 429:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)
        await queue.send_callback("m")
        while (await state(queue)).status != "delivered":  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)
    courier.cancel()
    await asyncio.gather(courier, return_exceptions=True)
    assert len(receiver.received) == 2


async def test_what_is_under_way_is_sent_once(queue: TranslationQueue, receiver: Receiver) -> None:
    """However often it is asked for meanwhile."""
    go = threading.Event()
    receiver.before = lambda: go.wait(30)
    await ended(queue, receiver.url())
    courier = asyncio.create_task(Courier(queue, poll=0.02).run())
    await asyncio.to_thread(wait_until, lambda: receiver.received, "it is under way")
    for _ in range(3):
        await queue.send_callback("m")
    go.set()
    async with asyncio.timeout(30):
        while (await state(queue)).status != "delivered":  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)
    courier.cancel()
    await asyncio.gather(courier, return_exceptions=True)
    assert len(receiver.received) == 1


async def test_each_life_has_its_own_attempts(queue: TranslationQueue, receiver: Receiver) -> None:
    """A message that is revived after that, and ends again, has all of them, whatever was asked for before."""
    receiver.statuses = [500] * 5
    await queue.submit(make_submission("Hello", to="fr", message_id="m", callback_url=receiver.url()))
    await queue.cancel("m")
    await until(queue, "failed")
    await queue.send_callback("m")
    await queue.retry("m")
    await queue.cancel("m")
    await until(queue, "delivered")
    assert {got.document["type"] for got in receiver.received} == {"message.cancelled"}


async def test_there_is_nothing_to_send(queue: TranslationQueue, receiver: Receiver) -> None:
    """Nobody is to be called, the message has not ended, or there is none."""
    await queue.submit(make_submission("Hello", to="fr", message_id="plain"))
    await queue.submit(make_submission("Hello", to="fr", message_id="m", callback_url=receiver.url()))
    with pytest.raises(NoCallback, match="has no callback_url"):
        await queue.send_callback("plain")
    with pytest.raises(NoCallback, match="is queued"):
        await queue.send_callback("m")
    for unknown in ("nope", "../x"):
        with pytest.raises(UnknownMessage):
            await queue.send_callback(unknown)


async def test_lists_by_how_it_stands(queue: TranslationQueue, receiver: Receiver) -> None:
    """Each message with a webhook is found by its state, and by no other; those without one by none."""
    await queue.submit(make_submission("Hello", to="fr", message_id="plain"))
    await queue.cancel("plain")
    await queue.submit(make_submission("Hello", to="fr", message_id="waiting", callback_url=receiver.url()))
    receiver.statuses = [204, 410, 500, 500, 500]
    for name in ("delivered", "disabled", "failed"):
        await ended(queue, receiver.url(), name)
        await until(queue, name, name)
    await ended(queue, receiver.url(), "pending")
    for name in ("waiting", "pending", "delivered", "disabled", "failed"):
        found, _ = await queue.list(matching=MessageFilter(callback=name))
        assert [message.message_id for message in found] == [name]
    found, _ = await queue.list(Status.CANCELLED, matching=MessageFilter(callback="failed"))
    assert found == []


def test_over_http(http: httpx.Client) -> None:
    """202 with the document, 404, and 409 with a type of its own; the filter takes the states there are."""
    body = {"content": "Hello", "message_id": "m", "callback_url": "https://receiver.invalid/hook/s3cret"}
    assert http.post("/messages", json=body).status_code == 202
    early = http.post("/messages/m/callback")
    assert (early.status_code, early.json()["type"]) == (409, "urn:tq:problem:no-callback")
    assert [each["message_id"] for each in http.get("/messages?callback=waiting").json()["messages"]] == ["m"]
    http.post("/messages/m/cancel").raise_for_status()
    again = http.post("/messages/m/callback")
    assert (again.status_code, again.json()["callback"]["url"]) == (202, "https://receiver.invalid/hook/…")
    assert http.post("/messages/nope/callback").status_code == 404
    assert http.get("/messages?callback=lost").status_code == 422
    assert http.get("/messages?callback=delivered").json()["messages"] == []
