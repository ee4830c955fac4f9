"""What is spent, on a real server: per message, per account and day, budgets, and what was put off."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from servers import Valkey

from tq.backend import make_submission
from tq.errors import BudgetExceeded, InvalidMessage
from tq.figures import AccountSpend
from tq.messages import Message, Status
from tq.queue import TranslationQueue
from tq.settings import Settings
from tq.store import Store

#: Billionths of the currency.
CENT = 10**7
PRICES = json.dumps({"currency": "EUR", "priced": {"prompt": 1, "completion": 4}})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A real server of its own."""
    with Valkey(tmp_path_factory.mktemp("spending")) as valkey:
        yield valkey


@pytest.fixture
def raw(server: Valkey) -> Iterator[Any]:
    """A plain client on an empty server, to look at what the store has written."""
    client = redis.Redis(unix_socket_path=str(server.socket), decode_responses=True)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
async def store(server: Valkey, raw: Any) -> AsyncIterator[Store]:  # noqa: ARG001 - emptied first
    """The store on that server."""
    store = Store(server.url, result_ttl=60, lease=5)
    yield store
    await store.aclose()


async def submit(store: Store, message_id: str = "m", **changes: Any) -> tuple[str, str, int]:
    values: dict[str, Any] = {
        "fingerprint": "print",
        "idempotency": "",
        "priority": 0,
        "body": {"content": "Hello", "model_name": "m", "metadata": {"target_language": "fr"}},
        "languages": "→fr",
        "sealed": "",
        "max_queued": 1000,
    }
    outcome, known, now, *_ = await store.submit(message_id, **(values | changes))
    return outcome, known, now


async def epoch_of(store: Store, message_id: str = "m") -> int:
    """A claim of a message."""
    claim = await store.claim(message_id, f"w#{message_id}")
    assert claim is not None
    return claim.epoch


async def get(store: Store, message_id: str = "m") -> Message:
    message = await store.get(message_id)
    assert message is not None
    return message


async def spent_by(store: Store) -> dict[str, AccountSpend]:
    """Today's spending by account, that of all included."""
    spend = (await store.stats()).spend
    assert spend.day == datetime.now(UTC).date()
    return {each.account: each for each in (*spend.accounts, spend.total)}


async def test_nothing_is_spent_at_first(store: Store) -> None:
    """Nobody is listed, and the total is 0, which is known; the cost of a message that was not tried is not."""
    await submit(store)
    assert await spent_by(store) == {"total": AccountSpend(account="total")}
    message = await get(store)
    assert (message.cost, message.usage, message.cached) == (None, None, False)


async def test_failed_attempts_cost_too(store: Store) -> None:
    """Tokens and cost of a retried attempt and of the last one add up, on the message and on its account."""
    await submit(store)
    first = await epoch_of(store)
    assert await store.settle(
        "m", first, Status.RETRYING, fields={}, tokens=(10, 5), retried=True, cost=CENT, account="default"
    )
    assert (await spent_by(store))["default"].messages == 0
    assert (await store.reap({"type": "x", "message": "x", "retryable": False}))[0]
    second = await epoch_of(store)
    done = {"translation": "Bonjour", "detected": "en"}
    assert await store.settle(
        "m", second, Status.COMPLETED, fields=done, tokens=(20, 7), cost=2 * CENT, account="default"
    )
    message = await get(store)
    assert message.usage is not None
    assert (message.usage.prompt_tokens, message.usage.completion_tokens, message.cost) == (30, 12, 0.03)
    assert message.detected_language == "en"
    expected: dict[str, Any] = {
        "messages": 1,
        "prompt_tokens": 30,
        "completion_tokens": 12,
        "known_cost": 0.03,
        "cost": 0.03,
    }
    found = await spent_by(store)
    assert found == {name: AccountSpend(account=name, **expected) for name in ("default", "total")}


async def test_an_unknown_price_is_not_zero(store: Store) -> None:
    """One attempt without a price makes the cost of message and account unknown; what is known stays known."""
    for message_id, cost in (("a", None), ("b", CENT)):
        await submit(store, message_id)
        epoch = await epoch_of(store, message_id)
        await store.settle(
            message_id,
            epoch,
            Status.COMPLETED,
            fields={"translation": "x"},
            tokens=(8, 2),
            cost=cost,
            account="default",
        )
    assert (await get(store, "a")).cost is None
    assert (await get(store, "b")).cost == 0.01
    default = (await spent_by(store))["default"]
    assert (default.cost, default.known_cost, default.unpriced_tokens) == (None, 0.01, 10)


async def test_accounts_are_listed_by_their_tokens(store: Store, raw: Any) -> None:
    """Each pays for itself; all keys of a day go away by themselves, and hold no key that a message brought."""
    for number, account in enumerate(["aaaa", "default", "bbbb"]):
        await submit(store, account)
        epoch = await epoch_of(store, account)
        await store.settle(account, epoch, Status.FAILED, fields={}, tokens=(number, 1), cost=number, account=account)
    assert list(await spent_by(store)) == ["bbbb", "default", "aaaa", "total"]
    today = datetime.now(UTC).strftime("%Y%m%d")
    keys = {f"tq:spend:{name}:{today}" for name in ("aaaa", "bbbb", "default", "total")} | {f"tq:spenders:{today}"}
    assert {*raw.keys("tq:spend*")} == keys
    assert all(34 * 86_400 < raw.ttl(key) <= 35 * 86_400 for key in keys)


