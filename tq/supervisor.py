"""How to run processes: start them in order of health, restart them, stop them, leave no orphan.

Knows nothing of what it runs. A process is seen as healthy when its probe says so, and as crashed
whenever it exits without having been asked to.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from tq.processes import Guard, Process, describe_exit
from tq.restarts import RestartPolicy, Restarts

#: Exit code after the second signal, as a shell reports SIGINT.
KILLED: Final = 130
#: Lines kept of each service, to be shown when it fails.
TAIL: Final = 20

#: Seconds for one answer of a probe; between probes; and between them once the service is late.
_PROBE_TIMEOUT: Final = 5.0
_PROBE_INTERVAL: Final = 0.05
_LATE_INTERVAL: Final = 1.0


@dataclass(frozen=True, slots=True)
class Health:
    """What a probe found.

    Attributes:
        ok: the service does its work.
        reason: if not, why; shown to people.
        busy: not yet, but it makes progress (loads its data): the time limit begins anew.
    """

    ok: bool
    reason: str = ""
    busy: bool = False


@dataclass(frozen=True, kw_only=True)
class Service:
    """A process to be kept running.

    Attributes:
        name: how people call it.
        command: argument vector; no secrets, everyone can read it.
        environment: all of its environment.
        directory: its working directory.
        probe: asked again and again until the answer is ok; may raise OSError, EOFError or ValueError.
        needs: services that must be healthy before it starts.
        stops_after: services that must have ended before it is asked to stop.
        essential: without it there is no point in going on.
        obstacle: before a restart: what it would only crash of again, empty when there is nothing; waited for.
        timeout: seconds until it must be healthy.
        grace: seconds between SIGTERM and SIGKILL.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    probe: Callable[[], Awaitable[Health]]
    needs: Sequence[str] = ()
    stops_after: Sequence[str] = ()
    essential: bool = True
    obstacle: Callable[[], str] | None = None
    timeout: float = 30.0
    grace: float = 10.0


class State(StrEnum):
    """Where a service stands."""

    WAITING = "waiting"
    STARTING = "starting"
    HEALTHY = "healthy"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A service at one moment; ``since`` is when its process started (Unix seconds), None without one."""

    name: str
    state: State
    pid: int | None
    restarts: int
    since: float | None


class Observer(Protocol):
    """Who is told; called on the supervisor's loop, so it must not block."""

    def lines(self, service: str, lines: Sequence[str]) -> None:
        """A service wrote these lines."""

    def event(self, text: str, *, warns: bool = False) -> None:
        """Something happened that a person wants to know; ``warns``: it should not have."""

    def healthy(self, service: Service, seconds: float) -> None:
        """A service is healthy, ``seconds`` after the start; told in the order of the services."""

    def unhealthy(self, service: Service, reason: str) -> None:
        """A service that is not essential is not healthy; told in the order of the services."""

    def ready(self) -> None:
        """All have been reported."""

    def stopping(self) -> None:
        """The first signal came."""

    def changed(self, services: Sequence[Snapshot]) -> None:
        """A state, a pid or a number of restarts is another one."""


class ServiceError(Exception):
    """An essential service cannot be kept running.

    Attributes:
        service: its name.
        reason: what happened, as the rest of a sentence that begins with the name.
        tail: its last lines.
    """

    def __init__(self, service: str, reason: str, tail: Sequence[str]) -> None:
        super().__init__(f"{service} {reason}")
        self.service = service
        self.reason = reason
        self.tail = list(tail)


