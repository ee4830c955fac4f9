"""Batching: company where there is any, no waiting where there is none, an answer for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tq.batching import Batcher


class Calls:
    """Performs batches of numbers by doubling them; keeps what was asked, and can be held up."""

    def __init__(self, *, more: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.more = more
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled = 0

    async def perform(self, items: Sequence[int]) -> Sequence[int | BaseException]:
        """Twice each number; negative ones fail by themselves, 0 fails for all."""
        self.batches.append(list(items))
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if 0 in items:
            raise ValueError("zero")
        return [ValueError("negative") if item < 0 else 2 * item for item in items]

    async def more_comes(self) -> bool:
        """What the test says."""
        return self.more

    def batcher(self, *, most: int = 3, largest: int = 100, wait: float = 30) -> Batcher[int, int]:
        """Over these calls."""
        return Batcher(self.perform, self.more_comes, most=most, largest=largest, wait=wait)


async def until(true: Callable[[], bool]) -> None:
    """Let the loop turn until it is."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for is behind the batcher's interface
            await asyncio.sleep(0)


async def test_full_batches_go_at_once() -> None:
    """As many as may share a call do, in the order in which they came, and each gets its own answer."""
    calls = Calls(more=True)
    batcher = calls.batcher()
    assert await asyncio.gather(*(batcher.ask("g", n, 1) for n in range(1, 7))) == [2, 4, 6, 8, 10, 12]
    assert calls.batches == [[1, 2, 3], [4, 5, 6]]


async def test_nobody_waits_for_nothing() -> None:
    """When nothing more is on its way, an incomplete batch goes."""
    calls = Calls(more=False)
    async with asyncio.timeout(5):
        assert await calls.batcher().ask("g", 1, 1) == 2


async def test_waiting_ends() -> None:
    """While more is on its way an incomplete batch waits, but not for longer than it may."""
    calls = Calls(more=True)
    async with asyncio.timeout(5):
        assert await calls.batcher(wait=0.1).ask("g", 1, 1) == 2


async def test_groups_do_not_mix() -> None:
    """Only what is asked for alike shares a call."""
    calls = Calls()
    batcher = calls.batcher()
    assert await asyncio.gather(*(batcher.ask(f"g{n % 2}", n, 1) for n in range(1, 5))) == [2, 4, 6, 8]
    assert sorted(calls.batches) == [[1, 3], [2, 4]]


async def test_size_is_bounded() -> None:
    """A batch is not larger than it may be; what is too large by itself goes alone."""
    calls = Calls()
    batcher = calls.batcher(largest=10)
    sizes = {1: 6, 2: 6, 3: 20, 4: 1}
    await asyncio.gather(*(batcher.ask("g", n, size) for n, size in sizes.items()))
    assert sorted(calls.batches) == [[1], [2], [3], [4]]


async def test_errors_are_each_ones_own() -> None:
    """An item's error is for who asked for it; one of the whole call is for all."""
    calls = Calls()
    batcher = calls.batcher()
    one, bad, two = await asyncio.gather(
        batcher.ask("a", 1, 1), batcher.ask("a", -1, 1), batcher.ask("a", 2, 1), return_exceptions=True
    )
    assert (one, two) == (2, 4)
    assert isinstance(bad, ValueError)
    failed = await asyncio.gather(batcher.ask("b", 0, 1), batcher.ask("b", 1, 1), return_exceptions=True)
    assert [str(error) for error in failed] == ["zero", "zero"]


async def test_who_gives_up_leaves_the_others_alone() -> None:
    """One that is cancelled takes nobody along; when all are, the call ends too."""
    calls = Calls(more=True)
    batcher = calls.batcher()
    waiting = asyncio.create_task(batcher.ask("g", 1, 1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert batcher.waiting == 0
    calls.gate.clear()
    tasks = [asyncio.create_task(batcher.ask("g", n, 1)) for n in (2, 3, 4)]
    await until(lambda: bool(calls.batches))
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    calls.gate.set()
    assert await asyncio.gather(*tasks[1:]) == [6, 8]
    assert calls.batches == [[2, 3, 4]]
    calls.gate.clear()
    tasks = [asyncio.create_task(batcher.ask("g", n, 1)) for n in (5, 6, 7)]
    await until(lambda: len(calls.batches) == 2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: not batcher.running)
    assert calls.cancelled == 1
