"""Looking at workers, and getting hold of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from servers import wait_until
from stage import Stage


def popping(s: Stage) -> int:
    """How many workers wait for a token now: what is pushed while one stands still may be handed to it."""
    with s.broker.client(decode_responses=True) as client:
        return sum(each["cmd"] == "blmpop" and "b" in each["flags"] for each in client.client_list())


def holder(s: Stage, message_id: str) -> int:
    """The pid of the process that runs a message; 0 = none does."""
    with s.broker.client(decode_responses=True) as client:
        owner = client.hget(f"tq:message:{message_id}", "owner")
    return int(owner.split(":")[-2]) if owner else 0


def lines(log: str, pattern: str) -> list[str]:
    """Lines of a log that hold a pattern."""
    return [line for line in log.splitlines() if re.search(pattern, line)]


@contextmanager
def without_own_worker(s: Stage, *, among: int = 1) -> Iterator[None]:
    """The stack's own worker takes no part: it is stopped meanwhile, and has been handed no token.

    Args:
        s: the stage.
        among: how many workers there are; all must be idle.
    """
    wait_until(lambda: popping(s) == among, "all workers wait for work", 60)
    worker = s.stack.service("worker")
    worker.suspend()
    try:
        wait_until(lambda: popping(s) < among, "it waits no longer")
        yield
    finally:
        worker.resume()


def kill(pid: int) -> None:
    """SIGKILL, and wait until it is gone."""
    process = psutil.Process(pid)
    process.kill()
    process.wait(10)
