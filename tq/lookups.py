"""Names of receivers, looked up in threads of their own.

The system's lookup can neither be given up nor awaited, and a name server that does not answer holds it up for half a
minute. Whoever submits chooses the names: some that hang must not stop the webhooks to all others.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Thread
from typing import Final, Literal

#: Lookups under way: of names of which nothing is known, of those that were found when they were asked for last, and of
#: those that took longer than ``SLOW`` seconds.
MOST_NEW: Final = 32
MOST_FOUND: Final = 16
MOST_SLOW: Final = 8
SLOW: Final = 4.0
#: Seconds that a lookup waits for one of these places.
PATIENCE: Final = 2.0
#: Names of which something is remembered.
_MOST_NAMES: Final = 10_000

#: The addresses of a name; runs in a thread.
Ask = Callable[[str], Sequence[str]]


class LookupBusy(Exception):
    """A lookup did not begin: too many are under way."""


def ask_system(host: str) -> Sequence[str]:
    """The addresses of a name in the order to try them, each once.

    Raises:
        OSError: there are none, or nobody who knows answers.
        UnicodeError: it cannot be a name.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


class Lookups:
    """Looks names up, each once at a time however many want it; belongs to one asyncio loop.

    Args:
        ask: what is asked in a thread.
        patience: seconds that a lookup waits to begin.
        slow: seconds after which a name counts as one that holds up others.
    """

    def __init__(self, ask: Ask = ask_system, *, patience: float = PATIENCE, slow: float = SLOW) -> None:
        self._ask = ask
        self._patience = patience
        self._slow = slow
        # What other names do does not concern those that were found, and who hangs again takes no place of a new one.
        self._places = {
            "new": asyncio.Semaphore(MOST_NEW),
            "found": asyncio.Semaphore(MOST_FOUND),
            "slow": asyncio.Semaphore(MOST_SLOW),
        }
        self._known: dict[str, Literal["found", "slow"]] = {}
        self._running: dict[str, asyncio.Task[Sequence[str]]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a name, whatever the port.

        Raises:
            LookupBusy: it did not begin in time.
            OSError, UnicodeError: see ``ask_system``.
        """
        del port
        lookup = self._running.get(host)
        if lookup is None:
            lookup = self._running[host] = asyncio.create_task(self._look_up(host))
            lookup.add_done_callback(lambda done: self._over(host, done))
        # Who gives up leaves it to the others that wait for it, and to those who come.
        return await asyncio.shield(lookup)

    def close(self) -> None:
        """Wait for none of them any more."""
        for lookup in self._running.values():
            lookup.cancel()

    def _over(self, host: str, lookup: asyncio.Task[Sequence[str]]) -> None:
        del self._running[host]
        if not lookup.cancelled():
            lookup.exception()  # nobody may be left to whom it could be raised

    def _remember(self, host: str, what: Literal["found", "slow"] | None) -> None:
        self._known.pop(host, None)
        if what is not None:
            self._known[host] = what
        if len(self._known) > _MOST_NAMES:
            self._known.pop(next(iter(self._known)))

    async def _look_up(self, host: str) -> Sequence[str]:
        places = self._places[self._known.get(host, "new")]
        try:
            async with asyncio.timeout(self._patience):
                await places.acquire()
        except TimeoutError:
            raise LookupBusy from None
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Sequence[str]] = loop.create_future()

        def settle(addresses: Sequence[str], error: Exception | None) -> None:
            places.release()
            slow = time.monotonic() - began > self._slow
            self._remember(host, "slow" if slow else "found" if error is None else None)
            if found.done():
                return
            if error is None:
                found.set_result(addresses)
            else:
                found.set_exception(error)

        def run() -> None:
            addresses: Sequence[str] = ()
            failure: Exception | None = None
            try:
                addresses = self._ask(host)
            except Exception as error:  # noqa: BLE001 - whatever it is, the one who waits must hear of it
                failure = error
            # It may have taken so long that nobody is there any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, addresses, failure)

        # Not of a pool, whose threads the end of the process would wait for.
        thread = Thread(target=run, name="tq-webhook-name", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            places.release()
            raise LookupBusy from error
        return await found
