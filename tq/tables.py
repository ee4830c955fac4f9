"""What a terminal shows with Rich: lists, settings, statuses. Never used in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tq.layout import cut, cut_middle, pad, width
from tq.lines import COLUMNS, RIGHT, Row, cells
from tq.messages import Status
from tq.streams import shown
from tq.terminal import writing

_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_LOOKS: Final = {
    Status.QUEUED: ("·", "dim"),
    Status.RUNNING: ("", "cyan"),
    Status.RETRYING: ("↻", "yellow"),
    Status.COMPLETED: ("✔", "green"),
    Status.FAILED: ("✘", "red"),
    Status.CANCELLED: ("–", "dim"),
}
#: Of one whose queue is paused.
_HELD: Final = ("‖", "yellow")
FRAMES_PER_SECOND: Final = 8
_LEAST_FIRST: Final = ("TIME", "TRY", "AGE", "PRI", "LANG")
_GAP: Final = 2
#: What is left of what there is to say, at least: to keep columns that matter less, and the language.
_MIN_INFO: Final = 14
_LEAST_INFO: Final = 7
#: An id of tq's own making, which is shown whole as long as it fits; and what is left of any id at least.
_OWN_ID: Final = 26
_MIN_ID: Final = 8


def make_console() -> Console:
    """Rich on stdout, a terminal; it interprets nothing in a text: no markup, no emoji, no highlighting."""
    return Console(
        file=sys.stdout, markup=False, emoji=False, highlight=False, force_terminal=True, force_interactive=True
    )


def show(renderable: RenderableType) -> None:
    """Print something on the terminal.

    Raises:
        OutputLost: it cannot be written.
    """
    with writing():
        make_console().print(renderable)


def message_table(rows: Sequence[Row], now: datetime, room: int, paused: Container[str] = ()) -> RenderableType:
    """Messages, one a row, in ``room`` columns of a terminal.

    Ids of tq's own making are whole while they fit, for they are what people copy; longer ones lose their middle. Where
    room is short the columns go that matter least: never the status.

    Args:
        rows: what is shown.
        now: when.
        room: how wide the terminal is.
        paused: queues that are.
    """
    body = [tuple(map(shown, cells(row, now, paused))) for row in rows]
    widths = _widths(body, room)
    lines = [_line(dict(zip(COLUMNS, COLUMNS, strict=True)), widths, Text("STATUS"))]
    lines[0].stylize("bold")
    for row, texts in zip(rows, body, strict=True):
        status = status_text(row.status, now, held=row.is_held(paused))
        lines.append(_line(dict(zip(COLUMNS, texts, strict=True)), widths, status))
    return Group(*lines)


def _widths(body: Sequence[Sequence[str]], room: int) -> dict[str, int]:
    """How wide each column is; those that are left out are missing."""
    natural = {name: max(map(width, column)) for name, *column in zip(COLUMNS, COLUMNS, *body, strict=True)}
    natural["STATUS"] += 2
    wide = natural | {"ID": min(natural["ID"], _OWN_ID), "INFO": min(natural["INFO"], _MIN_INFO)}

    def left() -> int:
        return room - sum(wide.values()) - _GAP * (len(wide) - 1)

    for name in (*_LEAST_FIRST, "INFO"):
        if name == _LEAST_FIRST[-1]:
            wide["INFO"] = min(wide["INFO"], _LEAST_INFO)
        if left() < 0:
            del wide[name]
    if left() < 0:
        wide["ID"] = max(_MIN_ID, wide["ID"] + left())
    for name in ("INFO", "ID"):
        if name in wide and left() > 0:
            wide[name] = min(natural[name], wide[name] + left())
    return wide


def _line(cell: Mapping[str, str], widths: Mapping[str, int], status: Text) -> Text:
    line = Text(no_wrap=True, overflow="crop")
    for number, (name, wide) in enumerate(widths.items()):
        if number:
            line.append(" " * _GAP)
        if name == "STATUS":
            line.append_text(status)
            line.append(" " * (wide - width(status.plain)))
        else:
            text = cut_middle(cell[name], wide) if name == "ID" else cut(cell[name], wide)
            line.append(pad(text, wide, right=name in RIGHT))
    line.rstrip()
    return line


def status_text(status: Status, now: datetime, *, held: bool = False) -> Text:
    """A status with its glyph and colour; ``running`` turns, and one that is ``held`` waits for a paused queue."""
    glyph, style = _HELD if held else _LOOKS[status]
    glyph = glyph or _SPINNER[int(now.timestamp() * FRAMES_PER_SECOND) % len(_SPINNER)]
    return Text(f"{shown(glyph)} {status}", style=style)


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of texts whose last column wraps."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0), expand=False)
    for name in header:
        table.add_column(name, no_wrap=name != header[-1], overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    return table
