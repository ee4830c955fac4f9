"""The bench that guards every change: ``python bench/quick.py``, under two minutes.

Only counts, and ratios within one run, with bounds that a busy machine keeps; nothing here is a time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from statistics import median

import deep
import queues
from peers import PEERS, TQ, TQ_SHARED, Peer

MESSAGES, SLOTS, LATENCY = 600, 200, 0.5
#: Texts of one call.
SHARED = 20
#: Celery's own queued message (kombu 5.7), and how much more of memory one of tq's may take.
CELERY_BYTES, BYTES = 1504, 1.25


def checks() -> Iterator[tuple[str, str, str, bool]]:
    """What is looked at: name, measured, bound, whether it is kept."""
    taskiq = next(peer for peer in PEERS if peer.name == "taskiq")
    taskiq.install()
    runs: dict[str, list[queues.Drain]] = {}
    for peer in (TQ, taskiq, TQ_SHARED) * 2:
        runs.setdefault(peer.name, []).append(queues.drain(peer, MESSAGES, SLOTS, LATENCY))

    def cpu(peer: Peer) -> float:
        return median(run.cpu_ms for run in runs[peer.name])

    ratio = cpu(TQ) / cpu(taskiq)
    yield "CPU of a message, of taskiq's", f"{ratio:.2f}", "<= 1.6", ratio <= 1.6
    ratio = cpu(TQ_SHARED) / cpu(TQ)
    yield "the same with shared calls, of tq's own", f"{ratio:.2f}", "<= 0.9", ratio <= 0.9
    calls = max(run.calls for run in runs[TQ.name])
    yield "calls without sharing", str(calls), f"= {MESSAGES}", calls == MESSAGES
    calls = max(run.calls for run in runs[TQ_SHARED.name])
    most = MESSAGES // SHARED * 2
    yield f"calls of up to {SHARED} texts", str(calls), f"<= {most}", calls <= most
    flight = max(run.in_flight for run in runs[TQ.name])
    yield f"in flight, of {SLOTS}", str(flight), f">= {SLOTS * 9 // 10}", flight >= SLOTS * 9 // 10
    size = deep.bytes_per_message(TQ)
    yield "bytes of Redis a message", f"{size:.0f}", f"<= {BYTES * CELERY_BYTES:.0f}", size <= BYTES * CELERY_BYTES


def main() -> None:
    """Print all; exit 1 when a bound is not kept."""
    kept = True
    for name, measured, bound, good in checks():
        sys.stdout.write(f"{'ok  ' if good else 'FAIL'} {name}: {measured} ({bound})\n")
        kept = kept and good
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
