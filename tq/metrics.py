"""Figures for Prometheus, in its text format 0.0.4, made of the queue's statistics at each scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from tq.figures import Stats
from tq.messages import MAX_PRIORITY, MIN_PRIORITY, QUARANTINE, get_queue_for_priority

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_Sample = tuple[Mapping[str, str], float]


def exposition(stats: Stats, *, version: str, provider: str) -> str:
    """The statistics as Prometheus reads them; every name begins with ``tq_``."""
    return "".join(_lines(stats, version, provider))


def _lines(stats: Stats, version: str, provider: str) -> Iterator[str]:
    yield from _gauge("info", "What answers here.", [({"version": version, "provider": provider}, 1)])
    depths = {(depth.queue, depth.priority): depth for depth in stats.priorities}
    # Levels where nothing waits are listed too: a series that vanishes looks like a missing target.
    levels = [(get_queue_for_priority(level), level) for level in range(MAX_PRIORITY, MIN_PRIORITY - 1, -1)]
    known = [*levels, (QUARANTINE, None)]
    labels = [{"queue": queue, "priority": "" if level is None else str(level)} for queue, level in known]
    found = [depths.get(level) for level in known]
    yield from _gauge(
        "queued_messages",
        "Messages that wait, by queue and priority.",
        [(label, depth.queued if depth else 0) for label, depth in zip(labels, found, strict=True)],
    )
    yield from _gauge(
        "oldest_wait_seconds",
        "How long the longest-waiting message has waited, by queue and priority.",
        [(label, depth.oldest_wait if depth else 0) for label, depth in zip(labels, found, strict=True)],
    )
    yield from _gauge(
        "messages",
        "Messages kept, by status.",
        [({"status": status}, count) for status, count in stats.counts.items()],
    )
    yield from _gauge("running_messages", "Messages that are being translated.", [({}, stats.running)])
    yield from _gauge("workers", "Live workers.", [({}, len(stats.workers))])
    workers = [({"worker": worker.name, "provider": worker.provider}, worker) for worker in stats.workers]
    yield from _gauge(
        "worker_slots", "Messages that a worker may hold.", [(label, worker.slots) for label, worker in workers]
    )
    yield from _gauge(
        "worker_running_messages",
        "Messages that a worker held at its last heartbeat.",
        [(label, worker.running) for label, worker in workers],
    )
    yield from _gauge(
        "throughput_per_minute",
        "Attempts begun, and messages ended, in the last minute.",
        [({"kind": kind}, value) for kind, value in stats.throughput.items()],
    )
    spent = stats.spend.total
    yield from _gauge(
        "tokens_today",
        "Tokens of this UTC day, by kind; unpriced are those of both whose price is not known.",
        [
            ({"kind": "prompt"}, spent.prompt_tokens),
            ({"kind": "completion"}, spent.completion_tokens),
            ({"kind": "unpriced"}, spent.unpriced_tokens),
        ],
    )
    yield from _gauge(
        "known_cost_today",
        "What the tokens of this UTC day cost whose price is known.",
        [({"currency": stats.spend.currency or ""}, spent.known_cost)],
    )


def _gauge(name: str, text: str, samples: Iterable[_Sample]) -> Iterator[str]:
    yield f"# HELP tq_{name} {text}\n# TYPE tq_{name} gauge\n"
    for labels, value in samples:
        inner = ",".join(f'{label}="{_escaped(content)}"' for label, content in labels.items())
        yield f"tq_{name}{{{inner}}} {value}\n" if inner else f"tq_{name} {value}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
