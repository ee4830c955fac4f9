"""Names of receivers that are not found, or not for a long time: what that means for them, and for all others."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from name_server import HANGING
from receiver import Receiver
from servers import Valkey

from tq.backend import make_submission
from tq.courier import Courier
from tq.lookups import MOST_NEW, LookupBusy, Lookups
from tq.messages import Callback
from tq.queue import TranslationQueue
from tq.settings import Settings

TESTS = Path(__file__).parents[1]


class Names:
    """What is asked for addresses: names that begin with ``hang`` are answered when they are let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let_go = threading.Event()

    def __call__(self, host: str) -> Sequence[str]:
        """This machine, for any name."""
        self.asked.append(host)
        if host.startswith("hang"):
            assert self.let_go.wait(60)
        return ["127.0.0.1"]


@pytest.fixture
def names() -> Iterator[Names]:
    """No thread of it is left."""
    found = Names()
    yield found
    found.let_go.set()
    for thread in threading.enumerate():
        if thread.name == "tq-webhook-name":
            thread.join(30)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody who wants to be called, by any name."""
    with Receiver() as found:
        yield found


@pytest.fixture
async def queue(valkey: Valkey, tmp_path: Path) -> AsyncIterator[TranslationQueue]:
    """A queue that may call this machine."""
    assert valkey.socket.exists()
    found = TranslationQueue(Settings(data_dir=tmp_path, callback_private=True))
    yield found
    await found.aclose()


async def ended(queue: TranslationQueue, receiver: Receiver, *hosts: str) -> None:
    """A message that has ended for each of these receivers, whose name is its id."""
    for host in hosts:
        url = receiver.url(host=f"{host}.example")
        await queue.submit(make_submission("Hello", to="fr", message_id=host, callback_url=url))
        await queue.cancel(host)


async def state(queue: TranslationQueue, message_id: str) -> Callback:
    """How it stands with a webhook."""
    callback = (await queue.get(message_id)).callback
    assert callback is not None
    return callback


async def delivered(queue: TranslationQueue, *ids: str, within: float = 30.0) -> None:
    """Return as soon as these are."""
    async with asyncio.timeout(within):
        while not all([(await state(queue, each)).status == "delivered" for each in ids]):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)


async def test_names_that_hang_stop_nobody_else(queue: TranslationQueue, receiver: Receiver, names: Names) -> None:
    """Each is asked for once at a time; what is found meanwhile is delivered, and in the end they are too."""
    hanging = [f"hang-{number}" for number in range(HANGING)]
    await ended(queue, receiver, *hanging, *(f"good-{number}" for number in range(20)))
    await ended(queue, receiver, "hang-again")
    courier = asyncio.create_task(
        Courier(queue, poll=0.02, delays=(0.05,) * 200, timeout=0.2, resolve=Lookups(names)).run()
    )
    await delivered(queue, *(f"good-{number}" for number in range(20)))
    async with asyncio.timeout(30):
        while any([(await state(queue, each)).attempts < 3 for each in hanging]):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)
    assert (await state(queue, "hang-0")).last_error == "timeout"
    assert {names.asked.count(f"{each}.example") for each in hanging} == {1}
    names.let_go.set()
    await delivered(queue, *hanging, "hang-again")
    courier.cancel()
    await asyncio.gather(courier, return_exceptions=True)


async def test_a_lookup_that_did_not_begin_is_no_attempt(
    queue: TranslationQueue, receiver: Receiver, names: Names
) -> None:
    """While all places are taken it waits, and nobody is the worse for it; names that were found before go on."""
    lookups = Lookups(names, patience=0.1)
    assert await lookups("found.example", 80) == ["127.0.0.1"]
    hanging = [asyncio.create_task(lookups(f"hang-{number}.example", 80)) for number in range(MOST_NEW)]
    await ended(queue, receiver, "new", "found")
    courier = Courier(queue, poll=0.02, resolve=lookups)
    running = asyncio.create_task(courier.run())
    await delivered(queue, "found")
    with pytest.raises(LookupBusy):
        await lookups("other.example", 80)
    async with asyncio.timeout(30):
        # Put back: it is due again, later.
        while (await state(queue, "new")).next_attempt_at == (await queue.get("new")).finished_at:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)
    waiting = await state(queue, "new")
    assert (waiting.status, waiting.attempts, waiting.last_error, waiting.last_status) == ("pending", 0, None, None)
    assert "new.example" not in names.asked
    assert not courier._ill
    names.let_go.set()
    await delivered(queue, "new")
    assert (await state(queue, "new")).attempts == 1
    running.cancel()
    await asyncio.gather(running, *hanging, return_exceptions=True)


async def test_who_hung_before_has_places_of_its_own(names: Names) -> None:
    """Names that hang again, however many, take none of a name that was never asked for."""
    lookups = Lookups(names, patience=0.1, slow=0.0)
    names.let_go.set()
    slow = [f"hang-{number}.example" for number in range(MOST_NEW)]
    await asyncio.gather(*(lookups(each, 80) for each in slow))
    names.let_go.clear()
    again = [asyncio.create_task(lookups(each, 80)) for each in slow]
    done, _ = await asyncio.wait(again, timeout=1)
    assert len(done) == MOST_NEW - 8
    assert {type(each.exception()) for each in done} == {LookupBusy}
    assert await lookups("new.example", 80) == ["127.0.0.1"]
    names.let_go.set()
    await asyncio.gather(*again, return_exceptions=True)


async def test_what_is_no_name_and_what_has_no_address(names: Names) -> None:
    """The error is that of whoever asks; the next time it is asked again."""

    def none(host: str) -> Sequence[str]:
        names.asked.append(host)
        raise OSError("no such host")

    lookups = Lookups(none)
    for _ in range(2):
        with pytest.raises(OSError, match="no such host"):
            await lookups("x.example", 80)
    assert names.asked == ["x.example"] * 2


def test_a_name_server_that_does_not_answer() -> None:
    """With the system's resolver: others are found at once, it is a thread a name, and no end of a process waits."""
    command = ["unshare", "--mount", "--net"]
    if os.geteuid() or not shutil.which("unshare") or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("a name server of one's own needs namespaces, hence root")
    began = time.monotonic()
    done = subprocess.run(
        [*command, sys.executable, str(TESTS / "name_server.py")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(TESTS.parent)},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["found"] == ["127.0.0.1"]
    assert found["took"] < 5
    assert (found["hang"], found["threads"]) == (2 * HANGING, HANGING)
    assert time.monotonic() - began < 9, "it waits for lookups that hang"
