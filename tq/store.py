"""The message store: every Redis key of tq, and the only code that touches them (completion.py peeps at ids).

A status changes in one place only, ``move()`` of ``lua/prelude.lua``, inside a script, on the
server's clock. Keys (all begin with ``tq:``; times are Unix milliseconds):

================================ ====== ============================================================
key                              type   what, and until when
================================ ====== ============================================================
message:<id>                     hash   the record, whose brief is the body without its content; no TTL live,
                                        TQ_RESULT_TTL once ended
sealed:<id>                      string its own api_key, encrypted; deleted when the message ends
idempotency:<digest>             string fingerprint and id; TQ_RESULT_TTL once the message has ended
hooks, hooks:<host:port>         zset   receivers of webhooks by the first due to them; of each what is due to it
hook:<event>                     hash   the record at an end that was not told yet when it was revived
paused                           set    queues of which nothing begins
held:<queue>                     zset   queued ids of such a queue whose token was taken, by the time they entered it
open:<queue>                     zset   ids that have not ended, by when their life began: submitted, or revived
status:<status>                  zset   ids by seq: lists and counts
failed:<type>, failures          zset,  failed ids by seq, of each type of error, and the types that there are
                                 set
queued:<priority|quarantine>     zset   queued ids by the time they entered the queue
line:<priority>:<account>        zset   queued ids of an account that were not called to the front, by the same time
turns:<priority>                 zset   accounts with such a line, by the claim that was their last turn
republished, aged                zset   queued ids by the time of an extra token; cleared by a claim
leases, due, ended               zset   running, retrying, ended ids by when that runs out
workers, workers:seen            hash,  live workers and until when; pruned by the reaper
                                 zset
parts:<id>                       hash   parts of a long text that are done, by digest; as the record, but
                                        deleted with success or cancellation
memory:<digest>, memory          string a remembered translation, TQ_MEMORY_TTL; zset: digests by last use
                                 zset
asked:<digest>                   string who is finding it out; TTL TQ_LEASE, prolonged
alive                            zset   processes with a heartbeat, until when; pruned by the reaper
changes                          stream every transition, about the last 10,000; ids, no text
rate:<window>                    hash   how many ended, per 10 s; TTL 80 s
totals, minute:<Unix time / 60>  hash   what came of attempts (tallies.py): since ever, and by the minute; TTL 62 min
limit:<digest>, limits           string rate limit of an account (endpoint, key, model) as JSON, TTL an hour or
                                 zset   until a longer cool-down ends; zset: digests by when that runs out
lacking:<digest>                 set    what a model of an endpoint refuses; TTL a day after the last news
spend:<account|total>:<YYYYMMDD> hash   tokens and cost of a UTC day, in billionths; TTL 35 days
spenders:<YYYYMMDD>              zset   accounts of that day, by tokens; TTL 35 days
seq, claims, ageing              string, counters: order of submission, claims, allowance for ageing
                                 hash
reaper                           string a lock of some seconds that saves double work
================================ ====== ============================================================

All commands of one loop turn travel in one pipeline (``_call``), and every script may be sent twice
without harm, so a lost answer is answered by asking again.
"""

from __future__ import annotations

import asyncio
import base64
import builtins
import json
import time
from collections import deque
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha1
from importlib.resources import files
from secrets import token_hex
from typing import Any, Final

from redis import exceptions as redis_errors

from tq.connection import REDIS_ERRORS, connect, translate_error
from tq.datadir import require_own_socket
from tq.errors import ErrorRecord, queue_paused
from tq.failures import FailureGroup
from tq.figures import DEFAULT_ACCOUNT, Backlog, Stats
from tq.filters import MessageFilter, searched
from tq.messages import HIGH_FROM, QUARANTINE, QUEUES, TRANSITIONS, Change, Message, Status, before
from tq.records import (
    OUTLINE,
    Claim,
    Expired,
    Token,
    as_change,
    as_claim,
    as_failures,
    as_mapping,
    as_message,
    as_stats,
    as_tokens,
)
from tq.settings import Settings
from tq.tallies import MINUTES, History, Totals, as_history, as_totals, encode_calls

