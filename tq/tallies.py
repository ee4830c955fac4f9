"""Tallies: what came of attempts and messages, as scripts count it for ever and by the minute.

Both hashes have the same fields (``prelude.lua`` writes them, and says when)::

    <outcome>:<reason>   attempts that ended so; the reason is an error's type slug, or nothing
    ended:<status>       messages that came to an end without an attempt
    leases               leases that ran out
    submitted            messages accepted
    refused:<reason>     messages refused for want of room or money
    throttled            calls that a provider refused with 429
    sent:<JSON>          calls to a provider, by host, key and model: what callers alone name is "other"
    calls:<seconds>      calls to providers that took at most so long, and longer than the bound before
    calls:sum            what they took in all, in ms
    hooks:<outcome>      attempts to deliver a webhook
    b<n>                 completed attempts (by the minute only); n is explained at ``_seconds``
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from tq.errors import ERRORS
from tq.messages import TERMINAL, Count, Status, utc

#: Minutes that a history has.
MINUTES: Final = 60
_MINUTE: Final = 60_000
#: How an attempt ends, and which of these have a reason.
OUTCOMES: Final = ("completed", "failed", "retried", "deferred", "cancelled", "released", "expired")
REASONED: Final = frozenset({"failed", "retried"})
#: What is no attempt at anything: it was put off before something was sent.
_NO_ATTEMPT: Final = "deferred"
OTHER: Final = "other"
_SENT: Final = "sent:"
#: How an attempt to deliver a webhook ends.
HOOK_OUTCOMES: Final = ("delivered", "retried", "failed", "disabled")
#: Upper bounds of the histogram of calls, in seconds.
BOUNDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
_LABELS: Final = (*(f"{bound:g}" for bound in BOUNDS), "+Inf")


class Minute(BaseModel):
    """What happened within one minute; messages that ended, and attempts."""

    model_config = ConfigDict(frozen=True)

    at: datetime = Field(description="When it began.")
    attempts: Count = Field(default=0, description="Attempts that ended, however they did.")
    completed: Count = Field(default=0, description="Messages that were completed.")
    failed: Count = Field(default=0, description="Messages that failed.")
    cancelled: Count = Field(default=0, description="Messages that were cancelled.")
    retried: Count = Field(default=0, description="Attempts that failed and are followed by another.")
    p50: float | None = Field(default=None, description="Seconds that half of the completed attempts took at most.")
    p95: float | None = Field(default=None, description="Seconds that 19 of 20 of them took at most.")
    errors: dict[str, Count] = Field(default_factory=dict, description="Failed and retried attempts, by error type.")


class History(BaseModel):
    """What ``GET /queue/history`` answers: the last hour, oldest minute first, the current one last."""

    model_config = ConfigDict(frozen=True)

    minutes: list[Minute]


@dataclass(frozen=True, slots=True)
class Totals:
    """What was counted since the store was made.

    Attributes:
        attempts: by outcome and reason.
        ended: messages, by the status they ended in.
        expiries: leases that ran out.
        submitted: messages accepted.
        refused: submissions that were not accepted, by reason.
        throttled: calls that a provider refused with 429.
        sent: calls to a provider, by host, key and model.
        calls: calls to providers by bound, each with those below it; the last bound is infinite.
        calls_seconds: what all of them took.
        hooks: attempts to deliver a webhook, by outcome.
    """

    attempts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    ended: Mapping[Status, int] = field(default_factory=dict)
    expiries: int = 0
    submitted: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    throttled: int = 0
    sent: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    calls: Sequence[tuple[str, int]] = ()
    calls_seconds: float = 0.0
    hooks: Mapping[str, int] = field(default_factory=dict)


def slug(kind: str) -> str:
    """An error's type, if it is one of tq's own: a program outside may report any."""
    return kind if kind in ERRORS else OTHER


def encode_calls(seconds: Sequence[float]) -> str:
    """Calls as ``settle.lua`` takes them: what they took in all in ms, then the bound of each; "" without any."""
    if not seconds:
        return ""
    return ",".join([str(round(sum(seconds) * 1000)), *(_LABELS[bisect_left(BOUNDS, each)] for each in seconds)])


def as_totals(record: Mapping[str, str]) -> Totals:
    """What the hash of all times says."""
    counts = {name: int(value) for name, value in record.items()}
    attempts = _attempts(counts)
    calls = [counts.get(f"calls:{label}", 0) for label in _LABELS]
    return Totals(
        attempts=attempts,
        ended={status: _ended(counts, attempts, status) for status in Status if status in TERMINAL},
        expiries=counts.get("leases", 0),
        submitted=counts.get("submitted", 0),
        refused={name: counts.get(f"refused:{name}", 0) for name in ("queue-full", "budget-exceeded")},
        throttled=counts.get("throttled", 0),
        sent=dict(sorted((_place(name), count) for name, count in counts.items() if name.startswith(_SENT))),
        calls=list(zip(_LABELS, accumulate(calls), strict=True)),
        calls_seconds=counts.get("calls:sum", 0) / 1000,
        hooks={name: counts.get(f"hooks:{name}", 0) for name in HOOK_OUTCOMES},
    )


def as_history(now: int, records: Mapping[int, Mapping[str, str]]) -> History:
    """The minutes up to ``now`` (Unix ms), of those that anything was counted in, by number since 1970."""
    last = now // _MINUTE
    return History(minutes=[_minute(number, records.get(number, {})) for number in range(last - MINUTES + 1, last + 1)])


def _minute(number: int, record: Mapping[str, str]) -> Minute:
    counts = {name: int(value) for name, value in record.items()}
    attempts = _attempts(counts)
    errors: dict[str, int] = {}
    for (outcome, reason), count in attempts.items():
        if outcome in REASONED:
            errors[reason] = errors.get(reason, 0) + count
    buckets = sorted((int(name[1:]), count) for name, count in counts.items() if name[:1] == "b" and name[1:].isdigit())
    return Minute(
        at=utc(number * _MINUTE),
        attempts=sum(count for (outcome, _), count in attempts.items() if outcome != _NO_ATTEMPT),
        completed=_ended(counts, attempts, Status.COMPLETED),
        failed=_ended(counts, attempts, Status.FAILED),
        cancelled=_ended(counts, attempts, Status.CANCELLED),
        retried=_sum(attempts, "retried"),
        p50=quantile(buckets, 0.5),
        p95=quantile(buckets, 0.95),
        errors=errors,
    )


def _place(name: str) -> tuple[str, str, str]:
    host, key, model = json.loads(name.removeprefix(_SENT))
    return host, key, model


def _attempts(counts: Mapping[str, int]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for name, count in counts.items():
        outcome, colon, reason = name.partition(":")
        if colon and outcome in OUTCOMES:
            # Another version of tq, before or after this one, may know other slugs.
            key = (outcome, slug(reason) if outcome in REASONED else "")
            found[key] = found.get(key, 0) + count
    return found


def _ended(counts: Mapping[str, int], attempts: Mapping[tuple[str, str], int], status: Status) -> int:
    return counts.get(f"ended:{status}", 0) + _sum(attempts, str(status))


def _sum(attempts: Mapping[tuple[str, str], int], outcome: str) -> int:
    return sum(count for (name, _), count in attempts.items() if name == outcome)


def _seconds(position: float) -> float:
    """What bucket ``n`` ends at: 2 to the power of n/4 ms, so that neighbours are a fifth apart."""
    return float(2 ** (position / 4)) / 1000


def quantile(buckets: Iterable[tuple[int, int]], share: float) -> float | None:
    """What ``share`` of the values do not exceed, in seconds, from their counts by bucket; None without any."""
    ordered = [(number, count) for number, count in buckets if count > 0]
    wanted = share * sum(count for _, count in ordered)
    seen = 0
    for number, count in ordered:
        if seen + count >= wanted:
            return round(_seconds(number - 1 + (wanted - seen) / count), 3)
        seen += count
    return None
