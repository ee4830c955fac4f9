"""Many tasks that each wait for a message, on one stream of changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from copy import copy

from tq.errors import ClientClosed, TqError
from tq.messages import Message
from tq.patience import Deadline, Gathering

_Results = AsyncGenerator[tuple[str, Message | TqError], None]


class Crowd:
    """Who waits for what; belongs to one event loop.

    Args:
        gather: answers what has ended of what is waited for, as it does, until there is no more.
    """

    def __init__(self, gather: Callable[[Gathering], _Results]) -> None:
        self._gather = gather
        self._gathering = Gathering((), None)
        self._waiting: dict[str, set[asyncio.Future[Message]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def wait(self, message_id: str, deadline: Deadline) -> Message:
        """The message once it has ended.

        Raises:
            WaitTimeout: it had not ended at the deadline.
            UnknownMessage: there is none.
            ClientClosed: the client was closed.
        """
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(message_id, set())
        waiting.add(future)
        self._gathering.add(message_id)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="tq-crowd")
        try:
            async with asyncio.timeout(deadline.left):
                return await future
        except TimeoutError:
            missed = deadline.missed(f"message {message_id} has not ended", fix="it goes on: wait for it again")
            missed.message_id = message_id
            raise missed from None
        finally:
            waiting.discard(future)
            if not waiting and self._waiting.get(message_id) is waiting:
                del self._waiting[message_id]
                self._gathering.drop(message_id)

    async def _run(self) -> None:
        failure: Exception = ClientClosed()
        try:
            while self._gathering:  # somebody may have come while the last stream was closed
                async with aclosing(self._gather(self._gathering)) as results:
                    async for message_id, result in results:
                        self._tell(message_id, result)
        except (TqError, ClientClosed) as error:
            failure = error
        finally:
            for message_id in list(self._waiting):
                self._tell(message_id, failure)
                self._gathering.drop(message_id)

    def _tell(self, message_id: str, result: Message | Exception) -> None:
        for future in self._waiting.pop(message_id, ()):
            if future.done():
                continue
            if isinstance(result, TqError):
                error = copy(result)  # each has their own, which is raised in their own place
                error.message_id = message_id
                future.set_exception(error)
            elif isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    async def close(self) -> None:
        """Wait for nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
