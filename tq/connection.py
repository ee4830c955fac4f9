"""Connections to Redis: how a URL becomes a client, and what Redis's errors mean."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from redis import exceptions as redis_errors
from redis.asyncio import Redis, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from tq.errors import InvalidSettings, StoreFull, StoreRefused, TqError, Unreachable
from tq.settings import as_redis_url, redacted

T = TypeVar("T")

#: What ``translate_error`` understands.
REDIS_ERRORS: Final = (redis_errors.RedisError, OSError)
#: Seconds for one answer of Redis, and for a connection to it.
_TIMEOUT: Final = 3.0
#: Seconds that a call under way gets when the task that waits for it is cancelled.
_LAST_MOMENT: Final = 2.0


def connect(url: str, *, timeout: float = _TIMEOUT) -> Redis:
    """An asyncio Redis client for a store URL (see ``Settings.store_url``), or for one in kombu's spelling.

    It is lazy, answers in text, gives every command ``timeout`` seconds and tries twice more when a
    connection breaks. (No ``health_check_interval``: with redis-py 8.1 a server that wants a password
    which is not given then sends ``connect`` into retries within retries, for minutes.)

    Raises:
        InvalidSettings: it is not a URL.
    """
    try:
        return _client(as_redis_url(url), timeout)
    except ValueError:  # its text may repeat a part of the password
        raise InvalidSettings(
            "TQ_REDIS_URL is not a URL", fix="percent-encode what is special in user and password"
        ) from None


def _client(url: str, timeout: float) -> Redis:
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 2),
        "client_name": "tq",
    }
    parts = urlsplit(url)
    if parts.scheme != "sentinel":
        if parts.scheme != "unix":
            options["socket_keepalive"] = True
        return Redis.from_url(url, **options)
    query = parse_qs(parts.query)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    nodes = [node.rpartition(":") for node in parts.netloc.rpartition("@")[2].replace(";", ",").split(",")]
    hosts = [(host or port, int(port) if host else 26379) for host, _, port in nodes]
    sentinel = Sentinel(hosts, sentinel_kwargs={"socket_timeout": timeout})  # type: ignore[no-untyped-call]  # redis-py
    master: Redis = sentinel.master_for(
        query.get("master_name", ["mymaster"])[0],
        db=int(parts.path.strip("/") or 0),
        username=unquote(user) or None,
        password=unquote(password) or None,
        **options,
    )
    return master


def translate_error(error: Exception, url: str) -> TqError:
    """What a Redis error means for the caller; ``url`` names the server in it, without password."""
    text = str(error)
    name = redacted(url)
    refused = _refused(error, text)
    if refused is not None:
        return StoreRefused(f"Redis at {name} refuses tq", why=refused[0], fix=refused[1])
    if isinstance(error, redis_errors.OutOfMemoryError) or text.startswith(("OOM", "MISCONF")):
        return StoreFull(
            f"Redis at {name} cannot take more",
            why="its memory limit is reached" if "OOM" in text or "maxmemory" in text else "it cannot write its disk",
            fix="nothing was stored: submit again later, or give Redis more room",
        )
    if "DB index is out of range" in text or "invalid DB index" in text:
        return Unreachable(
            f"Redis at {name} has no such database",
            why="its number is beyond those that this Redis has (16, unless it was configured otherwise)",
            fix="correct REDIS_DB (or the number at the end of TQ_REDIS_URL)",
        )
    if isinstance(error, redis_errors.InvalidResponse):
        return Unreachable(
            f"what listens at {name} is no Redis",
            why="it answered, but not in Redis' protocol (a web server, perhaps)",
            fix="correct REDIS_HOST and REDIS_PORT (or TQ_REDIS_URL)",
        )
    if isinstance(error, redis_errors.ConnectionError | redis_errors.TimeoutError | OSError):
        cause = "it does not answer in time" if isinstance(error, TimeoutError) else _cause(error)
        why, fix = _of_tls(cause, text, url) or (
            cause,
            "start it, or correct REDIS_HOST and REDIS_PORT (or TQ_REDIS_URL)",
        )
        return Unreachable(f"Redis at {name} cannot be reached", why=why, fix=fix)
    return Unreachable(f"Redis at {name} answered with an error", why=type(error).__name__)


_COMMAND: Final = re.compile(r"permissions to run the '([\w|-]+)' command")
_NO_PASSWORD: Final = ("NOAUTH", "HELLO must be called with the client already")
_WRONG_PASSWORD: Final = ("WRONGPASS", "invalid username-password", "invalid password", "AUTH <password> called")


def _refused(error: Exception, text: str) -> tuple[str, str] | None:
    """Why Redis does not let us do what we want, and what mends it; None when that is not the matter."""
    if isinstance(error, redis_errors.NoPermissionError) or text.startswith("NOPERM"):
        command = _COMMAND.search(text)
        what = f"the command {command[1].upper()}" if command else "its keys or channels"
        return f"its user may not use {what}", "give the user `~* &* +@all` (ACL SETUSER), or take another user"
    if text.startswith(_NO_PASSWORD) or "Authentication required" in text:
        return "it wants a password, and none is set", "set REDIS_PASSWORD (or the password in TQ_REDIS_URL)"
    if isinstance(error, redis_errors.AuthenticationError) or text.startswith(_WRONG_PASSWORD):
        return "the password, or the user, is wrong", "correct REDIS_PASSWORD (or user and password in TQ_REDIS_URL)"
    return None


def _of_tls(cause: str, text: str, url: str) -> tuple[str, str] | None:
    """Why it is a matter of TLS, and what mends it, where it may be."""
    secured = url.startswith("rediss:")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        reason = text.partition("certificate verify failed: ")[2].partition(" (")[0] or "verification failed"
        return f"its certificate is not trusted ({reason})", "have it signed by an authority that this system trusts"
    if secured and ("SSL" in text or cause in {"it does not answer in time", "the connection broke"}):
        return "no TLS connection came about: it may not speak TLS there", "use redis:// where it speaks no TLS"
    if url.startswith("redis:") and cause == "the connection broke":
        return f"{cause}: it may want TLS", "use rediss:// where it speaks TLS, or look into its log"
    return None


#: Causes for which it cannot be reached that mean that there is none.
NOBODY_LISTENS: Final = ("connection refused", "no such socket")
_CAUSES: Final = {
    "connection refused": ("refused", "error 111", "errno 111", "errno 61", "connect call failed"),
    "no such socket": ("no such file or directory",),
    "no such host": ("name or service not known", "nodename nor servname", "name resolution", "no address associated"),
    "it does not answer in time": ("timeout", "timed out"),
    "no way leads there": ("no route to host", "unreachable"),
    "it is loading its data": ("loading",),
    "the connection broke": ("closed by server", "reset by peer", "broken pipe"),
}


def _cause(error: Exception) -> str:
    text = str(error).lower()
    for cause, signs in _CAUSES.items():
        if any(sign in text for sign in signs):
            return cause
    return type(error).__name__


async def to_the_end(coroutine: Coroutine[Any, Any, T]) -> tuple[T | None, bool]:
    """What a call to the store answers, even if this task is cancelled meanwhile, and whether it was.

    Cancelled, the call gets a last moment; None if that is not enough.
    """
    call = asyncio.ensure_future(coroutine)
    try:
        return await asyncio.shield(call), False
    except asyncio.CancelledError:
        await asyncio.wait({call}, timeout=_LAST_MOMENT)
        if call.done():
            return call.result(), True
        call.cancel()
        return None, True
