"""A program under test whose output is read as it comes, and whose every descendant is known."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
from servers import wait_until

#: Marks everything that a program has started, however it was started: environments are inherited.
_MARK = "TQ_TEST_MARK"


class Driven:
    """A running program.

    Args:
        command: what to run.
        cwd: where.
        env: its environment; inherited when None.
    """

    def __init__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self.mark = uuid.uuid4().hex
        self.lines: list[str] = []
        self._seen: set[psutil.Process] = set()
        self.popen = subprocess.Popen(
            command,
            cwd=cwd,
            env={**(os.environ if env is None else env), _MARK: self.mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as stream:
            for raw in stream:
                self.lines.append(raw.decode("utf-8", "replace").rstrip("\n"))

    @property
    def text(self) -> str:
        """All output so far."""
        return "\n".join(self.lines)

    def find(self, pattern: str) -> list[re.Match[str]]:
        """Matches of a pattern at the beginning of lines, in order."""
        return [match for line in list(self.lines) if (match := re.match(pattern, line))]

    def wait_for(self, pattern: str, count: int = 1, timeout: float = 60.0) -> re.Match[str]:
        """Wait until ``count`` lines match; returns the last of them."""
        wait_until(
            lambda: len(self.find(pattern)) >= count or self.popen.poll() is not None,
            lambda: f"there are {count} lines {pattern!r} in:\n{self.text[-4000:]}",
            timeout,
        )
        if len(self.find(pattern)) < count:
            self._reader.join(5)
        found = self.find(pattern)
        assert len(found) >= count, f"no {count} lines {pattern!r} in:\n{self.text[-4000:]}"
        return found[count - 1]

    def index(self, pattern: str) -> int:
        """The number of the first line that matches."""
        for number, line in enumerate(self.lines):
            if re.match(pattern, line):
                return number
        raise AssertionError(f"no line {pattern!r} in:\n{self.text}")

    def send(self, number: signal.Signals) -> None:
        """Signal the program itself."""
        self.descendants()
        self.popen.send_signal(number)

    def wait(self, timeout: float = 60.0) -> int:
        """Its exit status, with all output read."""
        status = self.popen.wait(timeout)
        self._reader.join(5)
        return status

    def descendants(self) -> list[psutil.Process]:
        """Whatever lives and was started by the program, directly or not; not the program itself.

        Found by the mark in its environment, or, where a program overwrites that (Valkey does), as a
        child of such a process, now or when this was last asked.
        """
        marked = [each for each in psutil.process_iter() if self._is_marked(each)]
        for each in marked:
            with contextlib.suppress(psutil.Error):
                self._seen.update(each.children())
        self._seen.update(marked)
        self._seen = {each for each in self._seen if _lives(each)}
        return [each for each in self._seen if each.pid != self.popen.pid]

    def _is_marked(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(_MARK) == self.mark
        except psutil.Error:
            return False

    def wait_gone(self, timeout: float = 30.0) -> None:
        """Wait until nothing that it has started lives any more."""
        wait_until(
            lambda: not self.descendants(),
            lambda: f"its descendants are gone; there are {self.descendants()}",
            timeout,
        )

    def close(self) -> None:
        """End it and everything it has started, and fail if it was not clean."""
        left = self.descendants()
        running = self.popen.poll() is None
        for process in [*left, psutil.Process(self.popen.pid)] if running else left:
            process.kill()
        self.popen.wait(10)
        self._reader.join(5)
        assert running or not left, f"left behind: {left}"


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
