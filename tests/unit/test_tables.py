"""What people see of messages: cells, lines, tables, and that no text takes the terminal over."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from tq.board import ahead_of, figures, summary
from tq.figures import AccountSpend, QueueDepth, RateInfo, Spend, Stats, WorkerInfo
from tq.layout import age, money, span
from tq.layout import width as wide
from tq.lines import COLUMNS, cells, changed, line, progress, row_of
from tq.messages import Change, Message, Status
from tq.screens import StatsScreen, TailScreen
from tq.sheet import document
from tq.tables import message_table
from tq.terminal import clean

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = "01K3ZQ7D8E9F0G1H2J3K4M5N6P"
#: Clears the screen, sets a title, turns writing around, and would be bold as Rich markup.
NASTY = "a\x1b[2J\x1b]0;x\x07\u202eb\r\n[bold]c[/bold]:smile:\x9b31m"


def message(**fields: Any) -> Message:
    """A queued message of two seconds ago, but for ``fields``."""
    base = {
        "message_id": ID,
        "status": "queued",
        "queue": "high_priority",
        "priority": 9,
        "content": "Hello",
        "model_name": "gpt-x",
        "metadata": {"source_language": "en", "target_language": "fr"},
        "provider": None,
        "translation": None,
        "error": None,
        "warnings": [],
        "attempts": 0,
        "created_at": NOW - timedelta(seconds=2),
        "started_at": None,
        "finished_at": None,
        "next_retry_at": None,
        "usage": None,
    }
    return Message.model_validate(base | fields)


def completed(**fields: Any) -> Message:
    """A message that took 1.2 s, but for ``fields``."""
    done = {
        "status": "completed",
        "attempts": 1,
        "provider": "openai",
        "translation": "Bonjour",
        "started_at": NOW - timedelta(seconds=1.2),
        "finished_at": NOW,
        "usage": {"prompt_tokens": 30, "completion_tokens": 8},
    }
    return message(**(done | fields))


def change(status: str, seconds: float, attempts: int, info: str = "") -> Change:
    """A change of the message, ``seconds`` after NOW."""
    return Change(
        cursor="1-0",
        at=NOW + timedelta(seconds=seconds),
        message_id=ID,
        status=Status(status),
        priority=9,
        languages="en→fr",
        attempts=attempts,
        info=info,
    )


def rendered(renderable: Any, width: int = 100) -> str:
    """What a terminal of this width would get."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, color_system="truecolor", markup=False)
    console.print(renderable)
    return out.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Bonjour, été 日本 👩\u200d🚀", "Bonjour, été 日本 👩\u200d🚀"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202eturned\u2066", "\\u202eturned\\u2066"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
    ],
)
def test_control_characters_become_visible(text: str, shown: str) -> None:
    """Nothing that moves the cursor, recolours or reorders a line survives; ordinary text does."""
    assert clean(text) == shown


def test_kept_characters_stay() -> None:
    """A caller that shows several lines keeps line feeds, and nothing else."""
    assert clean("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


@pytest.mark.parametrize(
    ("seconds", "rough", "exact"),
    [(-1, "0s", "0.0s"), (1.24, "1s", "1.2s"), (59.96, "59s", "1m00s"), (125, "2m", "2m05s"), (7200, "2h", "2h")],
)
def test_durations(seconds: float, rough: str, exact: str) -> None:
    """Ages are rough, durations exact to a tenth of a second below a minute; neither is negative."""
    assert (age(seconds), span(seconds)) == (rough, exact)


def test_cells_of_a_completed_message() -> None:
    """A finished message shows its age, attempt, duration and tokens."""
    row = row_of(completed())
    assert cells(row, NOW) == (ID, "9", "en→fr", "completed", "2s", "1", "1.2s", "38 tokens")


def test_cells_of_a_message_to_be_retried() -> None:
    """A retrying message says why, and counts down to the next attempt."""
    error = {"type": "rate-limited", "message": "429", "retryable": True}
    row = row_of(message(status="retrying", attempts=2, error=error, next_retry_at=NOW + timedelta(seconds=8)))
    assert cells(row, NOW)[-1] == "rate-limited, next in 8s"
    assert cells(row, NOW + timedelta(seconds=3))[-1] == "rate-limited, next in 5s"


def test_pseudo_output_is_called_what_it_is() -> None:
    """Wherever pseudo output may be shown, it is said that it is not a translation."""
    pseudo = completed(provider="pseudo", usage=None)
    assert "NOT a translation" in cells(row_of(pseudo), NOW)[-1]
    assert "NOT a translation" in document(pseudo, NOW)
    assert "NOT a translation" in progress(pseudo, NOW)[2]


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "unknown"),
        (0.0, "0"),
        (0.0000012345, "0.000001234"),
        (12.0, "12.00"),
        (1234567.0, "1234567.00"),
        (1e-9, "0.000000001"),
    ],
)
def test_money_has_no_powers_of_ten(amount: float | None, shown: str) -> None:
    """Two decimals, or four digits of what is less than 1; what is not known is not 0."""
    assert money(amount) == shown


