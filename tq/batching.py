"""Batching: what is asked for at the same time, and alike, shares one call.

An incomplete batch waits only while there is reason to: as soon as nothing more is on its way, or its time
is up, it goes as it is. Each who asks gets an answer, or an error, of his own; one who gives up leaves the
others alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

#: Seconds between two looks at whether more is on its way.
_LOOK: Final = 0.02


@dataclass(slots=True)
class _Batch(Generic[T, R]):
    began: float
    size: int = 0
    items: list[tuple[T, asyncio.Future[R]]] = field(default_factory=list)


class Batcher(Generic[T, R]):
    """Collects items into batches and performs these; belongs to one asyncio loop.

    Args:
        perform: does one batch: an answer or an error for each item, in order. What it raises is
            everybody's.
        more: whether more items may come soon; asked while a batch waits.
        most: items in a batch at most.
        largest: sum of the sizes of its items at most (one larger item goes alone).
        wait: seconds that an item waits for others at most.
    """

    def __init__(
        self,
        perform: Callable[[Sequence[T]], Awaitable[Sequence[R | BaseException]]],
        more: Callable[[], Awaitable[bool]],
        *,
        most: int,
        largest: int,
        wait: float,
    ) -> None:
        self._perform = perform
        self._more = more
        self._most = most
        self._largest = largest
        self._wait = wait
        self._open: dict[Hashable, _Batch[T, R]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._watcher: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        """Batches under way."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Items that wait for company."""
        return sum(len(batch.items) for batch in self._open.values())

    async def ask(self, group: Hashable, item: T, size: int) -> R:
        """The answer for one item, which may share a call with others of its group."""
        loop = asyncio.get_running_loop()
        batch = self._open.get(group)
        if batch is not None and batch.size + size > self._largest:
            self._launch(group)
            batch = None
        if batch is None:
            batch = self._open[group] = _Batch(loop.time())
        future: asyncio.Future[R] = loop.create_future()
        batch.items.append((item, future))
        batch.size += size
        if len(batch.items) >= self._most or batch.size >= self._largest:
            self._launch(group)
        elif self._watcher is None or self._watcher.done():
            self._watcher = loop.create_task(self._watch())
        try:
            return await future
        finally:
            if self._open.get(group) is batch and future.cancelled():
                batch.items.remove((item, future))
                batch.size -= size

    async def aclose(self) -> None:
        """Give up what is under way."""
        tasks = [*self._running, *([self._watcher] if self._watcher else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while self._open:
            await asyncio.sleep(_LOOK)
            more = await self._more()
            for group, batch in list(self._open.items()):
                if not more or loop.time() - batch.began >= self._wait:
                    self._launch(group)

    def _launch(self, group: Hashable) -> None:
        batch = self._open.pop(group)
        task = asyncio.get_running_loop().create_task(self._run(batch))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        left = len(batch.items)

        def gone(future: asyncio.Future[R]) -> None:
            nonlocal left
            left -= 1
            if left == 0 and future.cancelled() and not task.done():
                task.cancel()  # nobody waits for it any more

        for _, future in batch.items:
            future.add_done_callback(gone)

    async def _run(self, batch: _Batch[T, R]) -> None:
        items = [(item, future) for item, future in batch.items if not future.done()]
        if not items:
            return
        try:
            answers: Sequence[R | BaseException] = await self._perform([item for item, _ in items])
        except asyncio.CancelledError:
            for _, future in items:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            answers = [error] * len(items)
        for (_, future), answer in zip(items, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)
