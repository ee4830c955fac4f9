"""Completing ids of messages in a shell: quick, or silent. It asks for no more than it needs, and imports no more."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from tq.settings import Settings, get_settings, is_loopback

#: Ids that are offered at most, and seconds that they may take: a shell that hangs is worse than no completion.
_MOST: Final = 50
_PATIENCE: Final = 0.3

Offer = tuple[str, str]


def offers(prefix: str, statuses: Sequence[str], url: str | None) -> list[Offer]:
    """Ids that begin so, newest first, each with a word on its message; none when the answer takes too long.

    Args:
        prefix: what was typed.
        statuses: that the messages may have; all when empty.
        url: of the API to ask; TQ_URL, or the store itself, when None.
    """
    found: list[Offer] = []
    settings = get_settings()
    asked = url or settings.url
    if asked is None:
        import tq.store  # noqa: F401 - before the clock runs: it is the queue that may hang, not Python

    def look() -> None:
        with suppress(Exception):
            found.extend(
                _from_api(asked, settings, prefix, statuses) if asked else _from_store(settings, prefix, statuses)
            )

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return list(found)


def _from_store(settings: Settings, prefix: str, statuses: Sequence[str]) -> list[Offer]:
    from tq.messages import Status
    from tq.store import open_store

    async def look() -> list[Offer]:
        store = open_store(settings)
        wanted = [Status(status) for status in statuses] or [*Status]
        if prefix:
            known = await store.beginning(prefix, wanted, most=_MOST)
        else:
            known = await store.list(wanted, below=None, limit=_MOST)
        messages = await asyncio.gather(*(store.outline(message_id) for message_id, _ in known[:_MOST]))
        await store.aclose()
        return [(each.message_id, f"{each.status} {each.languages}") for each in messages if each is not None]

    return asyncio.run(look())


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
        own = [ProxyHandler({})] if is_loopback(request.host.rpartition(":")[0] or request.host) else []
        with build_opener(*own).open(request, timeout=_PATIENCE) as answer:
            for message in json.load(answer)["messages"]:
                metadata = message["metadata"]
                languages = f"{metadata.get('source_language') or ''}→{metadata.get('target_language') or ''}"
                found.append((message["message_id"], f"{message['status']} {languages}"))
    return found
