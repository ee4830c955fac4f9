"""The store on real servers: every transition, the fence, leases, the reaper's finds, order and ageing.

Runs against the embedded Valkey, and once more against Debian's redis-server where it is installed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from servers import Valkey

from tq.errors import StoreFull, StoreRefused, Unreachable
from tq.filters import MessageFilter
from tq.messages import TERMINAL, Status, may_become
from tq.records import Claim, Token
from tq.store import POISON_AFTER, Store

POISONED: Any = {"type": "poison", "message": "died", "retryable": False}
LEASE = 1.0


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A real server of its own."""
    binary = None
    if request.param == "redis":
        binary = Valkey.redis_server()
        if binary is None:
            pytest.skip("redis-server is not installed: this runs on the embedded Valkey only")
    with Valkey(tmp_path_factory.mktemp(request.param), binary=binary) as valkey:
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
    """The store on that server, with a short lease."""
    store = Store(server.url, result_ttl=60, lease=LEASE)
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


async def claim(store: Store, message_id: str = "m", owner: str = "w#1") -> Claim:
    found = await store.claim(message_id, owner)
    assert found is not None
    return found


async def bring_to(store: Store, status: Status, message_id: str = "m") -> None:
    """A message in any status, by legal ways only."""
    await submit(store, message_id)
    if status is Status.CANCELLED:
        assert await store.cancel(message_id) == "ok"
    elif status is not Status.QUEUED:
        held = await claim(store, message_id)
        if status is not Status.RUNNING:
            assert await store.settle(message_id, held.epoch, status, fields={}, delay=60)


async def status_of(store: Store, message_id: str = "m") -> Status:
    message = await store.get(message_id)
    assert message is not None
    return message.status


@pytest.mark.parametrize("older", [False, True])
async def test_what_is_read_without_the_content(store: Store, raw: Any, *, older: bool) -> None:
    """A message's outline, the filter of models and the change to running, also of what an older version accepted."""
    await submit(store)
    assert json.loads(raw.hget("tq:message:m", "body"))["content"] == "Hello"
    if older:
        raw.hdel("tq:message:m", "brief")
    outline = await store.outline("m")
    assert outline is not None
    assert (outline.content, outline.model_name, outline.metadata) == ("", "m", {"target_language": "fr"})
    for model, found in (("m", ["m"]), ("n", [])):
        pairs, _ = await store.find(MessageFilter(model=model), [*Status], below=None, limit=10)
        assert [message_id for message_id, _ in pairs] == found
    claimed = await claim(store)
    assert claimed.message.content == "Hello"
    assert [fields["i"] for _, fields in raw.xrange("tq:changes")] == ["", "m"]


@pytest.mark.parametrize("wanted", Status)
@pytest.mark.parametrize("current", Status)
async def test_every_pair_of_states(store: Store, raw: Any, current: Status, wanted: Status) -> None:
    """From each status to each: done if the machine has the way, else refused and nothing changed."""
    await bring_to(store, current)
    before = raw.hgetall("tq:message:m")
    outcome, found = await store.set_status("m", wanted, fields={}, lease=60, delay=60)
    if may_become(current, wanted):
        assert (outcome, found) == ("ok", current)
        assert await status_of(store) is wanted
    else:
        assert (outcome, found) == ("illegal", current)
        assert raw.hgetall("tq:message:m") == before
    check_indexes(raw)


def check_indexes(raw: Any) -> None:
    """Each message stands in the indexes of its status, and in no other."""
    for key in raw.keys("tq:message:*"):
        message_id = key.removeprefix("tq:message:")
        record = raw.hgetall(key)
        status = record["status"]
        for other in Status:
            assert (raw.zscore(f"tq:status:{other}", message_id) is not None) == (other == status), other
        queued = [index for index in [*range(11), "quarantine"] if raw.zscore(f"tq:queued:{index}", message_id)]
        expected = [record.get("queue") or int(record["priority"])] if status == "queued" else []
        assert queued == expected
        assert (raw.zscore("tq:leases", message_id) is not None) == (status == "running")
        assert (raw.zscore("tq:due", message_id) is not None) == (status == "retrying")
        assert (raw.zscore("tq:ended", message_id) is not None) == (status in TERMINAL)
        assert (raw.pttl(key) > 0) == (status in TERMINAL)


