"""What attempts cost is booked however they end, and a spent budget stops calls: a real store and endpoint."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from api_server import Api
from llm_faults import Call
from llm_server import LlmServer
from servers import Valkey, wait_until

from tq.attempts import Attempts
from tq.backend import make_submission
from tq.errors import AttemptCancelled, AttemptReleased, BudgetExceeded, MissingKey
from tq.listing import retry_failed
from tq.local import LocalClient
from tq.messages import Message, Status
from tq.queue import TranslationQueue
from tq.settings import Settings
from tq.spending import Purse

#: A prompt token costs a millionth, one of an answer four.
PRICES = json.dumps({"currency": "EUR", "priced": {"prompt": 1, "completion": 4}})
ERROR = json.dumps({"type": "truncated", "message": "x", "retryable": True})
#: The first answer of this part is empty, the second never comes, the third is good.
TROUBLE = (
    "Save this file here, and then open it again. @@fault:emptyx1@@@@fault:holdx1@@ If it cannot be opened, ask the "
    "person who made it for another copy, and keep that one in a place where nobody else can find or change it."
)
QUIET = (
    "Close the other file now, and then delete all of the copies that you have made of it. If one of them cannot be "
    "deleted, write down its name and the folder that it is in, so that somebody else can do so later on."
)

Perform = Callable[[TranslationQueue, str], "asyncio.Task[Any]"]
MakeQueue = Callable[..., TranslationQueue]


@pytest.fixture
async def make(valkey: Valkey, provider: LlmServer, tmp_path: Path) -> AsyncIterator[MakeQueue]:
    """Makes queues over this test's Valkey, whose attempts ask the stand-in, in parts of at most 100 tokens."""
    made: list[TranslationQueue] = []

    def make(**settings: Any) -> TranslationQueue:
        fields: dict[str, Any] = {
            "redis_url": valkey.url,
            "data_dir": tmp_path,
            "model": "priced",
            "prices": PRICES,
            "openai_base_url": provider.base_url,
            "lease": 1,
            "segment_tokens": 100,
            "segment_parallel": 1,
        }
        made.append(TranslationQueue(Settings(**(fields | settings))))
        return made[-1]

    yield make
    for queue in made:
        await queue.aclose()


@pytest.fixture
async def perform() -> AsyncIterator[Perform]:
    """Runs a message as a worker process of its own would, and stops that at the end."""
    running: list[tuple[Attempts, asyncio.Task[Any]]] = []

    def perform(queue: TranslationQueue, message_id: str) -> asyncio.Task[Any]:
        attempts = Attempts(queue, f"worker{len(running)}")
        running.append((attempts, asyncio.create_task(attempts.perform(message_id))))
        return running[-1][1]

    yield perform
    for attempts, task in running:
        await asyncio.wait({task}, timeout=10)
        await attempts.aclose()


async def put(queue: TranslationQueue, content: str, **options: Any) -> str:
    """Submit a message, into English: the stand-in says "Traduit" to an English text, which passes the checks."""
    return (await queue.submit(make_submission(content, **options))).message_id


