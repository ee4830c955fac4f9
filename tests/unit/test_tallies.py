"""What is counted, as it is read back: totals, minutes, and quantiles from buckets."""

from __future__ import annotations

import math

import pytest

from tq.errors import ERRORS
from tq.messages import Status
from tq.tallies import BOUNDS, as_history, as_totals, encode_calls, quantile, slug

NOW = 1_800_000_030_000
THIS = NOW // 60_000


def bucket(seconds: float) -> int:
    """As ``prelude.lua`` chooses it."""
    return math.ceil(4 * math.log2(max(1, seconds * 1000)))


def test_a_history_has_sixty_minutes_without_a_gap() -> None:
    """Oldest first and the current one last; a minute in which nothing happened is there with zeros."""
    minutes = as_history(NOW, {THIS: {"completed:": "2"}, THIS - 59: {"failed:poison": "1"}}).minutes
    assert [minute.at.timestamp() for minute in minutes] == [(THIS - 59 + n) * 60 for n in range(60)]
    assert (minutes[-1].completed, minutes[0].failed, minutes[0].errors) == (2, 1, {"poison": 1})
    assert minutes[30].model_dump(exclude={"at"}) == {
        **dict.fromkeys(("attempts", "completed", "failed", "cancelled", "retried"), 0),
        "p50": None,
        "p95": None,
        "errors": {},
    }


def test_a_minute_tells_messages_from_attempts() -> None:
    """What was put off is no attempt, what was cancelled in the queue is none either, and a retry has an error."""
    record = {
        "completed:": "5",
        "failed:invalid-key": "1",
        "retried:rate-limited": "3",
        "retried:invalid-key": "1",
        "deferred:": "100",
        "released:": "1",
        "expired:": "1",
        "cancelled:": "1",
        "ended:cancelled": "4",
    }
    minute = as_history(NOW, {THIS: record}).minutes[-1]
    assert (minute.attempts, minute.completed, minute.failed, minute.cancelled, minute.retried) == (13, 5, 1, 5, 4)
    assert minute.errors == {"invalid-key": 2, "rate-limited": 3}


def test_unknown_reasons_are_one() -> None:
    """A program outside may report any type, and another version may know more: neither adds a series."""
    assert slug("rate-limited") == "rate-limited"
    assert slug("Traceback of mine") == "other"
    found = as_totals({"failed:x": "1", "failed:y": "2", "retried:timeout of theirs": "3", "nonsense": "9"})
    assert found.attempts == {("failed", "other"): 3, ("retried", "other"): 3}
    assert all(slug(kind) == kind for kind in ERRORS)


def test_totals_add_up() -> None:
    """Messages that ended are those whose attempt ended so, and those that had none."""
    record = {"completed:": "7", "failed:poison": "1", "failed:refusal": "2", "cancelled:": "1", "ended:cancelled": "3"}
    found = as_totals(record | {"submitted": "20", "leases": "4", "throttled": "5", "refused:queue-full": "6"})
    assert found.ended == {Status.COMPLETED: 7, Status.FAILED: 3, Status.CANCELLED: 4}
    assert (found.submitted, found.expiries, found.throttled) == (20, 4, 5)
    assert found.refused == {"queue-full": 6, "budget-exceeded": 0}
    assert as_totals({"hooks:delivered": "2", "hooks:retried": "1"}).hooks == {
        "delivered": 2,
        "retried": 1,
        "failed": 0,
        "disabled": 0,
    }


def test_calls_are_counted_below_each_bound() -> None:
    """A histogram as Prometheus has it: a bound includes what equals it, and all that is below."""
    total, *labels = encode_calls([0.1, 0.3, 3.0, 1000.0]).split(",")
    record = {"calls:sum": total}
    for label in labels:
        record[f"calls:{label}"] = str(int(record.get(f"calls:{label}", 0)) + 1)
    found = as_totals(record)
    assert found.calls_seconds == 1003.4
    assert dict(found.calls) == {
        f"{bound:g}": sum(each <= bound for each in (0.1, 0.3, 3.0, 1000.0)) for bound in BOUNDS
    } | {"+Inf": 4}
    assert encode_calls([]) == ""


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_quantiles_are_within_a_tenth(share: float) -> None:
    """Of values from a millisecond to ten minutes, the buckets give back what the values say."""
    values = [0.001 * 1.07**n for n in range(195)]
    counts: dict[int, int] = {}
    for value in values:
        counts[bucket(value)] = counts.get(bucket(value), 0) + 1
    found = quantile(sorted(counts.items()), share)
    exact = values[round(share * len(values)) - 1]
    assert found == pytest.approx(exact, rel=0.1)


def test_no_values_have_no_quantile() -> None:
    """Nothing was completed: null, not zero."""
    assert quantile([], 0.5) is None
    assert quantile([(3, 0)], 0.5) is None
