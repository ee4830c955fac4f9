"""Log lines as JSON: one object each, with fields, and no text of an exception."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from tq.jsonlog import JsonFormatter, fields, line, passed_on
from tq.logs import Console, Line

NOON = datetime(2026, 1, 2, 13, 0, 3, 4567, tzinfo=timezone(timedelta(hours=1)))


def formatted(message: str, *arguments: Any, error: BaseException | None = None, **extra: Any) -> dict[str, Any]:
    """A record as the formatter has it, decoded; it must be one line."""
    exc = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("tq.attempts", logging.WARNING, "f.py", 1, message, arguments, exc)
    record.__dict__.update(extra)
    text = JsonFormatter("worker").format(record)
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_record_has_its_fields_by_name() -> None:
    """Time, level, logger, service and message, and what the line says besides; None is left out."""
    found = formatted("%s took %d s", "a", 3, **fields(message_id="a", seconds=3.25, error=None))
    time = datetime.fromisoformat(found.pop("time"))
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)
    assert found == {
        "level": "warning",
        "logger": "tq.attempts",
        "service": "worker",
        "message": "a took 3 s",
        "message_id": "a",
        "seconds": 3.25,
    }


def test_time_is_rfc_3339_in_utc() -> None:
    """With milliseconds and a Z, wherever the clock is."""
    assert json.loads(line(NOON, "info", "l", "s", "m"))["time"] == "2026-01-02T12:00:03.004Z"


def test_an_exception_shows_its_type_and_places_only() -> None:
    """Its text may repeat what a message says."""
    found = {}
    try:
        int("the canary text")
    except ValueError as error:
        found = formatted("it broke", error=error)
    assert found["error"] == "ValueError"
    assert found["places"][-1].endswith("in test_an_exception_shows_its_type_and_places_only")
    assert "canary" not in json.dumps(found)


def test_what_breaks_lines_does_not() -> None:
    """Line breaks, control characters and lone surrogates stay within one line that is JSON; long ones are cut."""
    found = formatted("a\nb\x1b[31m \ud800 ü")
    assert found["message"].startswith("a\nb\x1b[31m")
    assert len(formatted("x" * 100_000)["message"]) == 8192


def test_lines_of_services_pass_unchanged() -> None:
    """An object stays as it is; anything else becomes one of its service."""
    own = '{"level":"info","message":"x"}'
    assert passed_on(NOON, "api", own) == own
    for text in ("plain", "{not json", "[1]", '"{}"'):
        found = json.loads(passed_on(NOON, "valkey", text))
        assert (found["message"], found["service"], found["time"]) == (text, "valkey", "2026-01-02T12:00:03.004Z")


def test_the_console_of_a_stack_shows_objects_only() -> None:
    """Its own banner too."""
    out = io.StringIO()
    console = Console(out, as_json=True)
    console.say("  ✔ api     http://127.0.0.1:8000")
    console.show([Line(NOON, "worker", '{"message":"a"}'), Line(NOON, "valkey", "ready")])
    console.close()
    banner, worker, valkey = out.getvalue().splitlines()
    assert json.loads(banner)["message"] == "✔ api     http://127.0.0.1:8000"
    assert worker == '{"message":"a"}'
    assert json.loads(valkey)["service"] == "valkey"
