"""The last hour as small charts: where points lie, and what is said in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from tq.charts import HEIGHT, WIDTH, charts_of
from tq.tallies import Minute

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def hour(**last: object) -> list[Minute]:
    """Sixty minutes without anything, but for the last whole one."""
    minutes = [Minute(at=BEGAN + timedelta(minutes=n)) for n in range(60)]
    minutes[58] = minutes[58].model_copy(update=last)
    return minutes


def test_an_hour_without_anything() -> None:
    """Flat lines, no scale, and words that say so."""
    throughput, latency, errors = charts_of(hour(), 0)
    assert (throughput.now, latency.now, errors.now) == ("0", "–", "0")
    assert {chart.top for chart in (throughput, latency, errors)} == {""}
    assert latency.lines[0].parts == ()
    assert errors.bars == ()
    assert "No attempt has completed" in latency.summary
    assert "No attempt has failed" in errors.summary
    assert len(throughput.readings) == len(latency.readings) == len(errors.readings) == 60


def test_the_minute_that_is_not_over() -> None:
    """What was completed within sixty seconds stands for it: it is no fall to nothing when it has just begun."""
    throughput, *_ = charts_of(hour(completed=80), 75)
    assert throughput.now == "75"
    assert throughput.top == "80"
    last = throughput.lines[0].parts[0].split(" ")[-1]
    x, y = map(float, last.split(","))
    assert x == WIDTH
    assert y < HEIGHT / 4


def test_points_lie_within_the_picture() -> None:
    """From left to right, the highest at the top."""
    minutes = [minute.model_copy(update={"completed": n}) for n, minute in enumerate(hour())]
    throughput, *_ = charts_of(minutes, 59)
    points = [tuple(map(float, point.split(","))) for point in throughput.lines[0].parts[0].split(" ")]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(points))


def test_latency_has_gaps_and_units() -> None:
    """Minutes without an attempt are none; below a second it is in milliseconds; a single one is still seen."""
    _, latency, _ = charts_of(hour(p50=0.0214, p95=1.34), 0)
    assert latency.now == "21 ms / 1.3s"
    assert [line.label for line in latency.lines] == ["p95", "p50"]
    (stroke,) = latency.lines[1].parts
    left, right = (float(point.split(",")[0]) for point in stroke.split(" "))
    assert right - left == 4
    assert latency.readings[58] == "p50 21 ms, p95 1.3s"
    assert latency.readings[57] == "none"


def test_errors_by_kind() -> None:
    """The most frequent first, in the words, beside the chart and under the pointer."""
    errors = {"invalid-key": 1200, "truncated": 3, "refusal": 9}
    *_, chart = charts_of(hour(errors=errors), 0)
    assert chart.now == "1,212"
    assert chart.kinds == (("invalid-key", 1200), ("refusal", 9), ("truncated", 3))
    assert chart.readings[58] == "invalid-key 1,200, refusal 9"
    assert len(chart.bars) == 1
    assert "invalid-key 1,200, refusal 9, truncated 3." in chart.summary
