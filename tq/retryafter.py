"""How long an answer asks to wait. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that an answer asks to wait: ``retry-after-ms``, or ``Retry-After`` in seconds or as a date.

    The latter two are RFC 9110, section 10.2.3; the first is OpenAI's and Azure's. A date is compared with
    the answer's own Date, so that this machine's clock may be wrong; ``now`` (Unix time) is for answers without.
    None when there is none, or none that can be read; never negative. Names of headers are in lower case.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,12}(\.\d{0,9})?", value, re.ASCII):
            return float(value) * unit
    until, sent = _date(headers.get("retry-after", "")), _date(headers.get("date", ""))
    return None if until is None else max(0.0, until - (now if sent is None else sent))


def _date(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=date.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None