async def test_an_unknown_id_is_gone(store: Store) -> None:
    """Nothing pretends that an id exists."""
    assert await store.get("nope") is None
    assert await store.claim("nope", "w") is None
    assert await store.cancel("nope") == "gone"
    assert await store.retry("nope", "") == ("gone", 0, 0)
    assert (await store.set_status("nope", Status.RUNNING, fields={}, lease=1, delay=1))[0] == "gone"
    assert not await store.settle("nope", 1, Status.COMPLETED, fields={})


async def test_the_same_submit_twice(store: Store) -> None:
    """Same id and body: the message that is there. Another body: refused."""
    assert (await submit(store))[:2] == ("new", "m")
    assert (await submit(store))[:2] == ("same", "m")
    assert (await submit(store, fingerprint="other"))[:2] == ("duplicate", "m")


async def test_fifty_submits_with_one_idempotency_key(store: Store) -> None:
    """Of fifty at once with fifty ids one wins, and all hear its id."""
    answers = await asyncio.gather(*(submit(store, f"m{i}", idempotency="key") for i in range(50)))
    assert sorted(outcome for outcome, _, _ in answers) == ["new"] + ["same"] * 49
    assert len({message_id for _, message_id, _ in answers}) == 1
    assert (await submit(store, "x", idempotency="key", fingerprint="other"))[0] == "idempotency-conflict"
    assert (await store.stats()).counts[Status.QUEUED] == 1


async def test_admission_control(store: Store) -> None:
    """At the limit a submit is refused and stores nothing; a repeated one is still answered."""
    await submit(store, "a")
    assert (await submit(store, "b", max_queued=1))[:2] == ("full", "1")
    assert await store.get("b") is None
    assert (await submit(store, "a", max_queued=1))[0] == "same"


async def test_one_of_many_claims_wins(store: Store) -> None:
    """Twenty workers with the same token: one gets the message."""
    await submit(store)
    claims = await asyncio.gather(*(store.claim("m", f"w#{i}") for i in range(20)))
    assert sum(found is not None for found in claims) == 1


async def test_a_lost_answer_to_a_claim(store: Store) -> None:
    """The same claim asked again (its answer got lost) is the same claim; the next one of that worker is not."""
    await submit(store)
    first = await claim(store, owner="w#1")
    again = await claim(store, owner="w#1")
    assert (first.epoch, first.message.attempts) == (again.epoch, again.message.attempts)
    assert await store.claim("m", "w#2") is None


async def test_the_fence(store: Store) -> None:
    """Who lost the message to another attempt can neither finish, retry nor release it."""
    await submit(store)
    old = await claim(store)
    assert await store.settle("m", old.epoch, Status.QUEUED, fields={})
    new = await claim(store, owner="w#2")
    for status in (Status.COMPLETED, Status.FAILED, Status.RETRYING, Status.QUEUED):
        assert not await store.settle("m", old.epoch, status, fields={"translation": "late"})
    assert await store.settle("m", new.epoch, Status.COMPLETED, fields={"translation": "right"})
    message = await store.get("m")
    assert message is not None
    assert message.translation == "right"


async def test_a_lost_answer_to_a_finish(store: Store, raw: Any) -> None:
    """A finish that is sent twice counts once, and both times it is told so."""
    await submit(store)
    held = await claim(store)
    for _ in range(2):
        assert await store.settle("m", held.epoch, Status.COMPLETED, fields={"translation": "x"}, tokens=(3, 4))
    assert raw.hget("tq:message:m", "prompt_tokens") == "3"
    assert not await store.settle("m", held.epoch, Status.FAILED, fields={})


