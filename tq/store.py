"""The message store: every Redis key of tq, and the only code that touches them.

A status changes in one place only, ``move()`` of ``lua/prelude.lua``, inside a script, on the
server's clock. Keys (all begin with ``tq:``; times are Unix milliseconds):

================================ ====== ============================================================
key                              type   what, and until when
================================ ====== ============================================================
message:<id>                     hash   the record; no TTL while live, TQ_RESULT_TTL once ended
sealed:<id>                      string its own api_key, encrypted; deleted when the message ends
idempotency:<digest>             string fingerprint and id; TQ_RESULT_TTL once the message has ended
status:<status>                  zset   ids by seq: lists and counts
queued:<priority|quarantine>     zset   queued ids by the time they entered the queue
republished, aged                zset   queued ids by the time of an extra token; cleared by a claim
leases, due, ended               zset   running, retrying, ended ids by when that runs out
workers, workers:seen            hash,  live processes and until when; pruned by the reaper
                                 zset
changes                          stream every transition, about the last 10,000; ids, no text
rate:<window>                    hash   how many ended, per 10 s; TTL 80 s
seq, claims, ageing              string, counters: order of submission, claims, allowance for ageing
                                 hash
reaper                           string a lock of some seconds that saves double work
================================ ====== ============================================================

All commands of one loop turn travel in one pipeline (``_call``), and every script may be sent twice
without harm, so a lost answer is answered by asking again.
"""

from __future__ import annotations

import asyncio
import builtins
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from redis import exceptions as redis_errors
from redis.asyncio import Redis, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from tq.errors import ErrorRecord, StoreFull, StoreRefused, TqError, Unreachable
from tq.messages import QUARANTINE, TRANSITIONS, Change, Message, Status, get_queue_for_priority, utc
from tq.settings import as_redis_url, redacted

PREFIX: Final = "tq:"
#: What ``translate_error`` understands.
REDIS_ERRORS: Final = (redis_errors.RedisError, OSError)
#: Seconds for one answer of Redis, and for a connection to it.
_TIMEOUT: Final = 3.0
#: Seconds for a call in all: redis-py tries again, and within each try it tries to connect again.
_PATIENCE: Final = 6.0
_BATCH: Final = 500

#: Crashes of its worker process after which a message is quarantined, and after which it has failed.
QUARANTINE_AFTER: Final = 2
POISON_AFTER: Final = 3


@dataclass(frozen=True, slots=True)
class Claim:
    """A message that this process owns until its lease runs out; ``epoch`` is the fence."""

    message: Message
    epoch: int
    sealed: str = field(repr=False)
    retries: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Token:
    """What a wake-up needs: the id, and the Celery queue and priority to publish it with."""

    message_id: str
    queue: str | None
    priority: int


@dataclass(frozen=True, slots=True)
class _Script:
    source: str
    sha: str


@cache
def _scripts() -> dict[str, _Script]:
    folder = files("tq") / "lua"
    legal = {str(a): {str(b): True for b in to} for a, to in TRANSITIONS.items()}
    head = f"local LEGAL = cjson.decode('{json.dumps(legal)}')\nlocal QUARANTINE = '{QUARANTINE}'\n"
    head += (folder / "prelude.lua").read_text()
    scripts = {}
    for entry in folder.iterdir():
        name = entry.name.removesuffix(".lua")
        if entry.name.endswith(".lua") and name != "prelude":
            source = head + entry.read_text()
            scripts[name] = _Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest())
    return scripts


