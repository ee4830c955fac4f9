"""tq's HTTP API as a process of its own, for tests."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx
from servers import Process, free_port, wait_until

#: A provider's key that must not come back: no answer or log may hold it.
CANARY = "sk-canary-4f1e9c7d"
#: What ``tq api`` does.
_SERVE = "from tq.server import serve; from tq.settings import get_settings; serve(get_settings())"


class Api:
    """The API on a free port; a context manager that leaves nothing behind.

    Args:
        folder: its working directory, for its log too.
        environment: the whole of it, settings included.
        argv: another command than ``tq api``'s; ``{port}`` in it stands for the port.
    """

    def __init__(self, folder: Path, environment: dict[str, str], *, argv: Sequence[str] = ()) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self.environment = environment | {"TQ_API_PORT": str(self.port)}
        self._argv = [part.format(port=self.port) for part in argv] or [sys.executable, "-c", _SERVE]
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The running server."""
        assert self._process is not None, "not started"
        return self._process

    def client(self, **options: Any) -> httpx.Client:
        """An HTTP client for it; close it."""
        return httpx.Client(
            base_url=self.url, timeout=30, trust_env=False, limits=httpx.Limits(max_connections=None), **options
        )

    def __enter__(self) -> Self:
        log = self._folder / f"api-{self.port}.log"
        self._process = Process(self._argv, log=log, env=self.environment, cwd=self._folder)
        try:
            wait_until(self._lives, "the API answers GET /health")
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()

    def _lives(self) -> bool:
        assert self.process.popen.poll() is None, f"the API ended: {self.process.output}"
        try:
            with self.client() as client:
                return client.get("/health").status_code == 200
        except httpx.TransportError:
            return False
