"""The body of a request on its way in: within its time, counted, and not read on for ever."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from starlette.types import Message, Receive, Send

from tq.errors import Overloaded, RequestTimeout
from tq.limits import Limits

#: Seconds, and bytes, that the unread rest of a body gets before the answer: a small one has arrived
#: already, and its connection can be kept.
_GLANCE: Final = 0.05
_GLANCE_BYTES: Final = 64 * 1024


class Room:
    """The memory that all bodies share.

    Args:
        size: in bytes.
    """

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, size: int) -> None:
        """Have ``size`` bytes less.

        Raises:
            Overloaded: there are not that many; none is taken.
        """
        if size > self._left:
            raise Overloaded(
                "the API holds as many request bodies as it may", fix="submit again in a moment, or less at once"
            )
        self._left -= size

    def give_back(self, size: int) -> None:
        """Have them again."""
        self._left += size


class Upload:
    """Stands between an application and the server, for one request that has a body.

    Args:
        receive: the server's.
        send: the server's.
        limits: how long the body may take.
        room: what it takes its bytes from.
        expects: whether the client waits for ``100 Continue`` before it sends anything (RFC 9110, 10.1.1).
    """

    def __init__(self, receive: Receive, send: Send, limits: Limits, room: Room, *, expects: bool) -> None:
        self._receive = receive
        self._send = send
        self._limits = limits
        self._room = room
        self._silent = expects
        self._done = False
        self._late = False
        self._taken = 0
        self._deadline = 0.0

    async def receive(self) -> Message:
        """The application's ``receive``.

        Raises:
            RequestTimeout: the body comes too slowly.
            Overloaded: there is no room for it.
        """
        if self._done:
            return await self._receive()
        self._silent = False
        self._deadline = self._deadline or asyncio.get_running_loop().time() + self._limits.body
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._next()
        except TimeoutError:
            self._late = True
            raise RequestTimeout(
                "the body of the request did not arrive in time",
                why=f"it has {self._limits.body:g} s, and one more for each {self._limits.rate} bytes",
                fix="send it faster, or submit less at once",
            ) from None
        size = len(message.get("body", b""))
        self._deadline += size / self._limits.rate
        self._room.take(size)
        self._taken += size
        return message

    async def send(self, message: Message) -> None:
        """The application's ``send``: an answer to half a body is the last one of its connection."""
        if message["type"] == "http.response.start" and not self._done:
            if not self._late:
                await self._drop(_GLANCE, _GLANCE_BYTES)
            if not self._done:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        elif not message.get("more_body", False) and not self._done and not self._late:
            # Closed with data unread, the connection would be reset, and the answer lost on its way.
            await self._send({**message, "more_body": True})
            self.close()
            message = {"type": "http.response.body"}
            try:
                await self._drop(self._limits.linger)
            finally:
                await self._send(message)
            return
        await self._send(message)

    def close(self) -> None:
        """The request is answered: nobody needs its body any more."""
        self._room.give_back(self._taken)
        self._taken = 0

    async def _next(self) -> Message:
        message = await self._receive()
        self._done = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def _drop(self, seconds: float, most: float = float("inf")) -> None:
        """Read on, and keep nothing. A client that waits to be asked for its body is not asked."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while most > 0 and not self._done and not self._silent:
                    most -= len((await self._next()).get("body", b""))
