"""Too much at once: submits, retries, urgent messages, slow ones, a long queue."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest
from crowd import Answer, Crowd, Health, Memory, percentile
from servers import wait_until
from stage import OWN_KEY, MakeStage, Stage

from tq.limits import Limits
from tq.messages import MAX_PRIORITY, QUEUES
from tq.queueorder import reserved_slots
from tq.store import open_store
from tq.tokens import PRIORITY_STEPS, list_name

#: Seconds in which a message of priority 10 has to start.
AT_ONCE = 1.0

# -- 18: one idempotency key -------------------------------------------------------------------------


@pytest.mark.scenario(18, "one idempotency key, 50 submits at once", ci=("embedded",), weight=20)
def test_one_idempotency_key(stage: MakeStage) -> None:
    """One id for all, though the API dies among them; another body with the key is refused."""
    with stage() as s:
        kills = set(s.rng.sample(range(10), 3))
        refused = sum(asyncio.run(submit_at_once(s, number, kill=number in kills)) for number in range(10))
        s.wait_ended()
        calls = Counter(s.provider.contents())
        assert set(calls) == {entry.content for entry in s.ledger.entries.values()}
        assert set(calls.values()) == {1}, f"translated more than once: {calls}"
        s.note(keys=10, submits_of_each=50, api_killed=len(kills), conflicts=refused)


async def submit_at_once(s: Stage, number: int, *, kill: bool) -> int:
    """Submit with one key from 50 connections, a few with another body; returns how many were refused."""
    own = {"api_key": OWN_KEY} if s.rng.random() < 0.5 else {}
    priority = s.rng.randrange(MAX_PRIORITY)
    contents = [f"Text {number} of {who}" for who in ("one", "another")]
    others = s.rng.randrange(1, 26)
    chosen = [contents[index < others] for index in range(50)]
    s.rng.shuffle(chosen)
    headers = {"Idempotency-Key": f"key {number} {s.rng.random()}"}
    async with Crowd(s) as crowd:

        async def submit(content: str, priority: int = priority) -> Answer:
            body = {"content": content, "priority": priority} | own
            while True:
                answer = await crowd.post("/messages", body, headers)
                if answer.status not in {0, 503}:
                    return answer
                await asyncio.sleep(0.1)

        asked = [asyncio.create_task(submit(content)) for content in chosen]
        if kill:
            await asyncio.sleep(s.rng.uniform(0, 0.1))  # somewhere among them
            s.stack.service("api").kill()
        answers = await asyncio.gather(*asked)
        said = list(zip(chosen, answers, strict=True))
        accepted = {(content, answer.document["message_id"]) for content, answer in said if answer.status == 202}
        assert len(accepted) == 1, f"one key stands for {accepted}"
        ((won, message_id),) = accepted
        s.ledger.add(message_id, won, priority)
        lost = [answer for content, answer in said if content != won] + [await submit(won, priority + 1)]
        for answer in lost:
            assert answer.status == 409, answer
            assert answer.document["type"] == "urn:tq:problem:idempotency-conflict"
        assert (await submit(won)).document["message_id"] == message_id
    return len(lost)


# -- 20: retries -------------------------------------------------------------------------------------


@pytest.mark.scenario(20, "10,000 retries due at once", weight=200)
def test_retries_due_at_once(stage: MakeStage) -> None:
    """Worker and API stay small, and urgent messages start at once while they come due and run."""
    count = 10_000
    with stage(patience=400) as s:
        s.submit(500)
        s.wait_ended()
        # All of them less urgent: among equals the order is that of their turns.
        ids = [
            name for _ in range(20) for name in s.submit(count // 20, fault="503=3600x1", priority=s.rng.randrange(10))
        ]
        with s.broker.client() as client, Memory(s, "worker", "api") as memory:
            wait_until(lambda: client.zcard("tq:due") == count, lambda: f"{client.zcard('tq:due')} wait", 400)
            began = time.monotonic()
            client.zadd("tq:due", dict.fromkeys(ids, time.time() * 1000), xx=True)
            starts: list[float] = []
            pause = threading.Event()
            while client.zcard("tq:due") or client.zcard("tq:status:queued"):
                starts += starts_of(s, 1)
                pause.wait(s.rng.uniform(0, 0.5))  # a person's, or a program's
            drained = time.monotonic() - began
        assert len(starts) >= 20, f"only {len(starts)} urgent messages while they ran"
        s.note(urgent=len(starts), urgent_p95_s=percentile(starts, 0.95), urgent_max_s=max(starts), due_done_s=drained)
        s.note(**memory.figures())
        assert percentile(starts, 0.95) < AT_ONCE
        assert memory.growth("worker") < 100
        assert memory.growth("api") < 100


# -- 21, 22: floods ----------------------------------------------------------------------------------


@pytest.mark.scenario(21, "two minutes of priority 10, and priority 0 beneath", weight=140)
def test_flood_of_urgent(stage: MakeStage) -> None:
    """Priority 0 is served all the same, by ageing, while the flood lasts; but no more than 1 in 20 are of it."""
    seconds, share = 120, 1 / 20
    with stage(TQ_CONCURRENCY="20", TQ_MAX_WAIT="10") as s, s.broker.client() as client:
        s.provider.latency = 0.3
        s.submit(300, priority=10)
        began = time.monotonic()
        patient = s.submit(s.rng.randrange(30, 60), priority=0)
        least, served_after = 300, 0.0
        while (flooded := time.monotonic() - began) < seconds or (not served_after and flooded < 2 * seconds):
            waiting = client.zcard("tq:queued:10")
            least = min(least, waiting)
            if waiting < 200:
                s.submit(s.rng.randrange(50, 150), priority=10)
            if not served_after and not client.zcard("tq:queued:0"):
                served_after = time.monotonic() - began
        called = ids_of(s, s.provider.contents())
        served = set(called) & set(patient)
        # By how many they were ahead of their share at most, in the order of the calls.
        places = (index for index, name in enumerate(called, start=1) if name in served)
        ahead = max((number - share * place for number, place in enumerate(places, start=1)), default=0.0)
        s.note(flood=len(called), priority_0=len(patient), all_served_after_s=served_after, ahead_of_share=ahead)
        assert least > 0, "else it was no flood"
        assert len(served) == len(patient), f"{len(served)} of {len(patient)} were served"
        assert ahead <= 5


@pytest.mark.scenario(22, "slow default messages in all slots, then priority 10", ci=("redis",), weight=15)
def test_flood_of_slow(stage: MakeStage, rng: random.Random) -> None:
    """An urgent message starts within a second, however many slow ones run and wait."""
    slots = rng.choice([4, 20, 50, 200])
    with stage(TQ_CONCURRENCY=str(slots)) as s:
        warm_up(s)
        slow = []
        for _ in range(8):
            slow += s.submit(s.rng.randrange(slots // 4, slots), fault="hold", priority=s.rng.randrange(5))
        taken = slots - reserved_slots(slots)
        s.wait_running(taken)
        starts = [start for _ in range(20) for start in starts_of(s, 1)]
        starts += starts_of(s, 10)  # several share the slots that are kept for them
        assert s.count("running", slow) == taken, "the slow ones still hold their slots"
        s.note(slots=slots, slow=len(slow), urgent=len(starts), urgent_max_s=max(starts))
        assert max(starts) < AT_ONCE

        def ended() -> bool:
            s.provider.release()  # lets those go on that are held now
            return s.count("completed", slow) == len(slow)

        wait_until(ended, "the slow ones end", 60)


def warm_up(s: Stage) -> None:
    """The first call costs a worker the import of the SDK."""
    s.submit(20)
    s.wait_ended()


def starts_of(s: Stage, count: int) -> list[float]:
    """Seconds from the submit of messages of priority 10, all at once, until each runs by the store's clock."""
    asked = time.time()
    ids = s.submit(count, priority=10)
    wait_until(lambda: all(s.log.since(name, "running") for name in ids), "the urgent messages run", 60)
    return [(s.log.since(name, "running") or 0) - asked for name in ids]


