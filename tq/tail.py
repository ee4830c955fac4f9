"""`tq tail`: messages as they change, on a screen or line by line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from tq.backend import Backend, Changes
from tq.errors import PASSING, ChangesMissed, TqError
from tq.lines import COLUMNS, Row, aligned, cells, changed, row_of
from tq.messages import Change, Status
from tq.terminal import check_pipe, note, write

if TYPE_CHECKING:
    from tq.tables import TailScreen

#: Seconds of a quiet round.
_ROUND: Final = 0.5
#: Seconds between attempts to reach a broker or API that went away: the first pause, and the longest.
_PAUSES: Final = (0.2, 2.0)
#: Seconds between two looks at the figures.
_FIGURES: Final = 2.0
#: Messages whose earlier changes are remembered, for their age and duration.
_REMEMBERED: Final = 10_000
_SHOWN: Final = 20
_MISSED: Final = "some changes were missed"


class Filter:
    """Which changes are shown: those into a status, those of a target language; None = all."""

    def __init__(self, status: str | None, language: str | None) -> None:
        self._status = Status(status) if status else None
        self._language = language.lower() if language else None

    def __call__(self, change: Change | Row) -> bool:
        """Whether it is to be shown."""
        if self._status is not None and change.status is not self._status:
            return False
        return self._language in (None, change.languages.partition("→")[2].lower())


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


def tail_lines(backend: Backend, wanted: Filter, *, as_json: bool) -> NoReturn:
    """Print a line for each change."""
    rows: dict[str, Row] = {}
    if sys.stdout.isatty() and not as_json:
        write(aligned(COLUMNS))
    changes = backend.changes(block=_ROUND)
    for batch in rounds(changes, lambda text: note(text or "connected again"), lambda: note(_MISSED)):
        if not batch:
            check_pipe()
        for change in batch:
            row = changed(rows.pop(change.message_id, None), change)
            rows[change.message_id] = row
            if len(rows) > _REMEMBERED:
                del rows[next(iter(rows))]
            if wanted(change):
                write(change.model_dump_json() if as_json else aligned(cells(row, change.at)))
    raise AssertionError("the stream of changes never ends")


def tail_screen(backend: Backend, wanted: Filter) -> NoReturn:
    """Show the newest messages and the figures until interrupted."""
    from tq.tables import TailScreen, make_console

    screen = TailScreen(make_console(), _SHOWN)
    # Opened before the list is read: what changes in between is seen twice rather than never.
    changes = backend.changes(block=_ROUND)

    def read_list() -> None:
        messages, _ = backend.list(limit=200)
        for row in reversed([row for row in map(row_of, messages) if wanted(row)]):
            screen.put(row)

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


def _complete(screen: TailScreen, backend: Backend, message_ids: set[str]) -> None:
    """Add what changes do not carry (tokens, model, when the retry is due) to the rows that are on the screen."""
    for message_id in message_ids:
        row = screen.row(message_id)
        if row is not None:
            with suppress(TqError):
                message = backend.get(message_id)
                if (message.status, message.attempts) == (row.status, row.attempts):
                    screen.put(row_of(message), move=False)
