"""The stack file: what runs on a data dir, for other terminals to find. Believed only after a check."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tq.datadir import stack_path
from tq.processes import ProcessId, wait_gone
from tq.settings import Settings

#: Seconds in which the guard ends the services of a supervisor that was killed.
_GUARD_TIME = 6.0


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """A service as the stack file has it.

    Attributes:
        name: valkey, api, worker or flower.
        state: a ``tq.supervisor.State``.
        process: its process, leader of its own group; None without one.
        restarts: how often it was started again.
        since: when the process was started, Unix seconds.
        detail: its URL, or what else there is to know.
    """

    name: str
    state: str
    process: ProcessId | None
    restarts: int
    since: float | None
    detail: str


@dataclass(frozen=True, slots=True)
class StackInfo:
    """A stack.

    Attributes:
        process: its supervisor.
        started_at: Unix seconds.
        ready: whether its banner is complete.
        stopping: whether it has been told to stop.
        grace: seconds that its worker may drain.
        api_url: where the API listens.
        flower_url: where Flower listens.
        services: in the order of health.
    """

    process: ProcessId
    started_at: float
    ready: bool
    stopping: bool
    grace: float
    api_url: str
    flower_url: str
    services: Sequence[ServiceInfo] = field(default_factory=tuple)


def write(path: Path, info: StackInfo) -> None:
    """Replace the file as a whole: a reader sees the former one or this one. 0600."""
    draft = path.with_name(path.name + ".new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 - a mode from the start
        json.dump(asdict(info), file)
    draft.replace(path)


def read(path: Path) -> StackInfo | None:
    """What the file says, true or not; None without a file, or with one that makes no sense."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        process = ProcessId(**document.pop("process"))
        services = [_service(**service) for service in document.pop("services")]
        return StackInfo(process=process, services=services, **document)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _service(*, process: dict[str, Any] | None, **fields: Any) -> ServiceInfo:
    return ServiceInfo(process=ProcessId(**process) if process else None, **fields)


def find_stack(settings: Settings) -> StackInfo | None:
    """The stack that runs on this data dir: its supervisor lives and is the very process of the file."""
    info = read(stack_path(settings))
    return info if info is not None and info.process.alive() else None


def clear(settings: Settings) -> None:
    """End what a supervisor that was killed has left on this data dir. Only for the holder of the lock.

    Its guard needs some seconds; who starts again sooner waits for it here, instead of meeting ports
    that are still in use.
    """
    info = read(stack_path(settings))
    if info is not None:
        end([service.process for service in info.services if service.process is not None])
    with contextlib.suppress(FileNotFoundError):
        stack_path(settings).unlink()


def end(processes: Sequence[ProcessId]) -> None:
    """Wait until the guard has ended these groups; kill what is left of them then."""
    for process in wait_gone(processes, _GUARD_TIME):
        process.kill_group()
    wait_gone(processes, _GUARD_TIME)
