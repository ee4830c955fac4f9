"""Following messages over HTTP: waiting for an end, events, timelines, lists with filters, failures."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx
import pytest
from api_server import Api
from servers import Valkey, wait_until
from test_server_events import changes, read

from tq.backend import make_submission
from tq.broadcast import ROUND
from tq.client import Client
from tq.errors import AmbiguousId, UnknownMessage
from tq.filters import MessageFilter
from tq.local import LocalClient
from tq.messages import Status
from tq.queue import TranslationQueue
from tq.settings import Settings


def submit(http: httpx.Client, message_id: str, **fields: Any) -> None:
    """Queue a message."""
    assert http.post("/messages", json={"content": "Hello", "message_id": message_id, **fields}).status_code == 202


def move(http: httpx.Client, message_id: str, status: str, **fields: Any) -> None:
    """Move it on."""
    assert http.post(f"/messages/{message_id}/status", json={"status": status, **fields}).status_code == 200


def test_waiting_for_an_end(http: httpx.Client) -> None:
    """It is answered as soon as the message has ended, at once if it has already, and after so long if it has not."""
    submit(http, "m")
    began = time.monotonic()
    assert http.get("/messages/m?wait=0.3").json()["status"] == "queued"
    assert 0.3 <= time.monotonic() - began < 10
    move(http, "m", "running")
    timer = threading.Timer(0.5, lambda: move(http, "m", "completed", translation="Bonjour"))
    timer.start()
    began = time.monotonic()
    answer = http.get("/messages/m?wait=30").json()
    assert (answer["status"], answer["translation"]) == ("completed", "Bonjour")
    assert time.monotonic() - began < 10
    timer.join()
    began = time.monotonic()
    assert http.get("/messages/m?wait=30").json()["status"] == "completed"
    assert time.monotonic() - began < 10
    assert http.get("/messages/nobody?wait=30").status_code == 404
    assert http.get("/messages/m?wait=61").status_code == 422


def test_a_hundred_wait_at_once(http: httpx.Client) -> None:
    """They share one reader of the stream, and each hears of its own message."""
    for number in range(100):
        submit(http, f"m{number}")
    found: list[str] = []
    waiting = [
        threading.Thread(target=lambda n=number: found.append(http.get(f"/messages/m{n}?wait=60").json()["status"]))
        for number in range(100)
    ]
    for thread in waiting:
        thread.start()
    for number in range(100):
        http.post(f"/messages/m{number}/cancel")
    for thread in waiting:
        thread.join(60)
    assert found == ["cancelled"] * 100


def test_the_events_of_a_message(http: httpx.Client) -> None:
    """From its beginning to its end, which ends the stream; who comes back after that is told to stop asking."""
    submit(http, "m", metadata={"source_language": "en", "target_language": "fr"})
    submit(http, "other")
    move(http, "m", "running")
    with http.stream("GET", "/messages/m/events") as response:
        stream = read(response)
        assert "retry" in next(stream)
        seen = [next(stream), next(stream)]
        move(http, "other", "running")
        move(http, "m", "failed", error="no luck")
        seen.extend(stream)
    assert [event["event"] for event in seen] == ["queued", "running", "failed"]
    assert http.get("/messages/m/events", headers={"Last-Event-ID": seen[-1]["id"]}).status_code == 204
    with http.stream("GET", "/messages/m/events", headers={"Last-Event-ID": seen[0]["id"]}) as response:
        assert [event["event"] for event in read(response) if "event" in event] == ["running", "failed"]
    assert http.get("/messages/nobody/events").status_code == 404


def test_some_events_of_a_message(http: httpx.Client) -> None:
    """Those into a status, or after a cursor; who comes back after the end is told to stop asking, whatever it saw."""
    submit(http, "m")
    move(http, "m", "running")
    with http.stream("GET", "/messages/m/events?status=running") as response:
        stream = read(response)
        seen = [next(stream), next(stream)]
        move(http, "m", "failed", error="no luck")
        seen.extend(stream)
    assert [event["event"] for event in seen if "event" in event] == ["running"]
    last = [event["id"] for event in seen if "id" in event][-1]
    assert http.get("/messages/m/events?status=running", headers={"Last-Event-ID": last}).status_code == 204
    running = next(event["id"] for event in seen if "event" in event)
    with http.stream("GET", f"/messages/m/events?after={running}") as response:
        assert [event["event"] for event in read(response) if "event" in event] == ["failed"]
    assert http.get("/messages/m/events?status=done").status_code == 422


def test_a_stream_of_a_language(http: httpx.Client) -> None:
    """One of French has that of Canada, as lists do; a filter without a value is none."""
    with http.stream("GET", "/events?after=0-0&to=FR") as response:
        for name, language in (("a", "fr-CA"), ("b", "frr"), ("c", "fr")):
            submit(http, name, metadata={"target_language": language})
        assert [change["message_id"] for change in changes(response, 2)] == ["a", "c"]
    assert http.get("/events?to=").status_code == 422


def test_a_stream_with_filters(http: httpx.Client) -> None:
    """Only what was asked for, before and after it began."""
    submit(http, "a", priority=3, metadata={"target_language": "fr"})
    submit(http, "b", priority=3, metadata={"target_language": "de"})
    with http.stream("GET", "/events?after=0-0&to=fr&priority=3") as response:
        submit(http, "c", priority=4, metadata={"target_language": "fr"})
        submit(http, "d", priority=3, metadata={"target_language": "fr"})
        assert [change["message_id"] for change in changes(response, 2)] == ["a", "d"]


def test_the_timeline(http: httpx.Client) -> None:
    """Each status with its time and attempt; a new life is added to the old one."""
    submit(http, "m")
    move(http, "m", "running")
    move(http, "m", "retrying", error={"type": "provider-timeout", "message": "too slow"})
    move(http, "m", "queued")
    http.post("/messages/m/cancel")
    http.post("/messages/m/retry")
    entries = http.get("/messages/m/timeline").json()["entries"]
    assert [(entry["status"], entry["attempt"]) for entry in entries] == [
        ("queued", 0),
        ("running", 1),
        ("retrying", 1),
        ("queued", 1),
        ("cancelled", 1),
        ("queued", 1),
    ]
    times = [entry["at"] for entry in entries]
    assert times == sorted(times)
    assert http.get("/messages/nobody/timeline").status_code == 404


def test_a_timeline_of_translations(http: httpx.Client) -> None:
    """What tq translates itself says who did."""
    submit(http, "m", model_name="some-model")
    assert http.post("/messages/process", json={"message_id": "m"}).json()["status"] == "completed"
    last = http.get("/messages/m/timeline").json()["entries"][-1]
    assert (last["status"], last["info"], last["model"]) == ("completed", "pseudo", "some-model")


def test_a_very_long_timeline_is_bounded(http: httpx.Client) -> None:
    """Of hundreds of changes the newest are kept, and the beginning."""
    submit(http, "m")
    for _ in range(150):
        http.post("/messages/m/cancel")
        http.post("/messages/m/retry")
    entries = http.get("/messages/m/timeline").json()["entries"]
    assert 50 < len(entries) < 301
    assert (entries[0]["status"], entries[-1]["status"]) == ("queued", "queued")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("to=fr", ["c", "a"]),
        ("to=FR-ca", ["c"]),
        ("source=en", ["a"]),
        ("priority=7", ["b"]),
        ("model=m1", ["b"]),
        ("q=NEEDLE", ["c"]),
        ("q=b", ["b"]),
        ("prefix=a", ["a"]),
        ("to=fr&limit=1", ["c"]),
        ("error=reported", ["b"]),
        ("status=queued&prefix=b", []),
    ],
)
def test_lists_with_filters(http: httpx.Client, query: str, expected: list[str]) -> None:
    """By language, priority, model, text in ids and metadata, type of error and beginning of the id."""
    submit(http, "a", metadata={"source_language": "en", "target_language": "fr"})
    submit(http, "b", priority=7, model_name="m1", metadata={"target_language": "de"})
    submit(http, "c", metadata={"target_language": "fr-CA", "project": "a needle in hay"})
    move(http, "b", "running")
    move(http, "b", "failed", error="no luck")
    answer = http.get(f"/messages?{query}").json()
    assert [message["message_id"] for message in answer["messages"]] == expected


def test_pages_with_a_filter(http: httpx.Client) -> None:
    """All that match are found, none twice, with the cursor of each page."""
    batch = [{"content": "x", "message_id": f"m{n}", "priority": n % 3} for n in range(600)]
    http.post("/messages/batch", json={"messages": batch})
    for query, expected in (("priority=2", 200), ("prefix=m", 600)):
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = http.get(f"/messages?{query}&limit=50{cursor and f'&cursor={cursor}'}").json()
            found += [message["message_id"] for message in page["messages"]]
            cursor = page["next_cursor"]
        assert (len(found), len(set(found))) == (expected, expected)


def test_ids_by_their_beginning(http: httpx.Client, api: Api) -> None:
    """One that begins so, an id that others begin with, several, none; a pattern of Redis's is none here."""
    for message_id in ("apple", "apple-pie", "banana"):
        submit(http, message_id)
    with Client(api.url) as client:
        assert client.resolve("ban") == "banana"
        assert client.resolve("apple") == "apple"
        with pytest.raises(AmbiguousId, match="several ids begin with"):
            client.resolve("app")
        for none in ("cherry", "*", "[ab]", ""):
            with pytest.raises(UnknownMessage):
                client.resolve(none)
        found, _ = client.list(matching=MessageFilter(prefix="b"))
        assert [message.message_id for message in found] == ["banana"]


