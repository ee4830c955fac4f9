"""The portal: one asyncio loop in a thread of its own, for every process that is not async itself.

The store, the queue and the providers are async; Celery's tasks, the command line and user code are
not. They step through here: ``get_portal().call(coroutine)`` runs it on the loop and waits. The
worker pool runs its attempts on the same loop, so that all of a process's work shares one set of
connections.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Portal:
    """An asyncio loop in a daemon thread, started when made.

    Args:
        lasting: it is there for much and for long, so that uvloop is worth the time that its import takes.
    """

    def __init__(self, *, lasting: bool = False) -> None:
        self.loop = _fast_loop() if lasting else asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tq-portal", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop; returns at once. Callable from any other thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine on the loop and wait for what it returns or raises.

        Args:
            coroutine: what to run.
            timeout: seconds; None waits for ever.

        Raises:
            RuntimeError: called on the loop's own thread, which would wait for itself.
            TimeoutError: it took longer; the coroutine is cancelled.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("Portal.call blocks: it must not be used on the portal's own loop")
        future = self.start(coroutine)
        try:
            return future.result(timeout)
        except CancelledError:
            # Cancelled on the loop (the attempt was lost or cancelled), not by our caller.
            raise
        except BaseException:
            # A timeout, or a KeyboardInterrupt while waiting: nobody wants the answer any more.
            future.cancel()
            raise


def _fast_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


_portal: Portal | None = None
_pid = 0
_lock = threading.RLock()


def get_portal(*, lasting: bool = False) -> Portal:
    """The portal of this process; a forked child gets its own, for threads do not survive a fork.

    The first call decides whether it is a ``lasting`` one.
    """
    global _portal, _pid
    with _lock:
        if _portal is None or _pid != os.getpid():
            _portal, _pid = Portal(lasting=lasting), os.getpid()
        return _portal


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603 - a lock held by another thread at the fork would stay held for ever
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


class PerProcess(Generic[T]):
    """A value made at first use and once per process: a forked child makes its own.

    Args:
        make: makes the value; called in the thread that asks first.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._pid = 0
        self._value: T | None = None
        self._inherited: list[T] = []

    def get(self) -> T:
        """The value of this process."""
        with _lock:
            if self._value is not None and self._pid != os.getpid():
                # Held on to: what becomes of its connections is the parent's business.
                self._inherited.append(self._value)
                self._value = None
            if self._value is None:
                self._value, self._pid = self._make(), os.getpid()
            return self._value
