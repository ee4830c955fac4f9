"""Both clients of Python while connections break, the API restarts, or something else answers."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import psutil
import pytest
from api_server import Api
from background import in_background
from cutting_proxy import CuttingProxy
from servers import Valkey, wait_until

from tq.errors import ApiError, ConnectionLost, Unreachable
from tq.local import LocalClient
from tq.messages import Message, Status


@pytest.fixture
def api(valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> Iterator[Api]:
    """The API on the same Valkey as ``local``."""
    assert valkey.socket.exists()
    with Api(tmp_path, environment) as server:
        yield server


def restart(api: Api, *, away: float = 1.0) -> None:
    """Kill the API, and start it again on the same port after some seconds."""
    api.process.kill()
    time.sleep(away)  # what clients do meanwhile is the test
    api.__enter__()


def test_a_batch_is_cut(client: Any, proxy: CuttingProxy, local: LocalClient) -> None:
    """Whether the request or its answer breaks off, each message is stored once, and its own result is answered."""
    proxy.answers_to_cut = 2
    first = client.submit_many((f"text {n}" for n in range(2500)), to="fr")
    proxy.requests_to_cut = 2
    second = client.submit_many((f"more {n}" for n in range(2500)), to="fr")
    assert (proxy.answers_to_cut, proxy.requests_to_cut) == (0, 0)
    assert [each.content for each in first if isinstance(each, Message)] == [f"text {n}" for n in range(2500)]
    assert [each.content for each in second if isinstance(each, Message)] == [f"more {n}" for n in range(2500)]
    assert len({each.message_id for each in (*first, *second)}) == 5000
    assert local.stats().counts[Status.QUEUED] == 5000


def test_a_submit_is_cut(client: Any, proxy: CuttingProxy, local: LocalClient) -> None:
    """An answer that breaks off is asked for again: one message, by its id or by the key."""
    for options in ({}, {"idempotency_key": "mine"}):
        proxy.answers_to_cut = 1
        message = client.submit("Hello", to="fr", **options)
        assert local.get(message.message_id).content == "Hello"
        assert proxy.answers_to_cut == 0
    assert local.stats().counts[Status.QUEUED] == 2


def test_the_api_goes_away(client: Any, api: Api, local: LocalClient) -> None:
    """What was accepted is answered as such, what was not says why, and nothing waits for ever."""

    def texts() -> Iterator[str]:
        for n in range(2500):
            if n == 1500:
                api.process.kill()
            yield f"text {n}"

    began = time.monotonic()
    results = client.submit_many(texts())
    assert time.monotonic() - began < 30
    stored = [each for each in results if isinstance(each, Message)]
    assert len(stored) == 1000 == local.stats().counts[Status.QUEUED]
    assert {type(each) for each in results[1000:]} == {ConnectionLost}
    with pytest.raises(Unreachable):
        client.submit_many(["Hello"])


def test_a_wait_outlives_the_api(client: Any, api: Api, local: LocalClient) -> None:
    """A restart of the API while one waits is no end of the waiting, for one message and for many."""
    messages = client.submit_many([f"text {n}" for n in range(20)])

    def act() -> None:
        time.sleep(0.5)  # until the wait has begun
        local.cancel(messages[0].message_id)
        restart(api)
        for message in messages[1:]:
            local.cancel(message.message_id)

    with in_background(act):
        assert client.wait(messages[-1], timeout=60).status is Status.CANCELLED
    for message in messages:
        local.retry(message.message_id)
    with in_background(act):
        ended = [message.message_id for message in client.wait_many(messages, timeout=60)]
    assert sorted(ended) == sorted(message.message_id for message in messages)


def test_a_new_client_outlives_the_api(kind: Any, api: Api, local: LocalClient) -> None:
    """Who was connected once, and answered never, waits for seconds in which connections are refused."""
    message = local.submit("Hello")

    def connected() -> bool:
        return any(each.status == psutil.CONN_ESTABLISHED for each in psutil.Process(api.process.pid).net_connections())

    def act() -> None:
        wait_until(connected, "the wait has begun")
        restart(api, away=5)
        local.cancel(message.message_id)

    with kind(api.url) as client, in_background(act):
        assert client.wait(message, timeout=60).status is Status.CANCELLED


def test_events_outlive_the_api(client: Any, api: Api, proxy: CuttingProxy, local: LocalClient) -> None:
    """Nothing is missed, and nothing told twice, over broken connections and a restart of the API."""
    local.submit("Hello", message_id="before")
    with contextlib.closing(client.events(after="0")) as changes:
        seen = [next(changes).message_id]
        proxy.cut()
        local.submit("Hello", message_id="cut")
        seen.append(next(changes).message_id)
        with in_background(lambda: restart(api)):
            local.submit("Hello", message_id="away")
            seen.append(next(changes).message_id)
    assert seen == ["before", "cut", "away"]


def test_changes_outlive_the_api(client: Any, api: Api, local: LocalClient) -> None:
    """The lower stream says that it broke, and goes on where it was."""
    changes = client.changes(block=0.1)
    api.process.kill()

    def broken() -> bool:
        try:
            next(changes)
        except Unreachable:
            return True
        return False

    wait_until(broken, "the end of the stream is noticed")
    local.submit("Hello", message_id="away")
    restart(api)
    assert [each.message_id for each in wait_until(lambda: next(changes), "the change arrives")] == ["away"]
    changes.close()


def test_silence(kind: Any) -> None:
    """A server that takes connections and says nothing is given up after the timeout."""
    server = socket.create_server(("127.0.0.1", 0))
    with server, kind(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.5) as client:
        for way in (lambda: client.submit("Hello"), lambda: client.submit_many(["Hello"]), client.health):
            began = time.monotonic()
            with pytest.raises(Unreachable, match="cannot be reached"):
                way()
            assert time.monotonic() - began < 15


class Foreign(BaseHTTPRequestHandler):
    """Answers everything with the same: JSON, but nothing of tq's."""

    protocol_version = "HTTP/1.1"
    answer: ClassVar[bytes] = b'{"results": [{}, {}], "messages": [{"id": 1}]}'

    def do_GET(self) -> None:
        """Whatever it is."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    do_POST = do_GET  # noqa: N815 - the name that http.server calls

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Page(Foreign):
    """A page, as any server of the web answers."""

    answer = b"<!doctype html><title>It works</title>"


@pytest.mark.parametrize("handler", [Foreign, Page])
def test_somebody_else_answers(kind: Any, handler: type[Foreign]) -> None:
    """What is no answer of tq's is called so, whatever was asked."""
    with serving(handler) as url, kind(url) as client:
        for way in (
            lambda: client.submit("Hello"),
            lambda: client.submit_many(["Hello"]),
            lambda: client.get("mine"),
            lambda: client.get_many(["mine"]),
            client.list,
            lambda: client.wait("mine"),
            client.stats,
            client.health,
        ):
            with pytest.raises(ApiError, match="not") as refused:
                way()
            assert "Hello" not in str(refused.value)


