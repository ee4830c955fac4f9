"""The figures as text, for people: what `tq stats` shows, and the line below a tail. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tq.figures import AccountSpend, RateInfo, RateLimit, Spend, Stats
from tq.layout import columns, count, fitted_columns, money, span, width, wrap
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


def figures(stats: Stats, room: int | None = None) -> str:
    """All figures, for people; narrow enough for a terminal that has so much ``room``."""
    return "\n\n".join("\n".join(lines) for lines in sections(stats, room))


def sections(stats: Stats, room: int | None = None, *, compact: bool = False) -> list[list[str]]:
    """All figures as lines: the counts, in fewer lines if ``compact``, and a table each of what there is besides."""

    def table(header: Sequence[str], rows: Sequence[Sequence[str]], *least: str, cuttable: Sequence[str]) -> list[str]:
        rows = [header, *rows]
        return columns(rows) if room is None else fitted_columns(rows, room, least=least, cuttable=cuttable)

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
    found = [_pairs(pairs, room)]
    if stats.priorities:
        found.append(table(("QUEUE", "PRI", "QUEUED", "OLDEST"), _depths(stats), cuttable=("QUEUE",)))
    if stats.spend.total.messages or stats.spend.total.prompt_tokens:
        header: Sequence[str] = ("SPENT TODAY", "MESSAGES", "TOKENS", "COST")
        found.append(table(header, _spent(stats.spend), "MESSAGES", "TOKENS", cuttable=("SPENT TODAY",)))
    if stats.rates:
        # How it stands, and how much was refused, is what people look for.
        least = ("SENT", "KEY", "TOKENS/MIN", "REQUESTS/MIN", "MODEL")
        header = ("ENDPOINT", "KEY", "MODEL", "NOW", "REQUESTS/MIN", "TOKENS/MIN", "SENT", "429")
        found.append(table(header, _limits(stats), *least, cuttable=("ENDPOINT", "MODEL")))
    if stats.workers:
        header = ("WORKER", "VERSION", "PROVIDER", "RUNNING")
        found.append(table(header, _workers(stats), "VERSION", "PROVIDER", cuttable=("WORKER",)))
    else:
        nobody = "no worker is running: start one with `tq worker` or `tq up`"
        found.append([nobody] if room is None else wrap(nobody, room, 2).split("\n"))
    return found


def _pairs(pairs: Sequence[tuple[str, str]], room: int | None) -> list[str]:
    """Names with their values; these are wrapped where they are wider than there is room."""
    lines = columns(pairs)
    if room is None:
        return lines
    indent = max(width(name) for name, _ in pairs) + 2
    return [part for line in lines for part in wrap(line, room, indent).split("\n")]


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
