"""The stream of changes over HTTP, as a browser's EventSource reads it."""

from __future__ import annotations

import asyncio
import json
import selectors
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import CANARY, Api
from pydantic import SecretStr
from raw_http import Connection
from servers import Valkey, wait_until

from tq import events
from tq.backend import make_submission
from tq.broadcast import Batch, Broadcast
from tq.events import MAX_STREAMS, MAX_WAITS, Streams
from tq.filters import ChangeFilter
from tq.messages import Change
from tq.queue import TranslationQueue
from tq.settings import Settings


def read(response: httpx.Response) -> Iterator[dict[str, str]]:
    """The fields of each event, for as long as they come; comments are ``""``."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
        elif fields:
            yield fields
            fields = {}


def changes(response: httpx.Response, count: int) -> list[dict[str, Any]]:
    """The next ``count`` changes of a stream; each event's id and name must be those of its data."""
    found: list[dict[str, Any]] = []
    for fields in read(response):
        if "data" in fields:
            change = json.loads(fields["data"])
            assert (fields["id"], fields["event"]) == (change["cursor"], change["status"])
            found.append(change)
        if len(found) == count:
            return found
    raise AssertionError(f"the stream ended after {found}")


def test_changes_are_streamed_as_they_come(http: httpx.Client) -> None:
    """Every transition of a message, in order, with its id, languages and attempts, and no text."""
    with http.stream("GET", "/events") as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        body = {"content": "Hello", "message_id": "a", "metadata": {"target_language": "fr"}, "api_key": CANARY}
        http.post("/messages", json=body)
        http.post("/messages/a/status", json={"status": "running"})
        http.post("/messages/a/status", json={"status": "failed", "error": "no luck"})
        found = changes(response, 3)
    assert [change["status"] for change in found] == ["queued", "running", "failed"]
    assert {change["message_id"] for change in found} == {"a"}
    assert [change["attempts"] for change in found] == [0, 1, 1]
    assert found[0]["languages"] == "→fr"
    assert "Hello" not in str(found)
    assert CANARY not in str(found)


def test_a_stream_goes_on_where_it_broke(http: httpx.Client) -> None:
    """Last-Event-ID (which wins) and ?after= skip what was seen; without them only what is new comes."""
    for number in range(4):
        http.post("/messages", json={"content": "x", "message_id": f"m{number}"})
    with http.stream("GET", "/events?after=0-0") as response:
        seen = changes(response, 2)
    cursor = seen[1]["cursor"]
    with http.stream("GET", "/events?after=0-0", headers={"Last-Event-ID": cursor}) as response:
        assert [change["message_id"] for change in changes(response, 2)] == ["m2", "m3"]
    with http.stream("GET", f"/events?after={cursor}") as response:
        assert [change["message_id"] for change in changes(response, 2)] == ["m2", "m3"]
    with http.stream("GET", "/events") as response:
        http.post("/messages", json={"content": "x", "message_id": "new"})
        assert [change["message_id"] for change in changes(response, 1)] == ["new"]


def test_the_first_event_is_a_place_to_go_on_from(http: httpx.Client) -> None:
    """A stream that breaks before its first change has left a cursor with the client."""
    http.post("/messages", json={"content": "x", "message_id": "old"})
    with http.stream("GET", "/events") as response:
        first = next(read(response))
    assert int(first["retry"]) > 0
    http.post("/messages", json={"content": "x", "message_id": "missed"})
    with http.stream("GET", "/events", headers={"Last-Event-ID": first["id"]}) as response:
        assert changes(response, 1)[0]["message_id"] == "missed"


def test_a_stream_may_be_of_one_status(http: httpx.Client) -> None:
    """Only changes to it are sent."""
    with http.stream("GET", "/events?status=cancelled") as response:
        for name in ("a", "b"):
            http.post("/messages", json={"content": "x", "message_id": name})
            http.post(f"/messages/{name}/cancel")
        assert [change["message_id"] for change in changes(response, 2)] == ["a", "b"]


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?after=x", {}),
        ("?after=1-2-3", {}),
        ("?after=%20", {}),
        (f"?after={'9' * 100}", {}),
        ("?status=pending", {}),
        ("", {"Last-Event-ID": "x"}),
        ("", {"Last-Event-ID": "$"}),
    ],
)
def test_a_bad_cursor_or_status_is_refused(http: httpx.Client, query: str, headers: dict[str, str]) -> None:
    """Before a stream begins."""
    response = http.get(f"/events{query}", headers=headers)
    assert (response.status_code, response.json()["type"]) == (422, "urn:tq:problem:invalid-message")


def test_streams_are_bounded_and_given_back(http: httpx.Client) -> None:
    """One more than there may be gets 429 and harms no other request; a stream that closes makes room."""
    with ExitStack() as stack:
        streams = [read(stack.enter_context(http.stream("GET", "/events"))) for _ in range(MAX_STREAMS)]
        for stream in streams:
            assert next(stream)["id"]
        full = http.get("/events", timeout=5)
        assert (full.status_code, full.json()["type"]) == (429, "urn:tq:problem:too-many-streams")
        assert int(full.headers["retry-after"]) > 0
        assert http.post("/messages", json={"content": "x"}).status_code == 202

    def opens() -> bool:
        with http.stream("GET", "/events") as response:
            return response.status_code == 200

    wait_until(opens, "a stream may be opened again")


