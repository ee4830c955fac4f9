"""What this process is called, and how its lines look in a log."""

from __future__ import annotations

import os
import socket
from secrets import token_hex

from tq.portal import PerProcess
from tq.settings import UNDER_STACK


def process_name(pid: int | None = None) -> str:
    """This process, or another one here, as people know it: host and pid."""
    return f"{socket.gethostname()}:{pid or os.getpid()}"


#: This process, as claims and heartbeats name it: containers may share host names and pids.
identity = PerProcess(lambda: f"{process_name()}:{token_hex(4)}")


def log_format() -> str:
    """One line a message; under a stack that puts its own clock before each line, without one."""
    return "%(message)s" if os.environ.get(UNDER_STACK) else "%(asctime)s %(message)s"
