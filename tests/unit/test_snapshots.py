"""What a terminal shows, whole, at two widths, with and without colour; ``pytest --snapshot-update`` after a change."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
from syrupy.assertion import SnapshotAssertion

from tq import board, lines, listing, screens, sheet, submitting, tables
from tq.doctor.finding import Finding, doubtful, wrong
from tq.figures import AccountSpend, QueueDepth, RateInfo, RateLimit, Spend, Stats, WorkerInfo
from tq.layout import width
from tq.messages import Message, MessageError, Status, Usage
from tq.terminal import write
from tq.timeline import TimelineEntry

NOW: Final = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


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


class Terminal(io.StringIO):
    """What a terminal gets."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.fixture(params=[(80, 24), (120, 40)], ids=lambda size: f"{size[0]}x{size[1]}")
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Width and height of the terminal."""
    wide, high = request.param
    monkeypatch.setenv("COLUMNS", str(wide))
    monkeypatch.setenv("LINES", str(high))
    monkeypatch.setenv("TERM", "xterm-256color")
    return wide, high


@pytest.fixture(params=["colour", "NO_COLOR"])
def colour(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the person who looks wants any."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    if request.param == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    return str(request.param)


@contextmanager
def terminal() -> Iterator[Terminal]:
    """A terminal in the place of stdout."""
    with pytest.MonkeyPatch.context() as patch:
        shown = Terminal()
        patch.setattr(sys, "stdout", shown)
        yield shown


def plain(text: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", text)


@pytest.mark.usefixtures("size")
def test_messages(snapshot: SnapshotAssertion, colour: str) -> None:
    """`tq list`: a table, or with NO_COLOR what a pipe gets below a heading; our own ids are whole, rows are marked."""
    with terminal() as shown:
        listing.show_messages(MESSAGES, NOW, lambda: ["default"])
    text = shown.getvalue()
    assert all(each.message_id in text for each in MESSAGES[:-1])
    assert colour != "NO_COLOR" or text == plain(text)
    assert text == snapshot


def test_tail(snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    """The screen of `tq tail`, with its figures, and with what is wrong in their place."""
    at(monkeypatch, NOW)
    with terminal() as shown:
        screen = screens.TailScreen(tables.make_console())
        for each in MESSAGES:
            screen.put(lines.row_of(each))
        screen.figures(STATS)
        tables.show(screen.render())
        screen.say(trouble="connection lost (Redis cannot be reached); trying again")
        tables.show(screen.render())
    assert all(len(line) <= size[0] for line in plain(shown.getvalue()).splitlines())
    assert shown.getvalue() == snapshot


def test_live_figures(snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    """The screen of `tq stats --watch`, and what is wrong at its top."""
    at(monkeypatch, NOW)
    with terminal() as shown:
        screen = screens.StatsScreen(tables.make_console(), STATS)
        tables.show(screen.render())
        screen.say(trouble="connection lost (Redis cannot be reached); trying again")
        tables.show(screen.render())
    assert all(len(line) <= size[0] for line in plain(shown.getvalue()).splitlines())
    assert shown.getvalue() == snapshot


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime, module: ModuleType = screens) -> None:
    """Have it be then for a module."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return moment.astimezone(tz)

    monkeypatch.setattr(module, "datetime", Clock)


@pytest.mark.usefixtures("colour")
def test_the_doctor(snapshot: SnapshotAssertion, size: tuple[int, int]) -> None:
    """`tq doctor`: what is well, what is doubtful, and what is wrong, wrapped at the width of the terminal."""
    findings = [
        Finding("redis", "unix:///home/anna/.local/state/tq/valkey.sock?db=0 answers"),
        doubtful(
            "provider",
            "http://localhost:11434/v1: it answers; but it does not list gemma3-of-the-day",
            "set TQ_MODEL to one that it has: gemma3:latest, qwen3:8b, llama3.3:70b",
        ),
        wrong(
            "worker",
            "host:4711 runs pseudo, while this shell has a key or an endpoint: it was started without",
            "restart it: `tq down`, then `tq up`, or `tq worker`",
        ),
    ]
    with terminal() as shown:
        for finding in findings:
            write(finding.text(size[0]))
    assert all(len(line) <= size[0] for line in plain(shown.getvalue()).splitlines())
    assert shown.getvalue() == snapshot


@pytest.mark.usefixtures("size", "colour")
def test_settings(snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`tq config`: a table whose last column wraps, or with NO_COLOR lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    with terminal() as shown:
        listing.show_settings()
    assert "sk-canary" not in shown.getvalue()
    assert shown.getvalue() == snapshot


@pytest.mark.usefixtures("colour")
def test_a_message_on_a_terminal(snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tq status` of a message that had two attempts, with its timeline."""
    at(monkeypatch, NOW, submitting)
    monkeypatch.setenv("COLUMNS", "80")
    with terminal() as shown:
        write(submitting.sheet(message(1, Status.COMPLETED, attempts=2, cost=0.0005), TIMELINE))
    assert shown.getvalue() == snapshot


@pytest.mark.parametrize("room", [40, 60, 80])
def test_narrow_figures(snapshot: SnapshotAssertion, room: int) -> None:
    """`tq stats` on a narrow terminal: columns that matter less are left out, and no word is broken."""
    text = board.figures(STATS, room)
    assert all(len(line) <= room for line in text.splitlines())
    heading = next(line for line in text.splitlines() if line.startswith("ENDPOINT"))
    assert set(heading.split()) <= {"ENDPOINT", "KEY", "MODEL", "NOW", "REQUESTS/MIN", "TOKENS/MIN", "SENT", "429"}
    assert heading.endswith("  429")
    assert text == snapshot


@pytest.mark.parametrize("room", [40, 80])
def test_a_narrow_message(snapshot: SnapshotAssertion, room: int) -> None:
    """`tq status` on a narrow terminal: values are wrapped at words, and stay in their column."""
    content = f"  {'Translate this, please. ' * 6}\n\nhttps://example.org/{'path/' * 12}\n{'翻訳してください' * 8}"
    shown = sheet.document(message(1, Status.COMPLETED, attempts=2, content=content), NOW, TIMELINE, room)
    assert all(width(line) <= room or "https" in line for line in shown.splitlines())
    assert "".join(shown.split()) == "".join(
        sheet.document(message(1, Status.COMPLETED, attempts=2, content=content), NOW, TIMELINE).split()
    )
    assert shown == snapshot


def test_a_line_a_change(snapshot: SnapshotAssertion) -> None:
    """What a pipe gets of lists: the same, without glyphs."""
    assert "\n".join(lines.line(lines.row_of(each), NOW) for each in MESSAGES) == snapshot


def test_figures(snapshot: SnapshotAssertion) -> None:
    """`tq stats`, and its one line below a tail."""
    assert f"{board.figures(STATS)}\n\n{board.summary(STATS)}" == snapshot


@pytest.mark.parametrize("index", range(len(MESSAGES)))
def test_a_message(snapshot: SnapshotAssertion, index: int) -> None:
    """`tq status`."""
    assert sheet.document(MESSAGES[index], NOW) == snapshot


def test_a_timeline(snapshot: SnapshotAssertion) -> None:
    """`tq status` of a message that had two attempts."""
    text = sheet.document(message(1, Status.COMPLETED, attempts=2, cost=0.0005), NOW, TIMELINE)
    assert "failed checks: placeholders, language" in text
    assert text == snapshot


def test_progress(snapshot: SnapshotAssertion) -> None:
    """What `tq submit --wait` says while it waits."""
    assert "\n".join("  ".join(lines.progress(each, NOW, 6)) for each in MESSAGES) == snapshot
