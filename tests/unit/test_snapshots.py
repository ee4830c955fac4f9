"""What a terminal shows, whole, at two widths, with and without colour; ``pytest --snapshot-update`` after a change."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from rich.console import Console, RenderableType
from syrupy.assertion import SnapshotAssertion

from tq import lines, tables
from tq.figures import AccountSpend, QueueDepth, RateInfo, RateLimit, Spend, Stats, WorkerInfo
from tq.messages import Message, MessageError, Status, Usage
from tq.timeline import TimelineEntry

NOW: Final = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)
WIDTHS: Final = (80, 120)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are shown in the zone of whoever looks."""
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def message(number: int, status: Status, **fields: Any) -> Message:
    """A message of some seconds ago."""
    began = NOW - timedelta(seconds=3 * number + 2)
    running = status is not Status.QUEUED
    ended = status in {Status.COMPLETED, Status.FAILED, Status.CANCELLED}
    known: dict[str, Any] = {
        "message_id": f"01K3ZQ7D9V8M5X2C4B6N7P8Q{number:02}",
        "status": status,
        "queue": "high_priority" if number % 2 else "default",
        "priority": 9 if number % 2 else number % 5,
        "content": "Hello",
        "model_name": "gpt-5-mini",
        "metadata": {"source_language": "en", "target_language": ("fr", "ja", "de", "pt-BR", "zh-Hans")[number % 5]},
        "provider": "openai" if ended else None,
        "translation": "Bonjour" if status is Status.COMPLETED else None,
        "error": None,
        "warnings": [],
        "attempts": int(running),
        "created_at": began,
        "started_at": began + timedelta(seconds=0.4) if running else None,
        "finished_at": began + timedelta(seconds=1.6) if ended else None,
        "next_retry_at": NOW + timedelta(seconds=8) if status is Status.RETRYING else None,
        "usage": Usage(prompt_tokens=30, completion_tokens=8) if status is Status.COMPLETED else None,
    }
    return Message(**(known | fields))


TIMED_OUT: Final = MessageError(type="rate-limited", message="the provider asks to wait", retryable=True)
REFUSED: Final = MessageError(type="invalid-key", message="the provider refused the API key", retryable=False)
MESSAGES: Final = (
    message(1, Status.COMPLETED, cost=0.00123),
    message(2, Status.RUNNING),
    message(3, Status.RETRYING, error=TIMED_OUT),
    message(4, Status.QUEUED),
    message(5, Status.FAILED, error=REFUSED),
    message(6, Status.CANCELLED),
    message(7, Status.COMPLETED, message_id="order-4711-greeting", provider="pseudo"),
)
STATS: Final = Stats(
    queues={"high_priority": 3, "default": 1200, "quarantine": 0},
    priorities=[
        QueueDepth(queue="high_priority", priority=9, queued=3, oldest_wait=0.8),
        QueueDepth(queue="default", priority=0, queued=1200, oldest_wait=125.0),
    ],
    oldest_wait=125.0,
    oldest_unfinished=845.0,
    oldest_unfinished_by_queue={"high_priority": 845.0, "default": 127.0},
    counts=dict(zip(Status, (1203, 187, 4, 50_211, 12, 3), strict=True)),
    running=187,
    retries_pending=4,
    workers=[
        WorkerInfo(
            name="tq-4711@host", version="0.1.0", provider="openai", slots=200, running=187, alive_until=NOW
        )
    ],
    throughput={"attempts": 640.0, "completed": 631.0, "failed": 2.0, "cancelled": 0.0},
    spend=Spend(
        currency="USD",
        total=AccountSpend(account="total", messages=50_211, prompt_tokens=4_100_000, completion_tokens=1_900_000,
                           known_cost=3.217, cost=3.217),
        accounts=[AccountSpend(account="default", messages=50_211, prompt_tokens=4_100_000,
                               completion_tokens=1_900_000, known_cost=3.217, cost=3.217)],
    ),
    paused=["default"],
    rates=[
        RateInfo(
            host="api.openai.com", key="1f0c", model="gpt-5-mini", cool_down=7.5, exhausted=0.0, waiting=0.0,
            limits={"requests": RateLimit(per_minute=500, source="headers")}, sent=50_400, refused=3,
        )
    ],
)  # fmt: skip