def test_cost_and_memory_are_shown() -> None:
    """What a message cost stands beside its tokens; without a price that is said in its document."""
    assert cells(row_of(completed(cost=0.00012)), NOW)[-1] == "38 tokens · cost 0.00012"
    assert "\n  cost        0.00012\n" in document(completed(cost=0.00012), NOW)
    assert "\n  cost        unknown\n" in document(completed(), NOW)
    cached = completed(cached=True, usage=None)
    assert cells(row_of(cached), NOW)[-1] == "from memory"
    assert "from memory" in document(cached, NOW)
    assert "cost" not in document(cached, NOW)


def test_a_rejected_answer_is_explained() -> None:
    """The document says which rules it broke and what exactly, with control characters made visible."""
    rules = [
        {"rule": "placeholders", "message": "differ", "detail": "missing: %(name)s\x1b"},
        {"rule": "not-empty", "message": "empty", "detail": ""},
    ]
    error = {"type": "invalid-output", "message": "not usable", "retryable": True, "violations": rules}
    text = document(message(status="failed", attempts=2, error=error, finished_at=NOW), NOW)
    assert "placeholders: missing: %(name)s\\x1b; not-empty: empty" in text


def test_a_detected_language_is_shown() -> None:
    """It stands beside the languages that were given."""
    assert "→fr (detected: en)" in document(completed(metadata={"target_language": "fr"}, detected_language="en"), NOW)


def test_changes_make_a_row() -> None:
    """Age and duration of a message in the tail come from its own earlier changes."""
    row = changed(None, change("queued", 0, 0))
    row = changed(row, change("running", 2, 1))
    assert cells(row, NOW + timedelta(seconds=5))[3:7] == ("running", "5s", "1", "3.0s")
    row = changed(row, change("completed", 6, 1, "gpt-x"))
    assert cells(row, NOW + timedelta(seconds=9))[3:] == ("completed", "9s", "1", "4.0s", "gpt-x")


def test_a_row_that_begins_late_does_not_guess() -> None:
    """Of a message first seen at its end, age and duration are not known."""
    assert cells(changed(None, change("failed", 0, 3, "invalid-key")), NOW)[3:] == (
        "failed",
        "-",
        "3",
        "-",
        "invalid-key",
    )


def test_a_retried_row_runs_anew() -> None:
    """A message that is queued again after its end has no duration any more."""
    row = changed(row_of(completed()), change("queued", 1, 1))
    assert row.finished is None


def test_lines_are_columns_for_other_programs() -> None:
    """A line in a pipe has the columns in order, separated by white space, without glyph or colour."""
    text = line(row_of(completed()), NOW)
    assert text.split()[: len(COLUMNS) - 1] == [ID, "9", "en→fr", "completed", "2s", "1", "1.2s"]
    assert text.isprintable()


def test_a_document_indents_and_cleans_texts() -> None:
    """Texts of several lines stay under their heading; escape sequences in them are shown as such."""
    text = document(completed(translation="une\ndeux\x1b[2J"), NOW)
    assert "\n  translation une\n              deux\\x1b[2J" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_tables_do_not_cut_an_id_of_our_own(width: int) -> None:
    """On a narrow terminal other columns go, and the id can still be copied."""
    text = rendered(message_table([row_of(completed())], NOW, width), width)
    assert ID in text
    assert "✔ completed" in text


@pytest.mark.parametrize("width", [30, 60, 80, 120])
@pytest.mark.parametrize("length", [27, 58, 128])
def test_a_long_id_leaves_room(width: int, length: int) -> None:
    """It loses its middle, and the status stays."""
    name = "order-2026-" + "x" * (length - 15) + "-end"
    rows = [row_of(completed(message_id=name)), row_of(message(status="failed", attempts=1))]
    heading, first, second = re.sub(r"\x1b\[[\d;]*m", "", rendered(message_table(rows, NOW, width), width)).splitlines()
    assert "STATUS" in heading
    assert "✔ completed" in first
    assert "✘ failed" in second
    assert name in first or re.match("order-.*….*nd ", first)
    if width >= 80:
        assert all(word in heading for word in ("PRI", "LANG", "AGE", "INFO"))
        assert "38 token" in first


