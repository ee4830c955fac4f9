"""How long messages have been on their way, whatever they are doing: what tells a provider that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Valkey

from tq.backend import make_submission
from tq.messages import Status
from tq.queue import TranslationQueue
from tq.settings import Settings

#: Milliseconds of the stall that nobody was told of, and the seconds that at least are to be seen of it.
LONG = 14 * 60 * 1000
SEEN = LONG / 1000 - 1


@pytest.fixture
async def queue(valkey: Valkey, tmp_path: Path) -> AsyncIterator[TranslationQueue]:
    """A queue without workers."""
    assert valkey.socket.exists()
    found = TranslationQueue(Settings(data_dir=tmp_path))
    yield found
    await found.aclose()


@pytest.fixture
def raw(valkey: Valkey) -> Iterator[Any]:
    """Redis itself."""
    with valkey.client() as client:
        yield client


async def refused(queue: TranslationQueue, number: int) -> None:
    """An attempt that the provider refuses; its retry is due at once, and queued."""
    claim = await queue.store.claim("m", f"w#{number}")
    assert claim is not None
    error = '{"type": "rate-limited", "message": "x", "retryable": true}'
    assert await queue.store.settle(
        "m",
        claim.epoch,
        Status.RETRYING,
        fields={"error": error},
        delay=0,
        info="rate-limited",
        deferred=number % 2 == 0,
    )
    assert await queue.requeue_due() == 1


async def test_a_retry_is_no_new_beginning(queue: TranslationQueue, raw: Any) -> None:
    """Each retry begins to wait anew, which hides a stall; since when it has been on its way, none of them changes."""
    await queue.submit(make_submission("Hello", to="fr", message_id="m", priority=9))
    await queue.submit(make_submission("Hello", to="fr", message_id="other", priority=0))
    began = raw.zscore("tq:open:high_priority", "m") - LONG
    raw.zadd("tq:open:high_priority", {"m": began})
    for number in range(1, 4):
        await refused(queue, number)
        stats = await queue.stats()
        assert stats.oldest_wait < 60
        assert SEEN < stats.oldest_unfinished < SEEN + 120
        assert stats.oldest_unfinished_by_queue["high_priority"] == stats.oldest_unfinished
        assert stats.oldest_unfinished_by_queue["default"] < 60
    assert raw.zscore("tq:open:high_priority", "m") == began
    await queue.pause("high_priority")
    await queue.resume("high_priority")
    await queue.set_status("m", Status.RUNNING)
    assert raw.zscore("tq:open:high_priority", "m") == began


async def test_quarantine_hides_nobody(queue: TranslationQueue, raw: Any) -> None:
    """Who waits for a message does not know that it is apart: it stays where its priority belongs."""
    await queue.submit(make_submission("Hello", to="fr", message_id="m", priority=9))
    for number in range(2):
        assert await queue.store.claim("m", f"dead#{number}")
        raw.zadd("tq:leases", {"m": 1})
        await queue.requeue_due()
    assert (await queue.get("m")).queue == "quarantine"
    assert raw.zrange("tq:open:high_priority", 0, -1) == ["m"]


async def test_a_lease_that_ran_out_is_logged(
    queue: TranslationQueue, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Which message, which attempt, and who had it; once, and a retry that is due is none of that."""
    caplog.set_level("INFO", logger="tq.queue")
    await queue.submit(make_submission("Hello", to="fr", message_id="m", priority=9))
    await queue.submit(make_submission("Hello", to="fr", message_id="outside"))
    await refused(queue, 1)
    await queue.set_status("outside", Status.RUNNING)
    assert await queue.store.claim("m", "host:7:abc#1")
    raw.zadd("tq:leases", {"m": 1, "outside": 1})
    assert await queue.requeue_due() == 2
    assert await queue.requeue_due() == 0
    found = {record.fields["message_id"]: record for record in caplog.records if hasattr(record, "fields")}
    assert len(caplog.records) == len(found) == 2
    common = {"status": "queued"}
    assert found["m"].fields == common | {
        "message_id": "m", "attempt": 2, "queue": "high_priority", "process": "host:7:abc"
    }  # fmt: skip
    assert found["outside"].fields == common | {
        "message_id": "outside", "attempt": 1, "queue": "default", "process": "outside"
    }  # fmt: skip
    assert {record.levelname for record in found.values()} == {"INFO"}


@pytest.mark.parametrize("end", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
async def test_an_end_ends_it(queue: TranslationQueue, raw: Any, end: Status) -> None:
    """However a message ends, it is not unfinished any more; when it is tried again, it has just begun."""
    await queue.submit(make_submission("Hello", to="fr", message_id="m"))
    began = raw.zscore("tq:open:default", "m") - LONG
    raw.zadd("tq:open:default", {"m": began})
    await queue.set_status("m", Status.RUNNING)
    translation = "Bonjour" if end is Status.COMPLETED else None
    await queue.set_status("m", end, translation=translation, error="no luck" if end is Status.FAILED else None)
    stats = await queue.stats()
    assert (stats.oldest_unfinished, stats.oldest_unfinished_by_queue) == (0, {"high_priority": 0, "default": 0})
    assert raw.keys("tq:open:*") == []
    if end is not Status.COMPLETED:
        await queue.retry("m")
        assert raw.zscore("tq:open:default", "m") >= began + LONG
        assert (await queue.stats()).oldest_unfinished < 60


async def test_what_left_without_a_word(queue: TranslationQueue, raw: Any) -> None:
    """Keys that somebody deleted, and the end that a worker of an older version wrote: no alarm for ever."""
    for name in ("deleted", "ended-by-an-older-one", "there"):
        await queue.submit(make_submission("Hello", to="fr", message_id=name))
    raw.delete("tq:message:deleted")
    raw.hset("tq:message:ended-by-an-older-one", "status", "completed")
    await queue.requeue_due()
    assert raw.zrange("tq:open:default", 0, -1) == ["there"]
