"""Submitting through both clients of Python, and on the store itself: many, patiently, and what errors are about."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any, Self

import pytest
from api_server import Api
from background import in_background
from clients import Awaited
from gateway import Gateway
from servers import Valkey, wait_until

from tq.async_client import AsyncClient
from tq.backend import make_submission
from tq.client import Client
from tq.errors import (
    ConnectionLost,
    ContentTooLarge,
    DuplicateMessage,
    IllegalTransition,
    InvalidMessage,
    NoAnswer,
    QueueFull,
    ReportedError,
    UnknownMessage,
    Unreachable,
)
from tq.local import LocalClient
from tq.messages import Message, Status
from tq.settings import Settings

#: Messages that the small queue takes.
ROOM = 20


@pytest.fixture
def api(valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> Iterator[Api]:
    """The API on the same Valkey as ``local``, with a small queue."""
    assert valkey.socket.exists()
    with Api(tmp_path, environment | {"TQ_MAX_QUEUED": str(ROOM)}) as server:
        yield server


@pytest.fixture(params=[Client, Awaited, LocalClient])
def small(request: pytest.FixtureRequest, between: Gateway, tmp_path: Path) -> Iterator[Any]:
    """Any client of a small queue."""
    made = (
        LocalClient(Settings(data_dir=tmp_path, max_queued=ROOM))
        if request.param is LocalClient
        else request.param(between.url)
    )
    with made as client:
        yield client


def emptied(local: LocalClient, stop: threading.Event) -> None:
    """Cancel what is queued, a few at a time, as workers would take it."""
    while not stop.wait(0.2):
        for message in local.list(Status.QUEUED, limit=10)[0]:
            local.cancel(message.message_id)


# -- one after the other ---------------------------------------------------------------------------


def test_results_come_as_batches_are_answered(kind: Any, valkey: Valkey, api: Api, between: Gateway) -> None:
    """Items are taken as they are sent, and given back in order; nothing is sent that nobody asks for."""
    assert valkey.socket.exists()
    assert api.port
    taken: list[int] = []

    def texts() -> Iterator[str]:
        for n in range(100_000):
            taken.append(n)
            yield f"text {n}" if n != 3 else "\ud800"

    with kind(between.url) as client, closing(client.submit_each(texts(), to="fr", priority=2)) as results:
        assert taken == []
        first = [next(results) for _ in range(ROOM + 2)]
        assert len(taken) <= 1001 + 1
        assert between.count("POST /messages/batch") == 1
    assert [type(each) for each in first] == [Message] * 3 + [InvalidMessage] + [Message] * (ROOM - 3) + [QueueFull]
    assert [each.content for each in first if isinstance(each, Message)] == [
        f"text {n}" for n in range(ROOM + 1) if n != 3
    ]
    assert {each.priority for each in first if isinstance(each, Message)} == {2}


def test_memory_stays_constant(kind: Any, api: Api) -> None:
    """However many items there are, only a batch of them is held."""
    number = held = 0
    with kind(api.url) as client:
        tracemalloc.start()
        try:
            with closing(client.submit_each("x" * 10_000 + str(n) for n in range(5000))) as results:
                for _ in results:
                    number += 1
                    if number % 250 == 0:
                        gc.collect()
                        held = max(held, tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    assert number == 5000
    assert held < 25e6, "all of them are 50 MB"


def test_a_full_queue_is_waited_for(small: Any, local: LocalClient) -> None:
    """With patience, what found no room is submitted again until it has: each once, and answered in its place."""
    stop = threading.Event()
    texts = [f"text {n}" if n != 30 else "\ud800" for n in range(60)]
    with in_background(lambda: emptied(local, stop)):
        results = list(small.submit_each(texts, patience=30))
        stop.set()
    assert [type(each) for each in results] == [Message] * 30 + [InvalidMessage] + [Message] * 29
    assert [each.content for each in results if isinstance(each, Message)] == [text for text in texts if len(text) > 1]
    assert sum(local.stats().counts.values()) == 59


def test_patience_with_a_full_queue_ends(small: Any, local: LocalClient) -> None:
    """What was accepted is told before anything is waited for; the rest is refused after so many seconds."""
    began = time.monotonic()
    with closing(small.submit_each((f"text {n}" for n in range(ROOM + 5)), patience=4)) as results:
        first = [next(results) for _ in range(ROOM)]
        assert time.monotonic() - began < 4
        rest = list(results)
    assert 4 <= time.monotonic() - began < 20
    assert {type(each) for each in first} == {Message}
    assert [type(each) for each in rest] == [QueueFull] * 5
    assert local.stats().counts[Status.QUEUED] == ROOM
    began = time.monotonic()
    assert [type(each) for each in small.submit_many(["Hello"] * 3)] == [QueueFull] * 3
    assert time.monotonic() - began < 4


def test_a_full_queue_says_when_to_come_back(kind: Any, api: Api) -> None:
    """What found no room has the seconds that the API asks to wait, in a batch as alone; what is wrong has none."""
    with kind(api.url) as client:
        client.submit_many(["Hello"] * ROOM)
        with pytest.raises(QueueFull) as alone:
            client.submit("Hello")
        # The second is wrong only for the API.
        many = client.submit_many([make_submission("Hello"), make_submission("x" * 2**21)])
        assert [type(each) for each in many] == [QueueFull, ContentTooLarge]
        assert [each.retry_after for each in many] == [alone.value.retry_after, None]
        assert alone.value.retry_after


async def test_texts_that_are_awaited(api: Api, between: Gateway) -> None:
    """AsyncClient takes an async generator: batch by batch, each result in its place; it says what is wrong at once."""
    taken: list[int] = []

    async def texts() -> AsyncIterator[str]:
        for n in range(2500):
            await asyncio.sleep(0)
            taken.append(n)
            yield f"text {n}" if n != 3 else "\ud800"

    assert api.port
    async with AsyncClient(between.url) as client:
        async with aclosing(client.submit_each(texts(), to="fr")) as results:
            first = [await anext(results) for _ in range(ROOM + 2)]
            assert len(taken) == 1000
            assert [type(each) for each in first[2:5]] == [Message, InvalidMessage, Message]
            assert [type(each) for each in first[-2:]] == [Message, QueueFull]
            assert len([each async for each in results]) == 2500 - len(first)
        assert between.count("POST /messages/batch") == 3
        taken.clear()
        with pytest.raises(TypeError, match="target_language"):
            await client.submit_many(texts(), target_language="fr")  # type: ignore[call-arg]
        assert taken == []
        assert len(await client.submit_many(texts())) == 2500


def test_an_api_that_is_away_is_waited_for(kind: Any, api: Api, local: LocalClient) -> None:
    """Patience is also for an API that restarts."""

    def restart() -> None:
        api.process.kill()
        time.sleep(8)  # longer than without patience
        api.__enter__()

    with kind(api.url) as client:
        client.health()
        with in_background(restart):
            assert [type(each) for each in client.submit_each(["Hello"], patience=60)] == [Message]
    assert local.stats().counts[Status.QUEUED] == 1


# -- what errors are about -------------------------------------------------------------------------


def test_an_error_has_the_id(small: Any, local: LocalClient) -> None:
    """Of what was refused, and of what failed: the id that was given, or the one that it would have."""
    with pytest.raises(ContentTooLarge) as large:
        small.submit("x" * 2**21)
    assert large.value.message_id
    small.submit("Hello", message_id="mine")
    with pytest.raises(DuplicateMessage) as duplicate:
        small.translate("Other", message_id="mine")
    assert duplicate.value.message_id == "mine"
    local.set_status("mine", Status.RUNNING)
    local.set_status("mine", Status.FAILED, error="no luck")
    with pytest.raises(ReportedError) as failed:
        small.translate("Hello", message_id="mine", timeout=30)
    assert failed.value.message_id == "mine"
    items = [make_submission("x" * 2**21), make_submission("Other", message_id="mine"), InvalidMessage("made badly")]
    ids = [each.message_id for each in small.submit_many(items)]
    assert (len(ids[0] or ""), ids[1:]) == (26, ["mine", None])


def test_an_error_about_a_message_has_its_id(small: Any) -> None:
    """Whatever is asked of a message, the error that answers it has its id; also that of a text that is none."""
    ways: list[Callable[[str], Any]] = [
        small.get,
        small.wait,
        small.cancel,
        small.retry,
        small.timeline,
        small.send_callback,
        lambda name: small.set_status(name, "running"),
        lambda name: list(small.watch(name)),
        lambda name: list(small.wait_many([name])),
        lambda name: _raised(small.get_many([name])[0]),
    ]
    if not isinstance(small, LocalClient):
        ways.append(lambda name: list(small.events(message_id=name)))
    for name in ("nope", "no such/id"):
        for way in ways:
            with pytest.raises(UnknownMessage) as unknown:
                way(name)
            assert unknown.value.message_id == name
    small.submit("Hello", message_id="mine")
    ways = [small.retry, lambda name: small.set_status(name, "completed", translation="x")]
    for way in ways:
        with pytest.raises(IllegalTransition) as illegal:
            way("mine")
        assert illegal.value.message_id == "mine"
    with pytest.raises(InvalidMessage) as invalid:
        small.submit("", message_id="yours")
    assert invalid.value.message_id == "yours"
    refused = small.submit_many(["", "Hello", "\ud800"])
    assert len({each.message_id for each in refused} - {None}) == 3


def _raised(error: Any) -> None:
    raise error


def test_later_batches_have_their_ids(kind: Any, api: Api) -> None:
    """When the API goes away between two batches, each item of the second has an error and an id of its own."""

    def texts() -> Iterator[str]:
        for n in range(1500):
            if n == 1200:
                api.process.kill()
            yield f"text {n}"

    with kind(api.url) as client:
        results = client.submit_many(texts())
    lost = results[1000:]
    assert {type(each) for each in lost} == {ConnectionLost}
    assert len({each.message_id for each in lost}) == len({id(each) for each in lost}) == 500
    assert None not in {each.message_id for each in lost}


class Slow:
    """Takes requests and answers the first so many of them with silence; a context manager.

    Args:
        api: which answers the others.
        count: how many.
    """

    def __init__(self, api: Api, count: int) -> None:
        self.seen: list[str] = []
        self._api = api
        self._count = count
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._connections: list[socket.socket] = []

    def serve(self) -> None:
        """Until it is closed."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            request = connection.recv(65536)
            head, _, body = request.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            while len(body) < length:
                body += connection.recv(65536)
            self.seen.append(json.loads(body).get("message_id", ""))
            lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
            headers = {name: value for name, _, value in lines if name in {"Content-Type", "Idempotency-Key"}}
            with self._api.client() as http:
                answer = http.post(head.split()[1].decode(), content=body, headers=headers)
            if len(self.seen) <= self._count:
                continue  # it was stored, and nobody hears of it
            connection.sendall(
                b"HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
                % (len(answer.content), answer.content)
            )

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._connections:
            connection.close()


