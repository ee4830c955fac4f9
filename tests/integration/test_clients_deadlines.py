"""Both clients of Python keep the time that they are given, whatever the API does meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from api_server import Api
from background import in_background
from cli_driver import Cli, complete
from servers import Valkey, wait_until

from tq.async_client import AsyncClient
from tq.errors import InvalidSettings, UnknownMessage, WaitTimeout
from tq.local import LocalClient
from tq.messages import Message, Status

#: Seconds that are given, and for which a busy machine may be late; a client without a deadline takes 30 and more.
GIVEN = 2.0
LATE = 12.0


@pytest.fixture
def api(valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> Iterator[Api]:
    """The API on the same Valkey as ``local``."""
    assert valkey.socket.exists()
    with Api(tmp_path, environment) as server:
        yield server


@contextmanager
def stopped(api: Api) -> Iterator[None]:
    """The kernel takes connections for the API, and nothing answers."""
    os.kill(api.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(api.process.pid, signal.SIGCONT)


def ways(client: Any, message: str) -> dict[str, Callable[[], Any]]:
    """All that can be done with a timeout."""
    return {
        "wait": lambda: client.wait(message, timeout=GIVEN),
        "wait_many": lambda: list(client.wait_many([message], timeout=GIVEN)),
        "watch": lambda: list(client.watch(message, timeout=GIVEN)),
        "translate": lambda: client.translate("Hello", timeout=GIVEN, message_id="translated"),
    }


@pytest.mark.parametrize("known", [False, True])
def test_a_silent_api(kind: Any, api: Api, local: LocalClient, known: bool) -> None:  # noqa: FBT001 - a parameter
    """At the deadline each way to wait ends with WaitTimeout, for a new client and for one that was answered before."""
    local.submit("Hello", message_id="mine")
    with kind(api.url) as client:
        if known:
            client.get("mine")
        with stopped(api):
            for name, way in ways(client, "mine").items():
                began = time.monotonic()
                with pytest.raises(WaitTimeout, match="after 2 s") as missed:
                    way()
                assert GIVEN * 0.9 < time.monotonic() - began < LATE, name
                assert "does not answer in time" in missed.value.why
                assert missed.value.message_id == {"wait_many": None, "translate": "translated"}.get(name, "mine")


@pytest.mark.parametrize("timeout", [1e12, float("inf")])
def test_more_than_anybody_waits(kind: Any, api: Api, local: LocalClient, timeout: float) -> None:
    """A timeout that no clock counts to is none."""
    with kind(api.url) as client:
        for each in (client, local):
            messages = [local.submit(text) for text in ("Hello", "World")]
            timer = threading.Timer(0.5, lambda ids=messages: [local.cancel(one) for one in ids])
            timer.start()
            assert len(list(each.wait_many(messages, timeout=timeout))) == 2
            assert each.wait(messages[0], timeout=timeout).ended
            timer.join()


@pytest.mark.parametrize("timeout", [None, 0, -1, "5", float("inf"), float("nan")])
def test_no_timeout(kind: Any, timeout: Any) -> None:
    """What is no number of seconds for an answer is refused where it is given."""
    with pytest.raises(InvalidSettings, match="timeout"):
        kind("http://127.0.0.1:1", timeout=timeout)


def test_a_stream_falls_silent(kind: Any, api: Api, local: LocalClient) -> None:
    """A wait for many that has begun keeps its time, too."""
    local.submit("Hello", message_id="mine")
    local.submit("Hello", message_id="other")
    local.cancel("other")
    with kind(api.url) as client:
        found = client.wait_many(["mine", "other"], timeout=GIVEN)
        assert next(found).message_id == "other"
        with stopped(api):
            began = time.monotonic()
            with pytest.raises(WaitTimeout):
                next(found)
            assert time.monotonic() - began < LATE


async def test_a_crowd_before_a_silent_api(api: Api, local: LocalClient) -> None:
    """Those who share a stream keep their time as well."""
    local.submit("Hello", message_id="mine")
    async with AsyncClient(api.url) as client:
        await client.get("mine")
        with stopped(api):
            began = time.monotonic()
            waits = [client.wait("mine", timeout=GIVEN) for _ in range(40)]
            ends = await asyncio.gather(*waits, return_exceptions=True)
            assert {(type(end), getattr(end, "message_id", "")) for end in ends} == {(WaitTimeout, "mine")}
            assert GIVEN * 0.9 < time.monotonic() - began < LATE


def test_an_api_that_stood_still(kind: Any, api: Api, local: LocalClient) -> None:
    """What the API answers late is in time for who has time."""
    message = local.submit("Hello")

    def act() -> None:
        with stopped(api):
            local.cancel(message.message_id)
            time.sleep(GIVEN)  # while it is waited for

    with kind(api.url) as client:
        with in_background(act):
            assert client.wait(message, timeout=60).status is Status.CANCELLED
        local.retry(message.message_id)
        with in_background(act):
            assert [each.status for each in client.wait_many([message.message_id], timeout=60)] == [Status.CANCELLED]


def test_an_answer_in_drops(kind: Any) -> None:
    """An answer that comes byte by byte has to be whole in time, though each byte is."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
            while not over.wait(0.2):
                connection.sendall(b" ")

    with listener, kind(f"http://127.0.0.1:{listener.getsockname()[1]}") as client, in_background(drip):
        began = time.monotonic()
        with pytest.raises(WaitTimeout):
            client.wait("mine", timeout=GIVEN)
        over.set()
        assert time.monotonic() - began < LATE


