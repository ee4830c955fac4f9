"""The API as it answers: one line on it, whatever is the matter."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx

from tq import __version__
from tq.doctor.causes import in_words
from tq.doctor.finding import UNREACHABLE, Finding, failed, wrong
from tq.doctor.store import SKEW, apart
from tq.errors import TqError, Unreachable
from tq.settings import redacted

_TIMEOUT: Final = 3.0
_NAME: Final = "api"


def api(url: str, error: TqError | None = None) -> Finding:
    """Whether it is of this version, its clock is right and it reaches its broker.

    Args:
        url: its root.
        error: what a client met that asked it for more.
    """
    shown = redacted(url).rstrip("/")
    try:
        answer = httpx.get(f"{url.rstrip('/')}/health", timeout=_TIMEOUT, trust_env=False)
        document: Any = answer.json()
        version = str(document["version"])
        # Such a date has no parts of a second.
        ahead = parsedate_to_datetime(answer.headers["date"]).timestamp() + 0.5 - time.time()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as trouble:
        if error is not None and error.exit_code == UNREACHABLE:
            why = in_words(trouble) if isinstance(trouble, httpx.HTTPError | httpx.InvalidURL) else error.why
            return failed(_NAME, Unreachable(error.what, why=why, fix=error.fix))
        return wrong(_NAME, f"{shown} does not answer as tq's API does", "correct TQ_URL (or --url)")
    if error is not None:
        return failed(_NAME, error)
    if version != __version__:
        return wrong(
            _NAME, f"{shown} is of version {version}, this is {__version__}", "run the same version everywhere"
        )
    if abs(ahead) > SKEW:
        return wrong(_NAME, f"the clock of {shown} is off by {apart(ahead)}", "set it by the network (NTP)")
    return Finding(_NAME, f"{shown} answers, version {version}")
