"""``tq.Client`` and ``tq.AsyncClient`` against a real API: what is said of one holds for the other."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import Api
from cutting_proxy import CuttingProxy
from servers import Process, Valkey, free_port, wait_until

import tq
from tq.async_client import AsyncClient
from tq.backend import make_submission
from tq.client import Client
from tq.errors import (
    AmbiguousId,
    ClientClosed,
    DuplicateMessage,
    IllegalTransition,
    InvalidMessage,
    InvalidSettings,
    MessageCancelled,
    NoCallback,
    ReportedError,
    Unauthorised,
    UnknownMessage,
    UnknownQueue,
    Unreachable,
    WaitTimeout,
)
from tq.filters import MessageFilter
from tq.local import LocalClient
from tq.messages import Message, Status


@pytest.fixture
def api(valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> Iterator[Api]:
    """The API on the same Valkey as ``local``."""
    assert valkey.socket.exists()
    with Api(tmp_path, environment) as server:
        yield server


def public(cls: type) -> dict[str, Any]:
    """The public methods of a class, inherited ones too."""
    return {name: method for name, method in inspect.getmembers(cls, inspect.isfunction) if not name.startswith("_")}


def test_the_same_verbs() -> None:
    """Every verb of the one client exists on the other, with the same parameters, and is async there."""
    plain, awaited = public(Client), public(AsyncClient)
    assert plain.keys() == awaited.keys() - {"aclose"}
    for name, method in ((name, awaited[name]) for name in plain):
        assert inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method), name
        given, wanted = (inspect.signature(each[name]).parameters.values() for each in (awaited, plain))
        # What is awaited may bring items that are, too.
        plainly = [str(each).replace(" | AsyncIterable[str | Submission | TqError]", "") for each in given]
        assert plainly == [str(each) for each in wanted], name
    assert inspect.signature(AsyncClient) == inspect.signature(Client)
    assert (tq.Client, tq.AsyncClient) == (Client, AsyncClient)


def test_the_verbs(client: Any, local: LocalClient) -> None:
    """Both clients answer the same messages as the queue itself, and raise the same errors."""
    message = client.submit("Hello", to="fr", source="en", priority=9, message_id="mine", metadata={"ticket": 7})
    assert message == local.get("mine") == client.get("mine") == client.next()
    assert client.list(Status.QUEUED, limit=1) == ([message], None)
    assert client.submit(make_submission("Hi"), "key") == client.submit(make_submission("Hi"), "key")
    found = client.get_many(["mine", "nope", "../queue/stats"])
    assert found[0] == message
    assert [type(each) for each in found[1:]] == [UnknownMessage, UnknownMessage]
    with pytest.raises(DuplicateMessage):
        client.submit("Other", message_id="mine")
    with pytest.raises(InvalidMessage):
        client.submit("Hello", priority=11)
    with pytest.raises(UnknownMessage):
        client.get("../queue/stats")
    with pytest.raises(IllegalTransition):
        client.set_status("mine", Status.COMPLETED, translation="Bonjour")
    client.set_status("mine", Status.RUNNING)
    assert client.set_status("mine", Status.FAILED, error="no such luck").error is not None
    assert client.retry("mine").status is Status.QUEUED
    assert client.cancel("mine") == client.wait("mine", timeout=5) == next(client.watch("mine"))
    assert client.health()["status"] == "ok"
    assert client.stats().counts == local.stats().counts


def test_the_verbs_of_operators(client: Any, local: LocalClient) -> None:
    """Ids by their beginning, timelines, queues that pause, and failures by reason, as the queue itself has them."""
    for name in ("alpha-1", "alpha-2", "beta"):
        client.submit("Hello", to="fr", message_id=name)
    assert client.resolve("b") == client.resolve("beta") == "beta"
    with pytest.raises(AmbiguousId, match="alpha"):
        client.resolve("alpha")
    for nothing in ("gamma", ""):
        with pytest.raises(UnknownMessage):
            client.resolve(nothing)
    found, _ = client.list(matching=MessageFilter(q="ALPHA", to="fr"))
    assert [each.message_id for each in found] == ["alpha-2", "alpha-1"]
    client.pause("default")
    assert client.stats().paused == ["default"]
    client.resume("default")
    assert client.stats().paused == []
    with pytest.raises(UnknownQueue):
        client.pause("nope")
    client.set_status("beta", Status.RUNNING)
    client.set_status("beta", Status.FAILED, error="no luck")
    assert client.timeline("beta") == local.timeline("beta")
    assert [entry.status for entry in client.timeline("beta")] == ["queued", "running", "failed"]
    assert [(group.type, group.count) for group in client.failures().groups] == [("reported", 1)]
    assert sum(minute.failed for minute in client.history().minutes[-2:]) == 1
    assert client.retry_failures("reported").retried == 1
    assert client.get("beta").status is Status.QUEUED


def test_webhooks_of_operators(client: Any, local: LocalClient) -> None:
    """What was given up is found, and sent again; where there is nothing to send, that is the error."""
    client.submit("Hello", to="fr", message_id="mine", callback_url="https://receiver.invalid/")
    client.submit("Hello", to="fr", message_id="plain")
    for name, word in (("mine", "is queued"), ("plain", "no callback_url")):
        with pytest.raises(NoCallback, match=word):
            client.send_callback(name)
    client.cancel("mine")
    assert client.send_callback("mine").callback.status == "pending"
    found, _ = client.list(matching=MessageFilter(callback="pending"))
    assert [each.message_id for each in found] == ["mine"]
    assert local.list(matching=MessageFilter(callback="failed")) == ([], None)
    with pytest.raises(UnknownMessage):
        client.send_callback("nope")


def test_translate(client: Any, local: LocalClient) -> None:
    """It returns the translation, or raises what happened as the class that it was."""
    for name, status in (("good", Status.COMPLETED), ("bad", Status.FAILED)):
        client.submit("Hello", to="fr", message_id=name)
        local.set_status(name, Status.RUNNING)
        translation, error = ("Bonjour", None) if name == "good" else (None, "no luck")
        local.set_status(name, status, translation=translation, error=error)
    assert client.translate("Hello", to="fr", message_id="good") == "Bonjour"
    with pytest.raises(ReportedError, match="no luck"):
        client.translate("Hello", to="fr", message_id="bad", timeout=30)
    client.submit("Hello", message_id="gone")
    local.cancel("gone")
    with pytest.raises(MessageCancelled):
        client.translate("Hello", message_id="gone")


def test_many(client: Any, proxy: CuttingProxy, local: LocalClient) -> None:
    """5,000 texts from a generator go in few requests; what is wrong with one stays in its place."""
    texts = (f"text {n}" if n != 3000 else "\ud800" for n in range(5000))
    results = client.submit_many(texts, to="fr", priority=2)
    assert [type(each) for each in (*results[2999:3002],)] == [Message, InvalidMessage, Message]
    assert [each.content for each in results if isinstance(each, Message)] == [
        f"text {n}" for n in range(5000) if n != 3000
    ]
    assert {(each.metadata["target_language"], each.priority) for each in results if isinstance(each, Message)} == {
        ("fr", 2)
    }
    assert proxy.requests <= 6
    assert local.stats().counts[Status.QUEUED] == 4999
    again = client.get_many([each.message_id for each in results if isinstance(each, Message)])
    assert [each for each in again if isinstance(each, Message)] == [
        each for each in results if isinstance(each, Message)
    ]


def test_large_ones(client: Any, proxy: CuttingProxy) -> None:
    """Batches are cut by their bytes and by their values too, so that the API takes each of them."""
    terms = {f"term {n}": "x" for n in range(400)}
    items = [make_submission(f"{n}" + "é" * 400_000) for n in range(30)]
    items += [make_submission("Hello", glossary=terms) for _ in range(300)]
    assert {type(each) for each in client.submit_many(items)} == {Message}
    assert 6 <= proxy.requests <= 20


def test_misuse(client: Any) -> None:
    """Keywords are for texts, and one id cannot be that of several messages."""
    with pytest.raises(TypeError):
        client.submit(make_submission("Hello"), to="fr")
    with pytest.raises(TypeError):
        client.submit_many(["Hello"], message_id="mine")
    with pytest.raises(TypeError):
        client.submit_many([make_submission("Hello")], to="fr")
    assert client.submit_many([]) == []


def test_unknown_keywords(client: Any, proxy: CuttingProxy) -> None:
    """A keyword that there is not is named before anything is sent, with the one that was meant."""
    ways: list[Callable[..., object]] = [
        lambda **fields: client.submit("Hello", **fields),
        lambda **fields: client.submit(make_submission("Hello"), **fields),
        lambda **fields: client.submit_many(["Hello"], **fields),
        lambda **fields: client.submit_many([], **fields),
        lambda **fields: list(client.submit_each(["Hello"], **fields)),
        lambda **fields: client.translate("Hello", **fields),
        lambda **fields: make_submission("Hello", **fields),
    ]
    for way in ways:
        for given, meant in (("target_language", "to"), ("id", "message_id"), ("prioritty", "priority")):
            with pytest.raises(TypeError, match=f"'{given}'; did you mean '{meant}'"):
                way(**{given: "de"})
        with pytest.raises(TypeError, match=r"'zzz'; there are to, source, .*, api_key"):
            way(zzz=1)
    assert proxy.requests == 0


def test_what_is_no_text(client: Any) -> None:
    """What is not a text is an invalid message, in its place; one text, or one id, is not taken for many."""
    for wrong in (5, None, b"Hello", {"content": "Hello"}):
        with pytest.raises(InvalidMessage, match="content"):
            client.submit(wrong, to="fr")
        results = client.submit_many(["Hello", wrong, "World"], to="fr")
        assert [type(each) for each in results] == [Message, InvalidMessage, Message]
    for way in (client.submit_many, client.get_many, client.wait_many):
        for one in ("Hello", results[0]):
            with pytest.raises(TypeError, match="put it into a list"):
                list(way(one))
    for way in (client.get, client.cancel, client.timeline, client.wait, lambda wrong: client.get_many([wrong])):
        for wrong in (5, None, b"mine"):
            with pytest.raises(TypeError, match="by its id, or as a Message"):
                way(wrong)


def test_messages_stand_for_their_ids(client: Any, local: LocalClient) -> None:
    """Whatever takes an id takes a message."""
    for each in (client, local):
        message = each.submit("Hello", to="fr")
        assert each.get(message) == message
        assert each.get_many([message, message.message_id]) == [message, message]
        assert each.set_status(message, "running").status is Status.RUNNING
        assert each.cancel(message).status is Status.CANCELLED
        assert each.retry(message).status is Status.QUEUED
        assert each.cancel(message).status is Status.CANCELLED
        assert [entry.status for entry in each.timeline(message)][-1] is Status.CANCELLED
        with pytest.raises(NoCallback):
            each.send_callback(message)
    assert [change.status for change in client.events(message_id=message)][-1] is Status.CANCELLED


def test_wait_many(client: Any, proxy: CuttingProxy, worker: Process) -> None:
    """A thousand messages are waited for with few requests, each is answered once, and has its translation."""
    assert worker.pid
    accepted = client.submit_many((f"text {n}" for n in range(1000)), to="fr")
    sent, began = proxy.requests, time.monotonic()
    ended = list(client.wait_many([*accepted, accepted[0], accepted[1].message_id], timeout=120))
    seconds = time.monotonic() - began
    assert Counter(each.message_id for each in ended) == Counter({each.message_id: 1 for each in accepted})
    assert {each.status for each in ended} == {Status.COMPLETED}
    assert all(each.translation for each in ended)
    assert proxy.requests - sent <= 5 + 1 + 5 + seconds * 5
    sent = proxy.requests
    assert list(client.wait_many(ended)) == ended
    assert proxy.requests == sent


def test_wait_many_with_errors(client: Any, local: LocalClient, worker: Process) -> None:
    """All that end are given, whatever else is among them; then the first error is raised."""
    assert worker.pid
    accepted = client.submit_many(["one", "", "two", "\ud800"], to="fr")
    for each in (client, local):
        for given, error in (([*accepted, "nope"], accepted[1]), (["nope", *accepted[::2]], None)):
            ended: list[str] = []
            with pytest.raises(InvalidMessage if error else UnknownMessage) as raised:
                ended.extend(message.content for message in each.wait_many(given, timeout=60))
            assert sorted(ended) == ["one", "two"]
            assert raised.value is error or raised.value.message_id == "nope"


def test_wait_takes_few_requests(client: Any, proxy: CuttingProxy, local: LocalClient) -> None:
    """One long poll waits for a message, and is answered as soon as it ends."""
    message = client.submit("Hello")
    sent = proxy.requests
    timer = threading.Timer(2.0, lambda: local.cancel(message.message_id))
    timer.start()
    began = time.monotonic()
    assert client.wait(message).status is Status.CANCELLED
    assert 1.5 < time.monotonic() - began < 10
    timer.join()
    assert proxy.requests - sent == 1


def test_patience_ends(client: Any) -> None:
    """Each way to wait ends with WaitTimeout when the time is over."""
    message = client.submit("Hello")
    for wait in (
        lambda: client.wait(message, timeout=0.3),
        lambda: list(client.watch(message.message_id, timeout=0.3)),
        lambda: list(client.wait_many([message], timeout=0.3)),
        lambda: client.translate("Hello", timeout=0.3),
        lambda: client.wait(message, timeout=0),
    ):
        began = time.monotonic()
        with pytest.raises(WaitTimeout):
            wait()
        assert time.monotonic() - began < 15


def test_unknown_ones(client: Any) -> None:
    """Waiting for what does not exist ends at once."""
    for wait in (
        lambda: client.wait("nope", timeout=30),
        lambda: list(client.wait_many(["nope"], timeout=30)),
        lambda: list(client.watch("nope")),
    ):
        with pytest.raises(UnknownMessage):
            wait()


def test_events(client: Any, local: LocalClient) -> None:
    """Changes are followed from a cursor on, and only those that are wanted."""
    local.submit("Hello", to="fr", message_id="one")
    with contextlib.closing(client.events(after="0")) as changes:
        first = next(changes)
    assert (first.message_id, first.status, first.languages) == ("one", Status.QUEUED, "→fr")
    local.submit("Hello", to="de", message_id="two")
    local.cancel("one")
    with contextlib.closing(client.events(after=first.cursor)) as changes:
        assert (next(changes).message_id, next(changes).status) == ("two", Status.CANCELLED)
    with contextlib.closing(client.events(after="0", status=Status.CANCELLED)) as changes:
        assert next(changes).message_id == "one"


def test_events_of_one(client: Any, local: LocalClient) -> None:
    """One message's changes are told from its beginning to its end, and then no more; those of another never."""
    local.submit("Hello", message_id="other")
    message = local.submit("Hello", message_id="mine")
    changes = client.events(message_id=message.message_id)
    assert next(changes).status is Status.QUEUED
    local.cancel("other")
    local.set_status("mine", Status.RUNNING)
    local.cancel("mine")
    assert [(change.message_id, change.status) for change in changes] == [("mine", "running"), ("mine", "cancelled")]
    assert [change.status for change in client.events(message_id="mine")] == ["queued", "running", "cancelled"]
    with pytest.raises(UnknownMessage):
        list(client.events(message_id="nope"))


