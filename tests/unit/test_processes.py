"""ProcessId: which process a pid means."""

from __future__ import annotations

import subprocess
from dataclasses import replace

from tq.processes import ProcessId, wait_gone


def test_a_pid_that_came_back_is_another_process() -> None:
    """A process with the pid that another had is not that one, however shortly after it began."""
    with subprocess.Popen(["sleep", "1000"]) as earlier:
        first = ProcessId.of(earlier.pid)
        assert first is not None
        assert first.alive()
        earlier.kill()
        earlier.wait()
        assert not first.alive()
        later = _another(first)
        try:
            identity = ProcessId.of(later.pid)
            assert identity is not None
            recycled = replace(first, pid=later.pid)
            assert not recycled.alive()
            recycled.kill_group()
            assert identity.alive()
            assert later.poll() is None
        finally:
            later.kill()
            later.wait()


def _another(first: ProcessId) -> subprocess.Popen[bytes]:
    """A process of the clock ticks right after the first one's."""
    while True:
        later = subprocess.Popen(["sleep", "1000"])
        identity = ProcessId.of(later.pid)
        assert identity is not None
        if identity.birth != first.birth:
            return later
        later.kill()
        later.wait()


def test_one_process_read_twice_is_the_same() -> None:
    """What is kept of a process in a file finds it again; a zombie does not count as running."""
    child = subprocess.Popen(["sleep", "1000"])
    identity = ProcessId.of(child.pid)
    assert identity == ProcessId.of(child.pid)
    assert identity is not None
    child.kill()
    assert wait_gone([identity], 30) == []
    assert child.wait() != 0
    assert ProcessId.of(child.pid) is None