async def test_heartbeat(store: Store, raw: Any) -> None:
    """It prolongs what is still ours, and says what is not."""
    for message_id in ("mine", "cancelled", "taken"):
        await submit(store, message_id)
    epochs = [(message_id, (await claim(store, message_id)).epoch) for message_id in ("mine", "cancelled", "taken")]
    await store.cancel("cancelled")
    await store.settle("taken", 1, Status.QUEUED, fields={})
    await claim(store, "taken", "other#1")
    before = raw.zscore("tq:leases", "mine")
    info = {"name": "w", "version": "1", "provider": "pseudo", "slots": 3, "running": 3}
    await asyncio.sleep(0.01)
    assert await store.heartbeat("w", info, epochs) == {"cancelled": "cancelled", "taken": "lost"}
    after = raw.zscore("tq:leases", "mine")
    assert isinstance(before, float)
    assert isinstance(after, float)
    assert after > before
    assert len((await store.stats()).workers) == 1
    await store.forget_worker("w")
    assert (await store.stats()).workers == []


async def reap_until(store: Store, message_id: str) -> list[Token]:
    """Reap until something happens to the message whose lease runs out."""
    deadline = asyncio.get_running_loop().time() + 20
    before = await status_of(store, message_id)
    tokens: list[Token] = []
    while await status_of(store, message_id) is before:
        assert asyncio.get_running_loop().time() < deadline, f"{message_id} stays {before}"
        tokens += (await store.reap(POISONED))[0]
        await asyncio.sleep(0.05)
    return tokens


async def test_an_expired_lease(store: Store, raw: Any) -> None:
    """A silent worker's message is queued again, with a token to publish; then quarantined, then failed."""
    await submit(store, priority=7)
    for crash in range(1, POISON_AFTER + 1):
        await claim(store, owner=f"w#{crash}")
        tokens = await reap_until(store, "m")
        if crash < POISON_AFTER:
            assert tokens == [Token("m", None if crash == 1 else "quarantine", 7)]
            check_indexes(raw)
    message = await store.get("m")
    assert message is not None
    assert (message.status, message.error and message.error.type) == (Status.FAILED, "poison")
    check_indexes(raw)


async def test_seen_to_kill(store: Store, raw: Any) -> None:
    """A message that is seen to kill the process it runs in fails at once; who does not have it is not believed."""
    await submit(store)
    await claim(store, owner="host:7:abc#1")
    assert not await store.blame("m", "host:70", POISONED)
    assert not await store.blame("other", "host:7", POISONED)
    assert await store.blame("m", "host:7", POISONED)
    message = await store.get("m")
    assert message is not None
    assert (message.status, message.error and message.error.type) == (Status.FAILED, "poison")
    check_indexes(raw)
    assert not await store.blame("m", "host:7", POISONED)


async def test_a_program_outside_that_goes_away(store: Store) -> None:
    """Its lease expires too, but is no sign of poison, however often."""
    await submit(store)
    for _ in range(POISON_AFTER + 1):
        await store.set_status("m", Status.RUNNING, fields={}, lease=0.01, delay=0)
        assert await reap_until(store, "m") == [Token("m", None, 0)]


async def test_due_retries_come_in_batches(store: Store) -> None:
    """Retries that are due are queued, no more than asked for at once; others wait."""
    for i in range(5):
        await submit(store, f"m{i}")
        held = await claim(store, f"m{i}")
        delay = 60 if i == 4 else 0
        assert await store.settle(f"m{i}", held.epoch, Status.RETRYING, fields={}, delay=delay, retried=True)
    assert len((await store.reap(POISONED, 3))[0]) == 3
    assert len((await store.reap(POISONED, 3))[0]) == 1
    assert await status_of(store, "m4") is Status.RETRYING
    assert (await claim(store, "m0", "w#2")).retries == 1


