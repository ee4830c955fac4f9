"""The figures as text, for people: what `tq stats` shows, and the line below a tail. Pure."""

from __future__ import annotations

from typing import Final

from tq.figures import AccountSpend, RateInfo, RateLimit, Spend, Stats
from tq.layout import columns, count, money, span
from tq.messages import TERMINAL, Message
from tq.terminal import clean

#: What stands where there is nothing to say.
_NONE: Final = "-"


def ahead_of(message: Message, stats: Stats) -> int:
    """How many messages are to be taken before one that has just been queued."""
    waiting = sum(depth.queued for depth in stats.priorities if (depth.priority or 0) >= message.priority)
    return max(0, waiting - 1)


def summary(stats: Stats) -> str:
    """The figures in one line, what keeps messages from going on first, for its end may be cut off."""
    words = [f"paused: {', '.join(stats.paused)}"] if stats.paused else []
    words += [] if stats.workers else ["no worker is running"]
    words += [f"{status} {number}" for status, number in stats.counts.items() if number] or ["no messages"]
    words += [count(len(stats.workers), "worker")] if stats.workers else []
    rate = stats.throughput.get("completed", 0)
    return " · ".join([*words, f"{rate:g}/min"] if rate else words)


def figures(stats: Stats) -> str:
    """All figures, for people."""
    return "\n\n".join("\n".join(lines) for lines in sections(stats))


def sections(stats: Stats, *, compact: bool = False) -> list[list[str]]:
    """All figures as lines: the counts, in fewer lines if ``compact``, and a table each of what there is besides."""
    if compact:
        pairs = [("going on", _counts(stats, ended=False)), ("ended", _counts(stats, ended=True))]
    else:
        pairs = [(f"{status}", f"{number}") for status, number in stats.counts.items()]
    depths = ", ".join(f"{queue} {number}" for queue, number in stats.queues.items())
    rates = ", ".join(f"{name} {number:g}" for name, number in stats.throughput.items())
    if stats.paused:
        pairs.append(("paused", f"{', '.join(stats.paused)} (go on: tq resume {' '.join(stats.paused)})"))
    pairs += [
        ("queues", depths),
        ("oldest wait", span(stats.oldest_wait)),
        ("unfinished", f"the oldest for {span(stats.oldest_unfinished)}" if stats.oldest_unfinished else "none"),
        ("last minute", rates),
    ]
    found = [columns(pairs)]
    if stats.priorities:
        found.append(columns([("QUEUE", "PRI", "QUEUED", "OLDEST"), *_depths(stats)]))
    if stats.spend.total.messages or stats.spend.total.prompt_tokens:
        found.append(columns([("SPENT TODAY", "MESSAGES", "TOKENS", "COST"), *_spent(stats.spend)]))
    if stats.rates:
        # How it stands comes before the numbers, which a narrow terminal cuts off.
        header = ("ENDPOINT", "KEY", "MODEL", "NOW", "REQUESTS/MIN", "TOKENS/MIN", "SENT", "429")
        found.append(columns([header, *_limits(stats)]))
    if stats.workers:
        found.append(columns([("WORKER", "VERSION", "PROVIDER", "RUNNING"), *_workers(stats)]))
    else:
        found.append(["no worker is running: start one with `tq worker` or `tq up`"])
    return found


def _counts(stats: Stats, *, ended: bool) -> str:
    return " · ".join(f"{each} {number}" for each, number in stats.counts.items() if (each in TERMINAL) == ended)


def _depths(stats: Stats) -> list[tuple[str, ...]]:
    return [
        (
            depth.queue,
            _NONE if depth.priority is None else str(depth.priority),
            str(depth.queued),
            span(depth.oldest_wait),
        )
        for depth in stats.priorities
    ]


def _spent(spend: Spend) -> list[tuple[str, ...]]:
    unit = f" {clean(spend.currency)}" if spend.currency else ""
    return [
        (
            each.account,
            str(each.messages),
            str(each.prompt_tokens + each.completion_tokens),
            _cost_of(each, unit),
        )
        for each in (*spend.accounts, spend.total)
    ]


def _cost_of(spent: AccountSpend, unit: str) -> str:
    known = f"{money(spent.known_cost)}{unit}"
    if spent.cost is not None:
        return known
    return f"{known} and {spent.unpriced_tokens} tokens of unknown price" if spent.known_cost else money(None)


def _limits(stats: Stats) -> list[tuple[str, ...]]:
    return [
        (
            clean(rate.host) or _NONE,
            clean(rate.key) or _NONE,
            clean(rate.model),
            _state_of(rate),
            *(f"{limit.per_minute} ({limit.source})" if limit else _NONE for limit in _both(rate)),
            str(rate.sent),
            str(rate.refused),
        )
        for rate in stats.rates
    ]


def _both(rate: RateInfo) -> tuple[RateLimit | None, RateLimit | None]:
    return rate.limits.get("requests"), rate.limits.get("tokens")


def _state_of(rate: RateInfo) -> str:
    if rate.exhausted:
        return f"no quota, tried again in {span(rate.exhausted)}"
    if rate.cool_down:
        return f"cools down for {span(rate.cool_down)}"
    return f"waiting, {span(rate.waiting)}" if rate.waiting else "open"


def _workers(stats: Stats) -> list[tuple[str, ...]]:
    return [
        (
            clean(worker.name),
            clean(worker.version),
            clean(worker.provider),
            f"{worker.running} of {worker.slots}",
        )
        for worker in stats.workers
    ]
