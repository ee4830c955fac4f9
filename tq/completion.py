"""Completing ids of messages in a shell: quick, or silent.

Somebody waits with a finger on the key, so that neither redis-py nor the models of messages are imported, which take
longer than the answer: what is asked for are a few lines of Redis' protocol, or one request of HTTP.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, get_args
from urllib.parse import SplitResult, parse_qs, unquote, urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from tq.settings import Settings, get_settings, is_loopback
from tq.statuses import StatusName

#: Ids that are offered at most, and seconds that they may take: a shell that hangs is worse than no completion.
_MOST: Final = 50
_PATIENCE: Final = 0.3
#: Ids that one command looks at.
_SCANNED: Final = 2000
#: How an id may begin; what else was typed begins none.
_BEGINNING: Final = re.compile(r"[\w.~:@+=-]*", re.ASCII)

Offer = tuple[str, str]


def offers(prefix: str, statuses: Sequence[str], url: str | None) -> list[Offer]:
    """Ids that begin so, newest first, each with a word on its message; none when the answer takes too long.

    Args:
        prefix: what was typed; ids of tq's own making are found by small letters, too.
        statuses: that the messages may have; all when empty.
        url: of the API to ask; TQ_URL, or the store itself, when None.
    """
    found: list[Offer] = []
    settings = get_settings()
    asked = url or settings.url

    def look() -> None:
        with suppress(Exception):
            for typed in dict.fromkeys((prefix, prefix.upper())):
                if not found and _BEGINNING.fullmatch(typed):
                    found.extend(
                        _from_api(asked, settings, typed, statuses) if asked else _from_store(settings, typed, statuses)
                    )

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return list(found)


# -- from Redis ------------------------------------------------------------------------------------


def _from_store(settings: Settings, prefix: str, statuses: Sequence[str]) -> list[Offer]:
    with _connected(urlsplit(settings.store_url)) as connection, connection.makefile("rwb") as stream:

        def ask(*words: str | int) -> Any:
            parts = [str(word).encode() for word in words]
            stream.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))
            stream.flush()
            return _answer(stream)

        _log_in(urlsplit(settings.store_url), ask)
        known = sorted(
            (
                (int(float(seq)), message_id, status)
                for status in statuses or get_args(StatusName)
                for message_id, seq in _ids(ask, status, prefix)
            ),
            reverse=True,
        )
        return [
            (message_id, f"{status} {ask('HGET', f'tq:message:{message_id}', 'languages') or ''}")
            for _, message_id, status in known[:_MOST]
        ]


def _connected(url: SplitResult) -> socket.socket:
    if url.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_PATIENCE)
        connection.connect(unquote(url.path))
        return connection
    if url.scheme != "redis":
        raise ValueError("TLS and Sentinel are for those who have more time")
    return socket.create_connection((url.hostname or "", url.port or 6379), timeout=_PATIENCE)


def _log_in(url: SplitResult, ask: Any) -> None:
    user, _, password = url.netloc.rpartition("@")[0].partition(":")
    if password:
        ask("AUTH", *filter(None, [unquote(user)]), unquote(password))
    database = parse_qs(url.query).get("db", ["0"])[0] if url.scheme == "unix" else url.path.strip("/")
    if database not in {"", "0"}:
        ask("SELECT", database)


def _ids(ask: Any, status: str, prefix: str) -> Iterator[tuple[str, str]]:
    """Ids of a status that begin so with their place in line, the newest or as many as are soon found."""
    key = f"tq:status:{status}"
    if not prefix:
        flat = ask("ZRANGE", key, "+inf", "-inf", "BYSCORE", "REV", "LIMIT", 0, _MOST, "WITHSCORES")
        yield from zip(flat[::2], flat[1::2], strict=True)
        return
    cursor, count, ends = "0", 0, time.monotonic() + _PATIENCE / 2
    while True:
        cursor, flat = ask("ZSCAN", key, cursor, "MATCH", f"{prefix}*", "COUNT", _SCANNED)
        yield from zip(flat[::2], flat[1::2], strict=True)
        count += len(flat) // 2
        if cursor == "0" or count >= _MOST or time.monotonic() > ends:
            return


def _answer(stream: Any) -> Any:
    """One answer in Redis' protocol (RESP2)."""
    line = stream.readline().decode()
    kind, rest = line[:1], line[1:].strip()
    if kind == "$":
        return None if rest == "-1" else stream.read(int(rest) + 2)[:-2].decode()
    if kind == "*":
        return [_answer(stream) for _ in range(int(rest))]
    if kind in {"+", ":"}:
        return rest
    raise ValueError(rest)


# -- from the API ----------------------------------------------------------------------------------


def _from_api(url: str, settings: Settings, prefix: str, statuses: Sequence[str]) -> list[Offer]:
    found: list[Offer] = []
    of: Sequence[str | None] = [*statuses] or [None]
    for status in of:
        given = {"limit": _MOST, "prefix": prefix or None, "status": status}
        query = urlencode({name: value for name, value in given.items() if value is not None})
        request = Request(f"{url.rstrip('/')}/messages?{query}")  # noqa: S310 - settings, or the line itself, name it
        for token in settings.api_tokens[:1]:
            request.add_header("Authorization", f"Bearer {token}")
        # A proxy of the environment is not meant for this machine itself.
        own = [ProxyHandler({})] if is_loopback(urlsplit(url).hostname or "") else []
        with build_opener(*own).open(request, timeout=_PATIENCE) as answer:
            for message in json.load(answer)["messages"]:
                metadata = message["metadata"]
                languages = f"{metadata.get('source_language') or ''}→{metadata.get('target_language') or ''}"
                found.append((message["message_id"], f"{message['status']} {languages}"))
    return found