@dataclass(eq=False)
class _Member:
    service: Service
    restarts: Restarts
    state: State = State.WAITING
    process: Process | None = None
    starts: int = 0
    since: float | None = None
    reason: str = "was not started"
    healthy_after: float | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))
    healthy: asyncio.Event = field(default_factory=asyncio.Event)
    #: Healthy, or known not to become so: it can be reported.
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """Runs services until a signal, or until an essential one cannot be kept running.

    Args:
        services: in the order in which their health is reported.
        observer: who is told.
        policy: when crashed services start again.
        began: the moment that start-up times count from, on ``time.monotonic``'s clock; None = ``run``.
    """

    def __init__(
        self,
        services: Sequence[Service],
        observer: Observer,
        *,
        policy: RestartPolicy | None = None,
        began: float | None = None,
    ) -> None:
        self._observer = observer
        self._policy = policy or RestartPolicy()
        self._members = {service.name: _Member(service, Restarts(self._policy)) for service in services}
        self._began = time.monotonic() if began is None else began
        self._end = asyncio.Event()
        self._failure: BaseException | None = None
        self._signals = 0

    async def run(self) -> int:
        """Start all, keep them running, and stop them in order. Takes SIGINT, SIGTERM, SIGHUP and SIGCHLD.

        Returns:
            0 after the first signal, ``KILLED`` after the second.

        Raises:
            ServiceError: an essential service exited before it was healthy, did not become healthy in
                time, or crashed too often; the others have been stopped.
        """
        self._guard = Guard()
        with self._handlers():
            tasks = [asyncio.create_task(self._keep(member)) for member in self._members.values()]
            tasks.append(asyncio.create_task(self._report()))
            for task in tasks:
                task.add_done_callback(self._task_ended)
            try:
                await self._end.wait()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await asyncio.gather(*(self._stop(member) for member in self._members.values()))
                self._guard.close()
        if self._signals > 1:
            return KILLED
        if self._failure is not None:
            raise self._failure
        return 0

    # -- signals -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _handlers(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup it is to go on
            numbers.append(signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._signalled)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        try:
            yield
        finally:
            for number in (*numbers, signal.SIGCHLD):
                loop.remove_signal_handler(number)

    def _signalled(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self._observer.stopping()
        else:
            self._observer.event("killing all")
            for process in self._running():
                process.kill()
        self._end.set()

    def _reap(self) -> None:
        ended = [process.reap() for process in self._running()]
        if any(ended):
            self._guard.watch([process.pid for process in self._running()])
        else:
            self._guard.revive()

    def _running(self) -> list[Process]:
        processes = (member.process for member in self._members.values())
        return [process for process in processes if process is not None and process.status is None]

    # -- start and restart -------------------------------------------------------------------------

    async def _keep(self, member: _Member) -> None:
        for name in member.service.needs:
            await self._members[name].healthy.wait()
        while True:
            started = time.monotonic()
            process = self._launch(member)
            probing = asyncio.create_task(self._await_health(member))
            probing.add_done_callback(self._task_ended)
            try:
                status = await process.wait()
            finally:
                probing.cancel()
            delay = self._crashed(member, describe_exit(status), started)
            if delay is None:
                return
            await asyncio.sleep(delay)
            await self._obstacle_gone(member.service)

    async def _obstacle_gone(self, service: Service) -> None:
        if service.obstacle is None or not (obstacle := service.obstacle()):
            return
        self._observer.event(f"{service.name} waits: {obstacle}", warns=True)
        while service.obstacle():  # noqa: ASYNC110 - nobody tells when it is gone
            await asyncio.sleep(_LATE_INTERVAL)

    def _launch(self, member: _Member) -> Process:
        def tell(lines: list[str]) -> None:
            member.tail.extend(lines)
            self._observer.lines(member.service.name, lines)

        service = member.service
        process = member.process = Process(
            service.command, environment=service.environment, directory=service.directory, on_lines=tell
        )
        self._guard.watch([process.pid for process in self._running()])
        process.open_gate()
        member.starts += 1
        member.since = time.time()
        self._enter(member, State.STARTING)
        return process

    def _crashed(self, member: _Member, what: str, started: float) -> float | None:
        """Seconds until it starts again; None when it will not."""
        service = member.service
        if not member.healthy.is_set():
            member.reason = f"{what} before it was healthy"
            if service.essential:
                self._fail(ServiceError(service.name, member.reason, member.tail))
                return None
        delay = member.restarts.crashed(started=started, now=time.monotonic())
        member.settled.set()
        member.since = None
        self._enter(member, State.FAILED if delay is None else State.RESTARTING)
        if delay is not None:
            self._observer.event(f"{service.name} {what}; starts again in {delay:g} s", warns=True)
        elif service.essential:
            self._fail(ServiceError(service.name, f"crashed {self._policy}; the last time it {what}", member.tail))
        else:
            self._observer.event(
                f"{service.name} {what}; it crashed {self._policy} and is not started again", warns=True
            )
        return delay

    async def _await_health(self, member: _Member) -> None:
        service = member.service
        deadline = time.monotonic() + service.timeout
        late = False
        while not (health := await _ask(service)).ok:
            if health.busy:
                deadline = time.monotonic() + service.timeout
            if not late and time.monotonic() >= deadline:
                late = True
                member.reason = f"is not healthy after {service.timeout:g} s: {health.reason}"
                if service.essential and not member.healthy.is_set():
                    self._fail(ServiceError(service.name, member.reason, member.tail))
                elif member.settled.is_set():
                    self._observer.event(f"{service.name} {member.reason}", warns=True)
                member.settled.set()
            await asyncio.sleep(_LATE_INTERVAL if late else _PROBE_INTERVAL)
        if member.healthy_after is None:
            member.healthy_after = time.monotonic() - self._began
        if member.settled.is_set():
            self._observer.event(f"{service.name} is healthy")
        member.healthy.set()
        member.settled.set()
        self._enter(member, State.HEALTHY)

    async def _report(self) -> None:
        for member in self._members.values():
            await member.settled.wait()
            if member.healthy_after is None:
                self._observer.unhealthy(member.service, member.reason)
            else:
                self._observer.healthy(member.service, member.healthy_after)
        self._observer.ready()

    # -- end ---------------------------------------------------------------------------------------

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._end.set()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    async def _stop(self, member: _Member) -> None:
        for name in member.service.stops_after:
            await self._members[name].gone.wait()
        process = member.process
        if process is not None and process.status is None:
            self._enter(member, State.STOPPING)
            began = time.monotonic()
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), member.service.grace)
            except TimeoutError:
                self._observer.event(
                    f"{member.service.name} has not stopped in {member.service.grace:g} s: killing it", warns=True
                )
                process.kill()
                await process.wait()
            how = "was killed" if process.status == -signal.SIGKILL else "stopped"
            self._observer.event(f"{member.service.name} {how} ({time.monotonic() - began:.1f} s)")
        elif process is not None:
            await process.wait()
        member.since = None
        if member.state is not State.FAILED:
            self._enter(member, State.STOPPED)
        member.gone.set()

    def _enter(self, member: _Member, state: State) -> None:
        member.state = state
        self._observer.changed([_snapshot(member) for member in self._members.values()])


async def _ask(service: Service) -> Health:
    try:
        return await asyncio.wait_for(service.probe(), _PROBE_TIMEOUT)
    except TimeoutError:
        return Health(ok=False, reason=f"no answer in {_PROBE_TIMEOUT:g} s")
    except (OSError, EOFError, ValueError) as error:
        return Health(ok=False, reason=str(error) or type(error).__name__)


def _snapshot(member: _Member) -> Snapshot:
    process = member.process
    pid = process.pid if process is not None and process.status is None else None
    return Snapshot(member.service.name, member.state, pid, max(0, member.starts - 1), member.since)
