"""The rate limiter on a real Valkey: workers that share an account's limit, and a server that enforces it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from limited import LimitPolicy
from llm_server import LlmServer, control
from servers import Valkey, wait_until

from tq.errors import AttemptDeferred, QuotaExhausted
from tq.ratelimit import EXHAUSTED, PATIENCE, Account, Limiter, Permit
from tq.settings import Settings
from tq.store import Store

#: Nearly each of them counts what happens within a second or two.
pytestmark = pytest.mark.alone

ACCOUNT = Account("api.example.com", "0123456789abcdef", "m")
OTHER = Account("api.example.com", "fedcba9876543210", "m")
#: A fast limit, so that tests are short: 100 a second.
FAST = 6000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A real server of its own."""
    with Valkey(tmp_path_factory.mktemp("rate")) as valkey:
        yield valkey


@pytest.fixture
def raw(server: Valkey) -> Iterator[Any]:
    """A plain client on an empty server."""
    with server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
async def stores(server: Valkey, raw: Any) -> AsyncIterator[list[Store]]:  # noqa: ARG001 - emptied first
    """Two stores, as two workers have them."""
    both = [Store(server.url, result_ttl=60, lease=30) for _ in range(2)]
    yield both
    for store in both:
        await store.aclose()


def settings(**changes: Any) -> Settings:
    return Settings(**({"concurrency": 100} | changes))


@pytest.fixture
def limiter(stores: list[Store]) -> Limiter:
    """A worker's limiter, with nothing configured."""
    return Limiter(stores[0], settings())


def told(limit: int, remaining: int, reset: str = "1ms") -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": str(limit),
        "x-ratelimit-remaining-requests": str(remaining),
        "x-ratelimit-reset-requests": reset,
    }


async def until(predicate: Callable[[], bool], description: str, seconds: float) -> None:
    """``wait_until`` beside what runs on this loop."""
    await asyncio.to_thread(wait_until, predicate, description, seconds)


class Fleet:
    """Two workers with slots, and a queue from which they take the most urgent job; one that is put off comes back.

    Args:
        stores: of the workers.
        policies: what the server of each account enforces.
        options: settings of the workers.
        latency: seconds of a call.
    """

    def __init__(
        self,
        stores: list[Store],
        policies: dict[Account, LimitPolicy],
        options: Settings,
        latency: tuple[float, float] = (0.1, 0.3),
    ) -> None:
        self._limiters = [Limiter(store, options) for store in stores]
        self._slots = options.concurrency
        self._policies = policies
        self._latency = latency
        self._numbers = itertools.count()
        self._ready: list[tuple[int, int, Account]] = []
        self._due: list[tuple[float, tuple[int, int, Account]]] = []
        self.put_off: Counter[int] = Counter()
        self.done: dict[tuple[int, Account], list[float]] = {}
        self.began = 0.0
        self.over = False

    def add(self, count: int, account: Account = ACCOUNT, priority: int = 0) -> None:
        """Queue so many jobs."""
        for _ in range(count):
            heapq.heappush(self._ready, (-priority, next(self._numbers), account))

    async def run(self, most: float) -> float:
        """Work until all is done, or ``over`` is set, at most so many seconds; the seconds it took."""
        left = len(self._ready)
        self.began = time.monotonic()
        workers = [asyncio.create_task(self._work(limiter)) for limiter in self._limiters]
        try:
            await until(lambda: self.over or sum(map(len, self.done.values())) >= left, "all jobs are done", most)
            return time.monotonic() - self.began
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, limiter: Limiter) -> None:
        async with asyncio.TaskGroup() as running:
            busy: set[asyncio.Task[None]] = set()
            while True:
                while self._due and self._due[0][0] <= time.monotonic():
                    heapq.heappush(self._ready, heapq.heappop(self._due)[1])
                busy = {task for task in busy if not task.done()}
                if self._ready and len(busy) < self._slots:
                    busy.add(running.create_task(self._attempt(limiter, heapq.heappop(self._ready))))
                await asyncio.sleep(0.001)

    async def _attempt(self, limiter: Limiter, job: tuple[int, int, Account]) -> None:
        priority, number, account = job
        try:
            permit = await limiter.permit(account, 10, urgent=priority <= -5)
        except AttemptDeferred as error:
            self.put_off[number] += 1
            self._again(job, error.delay)
            return
        good, headers = self._policies[account].admit(time.monotonic(), 10)
        await asyncio.sleep(random.uniform(*self._latency) if good else 0.02)
        await limiter.learn(permit, headers)
        if good:
            self.done.setdefault((-priority, account), []).append(time.monotonic() - self.began)
        else:
            wait = float(headers["Retry-After"]) if "Retry-After" in headers else None
            await limiter.cool(permit, wait)
            self._again(job, wait or 0.5)

    def _again(self, job: tuple[int, int, Account], delay: float) -> None:
        # Retries are queued ten times a second.
        due = int((time.monotonic() + delay) * 10 + 1) / 10
        heapq.heappush(self._due, (due, job))


