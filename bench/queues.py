"""The same work through each queue: messages of one call each, against a provider with a fixed latency."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import redis
from peers import HERE, MODULES, Peer

#: Seconds that a worker may take to come up, and without progress until a run is given up.
_START = 30.0
_STALLED = 30.0


@dataclass(frozen=True)
class Drain:
    """What one run of one queue showed.

    Attributes:
        messages: that were done.
        sent_per_s: how fast they were queued.
        done_per_s: from the first submit to the last answer.
        share: of ``slots / latency``, which is ideal.
        cpu_ms: CPU of the worker, with all its processes, per message.
        rss_mb: its memory at most.
        in_flight: calls at once at most, as the provider saw it.
        calls: that the provider got.
    """

    messages: int
    sent_per_s: float
    done_per_s: float
    share: float
    cpu_ms: float
    rss_mb: float
    in_flight: int
    calls: int


class Provider:
    """The stand-in, and what it saw."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"
        self.base_url = f"{self._address}/v1"

    def _get(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self._address}{path}", data, timeout=30) as answer:  # noqa: S310 - our own server
            return json.load(answer)

    def reset(self, latency: float) -> None:
        """Forget all calls; the next ones take so many seconds."""
        self._get("/reset", {"latency": latency})

    def stats(self) -> dict[str, Any]:
        """What it counted."""
        counts: dict[str, Any] = self._get("/stats")
        return counts

    def arrivals(self) -> dict[int, float]:
        """When each text first came."""
        return {int(number): at for number, at in self._get("/arrivals").items()}


@contextmanager
def provider(folder: Path) -> Iterator[Provider]:
    """A stand-in of its own process."""
    port = machine.free_port()
    with machine.running([sys.executable, str(HERE / "provider.py"), str(port)], folder / "provider.log"):
        machine.wait_until(lambda: machine.listening(port), "the provider listens")
        yield Provider(port)


def environment(peer: Peer, folder: Path, broker: int, llm: Provider, slots: int) -> dict[str, str]:
    """What all processes of one run know."""
    redis = f"redis://127.0.0.1:{broker}/0"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TQ_", "REDIS_", "OPENAI_"))}
    tq = {
        "TQ_REDIS_URL": redis,
        "TQ_DATA_DIR": str(folder / "tq"),
        "TQ_MAX_QUEUED": "1000000",
        "TQ_MODEL": "m",
        "OPENAI_BASE_URL": llm.base_url,
        "OPENAI_API_KEY": "k",
    }
    bench = {
        "BENCH_REDIS": redis,
        "BENCH_LLM": llm.base_url,
        "BENCH_SLOTS": str(slots),
        "BENCH_DONE": str(folder / "done"),
        "PYTHONPATH": f"{MODULES}{os.pathsep}{HERE}",
    }
    return kept | tq | bench | dict(peer.environment)


def send(
    peer: Peer, known: Mapping[str, str], way: str, first: int, count: int, rate: float = 0.0
) -> subprocess.Popen[str]:
    """Start a process that queues messages; see ``modules/send.py``."""
    command = [str(peer.bin / "python"), str(MODULES / "send.py"), peer.module, way, str(first), str(count), str(rate)]
    return subprocess.Popen(command, env={**known}, stdout=subprocess.PIPE, text=True, start_new_session=True)  # noqa: S603


