"""Whether and when a failed attempt is followed by another. Pure: no clock, no sleep, no global randomness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Final

from tq.errors import AttemptError, TqError

#: Longest wait that a provider's Retry-After is believed, in seconds (a day; jitter comes on top).
MAX_RETRY_AFTER: Final = 86_400.0
#: Part of a Retry-After that may be added at random, so that all who were told the same do not come at once.
_RETRY_AFTER_JITTER: Final = 0.1
#: 2**62 times any base is above every cap; larger powers would only overflow.
_MAX_EXPONENT: Final = 62


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how late to retry; ``base`` and ``max_delay`` are seconds."""

    max_retries: int
    base: float
    max_delay: float


@dataclass(frozen=True, slots=True)
class RetryIn:
    """Try again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not try again, and why."""

    reason: str


def decide(
    error: TqError,
    retries: int,
    policy: RetryPolicy,
    uniform: Callable[[float, float], float],
    *,
    same_error: int | None = None,
) -> RetryIn | GiveUp:
    """What follows after ``error``.

    The wait is exponential with full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture
    Blog, 2015): uniform between 0 and ``min(max_delay, base * 2**retries)``. A Retry-After of the
    provider overrides it, even above the cap, and is never shortened; at most a day is believed. One of
    zero or less says nothing about when, so the backoff holds.

    Args:
        error: what ended the attempt.
        retries: retries that the message has spent already, for whatever reason.
        policy: the limits.
        uniform: a random number between two bounds, such as ``random.uniform``.
        same_error: how many of those retries were for an error of this type: what the type's own limit
            (``max_retries`` of its class) counts. None = unknown, take all of them.
    """
    if not error.retryable:
        return GiveUp(f"{error.type}: another attempt cannot help")
    if retries >= policy.max_retries:
        return GiveUp(f"{error.type}: all {policy.max_retries} retries are spent")
    own_limit = error.max_retries if isinstance(error, AttemptError) else None
    if own_limit is not None and (retries if same_error is None else same_error) >= own_limit:
        return GiveUp(f"{error.type}: retried {own_limit} times with a changed request")
    asked = error.retry_after if isinstance(error, AttemptError) else None
    if asked is not None and isfinite(asked) and asked > 0:
        asked = min(asked, MAX_RETRY_AFTER)
        return RetryIn(asked + uniform(0.0, asked * _RETRY_AFTER_JITTER))
    return RetryIn(uniform(0.0, min(policy.max_delay, policy.base * 2.0 ** min(retries, _MAX_EXPONENT))))