@pytest.mark.parametrize("width", range(20, 130, 7))
def test_no_row_is_wider_than_the_terminal(width: int) -> None:
    """Whatever is in it; a row is a line, and what is cut off its end shows as dots."""
    rows = [
        row_of(completed(message_id="m" * 90, cost=0.00012, provider="pseudo")),
        row_of(message(status="running", attempts=12, model_name="模型" * 30, metadata={"target_language": "zh-Hans"})),
    ]
    lines = re.sub(r"\x1b\[[\d;]*m", "", rendered(message_table(rows, NOW, width), width)).splitlines()
    assert len(lines) == 3
    assert all(wide(line) <= width for line in lines)
    assert lines[2].endswith("…") == ("INFO" in lines[0])


def test_rows_of_a_paused_queue() -> None:
    """They are marked, in tables and in pipes; what runs, or waits elsewhere, is not."""
    rows = [row_of(message()), row_of(message(queue="default", priority=0)), row_of(message(status="running"))]
    text = rendered(message_table(rows, NOW, 120, {"default"}), 120)
    assert text.count("‖ queued") == 1
    assert text.count("queue paused") == 1
    assert [line(row, NOW, {"default"}).endswith("queue paused") for row in rows] == [False, True, False]


def test_tables_interpret_nothing() -> None:
    """Escape sequences and markup in what a message says reach the terminal as plain characters."""
    row = row_of(message(status="running", attempts=1, model_name=NASTY, metadata={"target_language": "fr"}))
    text = rendered(message_table([row], NOW, 200), 200)
    assert "[bold]c[/bold]:smile:" in text
    assert "\x1b[2J" not in text
    assert not {"\x07", "\r", "\x9b", "\u202e"} & set(text)


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_its_look(status: Status) -> None:
    """No status is missing from the tables."""
    assert str(status) in rendered(message_table([row_of(message(status=status))], NOW, 100))


def stats(**fields: Any) -> Stats:
    """Figures of an idle queue, but for ``fields``."""
    base: dict[str, Any] = {
        "queues": {"high_priority": 0, "default": 0, "quarantine": 0},
        "priorities": [],
        "oldest_wait": 0.0,
        "counts": dict.fromkeys(Status, 0),
        "running": 0,
        "retries_pending": 0,
        "workers": [],
        "throughput": {"attempts": 0.0, "completed": 0.0, "failed": 0.0, "cancelled": 0.0},
    }
    return Stats.model_validate(base | fields)


def test_figures_say_when_nobody_works() -> None:
    """Without a worker the figures end with what to do about it."""
    assert figures(stats()).endswith("start one with `tq worker` or `tq up`")


def test_figures_of_queues_and_workers() -> None:
    """What waits is shown by priority, who works by name; the quarantine has no priority."""
    worker = WorkerInfo(name="host:1", version="0.1.0", provider="openai", slots=200, running=3, alive_until=NOW)
    depths = [
        QueueDepth(queue="high_priority", priority=9, queued=2, oldest_wait=1.5),
        QueueDepth(queue="quarantine", priority=None, queued=1, oldest_wait=61),
    ]
    text = figures(stats(priorities=depths, workers=[worker]))
    assert "high_priority  9    2       1.5s" in text
    assert "quarantine     -    1       1m01s" in text
    assert "3 of 200" in text


def test_figures_of_money() -> None:
    """Today's tokens and cost by account, and in total; what has no price is said to have none."""
    known = AccountSpend(account="default", messages=3, prompt_tokens=10, completion_tokens=5, known_cost=0.5, cost=0.5)
    partly = known.model_copy(update={"account": "beef", "unpriced_tokens": 7, "cost": None})
    unknown = partly.model_copy(update={"account": "total", "known_cost": 0.0})
    spend = Spend(day=NOW.date(), currency="EUR", total=unknown, accounts=[known, partly])
    text = figures(stats(spend=spend))
    assert "default      3         15      0.5 EUR\n" in text
    assert "beef         3         15      0.5 EUR and 7 tokens of unknown price\n" in text
    assert "total        3         15      unknown\n" in text
    assert "SPENT" not in figures(stats())


def test_figures_of_limits() -> None:
    """Who may ask how often, and what keeps from it now."""
    base = {
        "host": "h",
        "key": "beef",
        "model": "m",
        "sent": 9,
        "refused": 2,
        "exhausted": 0,
        "cool_down": 0,
        "waiting": 0,
    }
    limits = {"requests": {"per_minute": 600, "source": "headers"}}
    rates = [
        RateInfo.model_validate({**base, "limits": limits, **state})
        for state in ({}, {"cool_down": 5}, {"exhausted": 60, "limits": {}}, {"waiting": 3})
    ]
    text = figures(stats(rates=rates))
    assert re.search(r"^h +beef +m +open +600 \(headers\) +- +9 +2$", text, re.MULTILINE)
    assert "cools down for 5.0s" in text
    assert "no quota, tried again in 1m00s" in text
    assert "waiting, 3.0s" in text
    assert "ENDPOINT" not in figures(stats())