class Confused(Foreign):
    """Answers everything with a message, but always the same."""


def test_another_message_is_answered(kind: Any, local: LocalClient) -> None:
    """A message that is not the one that was asked for is never taken for it."""
    other = local.submit("Hello", message_id="other")
    body = {**other.document(), "results": [{"message": other.document()}] * 2, "entries": []}
    Confused.answer = json.dumps(body).encode()
    with serving(Confused) as url, kind(url) as client:
        assert client.get("other") == other
        ways: list[Callable[[], Any]] = [
            lambda: client.submit("Hello"),
            lambda: client.submit_many(["Hello", "World"]),
            lambda: client.get("mine"),
            lambda: client.wait("mine", timeout=5),
            lambda: client.cancel("mine"),
            lambda: client.retry("mine"),
            lambda: client.set_status("mine", Status.RUNNING),
            lambda: client.timeline("mine"),
        ]
        for way in ways:
            with pytest.raises(ApiError, match="not"):
                way()


class Older(BaseHTTPRequestHandler):
    """The API as it was before it could wait: it refuses the parameter, or passes over it."""

    protocol_version = "HTTP/1.1"
    port: ClassVar[int]
    refuses: ClassVar[bool]
    looks: ClassVar[int]

    def do_GET(self) -> None:
        """Forwarded without the query."""
        type(self).looks += 1
        path, _, query = self.path.partition("?")
        if query and self.refuses:
            problem = {"type": "urn:tq:problem:invalid-message", "detail": "the query is not valid"}
            status, body = 422, json.dumps(problem).encode()
        else:
            answer = httpx.get(f"http://127.0.0.1:{self.port}{path}", trust_env=False)
            status, body = answer.status_code, answer.content
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.parametrize("refuses", [False, True])
def test_an_older_api(kind: Any, api: Api, local: LocalClient, refuses: bool) -> None:  # noqa: FBT001 - a parameter
    """Where the API does not wait, the client looks again and again, ever more seldom."""
    Older.port, Older.refuses, Older.looks = api.port, refuses, 0
    message = local.submit("Hello")

    def act() -> None:
        time.sleep(2)  # it is waited for meanwhile
        local.cancel(message.message_id)

    with serving(Older) as url, kind(url) as client, in_background(act):
        assert client.wait(message, timeout=60).status is Status.CANCELLED
    assert 3 <= Older.looks <= 30


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server of the standard library on a port of its own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
