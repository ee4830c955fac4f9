"""One process: run it, tell it from another with its pid, end it with all that it started.

Three small ideas leave no orphan, on any system with a POSIX shell:

* **Own session.** A process leads a session and process group of its own, so a terminal's Ctrl-C
  reaches the one who started it alone, and a group is killed as one, whatever its leader has forked.
* **Guard.** One ``sh`` (about 1 MB) reads from a pipe of which only its starter holds the other end.
  It is told which groups run; at end of file the starter is gone, even by kill -9, and the guard ends
  the groups.
* **Gate.** A process begins as ``sh`` that waits for a line on its stdin and then becomes the command,
  under the same pid. The line is sent when the guard knows the pid, and at end of file it exits
  instead: so there is no moment in which a killed starter leaves a process behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

import psutil

from tq.logs import LineSplitter

_GATE: Final = 'read -r go && exec "$@" </dev/null'
#: `kill -s NAME --` is the one spelling that POSIX shells agree on for groups.
#: SIGTERM to the leaders, then, when a group still lives after 3 s, SIGKILL to all.
_GUARD: Final = """
while read -r line; do pids=$line; done
alive() { for pid in $pids; do kill -s 0 -- "-$pid" && return 0; done; return 1; }
for pid in $pids; do kill -s TERM "$pid"; done
tries=30
while [ "$tries" -gt 0 ] && alive; do sleep 0.1; tries=$((tries - 1)); done
for pid in $pids; do kill -s KILL -- "-$pid"; done
"""
#: Seconds that a dead process's output may stay open, held by something that it started.
_DRAIN: Final = 2.0

#: Linux tells this of every start of the machine; other systems have nothing of the kind.
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process for good: a pid alone comes back with another process.

    Attributes:
        pid: the process id.
        birth: which process with this pid it is: on Linux the boot and the clock tick of its start, which
            do not move when the clock is set; elsewhere the creation time as the system keeps it.
    """

    pid: int
    birth: str

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The process that has this pid now; None when there is none."""
        try:
            return cls(pid, _birth(pid))
        except (psutil.Error, OSError):
            return None

    def alive(self) -> bool:
        """Whether it still runs. A zombie does not: where nothing reaps orphans it stays one for ever."""
        try:
            return _birth(self.pid) == self.birth and psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            return False

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill_group(self) -> None:
        """SIGKILL it and the process group it leads, if it still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getpgid(self.pid) == self.pid:
                    os.killpg(self.pid, signal.SIGKILL)
                else:
                    os.kill(self.pid, signal.SIGKILL)


def _birth(pid: int) -> str:
    """See ``ProcessId.birth``. Raises OSError or psutil.Error when there is no such process."""
    if not _BOOT_ID.exists():
        return str(psutil.Process(pid).create_time())
    # The command's name, in brackets, may hold spaces and brackets; the start is field 22 (proc(5)).
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return f"{_BOOT_ID.read_text().strip()}/{int(fields[19])}"


def wait_gone(processes: Iterable[ProcessId], timeout: float) -> list[ProcessId]:
    """Wait until none of them runs any more, ``timeout`` seconds at most; returns those that still do."""
    deadline = time.monotonic() + timeout
    left = [process for process in processes if process.alive()]
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [process for process in left if process.alive()]
    return left


def port_holder(port: int) -> tuple[int, str] | None:
    """Pid and command name of the process that listens on a TCP port.

    None when the system does not tell: another user's process, or, on macOS, any but our own.
    """
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.pid and _listens(connection.status, connection.laddr, port):
                return connection.pid, psutil.Process(connection.pid).name()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(_listens(each.status, each.laddr, port) for each in process.net_connections(kind="tcp")):
                return process.pid, process.name()
    return None


def environment_of(pid: int) -> dict[str, str]:
    """The environment that a process was started with; empty when the system does not tell."""
    with contextlib.suppress(psutil.Error, OSError):
        return psutil.Process(pid).environ()
    return {}