# -- accuracy --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "options", "ideal"),
    [
        pytest.param(LimitPolicy(FAST, burst=150), {}, 4.5, id="headers"),
        pytest.param(LimitPolicy(None, 10 * FAST), {}, 1.5, id="headers-of-tokens-with-room"),
        pytest.param(LimitPolicy(None, 10 * FAST, burst=None), {"rate_tokens": 10 * FAST}, 6.0, id="configured-tokens"),
        pytest.param(LimitPolicy(FAST, burst=150, headers=False), {"rate_requests": FAST}, 6.0, id="configured"),
        pytest.param(LimitPolicy(FAST, burst=150), {"rate_requests": FAST}, 6.0, id="both"),
        pytest.param(LimitPolicy(500, kind="window", period=5), {}, 6.0, id="window-told"),
    ],
)
async def test_the_limit_is_used_and_kept(
    stores: list[Store], policy: LimitPolicy, options: dict[str, Any], ideal: float
) -> None:
    """600 jobs of two workers end within 1.2 times the ideal time, with fewer than 1% of the calls answered 429."""
    fleet = Fleet(stores, {ACCOUNT: policy}, settings(**options))
    fleet.add(600)
    seconds = await fleet.run(30)
    assert seconds <= 1.2 * (ideal + 0.3) + 1.0, f"{seconds:.1f} s, ideal {ideal:g} s"
    assert policy.refused < 0.01 * policy.admitted
    # Each is put off about once, not again and again.
    assert sum(fleet.put_off.values()) <= 2 * 600


async def test_without_any_word_it_is_found_out(stores: list[Store]) -> None:
    """No configuration, no headers, not even Retry-After: one wave of refusals, then a rate near the server's."""
    policy = LimitPolicy(FAST, burst=100, headers=False, retry_after=False)
    fleet = Fleet(stores, {ACCOUNT: policy}, settings())
    fleet.add(400)
    seconds = await fleet.run(60)
    # At most what was in flight when the first refusal came, and a few for each later try.
    assert policy.refused <= 200 + 60
    assert seconds <= 25


async def test_an_unlimited_endpoint_costs_nothing(stores: list[Store], raw: Any) -> None:
    """Once one answer came, 2,000 calls go at once, with a look at the store a second and no more."""
    limiter = Limiter(stores[0], settings(concurrency=2000))
    await limiter.learn(await limiter.permit(ACCOUNT), {})
    before = raw.info("commandstats")["cmdstat_evalsha"]["calls"]
    began = time.monotonic()
    permits = await asyncio.gather(*(limiter.permit(ACCOUNT) for _ in range(2000)))
    assert len(permits) == 2000
    assert raw.info("commandstats")["cmdstat_evalsha"]["calls"] - before <= 1 + time.monotonic() - began
    # Busy elsewhere or not: a try with few calls and a line of those that are put off take longer.
    assert time.monotonic() - began < 5


async def test_an_unknown_endpoint_is_tried_with_a_few_calls(limiter: Limiter, stores: list[Store]) -> None:
    """Of 200 at once 5 go; the others when the first answer is there, also in another process."""
    tasks = [asyncio.create_task(limiter.permit(ACCOUNT)) for _ in range(200)]
    await asyncio.sleep(0.3)
    first = [task for task in tasks if task.done()]
    assert len(first) == 5
    await limiter.learn(first[0].result(), {})
    # Without the answer it takes them three seconds.
    async with asyncio.timeout(2):
        await asyncio.gather(*tasks)
    elsewhere = Limiter(stores[1], settings())
    async with asyncio.timeout(2):
        await asyncio.gather(*(elsewhere.permit(ACCOUNT) for _ in range(200)))


