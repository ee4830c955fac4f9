"""Webhooks, from a real queue to a real receiver."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from api_server import Api
from callbacks import SOON, ended, state, until
from cli_driver import TQ, Cli, error_lines
from receiver import Receiver
from servers import Process, Valkey, wait_until
from standardwebhooks import Webhook

from tq.backend import make_submission
from tq.courier import Courier
from tq.errors import InvalidMessage
from tq.local import LocalClient
from tq.messages import Status
from tq.queue import TranslationQueue
from tq.settings import Settings


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody who wants to be called."""
    with Receiver() as found:
        yield found


@pytest.fixture
async def queue(valkey: Valkey, tmp_path: Path) -> AsyncIterator[TranslationQueue]:
    """A queue that may call this machine."""
    assert valkey.socket.exists()
    found = TranslationQueue(Settings(data_dir=tmp_path, callback_private=True))
    yield found
    await found.aclose()


async def test_delivered_once_and_signed(tq: Cli, queue: TranslationQueue, receiver: Receiver) -> None:
    """The reference library verifies it with what `tq webhook-secret` prints; it holds the translation and no text."""
    await ended(queue, receiver.url("/hook/s3cret?token=s3cret"))
    callback = await until(queue, "delivered")
    assert (callback.attempts, callback.last_status) == (1, 204)
    assert callback.url == receiver.url("/hook/…?token=***")
    (got,) = receiver.received
    secret = (await asyncio.to_thread(tq, "webhook-secret")).stdout.strip()
    verified = Webhook(secret).verify(got.body, got.headers)
    assert verified["type"] == "message.completed"
    assert verified["data"]["translation"] == "Bonjour"
    assert "content" not in verified["data"]
    assert got.path == "/hook/s3cret?token=s3cret"


async def test_sent_again_with_the_same_id(queue: TranslationQueue, receiver: Receiver) -> None:
    """After errors and redirects, which are not followed; the state says why; then it is delivered."""
    receiver.statuses = [500, 302]
    receiver.headers = {"Location": receiver.url("/elsewhere")}
    await ended(queue, receiver.url())
    callback = await until(queue, "delivered")
    assert callback.attempts == 3
    assert {got.path for got in receiver.received} == {"/hook"}
    assert len({got.headers["webhook-id"] for got in receiver.received}) == 1


async def test_given_up(queue: TranslationQueue, receiver: Receiver) -> None:
    """After the last pause, with the reason."""
    receiver.statuses = [503] * 10
    await ended(queue, receiver.url())
    callback = await until(queue, "failed")
    assert (callback.attempts, callback.last_status, callback.last_error) == (len(SOON) + 1, 503, "status")


async def test_gone(queue: TranslationQueue, receiver: Receiver) -> None:
    """410: it wants no more, and gets none."""
    receiver.statuses = [410]
    await ended(queue, receiver.url())
    callback = await until(queue, "disabled")
    assert (callback.attempts, callback.last_status) == (1, 410)


async def test_nobody_there(queue: TranslationQueue, receiver: Receiver) -> None:
    """A connection that is refused, and a receiver that never answers."""
    await ended(queue, "http://127.0.0.1:9/hook")
    assert (await until(queue, "failed")).last_error == "connect"
    release = threading.Event()
    receiver.before = lambda: release.wait(20)
    await ended(queue, receiver.url(), "slow")
    assert (await until(queue, "failed", "slow", timeout=0.2)).last_error == "timeout"
    release.set()


async def test_private_addresses_are_refused(valkey: Valkey, tmp_path: Path, receiver: Receiver) -> None:
    """At submit where it shows, and else when the name is looked up: nothing is sent."""
    assert valkey.socket.exists()
    queue = TranslationQueue(Settings(data_dir=tmp_path))
    for url in (receiver.url(), f"https://127.0.0.1:{receiver.port}/", f"https://localhost:{receiver.port}/"):
        with pytest.raises(InvalidMessage, match="callback_url"):
            await ended(queue, url)

    async def inwards(*_: object) -> list[str]:
        return ["93.184.216.34", "127.0.0.1"]

    await ended(queue, f"https://looks-harmless.example:{receiver.port}/")
    callback = await until(queue, "failed", resolve=inwards)
    assert (callback.attempts, callback.last_error) == (1, "address-refused")
    assert receiver.received == []
    await queue.aclose()


