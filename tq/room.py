"""What the store said last of how full it is, and of queues that are paused. Data, no I/O."""

from __future__ import annotations

import time
from math import inf
from typing import Final

#: Seconds for which it is worth repeating.
FRESH: Final = 1.0


class Room:
    """Each submit's answer renews it, whatever that is.

    Args:
        most: how many messages may wait: TQ_MAX_QUEUED.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._queued = 0
        self._heard = -inf
        self._paused: set[str] = set()

    def hear(self, queued: int, queue: str, *, paused: bool) -> None:
        """So many messages wait, and nothing of a queue begins, or it goes on."""
        self._queued, self._heard = queued, time.monotonic()
        (self._paused.add if paused else self._paused.discard)(queue)

    @property
    def left(self) -> int | None:
        """How many more may be submitted; None: nobody has said so just now."""
        if time.monotonic() - self._heard > FRESH:
            return None
        return max(0, self._most - self._queued)

    def is_paused(self, queue: str) -> bool:
        """Whether nothing of a queue began when something was submitted to it last."""
        return queue in self._paused