async def test_an_endpoint_that_is_slow_to_answer_the_first(limiter: Limiter) -> None:
    """Without an answer, twice as many each half second."""
    tasks = [asyncio.create_task(limiter.permit(ACCOUNT)) for _ in range(50)]
    began = time.monotonic()
    await asyncio.sleep(1.25)
    late = time.monotonic() - began - 1.25
    assert 20 <= sum(task.done() for task in tasks) <= 20 * 2 ** int(late / 0.5 + 0.6)
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks)


# -- order and fairness ----------------------------------------------------------------------------


async def test_an_urgent_one_goes_first(stores: list[Store]) -> None:
    """With a line of others waiting in place and put off, an urgent call goes with the next slot or the one after."""
    limiter = Limiter(stores[0], settings(rate_requests=600))
    others = [asyncio.create_task(limiter.permit(ACCOUNT)) for _ in range(60)]
    await asyncio.sleep(0.3)
    began = time.monotonic()
    await Limiter(stores[1], settings(rate_requests=600)).permit(ACCOUNT, urgent=True)
    # Those before it wait two seconds.
    assert time.monotonic() - began < 1
    done = await asyncio.gather(*others, return_exceptions=True)
    assert all(isinstance(one, Permit | AttemptDeferred) for one in done)


async def test_urgent_ones_come_before_the_rest_but_do_not_starve_it(stores: list[Store]) -> None:
    """200 urgent and 200 others at once: the urgent end first, and the others get a slot now and then."""
    policy = LimitPolicy(FAST, burst=200, headers=False)
    fleet = Fleet(stores, {ACCOUNT: policy}, settings(rate_requests=FAST))
    fleet.add(200)
    fleet.add(200, priority=9)
    await fleet.run(20)
    urgent, rest = sorted(fleet.done[9, ACCOUNT]), sorted(fleet.done[0, ACCOUNT])
    assert urgent[-1] < rest[-1] - 0.5
    assert urgent[100] < rest[100]
    assert rest[0] < urgent[-1] - 0.3
    assert policy.refused == 0


async def test_fair_between_keys(stores: list[Store]) -> None:
    """Ten jobs of one key pass by a thousand of another that came before; of these, each is put off about once."""
    policies = {ACCOUNT: LimitPolicy(600, headers=False), OTHER: LimitPolicy(600, headers=False)}
    fleet = Fleet(stores, policies, settings(rate_requests=600, concurrency=50))
    fleet.add(1000)
    fleet.add(10, OTHER)
    running = asyncio.create_task(fleet.run(60))
    await until(lambda: len(fleet.done.get((0, OTHER), [])) == 10, "the other key's jobs are done", 15)
    assert len(fleet.done[0, ACCOUNT]) < 250
    assert max(fleet.put_off.values()) <= 3
    fleet.over = True
    await running


async def test_who_is_put_off_is_spread(stores: list[Store]) -> None:
    """300 asks at once with 10 slots a second: each hears of a time of its own, up to the end of the line."""
    limiter = Limiter(stores[0], settings(rate_requests=600, concurrency=400))
    began = time.monotonic()
    answers = await asyncio.gather(*(limiter.permit(ACCOUNT) for _ in range(300)), return_exceptions=True)
    delays = sorted(answer.delay for answer in answers if isinstance(answer, AttemptDeferred))
    assert time.monotonic() - began < PATIENCE + 5
    assert 250 <= len(delays) <= 290
    # Somewhat denser than the slots: not all of them will come.
    assert 15 < delays[-1] < 30
    assert max(b - a for a, b in itertools.pairwise(delays)) < 2
    (state,) = await limiter.state()
    assert 10 < state.waiting < 30


