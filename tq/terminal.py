"""The terminal of a command: data goes to stdout, messages to stderr, and neither can be taken over by text.

What a message carries is untrusted: before it is shown, whatever could move the cursor, recolour or
reorder a line is replaced by its escape. Light on purpose: `tq --help` pays for this module.
"""

from __future__ import annotations

import errno
import json
import os
import select
import shutil
import sys
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from tq.errors import OutputLost, TqError
from tq.streams import drain, is_utf8

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


# -- stdout ----------------------------------------------------------------------------------------


def write(text: str, end: str = "\n") -> None:
    """Write data to stdout, at once. A reader that has gone away ends the command quietly.

    Raises:
        OutputLost: it cannot be written.
    """
    with writing():
        sys.stdout.write(text + end)


def write_json(document: Any) -> None:
    """Write a document as one line of JSON, or JSON text as it is.

    Raises:
        OutputLost: it cannot be written.
    """
    text = document if isinstance(document, str) else json.dumps(document, ensure_ascii=False)
    if not is_utf8(sys.stdout):
        # What is not ASCII stands in strings alone, where JSON has escapes of its own.
        text = "".join(char if char.isascii() else json.dumps(char)[1:-1] for char in text)
    write(text)


def write_exact(text: str) -> None:
    """Write a text to stdout as UTF-8, byte for byte.

    Raises:
        OutputLost: it cannot be written.
    """
    with writing():
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()


@contextmanager
def writing() -> Iterator[None]:
    """Around whatever writes to stdout, which is flushed at the end.

    Raises:
        OutputLost: it cannot be written.
    """
    with _lock:
        _wipe()
        try:
            yield
            sys.stdout.flush()
        except BrokenPipeError:
            leave_closed_pipe()
        except OSError as error:
            raise lost(error) from None


def lost(error: OSError) -> OutputLost:
    """The error of a write to stdout as ours; nothing more is written there."""
    drain(sys.stdout.fileno())  # what is still buffered would fail again at the end
    return OutputLost(
        "the output could not be written",
        why="stdout is closed" if error.errno == errno.EBADF else f"stdout: {error.strerror or type(error).__name__}",
        fix="have stdout lead somewhere, with room for it",
    )


def leave_closed_pipe() -> None:
    """End quietly: whoever read our output has what they wanted.

    Raises:
        SystemExit: always, with 0.
    """
    # What is still buffered would fail again, loudly, when the interpreter flushes at its end.
    drain(sys.stdout.fileno())
    raise SystemExit(0)


def check_pipe() -> None:
    """End quietly if the reader of stdout has gone, which otherwise only shows at the next write.

    Raises:
        OutputLost: there was none from the beginning.
    """
    import fcntl  # where there is none, there is no poll either

    if fcntl.fcntl(sys.stdout.fileno(), fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise lost(OSError(errno.EBADF, os.strerror(errno.EBADF)))
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if any(events & select.POLLERR for _, events in poll.poll(0)):
        leave_closed_pipe()


# -- stderr ----------------------------------------------------------------------------------------

#: Held while somebody writes: what goes on is shown from a thread of its own.
_lock = threading.RLock()
_in_place = False


def note(text: str) -> None:
    """A message for the person, on stderr; where that leads nowhere, it is for nobody."""
    with _lock, _saying():
        _wipe()
        sys.stderr.write(text + "\n")


def show_in_place(text: str) -> None:
    """Show a line on stderr, a terminal, that the next one replaces, as does whatever is written."""
    global _in_place  # noqa: PLW0603 - there is one terminal
    with _lock, _saying():
        sys.stderr.write(f"\r\x1b[2K{text}")
        _in_place = True


def wipe() -> None:
    """Take away the line that is shown in place."""
    with _lock:
        _wipe()


def _wipe() -> None:
    global _in_place  # noqa: PLW0603 - see above
    if _in_place:
        _in_place = False
        with _saying():
            sys.stderr.write("\r\x1b[2K")


@contextmanager
def _saying() -> Iterator[None]:
    try:
        yield
        sys.stderr.flush()
    except OSError:
        with suppress(OSError, ValueError):
            drain(sys.stderr.fileno())


def columns_of(stream: TextIO) -> int:
    """How wide the terminal of a stream is."""
    with suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns
    return shutil.get_terminal_size().columns


def report(error: TqError) -> int:
    """Show an error in three lines (what, why, fix) on stderr; returns its exit code."""
    lines = [f"{paint('error:', '1;31', sys.stderr)} {clean(error.what)}"]
    lines += [f"  {name}   {clean(text)}" for name, text in (("why", error.why), ("fix", error.fix)) if text]
    note("\n".join(lines))
    return error.exit_code