async def test_a_name_is_looked_up_once(queue: TranslationQueue, receiver: Receiver) -> None:
    """The request goes to the very address that was checked, under the name that was given."""
    asked: list[str] = []

    async def once(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["192.0.2.1"]

    await ended(queue, receiver.url(host="hooks.example"))
    await until(queue, "delivered", resolve=once)
    assert asked == ["hooks.example"]
    assert receiver.received[0].headers["host"] == f"hooks.example:{receiver.port}"


async def test_a_slow_receiver_holds_up_nobody(queue: TranslationQueue, receiver: Receiver) -> None:
    """While one does not answer, another's come at once."""
    release = threading.Event()
    with Receiver() as slow:
        slow.before = lambda: release.wait(30)
        for number in range(40):
            await ended(queue, slow.url(), f"slow-{number}")
        await ended(queue, receiver.url(), "quick")
        began = time.monotonic()
        await until(queue, "delivered", "quick", most=8)
        assert time.monotonic() - began < 10
        release.set()


async def test_a_courier_that_dies(queue: TranslationQueue, valkey: Valkey, receiver: Receiver) -> None:
    """What it had comes back with its lease, under the same id; two couriers do not both have it before that."""
    release = threading.Event()
    receiver.before = lambda: release.wait(30)
    await ended(queue, receiver.url())
    first = asyncio.create_task(Courier(queue, poll=0.02).run())
    second = asyncio.create_task(Courier(queue, poll=0.02).run())
    await asyncio.to_thread(wait_until, lambda: receiver.received, "it was sent")
    await asyncio.sleep(0.3)
    assert len(receiver.received) == 1
    for each in (first, second):
        each.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    release.set()
    assert (await state(queue)).status == "pending"
    with valkey.client() as redis:
        (key,) = (name for name in redis.keys("tq:hooks:*"))
        for member in redis.zrange(key, 0, -1):
            redis.zadd(key, {member: 1})
        redis.zadd("tq:hooks", {key.removeprefix("tq:hooks:"): 1})
    assert (await until(queue, "delivered")).attempts == 2
    assert len({got.headers["webhook-id"] for got in receiver.received}) == 1


async def test_each_end_is_an_event(queue: TranslationQueue, receiver: Receiver) -> None:
    """Cancelled, revived and completed: two webhooks with two ids, each about its own end."""
    await queue.submit(make_submission("Hello", to="fr", message_id="m", callback_url=receiver.url()))
    await queue.cancel("m")
    await queue.retry("m")
    assert (await state(queue)).status == "waiting"
    await queue.set_status("m", Status.RUNNING)
    await queue.set_status("m", Status.COMPLETED, translation="Bonjour")
    await until(queue, "delivered")

    async def two() -> None:
        courier = asyncio.create_task(Courier(queue, poll=0.02).run())
        await asyncio.to_thread(wait_until, lambda: len(receiver.received) == 2, "both were sent")
        courier.cancel()
        await asyncio.gather(courier, return_exceptions=True)

    await two()
    assert {got.document["type"] for got in receiver.received} == {"message.cancelled", "message.completed"}
    assert len({got.headers["webhook-id"] for got in receiver.received}) == 2


async def test_nothing_is_left(queue: TranslationQueue, valkey: Valkey, receiver: Receiver) -> None:
    """Once delivered there is no key of webhooks any more; a message without one has none at all."""
    await ended(queue, receiver.url())
    await until(queue, "delivered")
    await queue.submit(make_submission("Hello", to="fr", message_id="plain"))
    await queue.cancel("plain")
    with valkey.client() as redis:
        assert redis.keys("tq:hook*") == []
        assert not [name for name in redis.hkeys("tq:message:plain") if name.startswith("hook")]
        assert 0 < redis.ttl("tq:message:m") <= 7 * 86_400


async def test_the_same_submit_twice(queue: TranslationQueue, receiver: Receiver) -> None:
    """The callback is part of what a message is."""
    first = make_submission("Hello", to="fr", message_id="m", callback_url=receiver.url())
    assert await queue.submit(first) == await queue.submit(first)
    with pytest.raises(Exception, match="exists already"):
        await queue.submit(make_submission("Hello", to="fr", message_id="m", callback_url=receiver.url("/other")))


def test_by_the_api_and_by_a_worker(
    valkey: Valkey, local: LocalClient, environment: dict[str, str], tmp_path: Path, receiver: Receiver
) -> None:
    """Both do: an API without a worker, and a worker without an API; no log has the text, or a secret of the URL."""
    assert valkey.socket.exists()
    environment = environment | {"TQ_CALLBACK_PRIVATE": "true"}
    body = {"content": "Hello canary", "callback_url": receiver.url("/a/canary?token=canary"), "message_id": "a"}
    with Api(tmp_path, environment) as api, api.client() as client:
        assert client.post("/messages", json=body).json()["callback"]["status"] == "waiting"
        client.post("/messages/a/cancel")
        wait_until(lambda: client.get("/messages/a").json()["callback"]["status"] == "delivered", "the API delivers")
        refused = client.post("/messages", json={"content": "x", "callback_url": "https://169.254.169.254/latest"})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "callback_url")
        log = api.process.output
    with Process([*TQ, "worker"], log=tmp_path / "worker.log", env=environment, cwd=tmp_path) as worker:
        settings = Settings(data_dir=tmp_path, callback_private=True)
        with LocalClient(settings) as submitting:
            submitting.submit(
                "Hello canary", to="fr", message_id="b", callback_url=receiver.url("/b/canary?token=canary")
            )

        def delivered() -> bool:
            callback = local.get("b").callback
            return callback is not None and callback.status == "delivered"

        wait_until(delivered, "the worker delivers")
        log += worker.output
    assert [got.document["data"]["message_id"] for got in receiver.received] == ["a", "b"]
    assert "canary" not in log
    assert "canary" not in json.dumps([got.document for got in receiver.received])


