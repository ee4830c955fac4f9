"""When a crashed service starts again, and when to give up: pure, without clock or sleep."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How long to wait before a crashed service starts again, and when to give up. Seconds.

    Attributes:
        first: wait after the first crash; doubled with each further one.
        ceiling: the longest wait.
        limit: so many crashes within ``window`` are too many.
        window: see ``limit``; a run as long as this makes the next crash a first one.
    """

    first: float = 1.0
    ceiling: float = 30.0
    limit: int = 5
    window: float = 60.0

    def __str__(self) -> str:
        return f"{self.limit} times in {self.window:g} s"


class Restarts:
    """The crashes of one service under a policy; pure: the caller brings the clock."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._crashes: deque[float] = deque(maxlen=policy.limit)
        self._row = 0

    def crashed(self, *, started: float, now: float) -> float | None:
        """Seconds to wait before the next start, None to give up.

        Args:
            started: when the process that crashed was started.
            now: when it crashed, on the same clock.
        """
        policy = self._policy
        self._row = 0 if now - started >= policy.window else self._row
        self._row += 1
        self._crashes.append(now)
        if len(self._crashes) == policy.limit and now - self._crashes[0] <= policy.window:
            return None
        return min(policy.ceiling, policy.first * 2.0 ** (self._row - 1))