def test_failures_by_reason(http: httpx.Client, api: Api) -> None:
    """The most frequent first, with an example; all of a reason are retried at once, then all others."""
    for number in range(5):
        submit(http, f"m{number}")
        move(http, f"m{number}", "running")
        kind = "provider-timeout" if number < 3 else "provider-refused"
        move(http, f"m{number}", "failed", error={"type": kind, "message": f"message {number}"})
    found = http.get("/queue/failures").json()
    assert [(each["type"], each["count"], each["example"], each["message"]) for each in found["groups"]] == [
        ("provider-timeout", 3, "m2", "message 2"),
        ("provider-refused", 2, "m4", "message 4"),
    ]
    with Client(api.url) as client:
        retried = client.retry_failures("provider-timeout")
        assert (retried.retried, retried.refused, retried.next_cursor) == (3, 0, None)
        assert [group.type for group in client.failures().groups] == ["provider-refused"]
        assert client.retry_failures().retried == 2
    assert http.get("/queue/failures").json()["groups"] == []


def test_thousands_of_failures(http: httpx.Client, api: Api, api_valkey: Valkey) -> None:
    """All are counted, and retried a thousand at a time; those that cannot be stand in nobody's way."""
    ids = [f"m{number:04}" for number in range(2500)]
    keys = {"m2400": "sk-own-canary", "m0001": "sk-own-canary"}

    async def fail(queue: TranslationQueue) -> None:
        for name in ids:
            for status in (Status.RUNNING, Status.FAILED):
                await queue.set_status(name, status)

    with LocalClient(Settings(data_dir=api_valkey.folder)) as local:
        local.submit_many([make_submission("x", message_id=name, api_key=keys.get(name)) for name in ids])
        local.call(fail(local._queue))
    assert [group["count"] for group in http.get("/queue/failures").json()["groups"]] == [2500]
    first = http.post("/queue/failures/retry", json={"type": "reported"}).json()
    assert (first["retried"], first["refused"]) == (999, 1)
    assert http.get("/queue/failures").json()["groups"][0]["count"] == 1501
    with Client(api.url) as client:
        rest = client.retry_failures("reported")
        assert (rest.retried, rest.refused, rest.next_cursor) == (1499, 2, None)
        assert client.retry_failures().refused == 2
    assert http.post("/queue/failures/retry", json={"cursor": "x"}).status_code == 422


