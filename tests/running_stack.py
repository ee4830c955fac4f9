"""A whole stack as a person starts it: `tq up` in a process of its own, on a data dir of its own."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final, Self

import httpx
import psutil
import redis
from cli_driver import TQ, Cli, bare_environment
from driven import Driven
from servers import wait_until

from tq.settings import Settings
from tq.stack import find_stack, stack_ps
from tq.stackfile import StackInfo

#: For Flower, whose own API is closed without a login.
FLOWER_LOGIN: Final = ("anna", "flower-password")


class RunningStack:
    """`tq up --port auto`, healthy while used as a context manager; leaves nothing behind.

    Args:
        folder: home, working directory and place for temporary files; the data dir is in it.
        settings: environment variables.

    Attributes:
        seconds: from the start until the banner was complete.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        (folder / "tmp").mkdir()
        places = {"TQ_DATA_DIR": str(self.data), "TMPDIR": str(folder / "tmp")}
        login = {"TQ_FLOWER_BASIC_AUTH": ":".join(FLOWER_LOGIN)}
        self.environment = bare_environment(folder) | places | login | settings
        self.tq = Cli(self.environment, folder)
        self._settings = Settings(data_dir=self.data)
        self._driven: Driven | None = None

    def start(self) -> float:
        """Start on the data that is there; returns the seconds until the banner was complete."""
        began = time.monotonic()
        self._driven = Driven([*TQ, "up", "--port", "auto"], self.folder, self.environment)
        # With TQ_LOG_FORMAT=json it is a message of an object.
        self._driven.wait_for('(?:.*")?Ctrl-C stops', timeout=60)
        return time.monotonic() - began

    @property
    def driven(self) -> Driven:
        """The process of `tq up`."""
        assert self._driven is not None, "not started"
        return self._driven

    @property
    def info(self) -> StackInfo:
        """What other terminals find of it."""
        info = find_stack(self._settings)
        assert info is not None, self.driven.text
        return info

    def processes(self) -> dict[int, psutil.Process]:
        """All of it by pid: the one of `tq up`, and whatever that has started."""
        return {each.pid: each for each in [psutil.Process(self.driven.popen.pid), *self.driven.descendants()]}

    def service(self, name: str) -> psutil.Process:
        """The process of a service."""
        (pid,) = (each.pid for each in stack_ps(self._settings) if each.name == name)
        assert pid is not None, f"{name} has no process"
        return psutil.Process(pid)

    def states(self) -> dict[str, str]:
        """Where each service stands."""
        return {each.name: each.state for each in self.info.services}

    def restarts(self) -> dict[str, int]:
        """How often each service was started again."""
        return {each.name: each.restarts for each in stack_ps(self._settings)}

    # -- ways in -----------------------------------------------------------------------------------

    def http(self, **options: Any) -> httpx.Client:
        """A client of its API; close it."""
        return httpx.Client(base_url=self.info.api_url, timeout=30, trust_env=False, **options)

    def flower(self, **options: Any) -> httpx.Client:
        """A client of its Flower, logged in; close it."""
        options.setdefault("auth", FLOWER_LOGIN)
        return httpx.Client(base_url=self.info.flower_url, timeout=30, trust_env=False, **options)

    def wait_for_flower(self) -> str:
        """Wait until its Flower hears events, for what was before, it never knows; returns its name of the worker."""
        with self.flower() as flower:
            heard = r'flower_worker_online\{worker="(.+?)"\} 1.0'
            name: str = wait_until(lambda: re.findall(heard, flower.get("/metrics").text), "Flower hears the worker")[0]
            return name

    def redis(self) -> redis.Redis:
        """A client of its Valkey, in bytes; close it."""
        return redis.Redis(unix_socket_path=str(self._settings.socket_path))

    def outcomes(self) -> Counter[tuple[str, str]]:
        """How often each message entered each status: (id, status) -> times."""
        with self.redis() as client:
            changes: Any = client.xrange("tq:changes")
        return Counter((fields[b"id"].decode(), fields[b"s"].decode()) for _, fields in changes)

    # -- its end -----------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.driven.send(signal.SIGINT)

    def stop(self) -> int:
        """Ctrl-C; the exit code once nothing of it is left."""
        self.interrupt()
        code = self.driven.wait(60)
        self.driven.wait_gone(1)
        return code

    def kill(self) -> None:
        """SIGKILL for every process at once; the data stays."""
        processes = self.processes().values()
        for process in processes:
            process.suspend()  # so that none has time to react to the end of another
        for process in processes:
            process.kill()
        self.driven.wait()
        wait_until(lambda: not self.driven.descendants(), "all killed processes are gone")

    def __enter__(self) -> Self:
        try:
            self.seconds = self.start()
        except BaseException:
            self.driven.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        print(self.driven.text)  # noqa: T201 - pytest shows it with a failure
        if self.driven.popen.poll() is None:
            self.kill()
        self.driven.close()
