"""Messages, changes and figures as plain cells and lines of text: what pipes get, and tables are made of. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from tq.figures import AccountSpend, RateInfo, RateLimit, Spend, Stats
from tq.messages import TERMINAL, Callback, Change, Message, Status
from tq.terminal import clean
from tq.timeline import TimelineEntry

COLUMNS: Final = ("ID", "PRI", "LANG", "STATUS", "AGE", "TRY", "TIME", "INFO")
#: Widths that keep the lines of a stream aligned; an id of tq's own making has 26 characters.
_WIDTHS: Final = (26, 3, 9, 9, 4, 3, 6, 0)
_RIGHT: Final = frozenset({"PRI", "AGE", "TRY", "TIME"})
#: What stands where there is nothing to say.
_NONE: Final = "-"

NOT_A_TRANSLATION: Final = "NOT a translation (pseudo)"


@dataclass(frozen=True, slots=True)
class Row:
    """What lists and the tail show of one message; times are None where they are not known."""

    message_id: str
    priority: int
    languages: str
    status: Status
    attempts: int
    created: datetime | None
    started: datetime | None
    finished: datetime | None
    due: datetime | None
    info: str


def row_of(message: Message) -> Row:
    """The row of a message."""
    return Row(
        message_id=message.message_id,
        priority=message.priority,
        languages=message.languages,
        status=message.status,
        attempts=message.attempts,
        created=message.created_at,
        started=message.started_at,
        finished=message.finished_at,
        due=message.next_retry_at,
        info=_info(message),
    )


def changed(row: Row | None, change: Change) -> Row:
    """The row of a message after a change; ``row`` is the one before, if it was seen."""
    fresh = change.status is Status.QUEUED and change.attempts == 0
    created = change.at if fresh else None
    old = row or Row(
        change.message_id,
        change.priority,
        change.languages,
        change.status,
        change.attempts,
        created,
        started=None,
        finished=None,
        due=None,
        info="",
    )
    return replace(
        old,
        status=change.status,
        attempts=change.attempts,
        started=change.at if change.status is Status.RUNNING else old.started,
        finished=change.at if change.status in TERMINAL else None,
        due=None,
        info=change.info,
    )


def cells(row: Row, now: datetime) -> tuple[str, ...]:
    """The row as text, one cell for each of ``COLUMNS``, fit to be shown."""
    end = row.finished or (now if row.status is Status.RUNNING else None)
    return (
        clean(row.message_id),
        str(row.priority),
        clean(row.languages),
        str(row.status),
        age((now - row.created).total_seconds()) if row.created else _NONE,
        str(row.attempts) if row.attempts else _NONE,
        span((end - row.started).total_seconds()) if row.started and end else _NONE,
        clean(_with_due(row.info, row.due, now)) or _NONE,
    )


def line(row: Row, now: datetime) -> str:
    """The row as one aligned line, whose columns are separated by white space."""
    return aligned(cells(row, now))


def aligned(texts: tuple[str, ...]) -> str:
    """Cells of ``COLUMNS`` as one line."""
    parts = [
        text.rjust(width) if name in _RIGHT else text.ljust(width)
        for name, width, text in zip(COLUMNS, _WIDTHS, texts, strict=True)
    ]
    return "  ".join(parts).rstrip()


def columns(table: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Rows of text as lines with columns as wide as they need."""
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    return [
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in table
    ]


def progress(message: Message, now: datetime, ahead: int | None = None) -> tuple[str, str, str]:
    """Id, status and a word on it, for someone who waits; ``ahead`` are the messages before it."""
    if message.status is Status.QUEUED:
        word = f"p{message.priority}" + (f", {ahead} ahead" if ahead is not None else "")
    elif message.status is Status.RUNNING:
        word = f"{message.model_name}, attempt {message.attempts}"
    elif message.status is Status.FAILED and message.error:
        word = message.error.message
    else:
        word = _with_due(_info(message), message.next_retry_at, now)
        if message.started_at and message.finished_at:
            took = span((message.finished_at - message.started_at).total_seconds())
            word = f"{took} · {word}" if word else took
    return clean(message.message_id), str(message.status), clean(word)


def _with_due(info: str, due: datetime | None, now: datetime) -> str:
    left = f"next in {age((due - now).total_seconds())}" if due else ""
    return ", ".join(part for part in (info, left) if part)


def _info(message: Message) -> str:
    if message.status is Status.RUNNING:
        return message.model_name or ""
    if message.status is Status.COMPLETED:
        tokens = message.usage.prompt_tokens + message.usage.completion_tokens if message.usage else 0
        words = [
            f"{tokens} tokens" if tokens else "",
            f"cost {money(message.cost)}" if message.cost else "",
            "from memory" if message.cached else "",
            NOT_A_TRANSLATION if message.provider == "pseudo" else "",
        ]
        return " · ".join(word for word in words if word)
    return message.error.type if message.error else ""


