"""The figures for Prometheus, read back with its own client's parser."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tq.figures import AccountSpend, QueueDepth, Spend, Stats, WorkerInfo
from tq.messages import Status
from tq.metrics import exposition


def stats(**changes: Any) -> Stats:
    """The statistics of an empty queue, but for ``changes``."""
    values: dict[str, Any] = {
        "queues": {},
        "priorities": [],
        "oldest_wait": 0.0,
        "counts": dict.fromkeys(Status, 0),
        "running": 0,
        "retries_pending": 0,
        "workers": [],
        "throughput": {},
    }
    return Stats(**values | changes)


def samples(given: Stats) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Name -> labels -> value, as Prometheus understands the text."""
    text = exposition(given, version="1.0", provider="pseudo")
    assert text.endswith("\n")
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation and family.type == "gauge" for family in families)
    return {
        family.name: {frozenset(sample.labels.items()): sample.value for sample in family.samples}
        for family in families
    }


def test_levels_are_listed_also_when_nothing_waits() -> None:
    """Eleven priorities in two queues, and quarantine: a series never vanishes."""
    found = samples(stats())
    for name in ("tq_queued_messages", "tq_oldest_wait_seconds"):
        assert len(found[name]) == 12
        assert set(found[name].values()) == {0}
    assert len(found["tq_messages"]) == len(Status)


def test_depths_waits_and_counts_keep_their_precision() -> None:
    """Large counts are not rounded to six digits."""
    depth = QueueDepth(queue="high_priority", priority=9, queued=1234567, oldest_wait=3600.125)
    lost = QueueDepth(queue="quarantine", priority=None, queued=2, oldest_wait=5.0)
    found = samples(stats(priorities=[depth, lost], counts=dict.fromkeys(Status, 7654321)))
    level = frozenset({("queue", "high_priority"), ("priority", "9")})
    assert found["tq_queued_messages"][level] == 1234567
    assert found["tq_oldest_wait_seconds"][level] == 3600.125
    assert found["tq_queued_messages"][frozenset({("queue", "quarantine"), ("priority", "")})] == 2
    assert found["tq_messages"][frozenset({("status", "failed")})] == 7654321


def test_a_worker_may_have_any_name() -> None:
    """Backslash, quotation mark and line break in a label survive."""
    name = 'host\\"a"\nb'
    worker = WorkerInfo(name=name, version="1", provider="pseudo", slots=200, running=3, alive_until=datetime.now(UTC))
    found = samples(stats(workers=[worker]))
    labels = frozenset({("worker", name), ("provider", "pseudo")})
    assert found["tq_workers"] == {frozenset(): 1}
    assert found["tq_worker_slots"] == {labels: 200}
    assert found["tq_worker_running_messages"] == {labels: 3}


def test_money_of_today() -> None:
    """Tokens by kind, and the cost of those whose price is known, with its currency."""
    total = AccountSpend(account="total", prompt_tokens=10, completion_tokens=5, unpriced_tokens=3, known_cost=0.25)
    found = samples(stats(spend=Spend(currency="EUR", total=total)))
    kinds = {"prompt": 10, "completion": 5, "unpriced": 3}
    assert found["tq_tokens_today"] == {frozenset({("kind", kind)}): value for kind, value in kinds.items()}
    assert found["tq_known_cost_today"] == {frozenset({("currency", "EUR")}): 0.25}