async def test_what_ended_expires(server: Valkey, raw: Any) -> None:
    """After its TTL a message is in no key and no index."""
    store = Store(server.url, result_ttl=0.05, lease=LEASE)
    await submit(store, idempotency="key", sealed="box")
    assert await store.cancel("m") == "ok"
    assert raw.exists("tq:sealed:m") == 0
    deadline = asyncio.get_running_loop().time() + 20
    while raw.zcard("tq:ended"):
        assert asyncio.get_running_loop().time() < deadline, "the message never expires"
        await store.reap(POISONED)
        await asyncio.sleep(0.02)
    assert [key for key in raw.keys("*") if "m" in key.split(":")[-1] or "key" in key] == []
    assert not any(raw.zcard(f"tq:status:{status}") for status in Status)
    await store.aclose()


async def test_retry_revives(store: Store, raw: Any) -> None:
    """A failed message is queued again with a clean slate; one with its own key needs that key again."""
    await bring_to(store, Status.FAILED)
    assert await store.retry("m", "") == ("ok", 0, 0)
    assert await store.retry("m", "") == ("queued", 0, 0)
    message = await store.get("m")
    assert message is not None
    assert (message.status, message.error, message.finished_at) == (Status.QUEUED, None, None)
    await submit(store, "own", sealed="box")
    await store.cancel("own")
    assert await store.retry("own", "") == ("missing-key", 0, 0)
    assert await store.retry("own", "new box") == ("ok", 0, 0)
    assert (await claim(store, "own")).sealed == "new box"
    check_indexes(raw)


async def test_lost_tokens_are_found(store: Store, raw: Any) -> None:
    """Older than what its list hands out next, or with the list empty: lost. Published again: not lost yet."""
    for i in range(3):
        await submit(store, f"m{i}")
        await asyncio.sleep(0.05)
    assert await store.missing(0, tail="m0", grace=0.01) == []
    assert [t.message_id for t in await store.missing(0, tail="m1", grace=0.01)] == ["m0"]
    assert [t.message_id for t in await store.missing(0, tail="m1", grace=0.01)] == []
    await asyncio.sleep(0.05)
    assert sorted(t.message_id for t in await store.missing(0, tail=None, grace=0.01)) == ["m0", "m1", "m2"]
    assert await store.missing(0, tail=None, grace=60) == []
    await claim(store, "m0")
    assert raw.zscore("tq:republished", "m0") is None


async def test_many_lost_tokens(store: Store) -> None:
    """All of 2,500 lost tokens are found in one round."""
    await asyncio.gather(*(submit(store, f"m{i}", max_queued=10_000) for i in range(2500)))
    await asyncio.sleep(0.05)
    assert len(await store.missing(0, tail=None, grace=0.01)) == 2500


async def test_next_is_strict(store: Store) -> None:
    """Highest priority first, oldest first within it; aged ones before all."""
    for message_id, priority in [("low", 0), ("mid", 4), ("high1", 5), ("top1", 10), ("top2", 10), ("high2", 9)]:
        await submit(store, message_id, priority=priority)
        await asyncio.sleep(0.002)
    order = []
    while found := await store.next_id():
        message_id = found
        order.append(message_id)
        await claim(store, message_id)
    assert order == ["top1", "top2", "high2", "high1", "mid", "low"]


#: Seconds after which a message counts as old in these tests, far above what they take.
OLD = 50.0


def grow_old(raw: Any, message_id: str, priority: int, seconds: float) -> None:
    """Let a message have been queued (and aged, if it was) so long ago."""
    then = raw.time()[0] * 1000 - int(seconds * 1000)
    raw.zadd(f"tq:queued:{priority}", {message_id: then}, xx=True)
    raw.zadd("tq:aged", {message_id: then}, xx=True)


async def test_ageing_is_bounded(store: Store, raw: Any) -> None:
    """One extra token for every twenty claims, the longest wait first, and only past something more urgent."""
    for i in range(5):
        await submit(store, f"old{i}", priority=i % 2)
        grow_old(raw, f"old{i}", i % 2, OLD * 2 - i)
    raw.set("tq:claims", 40)
    assert await store.age(OLD, share=0.05, most=10) == ["old0", "old2"]  # priority 0, behind those of priority 1
    assert await store.age(OLD, share=0.05, most=10) == []
    await submit(store, "urgent", priority=10)
    raw.set("tq:claims", 80)
    assert await store.age(OLD, share=0.05, most=10) == ["old1", "old3"]
    assert await store.next_id() == "old0"