def prompt_tokens(calls: list[Call]) -> int:
    """What the stand-in counts for them."""
    return sum((len(call.system) + len(call.content)) // 4 + 1 for call in calls)


async def check_booked(queue: TranslationQueue, message: Message, calls: list[Call], ended: int) -> None:
    """The message, its account and the day show what these calls cost, no token less or more."""
    assert message.usage is not None
    assert message.usage.prompt_tokens == prompt_tokens(calls)
    assert message.usage.completion_tokens >= len(calls)
    cost = (message.usage.prompt_tokens + 4 * message.usage.completion_tokens) / 10**6
    assert message.cost == pytest.approx(cost, abs=1e-12)
    spend = (await queue.stats()).spend
    for each in (spend.total, *spend.accounts):
        assert (each.prompt_tokens, each.completion_tokens, each.messages) == (
            message.usage.prompt_tokens,
            message.usage.completion_tokens,
            ended,
        )
        assert each.cost == pytest.approx(cost, abs=1e-12)
    assert len(spend.accounts) == 1


async def until_held(provider: LlmServer) -> None:
    await asyncio.to_thread(wait_until, lambda: provider.held == 1, "the second call is under way")


# -- bills -----------------------------------------------------------------------------------------


async def test_what_a_cancelled_attempt_paid_is_booked(make: MakeQueue, perform: Perform, provider: LlmServer) -> None:
    """Of two calls the first was answered, and rejected, when the message is cancelled during the second."""
    queue = make()
    message_id = await put(queue, f"{TROUBLE}\n\n{QUIET}")
    task = perform(queue, message_id)
    await until_held(provider)
    assert (await queue.get(message_id)).usage is None
    await queue.cancel(message_id)
    settled = await asyncio.wait_for(task, 20)
    assert (settled.status, type(settled.error)) == (None, AttemptCancelled)
    message = await queue.get(message_id)
    assert message.status is Status.CANCELLED
    assert len(provider.calls) == 2
    await check_booked(queue, message, provider.calls[:1], ended=0)


async def test_what_a_drained_attempt_paid_is_booked(make: MakeQueue, perform: Perform, provider: LlmServer) -> None:
    """It is booked when the message is put back; after the second attempt the total is exact."""
    queue = make()
    message_id = await put(queue, f"{TROUBLE}\n\n{QUIET}")
    task = perform(queue, message_id)
    await until_held(provider)
    task.cancel()
    settled = await task
    assert (settled.status, type(settled.error)) == (None, AttemptReleased)
    message = await queue.get(message_id)
    assert message.status is Status.QUEUED
    await check_booked(queue, message, provider.calls[:1], ended=0)
    assert (await perform(queue, message_id)).status is Status.COMPLETED
    message = await queue.get(message_id)
    assert len(provider.calls) == 4
    await check_booked(queue, message, [provider.calls[0], *provider.calls[2:]], ended=1)


async def test_what_an_attempt_paid_before_it_was_put_off_is_booked(
    make: MakeQueue, perform: Perform, provider: LlmServer
) -> None:
    """A limit stops the correction of an answer that was paid."""
    queue = make(rate_requests=1)
    message_id = await put(queue, f"{TROUBLE}\n\n{QUIET}")
    settled = await perform(queue, message_id)
    assert (settled.status, settled.error.type) == (Status.RETRYING, "attempt-deferred")
    message = await queue.get(message_id)
    assert (message.attempts, len(provider.calls)) == (0, 1)
    await check_booked(queue, message, provider.calls, ended=0)


# -- budgets ---------------------------------------------------------------------------------------


async def spend_all(queue: TranslationQueue, key: str | None = None) -> str:
    """A message that fails, and costs the budget of the day."""
    message_id = await put(queue, "Costly", api_key=key)
    claim = await queue.store.claim(message_id, "w#1")
    assert claim is not None
    assert await queue.store.settle(
        message_id,
        claim.epoch,
        Status.FAILED,
        fields={"error": ERROR},
        tokens=(1, 0),
        cost=queue.budget.nano,
        account=queue.account(key),
    )
    return message_id


def next_day(valkey: Valkey) -> None:
    """Nobody has spent anything today."""
    with valkey.client() as client:
        client.delete(*client.keys("tq:spend*"))


async def test_retries_are_refused(make: MakeQueue, valkey: Valkey) -> None:
    """A spent budget refuses them as it does submits, per key; nothing changes, and the next day they go on."""
    queue = make(budget_per_day=Decimal("0.01"))
    failed = await spend_all(queue)
    with pytest.raises(BudgetExceeded, match="budget of today") as caught:
        await queue.retry(failed)
    assert "0.01 EUR are spent" in caught.value.why
    message = await queue.get(failed)
    assert message.status is Status.FAILED
    assert message.error is not None
    assert (await queue.retry(failed, "sk-own")).status is Status.QUEUED
    own = await spend_all(queue, "sk-1")
    with pytest.raises(MissingKey):
        await queue.retry(own)
    with pytest.raises(BudgetExceeded):
        await queue.retry(own, "sk-1")
    next_day(valkey)
    assert (await queue.retry(own, "sk-1")).status is Status.QUEUED


async def test_what_is_queued_is_not_sent(
    make: MakeQueue, perform: Perform, provider: LlmServer, valkey: Valkey
) -> None:
    """It fails at once, as with a provider's quota, and can be tried again when there is money; others go on."""
    queue = make(budget_per_day=Decimal("0.01"))
    waiting, other = await put(queue, "Save the file"), await put(queue, "Open the file", api_key="sk-1")
    await spend_all(queue)
    settled = await perform(queue, waiting)
    assert (settled.status, type(settled.error)) == (Status.FAILED, BudgetExceeded)
    message = await queue.get(waiting)
    assert message.error is not None
    assert (message.error.type, message.error.retryable, message.usage) == ("budget-exceeded", False, None)
    assert provider.calls == []
    assert (await perform(queue, other)).status is Status.COMPLETED
    next_day(valkey)
    await queue.retry(waiting)
    assert (await perform(queue, waiting)).status is Status.COMPLETED
    assert (await queue.get(waiting)).error is None


async def test_what_is_known_costs_nothing(make: MakeQueue, perform: Perform, provider: LlmServer) -> None:
    """The translation memory answers without a budget."""
    queue = make(budget_per_day=Decimal("0.01"))
    first, second = await put(queue, "Save the file"), await put(queue, "Save the file")
    assert (await perform(queue, first)).status is Status.COMPLETED
    await spend_all(queue)
    assert (await perform(queue, second)).status is Status.COMPLETED
    assert (await queue.get(second)).cached
    assert len(provider.calls) == 1


async def test_long_texts_stop_in_the_middle(
    make: MakeQueue, perform: Perform, provider: LlmServer, valkey: Valkey
) -> None:
    """The parts that were paid are kept, and the next day only the others are asked for."""
    queue = make(budget_per_day=Decimal("0.000001"))
    provider.latency = 1.2
    message_id = await put(queue, "\n\n".join(QUIET.replace("other", each) for each in ("first", "second", "last")))
    assert (await perform(queue, message_id)).status is Status.FAILED
    message = await queue.get(message_id)
    assert message.error is not None
    assert (message.error.type, len(provider.calls)) == ("budget-exceeded", 1)
    assert message.usage is not None
    next_day(valkey)
    await queue.retry(message_id)
    provider.latency = 0
    assert (await perform(make(), message_id)).status is Status.COMPLETED
    assert len(provider.calls) == len(set(provider.contents())) > 1


async def test_one_look_a_second(make: MakeQueue, valkey: Valkey) -> None:
    """A process asks the store once for calls that follow each other, and never without a budget."""
    rich, free = make(budget_per_day=Decimal(1)), make()
    for queue, most in ((free, 0), (rich, 2)):  # a script that the server does not know yet is sent twice
        purse = Purse(queue.store, queue.settings)
        await queue.store.ping()
        with valkey.client() as client:
            client.config_resetstat()
            for _ in range(50):
                await purse.require("default")
            stats = client.info("commandstats")
        looks = sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))
        assert looks <= most
        assert bool(looks) == bool(most)


