"""The figures for Prometheus, read back with its own client's parsers in both formats."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families

from tq.exposition import OPEN_METRICS, TEXT, media_type
from tq.figures import AccountSpend, QueueDepth, RateInfo, RateLimit, Spend, Stats, WorkerInfo
from tq.messages import Status
from tq.metrics import Process, figures
from tq.settings import Settings
from tq.tallies import Totals, as_totals

Labels = frozenset[tuple[str, str]]


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


def samples(
    given: Stats | None = None, totals: Totals | None = None, media: str = TEXT, **settings: Any
) -> dict[str, dict[Labels, float]]:
    """Name of a sample -> labels -> value, as Prometheus understands the text."""
    text = figures(
        given or stats(),
        totals or as_totals({}),
        Process(streams=2, started=1.5, cpu=0.25, memory=1024, files=7),
        settings=Settings(**settings),
        version="1.0",
        media=media,
    )
    assert text.endswith("\n")
    parse = open_metrics_families if media == OPEN_METRICS else text_string_to_metric_families
    found: dict[str, dict[Labels, float]] = {}
    for family in parse(text):
        assert family.documentation
        assert family.type in {"gauge", "counter", "histogram"}
        for sample in family.samples:
            labels = frozenset(sample.labels.items())
            assert labels not in found.setdefault(sample.name, {}), f"{sample.name} is there twice"
            found[sample.name][labels] = sample.value
    return found


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


def test_every_counter_is_there_before_it_counts() -> None:
    """With nothing counted yet there are zeros for each outcome and reason: a rate needs a start."""
    found = samples()
    attempts = found["tq_attempts_total"]
    assert set(attempts.values()) == {0}
    assert frozenset({("outcome", "retried"), ("reason", "rate-limited")}) in attempts
    assert frozenset({("outcome", "failed"), ("reason", "poison")}) in attempts
    assert frozenset({("outcome", "completed"), ("reason", "")}) in attempts
    assert len(attempts) < 50
    assert found["tq_provider_call_seconds_count"] == {frozenset(): 0}
    assert len(found["tq_ended_messages_total"]) == 3
    for name in ("tq_submitted_total", "tq_lease_expiries_total", "tq_provider_refusals_total"):
        assert found[name] == {frozenset(): 0}


def test_counts_and_the_histogram_of_calls() -> None:
    """Attempts by outcome and reason; buckets add up to their count."""
    record = {
        "completed:": "5",
        "retried:rate-limited": "2",
        "calls:0.5": "3",
        "calls:+Inf": "1",
        "calls:sum": "401500",
    }
    found = samples(totals=as_totals(record | {"submitted": "9", "leases": "1"}))
    assert found["tq_attempts_total"][frozenset({("outcome", "retried"), ("reason", "rate-limited")})] == 2
    buckets = {dict(labels)["le"]: value for labels, value in found["tq_provider_call_seconds_bucket"].items()}
    assert (buckets["0.25"], buckets["0.5"], buckets["300"], buckets["+Inf"]) == (0, 3, 3, 4)
    assert found["tq_provider_call_seconds_sum"] == {frozenset(): 401.5}
    assert found["tq_provider_call_seconds_count"] == {frozenset(): 4}
    assert found["tq_submitted_total"] == {frozenset(): 9}


def account(model: str, key: str = "default", **more: Any) -> RateInfo:
    """The limits of one."""
    values: dict[str, Any] = {"limits": {}, "cool_down": 0.0, "exhausted": 0.0, "waiting": 0.0, "sent": 1, "refused": 0}
    return RateInfo(host="api.example", key=key, model=model, **values | more)


def labels(model: str, key: str = "default", **more: str) -> Labels:
    """Of its series."""
    return frozenset({"host": "api.example", "key": key, "model": model, **more}.items())


def test_limits_and_cool_downs() -> None:
    """Of each endpoint, key and model: what is left of a pause, and the limit with its source."""
    limits = {"requests": RateLimit(per_minute=60, source="headers")}
    found = samples(stats(rates=[account("m", cool_down=12.5, waiting=3.0, limits=limits)]), model="m")
    assert found["tq_provider_cool_down_seconds"] == {labels("m"): 12.5}
    assert found["tq_provider_put_off_seconds"] == {labels("m"): 3.0}
    assert found["tq_provider_limit_per_minute"] == {labels("m", dimension="requests", source="headers"): 60}


def test_callers_cannot_make_series() -> None:
    """What only a caller names, model or key, is one series, with the longest pause and the highest limit of all."""
    per_minute = [{"tokens": RateLimit(per_minute=number, source="429")} for number in (7, 90, 8)]
    mine = [account(f"invented-{number}", cool_down=number, limits=per_minute[number]) for number in range(3)]
    keys = [account("m", f"key-{number}", exhausted=number) for number in range(3)]
    named = [account(model, waiting=5.0) for model in ("m", "fallback", "priced", "gpt-4o-x", "gpt-4o-y")]
    price = {"prompt": 1, "completion": 1}
    found = samples(
        stats(rates=mine + keys + named),
        model="m",
        fallback_models=["fallback"],
        prices=json.dumps({"priced": price, "gpt-4o*": price}),
    )
    known = {labels(model) for model in ("m", "fallback", "priced", "gpt-4o*")}
    assert set(found["tq_provider_put_off_seconds"]) == known | {labels("other"), labels("m", "other")}
    assert found["tq_provider_cool_down_seconds"][labels("other")] == 2
    assert found["tq_provider_exhausted_seconds"][labels("m", "other")] == 2
    assert found["tq_provider_limit_per_minute"] == {labels("other", dimension="tokens", source="429"): 90}


def test_requests_by_account() -> None:
    """They were counted by what may be told of their account."""
    record = {'sent:["api.example", "default", "m"]': "40", 'sent:["api.example", "other", "other"]': "2"}
    found = samples(totals=as_totals(record))
    assert found["tq_provider_requests_total"] == {labels("m"): 40, labels("other", "other"): 2}


def test_the_process_that_answers() -> None:
    """What every Prometheus client says of its process, under the same names."""
    found = samples(max_queued=7)
    assert found["process_start_time_seconds"] == {frozenset(): 1.5}
    assert found["process_cpu_seconds_total"] == {frozenset(): 0.25}
    assert found["tq_event_streams"] == {frozenset(): 2}
    assert found["tq_max_queued_messages"] == {frozenset(): 7}


def test_both_formats_say_the_same() -> None:
    """OpenMetrics, which ends with a mark and names counters otherwise, has the same samples."""
    worker = WorkerInfo(name="a", version="1", provider="p", slots=1, running=1, alive_until=datetime.now(UTC))
    given, totals = stats(workers=[worker]), as_totals({"failed:refusal": "3", "calls:1": "2", "calls:sum": "1000"})
    assert samples(given, totals, OPEN_METRICS) == samples(given, totals)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", TEXT),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1", OPEN_METRICS),
    ],
)
def test_the_format_that_is_asked_for(accept: str, media: str) -> None:
    """What Prometheus sends with a scrape chooses OpenMetrics; everyone else reads plain text."""
    assert media_type(accept) == media


def test_paused_queues() -> None:
    """Each queue is listed, whether or not it is paused."""
    found = samples(stats(paused=["default"]))["tq_paused_queues"]
    assert {dict(labels)["queue"]: value for labels, value in found.items()} == {
        "high_priority": 0,
        "default": 1,
        "quarantine": 0,
    }
