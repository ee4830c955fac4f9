"""Sessions of the page: who has shown a token keeps a cookie, so that a browser can ask for more.

The cookie holds no token, and nothing is kept: it is a time and its signature under the token, so that a token that
is taken out of TQ_API_TOKEN ends all its sessions. To log out takes the cookie out of that browser.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable
from typing import Final

#: Seconds until the token is asked for again.
LIFETIME: Final = 7 * 86_400
#: Digits of the time: enough for ten thousand years.
_MOST_DIGITS: Final = 12
#: Cookies of that name that are looked at: a page of another port of this host may have set some.
_MOST: Final = 5


def name(port: int) -> str:
    """The name of the cookie: a browser sends it to all ports of a host, where other stacks may run."""
    return f"tq_session_{port}"


def issue(token: str) -> str:
    """The value of a cookie for whoever has shown this token."""
    until = str(int(time.time()) + LIFETIME)
    return f"{until}.{_signature(token, until)}"


def holds(cookies: str, port: int, tokens: Iterable[str]) -> bool:
    """Whether a Cookie header has a session of the API at this port, under one of the tokens."""
    known = [*tokens]
    pairs = (part.strip().partition("=") for part in cookies.split(";"))
    values = [value for given, _, value in pairs if given == name(port)]
    return any(is_valid(value, known) for value in values[:_MOST])


def is_valid(value: str, tokens: Iterable[str]) -> bool:
    """Whether a cookie was issued for one of the tokens, and is not too old."""
    until, _, signature = value.partition(".")
    if not (until.isascii() and until.isdigit() and len(until) <= _MOST_DIGITS) or int(until) < time.time():
        return False
    # All are compared, each in constant time: how long it takes says nothing about them.
    return any([hmac.compare_digest(signature.encode(), _signature(token, until).encode()) for token in tokens])  # noqa: C419 - see above


def _signature(token: str, until: str) -> str:
    key = hashlib.sha256(b"tq session " + token.encode()).digest()
    return hmac.new(key, until.encode(), hashlib.sha256).hexdigest()
