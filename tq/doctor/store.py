"""What tq needs of Redis, and of a broker beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Final

from tq.celery import app_for
from tq.connection import REDIS_ERRORS, translate_error
from tq.doctor.causes import in_words
from tq.doctor.finding import Finding, failed, wrong
from tq.errors import TqError, Unreachable
from tq.layout import span
from tq.queue import TranslationQueue
from tq.settings import Settings, redacted
from tq.tokens import PRIORITY_STEPS

_TIMEOUT: Final = 3.0
#: Seconds by which clocks may differ.
SKEW: Final = 5.0


def store(settings: Settings) -> Iterator[Finding]:
    """Whether Redis keeps what it is given, has the time, and whose keys it has."""
    yield from asyncio.run(_store(settings))


async def _store(settings: Settings) -> list[Finding]:
    queue = TranslationQueue(settings)
    try:
        info, ahead, sealed = await asyncio.gather(
            queue.store.safeguards(), queue.store.clock_ahead(), queue.store.any_sealed()
        )
        return [_durability(info), _clock(ahead), _secret(queue, sealed)]
    except TqError as error:
        return [failed("durable", error)]
    finally:
        await queue.aclose()


def apart(seconds: float) -> str:
    """By how much clocks differ, whichever is ahead: to the second, above an hour to the minute."""
    whole = round(abs(seconds))
    if whole < 3600:
        return span(whole)
    minutes = round(whole / 60)
    return f"{minutes // 60}h{minutes % 60:02}m"


def _clock(ahead: float) -> Finding:
    if abs(ahead) > SKEW:
        word = "ahead of" if ahead > 0 else "behind"
        detail = f"that of Redis is {apart(ahead)} {word} this machine's: ages shown here are wrong by that"
        return wrong("clock", detail, "set both by the network (NTP)")
    return Finding("clock", "this machine and Redis agree on the time")


def _secret(queue: TranslationQueue, sealed: tuple[str, bytes] | None) -> Finding:
    """Whether keys that messages brought can be opened here."""
    if sealed is None:
        return Finding("keys", "no message waits with a key of its own")
    try:
        queue.sealer.unseal(*sealed)
    except TqError as error:
        return failed("keys", error)
    return Finding("keys", "those that messages brought can be opened")


def _durability(info: Mapping[str, str]) -> Finding:
    """Whether Redis keeps what it was given; see docs/reliability.md."""
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", "0") != "0" and policy != "noeviction":
        detail = f"Redis throws keys away when its memory is full (maxmemory-policy {policy}): messages get lost"
        return wrong("durable", detail, "set maxmemory-policy noeviction in its configuration")
    if info.get("aof_enabled") != "1":
        detail = "Redis keeps no log on disk (appendonly no): when it ends, messages get lost"
        return wrong("durable", detail, "set appendonly yes, and appendfsync always to lose nothing at all")
    return Finding("durable", "Redis logs to disk and evicts nothing")


# -- the broker ------------------------------------------------------------------------------------


def broker(settings: Settings, url: str) -> Finding:
    """Whether a connection to TQ_BROKER_URL comes about."""
    name = redacted(url)
    try:
        with app_for(settings).connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=_TIMEOUT)
    except Exception as error:  # noqa: BLE001 - kombu raises whatever the transport's own library does
        return failed("broker", _meaning(error, name))
    return Finding("broker", f"{name} answers")


def _meaning(error: Exception, name: str) -> TqError:
    """What a broker's library says, for people: it may repeat the URL, so that only its kind is told."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    what = f"the broker at {name} (TQ_BROKER_URL) cannot be reached"
    if isinstance(cause, REDIS_ERRORS) and not isinstance(cause, OSError):
        meant = translate_error(cause, name)
        return type(meant)(what, why=meant.why, fix="start it, or correct TQ_BROKER_URL")
    kind = type(cause).__name__
    if isinstance(cause, KeyError | ImportError | ValueError):
        fix = "give an URL that kombu knows (amqp://…, redis://…), and install what it needs for it"
        return Unreachable(what, why=f"its URL, or what it needs, is not known here ({kind})", fix=fix)
    if kind in {"AccessRefused", "NotAllowed"}:
        fix = "correct user, password and virtual host in TQ_BROKER_URL"
        return Unreachable(what, why="it refuses the user, the password or the virtual host", fix=fix)
    return Unreachable(what, why=in_words(cause), fix="start it, or correct TQ_BROKER_URL")


def priorities(settings: Settings) -> Finding:
    """Whether Celery's configuration here is tq's: a ``-b`` or another one could undo priorities."""
    connection = app_for(settings).connection_for_write()
    options = connection.transport_options
    if connection.transport.driver_type != "redis":
        return Finding("priority", "the broker sorts by priority itself")
    if options.get("priority_steps") != PRIORITY_STEPS or options.get("queue_order_strategy") != "priority":
        return wrong("priority", "Celery's transport options are not tq's", "start workers from tq's own app")
    return Finding("priority", f"{len(PRIORITY_STEPS)} steps in two queues, strict")
