"""The worker pool: one asyncio loop in a thread, one coroutine a message, thousands in flight.

Celery's own synchronous tracer runs unmodified in a greenlet on the loop; where the task body has to
wait it switches to the greenlet's parent, which awaits for it (the technique of SQLAlchemy's asyncio
extension). So signals, ``self.request``, events and instrumentation work as in any other pool, and the
same task body runs under ``solo``, ``threads`` and ``prefork``, where ``wait_for`` blocks instead.

Everything that Celery keeps in its main thread stays there: a task is accepted where it is applied,
and its result is handed over through the hub. (Its event dispatcher loses events that another thread
adds while it flushes.)
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from billiard.einfo import ExceptionInfo
from celery.concurrency.base import BasePool
from greenlet import getcurrent, greenlet

from tq.garbage import collect_rarely
from tq.portal import get_portal
from tq.settings import get_settings

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: Seconds that a cancelled task gets to put its message back, and between two looks at the hub.
_RELEASE_TIME: Final = 5.0
_PUMP_INTERVAL: Final = 0.05
#: Open files at most: a message in flight is a socket, and 1,024 is what a shell gives.
_MAX_FILES: Final = 65_536


class TaskGreenlet(greenlet):
    """Runs one task; its parent is the coroutine that awaits on its behalf."""


def wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    """Wait for a coroutine inside a task, in whatever pool the task runs.

    In ``TaskPool`` other tasks go on meanwhile; elsewhere the thread or process waits.
    """
    current = getcurrent()
    if isinstance(current, TaskGreenlet):
        result: T = current.parent.switch(coroutine)
        return result
    return get_portal().call(coroutine)


async def _drive(target: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    current = TaskGreenlet(target)
    # Context variables that instrumentation sets in a task must not leak into the next one.
    current.gr_context = contextvars.copy_context()
    awaited = current.switch(*args, **kwargs)
    while not current.dead:
        try:
            value = await awaited
        except BaseException:  # noqa: BLE001 - whatever it is belongs into the task body
            awaited = current.throw(*sys.exc_info())
        else:
            awaited = current.switch(value)
    return awaited


class _Result:
    """What Celery holds of a task: enough for it to ask whether there is one."""

    def __init__(self, pool: TaskPool) -> None:
        self._pool = pool


class TaskPool(BasePool):
    """Celery's pool contract on the process's asyncio loop (see the module)."""

    signal_safe = False
    body_can_be_buffer = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._hub: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._unfinished = 0
        self._pumping = False
        self._idle = threading.Condition()

    def on_start(self) -> None:
        """Bring up the loop, with a file descriptor to spare for every message in flight."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = min(_MAX_FILES, hard) if hard != resource.RLIM_INFINITY else _MAX_FILES
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        collect_rarely()
        self._loop = get_portal(lasting=True).loop

    def register_with_event_loop(self, loop: Any) -> None:
        """Remember Celery's hub: results are handed over in its thread."""
        self._hub = loop

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Any = None,
        kwargs: Any = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **_: Any,
    ) -> _Result:
        """Start a task; returns at once."""
        if accept_callback is not None:
            accept_callback(os.getpid(), time.monotonic())
        with self._idle:
            self._unfinished += 1
        self._loop.call_soon_threadsafe(self._start_task, target, args or (), kwargs or {}, callback)
        return _Result(self)

    def _start_task(self, target: Any, args: Any, kwargs: Any, callback: Any) -> None:
        task = self._loop.create_task(self._run(target, args, kwargs, callback))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            # Before its first step: nothing was claimed and there is no result, but it must be counted.
            self._hand_over(None, None)

    async def _run(self, target: Any, args: Any, kwargs: Any, callback: Any) -> None:
        try:
            result = await _drive(target, args, kwargs)
        except BaseException as error:  # noqa: BLE001 - a tracer that fails must not take the loop along
            logger.error("a tracer failed: %s", type(error).__name__)  # noqa: TRY400 - a traceback may hold text
            # Celery understands (failed, what, runtime) from its tracer.
            result = (1, ExceptionInfo(), 0.0)
        self._hand_over(callback, result)

    def _hand_over(self, callback: Any, result: Any) -> None:
        def finish() -> None:
            try:
                if callback is not None:
                    self._guarded(lambda: callback(result))
                # The callback leaves the acknowledgement to the hub, which would sleep before it looks
                # again: with every slot taken nothing else wakes it for a second.
                self._run_ready()
            finally:
                with self._idle:
                    self._unfinished -= 1
                    self._idle.notify_all()

        if self._hub is not None:
            self._hub.call_soon(finish)
        else:
            finish()

    # -- the end -----------------------------------------------------------------------------------

    def on_stop(self) -> None:
        """Let tasks finish for TQ_GRACE seconds, then have the rest put their messages back."""
        if not self._drained(get_settings().grace):
            self.on_terminate()

    def on_terminate(self) -> None:
        """Have all tasks put their messages back now."""
        self._loop.call_soon_threadsafe(self._cancel_all)
        if not self._drained(_RELEASE_TIME):
            logger.warning("%d messages were not put back; their leases will expire", self._unfinished)

    def _cancel_all(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    def _drained(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            self._pump()
            with self._idle:
                if self._unfinished == 0:
                    return True
                if time.monotonic() >= deadline:
                    return False
                self._idle.wait(_PUMP_INTERVAL)

    def _pump(self) -> None:
        # Celery's hub does not run while a pool stops: without this, finished tasks would neither be
        # acknowledged nor reported, and would come again elsewhere.
        if threading.current_thread() is threading.main_thread():
            self._run_ready()

    def _run_ready(self) -> None:
        # Only the outermost call works, until nothing is left: a callback that came here again would
        # go one level deeper for every task that ends meanwhile.
        if self._hub is None or self._pumping:
            return
        self._pumping = True
        try:
            while ready := self._hub._pop_ready():  # noqa: SLF001 - run_once() would also poll sockets
                for callback in ready:
                    self._guarded(callback)
        finally:
            self._pumping = False

    @staticmethod
    def _guarded(callback: Callable[[], Any]) -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - the hub would drop all others that it has taken up
            logger.warning("a callback of Celery's failed: %s", type(error).__name__)

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Refused: one process runs all tasks. Cancel the message instead."""
        raise NotImplementedError("tq's pool cannot kill one task; use `tq cancel ID`")

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()
        return {**info, "max-concurrency": self.limit, "running": len(self._tasks)}

    @property
    def num_processes(self) -> int:
        """How many tasks may run at once."""
        return int(self.limit)
