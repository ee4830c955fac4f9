"""Lists, figures and settings on the command line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Final, NoReturn

from tq.backend import Backend
from tq.config import SettingLine, setting_lines
from tq.errors import PASSING, BudgetExceeded, TqError
from tq.lines import columns, figures, line, row_of
from tq.messages import Message, Status
from tq.terminal import Ticker, clean, note, report, wants_style, write

_PAGE: Final = 200
#: Seconds between two looks at the figures.
_WATCH: Final = 1.0


def pages(backend: Backend, status: Status | None, size: int = _PAGE) -> Iterator[Message]:
    """All messages, newest first, page by page."""
    cursor = None
    while True:
        messages, cursor = backend.list(status, limit=size, cursor=cursor)
        yield from messages
        if cursor is None:
            return


def show_list(backend: Backend, status: str | None, limit: int, *, as_json: bool) -> None:
    """Print up to ``limit`` messages: a table on a terminal, a line each in a pipe."""
    messages = islice(pages(backend, Status(status) if status else None, min(limit, _PAGE)), limit)
    now = datetime.now(UTC)
    if as_json:
        for message in messages:
            write(json.dumps(message.document(), ensure_ascii=False))
    elif wants_style(sys.stdout):
        from tq.tables import make_console, message_table

        ticker = Ticker("read")
        rows = []
        for message in messages:
            rows.append(row_of(message))
            ticker.at(len(rows))
        ticker.close()
        if rows:
            console = make_console()
            console.print(message_table(rows, now, console.width))
        else:
            note("no messages" + (f" are {status}" if status else ""))
    else:
        for message in messages:
            write(line(row_of(message), now))


def retry_failed(backend: Backend, api_key: str | None) -> int:
    """Queue every failed message again, and print how many; returns the exit code of the first error."""
    done, code = 0, 0
    ticker = Ticker("queued again")
    # All ids first: what is queued again may fail again while we still look.
    for message_id in [message.message_id for message in pages(backend, Status.FAILED)]:
        try:
            backend.retry(message_id, api_key)
        except TqError as error:
            shown = report(error)
            code = code or shown
            if isinstance(error, BudgetExceeded):
                break  # the others have the same payer
            continue
        done += 1
        ticker.at(done)
    ticker.close()
    write(f"{done} message{'' if done == 1 else 's'} queued again")
    return code


def show_stats(backend: Backend, *, as_json: bool) -> None:
    """Print the figures."""
    stats = backend.stats()
    write(stats.model_dump_json() if as_json else figures(stats))


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
    from tq.tables import StatsScreen, make_console

    screen = StatsScreen(make_console(), backend.stats())
    with screen.live:
        while True:
            time.sleep(_WATCH)
            try:
                screen.stats, screen.trouble = backend.stats(), ""
            except PASSING as error:
                screen.trouble = f"connection lost ({error.what}); trying again"


def show_settings() -> None:
    """Print all settings."""
    header = ("NAME", "VALUE", "FROM", "MEANING")
    rows = [_cells(each) for each in setting_lines()]
    if wants_style(sys.stdout):
        from tq.tables import make_console, text_table

        make_console().print(text_table(header, rows))
    else:
        write("\n".join(columns([header, *rows])))


def _cells(each: SettingLine) -> Sequence[str]:
    return each.name, clean(each.value), each.source, each.meaning