def document(message: Message, now: datetime, timeline: Sequence[TimelineEntry] = ()) -> str:
    """All of a message, for people: a heading and one indented line for each thing known."""
    times = [f"created {_time(message.created_at)} ({age((now - message.created_at).total_seconds())} ago)"]
    if message.started_at:
        times.append(f"started {_time(message.started_at)}")
    if message.finished_at:
        times.append(f"ended {_time(message.finished_at)}")
        if message.started_at:
            times.append(f"took {span((message.finished_at - message.started_at).total_seconds())}")
    usage = message.usage
    pairs = {
        "languages": clean(message.languages)
        + (f" (detected: {clean(message.detected_language)})" if message.detected_language else ""),
        "priority": f"{message.priority} ({message.queue})",
        "model": clean(message.model_name or ""),
        "provider": NOT_A_TRANSLATION if message.provider == "pseudo" else clean(message.provider or ""),
        "attempts": str(message.attempts),
        "times": ", ".join(times),
        "next retry": f"in {age((message.next_retry_at - now).total_seconds())}" if message.next_retry_at else "",
        "tokens": f"{usage.prompt_tokens} prompt, {usage.completion_tokens} completion" if usage else "",
        "cost": money(message.cost) if usage else "",
        "from memory": "yes: an earlier translation of the same text" if message.cached else "",
        "error": clean(f"{message.error.type}: {message.error.message}") if message.error else "",
        "in detail": _broken_rules(message),
        "warnings": clean("; ".join(message.warnings)),
        "webhook": clean(_webhook(message.callback, now)),
        "timeline": _timeline(timeline),
        "content": _text(message.content),
        "translation": _text(message.translation or ""),
    }
    lines = [f"{clean(message.message_id)}  {message.status}"]
    lines += [f"  {name:<11} {value}" for name, value in pairs.items() if value]
    return "\n".join(lines)


def _webhook(callback: Callback | None, now: datetime) -> str:
    if callback is None:
        return ""
    last = callback.last_error or ""
    if callback.last_status is not None and last:
        last = f"HTTP {callback.last_status}"
    words = [
        str(callback.status),
        f"after {callback.attempts} attempt{'' if callback.attempts == 1 else 's'}" if callback.attempts else "",
        last,
        f"next in {age((callback.next_attempt_at - now).total_seconds())}"
        if callback.next_attempt_at and callback.attempts
        else "",
    ]
    return f"{', '.join(word for word in words if word)}: {callback.url}"


def _timeline(entries: Sequence[TimelineEntry]) -> str:
    """A line for each status, below each other."""
    if not entries:
        return ""
    lines = columns(
        [
            (
                f"{entry.at.astimezone():%H:%M:%S}",
                f"+{span((entry.at - entries[0].at).total_seconds())}",
                str(entry.status),
                f"try {entry.attempt}" if entry.attempt else "",
                _said_of(entry),
            )
            for entry in entries
        ]
    )
    return f"\n{' ' * 14}".join(lines)


def _said_of(entry: TimelineEntry) -> str:
    tokens = entry.prompt_tokens + entry.completion_tokens
    words = [
        clean(entry.info),
        f"failed checks: {', '.join(entry.checks)}" if entry.checks else "",
        f"{tokens} tokens" if tokens else "",
        f"cost {money(entry.cost)}" if entry.cost else "",
    ]
    return " · ".join(word for word in words if word)


def _broken_rules(message: Message) -> str:
    broken = message.error.violations if message.error else []
    return clean("; ".join(f"{each.rule}: {each.detail or each.message}" for each in broken))


def money(amount: float | None) -> str:
    """Money to the hundredth, below 1 to four digits, never in powers of ten: ``0.00001234``; ``unknown`` for None."""
    if amount is None:
        return "unknown"
    return f"{amount:.2f}" if amount >= 1 else f"{Decimal(f'{amount:.4g}'):f}"


def _text(text: str) -> str:
    return textwrap.indent(clean(text, keep="\n\t"), " " * 14, lambda _: True).strip(" ").removesuffix("\n")


def _time(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def ahead_of(message: Message, stats: Stats) -> int:
    """How many messages are to be taken before one that has just been queued."""
    waiting = sum(depth.queued for depth in stats.priorities if (depth.priority or 0) >= message.priority)
    return max(0, waiting - 1)


def summary(stats: Stats) -> str:
    """The figures in one line."""
    counts = " · ".join(f"{status} {number}" for status, number in stats.counts.items())
    workers = f"{len(stats.workers)} worker{'' if len(stats.workers) == 1 else 's'}"
    paused = f" · paused: {', '.join(stats.paused)}" if stats.paused else ""
    return f"{counts} · {workers} · {stats.throughput.get('completed', 0):g}/min{paused}"


def figures(stats: Stats) -> str:
    """All figures, for people."""
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
    lines = columns(pairs)
    if stats.priorities:
        lines += ["", *columns([("QUEUE", "PRI", "QUEUED", "OLDEST"), *_depths(stats)])]
    if stats.spend.total.messages or stats.spend.total.prompt_tokens:
        lines += ["", *columns([("SPENT TODAY", "MESSAGES", "TOKENS", "COST"), *_spent(stats.spend)])]
    if stats.rates:
        lines += [
            "",
            *columns(
                [("ENDPOINT", "KEY", "MODEL", "REQUESTS/MIN", "TOKENS/MIN", "SENT", "429", "NOW"), *_limits(stats)]
            ),
        ]
    lines.append("")
    if stats.workers:
        lines += columns([("WORKER", "VERSION", "PROVIDER", "RUNNING"), *_workers(stats)])
    else:
        lines.append("no worker is running: start one with `tq worker` or `tq up`")
    return "\n".join(lines)


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
            *(f"{limit.per_minute} ({limit.source})" if limit else _NONE for limit in _both(rate)),
            str(rate.sent),
            str(rate.refused),
            _state_of(rate),
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


def age(seconds: float) -> str:
    """Roughly how long: ``2s``, ``5m``, ``3h``, ``4d``."""
    whole = max(0, int(seconds))
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def span(seconds: float) -> str:
    """How long, to a tenth of a second below a minute: ``1.2s``, ``2m05s``, ``3h``."""
    seconds = max(0.0, seconds)
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}s"
    return f"{int(seconds) // 60}m{int(seconds) % 60:02}s" if seconds < 3600 else age(seconds)
