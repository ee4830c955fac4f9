"""What fills a terminal while it is watched: `tq tail` and `tq stats --watch`."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType, TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from tq.board import figures, sections, summary
from tq.figures import Stats
from tq.layout import age, count, cut
from tq.lines import Row
from tq.streams import shown
from tq.tables import FRAMES_PER_SECOND, message_table
from tq.terminal import writing

#: Rows of a tail that are remembered: more than terminals are tall.
_ROWS: Final = 200
#: Seconds without an answer after which it is said when the last one came.
_FROZEN: Final = 4.0
#: Of a table that is cut: its heading, a row and how many more there are.
_LEAST_LINES: Final = 3
#: As tall as no terminal is.
_TALL: Final = 10_000


class Screen:
    """Draws something over the whole terminal, some times a second; a context manager.

    It has the terminal's alternate screen, so that no size that a window had before leaves anything behind. The last
    frame stays on the terminal when it ends; SIGTERM and Ctrl-Z leave the terminal as it was, too.

    Args:
        console: the terminal.
        render: what is to be seen now.
        last: what is left on the terminal at the end; the last frame when None.
    """

    def __init__(
        self,
        console: Console,
        render: Callable[[], RenderableType],
        last: Callable[[], RenderableType] | None = None,
    ) -> None:
        self._console = console
        self._render = render
        self._last = last or render
        self._live: Live | None = None
        self._former: dict[signal.Signals, signal._HANDLER] = {}
        self._changing = False
        self._pending: int | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP):
                former = signal.getsignal(number)
                if former is not signal.SIG_IGN:
                    self._former[number] = former
                    signal.signal(number, self._hear)
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._changing:
            self._pending = number  # half drawn, it cannot be left
        elif number == signal.SIGINT:
            # Here, and not where it goes: who interrupts the first frame would keep the screen.
            self._finish()
            raise KeyboardInterrupt
        elif number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)
            self._leave()
            os.kill(os.getpid(), number)
        else:
            self._leave()
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            # Here it goes on, brought back to the foreground.
            signal.signal(number, self._hear)
            self._begin()

    @contextmanager
    def _change(self) -> Iterator[None]:
        self._changing = True
        try:
            yield
        finally:
            self._changing = False
        if self._pending is not None:
            number, self._pending = self._pending, None
            self._hear(number, None)

    def _begin(self) -> None:
        with self._change():
            self._live = Live(
                console=self._console,
                get_renderable=self._render,
                screen=True,
                refresh_per_second=FRAMES_PER_SECOND // 2,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start(refresh=True)

    def _leave(self) -> bool:
        """Give the terminal back; whether it was ours."""
        with self._change():
            live, self._live = self._live, None
            if live is not None:
                live.stop()
        return live is not None

    def _finish(self) -> None:
        if self._leave():
            with writing():
                self._console.print(self._last())
        for number, handler in self._former.items():
            signal.signal(number, handler)


class _Look:
    """When something answered last, and what is wrong meanwhile."""

    def __init__(self) -> None:
        self._at = datetime.now(UTC)
        self._since = time.monotonic()
        self.trouble = ""

    def took_place(self) -> None:
        """It has answered just now."""
        self._at, self._since = datetime.now(UTC), time.monotonic()

    def said(self) -> str:
        """What is wrong, and of when everything is that is shown; "" when all is well."""
        silence = time.monotonic() - self._since
        if not self.trouble and silence < _FROZEN:
            return ""
        what = self.trouble or f"no answer for {age(silence)}"
        return f"as of {self.time}: {what}"

    @property
    def time(self) -> str:
        """The time of day of the last answer."""
        return f"{self._at.astimezone():%H:%M:%S}"


def _one_line(text: str, room: int, style: str = "") -> Text:
    return Text(cut(shown(text), room), style=style, no_wrap=True, overflow="crop")


class TailScreen:
    """The live table of `tq tail`: the newest rows, as many as there is room for, and a line of figures below.

    Args:
        console: where it is drawn.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, Row] = {}
        self._stats: Stats | None = None
        self._look = _Look()
        self.live = Screen(console, self.render)

    def row(self, message_id: str) -> Row | None:
        """The row that is shown of a message."""
        return self._rows.get(message_id)

    def put(self, row: Row, *, move: bool = True) -> None:
        """Show a row in place of the one that the message had; on top, if it is to move there."""
        if move:
            self._rows.pop(row.message_id, None)
        self._rows[row.message_id] = row
        while len(self._rows) > _ROWS:
            del self._rows[next(iter(self._rows))]

    def drop(self, message_id: str) -> None:
        """Show a message no longer."""
        self._rows.pop(message_id, None)

    def figures(self, stats: Stats) -> None:
        """Renew the line below."""
        self._stats = stats
        self._look.took_place()

    def say(self, *, trouble: str) -> None:
        """Show what is wrong in the place of the figures; "" once it is over."""
        self._look.trouble = trouble

    def render(self) -> RenderableType:
        """What is to be seen now."""
        wide, high = self._console.size
        rows = list(reversed(self._rows.copy().values()))[: max(1, high - 2)]
        trouble = self._look.said()
        below = trouble or (summary(self._stats) if self._stats else "")
        paused = self._stats.paused if self._stats else ()
        table = message_table(rows, datetime.now(UTC), wide, paused)
        return Group(table, _one_line(below, wide, "red" if trouble else ""))


class StatsScreen:
    """The live figures of `tq stats --watch`."""

    def __init__(self, console: Console, stats: Stats) -> None:
        self._console = console
        self._stats = stats
        self._look = _Look()
        self.live = Screen(console, self.render, self._all)

    def figures(self, stats: Stats) -> None:
        """Show these."""
        self._stats = stats
        self._look.took_place()
        self._look.trouble = ""

    def _all(self) -> RenderableType:
        return Text(shown(figures(self._stats, self._console.width)))

    def say(self, *, trouble: str) -> None:
        """Show what is wrong, until there are figures again."""
        self._look.trouble = trouble

    def render(self) -> RenderableType:
        """What is to be seen now: what is wrong, or the time, then as much of all tables as there is room for."""
        wide, high = self._console.size
        trouble = self._look.said()
        head = _one_line(trouble or f"{self._look.time} · Ctrl-C ends", wide, "red" if trouble else "dim")
        tables = sections(self._stats, wide)
        if len(fitted(tables, _TALL)) >= high:
            tables = sections(self._stats, wide, compact=True)
        return Group(head, *(_one_line(line, wide) for line in fitted(tables, high - 1)))


def fitted(tables: list[list[str]], room: int) -> list[str]:
    """Tables one below the other, with blank lines between them, in so many lines: all but the first may be cut."""
    sizes = [len(table) for table in tables]

    def lines() -> list[str]:
        out: list[str] = []
        for table, size in zip(tables, sizes, strict=True):
            hidden = len(table) - size
            out += [""] if out else []
            out += [*table[: size - 1], f"… {count(hidden + 1, 'more line')}"] if hidden else table
        return out

    while len(out := lines()) > room and max(sizes[1:], default=0) > _LEAST_LINES:
        sizes[sizes.index(max(sizes[1:]), 1)] -= 1
    return out[:room]
