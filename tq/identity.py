"""What this process is called, and how its lines look in a log."""

from __future__ import annotations

import logging
import os
import socket
from secrets import token_hex

from tq import jsonlog
from tq.portal import PerProcess
from tq.settings import UNDER_STACK, get_settings


def process_name(pid: int | None = None) -> str:
    """This process, or another one here, as people know it: host and pid."""
    return f"{socket.gethostname()}:{pid or os.getpid()}"


#: This process, as claims and heartbeats name it: containers may share host names and pids.
identity = PerProcess(lambda: f"{process_name()}:{token_hex(4)}")


def log_handler(service: str) -> logging.Handler:
    """Writes one line a message to stderr; under a stack that puts its own clock before each line, without one."""
    if get_settings().log_format == "json":
        return jsonlog.handler(service)
    handler = logging.StreamHandler()
    words = "%(message)s" if os.environ.get(UNDER_STACK) else "%(asctime)s %(message)s"
    handler.setFormatter(logging.Formatter(words, "%H:%M:%S"))
    return handler