async def test_nobody_is_put_off_for_hours(stores: list[Store]) -> None:
    """One request a minute, 200 asks: they come back within ten minutes, at different times."""
    limiter = Limiter(stores[0], settings(rate_requests=1))
    answers = await asyncio.gather(*(limiter.permit(ACCOUNT) for _ in range(200)), return_exceptions=True)
    delays = [answer.delay for answer in answers if isinstance(answer, AttemptDeferred)]
    assert len(delays) >= 198
    assert 540 < max(delays) <= 640
    assert len({round(delay) for delay in delays}) > 100


# -- refusals --------------------------------------------------------------------------------------


async def test_a_cool_down_is_everybodys(stores: list[Store]) -> None:
    """After a 429 both workers keep still until Retry-After, and do not all come at once then."""
    a, b = (Limiter(store, settings()) for store in stores)
    for limiter in (a, b):
        await limiter.learn(await limiter.permit(ACCOUNT), {})
    permit = await a.permit(ACCOUNT)
    await a.cool(permit, 1.5)
    began = time.monotonic()
    await asyncio.sleep(1.05)  # what the other one knew is a second old at most
    times: list[float] = []

    async def call(limiter: Limiter) -> None:
        await limiter.permit(ACCOUNT)
        times.append(time.monotonic() - began)

    await asyncio.gather(*(call(limiter) for limiter in (a, b) for _ in range(5)), return_exceptions=True)
    assert min(times) >= 1.5
    assert sum(moment < 1.7 for moment in times) <= 2
    (state,) = await a.state()
    assert state.refused == 1
    assert state.limits["requests"].source == "429"


async def test_a_wave_of_refusals_is_one_incident(limiter: Limiter, raw: Any) -> None:
    """Fifty calls that were under way together and refused together slow down once; a later one, again."""
    await limiter.learn(await limiter.permit(ACCOUNT), {})
    permits = [await limiter.permit(ACCOUNT) for _ in range(50)]
    for permit in permits:
        await limiter.cool(permit)
    (state,) = await limiter.state()
    assert (state.refused, 0.5 < state.cool_down <= 1) == (50, True)
    for doubled in (2, 4):
        await set_fields(raw, cool=time.time() - 0.1)
        later = Permit(ACCOUNT, time.monotonic(), -1, -1, (0, 0))
        await limiter.cool(later)
        (state,) = await limiter.state()
        assert doubled - 0.5 < state.cool_down <= doubled


async def set_fields(raw: Any, **fields: Any) -> None:
    """Set parts of the account's state, as if time had passed."""
    key = f"tq:limit:{ACCOUNT.digest}"
    raw.set(key, json.dumps(json.loads(raw.get(key)) | fields), keepttl=True)


@pytest.mark.parametrize("wait", [float("nan"), float("inf"), -1.0, 0.0, 1e300])
async def test_odd_waits(limiter: Limiter, wait: float) -> None:
    """A Retry-After that makes no sense counts as none; a day is the longest."""
    await limiter.cool(await limiter.permit(ACCOUNT), wait)
    (state,) = await limiter.state()
    assert 0.5 < state.cool_down <= (86_400 if wait > 1 else 1)


async def test_exhaustion_stops_and_one_finds_out(stores: list[Store], raw: Any) -> None:
    """Without quota nobody calls; after a minute one does, and with its answer all go on."""
    a, b = (Limiter(store, settings()) for store in stores)
    for limiter in (a, b):
        await limiter.learn(await limiter.permit(ACCOUNT), {})
    await a.exhaust(await a.permit(ACCOUNT))
    await asyncio.sleep(1.05)
    for limiter in (a, b):
        answers = await asyncio.gather(*(limiter.permit(ACCOUNT) for _ in range(20)), return_exceptions=True)
        assert all(isinstance(answer, QuotaExhausted) for answer in answers)
    assert 50 < (await a.state())[0].exhausted <= EXHAUSTED
    await set_fields(raw, exhausted=time.time() - 0.1)
    answers = await asyncio.gather(*(x.permit(ACCOUNT) for x in (a, b) for _ in range(10)), return_exceptions=True)
    probes = [answer for answer in answers if isinstance(answer, Permit)]
    assert len(probes) == 1
    assert sum(isinstance(answer, AttemptDeferred) for answer in answers) == 19
    await a.exhaust(probes[0])
    with pytest.raises(QuotaExhausted):
        await b.permit(ACCOUNT)
    await set_fields(raw, exhausted=time.time() - 0.1)
    probe = await b.permit(ACCOUNT)
    assert probe.probe
    await b.learn(probe, {})
    await asyncio.gather(*(x.permit(ACCOUNT) for x in (a, b) for _ in range(10)))