def test_events_by_language(client: Any, local: LocalClient) -> None:
    """Changes of one target language only."""
    for language in ("fr", "de", "fr"):
        local.submit("Hello", to=language)
    with contextlib.closing(client.events(after="0", to="de")) as changes:
        assert next(changes).languages == "→de"


def test_changes(client: Any, local: LocalClient) -> None:
    """The stream begins where it was opened, and has quiet rounds."""
    changes = client.changes(block=0.1)
    assert next(changes) == []
    local.submit("Hello", message_id="one")
    assert wait_until(lambda: next(changes), "the change arrives")[0].message_id == "one"
    changes.close()
    assert list(changes) == []


def test_an_interrupt_leaves_nothing(api: Api) -> None:
    """Ctrl-C in the middle of a wait ends it, with its thread and its connections."""
    with CuttingProxy(api.port) as proxy, Client(proxy.url) as client:
        message = client.submit("Hello")
        ways: list[Callable[[], object]] = [
            lambda: list(client.wait_many([message])),
            lambda: client.wait(message),
            lambda: list(client.events()),
        ]
        former = signal.signal(signal.SIGALRM, _interrupt)
        try:
            for way in ways:
                signal.setitimer(signal.ITIMER_REAL, 1.0)
                with pytest.raises(KeyboardInterrupt):
                    way()
        finally:
            signal.signal(signal.SIGALRM, former)
        wait_until(lambda: "tq-events" not in {each.name for each in threading.enumerate()}, "the reader has ended")
        wait_until(lambda: proxy.open <= 1, "no stream is open")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


