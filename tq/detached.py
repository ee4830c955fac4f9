"""The stack in the background: `tq up -d` starts this module as a process and waits for its report.

The report is a pipe of JSON lines: ``["pid", n]``, ``["say", line]`` for every line of the banner, and
at last ``["exit", code]`` or ``["error", class, what, why, fix]``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO, cast

from tq import errors
from tq.errors import StackError, TqError


def start(module: str, environment: Mapping[str, str], *, log: Path, out: TextIO) -> int:
    """Start the stack in a session of its own and wait until it is healthy.

    Args:
        module: what to run; it calls ``serve`` with its argument.
        environment: all of its environment; holds its settings.
        log: where its own output goes, should it ever have any.
        out: where the banner goes.

    Returns:
        0 when it is healthy, or another stack runs already.

    Raises:
        TqError: what kept it from starting.
        KeyboardInterrupt: Ctrl-C while it starts, which is ended as well.
    """
    reader, writer = os.pipe()
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as file:  # noqa: PTH123 - a mode from the start
        subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", module, str(writer)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            pass_fds=[writer],
            start_new_session=True,
            umask=0o077,
            check=False,
        )
    os.close(writer)
    pid = None
    with open(reader, encoding="utf-8") as report:  # noqa: PTH123 - a descriptor
        try:
            for line in report:
                verb, *values = json.loads(line)
                if verb == "pid":
                    pid = int(values[0])
                elif verb == "say":
                    print(values[0], file=out, flush=True)
                elif verb == "exit":
                    return int(values[0])
                else:
                    raise _error(*values)
        except KeyboardInterrupt:
            if pid is not None:
                os.kill(pid, signal.SIGTERM)
                report.read()  # until it has stopped
            raise
    raise StackError("the stack ended before it was healthy", fix="see `tq logs stack`")


def _error(name: str, what: str, why: str, fix: str) -> TqError:
    kind: type[TqError] = getattr(errors, name)
    return kind(what, why=why, fix=fix)


class _Report(io.TextIOBase):
    """The writing end, for a console. Whoever waited may be gone: what cannot be sent is dropped."""

    def __init__(self, descriptor: int) -> None:
        self._file = open(descriptor, "w", buffering=1, encoding="utf-8")  # noqa: SIM115 - closed by ready

    def send(self, *values: object) -> None:
        """Send one line of the report."""
        with contextlib.suppress(OSError, ValueError):
            self._file.write(json.dumps(values) + "\n")

    def ready(self) -> None:
        """Healthy: nobody waits any more."""
        self.send("exit", 0)
        with contextlib.suppress(OSError):
            self._file.close()

    def write(self, text: str) -> int:
        """Send lines of the banner."""
        for line in text.splitlines():
            self.send("say", line)
        return len(text)


def serve(descriptor: int, run: Callable[[TextIO, Callable[[], None]], int]) -> int:
    """Be the background process.

    Args:
        descriptor: the writing end of the report.
        run: runs the stack; is given where its banner goes, and what to call when it is healthy.

    Returns:
        Its exit code.
    """
    if os.fork():
        os._exit(0)  # so that nobody's child is left to be reaped
    report = _Report(descriptor)
    report.send("pid", os.getpid())
    try:
        code = run(cast("TextIO", report), report.ready)
    except TqError as error:
        sys.stderr.write(f"{error.what}: {error.why}\n")
        report.send("error", type(error).__name__, error.what, error.why, error.fix)
        return error.exit_code
    report.send("exit", code)
    return code
