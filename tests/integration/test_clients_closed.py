"""Both clients of Python are closed while other threads, or tasks, use them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from api_server import Api
from clients import Awaited
from servers import Valkey, wait_until

from tq.async_client import AsyncClient
from tq.client import Client
from tq.errors import ClientClosed
from tq.local import LocalClient

#: Seconds in which all have found out, on a busy machine; without being told they would take 25 and more.
SOON = 8.0


@pytest.fixture
def api(valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> Iterator[Api]:
    """The API on the same Valkey as ``local``."""
    assert valkey.socket.exists()
    with Api(tmp_path, environment) as server:
        yield server


def silent(api: Api) -> None:
    """The connection is taken, and nothing comes."""
    os.kill(api.process.pid, signal.SIGSTOP)


def gone(api: Api) -> None:
    """Connections are refused."""
    api.process.kill()


def well(_: Api) -> None:
    """Nothing ends, as no worker is there."""


Trouble = Callable[[Api], None]
TROUBLES = [well, silent, gone]


def names() -> set[str]:
    """Of all threads."""
    return {thread.name for thread in threading.enumerate()}


def patient(client: Any, trouble: Trouble) -> dict[str, Callable[[], Any]]:
    """What takes long then."""
    waits = {
        "wait": lambda: client.wait("mine"),
        "wait_many": lambda: client.wait_many(["mine"]),
        "watch": lambda: client.watch("mine"),
        "translate": lambda: client.translate("Hello", message_id="translated"),
    }
    requests = {
        "stats": client.stats,
        "submit": lambda: client.submit("Hello", message_id="submitted"),
        "submit_many": lambda: client.submit_each(["Hello"], patience=60),
    }
    return waits if trouble is well else waits | requests


@pytest.mark.parametrize("trouble", TROUBLES)
def test_close_ends_all(api: Api, local: LocalClient, trouble: Trouble) -> None:
    """Whoever waits in another thread hears at once that the client was closed, whatever it waits for."""
    local.submit("Hello", message_id="mine")
    client = Client(api.url)
    client.health()
    trouble(api)
    ends: dict[str, Any] = {}

    def run(name: str, way: Callable[[], Any]) -> None:
        try:
            result = way()
            ends[name] = list(result) if isinstance(result, Iterator) else result
        except BaseException as error:  # noqa: BLE001 - it is what the test is about
            ends[name] = error

    ways = patient(client, trouble)
    threads = [threading.Thread(target=run, args=way) for way in ways.items()]
    for thread in threads:
        thread.start()
    time.sleep(1)  # they all wait
    assert not ends
    began = time.monotonic()
    client.close()
    for thread in threads:
        thread.join(60)
    assert time.monotonic() - began < SOON
    assert {name: type(end) for name, end in ends.items()} == dict.fromkeys(ways, ClientClosed)
    wait_until(lambda: "tq-events" not in names(), "no reader is left")


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_close_ends_all_that_is_awaited(api: Api, local: LocalClient, trouble: Trouble) -> None:
    """The same with tasks, of which none is left; many more wait than the connections that they may have."""
    local.submit("Hello", message_id="mine")
    client = AsyncClient(api.url)
    await client.health()
    trouble(api)

    async def run(way: Callable[[], Any]) -> Any:
        result = way()
        return await result if isinstance(result, Awaitable) else [each async for each in result]

    ways = [*patient(client, trouble).values()]
    ways += [ways[0]] * 40
    tasks = [asyncio.create_task(run(way)) for way in ways]
    done, _ = await asyncio.wait(tasks, timeout=1)
    assert not done
    began = time.monotonic()
    async with aclosing(client):
        pass
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert time.monotonic() - began < SOON
    assert [type(end) for end in ends] == [ClientClosed] * len(ways)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_close_ends_events(api: Api, local: LocalClient, trouble: Trouble) -> None:
    """A client that is closed in one thread ends the streams that are read in others, at once and without an error."""
    local.submit("Hello", message_id="mine")
    client = Client(api.url)
    client.health()
    seen: list[list[str]] = [[], []]
    begun = threading.Event()
    failures: list[BaseException] = []

    def read(mine: list[str]) -> None:
        try:
            for change in client.events(after="0"):
                mine.append(change.message_id)
                begun.set()
        except BaseException as error:  # noqa: BLE001 - it is what the test is about
            failures.append(error)

    threads = [threading.Thread(target=read, args=(each,)) for each in seen]
    threads[0].start()
    assert begun.wait(30)
    trouble(api)
    threads[1].start()
    time.sleep(1)  # until they have found out
    began = time.monotonic()
    client.close()
    for thread in threads:
        thread.join(30)
    assert time.monotonic() - began < SOON
    assert not failures
    assert seen[0] == ["mine"]
    wait_until(lambda: "tq-events" not in names(), "no reader is left")


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_close_ends_awaited_events(api: Api, local: LocalClient, trouble: Trouble) -> None:
    """The same with tasks, of which none is left."""
    local.submit("Hello", message_id="mine")
    client = AsyncClient(api.url)
    await client.health()

    seen: list[list[str]] = [[], []]
    begun = asyncio.Event()

    async def read(mine: list[str]) -> None:
        async for change in client.events(after="0"):
            mine.append(change.message_id)
            begun.set()

    first = asyncio.create_task(read(seen[0]))
    await begun.wait()
    trouble(api)
    late = asyncio.create_task(read(seen[1]))
    await asyncio.sleep(1)  # until they have found out
    began = time.monotonic()
    await client.close()
    await asyncio.gather(first, late)
    assert time.monotonic() - began < SOON
    assert seen[0] == ["mine"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_nothing_after_it(kind: Any, api: Api) -> None:
    """A client that was closed says so, and may be closed again."""
    with kind(api.url) as client:
        client.health()
        close = client.aclose if kind is Awaited else client.close
        close()
        close()
        ways: list[Callable[[], Any]] = [
            client.health,
            lambda: client.submit("Hello"),
            lambda: client.wait("mine"),
            lambda: next(client.wait_many(["mine"])),
            lambda: next(client.events()),
            client.changes,
        ]
        for way in ways:
            with pytest.raises(ClientClosed):
                way()


def test_events_end_in_their_own_thread(api: Api, local: LocalClient) -> None:
    """Who closes the client within the loop over its events leaves that loop."""
    local.submit("Hello", message_id="mine")
    client = Client(api.url)
    seen = []
    for change in client.events(after="0"):
        seen.append(change.message_id)
        client.close()
    assert seen == ["mine"]