def test_a_filter_reads_no_texts(http: httpx.Client, api_valkey: Valkey) -> None:
    """Of thousands that it looks at, only those that are found are read."""
    http.post("/messages", json={"content": "x", "message_id": "first", "metadata": {"project": "ÄRGER", "n": 7}})
    for _ in range(3):
        batch = [{"content": "x" * 1000, "metadata": {"project": f"p{n}"}} for n in range(1000)]
        http.post("/messages/batch", json={"messages": batch})
    with api_valkey.client() as redis:
        before = redis.info("commandstats").get("cmdstat_hgetall", {"calls": 0})["calls"]
        for query in ("q=ärger", "q=ÄRG&to=en", "q=7&priority=0&prefix=fi"):
            found = http.get(f"/messages?{query}&limit=1").json()["messages"]
            assert [message["message_id"] for message in found] == ["first"]
        assert http.get("/messages?q=nothing-like-it").json()["messages"] == []
        assert redis.info("commandstats")["cmdstat_hgetall"]["calls"] - before == 3


def test_a_message_with_its_own_key_is_not_retried_without_it(http: httpx.Client) -> None:
    """It is counted as refused, and stays failed."""
    submit(http, "m", api_key="sk-own-key")
    move(http, "m", "running")
    move(http, "m", "failed", error="no luck")
    assert http.post("/queue/failures/retry").json() == {"retried": 0, "refused": 1, "next_cursor": None}


def test_room_in_the_queue(http: httpx.Client) -> None:
    """Whoever submits is told how much more there is room for."""
    answer = http.post("/messages", json={"content": "x"})
    assert answer.headers["ratelimit-policy"] == '"queued";q=100000'
    assert answer.headers["ratelimit"] == '"queued";r=99999'
    answer = http.post("/messages/batch", json={"messages": [{"content": "x"}] * 9})
    assert answer.headers["ratelimit"] == '"queued";r=99990'


def test_the_reader_ends_and_begins_again(http: httpx.Client, api_valkey: Any) -> None:
    """Without listeners nothing is read; the next one hears everything again."""

    def looks() -> int:
        with api_valkey.client() as redis:
            return int(redis.info("commandstats").get("cmdstat_xread", {"calls": 0})["calls"])

    seen = (0, 0.0)

    def at_rest() -> bool:
        """Nobody has looked at the stream for longer than three rounds take."""
        nonlocal seen
        if (found := looks()) != seen[0]:
            seen = (found, time.monotonic())
        return time.monotonic() - seen[1] > 3 * ROUND

    for _ in range(2):
        with http.stream("GET", "/events") as response:
            stream = read(response)
            next(stream)
            submit(http, f"m{time.monotonic_ns()}")
            assert next(stream)["event"] == "queued"
        wait_until(at_rest, "nobody reads the stream")
