"""What a long queue costs: memory of the broker and of a worker, the API's time, urgent messages that come late."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import machine
import redis
from peers import ALONE, CELERY, MODULES, PEERS, TQ, Peer
from queues import environment, provider, quantile, said, send

_CONTENT = "x" * 200


@dataclass(frozen=True)
class Depth:
    """With so many messages queued.

    Attributes:
        messages: queued.
        stats_ms: of `GET /queue/stats`, the median.
        list_ms: of `GET /messages`, the median.
        submit_ms: of `POST /messages`, the median.
        rss_before_mb: of a worker with an empty queue.
        rss_after_mb: of a worker that has begun on them.
    """

    messages: int
    stats_ms: float
    list_ms: float
    submit_ms: float
    rss_before_mb: float
    rss_after_mb: float


def bytes_per_message(peer: Peer, messages: int = 2000) -> float:
    """Memory of the broker for each queued message of 200 bytes, with all that belongs to it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with machine.broker(folder) as broker, provider(folder) as llm:
            known = environment(peer, folder, broker, llm, 1) | {"BENCH_CONTENT": _CONTENT}
            client = redis.Redis(port=broker)
            said(send(peer, known, "bulk", 1, 200))
            before = _used(client)
            said(send(peer, known, "bulk", 1001, messages))
            return (_used(client) - before) / messages


def _used(client: redis.Redis) -> int:
    client.memory_purge()
    time.sleep(0.5)
    used = client.info("memory")
    if not isinstance(used, dict):
        raise TypeError("INFO answered something else")
    return int(used["used_memory"])


def celery_bytes() -> float:
    """The same of a message that Celery itself has queued."""
    return bytes_per_message(replace(next(peer for peer in PEERS if peer.name == CELERY), module="by_hand"))


def depth(messages: int) -> Depth:
    """Queue so many, ask the API, then start a worker on them."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        broker = stack.enter_context(machine.broker(folder))
        llm = stack.enter_context(provider(folder))
        llm.reset(1.0)
        known = environment(TQ, folder, broker, llm, 50) | ALONE
        port = machine.free_port()
        api = [str(TQ.bin / "tq"), "api", "--port", str(port)]
        stack.enter_context(machine.running(api, folder / "api.log", known, MODULES))
        worker = TQ.command(50, known["BENCH_REDIS"])
        with machine.running(worker, folder / "worker.log", known, MODULES) as idle:
            said(send(TQ, known, "bulk", 2_000_001, 100))
            machine.wait_until(lambda: llm.stats()["answered"] >= 100, "the worker is warm")
            time.sleep(1.0)
            before = machine.usage(idle.pid).rss / 1e6
        said(send(TQ, known, "bulk", 1, messages))
        address = f"http://127.0.0.1:{port}"
        machine.wait_until(lambda: machine.listening(port), "the API listens")
        figures = [_median_ms(f"{address}{path}") for path in ("/queue/stats", "/messages")]
        figures.append(_median_ms(f"{address}/messages", b'{"content":"Hello"}'))
        with machine.running(worker, folder / "worker.log", known, MODULES) as busy:
            llm.reset(1.0)
            machine.wait_until(lambda: llm.stats()["answered"] >= 100, "the worker is busy")
            time.sleep(2.0)
            after = machine.usage(busy.pid).rss / 1e6
    return Depth(messages, figures[0], figures[1], figures[2], before, after)


def _median_ms(url: str, body: bytes | None = None, times: int = 20) -> float:
    taken = []
    for _ in range(times + 1):
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - our own server
        began = time.perf_counter()
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own server
            json.load(answer)
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken[1:])


def urgent(queued: int = 10_000, times: int = 30, latency: float = 0.5) -> float:
    """Seconds until a priority-10 message starts while priority 0 waits in its thousands: the 99th percentile."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with machine.broker(folder) as broker, provider(folder) as llm:
            known = environment(TQ, folder, broker, llm, 50) | ALONE
            said(send(TQ, known, "bulk", 1_000_000, queued))
            llm.reset(latency)
            with machine.running(TQ.command(50, known["BENCH_REDIS"]), folder / "worker.log", known, MODULES):
                machine.wait_until(lambda: llm.stats()["answered"] >= 100, "the worker is busy")
                paced = send(TQ, known | {"BENCH_PRIORITY": "10"}, "paced", 1, times, 2.0)
                sent = said(paced)["sent"]
                machine.wait_until(
                    lambda: len(llm.arrivals().keys() & set(range(1, times + 1))) == times, "all started"
                )
                arrivals = llm.arrivals()
    return quantile([arrivals[int(number)] - at for number, at in sent.items()], 0.99)


def keep_environment() -> dict[str, str]:
    """Without any setting of tq's."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("TQ_", "REDIS_", "OPENAI_"))}