async def test_a_lost_extra_token_is_given_again(store: Store, raw: Any) -> None:
    """A message that was moved to the front and waits there in vain is moved again."""
    await submit(store, "old", priority=0)
    await submit(store, "urgent", priority=10)
    grow_old(raw, "old", 0, OLD * 2)
    raw.set("tq:claims", 100)
    assert await store.age(OLD, share=0.05, most=10) == ["old"]
    assert await store.age(OLD, share=0.05, most=10) == []
    grow_old(raw, "old", 0, OLD * 2)
    assert await store.age(OLD, share=0.05, most=10) == ["old"]


async def test_a_left_over_token_proves_no_loss(store: Store, raw: Any) -> None:
    """A token that may be older than its message's place in the queue does not make others look lost."""
    await submit(store, "extra")
    grow_old(raw, "extra", 0, OLD * 2)
    await submit(store, "urgent", priority=10)
    raw.set("tq:claims", 100)
    assert await store.age(OLD, share=0.05, most=10) == ["extra"]
    await submit(store, "waiting")
    await asyncio.sleep(0.05)
    held = await claim(store, "extra")
    assert await store.settle("extra", held.epoch, Status.QUEUED, fields={})
    assert await store.missing(0, tail="extra", grace=0.01) == []


async def test_an_id_is_used_again_after_it_expired(store: Store, raw: Any) -> None:
    """A record that expired before the reaper tidied up does not take the next one of its id along."""
    await bring_to(store, Status.COMPLETED)
    raw.delete("tq:message:m")
    raw.zadd("tq:ended", {"m": 1}, xx=True)
    assert (await submit(store))[0] == "new"
    await store.reap(POISONED)
    assert await status_of(store) is Status.QUEUED
    check_indexes(raw)


async def test_ghosts_are_dropped(store: Store, raw: Any) -> None:
    """An index entry whose record was deleted by hand hides nothing and does not stay."""
    await submit(store, "ghost", priority=10)
    await submit(store, "real", priority=3)
    raw.delete("tq:message:ghost")
    assert await store.next_id() == "real"
    assert (await store.stats()).counts[Status.QUEUED] == 1


async def test_a_living_process_is_not_blamed(store: Store, raw: Any) -> None:
    """A lease that ran out while its process's heart beats is no crash, however often."""
    await submit(store)
    for i in range(POISON_AFTER + 1):
        await claim(store, owner=f"host:1:abc#{i}")
        raw.zadd("tq:alive", {"host:1:abc": raw.time()[0] * 1000 + 60_000})
        assert await reap_until(store, "m") == [Token("m", None, 0)]


async def test_an_old_error_does_not_outlive_success(store: Store) -> None:
    """A message that a program outside completes carries no error of an earlier attempt."""
    await submit(store)
    held = await claim(store)
    error = '{"type": "rate-limited", "message": "x", "retryable": true}'
    assert await store.settle("m", held.epoch, Status.RETRYING, fields={"error": error}, delay=0)
    await store.reap(POISONED)
    await store.set_status("m", Status.RUNNING, fields={}, lease=60, delay=0)
    await store.set_status("m", Status.COMPLETED, fields={"translation": "x"}, lease=60, delay=0)
    message = await store.get("m")
    assert message is not None
    assert message.error is None


async def test_one_bad_command_harms_no_other(store: Store) -> None:
    """What cannot even be sent fails alone, though it travels with others."""
    await submit(store)
    bad = store.set_status("m", Status.FAILED, fields={"error": "\ud800"}, lease=1, delay=1)
    results = await asyncio.gather(store.get("m"), bad, store.get("m"), return_exceptions=True)
    assert [isinstance(result, Exception) for result in results] == [False, True, False]