async def test_a_settle_sent_twice_is_booked_once(store: Store) -> None:
    """A lost answer is asked for again, and nobody pays twice; one that owns the message no more books nothing."""
    await submit(store)
    epoch = await epoch_of(store)
    for _ in range(2):
        assert await store.settle("m", epoch, Status.FAILED, fields={}, tokens=(3, 4), cost=CENT, account="default")
    assert not await store.settle("m", epoch + 1, Status.FAILED, fields={}, tokens=(9, 9), cost=CENT, account="default")
    assert (await get(store)).cost == 0.01
    assert (await spent_by(store))["default"].prompt_tokens == 3


async def test_what_a_message_cost_that_was_taken_away_is_booked_once(store: Store) -> None:
    """Cancelled, or given back by its lease: whoever had it books what it cost, once; not beside a later attempt."""
    cost: dict[str, Any] = {"tokens": (3, 4), "cost": CENT, "account": "default"}
    await submit(store)
    epoch = await epoch_of(store)
    await store.book("m", epoch, **cost)
    assert (await get(store)).cost is None, "it runs, and will settle"
    await store.cancel("m")
    for _ in range(2):
        assert not await store.settle("m", epoch, Status.COMPLETED, fields={"translation": "late"}, **cost)
        await store.book("m", epoch, **cost)
    message = await get(store)
    assert (message.status, message.translation, message.cost) == (Status.CANCELLED, None, 0.01)
    assert (await spent_by(store))["default"].prompt_tokens == 3
    assert await store.retry("m", "") == ("ok", 0, 0)
    await store.book("m", epoch, **cost)
    second = await epoch_of(store)
    await store.book("m", epoch, **cost)
    assert await store.settle("m", second, Status.FAILED, fields={}, **cost)
    await store.book("m", second, **cost)
    await store.book("nobody", 1, **cost)
    assert (await get(store)).cost == 0.02
    default = (await spent_by(store))["default"]
    assert (default.prompt_tokens, default.cost, default.messages) == (6, 0.02, 1)
    await submit(store, "other")
    first = await epoch_of(store, "other")
    await store.cancel("other")
    await store.retry("other", "")
    await epoch_of(store, "other")
    await store.cancel("other")
    await store.book("other", first, **cost)
    assert (await get(store, "other")).cost is None, "a later attempt has begun"


async def test_what_was_paid_stays_paid(store: Store) -> None:
    """A failed message that is tried again keeps its cost; where its translation came from is forgotten."""
    await submit(store)
    epoch = await epoch_of(store)
    fields = {"cached": "1", "detected": "en"}
    await store.settle("m", epoch, Status.FAILED, fields=fields, tokens=(3, 4), cost=CENT, account="default")
    assert await store.retry("m", "") == ("ok", 0, 0)
    message = await get(store)
    assert (message.cost, message.cached, message.detected_language) == (0.01, False, None)


async def test_putting_off_spends_nothing(store: Store) -> None:
    """A deferred message is retrying, without an error, an attempt or a retry; sent twice, once."""
    await submit(store)
    epoch = await epoch_of(store)
    for _ in range(2):
        assert await store.settle("m", epoch, Status.RETRYING, fields={}, delay=30, account="default", deferred=True)
    message = await get(store)
    assert (message.status, message.attempts, message.error) == (Status.RETRYING, 0, None)
    assert message.next_retry_at is not None
    assert message.next_retry_at > datetime.now(UTC) + timedelta(seconds=20)
    assert "default" not in await spent_by(store)


async def test_the_day_is_the_servers_and_in_the_calendar(raw: Any) -> None:
    """The scripts' dates are Python's, over leap years and centuries."""
    prelude = (files("tq") / "lua" / "prelude.lua").read_text()
    days = [date(1970, 1, 1) + timedelta(days=step) for step in range(0, 80_000, 13)]
    days += [
        date(year, month, day) for year in (2000, 2024, 2100) for month, day in ((2, 28), (3, 1), (12, 31), (1, 1))
    ]
    script = "local out = {} for i, ms in ipairs(ARGV) do out[i] = date_of(tonumber(ms)) end return out"
    midnights = [(day - date(1970, 1, 1)).days * 86_400_000 for day in days]
    found = raw.eval(f"{prelude}\n{script}", 1, "tq:", *midnights)
    assert found == [day.strftime("%Y%m%d") for day in days]
    last = raw.eval(f"{prelude}\n{script}", 1, "tq:", *(ms + 86_399_999 for ms in midnights))
    assert last == found


# -- budgets ---------------------------------------------------------------------------------------


