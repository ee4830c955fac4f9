"""Messages that have ended and are to be called back about, and how that goes."""

from __future__ import annotations

import asyncio
from typing import Any

from tq.backend import make_submission
from tq.courier import Courier
from tq.messages import Callback, Status
from tq.queue import TranslationQueue

#: So that a test does not wait: a short pause each time, after which it is given up.
SOON = (0.05, 0.05)


async def ended(queue: TranslationQueue, url: str, message_id: str = "m") -> None:
    """A message with a callback that has ended."""
    await queue.submit(make_submission("Hello", to="fr", message_id=message_id, callback_url=url))
    await queue.set_status(message_id, Status.RUNNING)
    await queue.set_status(message_id, Status.COMPLETED, translation="Bonjour")


async def state(queue: TranslationQueue, message_id: str = "m") -> Callback:
    """How it stands."""
    callback = (await queue.get(message_id)).callback
    assert callback is not None
    return callback


async def until(queue: TranslationQueue, status: str, message_id: str = "m", **options: Any) -> Callback:
    """Have a courier work until it stands so."""
    courier = asyncio.create_task(Courier(queue, poll=0.02, delays=SOON, **options).run())
    try:
        async with asyncio.timeout(60):
            while (await state(queue, message_id)).status != status:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.02)
        return await state(queue, message_id)
    finally:
        courier.cancel()
        await asyncio.gather(courier, return_exceptions=True)