def command_of(pid: int) -> list[str]:
    """The command line that a process was started with; empty when the system does not tell."""
    with contextlib.suppress(psutil.Error, OSError):
        return psutil.Process(pid).cmdline()
    return []


def _listens(status: str, address: Sequence[object], port: int) -> bool:
    return status == psutil.CONN_LISTEN and len(address) > 1 and address[1] == port


def describe_exit(status: int) -> str:
    """``exited with status 1``, or ``was killed by SIGKILL``, for a status as ``subprocess`` gives it."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


class Process:
    """One run of a command. Made, signalled and reaped on the loop's thread."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        on_lines: Callable[[list[str]], None],
    ) -> None:
        self.status: int | None = None
        self._ended = asyncio.Event()
        self._on_lines = on_lines
        self._splitter = LineSplitter()
        self._popen = subprocess.Popen(  # noqa: S603 - the command is the caller's
            ["/bin/sh", "-c", _GATE, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=directory,
            start_new_session=True,
            umask=0o077,
        )
        self.pid = self._popen.pid
        self._gate = cast("IO[bytes]", self._popen.stdin)
        self._output = cast("IO[bytes]", self._popen.stdout)
        os.set_blocking(self._output.fileno(), False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._output, self._read)

    def open_gate(self) -> None:
        """Let the command begin."""
        with contextlib.suppress(BrokenPipeError), self._gate:
            self._gate.write(b"go\n")

    async def wait(self) -> int:
        """The exit status, when it has exited and all of its output is read."""
        await self._ended.wait()
        return int(self._popen.returncode)

    def terminate(self) -> None:
        """SIGTERM to the process; what it has forked is its own affair."""
        self._popen.terminate()

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if self.status is None:
            self._kill_group()

    def reap(self) -> bool:
        """Whether it has exited; ``wait`` returns as soon as its output is read as well."""
        if self.status is not None:
            return True
        if self._popen.poll() is None:
            return False
        self.status = self._popen.returncode
        self._kill_group()  # what it leaves behind would answer for its successor
        if self._output.closed:
            self._ended.set()
        else:
            self._loop.call_later(_DRAIN, self._close)
        return True

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM when only zombies are left
            os.killpg(self.pid, signal.SIGKILL)

    def _read(self) -> None:
        try:
            data = os.read(self._output.fileno(), 64 * 1024)
        except BlockingIOError:
            return
        if data:
            self._tell(self._splitter.feed(data))
        else:
            self._close()

    def _close(self) -> None:
        if self._output.closed:
            return
        self._loop.remove_reader(self._output)
        self._output.close()
        self._tell(self._splitter.feed(b"", end=True))
        if self.status is not None:
            self._ended.set()

    def _tell(self, lines: list[str]) -> None:
        if lines:
            self._on_lines(lines)


class Guard:
    """Ends the watched process groups when this process is gone; see the module's docstring."""

    def __init__(self) -> None:
        self._pids: list[int] = []
        self._popen = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - a constant
            ["/bin/sh", "-c", _GUARD, "guard"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The guard's own pid."""
        return self._popen.pid

    def watch(self, pids: Sequence[int]) -> None:
        """From now on these groups are the ones to end. A guard that was killed is replaced."""
        self._pids = list(pids)
        if self._popen.poll() is not None:
            self._close()
            self._popen = self._start()
        self._send()

    def revive(self) -> None:
        """Replace the guard if it was killed."""
        if self._popen.poll() is not None:
            self.watch(self._pids)

    def close(self) -> None:
        """Let it go, with nothing to end."""
        self._pids = []
        self._send()
        self._close()
        self._popen.wait()

    def _send(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            cast("IO[bytes]", self._popen.stdin).write(" ".join(map(str, self._pids)).encode() + b"\n")

    def _close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            cast("IO[bytes]", self._popen.stdin).close()


def usage() -> tuple[float, float, int, int]:
    """Of this process: when it began (Unix time), seconds of CPU time, bytes of memory, open files."""
    process = psutil.Process()
    with process.oneshot():
        cpu = process.cpu_times()
        return process.create_time(), cpu.user + cpu.system, process.memory_info().rss, process.num_fds()
