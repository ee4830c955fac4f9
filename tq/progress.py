"""What goes on, on stderr, once it takes longer than a second: who waits wants to know that something does."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Final, Self

from tq.layout import cut, span
from tq.streams import shown
from tq.terminal import clean, columns_of, note, show_in_place, wants_style, wipe

#: Seconds of silence, and between two looks of a line that is kept up to date in place.
_SILENCE: Final = 1.0
_EVERY: Final = 0.2
#: Seconds between two lines where none can be replaced.
_PAUSE: Final = 5.0


class Progress:
    """Says what goes on, and for how long: in place on a terminal, else a line at times. A context manager.

    Args:
        what: goes on.
        in_pipes: whether it is said where no terminal is, too.
        silent: it is said nowhere, for somebody else does.
    """

    def __init__(self, what: str, *, in_pipes: bool = True, silent: bool = False) -> None:
        self._what = what
        self._live = wants_style(sys.stderr)
        self._silent = silent or not (self._live or in_pipes)
        self._began = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tq-progress", daemon=True)

    def say(self, what: str) -> None:
        """Something else goes on, or it has come further."""
        self._what = what

    def __enter__(self) -> Self:
        if not self._silent:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if not self._silent:
            self._thread.join()
        wipe()

    def _run(self) -> None:
        pause = _SILENCE if self._live else _PAUSE
        while not self._done.wait(pause):
            took = time.monotonic() - self._began
            text = clean(f"{self._what} … {f'{int(took)}s' if took < 60 else span(took)}")
            if self._live:
                show_in_place(cut(shown(text, sys.stderr), columns_of(sys.stderr) - 1))
            else:
                note(text)
            pause = _EVERY if self._live else _PAUSE
