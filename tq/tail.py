"""`tq tail`: messages as they change, on a screen or line by line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from tq.backend import Backend, Changes
from tq.errors import PASSING, ChangesMissed, TqError
from tq.filters import ChangeFilter
from tq.lines import CHANGE_COLUMNS, Row, aligned, change_line, changed, row_of
from tq.messages import Change, Message
from tq.pausing import paused_of, warn_of_pause
from tq.terminal import check_pipe, note, write, write_json

if TYPE_CHECKING:
    from tq.screens import TailScreen

#: Seconds of a quiet round.
_ROUND: Final = 0.5
#: Seconds between attempts to reach a broker or API that went away: the first pause, and the longest.
_PAUSES: Final = (0.2, 2.0)
#: Seconds between two looks at the figures.
_FIGURES: Final = 2.0
#: Messages whose earlier changes are remembered, for their age and duration.
_REMEMBERED: Final = 10_000
#: Messages from before that a screen begins with.
_NEWEST: Final = 200
_MISSED: Final = "some changes were missed"


def rounds(changes: Changes, trouble: Callable[[str], None], missed: Callable[[], None]) -> Iterator[list[Change]]:
    """Batches of changes for ever, across restarts of the broker and the API.

    Args:
        changes: the stream.
        trouble: is told what is wrong, and "" once it is over.
        missed: is called where changes were lost.
    """
    down, pause = False, _PAUSES[0]
    while True:
        try:
            batch = next(changes)
        except ChangesMissed:
            missed()
            batch = []
        except PASSING as error:
            if not down:
                trouble(f"connection lost ({error.what}); trying again")
            down = True
            time.sleep(pause)
            pause = min(pause * 1.5, _PAUSES[1])
            batch = []
        else:
            if down:
                trouble("")
            down, pause = False, _PAUSES[0]
        yield batch


def tail_lines(backend: Backend, wanted: ChangeFilter, *, as_json: bool) -> NoReturn:
    """Print a line for each change."""
    check_pipe()
    rows: dict[str, Row] = {}
    # Opened before anything else is looked at, so that nothing of it is missed.
    changes = backend.changes(block=_ROUND)
    terminal = sys.stdout.isatty()
    if terminal and not as_json:
        write(aligned(CHANGE_COLUMNS, at=len("HH:MM:SS")))
    for queue in paused_of(backend):
        warn_of_pause(queue)
    for batch in rounds(changes, lambda text: note(text or "connected again"), lambda: note(_MISSED)):
        if not batch:
            check_pipe()
        for change in batch:
            row = changed(rows.pop(change.message_id, None), change)
            rows[change.message_id] = row
            if len(rows) > _REMEMBERED:
                del rows[next(iter(rows))]
            if wanted(change):
                if as_json:
                    write_json(change.model_dump_json())
                else:
                    write(change_line(row, change.at, whole=not terminal))
    raise AssertionError("the stream of changes never ends")


def tail_screen(backend: Backend, wanted: ChangeFilter) -> NoReturn:
    """Show the newest messages and the figures until interrupted."""
    from tq.screens import TailScreen
    from tq.tables import make_console

    screen = TailScreen(make_console())
    # Opened before the list is read: what changes in between is seen twice rather than never.
    changes = backend.changes(block=_ROUND)

    def read_list() -> None:
        for message in reversed(_newest(backend, wanted)):
            screen.put(row_of(message))

    def read_again() -> None:
        with suppress(TqError):
            read_list()

    read_list()
    due = 0.0
    with screen.live:
        for batch in rounds(changes, lambda text: screen.say(trouble=text), read_again):
            for change in batch:
                if wanted(change):
                    screen.put(changed(screen.row(change.message_id), change))
                else:
                    screen.drop(change.message_id)
            _complete(screen, backend, {change.message_id for change in batch})
            if time.monotonic() >= due:
                due = time.monotonic() + _FIGURES
                with suppress(TqError):
                    screen.figures(backend.stats())
    raise AssertionError("the stream of changes never ends")


def _newest(backend: Backend, wanted: ChangeFilter) -> list[Message]:
    """The newest messages that are to be shown; with a filter a page may be short although there are more."""
    found: list[Message] = []
    cursor = None
    while len(found) < _NEWEST:
        messages, cursor = backend.list(wanted.status, limit=_NEWEST, cursor=cursor, matching=wanted.matching)
        found += messages
        if cursor is None:
            break
    return found[:_NEWEST]


def _complete(screen: TailScreen, backend: Backend, message_ids: set[str]) -> None:
    """Add what changes do not carry (tokens, model, when the retry is due) to the rows that are on the screen."""
    for message_id in message_ids:
        row = screen.row(message_id)
        if row is not None:
            with suppress(TqError):
                message = backend.get(message_id)
                if (message.status, message.attempts) == (row.status, row.attempts):
                    screen.put(row_of(message), move=False)