async def test_list_pages_without_gaps(store: Store) -> None:
    """Newest first over all statuses, each once, whatever the page."""
    for i in range(25):
        await bring_to(store, list(Status)[i % 6], f"m{i}")
    seen: list[str] = []
    below = None
    while page := await store.list(list(Status), below=below, limit=7):
        seen += [message_id for message_id, _ in page]
        below = page[-1][1]
    assert seen == [f"m{i}" for i in reversed(range(25))]
    failed = await store.list([Status.FAILED], below=None, limit=100)
    expected = [f"m{i}" for i in reversed(range(25)) if i % 6 == list(Status).index(Status.FAILED)]
    assert [message_id for message_id, _ in failed] == expected


async def test_changes_tell_every_transition(store: Store) -> None:
    """Each transition is one entry, in order, and none carries text."""
    cursor = await store.newest_cursor()
    await submit(store, priority=3)
    held = await claim(store)
    await store.settle("m", held.epoch, Status.RETRYING, fields={}, delay=0, info="rate-limited")
    await store.reap(POISONED)
    held = await claim(store, owner="w#2")
    await store.settle("m", held.epoch, Status.COMPLETED, fields={"translation": "Bonjour"})
    changes = await store.changes(cursor, block=0.01)
    assert [change.status for change in changes] == ["queued", "running", "retrying", "queued", "running", "completed"]
    assert changes[2].info == "rate-limited"
    assert not any("Hello" in change.model_dump_json() or "Bonjour" in change.model_dump_json() for change in changes)
    assert await store.changes(changes[-1].cursor, block=0.01) == []


async def test_no_server(tmp_path: Path) -> None:
    """Nothing there: said so, quickly."""
    store = Store(f"unix://{tmp_path}/none.sock", result_ttl=1, lease=1)
    with pytest.raises(Unreachable):
        await asyncio.wait_for(store.ping(), 10)


async def test_a_wrong_password(tmp_path: Path) -> None:
    """A server with a password refuses who has none or another one; the right one works. None is repeated."""
    with Valkey(tmp_path, password="right-canary") as server:
        for url in (server.url_with(None), server.url_with("wrong-canary")):
            store = Store(url, result_ttl=1, lease=1)
            with pytest.raises(StoreRefused) as caught:
                await store.ping()
            assert "canary" not in f"{caught.value} {caught.value.why} {caught.value.fix}"
            await store.aclose()
        store = Store(server.url_with("right-canary"), result_ttl=1, lease=1)
        await store.ping()
        await store.aclose()


async def test_memory_full(tmp_path: Path) -> None:
    """At maxmemory a submit is refused as full, what was accepted still ends, and later all goes on."""
    with Valkey(tmp_path) as server:
        store = Store(server.url, result_ttl=60, lease=60)
        await submit(store, "before")
        raw = redis.Redis(unix_socket_path=str(server.socket))
        raw.config_set("maxmemory", 1)
        with pytest.raises(StoreFull):
            await submit(store, "refused")
        held = await claim(store, "before")
        assert await store.heartbeat("w", None, [("before", held.epoch)]) == {}
        assert await store.settle("before", held.epoch, Status.COMPLETED, fields={"translation": "x"})
        raw.config_set("maxmemory", 0)
        assert await store.get("refused") is None
        assert (await submit(store, "after"))[0] == "new"
        raw.close()
        await store.aclose()


async def test_a_restarted_server(tmp_path: Path) -> None:
    """After a kill -9 of the server everything acknowledged is there, and the same store object goes on."""
    with Valkey(tmp_path) as server:
        store = Store(server.url, result_ttl=60, lease=60)
        for i in range(20):
            await submit(store, f"m{i}")
        server.kill()
        with pytest.raises(Unreachable):
            await asyncio.wait_for(submit(store, "down"), 15)
        server.start()
        assert [await status_of(store, f"m{i}") for i in range(20)] == [Status.QUEUED] * 20
        assert (await submit(store, "up"))[0] == "new"
        await store.aclose()
