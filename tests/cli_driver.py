"""Drives `tq` as a person and a script do: processes with pipes, files or a pseudo terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import pexpect

from tq.local import LocalClient
from tq.messages import Message, Status

#: The command, whether or not its script is on the path.
TQ: Final = [sys.executable, "-m", "tq"]
#: An id of tq's own making.
ULID: Final = r"[0-9A-HJKMNP-TV-Z]{26}"
#: A key that must be seen nowhere.
CANARY: Final = "sk-canary-4f1d"
#: How the names of settings begin.
SETTINGS: Final = ("TQ_", "REDIS_", "OPENAI_", "FLOWER_")


def bare_environment(home: Path) -> dict[str, str]:
    """This process's environment without any setting, and with a home of its own."""
    # COLUMNS and LINES would hide the size of a test's own terminal.
    foreign = (*SETTINGS, "COLUMNS", "LINES")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    # A call for each message, unless a test is about those that need none: faults are chosen, and counted, by message.
    return inherited | {"HOME": str(home), "PYTHONUNBUFFERED": "1", "TQ_BATCH_MAX_ITEMS": "1", "TQ_MEMORY_TTL": "0"}


class Cli:
    """Runs tq to its end, with stdin, stdout and stderr in pipes.

    Args:
        environment: the whole of it.
        folder: the working directory.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self.environment = dict(environment)
        self.folder = folder

    def __call__(self, *args: str, stdin: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command line; ``settings`` are further environment variables."""
        return subprocess.run(
            [*TQ, *args],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment | settings,
            cwd=self.folder,
            timeout=60,
            check=False,
        )

    def start(self, *args: str, **settings: str) -> Running:
        """Start a command line that does not end by itself; a context manager."""
        return Running(*args, env=self.environment | settings, folder=self.folder)

    def terminal(self, *args: str, **settings: str) -> pexpect.spawn:
        """Start a command line in a pseudo terminal of 30 lines."""
        environment = self.environment | {"TERM": "xterm-256color"} | settings
        return pexpect.spawn(
            TQ[0],
            [*TQ[1:], *args],
            env=environment,
            cwd=str(self.folder),
            dimensions=(30, 120),
            encoding="utf-8",
            timeout=30,
        )


def exit_code(child: pexpect.spawn) -> int:
    """Wait for the end of a terminal's command."""
    child.expect(pexpect.EOF)
    child.close()
    code: int = child.exitstatus
    return code


class Running:
    """A tq that has not ended, its output in files; a context manager that leaves nothing behind."""

    def __init__(self, *args: str, env: dict[str, str], folder: Path) -> None:
        self._paths = folder / "running.out", folder / "running.err"
        with self._paths[0].open("wb") as out, self._paths[1].open("wb") as err:
            self.popen = subprocess.Popen(
                [*TQ, *args], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, cwd=folder
            )

    @property
    def out(self) -> bytes:
        """What it has written to stdout."""
        return self._paths[0].read_bytes()

    @property
    def err(self) -> str:
        """What it has written to stderr."""
        return self._paths[1].read_text()

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.popen.send_signal(signal.SIGINT)
        return self.popen.wait(timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.popen.kill()
        self.popen.wait(timeout=30)


def error_lines(text: str) -> list[str]:
    """The first words of the lines of an error: error, why, fix."""
    return [line.split()[0].rstrip(":") for line in text.splitlines()]


def complete(local: LocalClient, message_id: str, translation: str) -> Message:
    """Do a worker's work."""
    local.set_status(message_id, Status.RUNNING)
    return local.set_status(message_id, Status.COMPLETED, translation=translation)


def fail(local: LocalClient, message_id: str) -> Message:
    """Fail at a worker's work."""
    local.set_status(message_id, Status.RUNNING)
    return local.set_status(message_id, Status.FAILED, error="no such luck\x1b[2J")