async def test_a_spent_budget_stops_submits_of_that_account(store: Store, raw: Any) -> None:
    """Up to the budget all is accepted; then nothing of that account, and a repeated submit is still answered."""
    payer = ("default", CENT)
    assert (await submit(store, payer=payer))[0] == "new"
    epoch = await epoch_of(store)
    await store.settle("m", epoch, Status.FAILED, fields={}, tokens=(1, 0), cost=CENT - 1, account="default")
    assert (await submit(store, "just", payer=payer))[0] == "new"
    epoch = await epoch_of(store, "just")
    await store.settle("just", epoch, Status.FAILED, fields={}, tokens=(1, 0), cost=1, account="default")
    assert (await submit(store, "late", payer=payer))[:2] == ("budget", str(CENT))
    assert (await submit(store, "m", payer=payer))[0] == "same"
    assert (await submit(store, "other", payer=("beef", CENT)))[0] == "new"
    assert (await submit(store, "rich", payer=("default", 2 * CENT)))[0] == "new"
    assert (await submit(store, "free", payer=("default", 0)))[0] == "new"
    assert raw.exists("tq:message:late") == 0


@pytest.fixture
async def queue(server: Valkey, raw: Any, tmp_path: Path) -> AsyncIterator[TranslationQueue]:  # noqa: ARG001 - emptied first
    """A queue with prices and a budget of a cent."""
    settings = Settings(
        redis_url=SecretStr(server.url),
        data_dir=tmp_path,
        model="priced",
        prices=PRICES,
        budget_per_day=Decimal("0.01"),
    )
    queue = TranslationQueue(settings)
    yield queue
    await queue.aclose()


async def spend(queue: TranslationQueue, message: Message, cost: int, key: str | None = None) -> None:
    """Play the worker that spends so much on a message."""
    epoch = await epoch_of(queue.store, message.message_id)
    account = queue.account(key)
    await queue.store.settle(
        message.message_id, epoch, Status.FAILED, fields={}, tokens=(5, 5), cost=cost, account=account
    )


async def test_the_error_says_all(queue: TranslationQueue) -> None:
    """It names the budget, what was spent, and when there will be money again; another key has its own."""
    await spend(queue, await queue.submit(make_submission("a")), CENT + 10**5)
    with pytest.raises(BudgetExceeded) as caught:
        await queue.submit(make_submission("b"))
    error = caught.value
    assert "0.01 EUR per key and day" in error.why
    assert "0.0101 EUR are spent" in error.why
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    assert f"{tomorrow} 00:00 UTC" in error.fix
    own = make_submission("c", api_key="sk-canary-1")
    assert (await queue.submit(own)).status is Status.QUEUED
    stats = await queue.stats()
    assert (stats.spend.currency, stats.spend.budget, stats.spend.total.cost) == ("EUR", 0.01, 0.0101)


async def test_each_item_of_a_batch_is_refused_by_itself(queue: TranslationQueue) -> None:
    """A key whose budget is spent takes nobody else's messages with it."""
    await spend(queue, await queue.submit(make_submission("a", api_key="sk-1")), CENT, "sk-1")
    results = await queue.submit_many([make_submission("b", api_key="sk-1"), make_submission("b", api_key="sk-2")])
    assert isinstance(results[0], BudgetExceeded)
    assert isinstance(results[1], Message)


@pytest.mark.parametrize("fields", [{"model": "unheard-of"}, {"fallback_models": ["priced", "unheard-of"]}])
async def test_a_budget_needs_prices_of_all_models(queue: TranslationQueue, fields: Any) -> None:
    """What cannot be counted is refused, and the setting that mends it is named."""
    with pytest.raises(InvalidMessage) as caught:
        await queue.submit(make_submission("a", **fields))
    assert "unheard-of" in caught.value.what
    assert "TQ_PRICES" in caught.value.fix


async def test_accounts_do_not_tell_the_key(queue: TranslationQueue) -> None:
    """An account is a digest of 16 hex digits, the same for the same key; without a key it is the default one."""
    account = queue.account("sk-canary")
    assert account == queue.account("sk-canary") != queue.account("sk-other")
    assert len(account) == 16
    assert int(account, 16) >= 0
    assert queue.account(None) == queue.account("") == "default"


async def test_options_are_kept_with_the_message(queue: TranslationQueue, raw: Any) -> None:
    """What differs from the default comes back in every document; what does not costs no memory."""
    options: Any = {"cache": False, "fallback_models": ["priced"], "parameters": {"temperature": 0.5, "seed": 7}}
    first = await queue.submit(make_submission("a", message_id="a", **options))
    await queue.submit(make_submission("b", message_id="b"))
    for message in (first, await queue.get("a")):
        assert (message.cache, message.fallback_models, message.parameters) == tuple(options.values())
    plain = await queue.get("b")
    assert (plain.cache, plain.fallback_models, plain.parameters) == (True, [], {})
    assert set(json.loads(raw.hget("tq:message:b", "body"))) == {"content", "model_name", "metadata"}