def entry(seconds: float, status: Status, attempt: int, **fields: Any) -> TimelineEntry:
    """So many seconds after the beginning."""
    at = NOW - timedelta(seconds=60) + timedelta(seconds=seconds)
    return TimelineEntry(cursor=f"{int(at.timestamp() * 1000)}-0", at=at, status=status, attempt=attempt, **fields)


TIMELINE: Final = (
    entry(0, Status.QUEUED, 0),
    entry(0.1, Status.RUNNING, 1),
    entry(2.3, Status.RETRYING, 1, info="output-rejected", checks=["placeholders", "language"], prompt_tokens=30,
          completion_tokens=9, cost=0.0002),
    entry(4.0, Status.QUEUED, 1),
    entry(4.2, Status.RUNNING, 2),
    entry(6.9, Status.COMPLETED, 2, info="openai", prompt_tokens=41, completion_tokens=9, cost=0.0003),
)  # fmt: skip


def drawn(shown: RenderableType, width: int, *, colour: bool) -> str:
    """As a terminal of that width gets it."""
    console = Console(
        file=io.StringIO(), width=width, height=30, force_terminal=colour, color_system="standard" if colour else None,
        markup=False, emoji=False, highlight=False, legacy_windows=False, no_color=not colour,
    )  # fmt: skip
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("width", WIDTHS)
def test_messages(snapshot: SnapshotAssertion, width: int, colour: bool) -> None:  # noqa: FBT001 - a parameter of pytest's
    """`tq list` and the rows of `tq tail`: ids are whole, and columns go that matter least where room is short."""
    rows = [lines.row_of(each) for each in MESSAGES]
    text = drawn(tables.message_table(rows, NOW, width), width, colour=colour)
    assert all(each.message_id in text for each in MESSAGES)
    assert text == snapshot


@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("width", WIDTHS)
def test_tail(snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch, width: int, colour: bool) -> None:  # noqa: FBT001 - as above
    """The screen of `tq tail`, with its figures, and with what is wrong in their place."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return NOW.astimezone(tz)

    monkeypatch.setattr(tables, "datetime", Clock)
    console = Console(width=width, height=12, file=io.StringIO())
    screen = tables.TailScreen(console, 20)
    for each in MESSAGES:
        screen.put(lines.row_of(each))
    screen.figures(STATS)
    shown = drawn(screen.render(), width, colour=colour)
    screen.say(trouble="connection lost (Redis cannot be reached); trying again")
    assert shown + drawn(screen.render(), width, colour=colour) == snapshot


def test_a_line_a_change(snapshot: SnapshotAssertion) -> None:
    """What a pipe gets of lists: the same, without glyphs."""
    assert "\n".join(lines.line(lines.row_of(each), NOW) for each in MESSAGES) == snapshot


def test_figures(snapshot: SnapshotAssertion) -> None:
    """`tq stats`, and its one line below a tail."""
    assert f"{lines.figures(STATS)}\n\n{lines.summary(STATS)}" == snapshot


@pytest.mark.parametrize("index", range(len(MESSAGES)))
def test_a_message(snapshot: SnapshotAssertion, index: int) -> None:
    """`tq status`."""
    assert lines.document(MESSAGES[index], NOW) == snapshot


def test_a_timeline(snapshot: SnapshotAssertion) -> None:
    """`tq status` of a message that had two attempts."""
    text = lines.document(message(1, Status.COMPLETED, attempts=2, cost=0.0005), NOW, TIMELINE)
    assert "failed checks: placeholders, language" in text
    assert text == snapshot


def test_progress(snapshot: SnapshotAssertion) -> None:
    """What `tq submit --wait` says while it waits."""
    assert "\n".join("  ".join(lines.progress(each, NOW, 6)) for each in MESSAGES) == snapshot
