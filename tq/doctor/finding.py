"""What a check found, and how that is shown."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass
from typing import Any, Final, Literal

from tq.errors import TqError, Unauthorised, Unreachable
from tq.terminal import clean, paint

UNREACHABLE: Final = Unreachable.exit_code
REFUSED: Final = Unauthorised.exit_code
_MARKS: Final = {"ok": ("✔", "32"), "warning": ("!", "33"), "error": ("✘", "31")}

#: Columns before what a finding says.
_INDENT: Final = 12

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        name: of the check; no two findings have the same.
        detail: what is so.
        fix: what mends it, where that is wanted.
        exit_code: 0 when messages can be translated in spite of it.
        doubtful: it may be meant so.
    """

    name: str
    detail: str
    fix: str = ""
    exit_code: int = 0
    doubtful: bool = False

    @property
    def level(self) -> Level:
        """How bad it is."""
        return "error" if self.exit_code else "warning" if self.doubtful else "ok"

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        ok = not self.exit_code
        return {"check": self.name, "ok": ok, "level": self.level, "detail": self.detail, "fix": self.fix or None}

    def text(self, room: int | None = None) -> str:
        """As people read it; wrapped where a terminal has so much room."""
        mark, colour = _MARKS[self.level]
        texts = [self.detail, f"fix: {self.fix}"] if self.fix else [self.detail]
        lines = [line for text in texts for line in _wrapped(clean(text), room)]
        head = f"{paint(mark, colour, sys.stdout)} {self.name:<{_INDENT - 3}} "
        return head + f"\n{' ' * _INDENT}".join(lines)


def _wrapped(text: str, room: int | None) -> list[str]:
    if room is None or room < 2 * _INDENT:
        return [text]
    return textwrap.wrap(text, room - _INDENT, break_long_words=False, break_on_hyphens=False)


def wrong(name: str, detail: str, fix: str) -> Finding:
    """Something that keeps messages from being translated."""
    return Finding(name, detail, fix, 1)


def doubtful(name: str, detail: str, fix: str = "") -> Finding:
    """Something that may be meant so, or is about to go wrong."""
    return Finding(name, detail, fix, doubtful=True)


def failed(name: str, error: TqError) -> Finding:
    """The error that a check ended with."""
    code = error.exit_code if error.exit_code in {UNREACHABLE, REFUSED} else 1
    return Finding(name, f"{error.what}: {error.why}" if error.why else error.what, error.fix, code)
