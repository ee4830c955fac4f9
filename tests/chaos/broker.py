"""The Redis under a stack in the torture tests: tq's embedded Valkey, or a redis-server of the test's own."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, Protocol

import psutil
import redis
from running_stack import RunningStack
from servers import Valkey, wait_until

#: Of the redis-server; it must not turn up anywhere either.
PASSWORD = "redis-password-61c0"

UNAVAILABLE = (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError)


class Broker(Protocol):
    """What can be done to it."""

    @property
    def pid(self) -> int:
        """Of the running server."""

    @property
    def folder(self) -> Path:
        """Where its data is."""

    def client(self, **options: Any) -> redis.Redis:
        """A client in bytes; close it."""

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""

    def back(self) -> None:
        """Wait until one answers again: who runs it starts it, else the supervisor of `tq up` does."""


class Embedded:
    """The Valkey that `tq up` runs."""

    def __init__(self, stack: RunningStack) -> None:
        self._stack = stack

    @property
    def pid(self) -> int:
        """Of the running server."""
        return self._stack.service("valkey").pid

    @property
    def folder(self) -> Path:
        """Where its data is."""
        return self._stack.data / "valkey"

    def client(self, **options: Any) -> redis.Redis:
        """A client in bytes; close it."""
        return redis.Redis(unix_socket_path=str(self._stack.data / "valkey.sock"), **options)

    def kill(self) -> None:
        """SIGKILL; the supervisor starts it again."""
        process = psutil.Process(self.pid)
        process.kill()
        process.wait(10)

    def back(self) -> None:
        """Wait until it answers again."""
        wait_until(lambda: answers(self), "the embedded Valkey answers again", 60)


class Server:
    """A redis-server (or a Valkey) of the test's own, on TCP with a password."""

    def __init__(self, valkey: Valkey) -> None:
        self.valkey = valkey

    @property
    def pid(self) -> int:
        """Of the running server."""
        return self.valkey.pid

    @property
    def folder(self) -> Path:
        """Where its data is."""
        return self.valkey.folder

    @property
    def url(self) -> str:
        """As TQ_REDIS_URL."""
        return f"redis://:{self.valkey.password}@127.0.0.1:{self.valkey.port}/0"

    def client(self, **options: Any) -> redis.Redis:
        """A client in bytes; close it."""
        return redis.Redis(unix_socket_path=str(self.valkey.socket), password=self.valkey.password, **options)

    def kill(self) -> None:
        """SIGKILL."""
        self.valkey.kill()

    def back(self) -> None:
        """Start it again on its data."""
        self.valkey.kill()  # it may have ended by itself
        self.valkey.start()


def answers(broker: Broker) -> bool:
    """Whether it answers a PING now."""
    try:
        with broker.client(socket_timeout=2) as client:
            return bool(client.ping())
    except (*UNAVAILABLE, psutil.NoSuchProcess, AssertionError):
        return False


def pause(broker: Broker) -> None:
    """SIGSTOP: connections are accepted by the kernel, and nothing answers."""
    os.kill(broker.pid, signal.SIGSTOP)


def resume(broker: Broker) -> None:
    """SIGCONT."""
    os.kill(broker.pid, signal.SIGCONT)
