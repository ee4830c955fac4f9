"""The standard streams of a command, whatever they are: closed, full, or of an encoding that lacks most characters.

A stream that is closed is replaced by one that behaves like one of an empty disk, so that nobody else has to ask
whether there is one. What tq draws with (arrows, marks, dots) has plain forms for streams without UTF-8.
"""

from __future__ import annotations

import codecs
import os
import sys
from typing import Final, TextIO

#: Name of the error handler for codecs.
PLAINLY: Final = "tq.plainly"

#: What tq draws with, and what stands for it where it cannot be shown.
_PLAIN: Final = {
    "→": "->",
    "✔": "+",
    "✘": "x",
    "↻": "~",
    "‖": "=",
    "·": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "│": "|",
    "≥": ">=",
    **dict(zip("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\|/-\\|/", strict=True)),
}


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(char) or char.encode("unicode_escape").decode("ascii") for char in lacking), error.end


codecs.register_error(PLAINLY, _plainly)


def prepare() -> None:
    """Make all three streams usable, and stdout and stderr take any text."""
    if sys.stdin is None:
        sys.stdin = _in_place_of(0, os.O_WRONLY, "r")  # reading fails
    if sys.stdout is None:
        sys.stdout = _in_place_of(1, os.O_RDONLY, "w")  # writing fails
    if sys.stderr is None:
        sys.stderr = _in_place_of(2, os.O_WRONLY, "w")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors=PLAINLY)  # type: ignore[union-attr]  # always text streams here


def _in_place_of(number: int, flags: int, mode: str) -> TextIO:
    """Also so that the next file or connection does not get the number of a standard stream."""
    drain(number, flags)
    # Not closed with the stream: whatever is started after it expects three.
    return open(number, mode, encoding="utf-8", closefd=False)  # type: ignore[return-value]


def drain(number: int, flags: int = os.O_WRONLY) -> None:
    """Lead a descriptor into nothing."""
    null = os.open(os.devnull, flags)
    if null != number:
        os.dup2(null, number)
        os.close(null)


def is_utf8(stream: TextIO) -> bool:
    """Whether a stream can show every character."""
    encoding = getattr(stream, "encoding", None)
    return encoding is None or encoding.lower().replace("-", "").replace("_", "") in {"utf8", "utf8sig"}


def shown(text: str, stream: TextIO | None = None) -> str:
    """The text as a stream (stdout) will show it, to be measured: what it lacks is replaced."""
    stream = sys.stdout if stream is None else stream
    if text.isascii() or is_utf8(stream):
        return text
    return text.encode(stream.encoding, PLAINLY).decode(stream.encoding)
