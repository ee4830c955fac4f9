"""Accounts take turns within a priority: who is called to the front, and who is not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from servers import Valkey

from tq.messages import DEFAULT, Status
from tq.publisher import Publisher
from tq.records import Token
from tq.settings import Settings
from tq.store import Store
from tq.tokens import list_name, priority_step

POISONED: Any = {"type": "poison", "message": "died", "retryable": False}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A real server of its own."""
    with Valkey(tmp_path_factory.mktemp("v")) as valkey:
        yield valkey


@pytest.fixture
def raw(server: Valkey) -> Iterator[Any]:
    """A plain client on an empty server."""
    client = redis.Redis(unix_socket_path=str(server.socket), decode_responses=True)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
async def store(server: Valkey, raw: Any) -> AsyncIterator[Store]:  # noqa: ARG001 - emptied first
    """The store on that server."""
    store = Store(server.url, result_ttl=60, lease=60)
    yield store
    await store.aclose()


async def submit(store: Store, *names: str, priority: int = 0) -> None:
    """Submit; the first letter of a message is its account."""
    for name in names:
        outcome, *_ = await store.submit(
            name,
            fingerprint="print",
            idempotency="",
            priority=priority,
            body={"content": "Hello", "model_name": "m", "metadata": {"target_language": "fr"}},
            languages="→fr",
            sealed="",
            max_queued=1000,
            payer=(name[0], 0),
        )
        assert outcome == "new"


async def claims(store: Store, *names: str) -> list[str]:
    """Whom each claim calls to the front."""
    found = [await store.claim(name, f"w#{name}") for name in names]
    assert None not in found
    return [claim.calls for claim in found if claim is not None]


async def test_who_came_last_is_called(store: Store) -> None:
    """Behind another's long line, messages are called one by one, in their order, for every other claim at most."""
    await submit(store, *(f"a{n}" for n in range(20)))
    await claims(store, "a0", "a1")
    await submit(store, "b0", "b1", "b2")
    called = await claims(store, *(f"a{n}" for n in range(2, 12)))
    assert [name for name in called if name] == ["b0", "b1", "b2"]
    assert all(not (first and second) for first, second in pairwise(called))
    assert called.index("b2") <= 6


async def test_whoever_was_called_calls_nobody(store: Store) -> None:
    """A message out of its turn gives none away, so that the usual order keeps every other slot."""
    await submit(store, "a0", "a1", "a2", "b0", "b1", "c0", "c1")
    assert (await claims(store, "a0", "a1"))[1] == "b0"
    assert await claims(store, "b0") == [""]


async def test_nobody_is_called_without_need(store: Store) -> None:
    """One account alone, and accounts that come by turns, get no extra tokens."""
    await submit(store, *(f"a{n}" for n in range(10)))
    assert set(await claims(store, *(f"a{n}" for n in range(10)))) == {""}
    mixed = [f"{account}{n}" for n in range(10, 20) for account in "ab"]
    await submit(store, *mixed)
    assert set(await claims(store, *mixed)) == {""}


async def test_who_comes_and_goes_does_not_starve_those_who_stay(store: Store) -> None:
    """With ever new messages of small accounts behind it, a long line still gets every other claim."""
    line = [f"a{n}" for n in range(100)]
    await submit(store, *line)
    front: list[str] = []
    served = []
    for turn in range(100):
        await submit(store, f"{'bcd'[turn % 3]}{turn}")
        served.append(front.pop() if front else line.pop(0))
        front += [name for name in await claims(store, served[-1]) if name]
    own = sum(name.startswith("a") for name in served)
    assert 50 <= own < 90


async def test_other_priorities_are_not_called(store: Store) -> None:
    """Turns are taken among equals only: the order by priority is strict."""
    await submit(store, "a0", "a1", "a2", "a3", priority=5)
    await submit(store, "b0")
    assert set(await claims(store, "a0", "a1", "a2", "a3")) == {""}


async def test_a_called_message_is_still_queued_once(store: Store, raw: Any) -> None:
    """It is claimed once, cancelled as ever, and leaves no line behind."""
    await submit(store, *(f"a{n}" for n in range(9)), "b0", "b1", "b2")
    assert [name for name in await claims(store, *(f"a{n}" for n in range(5))) if name] == ["b0", "b1"]
    assert raw.zcard("tq:queued:0") == 7
    await claims(store, "b0")
    assert await store.claim("b0", "w#again") is None
    assert await store.cancel("b1") == "ok"
    assert await store.cancel("b2") == "ok"
    await claims(store, *(f"a{n}" for n in range(5, 9)))
    assert not raw.keys("tq:line:*")
    assert not raw.keys("tq:turns:*")


async def test_what_was_put_off_stands_in_line_again(store: Store, raw: Any) -> None:
    """A message that comes back takes its place at the end of its account's line."""
    await submit(store, "a0", "a1")
    held = await store.claim("a0", "w#1")
    assert held is not None
    assert await store.settle("a0", held.epoch, Status.RETRYING, fields={}, deferred=True)
    raw.zadd("tq:line:0:a", {"a1": 1})  # long before
    await store.reap(poisoned=POISONED)
    assert raw.zrange("tq:line:0:a", 0, -1) == ["a1", "a0"]


async def test_a_deleted_record_is_not_called(store: Store, raw: Any) -> None:
    """What someone has deleted by hand is passed over for good."""
    await submit(store, *(f"a{n}" for n in range(9)), "b0", "b1")
    raw.delete("tq:message:b0")
    assert [name for name in await claims(store, *(f"a{n}" for n in range(9))) if name] == ["b1"]


async def test_a_called_message_at_the_front_loses_no_tokens(store: Store, raw: Any) -> None:
    """Though it is younger than those behind it, their tokens do not count as lost."""
    await submit(store, *(f"a{n}" for n in range(4)))
    for number in range(4):
        raw.hset(f"tq:message:a{number}", "created", 1000)
        raw.zadd("tq:queued:0", {f"a{number}": 1000})
    await submit(store, "b0")
    assert await claims(store, "a0", "a1") == ["", "b0"]
    assert await store.missing(0, tail="b0", grace=1) == []
    await submit(store, "c0")
    assert [token.message_id for token in await store.missing(0, tail="c0", grace=1)] == ["a2", "a3"]


def test_the_front_of_a_list(server: Valkey, raw: Any, tmp_path: Path) -> None:
    """Tokens for the front are popped before all others of their priority, in the order given."""
    publisher = Publisher(Settings(redis_url=SecretStr(server.url), data_dir=tmp_path))
    try:
        publisher.publish([Token(name, None, 0) for name in ("m0", "m1")])
        publisher.publish([Token("m2", None, 0), Token("f0", None, 0, front=True), Token("f1", None, 0, front=True)])
    finally:
        publisher.app.close()
    tokens = raw.lrange(list_name(DEFAULT, priority_step(DEFAULT, 0)), 0, -1)
    found = [json.loads(token)["headers"]["id"] for token in reversed(tokens)]
    assert found == ["f0", "f1", "m0", "m1", "m2"]