async def test_a_cancellation_leaves_nothing(api: Api) -> None:
    """A cancelled task that waits leaves neither tasks nor connections, and a loop that was broken off none either."""
    with CuttingProxy(api.port) as proxy:
        async with AsyncClient(proxy.url) as client:
            message = await client.submit("Hello")

            async def wait_many() -> None:
                async for _ in client.wait_many([message]):
                    pass

            async def follow() -> None:
                async for _ in client.events():
                    pass

            for way in (wait_many, follow, lambda: client.wait(message)):
                task = asyncio.ensure_future(way())
                await asyncio.sleep(0.5)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                assert task.cancelled()
            async for change in client.events(after="0"):
                assert change.message_id == message.message_id
                break
            await asyncio.sleep(0.1)
            assert asyncio.all_tasks() == {asyncio.current_task()}
        await asyncio.to_thread(wait_until, lambda: proxy.open == 0, "all connections are closed")


async def test_side_by_side(api: Api) -> None:
    """One client serves many tasks at once."""
    async with AsyncClient(api.url) as client:
        messages = await asyncio.gather(*(client.submit(f"text {n}", to="fr") for n in range(100)))
        assert len({message.message_id for message in messages}) == 100


# -- who answers -----------------------------------------------------------------------------------


def test_a_wrong_token(kind: Any, valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> None:
    """Every way in says that the token is wrong, and does not repeat it."""
    assert valkey.socket.exists()
    with Api(tmp_path, environment | {"TQ_API_TOKEN": "right"}) as api, kind(api.url, "wrong-token") as client:
        for way in (
            lambda: client.submit("Hello"),
            lambda: client.submit_many(["Hello"], to="fr"),
            lambda: client.wait("mine", timeout=5),
            lambda: next(iter(client.events())),
            client.changes,
            lambda: list(client.wait_many(["mine"])),
        ):
            with pytest.raises(Unauthorised) as refused:
                way()
            assert "wrong-token" not in str(refused.value)
        for token in ("right", "right\n", " right\r\n"):  # as a file has it
            with kind(api.url, token) as welcome:
                assert welcome.submit("Hello").status is Status.QUEUED


def test_a_token_that_cannot_be_sent(kind: Any) -> None:
    """It is told where it is given, and not repeated."""
    for token in ("ri\nght", "ri\0ght", "ríght"):
        with pytest.raises(InvalidSettings, match="token is not usable") as refused:
            kind("http://127.0.0.1:1", token)
        assert token not in f"{refused.value}{refused.value.why}"


def test_nobody_answers(kind: Any) -> None:
    """Where nothing ever listened, nothing is tried again."""
    with kind(f"http://127.0.0.1:{free_port()}") as client:
        for way in (
            lambda: client.submit("Hello"),
            lambda: client.submit_many(["Hello"], to="fr"),
            lambda: client.wait("mine"),
            lambda: next(iter(client.events())),
            client.changes,
            lambda: list(client.wait_many(["mine"])),
        ):
            began = time.monotonic()
            with pytest.raises(Unreachable):
                way()
            assert time.monotonic() - began < 15


async def test_a_crowd_waits(api: Api, worker: Process) -> None:
    """A thousand tasks that each want a translation share the connections, and none is told that the API is silent."""
    assert worker.pid
    with CuttingProxy(api.port) as proxy:
        async with AsyncClient(proxy.url, timeout=10) as client:
            found = await asyncio.gather(*(client.translate(f"text {n}", to="fr", timeout=120) for n in range(1000)))
            assert len(found) == 1000
            assert all(found)
            assert proxy.requests < 2 * 1000
            queued = await client.submit("Hello", message_id="mine")
            with contextlib.suppress(IllegalTransition):
                await client.cancel(queued.message_id)
            names = ["mine", "nope"] * 50
            ends = await asyncio.gather(*(client.wait(name, timeout=60) for name in names), return_exceptions=True)
            assert {type(end) for end in ends[::2]} == {Message}
            assert {type(end) for end in ends[1::2]} == {UnknownMessage}


async def test_a_crowd_is_left(api: Api) -> None:
    """Those who wait in a crowd have their own patience, and hear when the client is closed."""
    with CuttingProxy(api.port) as proxy:
        client = AsyncClient(proxy.url)
        message = await client.submit("Hello")
        waits = [asyncio.create_task(client.wait(message)) for _ in range(20)]
        await asyncio.sleep(0.5)
        with pytest.raises(WaitTimeout):
            await client.wait(message, timeout=0.3)
        waits.pop().cancel()
        await client.close()
        ends = await asyncio.gather(*waits, return_exceptions=True)
        assert {type(end) for end in ends} == {ClientClosed}
        assert asyncio.all_tasks() == {asyncio.current_task()}
