"""The heartbeat: a thread and a loop of its own, so that a busy process does not lose its leases."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from tq.errors import TqError
from tq.settings import Settings
from tq.store import open_store

logger = logging.getLogger(__name__)

#: Seconds between two heartbeats at most, for they also bring news of cancelled messages.
_LONGEST_BEAT: Final = 5.0


class Heart:
    """A thread that prolongs this process's leases every TQ_LEASE / 3 or 5 s, and says that it lives.

    Args:
        settings: for the store and the lease.
        name: of the process.
        leases: what runs now, as (id, epoch).
        on_lost: called with id, epoch and the status found, for each that is not ours any more.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        leases: Callable[[], list[tuple[str, int]]],
        on_lost: Callable[[str, int, str], None],
    ) -> None:
        self._settings = settings
        self._name = name
        self._leases = leases
        self._on_lost = on_lost
        self._describe: Callable[[], dict[str, Any]] | None = None
        #: Since when it is to leave the list.
        self._lost: float | None = None
        self._patience = 0.0
        self._stopping = False
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, if it does not beat yet."""
        if self._thread is None:
            self._thread = threading.Thread(target=lambda: asyncio.run(self._beat()), name="tq-heart", daemon=True)
            self._thread.start()

    def announce(self, describe: Callable[[], dict[str, Any]]) -> None:
        """Put this process into the list of live workers; ``describe`` makes a ``WorkerInfo`` but for its time."""
        self._describe, self._lost = describe, None
        self.start()
        self._wake.set()

    def unlist(self, patience: float = 0.0) -> None:
        """Leave the list of live workers, but keep the leases: this process takes nothing new.

        Args:
            patience: seconds in which it may be announced again and has never left, while the store answers.
        """
        self._patience, self._lost = patience, time.monotonic()
        self._wake.set()

    def _leaves(self, failed: float) -> bool:
        lost = self._lost
        return lost is not None and time.monotonic() >= max(lost, failed) + self._patience

    def stop(self) -> None:
        """End; waits a moment for the last beat."""
        self._stopping = True
        self.unlist()
        if self._thread is not None:
            self._thread.join(timeout=5)

    async def _beat(self) -> None:
        store = open_store(self._settings)
        interval, down, listed = min(self._settings.lease / 3, _LONGEST_BEAT), False, False
        failed = -math.inf
        while True:
            stopping, leases = self._stopping, self._leases()
            describe = None if self._leaves(failed) else self._describe
            lost: dict[str, str] = {}
            try:
                if listed and describe is None:
                    await store.forget_worker(self._name)
                lost = await store.heartbeat(self._name, describe() if describe else None, leases)
                down, listed = False, describe is not None
            except Exception as error:  # noqa: BLE001 - a heart that stops would lose every lease silently
                if not down:
                    logger.warning("no heartbeat: %s", error if isinstance(error, TqError) else type(error).__name__)
                down, failed = True, time.monotonic()
            for message_id, epoch in leases:
                if message_id in lost:
                    self._on_lost(message_id, epoch, lost[message_id])
            if stopping:
                break
            await asyncio.to_thread(self._wake.wait, min(interval, 1.0) if down else interval)
            self._wake.clear()
        await store.aclose()
