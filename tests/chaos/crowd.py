"""Many clients of the API at once, and what is measured meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import aiohttp
import httpx
import psutil
from ledger import Entry
from stage import Stage


class Answer(NamedTuple):
    """What a client was told: ``status`` 0 = nothing, because the connection broke."""

    status: int
    headers: Mapping[str, str]
    document: Any


class Crowd:
    """Connections of the API, as many as are asked for at once; an asynchronous context manager.

    Args:
        stage: whose API.
        patience: seconds for one answer; without it, ``TimeoutError`` is raised.
    """

    def __init__(self, stage: Stage, *, patience: float = 30) -> None:
        self._stage = stage
        self._url = stage.stack.info.api_url
        self._patience = aiohttp.ClientTimeout(total=patience)

    async def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """Send JSON.

        Raises:
            TimeoutError: no answer came in time.
        """
        try:
            async with self._session.post(f"{self._url}{path}", json=body, headers=headers) as answer:
                content = await answer.read()
                self._stage.examine(f"POST {path}", answer.status, str(answer.headers).encode() + content)
                return Answer(answer.status, answer.headers, await answer.json(content_type=None))
        except TimeoutError:
            raise
        except aiohttp.ClientError:
            return Answer(0, {}, None)

    async def submit(self, entries: Sequence[Entry]) -> list[int]:
        """Submit one message, or several as a batch; the status for each, and the ledger knows what was accepted.

        Raises:
            TimeoutError: no answer came in time.
        """
        bodies = [self._stage.body(entry) for entry in entries]
        if len(bodies) == 1:
            answer = await self.post("/messages", bodies[0])
        else:
            answer = await self.post("/messages/batch", {"messages": bodies})
        self._check(answer)
        statuses = [answer.status] * len(entries)
        if answer.status == 202 and len(entries) > 1:
            statuses = [
                result["error"]["status"] if "error" in result else 202 for result in answer.document["results"]
            ]
        for entry, status in zip(entries, statuses, strict=True):
            if status == 202:
                self._stage.ledger.acknowledge(entry.message_id)
        return statuses

    @staticmethod
    def _check(answer: Answer) -> None:
        if answer.status in {429, 503}:
            assert int(answer.headers["Retry-After"]) > 0, answer

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=self._patience)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()


class Memory(threading.Thread):
    """Watches what services hold (RSS, in MiB), while used as a context manager.

    Attributes:
        before: when it began.
        peak: the most since.
    """

    def __init__(self, stage: Stage, *services: str) -> None:
        super().__init__(daemon=True, name="memory")
        self._stage = stage
        self._stopped = threading.Event()
        self.before = {name: stage.memory(name) for name in services}
        self.peak = dict(self.before)

    def run(self) -> None:
        """Look twice a second."""
        while not self._stopped.wait(0.5):
            for name, most in self.peak.items():
                try:
                    self.peak[name] = max(most, self._stage.memory(name))
                except (psutil.NoSuchProcess, AssertionError):
                    continue  # it is being restarted

    def growth(self, service: str) -> float:
        """By how much a service has grown at most."""
        return self.peak[service] - self.before[service]

    def figures(self) -> dict[str, str]:
        """For the report: before and at most."""
        return {f"{name}_MiB": f"{self.before[name]:.0f}…{self.peak[name]:.0f}" for name in self.peak}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join(10)


class Health(threading.Thread):
    """Someone who asks whether the API lives, four times a second on a new connection each time.

    Attributes:
        slowest: seconds of the slowest answer.
        wrong: whatever was not a 200.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__(daemon=True, name="health")
        self._stage = stage
        self._stopped = threading.Event()
        self.slowest = 0.0
        self.wrong: list[str] = []

    def run(self) -> None:
        """Ask until stopped."""
        while not self._stopped.wait(0.25):
            began = time.monotonic()
            try:
                with self._stage.http() as http:
                    answer = http.get("/health")
                if answer.status_code != 200:
                    self.wrong.append(f"{answer.status_code} {answer.text}")
            except httpx.TransportError as error:
                self.wrong.append(repr(error))
            self.slowest = max(self.slowest, time.monotonic() - began)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join(60)


def percentile(values: list[float], share: float) -> float:
    """The value that ``share`` of them do not exceed: 0.95 = p95."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
