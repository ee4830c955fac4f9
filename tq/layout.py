"""Text laid out for people: cells as wide as terminals draw them, columns, durations and money in words. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from tq.streams import shown

#: Of no width of their own: marks on the character before, and what is invisible.
_WIDTHLESS: Final = frozenset({"Mn", "Me", "Cf"})
_DOTS: Final = "…"
#: Columns that are left of a cell that loses its middle.
_LEAST_CUT: Final = 12
_WORD: Final = re.compile(r"\s+|\S+\s*")
#: Of a colour: it takes no room.
_SGR: Final = re.compile("\x1b\\[[\\d;]*m")


def width(text: str) -> int:
    """How many columns of a terminal a text takes (Unicode Standard Annex 11; ambiguous ones are narrow)."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(char: str) -> int:
    if unicodedata.category(char) in _WIDTHLESS:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """The text, filled up with blanks to so many columns: at its end, or with ``right`` at its beginning."""
    blanks = " " * (columns - width(text))
    return blanks + text if right else text + blanks


def cut(text: str, columns: int) -> str:
    """The text in at most so many columns; what was cut off its end shows as dots."""
    if width(text) <= columns:
        return text
    dots = shown(_DOTS)[: max(0, columns)]
    return _beginning(text, columns - len(dots)) + dots


def cut_middle(text: str, columns: int) -> str:
    """The text in at most so many columns, with its beginning, which is what people type, and its end."""
    if width(text) <= columns:
        return text
    dots = shown(_DOTS)
    room = columns - len(dots)
    if room < 2 * len(dots) + 2:
        return cut(text, columns)
    tail = _beginning(text[::-1], room // 3)[::-1]
    return _beginning(text, room - width(tail)) + dots + tail


def _beginning(text: str, columns: int) -> str:
    taken = 0
    for index, char in enumerate(text):
        taken += _width(char)
        if taken > columns:
            return text[:index]
    return text


def wrap(text: str, room: int, indent: int = 0) -> str:
    """The text in lines of at most so many columns, broken between words; all but the first are indented.

    A word that is longer stays whole if it is ASCII: it may be an address, which people copy.
    """
    lines, line, indented = [], "", ""
    for part in _parts(text, max(1, room - indent)):
        if line.strip() and width(_visible(indented + line + part.rstrip())) > room:
            lines.append(indented + line.rstrip())
            line, indented = "", " " * indent
        line += part
    return "\n".join([*lines, indented + line.rstrip()])


def _parts(text: str, room: int) -> Iterator[str]:
    """Words with the blanks after them; of one that is too long, and no ASCII, as much as there is room for."""
    for word in _WORD.findall(text):
        rest = word
        while not rest.isascii() and width(_visible(rest.rstrip())) > room and (part := _beginning(rest, room)):
            yield part
            rest = rest[len(part) :]
        yield rest


def _visible(text: str) -> str:
    return _SGR.sub("", text)


def columns(table: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Rows of text as lines with columns as wide as they need, as stdout will show them."""
    rows = [[shown(cell) for cell in row] for row in table]
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [
        (indent + "  ".join(pad(cell, wide) for cell, wide in zip(row, widths, strict=True))).rstrip() for row in rows
    ]


def fitted_columns(
    table: Sequence[Sequence[str]], room: int, *, least: Sequence[str] = (), cuttable: Sequence[str] = ()
) -> list[str]:
    """The same for so many columns of a terminal.

    Args:
        table: its first row is its heading.
        room: how wide the terminal is.
        least: headings of what is left out where room is scarce, what matters least first.
        cuttable: headings of what may lose its middle before that.
    """
    rows = [[shown(cell) for cell in row] for row in table]
    natural = {head: max(map(width, column)) for head, *column in zip(rows[0], *rows, strict=True)}
    wide = {
        head: min(size, max(_LEAST_CUT, width(head))) if head in cuttable else size for head, size in natural.items()
    }

    def left() -> int:
        return room - sum(wide.values()) - 2 * (len(wide) - 1)

    for head in least:
        if left() < 0:
            wide.pop(head, None)
    if left() < 0:
        widest = max(wide, key=lambda head: wide[head])
        wide[widest] = max(_LEAST_CUT, wide[widest] + left())
    for head in cuttable:
        if head in wide:
            wide[head] = min(natural[head], wide[head] + max(0, left()))
    lines = []
    for row in rows:
        cells = zip(natural, row, strict=True)
        lines.append("  ".join(pad(cut_middle(cell, wide[head]), wide[head]) for head, cell in cells if head in wide))
    return [cut(line.rstrip(), room) for line in lines]


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
    whole = max(60, int(seconds))
    return f"{whole // 60}m{whole % 60:02}s" if whole < 3600 else age(whole)


def money(amount: float | None) -> str:
    """Money to the hundredth, below 1 to four digits, never in powers of ten: ``0.00001234``; ``unknown`` for None."""
    if amount is None:
        return "unknown"
    return f"{amount:.2f}" if amount >= 1 else f"{Decimal(f'{amount:.4g}'):f}"


def count(number: int, noun: str) -> str:
    """``1 worker``, ``2 workers``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