PREFIX: Final = "tq:"
#: Seconds for a call in all: redis-py tries again, and within each try it tries to connect again.
_PATIENCE: Final = 6.0
_BATCH: Final = 500
_LACKING_TTL: Final = 86_400
#: Ids that one script looks at: it blocks Redis meanwhile. With filters each costs more, and so many scripts are sent.
_SCANNED: Final = 2000
_LOOKED_AT: Final = 500
_MOST_LOOKS: Final = 20
#: Receivers of webhooks that are counted: callers choose how many there are.
_MOST_RECEIVERS: Final = 10_000

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

#: Crashes of its worker process after which a message is quarantined, and after which it has failed.
QUARANTINE_AFTER: Final = 2
#: After the latter nobody has seen it kill: what a worker sees (``blame``) counts at once.
POISON_AFTER: Final = 10


@dataclass(frozen=True, slots=True)
class _Script:
    source: str
    sha: str


@cache
def _scripts() -> dict[str, _Script]:
    folder = files("tq") / "lua"
    legal = {str(a): {str(b): True for b in to} for a, to in TRANSITIONS.items()}
    head = f"local LEGAL = cjson.decode('{json.dumps(legal)}')\nlocal QUARANTINE = '{QUARANTINE}'\n"
    head += f"local HIGH_FROM = {HIGH_FROM}\nlocal QUEUES = {{ {', '.join(map(repr, QUEUES))} }}\n"
    head += (folder / "prelude.lua").read_text(encoding="utf-8")
    scripts = {}
    for entry in folder.iterdir():
        name = entry.name.removesuffix(".lua")
        if entry.name.endswith(".lua") and name != "prelude":
            source = head + entry.read_text(encoding="utf-8")
            scripts[name] = _Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest())
    return scripts


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
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._flusher: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    # -- transport ---------------------------------------------------------------------------------

    async def _call(self, *command: Any) -> Any:
        return await self._send(*command)

    def _send(self, *command: Any) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._pending.append((command, future))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        # One timer for all: one for each would cost as much as the call.
        self._waiting.append((loop.time() + _PATIENCE, future))
        if self._timer is None:
            self._timer = loop.call_later(_PATIENCE, self._give_up)
        return future

    def _give_up(self) -> None:
        """Fail those that have waited for too long."""
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._waiting:
            until, future = self._waiting[0]
            if not future.done():
                if until > loop.time():
                    self._timer = loop.call_at(until, self._give_up)
                    return
                future.set_exception(translate_error(TimeoutError(), self._url))
            self._waiting.popleft()

    async def _flush(self) -> None:
        while self._pending:
            while self._waiting and self._waiting[0][1].done():
                self._waiting.popleft()
            batch, self._pending = self._pending[:_BATCH], self._pending[_BATCH:]
            # Nobody waits any more for what was kept too long behind a server that hangs.
            batch = [(command, future) for command, future in batch if not future.done()]
            try:
                async with asyncio.timeout(_PATIENCE):
                    results = await self._execute([command for command, _ in batch])
            except REDIS_ERRORS as error:
                results = [error] * len(batch)
            except Exception:  # noqa: BLE001 - one command that cannot be sent must not fail the others
                results = [await self._alone(command) for command, _ in batch]
            for (_, future), result in zip(batch, results, strict=True):
                if future.done():
                    continue
                if isinstance(result, Exception):
                    future.set_exception(translate_error(result, self._url))
                else:
                    future.set_result(result)

    async def _alone(self, command: tuple[Any, ...]) -> Any:
        try:
            return (await self._execute([command]))[0]
        except Exception as error:  # noqa: BLE001 - whatever it is, the one who waits must hear of it
            return error

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

    async def script(self, name: str, *args: str | float) -> Any:
        """What ``lua/<name>.lua`` answers to these arguments."""
        return await self._send_script(name, *args)

    def _send_script(self, name: str, *args: str | float) -> asyncio.Future[Any]:
        return self._send("EVALSHA", _scripts()[name].sha, 1, PREFIX, *args)

    async def ping(self) -> None:
        """Return when Redis answers."""
        await self._call("PING")

    async def safeguards(self) -> Mapping[str, str]:
        """What Redis says of itself in INFO, of its memory and of what it writes to disk."""
        sections = await asyncio.gather(self._call("INFO", "memory"), self._call("INFO", "persistence"))
        return {str(name): str(value) for section in sections for name, value in as_mapping(section).items()}

    async def clock_ahead(self) -> float:
        """Seconds by which the clock of Redis, which all times are of, is ahead of this machine's."""
        asked = time.time()
        seconds, micros = await self._call("TIME")
        return int(seconds) + int(micros) / 1e6 - (asked + time.time()) / 2

    async def any_sealed(self) -> tuple[str, bytes] | None:
        """The id of some message that waits with a key of its own, and that key, sealed; None when none is at hand."""
        _, found = await self._call("SCAN", 0, "MATCH", f"{PREFIX}sealed:*", "COUNT", _SCANNED)
        sealed = await self._call("GET", found[0]) if found else None
        return (found[0].removeprefix(f"{PREFIX}sealed:"), base64.b64decode(sealed)) if sealed else None

    # -- messages ----------------------------------------------------------------------------------

    def submit(  # noqa: PLR0913 - all of it goes into one script
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
        payer: tuple[str, int] = (DEFAULT_ACCOUNT, 0),
        trace: str = "",
        receiver: str = "",
    ) -> Awaitable[Sequence[Any]]:
        """Accept a message, which is on its way when this returns.

        See ``submit.lua`` for the outcomes, and what each comes with. ``payer`` is the account,
        and what it may spend a day in billionths (0 = anything); ``trace`` is where this is traced,
        and ``receiver`` the host and port to call back.
        """
        # Workers of an older version read the content there; what is read without it stands beside it.
        brief = {name: value for name, value in body.items() if name != "content"}
        return self._send_script(
            "submit",
            message_id,
            fingerprint,
            idempotency,
            priority,
            _encode(body),
            languages,
            sealed,
            max_queued,
            *payer,
            trace,
            receiver,
            _encode(brief),
            searched(body["metadata"]),
        )

    async def get(self, message_id: str) -> Message | None:
        """The message, or None."""
        record = await self._call("HGETALL", f"{PREFIX}message:{message_id}")
        return as_message(message_id, as_mapping(record)) if record else None

    async def outline(self, message_id: str) -> Message | None:
        """The message without its texts, which are not read: its content is ""; or None."""
        key = f"{PREFIX}message:{message_id}"
        values = await self._call("HMGET", key, *OUTLINE)
        record = {name: value for name, value in zip(OUTLINE, values, strict=True) if value is not None}
        if record and "brief" not in record:  # of an older version
            record["brief"] = await self._call("HGET", key, "body")
        return as_message(message_id, record).model_copy(update={"content": ""}) if record else None

    async def list(
        self, statuses: Sequence[Status], *, below: int | None, limit: int
    ) -> builtins.list[tuple[str, int]]:
        """Ids newest first with their seq, those below ``below`` only."""
        flat = await self.script("list", "+inf" if below is None else below, limit, *statuses)
        return _with_seq(flat)

    async def find(
        self, matching: MessageFilter, statuses: Sequence[Status], *, below: int | None, limit: int
    ) -> tuple[builtins.list[tuple[str, int]], int | None]:
        """As ``list``, of those that match, and the seq below which to go on (None: no more)."""
        found: builtins.list[tuple[str, int]] = []
        for _ in range(_MOST_LOOKS):
            last, flat = await self.script(
                "find",
                _encode(matching.wanted()),
                "+inf" if below is None else below,
                limit - len(found),
                _LOOKED_AT,
                *statuses,
            )
            found += _with_seq(flat)
            below = int(last) if last else None
            if below is None or len(found) == limit:
                break
        return found, below

    async def log(self, message_id: str) -> tuple[int, str] | None:
        """When a message was created, in ms, and its history as ``timeline.entries`` reads it; None: there is none."""
        created, log = await self._call("HMGET", f"{PREFIX}message:{message_id}", "created", "log")
        return None if created is None else (int(created), log or "")

    async def beginning(self, prefix: str, statuses: Sequence[Status], *, most: int) -> builtins.list[tuple[str, int]]:
        """Ids that begin so, with their seq, newest first: ``most`` of each status at least, if there are so many."""
        glob = "".join(f"[{char}]" if char in "*?[" else char for char in prefix.replace("\\", "\\\\")) + "*"
        found: dict[str, int] = {}
        for status in statuses:
            cursor, count = "0", 0
            while True:
                cursor, flat = await self.script("scan", glob, cursor, status, _SCANNED)
                found |= {message_id: int(float(seq)) for message_id, seq in zip(flat[::2], flat[1::2], strict=True)}
                count += len(flat) // 2
                if cursor == "0" or count >= most:
                    break
        return sorted(found.items(), key=lambda item: -item[1])

    async def failures(self) -> builtins.list[FailureGroup]:
        """Failed messages by the type of their error, the most frequent first."""
        flat = await self.script("failures")
        fives = zip(*(flat[n::5] for n in range(5)), strict=True)
        groups = [as_failures(kind, int(count), *newest) for kind, count, *newest in fives]
        return sorted(groups, key=lambda group: -group.count)

    async def failed(self, kind: str | None, *, below: int | None, limit: int) -> builtins.list[tuple[str, int]]:
        """Failed ids with their seq, newest first: all, or those with this type of error."""
        key = f"{PREFIX}status:failed" if kind is None else f"{PREFIX}failed:{kind}"
        bound = "+inf" if below is None else f"({below}"
        return _with_seq(
            await self._call("ZRANGE", key, bound, "-inf", "BYSCORE", "REV", "LIMIT", 0, limit, "WITHSCORES")
        )

    async def next_id(self) -> str | None:
        """The id that a worker would take next."""
        return await self.script("next") or None

    async def claim(self, message_id: str, owner: str, model: str = "") -> Claim | None:
        """Take a queued message; None when its token is stale.

        Args:
            message_id: which.
            owner: unique to this claim.
            model: for a message that names none.

        Raises:
            QueuePaused: nothing of its queue begins now; it is held until that is resumed.
        """
        answer = await self.script("claim", message_id, owner, self._lease, model)
        if answer[0] == "paused":
            raise queue_paused(answer[1])
        if not isinstance(answer[0], int):
            return None
        record = as_mapping(answer[2])
        return as_claim(as_message(message_id, record), record, epoch=answer[0], sealed=answer[1], calls=answer[3])

    async def settle(  # noqa: PLR0913 - all of it goes into one script
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
        cost: int | None = None,
        account: str = "",
        deferred: bool = False,
        calls: Sequence[float] = (),
        model: str = "",
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
            cost: of these tokens, in billionths; None = their price is not known, or there are none.
            account: who pays, as ``TranslationQueue.account`` says; "" = nobody.
            deferred: put off before anything was sent: it does not count as an attempt.
            calls: seconds that each call to a provider took.
            model: that was asked.
        """
        flat = [part for pair in fields.items() for part in pair]
        answer = await self.script(
            "settle",
            message_id,
            epoch,
            status,
            int(delay * 1000),
            self._ttl,
            info,
            *tokens,
            int(retried),
            "" if cost is None else cost,
            account,
            int(deferred),
            encode_calls(calls),
            model,
            *flat,
        )
        return bool(answer == "ok")

    async def book(
        self, message_id: str, epoch: int, *, tokens: tuple[int, int], cost: int | None, account: str
    ) -> None:
        """Book what an attempt has cost whose message was cancelled, or given back, unless a later one has begun."""
        await self.script("book", message_id, epoch, *tokens, "" if cost is None else cost, account)

    async def overspent(self, account: str, budget: int) -> tuple[int, int] | None:
        """What an account has spent today and the time in ms, once that is all that it may; else None.

        All money is in billionths; a budget of 0 allows anything.
        """
        answer = await self.script("overspent", account, budget)
        return (int(answer[0]), int(answer[1])) if answer else None

    async def queued(self) -> int:
        """How many messages wait."""
        return int(await self._call("ZCARD", f"{PREFIX}status:queued"))

    async def checkpoints(self, message_id: str) -> dict[str, str]:
        """The parts of a long text that are kept with the message, by digest."""
        return as_mapping(await self._call("HGETALL", f"{PREFIX}parts:{message_id}"))

    async def checkpoint(
        self,
        message_id: str,
        epoch: int,
        digest: str,
        text: str,
        *,
        tokens: tuple[int, int],
        cost: int | None,
        account: str,
    ) -> bool:
        """Keep a part and book what was spent; False when the message is not this epoch's any more."""
        nano = "" if cost is None else cost
        answer = await self.script("checkpoint", message_id, epoch, digest, text, *tokens, nano, account)
        return bool(answer == "ok")

    async def lacking(self, digest: str) -> frozenset[str]:
        """What a model of an endpoint is known to lack."""
        return frozenset(await self._call("SMEMBERS", f"{PREFIX}lacking:{digest}"))

    async def add_lacking(self, digest: str, names: Collection[str]) -> None:
        """A model of an endpoint was found to lack this too."""
        await self.script("lacking", digest, _LACKING_TTL, *names)

    async def heartbeat(
        self, process: str, info: Mapping[str, Any] | None, attempts: Sequence[tuple[str, int]]
    ) -> dict[str, str]:
        """Prolong the leases of ``attempts`` (id, epoch); answers those that are no longer theirs.

        Args:
            process: whose they are, as its claims' owners begin before the ``#``.
            info: what the list of workers shows of it; None = it is no worker.
            attempts: what it runs.
        """
        flat = [part for pair in attempts for part in pair]
        lost = await self.script("heartbeat", process, json.dumps(info) if info else "", self._lease, *flat)
        return dict(zip(lost[::2], lost[1::2], strict=True))

    async def pause(self, queue: str, *, paused: bool) -> None:
        """From now on nothing of a queue begins, or it goes on."""
        await self.script("pause", queue, int(paused))

    async def paused(self) -> builtins.list[str]:
        """The queues of which nothing begins."""
        return sorted(await self._call("SMEMBERS", f"{PREFIX}paused"))

    async def forget_worker(self, worker: str) -> None:
        """Take a process that stops out of the list of live workers."""
        await asyncio.gather(
            self._call("ZREM", f"{PREFIX}workers:seen", worker), self._call("HDEL", f"{PREFIX}workers", worker)
        )

    async def cancel(self, message_id: str) -> str:
        """``ok``, ``gone``, or the status that forbids it."""
        return str(await self.script("cancel", message_id, self._ttl, token_hex(8)))

    async def call_back(self, message_id: str) -> str:
        """``ok``, ``gone``, ``none`` (it has no webhook), or the status of one that has not ended."""
        return str(await self.script("hooks_again", message_id))

    async def retry(
        self, message_id: str, sealed: str, payer: tuple[str, int] = (DEFAULT_ACCOUNT, 0)
    ) -> tuple[str, int, int]:
        """``ok``, ``gone``, ``missing-key``, ``budget`` with what was spent and the time in ms, or what forbids it.

        ``payer`` is as for ``submit``; what forbids it is the status.
        """
        outcome, spent, now = [*await self.script("retry", message_id, sealed, token_hex(8), *payer), 0, 0][:3]
        return str(outcome), int(spent), int(now)

    async def set_status(
        self,
        message_id: str,
        status: Status,
        *,
        fields: Mapping[str, str],
        lease: float,
        delay: float,
        reason: str = "",
    ) -> tuple[str, str]:
        """Move a message on for a program outside; see ``set_status.lua`` for the answers.

        ``reason`` is the type slug of an error that it reports, or "".
        """
        flat = [part for pair in fields.items() for part in pair]
        answer = await self.script(
            "set_status",
            message_id,
            status,
            int(lease * 1000),
            int(delay * 1000),
            self._ttl,
            token_hex(8),
            reason,
            *flat,
        )
        return answer[0], answer[1] if len(answer) > 1 else ""

    # -- what the reaper does ----------------------------------------------------------------------

    async def lock_reaper(self, owner: str, seconds: float) -> bool:
        """Whether this process reaps now; the lock only saves work, nothing depends on it."""
        return bool(await self.script("lock", owner, int(seconds * 1000)))

    async def reap(
        self, poisoned: ErrorRecord, most: int = _BATCH
    ) -> tuple[builtins.list[Token], builtins.list[str], builtins.list[Expired]]:
        """One round of ``reap.lua``: tokens to publish, ids that failed as poison, and what lost its lease.

        When there are as many tokens as ``most``, more may be due: call again.
        """
        flat, failed, held, expired = await self.script(
            "reap", most, self._ttl, json.dumps(poisoned), QUARANTINE_AFTER, POISON_AFTER
        )
        # The newest first, each before all others: in the end they stand as they stood.
        tokens = as_tokens(flat) + [replace(token, front=True) for token in as_tokens(held)]
        triples = zip(expired[::3], expired[1::3], expired[2::3], strict=True)
        return tokens, list(failed), [Expired(name, int(attempt), process) for name, attempt, process in triples]

    async def blame(self, message_id: str, process: str, poisoned: ErrorRecord) -> bool:
        """Fail a message that was seen to kill a process of this name; False when it does not run there."""
        return bool(await self.script("blame", message_id, f"{process}:", self._ttl, json.dumps(poisoned)) == "ok")

    async def missing(self, index: int | str, *, tail: str | None, grace: float) -> builtins.list[Token]:
        """Queued messages of one index whose token is lost; ``tail`` is the id next to be popped."""
        tokens: builtins.list[Token] = []
        offset, page = 0, 1000
        while True:
            scanned, *flat = await self.script("missing", index, offset, page, int(grace * 1000), tail or "")
            tokens += as_tokens(flat)
            offset += page
            if scanned < page:
                return tokens

    async def age(self, longest: float, *, share: float, most: int) -> builtins.list[str]:
        """Ids that have waited longer than ``longest`` seconds and may go to the front now."""
        return list(await self.script("age", int(longest * 1000), share, most))

    # -- what people look at -----------------------------------------------------------------------

    async def stats(self) -> Stats:
        """Depths, counts, workers and throughput, at one moment."""
        return as_stats(json.loads(await self.script("stats", *Status)))

    async def backlog(self) -> Backlog:
        """How much there is to deliver."""
        pending, overdue = await self.script("hooks_state", _MOST_RECEIVERS)
        return Backlog(pending, overdue / 1000)

    async def totals(self) -> Totals:
        """What was counted since the store was made."""
        return as_totals(as_mapping(await self._call("HGETALL", f"{PREFIX}totals")))

    async def history(self) -> History:
        """What was counted in each minute of the last hour."""
        now, *flat = await self.script("history", MINUTES)
        return as_history(now, {n: as_mapping(fields) for n, fields in zip(flat[::2], flat[1::2], strict=True)})

    async def changes(self, after: str, *, block: float) -> builtins.list[Change]:
        """Transitions after a cursor, up to 500; waits up to ``block`` seconds for the first, and not at all for 0."""
        key = f"{PREFIX}changes"
        if not block:
            # On the connection that all share: hundreds may ask at once, when they all come back.
            found = await self._call("XRANGE", key, f"({after}", "+", "COUNT", _BATCH)
            return [as_change(cursor, as_mapping(fields)) for cursor, fields in found]
        try:
            async with asyncio.timeout(block + _PATIENCE):
                answer: Any = await self._redis.xread({key: after}, count=_BATCH, block=max(1, int(block * 1000)))
        except REDIS_ERRORS as error:
            raise translate_error(error, self._url) from None
        if not answer:
            return []
        entries = answer[key][0] if isinstance(answer, dict) else answer[0][1]
        return [as_change(cursor, fields) for cursor, fields in entries]

    async def span(self) -> tuple[str, str]:
        """Up to which change they are lost ("" when all are kept), and the newest cursor."""
        first, newest = await self.script("span")
        return (before(first) if first else ""), newest

    async def newest_cursor(self) -> str:
        """The cursor of the newest change: what follows it is yet to come."""
        newest = await self._call("XREVRANGE", f"{PREFIX}changes", "+", "-", "COUNT", 1)
        return newest[0][0] if newest else "0-0"


def _with_seq(answer: Any) -> builtins.list[tuple[str, int]]:
    # RESP3 gives pairs, RESP2 and scripts a flat list.
    flat = [part for pair in answer for part in pair] if answer and isinstance(answer[0], (list, tuple)) else answer
    return [(message_id, int(float(seq))) for message_id, seq in zip(flat[::2], flat[1::2], strict=True)]


def open_store(settings: Settings) -> Store:
    """The store that the settings name; it connects at its first call.

    Raises:
        StoreRefused: what would answer is somebody else's.
    """
    require_own_socket(settings)
    return Store(settings.store_url, result_ttl=settings.result_ttl, lease=settings.lease)
