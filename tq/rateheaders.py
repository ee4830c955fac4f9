"""What the headers of an answer say about a provider's rate limits. Pure; the headers may be anything.

Read are the names of OpenAI (and of most who follow it), Anthropic, Mistral, Cerebras and the drafts of the
IETF (draft-ietf-httpapi-ratelimit-headers, old and new form). None of them says of what kind a limit is, so
that is inferred: from a bucket that fills evenly, ``used`` tokens are back after ``used / rate``; a limit
that takes longer begins anew as a whole, at a fixed moment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal

Dimension = Literal["requests", "tokens"]

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
#: Above it a limit is none, and sums might overflow.
_MOST: Final = 10**9
#: Seconds that a reset may be off: most are rounded to whole ones.
_ROUNDING: Final = 1.5
#: Part by which the time to fill a bucket may differ from the one computed.
_TOLERANCE: Final = 0.4
#: Calls from which the time that a bucket takes to fill tells of a period longer than a minute.
_TELLING: Final = 5

_PERIODS: Final = (("-minute", _MINUTE), ("-hour", _HOUR), ("-day", _DAY))
_NUMBER: Final = re.compile(r"\s{0,8}(\d{1,18})(?:\.\d{1,18})?(?=[\s,;]|\Z)", re.ASCII)
_WINDOW: Final = re.compile(r";\s{0,4}w=(\d{1,9})", re.ASCII)
_DURATION: Final = re.compile(
    r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m(?!s))?(?:(\d{1,9}(?:\.\d{1,12})?)s)?(?:(\d{1,12}(?:\.\d{1,12})?)ms)?",
    re.ASCII,
)
_SECONDS: Final = (_DAY, _HOUR, _MINUTE, 1.0, 0.001)
_PLAIN: Final = re.compile(r"\d{1,15}(?:\.\d{1,12})?", re.ASCII)
_LONGEST_VALUE: Final = 200


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit as an answer shows it.

    Attributes:
        limit: requests or tokens in ``period``.
        remaining: how many of them are left.
        period: seconds.
        reset: seconds until all of them are there again; None = not said.
        kind: ``fixed`` = all come back at ``reset``; ``rolling`` = they do so evenly; "" = it may be either.
    """

    limit: int
    remaining: int
    period: float = _MINUTE
    reset: float | None = None
    kind: Literal["fixed", "rolling", ""] = ""


def quotas(headers: Mapping[str, str], now: float) -> dict[Dimension, Quota]:
    """The limits that an answer tells of; empty for most endpoints, and for headers that make no sense.

    Args:
        headers: of the answer, names in lower case (or a mapping that does not mind).
        now: Unix time, for answers without a Date.
    """
    told = {
        name: value
        for name, value in headers.items()
        if "ratelimit" in name.lower() and len(name) + len(value) <= _LONGEST_VALUE
    }
    if not told:
        return {}
    told = {name.lower(): value for name, value in told.items()}
    sent = _date(headers.get("date", ""))
    found = {
        "requests": _first(told, ("requests", "req"), now if sent is None else sent)
        or _structured(told)
        or _classic(told, now if sent is None else sent),
        "tokens": _first(told, ("tokens",), now if sent is None else sent),
    }
    dimensions: tuple[Dimension, ...] = ("requests", "tokens")
    return {name: quota for name in dimensions if (quota := found[name]) is not None}


def _first(told: Mapping[str, str], nouns: tuple[str, ...], sent: float) -> Quota | None:
    for noun in nouns:
        for suffix, period in (("", None), *_PERIODS):
            names = [f"x-ratelimit-{part}-{noun}{suffix}" for part in ("limit", "remaining", "reset")]
            if (quota := _quota([told.get(name, "") for name in names], period, sent)) is not None:
                return quota
        names = [f"anthropic-ratelimit-{noun}-{part}" for part in ("limit", "remaining", "reset")]
        if (quota := _quota([told.get(name, "") for name in names], None, sent)) is not None:
            return quota
    return None


