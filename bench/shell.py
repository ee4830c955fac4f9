"""What a person at a terminal waits for, and what a stack costs that does nothing."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import machine
from deep import keep_environment
from peers import CELERY, PEERS, TQ


@dataclass(frozen=True)
class Shell:
    """Seconds of wall time, medians, of interleaved runs."""

    celery_help: float
    tq_help: float
    tq_submit: float
    up: float


@dataclass(frozen=True)
class Idle:
    """A stack with nothing to do: share of one core, and memory of all its processes."""

    cpu: float
    rss_mb: float


def _wall(command: Sequence[str], known: Mapping[str, str], folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run(  # noqa: S603 - no shell, own words
        command, env={**known}, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - began


def shell(runs: int, idle_seconds: float) -> tuple[Shell, Idle]:
    """Start stacks, and commands beside one."""
    celery = next(peer for peer in PEERS if peer.name == CELERY)
    tq = str(TQ.bin / "tq")
    ups = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        known = keep_environment() | {"TQ_DATA_DIR": str(folder / "data"), "HOME": name, "OPENAI_API_KEY": "k"}
        known |= {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "TQ_FLOWER_PORT": str(machine.free_port())}
        for _ in range(runs):
            began = time.perf_counter()
            subprocess.run(  # noqa: S603 - no shell, own words
                [tq, "up", "--detach", "--port", str(machine.free_port())],
                env=known,
                cwd=folder,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            ups.append(time.perf_counter() - began)
            if len(ups) < runs:
                subprocess.run([tq, "down"], env=known, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        try:
            taken: dict[str, list[float]] = {"celery": [], "help": [], "submit": []}
            for _ in range(runs + 1):
                taken["celery"].append(_wall([str(celery.bin / "celery"), "--help"], known, folder))
                taken["help"].append(_wall([tq, "--help"], known, folder))
                taken["submit"].append(_wall([tq, "submit", "Hello", "--to", "fr"], known, folder))
            subprocess.run([tq, "down"], env=known, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
            idle = _idle(tq, known, folder, idle_seconds)
        finally:
            subprocess.run([tq, "down"], env=known, cwd=folder, check=False, stdout=subprocess.DEVNULL)  # noqa: S603
    medians = {what: statistics.median(seconds[1:]) for what, seconds in taken.items()}
    return Shell(medians["celery"], medians["help"], medians["submit"], statistics.median(ups[1:] or ups)), idle


def _idle(tq: str, known: Mapping[str, str], folder: Path, seconds: float) -> Idle:
    # Without the message that cannot be sent anywhere and is tried again.
    fresh = {**known, "TQ_DATA_DIR": str(folder / "idle")}
    with machine.running([tq, "up", "--port", str(machine.free_port())], folder / "up.log", fresh, folder) as stack:
        machine.wait_until(lambda: "worker" in (folder / "up.log").read_text(), "the stack is up")
        time.sleep(10.0)
        before, began = machine.usage(stack.pid), time.monotonic()
        time.sleep(seconds)
        after = machine.usage(stack.pid)
        return Idle((after.cpu - before.cpu) / (time.monotonic() - began), after.rss / 1e6)
