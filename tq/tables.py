"""What a terminal shows with Rich: lists, the live tail, settings, checks. Never used in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tq.figures import Stats
from tq.lines import COLUMNS, Row, cells, figures, summary
from tq.messages import Status

_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_LOOKS: Final = {
    Status.QUEUED: ("·", "dim"),
    Status.RUNNING: ("", "cyan"),
    Status.RETRYING: ("↻", "yellow"),
    Status.COMPLETED: ("✔", "green"),
    Status.FAILED: ("✘", "red"),
    Status.CANCELLED: ("–", "dim"),
}
_FRAMES_PER_SECOND: Final = 8
_LEAST_FIRST: Final = ("TIME", "TRY", "AGE", "PRI", "LANG")
_GAP: Final = 2
_MIN_INFO: Final = 8


def make_console() -> Console:
    """Rich on stdout, which interprets nothing in a text: no markup, no emoji, no highlighting."""
    return Console(file=sys.stdout, markup=False, emoji=False, highlight=False)


def message_table(rows: Iterable[Row], now: datetime, width: int) -> Table:
    """Messages, one a row, in ``width`` columns of a terminal.

    An id is never cut, for it is what people copy: where room is short the columns go that matter least.
    """
    body = [cells(row, now) for row in rows]
    widths = {name: max(len(text) for text in column) for name, *column in _columns(body)}
    widths["STATUS"] += len("✔ ")
    names = list(COLUMNS)
    for name in _LEAST_FIRST:
        if sum(widths[each] + _GAP for each in names if each != "INFO") + _MIN_INFO > width:
            names.remove(name)
    table = _table()
    for name in names:
        right = name in {"PRI", "AGE", "TRY", "TIME"}
        table.add_column(
            name,
            justify="right" if right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=None if name == "INFO" else widths[name],
        )
    for texts in body:
        cell = {name: Text(text) for name, text in zip(COLUMNS, texts, strict=True)}
        cell["STATUS"] = status_text(Status(texts[COLUMNS.index("STATUS")]), now)
        table.add_row(*(cell[name] for name in names))
    return table


def _columns(body: Sequence[Sequence[str]]) -> Iterable[tuple[str, ...]]:
    # Each column twice headed: by its name, and by the text that is as wide.
    return zip(COLUMNS, COLUMNS, *body, strict=True)


def status_text(status: Status, now: datetime) -> Text:
    """A status with its glyph and colour; ``running`` turns."""
    glyph, style = _LOOKS[status]
    glyph = glyph or _SPINNER[int(now.timestamp() * _FRAMES_PER_SECOND) % len(_SPINNER)]
    return Text(f"{glyph} {status}", style=style)


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of texts whose last column wraps."""
    table = _table()
    for name in header:
        table.add_column(name, no_wrap=name != header[-1], overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _table() -> Table:
    return Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0), expand=False)


class TailScreen:
    """The live table of `tq tail`: the newest rows, and a line of figures below.

    Args:
        console: where it is drawn.
        most: rows shown at most.
    """

    def __init__(self, console: Console, most: int = 20) -> None:
        self._console = console
        self._most = most
        self._rows: dict[str, Row] = {}
        self._stats: Stats | None = None
        self._trouble = ""
        self.live: AbstractContextManager[Live] = live(console, self.render)

    def row(self, message_id: str) -> Row | None:
        """The row that is shown of a message."""
        return self._rows.get(message_id)

    def put(self, row: Row, *, move: bool = True) -> None:
        """Show a row in place of the one that the message had; on top, if it is to move there."""
        if move:
            self._rows.pop(row.message_id, None)
        self._rows[row.message_id] = row
        while len(self._rows) > self._most:
            del self._rows[next(iter(self._rows))]

    def drop(self, message_id: str) -> None:
        """Show a message no longer."""
        self._rows.pop(message_id, None)

    def figures(self, stats: Stats) -> None:
        """Renew the line below."""
        self._stats = stats

    def say(self, *, trouble: str) -> None:
        """Show what is wrong in the place of the figures; "" once it is over."""
        self._trouble = trouble

    def render(self) -> RenderableType:
        """What is to be seen now."""
        now = datetime.now(UTC)
        room = max(1, min(self._most, self._console.height - 3))
        rows = list(reversed(self._rows.values()))[:room]
        below = Text(self._trouble, style="red") if self._trouble else Text(summary(self._stats) if self._stats else "")
        below.truncate(self._console.width, overflow="ellipsis")
        return Group(message_table(rows, now, self._console.width), below)


def live(console: Console, render: Callable[[], RenderableType]) -> Live:
    """A region that draws itself anew some times a second."""
    return Live(
        console=console,
        get_renderable=render,
        refresh_per_second=_FRAMES_PER_SECOND // 2,
        redirect_stdout=False,
        redirect_stderr=False,
    )


class StatsScreen:
    """The live figures of `tq stats --watch`."""

    def __init__(self, console: Console, stats: Stats) -> None:
        self.stats = stats
        self.trouble = ""
        self.live: AbstractContextManager[Live] = live(console, self.render)

    def render(self) -> RenderableType:
        """What is to be seen now."""
        below = Text(self.trouble, style="red") if self.trouble else Text(f"{time.strftime('%H:%M:%S')} · Ctrl-C ends")
        return Group(Text(f"{figures(self.stats)}\n"), below)
