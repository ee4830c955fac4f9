"""How long a webhook waits, and its message with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from receiver import Receiver
from servers import Valkey

from tq.backend import make_submission
from tq.courier import Courier
from tq.messages import Callback, Status
from tq.queue import TranslationQueue
from tq.settings import Settings

#: Seconds that an ended message is kept here.
KEPT = 60


@pytest.fixture
async def queue(valkey: Valkey, tmp_path: Path) -> AsyncIterator[TranslationQueue]:
    """A queue that may call this machine."""
    assert valkey.socket.exists()
    found = TranslationQueue(Settings(data_dir=tmp_path, callback_private=True, result_ttl=KEPT))
    yield found
    await found.aclose()


async def attempted(queue: TranslationQueue, url: str) -> Callback:
    """How it stands with the webhook of a completed message once it was sent for the first time."""
    await queue.submit(make_submission("Hello", to="fr", message_id="m", callback_url=url))
    await queue.set_status("m", Status.RUNNING)
    await queue.set_status("m", Status.COMPLETED, translation="Bonjour")
    courier = asyncio.create_task(Courier(queue, poll=0.02).run())
    try:
        async with asyncio.timeout(30):
            while True:
                callback = (await queue.get("m")).callback
                assert callback is not None
                if callback.last_status is not None:
                    return callback
                await asyncio.sleep(0.02)
    finally:
        courier.cancel()
        await asyncio.gather(courier, return_exceptions=True)


async def test_a_receiver_says_when(queue: TranslationQueue, valkey: Valkey) -> None:
    """Retry-After goes before the pause of some seconds; the message outlives TQ_RESULT_TTL until it is told."""
    with Receiver() as receiver, valkey.client() as redis:
        receiver.statuses = [429]
        receiver.headers = {"Retry-After": "900"}
        callback = await attempted(queue, receiver.url())
        assert (callback.status, callback.last_status) == ("pending", 429)
        assert callback.next_attempt_at is not None
        assert 880 < (callback.next_attempt_at - datetime.now(UTC)).total_seconds() < 1000
        assert redis.pttl("tq:message:m") > 86_400_000
        assert len(receiver.received) == 1


async def test_a_message_is_kept_no_longer_than_others_once_it_was_told(
    queue: TranslationQueue, valkey: Valkey
) -> None:
    """From the delivery on TQ_RESULT_TTL counts again, from the message's end."""
    with Receiver() as receiver, valkey.client() as redis:
        assert (await attempted(queue, receiver.url())).status == "delivered"
        assert 0 < redis.pttl("tq:message:m") <= KEPT * 1000
