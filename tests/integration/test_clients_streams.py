"""Both clients of Python on streams of changes: of a choice, refused, and with changes missing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from api_server import Api
from background import in_background
from gateway import Gateway, event, gap
from servers import Valkey, wait_until

from tq.async_client import AsyncClient
from tq.backend import Backend
from tq.client import Client
from tq.errors import ChangesMissed, InvalidMessage, TooManyStreams, WaitTimeout
from tq.local import LocalClient
from tq.messages import Status


@pytest.fixture
def api(valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> Iterator[Api]:
    """The API on the same Valkey as ``local``."""
    assert valkey.socket.exists()
    with Api(tmp_path, environment) as server:
        yield server


# -- chosen ----------------------------------------------------------------------------------------


def test_events_of_a_choice(kind: Any, between: Gateway, local: LocalClient) -> None:
    """Statuses by name or as such, languages and priorities, in every combination; it lasts across a break."""
    for name, to, priority in (("one", "fr", 9), ("two", "de", 9), ("three", "fr", 2)):
        local.submit("Hello", message_id=name, to=to, priority=priority)
        local.cancel(name)

    def first(count: int, **wanted: Any) -> list[tuple[str, str]]:
        with closing(client.events(after="0", **wanted)) as changes:
            return [(change.message_id, str(change.status)) for change in islice(changes, count)]

    with kind(between.url) as client:
        assert first(2, priority=9, to="fr") == [("one", "queued"), ("one", "cancelled")]
        assert first(2, priority=2) == [("three", "queued"), ("three", "cancelled")]
        assert first(3, status="cancelled") == first(3, status=Status.CANCELLED)
        between.refuse("/events", 2, 502)
        assert first(1, status="cancelled", to="de", priority=9) == [("two", "cancelled")]


def test_choices_that_are_none(kind: Any, api: Api) -> None:
    """What the API would refuse, and what it would ignore."""
    with kind(api.url) as client:
        for wanted in ({"status": "asleep"}, {"priority": 11}):
            with pytest.raises(InvalidMessage):
                next(client.events(**wanted))
        with pytest.raises(TypeError, match="message_id alone"):
            next(client.events(message_id="mine", status="failed"))


def test_names_of_statuses(api: Api, local: LocalClient) -> None:
    """Wherever a status is asked for, its name will do: on the store as over HTTP."""
    with Client(api.url) as client:
        backends: tuple[Backend, ...] = (local, client)
        for backend in backends:
            name = backend.submit("Hello").message_id
            assert backend.set_status(name, "running").status is Status.RUNNING
            assert [each.message_id for each in backend.list("running")[0]] == [name]
            assert backend.set_status(name, "completed", translation="Bonjour").ended
            with pytest.raises(InvalidMessage, match="there is no status 'asleep'"):
                backend.list("asleep")  # type: ignore[arg-type]


# -- refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", ["too-many-streams", "too-many-requests"])
def test_waits_without_a_stream(kind: Any, between: Gateway, local: LocalClient, slug: str) -> None:
    """Where the API has no place for another listener, it is asked again and again, ever more seldom."""
    for name in ("one", "two", "ended"):
        local.submit("Hello", message_id=name)
    local.cancel("ended")
    refusals = [between.refuse(part, 1000, 429, slug, retry_after="30") for part in ("/events", "wait=")]

    def act() -> None:
        time.sleep(3)  # it is waited for meanwhile
        for name in ("one", "two"):
            local.cancel(name)

    with kind(between.url) as client:
        with in_background(act):
            assert client.wait("one", timeout=60).status is Status.CANCELLED
        for name in ("one", "two"):
            local.retry(name)
        with in_background(act):
            ended = [each.message_id for each in client.wait_many(["one", "two", "ended"], timeout=60)]
        assert (ended[0], sorted(ended)) == ("ended", ["ended", "one", "two"])
        local.submit("Hello", message_id="open")
        for way in (lambda: client.wait("open", timeout=1), lambda: list(client.wait_many(["open"], timeout=1))):
            with pytest.raises(WaitTimeout):
                way()
    assert [1000 - refusal.count for refusal in refusals] == [2, 2]
    assert 4 <= between.count("POST /messages/lookup") <= 40
    assert 4 <= between.count("GET /messages/one") <= 40


def test_a_place_becomes_free(kind: Any, between: Gateway, local: LocalClient) -> None:
    """After as long as the API says a place is asked for again, and what ended meanwhile was not missed."""
    local.submit("Hello", message_id="mine")
    refusal = between.refuse("/events", 1, 429, "too-many-streams", retry_after="1")

    def act() -> None:
        wait_until(lambda: between.cursors, "it listens")
        local.cancel("mine")

    with kind(between.url) as client, in_background(act):
        assert [each.status for each in client.wait_many(["mine"], timeout=60)] == [Status.CANCELLED]
    assert (refusal.count, between.count("GET /events")) == (0, 2)


def test_events_wait_for_a_place(kind: Any, between: Gateway, local: LocalClient) -> None:
    """A stream that is refused is asked for again when the API says; what has no end is told."""
    local.submit("Hello", message_id="mine")
    between.refuse("/events", 2, 429, "too-many-streams", retry_after="1")
    with kind(between.url) as client:
        with closing(client.events(after="0")) as changes:
            assert next(changes).message_id == "mine"
        assert between.count("GET /events") == 3
        between.refuse("/events", 1, 429, "too-many-streams", retry_after="600")
        with closing(client.events()) as changes, pytest.raises(TooManyStreams) as refused:
            next(changes)
        assert refused.value.retry_after == 600


async def test_a_crowd_without_a_stream(between: Gateway, local: LocalClient) -> None:
    """Tasks that would share a stream share looks instead."""
    messages = [local.submit("Hello") for _ in range(60)]
    for part in ("/events", "wait="):
        between.refuse(part, 1000, 429, "too-many-streams", retry_after="30")
    async with AsyncClient(between.url) as client:
        waits = [asyncio.create_task(client.wait(message, timeout=60)) for message in messages]
        await asyncio.sleep(1)  # they all wait
        for message in messages:
            await asyncio.to_thread(local.cancel, message.message_id)
        ended = await asyncio.gather(*waits)
    assert [each.message_id for each in ended] == [each.message_id for each in messages]
    assert between.count("GET /events") == 1


# -- changes are missing ---------------------------------------------------------------------------


def test_events_say_what_is_missing(kind: Any, between: Gateway) -> None:
    """What came before the gap is told before the error, which says where it goes on."""
    between.tell(event("1-0"), event("2-0") + gap("2-0", "8-0") + event("9-0"))
    with kind(between.url) as client:
        with closing(client.events(after="0-0")) as changes:
            assert [next(changes).cursor, next(changes).cursor] == ["1-0", "2-0"]
            with pytest.raises(ChangesMissed, match="missed") as missed:
                next(changes)
        assert missed.value.cursor == "8-0"
        between.tell(event("9-0"), anew=True)
        with closing(client.events(after=missed.value.cursor)) as changes:
            assert next(changes).cursor == "9-0"
    assert between.cursors == ["0-0", "8-0"]


def test_changes_go_on_after_what_is_missing(kind: Any, between: Gateway) -> None:
    """The lower stream says it once, in its place, and goes on."""
    between.tell(b"id: 1-0\nretry: 2000\n\n")
    with kind(between.url) as client:
        changes = client.changes(block=0.1)
        between.tell(event("2-0") + gap("2-0", "8-0") + event("9-0"))
        assert [each.cursor for each in wait_until(lambda: next(changes), "the first comes")] == ["2-0"]
        with pytest.raises(ChangesMissed):
            next(changes)
        assert [each.cursor for each in wait_until(lambda: next(changes), "the last comes")] == ["9-0"]
        assert next(changes) == []
        changes.close()


def test_a_wait_for_many_looks_again(kind: Any, between: Gateway, local: LocalClient) -> None:
    """What ended in a gap is found by a look at all that is waited for."""
    for name in ("one", "two"):
        local.submit("Hello", message_id=name)
    between.tell(b"id: 1-0\nretry: 2000\n\n")

    def act() -> None:
        wait_until(lambda: between.count("POST /messages/lookup"), "it has looked")
        local.cancel("one")
        local.cancel("two")
        time.sleep(1)  # of which it hears nothing
        assert between.count("POST /messages/lookup") == 1
        between.tell(gap("1-0", "8-0"))

    with kind(between.url) as client, in_background(act):
        assert {each.message_id for each in client.wait_many(["one", "two"], timeout=60)} == {"one", "two"}
    assert between.count("GET /events") == 1


async def test_a_crowd_looks_again(between: Gateway, local: LocalClient) -> None:
    """The same for tasks that share a stream."""
    messages = [local.submit("Hello") for _ in range(60)]
    between.tell(b"id: 1-0\nretry: 2000\n\n")
    async with AsyncClient(between.url) as client:
        waits = [asyncio.create_task(client.wait(message, timeout=60)) for message in messages]
        await asyncio.sleep(1)  # they all wait
        for message in messages:
            await asyncio.to_thread(local.cancel, message.message_id)
        between.tell(gap("1-0", "8-0"))
        assert len(await asyncio.gather(*waits)) == 60
    assert between.count("GET /events") == 1