def said(sender: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait until such a process has sent everything; what it says of that."""
    text, _ = sender.communicate()
    if sender.returncode:
        raise RuntimeError("a queue did not take its messages")
    document: dict[str, Any] = json.loads(text)
    return document


def drain(peer: Peer, messages: int, slots: int, latency: float, workers: int = 1) -> Drain:
    """Queue all messages while workers of so many slots each run, and wait until the provider has answered all."""
    slots = peer.slots or slots
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with machine.broker(folder) as broker, provider(folder) as llm:
            known = environment(peer, folder, broker, llm, slots)
            command = peer.command(slots, known["BENCH_REDIS"])
            with ExitStack() as stack:
                pids = [
                    stack.enter_context(machine.running(command, folder / f"worker{n}.log", known, MODULES)).pid
                    for n in range(workers)
                ]
                _warm_up(peer, known, llm, 20 * workers)
                machine.wait_until(lambda: _rests(pids), f"{peer.name} rests", _START)
                llm.reset(latency)
                before = machine.usage(*pids)
                sender = send(peer, known, "bulk", 1, messages)
                highest = _follow(llm, pids, messages)
                # What is left to record is the work of these messages, too.
                time.sleep(1.0)
                after = machine.usage(*pids)
                sent, seen = said(sender), llm.stats()
                seconds = seen["last"] - sent["began"]
    return Drain(
        messages=seen["texts"],
        sent_per_s=sent["rate"],
        done_per_s=messages / seconds,
        share=messages / seconds / (slots * workers / latency),
        cpu_ms=(after.cpu - before.cpu) / messages * 1000,
        rss_mb=highest / 1e6,
        in_flight=seen["in_flight_max"],
        calls=seen["calls"],
    )


def _warm_up(peer: Peer, known: Mapping[str, str], llm: Provider, messages: int = 20) -> None:
    """The first messages also load the SDK."""
    llm.reset(0.05)
    said(send(peer, known, "bulk", 1_000_001, messages))
    machine.wait_until(lambda: bool(llm.stats()["texts"] >= messages), f"{peer.name} is warm", _START)


def _rests(pids: Sequence[int]) -> bool:
    """Whether what a first message sets off, such as loading a model, has come to its end."""
    before = machine.usage(*pids).cpu
    time.sleep(0.5)
    return machine.usage(*pids).cpu - before < 0.05


def _follow(llm: Provider, pids: Sequence[int], messages: int) -> int:
    """Wait for the last answer; the worker's memory at most."""
    highest, last, since = 0, -1, time.monotonic()
    while True:
        seen = llm.stats()
        highest = max(highest, machine.usage(*pids).rss)
        if seen["texts"] >= messages and seen["in_flight"] == 0:
            return highest
        if seen["answered"] != last:
            last, since = seen["answered"], time.monotonic()
        if time.monotonic() - since > _STALLED:
            raise TimeoutError(f"stalled at {seen['texts']} of {messages} messages")
        time.sleep(0.1)


def overhead(peer: Peer, messages: int, slots: int, latency: float, rate: float) -> list[float]:
    """Seconds that the queue added to each message, at a rate far below what it can do.

    That is: finished - submitted - latency. A message of tq is finished when that is recorded; one of the others when
    its function returns, before its result is stored.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with machine.broker(folder) as broker, provider(folder) as llm:
            known = environment(peer, folder, broker, llm, slots)
            with machine.running(peer.command(slots, known["BENCH_REDIS"]), folder / "worker.log", known, MODULES):
                _warm_up(peer, known, llm)
                llm.reset(latency)
                sent = said(send(peer, known, "paced", 1, messages, rate))["sent"]
                machine.wait_until(lambda: bool(llm.stats()["answered"] >= messages), "all are answered")
                done = _finished(peer, folder, broker, range(1, messages + 1))
    return [done[int(number)] - at - latency for number, at in sent.items()]


def _finished(peer: Peer, folder: Path, broker: int, numbers: Sequence[int]) -> dict[int, float]:
    """When each message was."""
    if peer.packages:
        notes = folder / "done"
        noted = {str(number) for number in numbers}
        machine.wait_until(
            lambda: noted <= {line.split()[0] for line in notes.read_text().splitlines()}, "all functions have returned"
        )
        lines = [line.split() for line in notes.read_text().splitlines()]
        return {int(number): float(at) for number, at in lines}
    client = redis.Redis(port=broker, decode_responses=True)
    found: dict[int, float] = {}

    def look() -> bool:
        for number in numbers:
            if number not in found and (at := client.hget(f"tq:message:n{number}", "finished")):
                found[number] = int(str(at)) / 1000
        return len(found) == len(numbers)

    machine.wait_until(look, "all are recorded")
    return found


def quantile(values: list[float], share: float) -> float:
    """The value that so large a share of all does not exceed."""
    return statistics.quantiles(values, n=1000, method="inclusive")[int(share * 1000) - 1]
