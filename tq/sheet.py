"""All of a message as text, for people: what `tq status` shows. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from tq.layout import age, columns, count, money, span, wrap
from tq.lines import NOT_A_TRANSLATION
from tq.messages import Callback, Message, MessageError, Status
from tq.terminal import clean
from tq.timeline import TimelineEntry

#: Columns before the values.
_INDENT: Final = 14


def document(message: Message, now: datetime, timeline: Sequence[TimelineEntry] = (), room: int | None = None) -> str:
    """All of a message, for people: a heading and one indented line for each thing known.

    Args:
        message: which.
        now: when.
        timeline: what became of it.
        room: columns of the terminal on which values are wrapped; None for a pipe, where they are not.
    """
    usage = message.usage
    # Of one that was cancelled the error is an earlier attempt's, and no reason for anything.
    error = None if message.status is Status.CANCELLED else message.error
    pairs = {
        "languages": clean(message.languages)
        + (f" (detected: {clean(message.detected_language)})" if message.detected_language else ""),
        "priority": f"{message.priority} ({message.queue})",
        "model": clean(message.model_name or ""),
        "provider": NOT_A_TRANSLATION if message.provider == "pseudo" else clean(message.provider or ""),
        "attempts": str(message.attempts),
        "times": ", ".join(_times(message, now)),
        "next retry": f"in {age((message.next_retry_at - now).total_seconds())}" if message.next_retry_at else "",
        "tokens": f"{usage.prompt_tokens} prompt, {usage.completion_tokens} completion" if usage else "",
        "cost": money(message.cost) if usage else "",
        "from memory": "yes: an earlier translation of the same text" if message.cached else "",
        "error": clean(f"{error.type}: {error.message}") if error else "",
        "in detail": _broken_rules(error),
        "warnings": clean("; ".join(message.warnings)),
        "webhook": clean(_webhook(message.callback, now)),
        "timeline": _timeline(timeline),
        "content": _text(message.content),
        "translation": _text(message.translation or ""),
    }
    lines = [f"{clean(message.message_id)}  {message.status}"]
    lines += [f"  {name:<11} {value}" for name, value in pairs.items() if value]
    text = "\n".join(lines)
    if room is None or room < 2 * _INDENT:
        return text
    return "\n".join(wrap(line, room, _INDENT) for line in text.split("\n"))


def _times(message: Message, now: datetime) -> list[str]:
    times = [f"created {_time(message.created_at)} ({age((now - message.created_at).total_seconds())} ago)"]
    again = message.attempts > 1
    if message.started_at:
        times.append(f"{'last ' if again else ''}started {_time(message.started_at, message.created_at)}")
    if message.finished_at:
        ended = "cancelled" if message.status is Status.CANCELLED else "ended"
        times.append(f"{ended} {_time(message.finished_at, message.created_at)}")
        # When it was cancelled, no attempt need have been under way.
        if message.started_at and message.status is not Status.CANCELLED:
            times.append(f"took {span((message.finished_at - message.started_at).total_seconds())}")
            if again:
                times[-1] += f", {span((message.finished_at - message.created_at).total_seconds())} in all"
    return times


def _webhook(callback: Callback | None, now: datetime) -> str:
    if callback is None:
        return ""
    last = callback.last_error or ""
    if callback.last_status is not None and last:
        last = f"HTTP {callback.last_status}"
    words = [
        str(callback.status),
        f"after {count(callback.attempts, 'attempt')}" if callback.attempts else "",
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
    return f"\n{' ' * _INDENT}".join(lines)


def _said_of(entry: TimelineEntry) -> str:
    tokens = entry.prompt_tokens + entry.completion_tokens
    words = [
        clean(entry.info),
        f"failed checks: {', '.join(entry.checks)}" if entry.checks else "",
        f"{tokens} tokens" if tokens else "",
        f"cost {money(entry.cost)}" if entry.cost else "",
    ]
    return " · ".join(word for word in words if word)


def _broken_rules(error: MessageError | None) -> str:
    broken = error.violations if error else []
    return clean("; ".join(f"{each.rule}: {each.detail or each.message}" for each in broken))


def _text(text: str) -> str:
    return textwrap.indent(clean(text, keep="\n\t"), " " * _INDENT, lambda _: True).strip(" ").removesuffix("\n")


def _time(moment: datetime, after: datetime | None = None) -> str:
    """To the second, without the date when that is the one of ``after``."""
    here = moment.astimezone()
    return f"{here:%H:%M:%S}" if after and after.astimezone().date() == here.date() else f"{here:%Y-%m-%d %H:%M:%S}"
