"""Messages and their changes as plain cells and lines of text: what pipes get, and tables are made of. Pure."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from tq.layout import age, money, pad, span
from tq.messages import TERMINAL, Change, Message, Status, get_queue_for_priority
from tq.streams import shown
from tq.terminal import clean

COLUMNS: Final = ("ID", "PRI", "LANG", "STATUS", "AGE", "TRY", "TIME", "INFO")
#: What a stream of changes has: when each happened is what its lines are for.
CHANGE_COLUMNS: Final = tuple("AT" if name == "AGE" else name for name in COLUMNS)
#: Widths that keep the lines of a stream aligned; an id of tq's own making has 26 characters.
_WIDTHS: Final = (26, 3, 11, 9, 4, 3, 6, 0)
RIGHT: Final = frozenset({"PRI", "AGE", "TRY", "TIME"})
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
    queue: str

    def is_held(self, paused: Container[str]) -> bool:
        """Whether it waits for one of these queues, which are paused, to be resumed."""
        return self.status is Status.QUEUED and self.queue in paused


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
        queue=message.queue,
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
        queue=get_queue_for_priority(change.priority),
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


def cells(row: Row, now: datetime, paused: Container[str] = ()) -> tuple[str, ...]:
    """The row as text, one cell for each of ``COLUMNS``, fit to be shown; ``paused`` are queues that are."""
    words = [row.info, f"next in {age((row.due - now).total_seconds())}" if row.due else ""]
    words += ["queue paused"] if row.is_held(paused) else []
    end = row.finished or (now if row.status is Status.RUNNING else None)
    if row.status is Status.CANCELLED:
        end = None  # no attempt need have been under way
    return (
        clean(row.message_id),
        str(row.priority),
        clean(row.languages),
        str(row.status),
        age((now - row.created).total_seconds()) if row.created else _NONE,
        str(row.attempts) if row.attempts else _NONE,
        span((end - row.started).total_seconds()) if row.started and end else _NONE,
        clean(", ".join(word for word in words if word)) or _NONE,
    )


def line(row: Row, now: datetime, paused: Container[str] = ()) -> str:
    """The row as one aligned line, whose columns are separated by white space."""
    return aligned(cells(row, now, paused))


def change_line(row: Row, at: datetime, *, whole: bool) -> str:
    """The row after a change as one aligned line of ``CHANGE_COLUMNS``: with the date if ``whole``, in local time."""
    local = at.astimezone()
    moment = local.isoformat(timespec="seconds") if whole else f"{local:%H:%M:%S}"
    texts = [moment if name == "AGE" else text for name, text in zip(COLUMNS, cells(row, at), strict=True)]
    return aligned(texts, at=len(moment))


def aligned(texts: Sequence[str], *, at: int = 0) -> str:
    """Cells of ``COLUMNS`` as one line; ``at``: of ``CHANGE_COLUMNS``, with so much room for when."""
    parts = [
        pad(shown(text), at if at and name == "AGE" else width, right=name in RIGHT)
        for name, width, text in zip(COLUMNS, _WIDTHS, texts, strict=True)
    ]
    return "  ".join(parts).rstrip()


def progress(message: Message, now: datetime, ahead: int | None = None) -> tuple[str, str, str]:
    """Id, status and a word on it, for someone who waits; ``ahead`` are the messages before it."""
    if message.status is Status.QUEUED:
        word = f"p{message.priority}" + (f", {ahead} ahead" if ahead is not None else "")
    elif message.status is Status.RUNNING:
        word = f"{message.model_name}, attempt {message.attempts}"
    elif message.status is Status.FAILED and message.error:
        word = message.error.message
    else:
        due = message.next_retry_at
        words = [_info(message), f"next in {age((due - now).total_seconds())}" if due else ""]
        word = ", ".join(each for each in words if each)
        if message.started_at and message.finished_at and message.status is not Status.CANCELLED:
            took = span((message.finished_at - message.started_at).total_seconds())
            word = f"{took} · {word}" if word else took
    return clean(message.message_id), str(message.status), clean(word)


def _info(message: Message) -> str:
    if message.status is Status.RUNNING:
        return message.model_name or ""
    if message.status is Status.COMPLETED:
        tokens = message.usage.prompt_tokens + message.usage.completion_tokens if message.usage else 0
        words = [
            NOT_A_TRANSLATION if message.provider == "pseudo" else "",
            f"{tokens} tokens" if tokens else "",
            f"cost {money(message.cost)}" if message.cost else "",
            "from memory" if message.cached else "",
        ]
        return " · ".join(word for word in words if word)
    # Of one that was cancelled the error is an earlier attempt's, and no reason for anything.
    return message.error.type if message.error and message.status is not Status.CANCELLED else ""