def connect(url: str, *, timeout: float = _TIMEOUT) -> Redis:
    """An asyncio Redis client for a store URL (see ``Settings.store_url``), or for one in kombu's spelling.

    It is lazy, answers in text, gives every command ``timeout`` seconds and tries twice more when a
    connection breaks. (No ``health_check_interval``: with redis-py 8.1 a server that wants a password
    which is not given then sends ``connect`` into retries within retries, for minutes.)
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 2),
        "client_name": "tq",
    }
    url = as_redis_url(url)
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
    if isinstance(error, redis_errors.AuthenticationError | redis_errors.NoPermissionError) or text.startswith(
        ("NOAUTH", "WRONGPASS", "NOPERM", "invalid username-password", "HELLO must be called with the client already")
    ):
        return StoreRefused(
            f"Redis at {name} refuses tq",
            why="the password is missing or wrong, or the user may not run these commands",
            fix="set REDIS_PASSWORD (or the password in TQ_REDIS_URL)",
        )
    if isinstance(error, redis_errors.OutOfMemoryError) or text.startswith(("OOM", "MISCONF")):
        return StoreFull(
            f"Redis at {name} cannot take more",
            why="its memory limit is reached" if "OOM" in text or "maxmemory" in text else "it cannot write its disk",
            fix="nothing was stored: submit again later, or give Redis more room",
        )
    if isinstance(error, redis_errors.ConnectionError | redis_errors.TimeoutError | OSError):
        return Unreachable(
            f"Redis at {name} cannot be reached",
            why="it does not answer in time" if isinstance(error, TimeoutError) else _cause(error),
            fix="start it, or correct REDIS_HOST and REDIS_PORT (or TQ_REDIS_URL)",
        )
    return Unreachable(f"Redis at {name} answered with an error", why=type(error).__name__)


_CAUSES: Final = {
    "connection refused": ("refused", "error 111", "errno 111", "errno 61", "connect call failed"),
    "no such socket": ("no such file or directory",),
    "no such host": ("name or service not known", "nodename nor servname", "temporary failure in name resolution"),
    "it does not answer in time": ("timeout", "timed out"),
    "it is loading its data": ("loading",),
    "the connection broke": ("closed by server", "reset by peer", "broken pipe"),
}


def _cause(error: Exception) -> str:
    text = str(error).lower()
    for cause, signs in _CAUSES.items():
        if any(sign in text for sign in signs):
            return cause
    return type(error).__name__


class Store:
    """The store on one Redis; every method is one round trip, shared with what else is due then.

    Belongs to the asyncio loop on which it is first used. All methods raise ``Unreachable``,
    ``StoreRefused`` or ``StoreFull`` when Redis does not do its part.

    Args:
        url: see ``connect``.
        result_ttl: seconds that an ended message is kept.
        lease: seconds that a silent worker keeps a message.
    """

    def __init__(self, url: str, *, result_ttl: float, lease: float) -> None:
        self._url = url
        self._redis = connect(url)
        self._ttl = int(result_ttl * 1000)
        self._lease = int(lease * 1000)
        self._pending: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    # -- transport ---------------------------------------------------------------------------------

    async def _call(self, *command: Any) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending.append((command, future))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        try:
            async with asyncio.timeout(_PATIENCE):
                return await future
        except TimeoutError as error:
            raise translate_error(error, self._url) from None

    async def _flush(self) -> None:
        while self._pending:
            batch, self._pending = self._pending[:_BATCH], self._pending[_BATCH:]
            # Nobody waits any more for what was kept too long behind a server that hangs.
            batch = [(command, future) for command, future in batch if not future.done()]
            try:
                async with asyncio.timeout(_PATIENCE):
                    results = await self._execute([command for command, _ in batch])
            except REDIS_ERRORS as error:
                results = [error] * len(batch)
            except BaseException:
                for _, future in batch:
                    future.cancel()
                raise
            for (_, future), result in zip(batch, results, strict=True):
                if future.done():
                    continue
                if isinstance(result, Exception):
                    future.set_exception(translate_error(result, self._url))
                else:
                    future.set_result(result)

    async def _execute(self, commands: Sequence[tuple[Any, ...]]) -> builtins.list[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            results: list[Any] = await pipe.execute(raise_on_error=False)
            # A new or restarted server does not know the scripts yet: EVAL runs and keeps them.
            unknown = [i for i, result in enumerate(results) if isinstance(result, redis_errors.NoScriptError)]
            if unknown:
                sources = {script.sha: script.source for script in _scripts().values()}
                for i in unknown:
                    _, sha, *rest = commands[i]
                    pipe.execute_command("EVAL", sources[sha], *rest)
                for i, result in zip(unknown, await pipe.execute(raise_on_error=False), strict=True):
                    results[i] = result
            return results

    async def _script(self, name: str, *args: str | float) -> Any:
        return await self._call("EVALSHA", _scripts()[name].sha, 1, PREFIX, *args)

    async def ping(self) -> None:
        """Return when Redis answers."""
        await self._call("PING")

    # -- messages ----------------------------------------------------------------------------------

    async def submit(
        self,
        message_id: str,
        *,
        fingerprint: str,
        idempotency: str,
        priority: int,
        body: Mapping[str, Any],
        languages: str,
        sealed: str,
        max_queued: int,
    ) -> tuple[str, str, int]:
        """Accept a message; see ``submit.lua`` for the outcomes, the id each comes with, and the time in ms."""
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        outcome, known, now = await self._script(
            "submit", message_id, fingerprint, idempotency, priority, text, languages, sealed, max_queued
        )
        return outcome, known, now

    async def get(self, message_id: str) -> Message | None:
        """The message, or None."""
        record = await self._call("HGETALL", f"{PREFIX}message:{message_id}")
        return _message(message_id, _mapping(record)) if record else None

    async def list(
        self, statuses: Sequence[Status], *, below: int | None, limit: int
    ) -> builtins.list[tuple[Message, int]]:
        """Messages newest first with their seq, those below ``below`` only."""
        flat = await self._script("list", "+inf" if below is None else below, limit, *statuses)
        ids, seqs = flat[::2], flat[1::2]
        messages = await asyncio.gather(*(self.get(message_id) for message_id in ids))
        return [(message, int(seq)) for message, seq in zip(messages, seqs, strict=True) if message is not None]

    async def next_id(self) -> str | None:
        """The id that a worker would take next."""
        return await self._script("next") or None

    async def claim(self, message_id: str, owner: str, model: str = "") -> Claim | None:
        """Take a queued message; None when its token is stale.

        Args:
            message_id: which.
            owner: unique to this claim.
            model: for a message that names none.
        """
        answer = await self._script("claim", message_id, owner, self._lease, model)
        if not isinstance(answer[0], int):
            return None
        record = _mapping(answer[2])
        error = json.loads(record["error"])["type"] if "error" in record else None
        message = _message(message_id, record)
        return Claim(message, answer[0], answer[1], int(record.get("retries", 0)), error)

    async def settle(
        self,
        message_id: str,
        epoch: int,
        status: Status,
        *,
        fields: Mapping[str, str],
        delay: float = 0.0,
        info: str = "",
        tokens: tuple[int, int] = (0, 0),
        retried: bool = False,
    ) -> bool:
        """Record how an attempt ended; False when the message is not this epoch's any more.

        Args:
            message_id: which.
            epoch: the fence of the claim.
            status: the status to enter.
            fields: fields of the record to set; an empty value deletes.
            delay: seconds until the retry is due.
            info: a word for the stream of changes.
            tokens: prompt and completion tokens to add.
            retried: whether this spends a retry.
        """
        flat = [part for pair in fields.items() for part in pair]
        answer = await self._script(
            "settle",
            message_id,
            epoch,
            status,
            int(delay * 1000),
            self._ttl,
            info,
            *tokens,
            int(retried),
            *flat,
        )
        return bool(answer == "ok")

    async def heartbeat(
        self, worker: str, info: Mapping[str, Any], attempts: Sequence[tuple[str, int]]
    ) -> dict[str, str]:
        """Prolong the leases of ``attempts`` (id, epoch); answers those that are no longer theirs."""
        flat = [part for pair in attempts for part in pair]
        lost = await self._script("heartbeat", worker, json.dumps(info), self._lease, self._lease, *flat)
        return dict(zip(lost[::2], lost[1::2], strict=True))

    async def forget_worker(self, worker: str) -> None:
        """Take a process that stops out of the list of live workers."""
        await asyncio.gather(
            self._call("ZREM", f"{PREFIX}workers:seen", worker), self._call("HDEL", f"{PREFIX}workers", worker)
        )

    async def cancel(self, message_id: str) -> str:
        """``ok``, ``gone``, or the status that forbids it."""
        return str(await self._script("cancel", message_id, self._ttl))

    async def retry(self, message_id: str, sealed: str) -> str:
        """``ok``, ``gone``, ``missing-key``, or the status that forbids it."""
        return str(await self._script("retry", message_id, sealed))

    async def set_status(
        self, message_id: str, status: Status, *, fields: Mapping[str, str], lease: float, delay: float
    ) -> tuple[str, str]:
        """Move a message on for a program outside; see ``set_status.lua`` for the answers."""
        flat = [part for pair in fields.items() for part in pair]
        answer = await self._script(
            "set_status", message_id, status, int(lease * 1000), int(delay * 1000), self._ttl, *flat
        )
        return answer[0], answer[1] if len(answer) > 1 else ""

    # -- what the reaper does ----------------------------------------------------------------------

    async def lock_reaper(self, owner: str, seconds: float) -> bool:
        """Whether this process reaps now; the lock only saves work, nothing depends on it."""
        return bool(await self._call("SET", f"{PREFIX}reaper", owner, "NX", "PX", int(seconds * 1000)))

    async def reap(self, poisoned: ErrorRecord, most: int = _BATCH) -> tuple[builtins.list[Token], builtins.list[str]]:
        """One round of ``reap.lua``: tokens to publish, and ids that failed as poison.

        When there are as many tokens as ``most``, more may be due: call again.
        """
        flat, failed = await self._script("reap", most, self._ttl, json.dumps(poisoned), QUARANTINE_AFTER, POISON_AFTER)
        return _tokens(flat), list(failed)

    async def missing(self, index: int | str, *, tail: str | None, grace: float) -> builtins.list[Token]:
        """Queued messages of one index whose token is lost; ``tail`` is the id next to be popped."""
        tokens: builtins.list[Token] = []
        offset, page = 0, 1000
        while True:
            scanned, *flat = await self._script("missing", index, offset, page, int(grace * 1000), tail or "")
            tokens += _tokens(flat)
            offset += page
            if scanned < page:
                return tokens

    async def age(self, longest: float, *, share: float, most: int) -> builtins.list[str]:
        """Ids that have waited longer than ``longest`` seconds and may go to the front now."""
        return list(await self._script("age", int(longest * 1000), share, most))

    # -- what people look at -----------------------------------------------------------------------

    async def stats(self) -> dict[str, Any]:
        """Raw figures of ``stats.lua``."""
        data: dict[str, Any] = json.loads(await self._script("stats", *Status))
        return data

    async def changes(self, after: str, *, block: float) -> builtins.list[Change]:
        """Transitions after a cursor, up to 500; waits at most ``block`` seconds for the first."""
        key = f"{PREFIX}changes"
        try:
            async with asyncio.timeout(block + _PATIENCE):
                answer: Any = await self._redis.xread({key: after}, count=_BATCH, block=max(1, int(block * 1000)))
        except REDIS_ERRORS as error:
            raise translate_error(error, self._url) from None
        if not answer:
            return []
        entries = answer[key][0] if isinstance(answer, dict) else answer[0][1]
        return [_change(cursor, fields) for cursor, fields in entries]

    async def newest_cursor(self) -> str:
        """The cursor of the newest change: what follows it is yet to come."""
        newest = await self._call("XREVRANGE", f"{PREFIX}changes", "+", "-", "COUNT", 1)
        return newest[0][0] if newest else "0-0"


def _mapping(answer: Any) -> dict[str, str]:
    # RESP3 and redis-py's own reply parsing give a dict, scripts on RESP2 a flat list.
    return dict(answer) if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))


def _tokens(flat: Sequence[str]) -> list[Token]:
    triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    return [Token(message_id, queue or None, int(priority)) for message_id, queue, priority in triples]


def _message(message_id: str, record: Mapping[str, str]) -> Message:
    body = json.loads(record["body"])
    priority = int(record["priority"])

    def time(name: str) -> Any:
        return utc(int(record[name])) if name in record else None

    usage = None
    if "prompt_tokens" in record or "completion_tokens" in record:
        usage = {
            "prompt_tokens": int(record.get("prompt_tokens", 0)),
            "completion_tokens": int(record.get("completion_tokens", 0)),
        }
    return Message.model_validate(
        {
            "message_id": message_id,
            "status": record["status"],
            "queue": record.get("queue") or get_queue_for_priority(priority),
            "priority": priority,
            "content": body["content"],
            "model_name": body["model_name"] or record.get("model"),
            "metadata": body["metadata"],
            "provider": record.get("provider"),
            "translation": record.get("translation"),
            "error": json.loads(record["error"]) if "error" in record else None,
            "warnings": json.loads(record.get("warnings", "[]")),
            "attempts": int(record.get("attempts", 0)),
            "created_at": time("created"),
            "started_at": time("started"),
            "finished_at": time("finished"),
            "next_retry_at": time("due"),
            "usage": usage,
        }
    )


def _change(cursor: str, fields: Mapping[str, str]) -> Change:
    return Change(
        cursor=cursor,
        at=utc(int(cursor.partition("-")[0])),
        message_id=fields["id"],
        status=Status(fields["s"]),
        priority=int(fields["p"]),
        languages=fields["l"],
        attempts=int(fields["a"]),
        info=fields["i"],
    )
