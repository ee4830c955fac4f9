"""A supervisor in a process of its own, for test_supervisor.py: services from JSON, events to stdout.

Run as ``python supervised.py '{"services": [...], "policy": {...}}'``. A service's ``ready_file`` is
what its probe looks for; without one it is healthy at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tq.restarts import RestartPolicy
from tq.supervisor import Health, Service, ServiceError, Snapshot, Supervisor


def say(*words: object) -> None:
    """One event a line."""
    print(*words, flush=True)  # noqa: T201 - the test reads it


class Printer:
    """An observer that tells the test everything."""

    def lines(self, service: str, lines: Sequence[str]) -> None:
        """``line NAME TEXT``."""
        for line in lines:
            say("line", service, line)

    def event(self, text: str, *, warns: bool = False) -> None:
        """``event TEXT``, or ``warning TEXT``."""
        say("warning" if warns else "event", text)

    def healthy(self, service: Service, seconds: float) -> None:
        """``healthy NAME SECONDS``."""
        say("healthy", service.name, f"{seconds:.3f}")

    def unhealthy(self, service: Service, reason: str) -> None:
        """``unhealthy NAME REASON``."""
        say("unhealthy", service.name, reason)

    def ready(self) -> None:
        """``ready``."""
        say("ready")

    def stopping(self) -> None:
        """``stopping``."""
        say("stopping")

    def changed(self, services: Sequence[Snapshot]) -> None:
        """``changed`` with NAME=STATE:PID:RESTARTS for each."""
        say("changed", *(f"{each.name}={each.state}:{each.pid}:{each.restarts}" for each in services))


def service(ready_file: str | None = None, **fields: Any) -> Service:
    """A service whose probe looks for a file."""

    async def probe() -> Health:
        there = ready_file is None or os.path.exists(ready_file)  # noqa: PTH110, ASYNC240 - a test
        return Health(ok=there, reason="" if there else "the file is missing")

    return Service(environment=os.environ, directory=Path.cwd(), probe=probe, **fields)


async def main() -> int:
    """Run what argv says."""
    spec = json.loads(sys.argv[1])
    supervisor = Supervisor(
        [service(**each) for each in spec["services"]], Printer(), policy=RestartPolicy(**spec.get("policy", {}))
    )
    try:
        return await supervisor.run()
    except ServiceError as error:
        say("failed", error.service, error.reason, "|", *error.tail)
        return 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