def test_a_silent_submit_is_sent_again(kind: Any, api: Api, local: LocalClient) -> None:
    """An answer that does not come in time is asked for again, with the same id: the message is stored once."""
    ways: list[Callable[[Any], Any]] = [
        lambda client: client.submit("Hello"),
        lambda client: client.submit_many(["Hello"])[0],
        lambda client: client.submit("Hello", idempotency_key="mine"),
    ]
    for way in ways:
        with Slow(api, 2) as slow, kind(slow.url, timeout=1) as client:
            message = way(client)
            assert isinstance(message, Message)
            assert local.get(message.message_id).content == "Hello"
            assert len(slow.seen) == 3
            assert len(set(slow.seen)) == 1
    assert local.stats().counts[Status.QUEUED] == 3


def test_silence_is_bounded(kind: Any, api: Api, local: LocalClient) -> None:
    """It is given up after seconds; the error says which id to look up, or to submit again."""
    with Slow(api, 1000) as slow, kind(slow.url, timeout=1) as client:
        began = time.monotonic()
        with pytest.raises(NoAnswer) as silent:
            client.submit("Hello", to="fr")
        assert time.monotonic() - began < 20
        message_id = silent.value.message_id
        assert slow.seen
        assert set(slow.seen) == {message_id}
    assert message_id is not None
    assert local.get(message_id).content == "Hello"
    with kind(api.url) as client:
        assert client.submit("Hello", to="fr", message_id=message_id).message_id == message_id
    assert local.stats().counts[Status.QUEUED] == 1
    with kind("http://127.0.0.1:1") as client, pytest.raises(Unreachable) as refused:
        client.submit("Hello")
    with pytest.raises(UnknownMessage):
        local.get(refused.value.message_id or "")
    wait_until(lambda: threading.active_count() < 50, "no thread is left of those that served")