# -- 23: a long queue --------------------------------------------------------------------------------

#: How many are queued, and how many of them are called for before the rest is cancelled; the same for CI.
LONG, LONG_IN_CI = (100_000, 8_000), (5_000, 2_000)
CANCELLED_AT_ONCE = 2000


@pytest.mark.scenario(23, "100,000 queued, then a worker", ci=("embedded",), weight=150)
def test_long_queue(stage: MakeStage, request: pytest.FixtureRequest) -> None:
    """The worker takes them strictly by priority, and needs no more memory than for a short queue."""
    slots = 20
    count, enough = LONG_IN_CI if request.config.getoption("--chaos-subset") else LONG
    # Ageing (scenario 21) would bring some forward that have waited for longer than this takes.
    with stage(TQ_MAX_QUEUED=str(2 * count), TQ_MAX_WAIT="1h", TQ_CONCURRENCY=str(slots)) as s:
        warm_up(s)
        worker = s.stack.service("worker")
        worker.suspend()
        began = time.monotonic()
        with Memory(s, "api") as submitting:
            ids = submit_long(s, count)
        submitted = time.monotonic() - began
        worker.kill()
        first = len(s.provider.calls)

        def called(count: int) -> None:
            wait_until(lambda: len(s.provider.calls) >= first + count, f"{count} calls", 600)

        called(1000)  # by now it has imported everything, and has all its slots in use
        began = time.monotonic()
        with Memory(s, "worker", "api") as memory:
            called(enough)
        rate = (enough - 1000) / (time.monotonic() - began)
        cancelled = cancel_the_rest(s, ids)
        overtaken = most_overtaken(s, ids_of(s, s.provider.contents()[first:]), ids)
        s.note(submits_per_s=count / submitted, calls_per_s=rate, cancelled=cancelled, overtaken=overtaken)
        s.note(**{f"submitting_{name}": figure for name, figure in submitting.figures().items()}, **memory.figures())
        assert overtaken <= slots + 1  # what is in flight, and what was given to the worker that is gone
        assert memory.growth("worker") < 30
        assert memory.growth("api") < 30
        assert submitting.growth("api") < 30


