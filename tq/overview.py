"""How things stand, as the page shows it: services, what waits, the last hour, limits and budgets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tq import __version__
from tq.charts import charts_of
from tq.errors import TqError
from tq.figures import AccountSpend, RateInfo, Spend, Stats
from tq.layout import money, span
from tq.messages import MAX_PRIORITY, MIN_PRIORITY, QUARANTINE, QUEUES, get_queue_for_priority
from tq.probe import Probe
from tq.queue import TranslationQueue

#: Seconds that an answer of the broker is believed: the page asks again and again.
_BELIEVED: Final = 5.0
#: Limits and accounts that are shown one by one.
_SHOWN: Final = 5
#: Of a budget: from here on it is said that it comes to its end.
_NEARLY: Final = 0.8


@dataclass(frozen=True, slots=True)
class Service:
    """A part of the whole: ``state`` is ``good``, ``warn`` or ``bad``."""

    name: str
    state: str
    said: str


@dataclass(frozen=True, slots=True)
class Level:
    """What waits at one priority; ``share`` is that of the highest bar, in percent."""

    name: str
    queue: str
    queued: int
    oldest: float
    share: float


@dataclass(frozen=True, slots=True)
class Account:
    """What a key has spent today.

    Attributes:
        name: of the key.
        tokens: that it used.
        cost: of those, in words.
        priced: whether all or some of them have a price.
        share: of its budget, in percent, 100 at most; None without one.
        state: ``good``, ``warn`` or ``bad``.
    """

    name: str
    tokens: int
    cost: str
    priced: bool
    share: float | None
    state: str


async def look(queue: TranslationQueue, probe: Probe) -> dict[str, Any]:
    """What ``overview.html`` shows."""
    try:
        stats, history, trouble = await asyncio.gather(queue.stats(), queue.history(), probe.trouble(age=_BELIEVED))
    except TqError as error:
        return {"trouble": error, "title": "not connected"}
    spend = stats.spend
    accounts = [_account(each, spend) for each in spend.accounts]
    return {
        "trouble": None,
        "title": _title(stats, trouble),
        "broker_trouble": trouble,
        "provider": queue.settings.provider_name,
        "stats": stats,
        "busy": sum(worker.slots for worker in stats.workers),
        "services": _services(stats, trouble, queue),
        "queues": [name for name in (*QUEUES, QUARANTINE) if name in QUEUES or _concerns(name, stats)],
        "levels": _levels(stats),
        "charts": charts_of(history.minutes, stats.throughput["completed"]),
        "hour_began": history.minutes[0].at.isoformat(),
        "rates": _by_need(stats.rates)[:_SHOWN],
        "more_rates": max(0, len(stats.rates) - _SHOWN),
        "total": _account(spend.total, spend),
        "accounts": accounts[:_SHOWN] if spend.budget or len(accounts) > 1 else [],
        "spent_out": [account.name for account in accounts if account.state == "bad"],
        "until_midnight": span(_until_midnight(datetime.now(UTC))),
        "version": __version__,
    }


def _title(stats: Stats, trouble: str) -> str:
    if trouble:
        return "broker down"
    if not stats.workers:
        return "no worker"
    return "paused" if stats.paused else ""


def _services(stats: Stats, trouble: str, queue: TranslationQueue) -> list[Service]:
    settings = queue.settings
    found = [Service("Redis", "good", "embedded" if settings.embedded else settings.store_name)]
    if settings.broker_url is not None:
        found.append(Service("Broker", "bad" if trouble else "good", "out of reach" if trouble else "connected"))
    found.append(Service("API", "good", __version__))
    others = sorted({worker.version for worker in stats.workers} - {__version__})
    slots = sum(worker.slots for worker in stats.workers)
    if not stats.workers:
        found.append(Service("Workers", "bad", "none"))
    else:
        said = f"{len(stats.workers)}, {min(stats.running, slots)} of {slots} slots busy"
        found.append(
            Service("Workers", "warn", f"{said}, of version {', '.join(others)}")
            if others
            else Service("Workers", "good", said)
        )
    if settings.provider_name == "pseudo":
        found.append(Service("Provider", "warn", "none: pseudo"))
    elif any(rate.exhausted for rate in stats.rates):
        found.append(Service("Provider", "bad", "an account has no quota"))
    elif any(rate.cool_down for rate in stats.rates):
        found.append(Service("Provider", "warn", "cools down"))
    else:
        found.append(Service("Provider", "good", settings.provider_name))
    return found


def _concerns(queue: str, stats: Stats) -> bool:
    return bool(stats.queues[queue]) or queue in stats.paused


def _levels(stats: Stats) -> list[Level]:
    depths = {depth.priority: depth for depth in stats.priorities}
    most = max((depth.queued for depth in stats.priorities), default=0)
    priorities: list[int | None] = [*range(MAX_PRIORITY, MIN_PRIORITY - 1, -1)]
    if None in depths:
        priorities.append(None)
    return [
        Level(
            name=QUARANTINE if priority is None else str(priority),
            queue=QUARANTINE if priority is None else get_queue_for_priority(priority),
            queued=depths[priority].queued if priority in depths else 0,
            oldest=depths[priority].oldest_wait if priority in depths else 0.0,
            share=round(100 * depths[priority].queued / most, 1) if priority in depths else 0,
        )
        for priority in priorities
    ]


def _by_need(rates: Sequence[RateInfo]) -> list[RateInfo]:
    """What holds messages up first."""
    return sorted(rates, key=lambda rate: (-rate.exhausted, -rate.cool_down, -rate.waiting, -rate.refused, -rate.sent))


def _account(spent: AccountSpend, spend: Spend) -> Account:
    unit = f" {spend.currency}" if spend.currency else ""
    if spent.cost is not None:
        cost = f"{money(spent.cost)}{unit}" if spend.currency else ""
    elif spent.known_cost:
        cost = f"{money(spent.known_cost)}{unit}, and {spent.unpriced_tokens:,} tokens of unknown price"
    else:
        cost = "of unknown price"
    share = None if not spend.budget else min(100.0, round(100 * spent.known_cost / spend.budget, 1))
    state = "good" if share is None or share < 100 * _NEARLY else "warn" if share < 100 else "bad"
    priced = bool(spend.currency) and (spent.cost is not None or bool(spent.known_cost))
    return Account(spent.account, spent.prompt_tokens + spent.completion_tokens, cost, priced, share, state)


def _until_midnight(now: datetime) -> float:
    tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (tomorrow - now).total_seconds()