async def test_retry_all_stops(make: MakeQueue, capsys: pytest.CaptureFixture[str]) -> None:
    """`tq retry --failed` says once that the budget is spent, not for each message."""
    queue = make(budget_per_day=Decimal("0.01"))
    failed = [await put(queue, f"Save the file {n}") for n in range(3)]
    for message_id in failed:
        claim = await queue.store.claim(message_id, "w#1")
        assert claim is not None
        await queue.store.settle(message_id, claim.epoch, Status.FAILED, fields={"error": ERROR})
    await spend_all(queue)

    def run() -> int:
        with LocalClient(queue.settings) as client:
            return retry_failed(client, None)

    assert await asyncio.to_thread(run) == BudgetExceeded.exit_code
    captured = capsys.readouterr()
    assert captured.err.count("the budget of today is spent") == 1
    assert "0 messages queued again" in captured.out
    assert {(await queue.get(each)).status for each in failed} == {Status.FAILED}


async def test_http_says_402(make: MakeQueue, environment: dict[str, str], tmp_path: Path) -> None:
    """POST …/retry answers the same problem as a submit."""
    queue = make(budget_per_day=Decimal("0.01"))
    failed = await spend_all(queue)

    def ask() -> list[tuple[int, str]]:
        settings = {"TQ_PRICES": PRICES, "TQ_BUDGET_PER_DAY": "0.01", "TQ_MODEL": "priced", "TQ_PROVIDER": "pseudo"}
        with Api(tmp_path, environment | settings) as api, api.client() as http:
            answers = [http.post(f"/messages/{failed}/retry"), http.post("/messages", json={"content": "Hello"})]
            return [(answer.status_code, answer.json()["type"]) for answer in answers]

    first, second = await asyncio.to_thread(ask)
    assert first == second
    assert first[0] == 402
    assert first[1].endswith("budget-exceeded")