# -- what is learnt --------------------------------------------------------------------------------


async def test_what_is_configured_wins(stores: list[Store]) -> None:
    """Headers do not change a configured limit, but nothing left slows down all the same."""
    limiter = Limiter(stores[0], settings(rate_requests=600))
    await limiter.learn(await limiter.permit(ACCOUNT), told(60_000, 59_000))
    (state,) = await limiter.state()
    assert (state.limits["requests"].per_minute, state.limits["requests"].source) == (600, "settings")
    await asyncio.sleep(0.15)
    await limiter.learn(await limiter.permit(ACCOUNT), told(600, 0, "60s"))
    began = time.monotonic()
    await limiter.permit(ACCOUNT)
    assert time.monotonic() - began > 0.1


async def test_nothing_left_slows_down_before_the_429(limiter: Limiter, stores: list[Store]) -> None:
    """After ``remaining: 0`` of a limit of 10 a second, nobody calls in that moment, in no process."""
    await limiter.learn(await limiter.permit(ACCOUNT), told(600, 0, "60s"))
    began = time.monotonic()
    await Limiter(stores[1], settings()).permit(ACCOUNT)
    assert 0.05 < time.monotonic() - began < 2


@pytest.mark.parametrize("headers", [told(1, 0, "86400s"), told(600, 0, "3600s"), told(1, 0, "9999h")])
async def test_headers_alone_do_not_stop_for_ever(limiter: Limiter, raw: Any, headers: dict[str, str]) -> None:
    """Whatever they say, an account rests for a minute at most; then one call finds out."""
    await limiter.learn(await limiter.permit(ACCOUNT), headers)
    with pytest.raises(AttemptDeferred) as put_off:
        await limiter.permit(ACCOUNT)
    assert put_off.value.delay <= 61
    buckets = json.loads(raw.get(f"tq:limit:{ACCOUNT.digest}"))["buckets"]
    buckets["requests"]["ends"] = time.time() - 0.1
    await set_fields(raw, buckets=buckets)
    await limiter.permit(ACCOUNT)
    with pytest.raises(AttemptDeferred):
        await limiter.permit(ACCOUNT)


@pytest.mark.parametrize(
    "headers", [told(10**9, 0, "1d"), {"ratelimit": '"a";r=0;t=999999999'}, told(0, 0), told(5, 10**17)]
)
async def test_odd_headers_do_not_stop_at_all(limiter: Limiter, headers: dict[str, str]) -> None:
    """Limits that are none, or so large that they are back in a moment."""
    await limiter.learn(await limiter.permit(ACCOUNT), headers)
    await limiter.permit(ACCOUNT)


async def test_keys_and_their_end(limiter: Limiter, raw: Any) -> None:
    """Two keys, found without SCAN, no secret in them, gone an hour after the last use or the end of a cool-down."""
    await limiter.cool(await limiter.permit(ACCOUNT), 7200)
    await limiter.permit(OTHER)
    digests = {ACCOUNT.digest, OTHER.digest}
    assert set(raw.keys()) - {"tq:totals"} == {"tq:limits", *(f"tq:limit:{digest}" for digest in digests)}
    assert set(raw.zrange("tq:limits", 0, -1)) == digests
    assert 3600 < raw.ttl(f"tq:limit:{ACCOUNT.digest}") <= 3616
    assert 3500 < raw.ttl(f"tq:limit:{OTHER.digest}") <= 3601
    assert raw.ttl("tq:limits") <= 86_400 + 3600
    states = await limiter.state()
    assert [(state.key, state.sent) for state in states] == [("01234567", 1), ("fedcba98", 1)]
    assert 0 < states[0].cool_down <= 15
    assert len(await limiter.state(1)) == 1


