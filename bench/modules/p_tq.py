"""tq: its own worker; texts are submitted on the store itself, as the other queues' are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from work import text

from tq.messages import Submission
from tq.queue import TranslationQueue


def _submission(number: int) -> Submission:
    return Submission(
        content=text(number),
        message_id=f"n{number}",
        priority=int(os.environ.get("BENCH_PRIORITY", "0")),
        metadata={"source_language": "en", "target_language": "fr"},
    )


async def opened() -> Any:
    """What sends."""
    return TranslationQueue()


async def send(queue: TranslationQueue, number: int) -> None:
    """Queue one."""
    await queue.submit(_submission(number))


async def send_many(queue: TranslationQueue, numbers: Sequence[int]) -> None:
    """Queue many."""
    for start in range(0, len(numbers), 1000):
        await queue.submit_many([_submission(number) for number in numbers[start : start + 1000]])
    await queue.publisher.flush()
