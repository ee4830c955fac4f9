"""A rate limit as providers have them, for the stand-in LLM server. Pure: the clock is the caller's."""

from __future__ import annotations

from math import ceil
from typing import Literal


class LimitPolicy:
    """So many requests and tokens a minute, and the headers about them.

    Args:
        requests: a minute; None = any number.
        tokens: a minute; None = any number.
        burst: requests that a full bucket holds; None = a minute's worth. Tokens in proportion.
        kind: ``bucket`` fills evenly, and is told as OpenAI does; ``window`` = so many in each minute that begins
            with its first request, told as the IETF's draft has it.
        headers: whether the limits are told.
        retry_after: whether a refusal says when to come again.
        period: seconds of a "minute", so that a test of windows need not last one.
    """

    def __init__(
        self,
        requests: int | None = 600,
        tokens: int | None = None,
        *,
        burst: int | None = None,
        kind: Literal["bucket", "window"] = "bucket",
        headers: bool = True,
        retry_after: bool = True,
        period: float = 60.0,
    ) -> None:
        share = 1.0 if burst is None or requests is None else burst / requests
        self._limits = {"requests": requests, "tokens": tokens}
        self._sizes = {name: limit * share for name, limit in self._limits.items() if limit is not None}
        self._rates = {name: limit / period for name, limit in self._limits.items() if limit is not None}
        self._levels = dict(self._sizes)
        self._window = kind == "window"
        self._period = period
        self._at: float | None = None
        self._headers = headers
        self._retry_after = retry_after
        self.admitted = self.refused = 0

    def admit(self, now: float, tokens: int = 0) -> tuple[bool, dict[str, str]]:
        """Whether a request of so many tokens is served at ``now`` (seconds), and the headers of the answer."""
        self._fill(now)
        wanted = {name: float(tokens if name == "tokens" else 1) for name in self._levels}
        good = all(self._levels[name] >= amount - 1e-9 for name, amount in wanted.items())
        if good:
            self.admitted += 1
            for name, amount in wanted.items():
                self._levels[name] -= amount
        else:
            self.refused += 1
        headers = self._told(now) if self._headers else {}
        if not good and self._retry_after:
            wait = max(self._until(name, amount, now) for name, amount in wanted.items())
            headers |= {"Retry-After": str(ceil(wait))}
        return good, headers

    def _fill(self, now: float) -> None:
        if self._at is None:
            self._at = now
        if not self._window:
            for name, size in self._sizes.items():
                self._levels[name] = min(size, self._levels[name] + (now - self._at) * self._rates[name])
            self._at = now
        elif now - self._at >= self._period:
            self._levels, self._at = dict(self._sizes), now

    def _until(self, name: str, amount: float, now: float) -> float:
        """Seconds until there are so many."""
        missing = amount - self._levels[name]
        if self._window:
            return self._period - (now - (self._at or 0)) if missing > 0 else 0.0
        return max(0.0, missing / self._rates[name])

    def _told(self, now: float) -> dict[str, str]:
        if self._window:
            left, reset = int(self._levels["requests"]), ceil(self._period - (now - (self._at or 0)))
            policy = f'"each";q={self._limits["requests"]};w={ceil(self._period)}'
            return {"RateLimit-Policy": policy, "RateLimit": f'"each";r={left};t={reset}'}
        headers = {}
        for name, level in self._levels.items():
            headers[f"x-ratelimit-limit-{name}"] = str(self._limits[name])
            headers[f"x-ratelimit-remaining-{name}"] = str(int(level))
            headers[f"x-ratelimit-reset-{name}"] = _duration(self._until(name, self._sizes[name], now))
        return headers


def _duration(seconds: float) -> str:
    """As OpenAI writes it: ``6m0s``, ``1.5s``, ``20ms``."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:.3g}s" if minutes else f"{rest:.3g}s"
