"""The bench: ``python bench/run.py [--only PART,…] [--runs N]`` writes results.json, README.md and the plots."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

import api
import deep
import machine
import queues
import report
import shell
from peers import HERE, PEERS, PLOTS, TQ, TQ_SHARED, Peer

RESULTS = HERE / "results.json"
#: In flight, and seconds of the provider: of the comparison, and of the run with very many.
SLOTS, LATENCY = 500, 2.0
MANY, MANY_LATENCY = 5000, 10.0
#: As many rounds of that, or the first and the last, which are only half full, would be most of it.
MANY_WAVES = 8


def say(text: str) -> None:
    """Progress goes to stderr."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")


def medians(runs: list[Any]) -> dict[str, Any]:
    """Of each figure of several runs."""
    return {each.name: statistics.median(getattr(run, each.name) for run in runs) for each in fields(runs[0])}


def compare(runs: int, messages: int = 6000) -> dict[str, Any]:
    """All queues in turns, so that a machine that changes its speed changes it for all."""
    found: dict[str, list[queues.Drain]] = defaultdict(list)
    for number in range(runs):
        for peer in PEERS:
            count = messages if peer.slots is None else 10
            try:
                found[peer.name].append(queues.drain(peer, count, SLOTS, LATENCY))
                say(f"run {number + 1}, {peer.name}: {found[peer.name][-1]}")
            except (TimeoutError, ValueError) as error:
                say(f"run {number + 1}, {peer.name}: {error}")
    return {name: medians(each) | {"runs": len(each)} for name, each in found.items()}


def delays(_: int) -> dict[str, Any]:
    """What each queue adds to a message when it has nothing else to do."""
    found = {}
    for peer in PEERS:
        if peer.slots is None and peer is not TQ_SHARED:
            seconds = queues.overhead(peer, 500, SLOTS, 0.5, 50.0)
            found[peer.name] = {
                "p50_ms": queues.quantile(seconds, 0.5) * 1000,
                "p99_ms": queues.quantile(seconds, 0.99) * 1000,
            }
            say(f"{peer.name}: {found[peer.name]}")
    return found


def many(runs: int) -> dict[str, Any]:
    """Very many in flight in one worker."""
    found = [queues.drain(TQ, MANY_WAVES * MANY, MANY, MANY_LATENCY) for _ in range(min(runs, 2))]
    say(f"many: {found}")
    return medians(found)


def accept(runs: int) -> dict[str, Any]:
    """Messages over HTTP."""
    if not api.available():
        return {"missing": "wrk is not installed"}
    ways: dict[str, Callable[[], api.Load]] = {
        "by hand": lambda: api.by_hand(10.0),
        "tq": lambda: api.tq(10.0),
        "tq, batches of 100": lambda: api.tq(10.0, batch=100),
    }
    found: dict[str, list[api.Load]] = defaultdict(list)
    for _ in range(runs):
        for name, measure in ways.items():
            found[name].append(measure())
            say(f"{name}: {found[name][-1]}")
    return {name: medians(each) for name, each in found.items()}


def long_queues(_: int) -> dict[str, Any]:
    """What depth costs."""
    found: dict[str, Any] = {"tq_bytes": deep.bytes_per_message(TQ), "celery_bytes": deep.celery_bytes()}
    found["urgent_p99_s"] = deep.urgent()
    say(str(found))
    found["depths"] = []
    for messages in (100, 1000, 10_000, 100_000):
        found["depths"].append(asdict(deep.depth(messages)))
        say(str(found["depths"][-1]))
    return found


def terminal(runs: int) -> dict[str, Any]:
    """Commands and the idle stack."""
    seconds, idle = shell.shell(max(runs, 5), 30.0)
    say(f"{seconds} {idle}")
    return asdict(seconds) | {"idle_cpu": idle.cpu, "idle_rss_mb": idle.rss_mb}


def growth(_: int) -> dict[str, Any]:
    """CPU per message against what is in flight, and throughput against worker processes."""
    flights = []
    for slots in (10, 50, 100, 500, 1000, 2000):
        run = queues.drain(TQ, max(500, 3 * slots), slots, 1.0)
        flights.append({"slots": slots, "cpu_ms": run.cpu_ms, "share": run.share})
        say(str(flights[-1]))
    workers = []
    for number in (1, 2, 4):
        run = queues.drain(TQ, 1500 * number, 250, 1.0, number)
        workers.append({"workers": number, "done_per_s": run.done_per_s, "share": run.share})
        say(str(workers[-1]))
    return {"flights": flights, "workers": workers}


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "queues": compare,
    "delays": delays,
    "many": many,
    "api": accept,
    "depth": long_queues,
    "shell": terminal,
    "growth": growth,
}


def install(peers: tuple[Peer, ...]) -> None:
    """Make all virtual environments, before anything is measured."""
    for peer in peers:
        peer.install()


def main() -> None:
    """Measure what was asked for, keep the rest of the last results, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, comma separated")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    install((*PEERS, PLOTS))
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results["versions"] = {name: version for peer in PEERS for name, version in peer.versions().items()}
    for part in arguments.only.split(","):
        began = time.monotonic()
        results[part] = PARTS[part](arguments.runs) | {"date": f"{datetime.now(UTC):%Y-%m-%d}"}
        results["machine"] = machine.description()
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        say(f"{part}: {time.monotonic() - began:.0f} s")
    report.write(results)
    subprocess.run([PLOTS.bin / "python", HERE / "plots.py"], check=True)  # noqa: S603 - no shell, own words


if __name__ == "__main__":
    main()
