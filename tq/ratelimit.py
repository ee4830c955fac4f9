"""The rate limits of providers, shared by all workers: who may call now, who waits here, who comes back later.

An account (endpoint, key, model) has its state in the store, changed by ``lua/rate.lua`` on the server's
clock: buckets of requests and tokens, filled as the settings, the provider's headers or its refusals say.
An account without a limit costs one look at the store a second and process, and nothing a call.

The limiter never fails a call: when the store cannot be asked, the call goes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

from tq.errors import AttemptDeferred, QuotaExhausted, TqError
from tq.figures import DEFAULT_ACCOUNT
from tq.known import KnownModels
from tq.rateheaders import Dimension, quotas
from tq.settings import Settings
from tq.store import Store
from tq.tallies import OTHER

logger = logging.getLogger(__name__)

#: Seconds that a call waits in place for its turn; one that would wait longer is put off.
PATIENCE: Final = 2.0
#: Seconds more that it stays when others went before it.
_OVERTIME: Final = 1.0
#: Seconds for which it is believed that an account has no limit.
_BELIEVED: Final = 1.0
#: Calls that go at once to an endpoint of which nothing is known, and seconds in which they become twice as many
#: until an answer comes: it may tell a limit.
_FIRST_BURST: Final = 5
_DOUBLED_IN: Final = 0.5
#: Seconds between two answers of an account whose headers are passed on.
_NEWS: Final = 0.1
#: Seconds without calls after an account turned out to have no quota.
EXHAUSTED: Final = 60.0
#: Seconds that an account keeps still at most when it was told how long.
_LONGEST_COOL: Final = 15.0
#: One slot of this process in so many may wait in place: for all accounts, and for one.
_WAITING_SHARE: Final = 4
_WAITING_SHARE_OF_ONE: Final = 8
#: Characters of a host and a model that are shown.
_MOST_LETTERS: Final = 200
#: Models of the settings whose accounts are always shown.
_MOST_KNOWN: Final = 50
#: Accounts that a process remembers.
_MOST_ACCOUNTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Account:
    """Whose limit it is.

    Attributes:
        host: of the endpoint.
        key: a digest of the key, never the key.
        model: as the endpoint knows it.
    """

    host: str
    key: str
    model: str

    @property
    def digest(self) -> str:
        """The account in a Redis key."""
        return hashlib.sha256(f"{self.host}\0{self.key}\0{self.model}".encode("utf-8", "surrogatepass")).hexdigest()[
            :24
        ]

    @property
    def label(self) -> str:
        """The account as people may see it, in JSON."""
        return json.dumps([self.host[:_MOST_LETTERS], self.key[:8], self.model[:_MOST_LETTERS]])


@dataclass(frozen=True, slots=True)
class Permit:
    """One call that may be sent now: what is learnt from its answer is told with it.

    Attributes:
        account: whose.
        at: when, monotonic seconds of this process.
        sent: how many calls of the account all workers had let go by then; -1 = unknown.
        charged: their tokens.
        here: calls and tokens of the account that this process had let go.
        probe: whether it finds out if there is quota again.
    """

    account: Account
    at: float
    sent: int
    charged: int
    here: tuple[int, int]
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit a minute as it is applied now, and who said so: ``settings``, ``headers`` or ``429``."""

    per_minute: int
    source: str


@dataclass(frozen=True, slots=True)
class RateState:
    """What ``tq stats`` shows of an account.

    Attributes:
        host: of the endpoint.
        key: the first letters of its key's digest.
        model: as the endpoint knows it.
        limits: of requests and tokens, those that are known.
        cool_down: seconds that all keep still after a refusal; 0 = they do not.
        exhausted: seconds until it is tried whether there is quota again; 0 = there is.
        waiting: seconds until the last of those put off has its turn, about.
        sent: calls let go.
        refused: answers 429 among them.
    """

    host: str
    key: str
    model: str
    limits: Mapping[Dimension, Limit]
    cool_down: float
    exhausted: float
    waiting: float
    sent: int
    refused: int


@dataclass(slots=True)
class _Local:
    """What this process knows of an account; times are monotonic."""

    limited: bool = False
    free_until: float = 0.0
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    began: float | None = None
    started: int = 0
    sent: int = 0
    charged: int = 0
    unreported: int = 0
    waiting: int = 0
    news: float = 0.0
    look: asyncio.Task[bool] | None = None
    #: What its calls are counted as: bounded, whatever callers name.
    counted: str = ""

    def may_start(self) -> bool:
        """Whether one more call, which is counted, is not yet too many for an endpoint that has never answered."""
        now = time.monotonic()
        if self.began is None:
            self.began = now
        if self.started >= _FIRST_BURST << int(min((now - self.began) / _DOUBLED_IN, 30.0)):
            return False
        self.started += 1
        return True