def _classic(told: Mapping[str, str], sent: float) -> Quota | None:
    """``RateLimit-Limit: 100, 100;w=60`` and its two companions, with or without ``X-``."""
    for prefix in ("ratelimit-", "x-ratelimit-"):
        values = [told.get(prefix + part, "") for part in ("limit", "remaining", "reset")]
        window = _WINDOW.search(values[0])
        if (quota := _quota(values, float(window[1]) if window else None, sent)) is not None:
            return quota
    return None


def _structured(told: Mapping[str, str]) -> Quota | None:
    """``RateLimit: "name";r=50;t=30`` with its ``RateLimit-Policy: "name";q=100;w=60``; the fullest policy of several.

    Or, of a draft between: ``RateLimit: limit=100, remaining=50, reset=30``.
    """
    state, policies = told.get("ratelimit", ""), {}
    for item in told.get("ratelimit-policy", "").split(","):
        name, _, parameters = item.partition(";")
        policies[name.strip(' "')] = _parameters(parameters, ";")
    if "limit=" in state:
        values = _parameters(state, ",")
        return _quota([values.get(part, "") for part in ("limit", "remaining", "reset")], None, 0.0)
    found = []
    for item in state.split(","):
        name, _, parameters = item.partition(";")
        policy, values = policies.get(name.strip(' "'), {}), _parameters(parameters, ";")
        if policy.get("qu", '"requests"').strip('"') == "requests":
            window = _number(policy.get("w", ""))
            quota = _quota([policy.get("q", ""), values.get("r", ""), values.get("t", "")], window, 0.0)
            found += [quota] if quota else []
    return min(found, key=lambda quota: quota.remaining / quota.limit, default=None)


def _parameters(text: str, separator: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(separator))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _quota(values: list[str], period: float | None, sent: float) -> Quota | None:
    limit, remaining = _number(values[0]), _number(values[1])
    # Some say 0 where there is no limit.
    if limit is None or remaining is None or not 1 <= limit <= _MOST:
        return None
    if period is not None and not 1 <= period <= 31 * _DAY:
        period = None
    left = min(remaining, limit)
    reset = _reset(values[2], sent)
    if reset is None:
        return Quota(int(limit), int(left), period or _MINUTE)
    return _judged(int(limit), int(left), period, reset)


def _judged(limit: int, left: int, period: float | None, reset: float) -> Quota:
    used = limit - left

    def fills_in(period: float) -> float:
        return used * period / limit

    if period is None and used >= _TELLING:
        # Groq shows a daily limit like this, and fills it evenly.
        wanted = fills_in(_DAY)
        if abs(reset - wanted) <= wanted * _TOLERANCE * 0.75:
            return Quota(limit, left, _DAY, reset, "rolling")
    if reset > fills_in(period or _MINUTE) * (1 + _TOLERANCE) + _ROUNDING:
        if period is None:
            period = next((p for p in (_MINUTE, _HOUR) if reset <= p + 1), _DAY)
        return Quota(limit, left, period, reset, "fixed")
    return Quota(limit, left, period or _MINUTE, reset)


def _number(text: str) -> float | None:
    match = _NUMBER.match(text)
    return float(match[1]) if match else None


def _reset(text: str, sent: float) -> float | None:
    """Seconds, from ``6m0s``, ``20ms``, ``1.5``, Unix time in seconds or milliseconds, RFC 3339, or an HTTP date."""
    text = text.strip()
    if not text or len(text) > 64:
        return None
    if _PLAIN.fullmatch(text):
        seconds = float(text)
        if seconds >= 1e11:
            seconds = seconds / 1000 - sent
        elif seconds >= 1e9:
            seconds -= sent
    elif match := _DURATION.fullmatch(text):
        seconds = sum(float(part) * unit for part, unit in zip(match.groups(), _SECONDS, strict=True) if part)
    else:
        until = _moment(text)
        if until is None:
            return None
        seconds = until - sent
    return min(max(seconds, 0.0), _DAY)


def _moment(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return _date(text)


def _date(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=date.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
