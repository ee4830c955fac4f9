"""Both clients of the API behind one face, so that what is said of them is tested once."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any, Self

from tq.async_client import AsyncClient


class Awaited:
    """``tq.AsyncClient`` for callers that block: every verb is awaited on a loop of its own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        try:
            self._client: AsyncClient = self._runner.run(_made(*args, **options))
        except BaseException:
            self._runner.close()
            raise

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._client, verb)

        def call(*args: Any, **options: Any) -> Any:
            result = method(*args, **options)
            answer = self._runner.run(_await(result)) if inspect.isawaitable(result) else result
            return AwaitedItems(self._runner, answer) if isinstance(answer, AsyncIterator) else answer

        return call

    def close(self) -> None:
        """Close it and its loop; nothing may be left that still runs there."""
        left = self._runner.run(_closed(self._client))
        self._runner.close()
        assert not left, f"tasks are left: {left}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AwaitedItems(Iterator[Any]):
    """An async iterator for callers that block."""

    def __init__(self, runner: asyncio.Runner, items: Any) -> None:
        self._runner = runner
        self._items = items

    def __next__(self) -> Any:
        try:
            return self._runner.run(_await(anext(self._items)))
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Let go of the connection."""
        end = getattr(self._items, "aclose", None) or self._items.close
        self._runner.run(_await(end()))


async def _made(*args: Any, **options: Any) -> AsyncClient:
    return AsyncClient(*args, **options)


async def _await(result: Awaitable[Any]) -> Any:
    return await result


async def _closed(client: AsyncClient) -> set[str]:
    await client.close()
    return {str(task) for task in asyncio.all_tasks() - {asyncio.current_task()}}