class Limiter:
    """The limits of all accounts for one process; belongs to the loop of its store.

    Args:
        store: where all workers meet.
        settings: ``rate_requests`` and ``rate_tokens`` (a minute) win over what is learnt.
        known: the models of the settings.
    """

    def __init__(self, store: Store, settings: Settings, known: KnownModels | None = None) -> None:
        self._store = store
        self._host = settings.provider_host
        self._known = known or KnownModels(settings)
        self._configured = (settings.rate_requests or 0, settings.rate_tokens or 0)
        self._most_waiting = max(1, settings.concurrency // _WAITING_SHARE)
        self._most_of_one = max(1, settings.concurrency // _WAITING_SHARE_OF_ONE)
        self._waiting = 0
        self._accounts: OrderedDict[Account, _Local] = OrderedDict()

    # -- before a call -----------------------------------------------------------------------------

    async def permit(self, account: Account, tokens: int = 0, *, urgent: bool = False) -> Permit:
        """Return when one call of about so many tokens may be sent; waits for it ``PATIENCE`` or little more.

        Args:
            account: whose limits apply.
            tokens: of request and answer, estimated.
            urgent: goes before all that are not.

        Raises:
            AttemptDeferred: its turn comes later; ``delay`` says when to ask again.
            QuotaExhausted: the account was found empty less than ``EXHAUSTED`` seconds ago.
        """
        local = self._local(account)
        while not (local.limited or local.answered.is_set() or urgent or local.may_start()):
            await _wait(local.answered, 0.1)
        known = not local.limited and local.answered.is_set()
        if known and (time.monotonic() < local.free_until or await self._look(account, local)):
            local.unreported += 1
            return self._let_go(account, local, tokens)
        return await self._in_line(account, local, tokens, urgent)

    async def _in_line(self, account: Account, local: _Local, tokens: int, urgent: bool) -> Permit:  # noqa: FBT001 - private
        room = urgent or (local.waiting < self._most_of_one and self._waiting < self._most_waiting)
        patience = PATIENCE if room else 0.0
        deadline = time.monotonic() + PATIENCE + _OVERTIME
        again = False
        local.waiting += 1
        self._waiting += 1
        try:
            while True:
                verdict, *values = await self._call(account, "ask", tokens, int(urgent), int(again), patience) or [""]
                if verdict != "wait":
                    return self._decide(account, local, tokens, verdict, values)
                again = time.monotonic() + float(values[0]) < deadline
                if again:
                    await asyncio.sleep(float(values[0]))
                else:
                    patience = 0.0
        finally:
            local.waiting -= 1
            self._waiting -= 1

    def _decide(self, account: Account, local: _Local, tokens: int, verdict: str, values: list[Any]) -> Permit:
        if verdict == "later":
            delay = float(values[0])
            raise AttemptDeferred(
                "the provider's rate limit leaves no room yet",
                why=f"its turn comes in about {delay:.1f} s",
                delay=delay,
            )
        if verdict == "exhausted":
            raise QuotaExhausted(
                "the provider account has no quota left",
                why=f"it said so a moment ago, and is asked again in {float(values[0]):.0f} s",
                fix="top it up or raise its limit, then retry the message",
            )
        if verdict == "go":
            return self._let_go(account, local, tokens, (int(values[1]), int(values[2])), probe=values[0] == 1)
        local.limited = False
        local.free_until = time.monotonic() + _BELIEVED
        if verdict != "free":  # the store could not be asked
            return self._let_go(account, local, tokens)
        if values[0] == 1:
            local.answered.set()
        return self._let_go(account, local, tokens, (int(values[1]), int(values[2])))

    def _let_go(
        self, account: Account, local: _Local, tokens: int, fleet: tuple[int, int] = (-1, -1), *, probe: bool = False
    ) -> Permit:
        local.sent += 1
        local.charged += tokens
        return Permit(account, time.monotonic(), *fleet, (local.sent, local.charged), probe)

    # -- after it ----------------------------------------------------------------------------------

    async def learn(self, permit: Permit, headers: Mapping[str, str]) -> None:
        """Take note of an answer of any kind and of its rate-limit headers (there may be none)."""
        local = self._local(permit.account)
        if not local.answered.is_set():
            local.answered.set()
            local.free_until = 0.0  # the next one tells the others
        if permit.probe:
            await self._call(permit.account, "revive")
        now = time.monotonic()
        # In between, what was let go and what the buckets gain is known well enough.
        if now - local.news < _NEWS or not (told := quotas(headers, time.time())):
            return
        local.news = now
        later = (local.sent - permit.here[0], local.charged - permit.here[1])
        flat = [
            part
            for name, quota in told.items()
            for part in (
                name,
                quota.limit,
                quota.remaining,
                quota.period,
                -1 if quota.reset is None else quota.reset,
                quota.kind,
            )
        ]
        local.limited = True
        await self._call(permit.account, "learn", permit.sent, permit.charged, *later, now - permit.at, *flat)

    async def cool(self, permit: Permit, seconds: float | None = None) -> None:
        """After a 429: nobody calls for ``seconds`` (Retry-After); without, for 1 s, then 2 s, 4 s …, at most 60 s.

        Nor for longer than ``_LONGEST_COOL``: the message that was refused waits as long as it was told, but whether
        the rest of the account must too, a few calls find out.
        """
        local = self._local(permit.account)
        local.limited = True
        local.answered.set()
        wait = min(seconds, _LONGEST_COOL) if seconds is not None and 0 < seconds < inf else -1.0
        await self._call(permit.account, "cool", wait, time.monotonic() - permit.at)

    async def exhaust(self, permit: Permit) -> None:
        """After ``QuotaExhausted``: nobody calls for ``EXHAUSTED`` seconds; then one does and finds out for all."""
        local = self._local(permit.account)
        local.limited = True
        local.answered.set()
        await self._call(permit.account, "exhaust", EXHAUSTED)

    # -- what people look at -----------------------------------------------------------------------

    async def state(self, most: int = 20) -> list[RateState]:
        """The accounts used in the last hour, at most so many, those first that are slowed down or stopped.

        Those of the default key are always among them, as far as their models are known: others come and go as callers
        like.

        Raises:
            Unreachable, StoreRefused, StoreFull: as all methods of the store.
        """
        ours = [Account(self._host, DEFAULT_ACCOUNT, model).digest for model in self._known.names[:_MOST_KNOWN]]
        return [_as_state(entry) for entry in json.loads(await self._store.script("rate_state", most, *ours))]

    # -- the store ---------------------------------------------------------------------------------

    def _local(self, account: Account) -> _Local:
        local = self._accounts.get(account)
        if local is None:
            key = DEFAULT_ACCOUNT if account.key == DEFAULT_ACCOUNT else OTHER
            counted = json.dumps([account.host[:_MOST_LETTERS], key, self._known.label(account.model)[:_MOST_LETTERS]])
            local = self._accounts[account] = _Local(limited=self._configured != (0, 0), counted=counted)
            if len(self._accounts) > _MOST_ACCOUNTS:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(account)
        return local

    async def _look(self, account: Account, local: _Local) -> bool:
        """Whether no limit is known; all who want to know at the same time ask once."""
        if local.look is None or local.look.done():
            local.look = asyncio.create_task(self._look_now(account, local))
        return await asyncio.shield(local.look)

    async def _look_now(self, account: Account, local: _Local) -> bool:
        verdict, *values = await self._call(account, "look", int(local.answered.is_set())) or ["free", 0]
        local.limited = verdict != "free"
        local.free_until = time.monotonic() + _BELIEVED
        if values == [1]:
            local.answered.set()
        return not local.limited

    async def _call(self, account: Account, verb: str, *arguments: str | float) -> Any:
        """What the script answers; None when the store cannot be asked."""
        local = self._local(account)
        unreported, local.unreported = local.unreported, 0
        common = (account.digest, account.label, *self._configured, unreported, local.counted)
        try:
            return await self._store.script("rate", *common, verb, *arguments)
        except TqError as error:
            logger.debug("no word on the rate limit: %s", error)
            return None


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


def _as_state(entry: Mapping[str, Any]) -> RateState:
    host, key, model = entry["label"]
    limits = {name: Limit(*limit) for name, limit in sorted(entry["limits"].items())}
    return RateState(
        host,
        key,
        model,
        limits,
        cool_down=entry["cool"],
        exhausted=entry["exhausted"],
        waiting=entry["waiting"],
        sent=entry["sent"],
        refused=entry["refused"],
    )