async def test_the_default_key_is_always_shown(stores: list[Store], raw: Any) -> None:
    """However many accounts callers have used since, and although theirs are the busy ones; and no more are shown."""
    chosen = settings(model="m", fallback_models=["fallback"], openai_base_url="http://api.example.com/v1")
    limiter = Limiter(stores[0], chosen)
    for model in ("m", "fallback"):
        await limiter.permit(Account("api.example.com", "default", model))
    # They were used before all others.
    raw.zadd("tq:limits", {name: raw.zscore("tq:limits", name) - 60_000 for name in raw.zrange("tq:limits", 0, -1)})
    for number in range(300):
        await limiter.cool(await limiter.permit(Account("api.example.com", f"{number:016}", f"invented-{number}")), 15)
    states = await limiter.state()
    assert len(states) == 20
    assert {state.model for state in states if state.key == "default"} == {"m", "fallback"}
    assert [state.cool_down > 0 for state in states] == [True] * 18 + [False] * 2


async def test_calls_are_counted_by_what_may_be_told(stores: list[Store]) -> None:
    """By the model where it is known, by the default key or any other, whether or not the script was asked first."""
    limiter = Limiter(stores[0], settings(model="m"))
    for model, key in (("m", "default"), ("invented", "default"), ("m", "0123"), ("x", "4567"), ("y", "89ab")):
        permit = await limiter.permit(Account("h", key, model))
        await limiter.learn(permit, {})
        await limiter.permit(Account("h", key, model))
        await limiter.cool(permit, 0.001)
    found = (await stores[0].totals()).sent
    assert found == {
        ("h", "default", "m"): 2,
        ("h", "default", "other"): 2,
        ("h", "other", "m"): 2,
        ("h", "other", "other"): 4,
    }


class Twice(Store):
    """A store that loses each first answer, and asks again."""

    async def script(self, name: str, *args: str | float) -> Any:
        """What is answered the second time."""
        await super().script(name, *args)
        return await super().script(name, *args)


async def test_every_script_may_be_sent_twice(server: Valkey, raw: Any) -> None:
    """A permit asked for twice wastes a slot; a refusal told twice is one incident; the probe stays one."""
    store = Twice(server.url, result_ttl=60, lease=30)
    limiter = Limiter(store, settings(rate_requests=FAST))
    permits = await asyncio.gather(*(limiter.permit(ACCOUNT) for _ in range(40)))
    await limiter.learn(permits[0], told(FAST, FAST))
    await limiter.cool(permits[0])
    (state,) = await limiter.state()
    assert 0.5 < state.cool_down <= 1
    assert state.limits["requests"].per_minute >= 0.9 * FAST
    await limiter.exhaust(permits[0])
    await set_fields(raw, exhausted=time.time() - 0.1)
    with pytest.raises(AttemptDeferred):
        await limiter.permit(ACCOUNT)
    await store.aclose()


async def test_a_store_that_is_away_stops_nobody(server: Valkey, tmp_path: Path) -> None:
    """What cannot be asked does not forbid."""
    del server
    store = Store(f"unix://{tmp_path}/none.sock?db=0", result_ttl=60, lease=30)
    limiter = Limiter(store, settings(rate_requests=1))
    for _ in range(2):
        permit = await limiter.permit(ACCOUNT)
        await limiter.learn(permit, told(600, 0))
        await limiter.cool(permit, 5)
    await store.aclose()


# -- the stand-in server ---------------------------------------------------------------------------


def test_the_stand_in_enforces_a_limit() -> None:
    """Over HTTP, steered from outside: two calls, then 429 with Retry-After and headers, or without either."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    with LlmServer() as llm, httpx.Client(trust_env=False) as client:
        control(llm.base_url, limit={"requests": 600, "burst": 2})
        answers = [client.post(f"{llm.base_url}/chat/completions", json=body) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
        assert answers[2].headers["Retry-After"] == "1"
        assert control(llm.base_url)["refused"] == 1
        control(llm.base_url, limit={"requests": 1, "headers": False, "retry_after": False})
        answers = [client.post(f"{llm.base_url}/chat/completions", json=body) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 429]
        assert not [name for name in answers[1].headers if "ratelimit" in name or "retry" in name]
        control(llm.base_url, limit=None)
        assert client.post(f"{llm.base_url}/chat/completions", json=body).is_success