def test_no_time_at_all(kind: Any, api: Api, local: LocalClient) -> None:
    """A timeout of nothing is one look, which finds what has ended."""
    for name in ("open", "ended"):
        local.submit("Hello", message_id=name)
    local.cancel("ended")
    with kind(api.url) as client:
        assert client.wait("ended", timeout=0).status is Status.CANCELLED
        assert [each.message_id for each in client.wait_many(["ended"], timeout=0)] == ["ended"]
        assert [each.message_id for each in client.watch("ended", timeout=0)] == ["ended"]
        for way in (lambda: client.wait("open", timeout=0), lambda: list(client.watch("open", timeout=0))):
            with pytest.raises(WaitTimeout, match="open is still queued after 0 s"):
                way()
        with pytest.raises(UnknownMessage):
            client.wait("nope", timeout=0)
        with pytest.raises(WaitTimeout, match=r"open is still queued after 1\.5 s"):
            client.wait("open", timeout=1.4999987)


def test_a_late_end(kind: Any, api: Api, local: LocalClient) -> None:
    """A message that ends shortly before the deadline is answered."""
    message = local.submit("Hello")
    with kind(api.url) as client:

        def act() -> None:
            time.sleep(5)  # of eight
            local.cancel(message.message_id)

        with in_background(act):
            assert client.wait(message, timeout=8).status is Status.CANCELLED


def restart(api: Api) -> None:
    """Kill the API, and start it again on the same port after some seconds."""
    api.process.kill()
    time.sleep(1.5)  # what clients do meanwhile is the test
    api.__enter__()


def test_a_watch_outlives_the_api(kind: Any, api: Api, local: LocalClient) -> None:
    """A restart of the API is no end of the watching: each status is told once, to the last."""
    message = local.submit("Hello")
    with kind(api.url) as client:
        states = client.watch(message, timeout=60)
        seen = [next(states).status]

        def act() -> None:
            restart(api)
            complete(local, message.message_id, "Bonjour")

        with in_background(act):
            seen += [state.status for state in states]
    assert seen in (["queued", "completed"], ["queued", "running", "completed"])


def test_a_watch_of_the_store_outlives_it(valkey: Valkey, local: LocalClient) -> None:
    """The same without an API in between, when Redis restarts."""
    message = local.submit("Hello")
    states = local.watch(message, timeout=60)
    assert next(states).status is Status.QUEUED

    def act() -> None:
        valkey.kill()
        time.sleep(1.5)  # what is watched for meanwhile is the test
        valkey.start()
        local.cancel(message.message_id)

    with in_background(act):
        assert [state.status for state in states] == [Status.CANCELLED]


@pytest.mark.parametrize("line", [("submit", "Hello", "--id", "mine", "--wait"), ("status", "mine", "--follow")])
def test_commands_outlive_the_api(tq: Cli, api: Api, local: LocalClient, line: tuple[str, ...]) -> None:
    """`tq submit --wait` and `tq status --follow` over HTTP wait for an API that restarts."""
    if line[0] == "status":
        local.submit("Hello", message_id="mine")
    with tq.start(*line, TQ_URL=api.url) as running:
        wait_until(lambda: b"mine" in running.out + running.err.encode(), lambda: f"it follows: {running.err}")
        restart(api)
        assert isinstance(complete(local, "mine", "Bonjour"), Message)
        wait_until(lambda: running.popen.poll() is not None, "it has ended")
        assert running.popen.returncode == 0, running.err
        assert b"Bonjour" in running.out
