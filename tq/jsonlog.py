"""Log lines as JSON, one object a line, for those who collect them: TQ_LOG_FORMAT=json.

What belongs to a message has fields of its own, which whoever logs passes with ``fields``; nothing is cut out of a
sentence. Of an exception there are its type and the places where it came by: its text may repeat a message's.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tq import tracing

#: Characters of a message, and places of an exception, that are kept.
_MAX_MESSAGE: Final = 8192
_MAX_PLACES: Final = 20


def fields(**values: str | float | None) -> Mapping[str, Any]:
    """For ``extra``: what a line says besides its words; None is left out.

    The names are the same everywhere: ``message_id``, ``status``, ``attempt``, ``error`` (a type slug), ``seconds``,
    ``tokens``, ``delay``, ``model``, ``queue``; ``process``, whose lease ran out; of webhooks also what came of it
    (``webhook``), ``receiver``, ``event`` and ``http_status``, and ``attempt`` and ``error`` are theirs.
    """
    return {"fields": {name: value for name, value in values.items() if value is not None}}


def line(when: datetime, level: str, logger: str, service: str, message: str, **more: Any) -> str:
    """One object; the time is RFC 3339 in UTC, with milliseconds."""
    time = when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    said = {"time": time, "level": level, "logger": logger, "service": service, "message": message[:_MAX_MESSAGE]}
    return json.dumps(said | more, ensure_ascii=False, default=str, separators=(",", ":"))


def is_object(text: str) -> bool:
    """Whether a line is one already."""
    if not text.startswith("{"):
        return False
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def passed_on(when: datetime, service: str, text: str) -> str:
    """A line of a service's output: unchanged when it is an object already, else as one."""
    if is_object(text):
        return text
    return line(when, "info", service, service, text)


class JsonFormatter(logging.Formatter):
    """Formats records of a service as JSON."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        more: dict[str, Any] = dict(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[0] is not None:
            kind, _, trace = record.exc_info
            more.setdefault("error", kind.__name__)
            places = traceback.extract_tb(trace)[-_MAX_PLACES:]
            more["places"] = [f"{place.filename}:{place.lineno} in {place.name}" for place in places]
        if trace_id := tracing.trace_id():
            more.setdefault("trace_id", trace_id)
        return line(
            datetime.fromtimestamp(record.created, UTC),
            record.levelname.lower(),
            record.name,
            self._service,
            record.getMessage(),
            **more,
        )


def handler(service: str) -> logging.Handler:
    """Writes a service's lines to stderr."""
    found = logging.StreamHandler(sys.stderr)
    found.setFormatter(JsonFormatter(service))
    return found
