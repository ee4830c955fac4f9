"""What a client that awaits waits for ends with it."""

from __future__ import annotations

import asyncio

import pytest

from tq.errors import ClientClosed
from tq.interruptible import Interruptible


async def test_time_is_kept() -> None:
    """A limit of its own is a timeout; other errors pass as they are."""
    under_way = Interruptible()
    with pytest.raises(TimeoutError):
        async with under_way.within(0.01):
            await asyncio.sleep(60)
    with pytest.raises(LookupError):
        async with under_way.within(60):
            raise LookupError


async def test_close_ends_what_is_under_way() -> None:
    """Pauses, and whatever else: also what fails in another way for it, but not what was cancelled."""
    under_way = Interruptible()

    async def wait(failure: type[BaseException] | None) -> None:
        async with under_way.within(None):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise failure or asyncio.CancelledError from None

    tasks = [asyncio.create_task(wait(failure)) for failure in (None, OSError, None)]
    tasks += [asyncio.create_task(under_way.sleep(60))]
    await asyncio.sleep(0.01)
    tasks[2].cancel()
    under_way.close()
    under_way.close()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [ClientClosed, ClientClosed, asyncio.CancelledError, ClientClosed]


async def test_nothing_begins_after_it() -> None:
    """What is barred goes on, and nothing else begins."""
    under_way = Interruptible()
    task = asyncio.create_task(under_way.sleep(0.1))
    await asyncio.sleep(0.01)
    under_way.bar()
    with pytest.raises(ClientClosed):
        await under_way.sleep(0)
    with pytest.raises(ClientClosed):
        under_way.require_open()
    await task
