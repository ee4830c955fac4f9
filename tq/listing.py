"""Lists, figures and settings on the command line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Final, NoReturn

from tq.backend import Backend
from tq.board import figures
from tq.config import SettingLine, setting_lines
from tq.errors import PASSING, BudgetExceeded, TqError
from tq.filters import MessageFilter
from tq.layout import columns, count
from tq.lines import COLUMNS, aligned, line, row_of
from tq.messages import Message, Status
from tq.pausing import paused_of
from tq.progress import Progress
from tq.terminal import clean, columns_of, note, report, wants_style, write, write_json

_PAGE: Final = 200
#: Seconds between two looks at the figures.
_WATCH: Final = 1.0


def pages(
    backend: Backend, status: Status | None, matching: MessageFilter | None = None, size: int = _PAGE
) -> Iterator[Message]:
    """All messages that match, newest first, page by page."""
    cursor = None
    while True:
        messages, cursor = backend.list(status, limit=size, cursor=cursor, matching=matching)
        yield from messages
        if cursor is None:
            return


def show_list(backend: Backend, status: str | None, matching: MessageFilter, limit: int, *, as_json: bool) -> None:
    """Print up to ``limit`` messages: a table on a terminal, a line each in a pipe."""
    wanted = matching if matching != MessageFilter() else None
    with Progress("reading") as progress:
        found = islice(pages(backend, Status(status) if status else None, wanted, min(limit, _PAGE)), limit)
        messages = _counted(found, progress)
        if as_json:
            for message in messages:
                write_json(message.document())
        else:
            word = "match" if wanted or status else ""
            show_messages(
                messages, datetime.now(UTC), lambda: paused_of(backend), nothing=f"no messages {word}".rstrip()
            )


def _counted(messages: Iterator[Message], progress: Progress) -> Iterator[Message]:
    for number, message in enumerate(messages, 1):
        progress.say(f"{count(number, 'message')} read")
        yield message


def show_messages(
    messages: Iterable[Message], now: datetime, paused: Callable[[], Sequence[str]], *, nothing: str = "no messages"
) -> None:
    """Print messages: a table on a terminal, else a line each, as they come.

    Args:
        messages: which.
        now: when.
        paused: finds out which queues are, if any waits.
        nothing: is said on a terminal when there are none.
    """
    if not wants_style(sys.stdout):
        _show_lines(messages, now, paused)
        return
    found = [*messages]
    if not found:
        note(nothing)
        return
    from tq.tables import make_console, message_table, show

    held = paused() if any(message.status is Status.QUEUED for message in found) else ()
    show(message_table([row_of(message) for message in found], now, make_console().width, held))


def _show_lines(messages: Iterable[Message], now: datetime, paused: Callable[[], Sequence[str]]) -> None:
    held: Sequence[str] | None = None
    for number, message in enumerate(messages):
        if number == 0 and sys.stdout.isatty():
            write(aligned(COLUMNS))
        if held is None and message.status is Status.QUEUED:
            held = paused()
        write(line(row_of(message), now, held or ()))


def retry_failed(backend: Backend, api_key: str | None) -> int:
    """Queue every failed message again, and print how many; returns the exit code of the first error."""
    done, code = 0, 0
    with Progress("reading") as progress:
        # All ids first: what is queued again may fail again while we still look.
        ids = [message.message_id for message in _counted(pages(backend, Status.FAILED), progress)]
        for message_id in ids:
            progress.say(f"{done} of {len(ids)} queued again")
            try:
                backend.retry(message_id, api_key)
            except TqError as error:
                shown = report(error)
                code = code or shown
                if isinstance(error, BudgetExceeded):
                    break  # the others have the same payer
                continue
            done += 1
    write(f"{count(done, 'message')} queued again")
    return code


def show_stats(backend: Backend, *, as_json: bool) -> None:
    """Print the figures."""
    with Progress("looking"):
        stats = backend.stats()
    if as_json:
        write_json(stats.model_dump_json())
    else:
        write(figures(stats, columns_of(sys.stdout) if sys.stdout.isatty() else None))


def watch_stats(backend: Backend, *, as_json: bool) -> NoReturn:
    """Print the figures every second until interrupted."""
    if as_json or not wants_style(sys.stdout):
        down = False
        while True:
            try:
                show_stats(backend, as_json=as_json)
            except PASSING as error:
                if not down:
                    note(f"connection lost ({error.what}); trying again")
                down = True
            else:
                if down:
                    note("connected again")
                down = False
                if not as_json:
                    write("")
            time.sleep(_WATCH)
    from tq.screens import StatsScreen
    from tq.tables import make_console

    screen = StatsScreen(make_console(), backend.stats())
    with screen.live:
        while True:
            time.sleep(_WATCH)
            try:
                screen.figures(backend.stats())
            except PASSING as error:
                screen.say(trouble=f"connection lost ({error.what}); trying again")


def show_settings() -> None:
    """Print all settings."""
    header = ("NAME", "VALUE", "FROM", "MEANING")
    rows = [_cells(each) for each in setting_lines()]
    if wants_style(sys.stdout):
        from tq.tables import show, text_table

        show(text_table(header, rows))
    else:
        write("\n".join(columns([header, *rows])))


def _cells(each: SettingLine) -> Sequence[str]:
    return each.name, clean(each.value), each.source, each.meaning