def submit_long(s: Stage, count: int) -> list[str]:
    """So many, most of priority 0, and the others among them of any."""
    ids: list[str] = []
    while len(ids) < count:
        ids += s.submit(s.rng.randrange(400, 500), priority=0)
        ids += s.submit(s.rng.randrange(25, 40))
    return ids


# -- 24: too many clients ----------------------------------------------------------------------------


@pytest.mark.scenario(24, "hundreds of clients who do not wait", ci=("redis",), weight=45)
def test_api_overload(stage: MakeStage, rng: random.Random) -> None:
    """Who cannot be served is told when to come again; nobody goes without an answer, and what is accepted ends."""
    connections, seconds = rng.randrange(200, 400), 15
    # At times there are a few more than the API takes: to those it only says so, but for /health.
    idle = rng.choice([0, Limits().connections + 20 - connections])
    with stage(TQ_MAX_QUEUED="1000", TQ_CONCURRENCY="50") as s:
        s.provider.latency = 0.2
        warm_up(s)
        with Memory(s, "api") as memory, silent(s, idle), Health(s) as health:
            answers, slowest = asyncio.run(overload(s, connections, time.monotonic() + seconds))
        s.note(connections=connections, idle=idle, answers=dict(sorted(answers.items())), slowest_answer_s=slowest)
        s.note(slowest_health_s=health.slowest, **memory.figures())
        assert set(answers) <= {202, 429, 503}, answers
        assert answers[429] + answers[503] > 100, "else it was no overload"
        assert not health.wrong, health.wrong
        assert health.slowest < 5
        assert memory.growth("api") < 100


@contextmanager
def silent(s: Stage, count: int) -> Iterator[None]:
    """So many connections on which nobody asks for anything."""
    url = urlsplit(s.stack.info.api_url)
    with ExitStack() as open_:
        for _ in range(count):
            open_.enter_context(socket.create_connection((url.hostname, url.port), timeout=30))
        yield


async def overload(s: Stage, connections: int, until: float) -> tuple[Counter[int], float]:
    """Submit without pause until then; how often each status was the answer, and seconds of the slowest."""
    answers: Counter[int] = Counter()
    slowest = 0.0
    async with Crowd(s) as crowd:

        async def insist() -> None:
            nonlocal slowest
            while time.monotonic() < until:
                # Some bring little, some a batch, some a long text.
                count = s.rng.choice([1, 1, 1, 1, 20])
                words = "x" * 50_000 if s.rng.random() < 0.02 else ""
                entries = [s.ledger.new(s.rng.randrange(11), words=words) for _ in range(count)]
                began = time.monotonic()
                try:
                    accepted = await crowd.submit(entries)
                except TimeoutError:
                    accepted = [0]
                slowest = max(slowest, time.monotonic() - began)
                answers.update(accepted)

        await asyncio.gather(*(insist() for _ in range(connections)))
    return answers, slowest


def ids_of(s: Stage, contents: list[str]) -> list[str]:
    """The messages that these texts are of."""
    names = {entry.content: name for name, entry in s.ledger.entries.items()}
    return [names[content] for content in contents]


def most_overtaken(s: Stage, called: list[str], ids: list[str]) -> int:
    """How many messages at most a less urgent one has overtaken: those called after it, or not at all."""
    later: Counter[int] = Counter(s.ledger.entries[name].priority for name in set(ids) - set(called))
    worst = 0
    for name in reversed(called):
        priority = s.ledger.entries[name].priority
        worst = max(worst, sum(later[higher] for higher in range(priority + 1, MAX_PRIORITY + 1)))
        later[priority] += 1
    return worst


def cancel_the_rest(s: Stage, ids: list[str]) -> int:
    """Cancel what has not ended, and take away the tokens of it; returns how many that were."""

    async def cancel() -> list[str]:
        store = open_store(s.settings())
        try:
            cancelled = []
            for first in range(0, len(ids), CANCELLED_AT_ONCE):
                part = ids[first : first + CANCELLED_AT_ONCE]
                answers = await asyncio.gather(*(store.cancel(name) for name in part))
                cancelled += [name for name, answer in zip(part, answers, strict=True) if answer == "ok"]
                # The stream of changes keeps the last 10,000.
                await asyncio.to_thread(wait_until, s.log.caught_up, "the change log has caught up")
            return cancelled
        finally:
            await store.aclose()

    cancelled = asyncio.run(cancel())
    s.ledger.expect(cancelled, "cancelled")
    with s.broker.client() as client:
        client.delete(*(list_name(queue, step) for queue in QUEUES for step in PRIORITY_STEPS))
    return len(cancelled)