def test_how_many_are_ahead() -> None:
    """Ahead of a new message is all that waits with its priority or a higher one, itself aside."""
    depths = [
        QueueDepth(queue="high_priority", priority=priority, queued=queued, oldest_wait=0)
        for priority, queued in ((10, 4), (9, 3), (8, 100))
    ]
    assert ahead_of(message(), stats(priorities=depths)) == 6
    assert ahead_of(message(), stats()) == 0


def test_the_summary_begins_with_what_matters() -> None:
    """What keeps messages from going on comes first, for the end may be cut off; what there is none of is left out."""
    assert summary(stats()) == "no worker is running · no messages"
    counts = dict.fromkeys(Status, 0) | {Status.QUEUED: 3, Status.FAILED: 1}
    worker = WorkerInfo(name="w", version="1", provider="p", slots=1, running=0, alive_until=NOW)
    text = summary(stats(paused=["default"], counts=counts, workers=[worker], throughput={"completed": 12.0}))
    assert text == "paused: default · queued 3 · failed 1 · 1 worker · 12/min"


def test_the_screen_keeps_the_newest() -> None:
    """The tail shows as many rows as it may, the one that changed last on top."""
    screen = TailScreen(Console(file=io.StringIO(), force_terminal=True, width=100, height=4))
    for name in ("first", "second", "third"):
        screen.put(row_of(message(message_id=name)))
    screen.put(row_of(completed(message_id="second")))
    text = rendered(screen.render())
    assert text.index("second") < text.index("third")
    assert "first" not in text


def test_the_screen_says_what_is_wrong() -> None:
    """Trouble takes the place of the figures, with the time that they are of, until it is over."""
    screen = TailScreen(Console(file=io.StringIO(), force_terminal=True, width=100, height=50))
    screen.figures(stats())
    screen.say(trouble="connection lost")
    assert re.search(r"as of \d\d:\d\d:\d\d: connection lost", rendered(screen.render()))
    screen.say(trouble="")
    assert "no worker is running" in rendered(screen.render())


@pytest.mark.parametrize("height", [5, 24, 40])
def test_the_screen_is_as_tall_as_the_terminal(height: int) -> None:
    """As many rows as there is room for between the heading and the figures."""
    screen = TailScreen(Console(file=io.StringIO(), force_terminal=True, width=100, height=height))
    for number in range(50):
        screen.put(row_of(message(message_id=f"m{number}")))
    screen.figures(stats())
    assert len(rendered(screen.render()).splitlines()) == height


def busy() -> Stats:
    """Figures that fill more than a screen."""
    limits = {"requests": {"per_minute": 600, "source": "headers"}}
    return stats(
        priorities=[
            QueueDepth(queue="high_priority" if priority > 4 else "default", priority=priority, queued=9, oldest_wait=1)
            for priority in range(10, -1, -1)
        ],
        paused=["default"],
        workers=[
            WorkerInfo(name=f"host:{n}", version="0.1.0", provider="openai", slots=200, running=3, alive_until=NOW)
            for n in range(8)
        ],
        rates=[
            RateInfo.model_validate(
                {
                    "host": "a-resource-with-a-long-name.openai.azure.com",
                    "key": "beef",
                    "model": f"a-model-with-a-long-name-{n}",
                    "sent": 90_000,
                    "refused": 2,
                    "exhausted": 0,
                    "cool_down": 0,
                    "waiting": 0,
                    "limits": limits,
                }
            )
            for n in range(5)
        ],
    )


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (60, 20), (40, 10)])
def test_the_live_figures_fit(width: int, height: int) -> None:
    """What is wrong, or the time, comes first; of every table something is seen; no line wraps or is too many."""
    screen = StatsScreen(Console(file=io.StringIO(), force_terminal=True, width=width, height=height), busy())
    text = re.sub(r"\x1b\[[\d;]*m", "", rendered(screen.render(), width))
    lines = text.splitlines()
    assert re.match(r"\d\d:\d\d:\d\d · Ctrl-C ends", lines[0])
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    if height >= 24:
        assert all(heading in text for heading in ("QUEUE", "ENDPOINT", "WORKER", "paused"))
    assert ("more line" in text) == (height in {20, 24})
    screen.say(trouble="connection lost (it broke); trying again")
    assert "connection lost" in rendered(screen.render(), width).splitlines()[0]


def test_figures_with_wide_characters() -> None:
    """Columns stay columns where a letter is two wide."""
    workers = [
        WorkerInfo(name=name, version="0.1.0", provider="openai", slots=2, running=1, alive_until=NOW)
        for name in ("機械:1", "host:22")
    ]
    table = figures(stats(workers=workers)).split("\n\n")[-1].splitlines()
    words = ("VERSION", "0.1.0", "0.1.0")
    assert {wide(line[: line.index(word)]) for line, word in zip(table, words, strict=True)} == {9}