def test_the_command(tq: Cli, local: LocalClient, receiver: Receiver) -> None:
    """`tq submit --callback`; `tq status` says how it stands; without a secret that all share it is refused."""
    url = receiver.url("/hook/s3cret")
    done = tq("submit", "Hello", "--to", "fr", "--id", "m", "--callback", url, TQ_CALLBACK_PRIVATE="1")
    assert done.returncode == 0, done.stderr
    said = tq("status", "m").stdout
    assert f"webhook     waiting: {receiver.url('/hook/…')}" in said
    assert "s3cret" not in said + tq("status", "m", "--json").stdout
    assert local.get("m").callback is not None
    assert tq("submit", "x", "--callback", "http://a.example/").returncode == 2
    new = tq("webhook-secret", "--new").stdout.strip()
    assert tq("webhook-secret", TQ_WEBHOOK_SECRET=new).stdout.strip() == new
    assert tq("webhook-secret", TQ_WEBHOOK_SECRET="nonsense").returncode == 2


def test_a_secret_that_only_the_api_knows(tq: Cli, tmp_path: Path) -> None:
    """Where commands talk to an API, a secret made here would verify nothing: none is made, nor printed."""
    here = tmp_path / "here"
    url = "http://user:hidden@127.0.0.1:1"
    for args, settings in ((["webhook-secret"], {"TQ_URL": url}), (["--url", url, "webhook-secret"], {})):
        done = tq(*args, TQ_DATA_DIR=str(here), **settings)
        assert (done.returncode, done.stdout) == (2, "")
        assert error_lines(done.stderr) == ["error", "why", "fix"]
        assert "where the API runs" in done.stderr
        assert "TQ_WEBHOOK_SECRET" in done.stderr
        assert "hidden" not in done.stderr
        assert not here.exists()
    new = tq("webhook-secret", "--new", TQ_URL=url).stdout.strip()
    assert tq("webhook-secret", TQ_URL=url, TQ_WEBHOOK_SECRET=new).stdout.strip() == new


def test_a_batch(http: httpx.Client) -> None:
    """Each item by itself: a callback that is refused is that item's error alone."""
    items = [
        {"content": "x", "callback_url": "https://10.0.0.1/"},
        {"content": "x", "callback_url": "https://a.example/"},
    ]
    first, second = http.post("/messages/batch", json={"messages": items}).json()["results"]
    assert first["error"]["errors"][0]["field"] == "callback_url"
    assert second["message"]["callback"] == {
        "url": "https://a.example/",
        "status": "waiting",
        "attempts": 0,
        "last_status": None,
        "last_error": None,
        "next_attempt_at": None,
        "delivered_at": None,
    }
