"""The terminal of a command: data goes to stdout, messages to stderr, and neither can be taken over by text.

What a message carries is untrusted: before it is shown, whatever could move the cursor, recolour or
reorder a line is replaced by its escape. Light on purpose: `tq --help` pays for this module.
"""

from __future__ import annotations

import os
import select
import sys
import time
import unicodedata
from typing import TextIO

from tq.errors import TqError

#: Characters of category Cf that scripts and emoji need: zero-width (non-)joiner, soft hyphen.
_HARMLESS = frozenset("\u200c\u200d\u00ad")
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def clean(text: str, *, keep: str = "") -> str:
    r"""The text without control characters, escape sequences and direction overrides: they show as ``\x1b``.

    Args:
        text: untrusted.
        keep: characters that may stay, a line feed for example.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char
        if char in keep or char in _HARMLESS or unicodedata.category(char) not in _UNSAFE
        else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def wants_style(stream: TextIO) -> bool:
    """Whether colours and live updates are welcome: a terminal that can show them, and no NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, sgr: str, stream: TextIO) -> str:
    """The text in an SGR style (``31``, ``1;32``), where style is welcome."""
    return f"\x1b[{sgr}m{text}\x1b[0m" if sgr and wants_style(stream) else text


def write(text: str, end: str = "\n") -> None:
    """Write data to stdout, at once. A reader that has gone away ends the command quietly."""
    try:
        sys.stdout.write(text + end)
        sys.stdout.flush()
    except BrokenPipeError:
        leave_closed_pipe()


def write_exact(text: str) -> None:
    """Write a text to stdout as UTF-8, byte for byte."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        leave_closed_pipe()


def leave_closed_pipe() -> None:
    """End quietly: whoever read our output has what they wanted.

    Raises:
        SystemExit: always, with 0.
    """
    # What is still buffered would fail again, loudly, when the interpreter flushes at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(0)


def check_pipe() -> None:
    """End quietly if the reader of stdout has gone, which otherwise only shows at the next write."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if any(events & select.POLLERR for _, events in poll.poll(0)):
        leave_closed_pipe()


def note(text: str) -> None:
    """A message for the person, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Ticker:
    """How many are done, on stderr, once that takes longer than a second: in place on a terminal, else a line at times.

    Args:
        what: has been done to them.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._live = wants_style(sys.stderr)
        self._pause = 0.2 if self._live else 5.0
        self._due = time.monotonic() + (1.0 if self._live else self._pause)
        self._shown = False

    def at(self, count: int) -> None:
        """So many are done."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._pause
        sys.stderr.write(f"\r\x1b[2K{count} {self._what} …" if self._live else f"{count} {self._what} …\n")
        sys.stderr.flush()
        self._shown = True

    def close(self) -> None:
        """All are: it is for somebody else to say."""
        if self._live and self._shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def report(error: TqError) -> int:
    """Show an error in three lines (what, why, fix) on stderr; returns its exit code."""
    lines = [f"{paint('error:', '1;31', sys.stderr)} {clean(error.what)}"]
    lines += [f"  {name}   {clean(text)}" for name, text in (("why", error.why), ("fix", error.fix)) if text]
    note("\n".join(lines))
    return error.exit_code