def test_hundreds_that_come_at_once_are_bounded(api: Api, http: httpx.Client) -> None:
    """However many ask in the same moment, no more are let in than there is room for."""
    assert http.get("/health").status_code == 200
    with ExitStack() as stack:
        crowd = [stack.enter_context(Connection(api.port)) for _ in range(MAX_STREAMS + 60)]
        for connection in crowd:
            connection.begin("/events")
        statuses = Counter(connection.status() for connection in crowd)
    assert statuses == {200: MAX_STREAMS, 429: 60}


def test_a_client_hears_that_it_missed_something(http: httpx.Client, api_valkey: Valkey) -> None:
    """Where changes after its cursor are gone it is told so, and until where; then it gets those that are there."""
    for number in range(6):
        http.post("/messages", json={"content": "x", "message_id": f"m{number}"})
    with http.stream("GET", "/events?after=0-0") as response:
        seen = changes(response, 6)
    with api_valkey.client() as redis:
        redis.xtrim("tq:changes", maxlen=3, approximate=False)
    first, last_lost = seen[0]["cursor"], seen[2]["cursor"]
    with http.stream("GET", "/events", headers={"Last-Event-ID": first}) as response:
        head, gap, *rest = islice(read(response), 5)
        assert gap["event"] == "gap"
        told = json.loads(gap["data"])
        assert told["after"] == first
        assert head["id"] == gap["id"] == told["next"]
        assert [json.loads(each["data"])["message_id"] for each in rest] == ["m3", "m4", "m5"]
    # From where the gap ends, and from before everything, nothing is missed.
    for cursor in (told["next"], "0-0"):
        with http.stream("GET", "/events", headers={"Last-Event-ID": cursor}) as response:
            assert [change["message_id"] for change in changes(response, 3)] == ["m3", "m4", "m5"]
    assert last_lost < told["next"]


def test_a_cursor_of_another_time(http: httpx.Client) -> None:
    """One from the future, as after a restore, is no place to go on from: it is said, and what comes now is heard."""
    later = f"{int(time.time() * 1000) + 10**7}-0"
    with http.stream("GET", "/events", headers={"Last-Event-ID": later}) as response:
        stream = read(response)
        assert next(stream)["id"] != later
        assert json.loads(next(stream)["data"])["after"] == later
        http.post("/messages", json={"content": "x", "message_id": "now"})
        assert json.loads(next(stream)["data"])["message_id"] == "now"
    http.post("/messages/now/cancel")
    with http.stream("GET", "/messages/now/events", headers={"Last-Event-ID": later}) as response:
        assert [change["status"] for change in changes(response, 2)] == ["queued", "cancelled"]


def test_streams_share_their_bytes(valkey: Valkey) -> None:
    """A change is encoded once, however many listen."""
    made: list[str] = []

    def encode(change: Change) -> bytes:
        made.append(change.message_id)
        return b"x"

    async def listen() -> None:
        queue = TranslationQueue(Settings(redis_url=SecretStr(valkey.url)))
        broadcast = Broadcast(queue, encode)
        try:
            async with AsyncExitStack() as stack:
                listeners = [await stack.enter_async_context(broadcast.listen()) for _ in range(50)]
                await queue.submit(make_submission("Hello", message_id="m"))
                for listener in listeners:
                    assert [each.data for each in await listener.next(30) if isinstance(each, Batch)] == [b"x"]
        finally:
            await broadcast.aclose()
            await queue.aclose()

    asyncio.run(listen())
    assert made == ["m"]


def test_who_has_left_is_not_waited_for(api: Api, http: httpx.Client) -> None:
    """A long poll ends with its connection; they are bounded, and what is asked without waiting is answered."""
    http.post("/messages", json={"content": "x", "message_id": "m"})
    with ExitStack() as stack:
        crowd = [stack.enter_context(Connection(api.port)) for _ in range(MAX_WAITS + 20)]
        answered = stack.enter_context(selectors.DefaultSelector())
        for connection in crowd:
            answered.register(connection.socket, selectors.EVENT_READ)
            connection.begin("/messages/m?wait=60")
        wait_until(lambda: len(answered.select(0)) == 20, "all others wait", timeout=60)
        refused = http.get("/messages/m?wait=1")
        assert refused.json()["type"] == "urn:tq:problem:too-many-streams"
        assert int(refused.headers["retry-after"]) > 0
        assert http.get("/messages/m").json()["status"] == "queued"
    wait_until(lambda: http.get("/messages/m?wait=0.01").status_code == 200, "their places are free", timeout=30)


def test_open_streams_do_not_hold_up_the_end(tmp_path: Path, valkey: Valkey, environment: dict[str, str]) -> None:
    """SIGTERM ends them within a second or two, long before the server's own patience does."""
    assert valkey.folder == tmp_path
    with Api(tmp_path, environment) as api, api.client() as http, http.stream("GET", "/events") as response:
        stream = read(response)
        next(stream)
        began = time.monotonic()
        api.process.popen.terminate()
        assert list(stream) == []
        api.process.popen.wait(10)
        assert time.monotonic() - began < 3
        assert "timeout graceful shutdown exceeded" not in api.process.output


def test_a_quiet_stream_says_that_it_lives(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some silence comes a comment, which no client shows."""
    monkeypatch.setattr(events, "_PING_EVERY", 0.2)

    async def second() -> bytes:
        queue = TranslationQueue(Settings(redis_url=SecretStr(valkey.url)))
        try:
            stream = Streams(queue).events("0-0", ChangeFilter())
            await anext(stream)
            return await asyncio.wait_for(anext(stream), 10)
        finally:
            await queue.aclose()

    assert asyncio.run(second()) == b": ping\nid: 0-0\n\n"
