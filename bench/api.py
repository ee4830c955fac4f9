"""How fast messages are accepted over HTTP: one API process, 64 connections of wrk, every answer a durable message."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import machine
from peers import ALONE, CELERY, MODULES, PEERS, TQ, Peer
from queues import environment, provider

_CONNECTIONS = 64
_BODY = '{"content":"Hello world! This text needs to be translated.","metadata":{"target_language":"fr"}}'
_SCRIPT = """
wrk.method = "POST"
wrk.path = "%s"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[%s]]
done = function(summary, latency)
  io.write(string.format("answers %%d microseconds %%d p50 %%d p99 %%d bad %%d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), summary.errors.status + summary.errors.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """What wrk saw: messages accepted per second, and milliseconds until the answer."""

    messages_per_s: float
    p50_ms: float
    p99_ms: float


def available() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def by_hand(seconds: float) -> Load:
    """FastAPI and ``apply_async``."""
    celery = next(peer for peer in PEERS if peer.name == CELERY)
    command = [str(celery.bin / "uvicorn"), "by_hand:api", "--log-level", "error", "--port"]
    return _measure(celery, command, "/messages", _BODY, 1, seconds)


def tq(seconds: float, *, batch: int = 1) -> Load:
    """``POST /messages``, or batches of so many."""
    command = [str(TQ.bin / "tq"), "api", "--port"]
    path, body = (
        ("/messages", _BODY) if batch == 1 else ("/messages/batch", f'{{"messages":[{",".join([_BODY] * batch)}]}}')
    )
    return _measure(TQ, command, path, body, batch, seconds)


def _measure(peer: Peer, command: list[str], path: str, body: str, messages: int, seconds: float) -> Load:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with machine.broker(folder) as broker, provider(folder) as llm:
            known = environment(peer, folder, broker, llm, 1) | {"TQ_MAX_QUEUED": "100000000"} | ALONE
            port = machine.free_port()
            script = folder / "post.lua"
            script.write_text(_SCRIPT % (path, body))
            with machine.running([*command, str(port)], folder / "api.log", known, MODULES):
                machine.wait_until(lambda: machine.listening(port), f"{peer.name} listens")
                _wrk(script, port, 2.0)
                return _wrk(script, port, seconds, messages)


def _wrk(script: Path, port: int, seconds: float, messages: int = 1) -> Load:
    command = ["wrk", "-t", "1", "-c", str(_CONNECTIONS), "-d", f"{seconds:.0f}s", "--timeout", "30s"]
    printed = subprocess.run(  # noqa: S603 - no shell, own words
        [*command, "-s", str(script), f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True
    ).stdout
    match = re.search(r"answers (\d+) microseconds (\d+) p50 (\d+) p99 (\d+) bad (\d+)", printed)
    if match is None or int(match[5]) or not int(match[1]):
        sys.exit(f"wrk did not get what it should:\n{printed}")
    answers, micros, p50, p99, _ = map(int, match.groups())
    return Load(answers * messages / micros * 1e6, p50 / 1000, p99 / 1000)
