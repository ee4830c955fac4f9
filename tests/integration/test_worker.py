"""Real workers over a real Valkey and a real HTTP provider: pools, order, failures, crashes, drains."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from llm_server import LlmServer
from servers import Process, Valkey, wait_until

from tq.local import LocalClient
from tq.messages import Message, Status, parse_submission
from tq.settings import Settings

pytestmark = pytest.mark.timeout(300)


class Fleet:
    """Workers of one test, and a client beside them."""

    def __init__(self, folder: Path, environment: dict[str, str], stack: ExitStack) -> None:
        self.folder = folder
        self.environment = environment
        self.stack = stack
        self.client = stack.enter_context(LocalClient(Settings(data_dir=folder)))

    def start(self, concurrency: int = 20, *, pool: str | None = None, **environment: str) -> Process:
        """A worker, as soon as it is listed as alive: ``tq worker``, or plain ``celery`` with a pool."""
        argv = [sys.executable, "-m", "tq", "worker", "--concurrency", str(concurrency)]
        if pool:
            argv = [sys.executable, "-m", "celery", "-A", "tq", "worker", "-Q", "high_priority,default"]
            argv += ["--pool", pool, "--concurrency", str(concurrency), "--hostname", f"{pool}@%h", "-l", "INFO"]
        known = {worker.name for worker in self.client.stats().workers}
        log = self.folder / f"worker{len(known)}-{pool}.log"
        process = self.stack.enter_context(Process(argv, log=log, env=self.environment | environment, cwd=self.folder))

        def listed() -> bool:
            assert process.popen.poll() is None, process.output
            return bool({worker.name for worker in self.client.stats().workers} - known)

        wait_until(listed, "the worker is listed", 60)
        return process

    def submit(self, content: str = "Hello", **fields: Any) -> str:
        """Submit a message from English into French; answers its id."""
        fields.setdefault("metadata", {"source_language": "en", "target_language": "fr"})
        return self.client.submit(parse_submission({"content": content, **fields})).message_id

    def wait(self, message_id: str, timeout: float = 60) -> Message:
        """The message once it has ended."""
        return self.client.wait(message_id, timeout)


@pytest.fixture
def fleet(tmp_path: Path, valkey: Valkey, environment: dict[str, str], provider: LlmServer) -> Iterator[Fleet]:
    """Workers that translate with the stand-in; short lease and backoff."""
    assert valkey.socket == Settings(data_dir=tmp_path).socket_path
    settings = {
        "OPENAI_BASE_URL": provider.base_url,
        "OPENAI_API_KEY": "sk-default",
        "TQ_LEASE": "3",
        "TQ_RETRY_BASE": "0.01",
        "TQ_GRACE": "10",
    }
    with ExitStack() as stack:
        yield Fleet(tmp_path, environment | settings, stack)


@pytest.mark.parametrize("pool", [None, "solo", "threads", "prefork"])
def test_every_pool(fleet: Fleet, provider: LlmServer, pool: str | None) -> None:
    """Tq's own pool and three of Celery's do the same: success, retry, failure, and `inspect ping`."""
    worker = fleet.start(2, pool=pool)
    good = [fleet.submit(f"Hello {i}", priority=i) for i in range(11)]
    retried = fleet.submit("Again @@fault:500x1@@")
    refused = fleet.submit("Wrong @@fault:401@@")
    for message_id in good:
        message = fleet.wait(message_id)
        assert (message.status, message.attempts, message.provider) == (Status.COMPLETED, 1, "openai")
        assert message.usage is not None
    message = fleet.wait(retried)
    assert (message.status, message.attempts) == (Status.COMPLETED, 2)
    message = fleet.wait(refused)
    assert message.error is not None
    assert (message.status, message.attempts, message.error.type) == (Status.FAILED, 1, "invalid-key")
    assert len(provider.calls) == 14
    ping = Process(
        [sys.executable, "-m", "celery", "-A", "tq", "inspect", "ping"],
        log=fleet.folder / "ping.log",
        env=fleet.environment,
        cwd=fleet.folder,
    )
    with ping:
        assert ping.popen.wait(60) == 0, ping.output
        assert "pong" in ping.output
    assert worker.terminate() == 0
    wait_until(lambda: not fleet.client.stats().workers, "the worker has left the list")
    assert fleet.client.stats().running == 0


def test_strict_priority_across_both_queues(fleet: Fleet, provider: LlmServer) -> None:
    """A worker with one slot is stuck; of 100 mixed submissions it then takes 10 first and 0 last."""
    provider.hold(1)
    fleet.start(1)
    stuck = fleet.submit("stuck")
    wait_until(lambda: provider.held, "the worker is stuck")
    ids = [fleet.submit(f"text {i}", priority=(i * 7) % 11) for i in range(100)]
    provider.release()
    assert fleet.wait(stuck).status is Status.COMPLETED
    priorities = {f"text {i}": (i * 7) % 11 for i in range(100)}
    for message_id in ids:
        assert fleet.wait(message_id).status is Status.COMPLETED
    taken = [call.content for call in provider.calls if call.content in priorities]
    expected = sorted(priorities, key=lambda text: (-priorities[text], int(text.split()[1])))
    assert taken == expected


def test_an_old_message_overtakes(fleet: Fleet, provider: LlmServer) -> None:
    """A message of priority 0 under a steady stream of 10s completes once it has waited long enough."""
    provider.latency = 0.05
    fleet.start(1, TQ_MAX_WAIT="1")
    stream = [fleet.submit(f"urgent {i}", priority=10) for i in range(40)]
    old = fleet.submit("old", priority=0)

    def overtaken() -> bool:
        waiting = fleet.client.stats().queues["high_priority"]
        stream.extend(fleet.submit(f"urgent {len(stream)}", priority=10) for _ in range(max(0, 20 - waiting)))
        return fleet.client.get(old).ended

    wait_until(overtaken, "the old message has completed", 90)
    assert fleet.client.get(old).status is Status.COMPLETED
    assert fleet.client.stats().queues["high_priority"] > 0
    for message_id in stream:
        assert fleet.wait(message_id).status is Status.COMPLETED
    assert sum(call.content == "old" for call in provider.calls) == 1


def test_urgent_messages_find_a_slot(fleet: Fleet, provider: LlmServer) -> None:
    """A flood of slow default messages leaves slots: an urgent one starts while all others are taken."""
    provider.hold()
    fleet.start(20)
    slow = [fleet.submit(f"slow {i}") for i in range(40)]
    wait_until(lambda: provider.held == 19, "19 of 20 slots hold slow messages")
    urgent = fleet.submit("urgent", priority=10)
    wait_until(lambda: provider.held == 20, "the urgent message is at the provider")
    assert fleet.client.get(urgent).status is Status.RUNNING
    assert sum(fleet.client.get(message_id).status is Status.RUNNING for message_id in slow) == 19
    provider.release()
    for message_id in [urgent, *slow]:
        assert fleet.wait(message_id).status is Status.COMPLETED


def test_many_in_flight(fleet: Fleet, provider: LlmServer) -> None:
    """One process holds 500 messages at the provider at once."""
    provider.hold()
    fleet.start(520)
    ids = [
        result.message_id
        for result in fleet.client.submit_many([parse_submission({"content": f"text {i}"}) for i in range(500)])
        if isinstance(result, Message)
    ]
    wait_until(lambda: provider.held == 500, "500 are in flight", 60)
    provider.release()
    assert {fleet.wait(message_id).status for message_id in ids} == {Status.COMPLETED}
    assert len(provider.calls) == 500


FAULTS: dict[str, tuple[str, Status, str | None, int]] = {
    "rate limit, then fine": ("429x2", Status.COMPLETED, None, 3),
    "rate limit with Retry-After": ("429=1x1", Status.COMPLETED, None, 2),
    "server error, then fine": ("503x1", Status.COMPLETED, None, 2),
    "server error for ever": ("500", Status.FAILED, "provider-failure", 4),
    "reset in the middle": ("resetx1", Status.COMPLETED, None, 2),
    "slow drip": ("drip", Status.FAILED, "provider-timeout", 4),
    "no answer": ("timeout", Status.FAILED, "provider-timeout", 4),
    "wrong key": ("401", Status.FAILED, "invalid-key", 1),
    "no permission": ("403", Status.FAILED, "permission-refused", 1),
    "no such model": ("404", Status.FAILED, "unknown-model", 1),
    "bad request": ("400", Status.FAILED, "request-refused", 1),
    "no money": ("quota", Status.FAILED, "quota-exhausted", 1),
    "refusal": ("refusal", Status.FAILED, "refusal", 1),
    "filtered": ("filter", Status.FAILED, "refusal", 1),
    "cut off for ever": ("length", Status.FAILED, "truncated", 2),
    "cut off once": ("lengthx1", Status.COMPLETED, None, 2),
    "empty for ever": ("empty", Status.FAILED, "invalid-output", 2),
    "empty once": ("emptyx1", Status.COMPLETED, None, 2),
    "echo for ever": ("echo", Status.COMPLETED, None, 2),
    "no JSON": ("garbagex1", Status.COMPLETED, None, 2),
}


def test_every_fault_of_a_provider(fleet: Fleet, provider: LlmServer) -> None:
    """Each fault leads to the right status, error and number of calls; no key is in what is told of it."""
    worker = fleet.start(40, TQ_MAX_RETRIES="3", TQ_REQUEST_TIMEOUT="2")
    ids = {
        name: fleet.submit(f"The text of {name} @@fault:{fault}@@", api_key=f"sk-canary-{index}")
        for index, (name, (fault, *_)) in enumerate(FAULTS.items())
    }
    found, told = {}, ""
    for name, message_id in ids.items():
        message = fleet.wait(message_id, 120)
        error = message.error.type if message.error else None
        calls = sum(name + " @@" in call.content for call in provider.calls)
        found[name] = (FAULTS[name][0], message.status, error, calls)
        assert message.attempts == calls, name
        told += message.model_dump_json()
    assert found == FAULTS
    assert "canary" not in told
    assert "canary" not in worker.output
    assert fleet.client.get(ids["echo for ever"]).warnings
    by_key = {call.key for call in provider.calls}
    assert by_key == {f"sk-canary-{index}" for index in range(len(FAULTS))}


def test_kill_with_fifty_in_flight(fleet: Fleet, provider: LlmServer) -> None:
    """After kill -9 of the worker all fifty run elsewhere within the lease and 10 s, one outcome each."""
    provider.hold()
    worker = fleet.start(60)
    ids = [fleet.submit(f"text {i}", priority=i % 11) for i in range(50)]
    wait_until(lambda: provider.held == 50, "50 are in flight")
    worker.kill()
    other = fleet.start(60)
    wait_until(lambda: provider.held == 50, "all 50 run elsewhere", 3 + 10 + 5)
    provider.release()
    outcomes = [fleet.wait(message_id) for message_id in ids]
    assert {(message.status, message.attempts) for message in outcomes} == {(Status.COMPLETED, 2)}
    assert other.terminate() == 0


def test_drain(fleet: Fleet, provider: LlmServer) -> None:
    """SIGTERM: what finishes within the grace period is recorded once, the rest is put back at once."""
    worker = fleet.start(20, TQ_GRACE="2")
    provider.latency = 1
    quick = [fleet.submit(f"quick {i}") for i in range(10)]
    wait_until(lambda: len(provider.calls) == 10, "ten are at the provider")
    slow = [fleet.submit(f"slow {i} @@fault:latency=30x1@@") for i in range(5)]
    wait_until(lambda: provider.inflight >= 5 and len(provider.calls) == 15, "all are at the provider")
    worker.popen.terminate()
    assert worker.popen.wait(30) == 0
    assert {fleet.client.get(message_id).status for message_id in quick} == {Status.COMPLETED}
    assert {fleet.client.get(message_id).status for message_id in slow} == {Status.QUEUED}
    assert redis.Redis(unix_socket_path=str(fleet.folder / "valkey.sock")).hlen("unacked") == 0
    provider.latency = 0
    fleet.start(20)
    assert {fleet.wait(message_id, 30).status for message_id in slow} == {Status.COMPLETED}
    assert sum("quick" in call.content for call in provider.calls) == 10


def test_cancel_a_running_message(fleet: Fleet, provider: LlmServer) -> None:
    """The call is aborted at the next heartbeat; the message stays cancelled, and a retry completes it."""
    provider.hold()
    fleet.start(5)
    message_id = fleet.submit("slow")
    wait_until(lambda: provider.held == 1, "it is at the provider")
    assert fleet.client.cancel(message_id).status is Status.CANCELLED
    wait_until(lambda: provider.inflight == 0, "the call was aborted", 15)
    assert fleet.client.get(message_id).status is Status.CANCELLED
    provider.release()
    assert fleet.client.retry(message_id).status is Status.QUEUED
    assert fleet.wait(message_id).status is Status.COMPLETED


def test_broker_restart(fleet: Fleet, provider: LlmServer, valkey: Valkey) -> None:
    """Kill -9 of the server under work: after its return everything that was accepted completes, once."""
    provider.latency = 0.2
    worker = fleet.start(10)
    ids = [fleet.submit(f"text {i}") for i in range(60)]
    wait_until(lambda: len(provider.calls) > 10, "work is under way")
    valkey.kill()
    valkey.start()
    outcomes = [fleet.wait(message_id, 90) for message_id in ids]
    assert {message.status for message in outcomes} == {Status.COMPLETED}
    assert [message.translation for message in outcomes] == [f"Traduit : text {i}" for i in range(60)]
    assert "DeprecationWarning" not in worker.output, "a setting is explained again and again"


def test_a_worker_that_reconnects_has_not_gone(fleet: Fleet, valkey: Valkey) -> None:
    """While Celery pauses between two tries to connect, the worker stays listed: it lives, and takes work soon."""
    worker = fleet.start(10, TQ_LEASE="30")
    valkey.kill()
    wait_until(lambda: "no heartbeat" in worker.output, "its heart has missed the server", 30)
    valkey.start()
    until = time.monotonic() + 6
    while time.monotonic() < until:
        assert len(fleet.client.stats().workers) == 1
        time.sleep(0.1)
    assert fleet.wait(fleet.submit()).status is Status.COMPLETED
    assert worker.terminate() == 0
    assert fleet.client.stats().workers == []


def test_lost_tokens_are_replaced(fleet: Fleet, valkey: Valkey) -> None:
    """With all queue lists deleted by hand the messages still complete."""
    ids = [fleet.submit(f"text {i}", priority=i) for i in range(11)]
    raw: Any = valkey.client()
    lists = [key for key in raw.keys("*") if key.startswith(("default", "high_priority"))]
    assert len(lists) == 11
    raw.delete(*lists)
    raw.close()
    fleet.start(5)
    assert {fleet.wait(message_id).status for message_id in ids} == {Status.COMPLETED}


DEADLY = """
import importlib.abc, os, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "tq.translation":
            sys.meta_path.remove(self)
            from tq.providers.openai import OpenAIProvider
            complete = OpenAIProvider.complete
            async def deadly(self, prompt, able):
                if "poison" in prompt.user:
                    os.kill(os.getpid(), 9)
                return await complete(self, prompt, able)
            OpenAIProvider.complete = deadly
        return None
sys.meta_path.insert(0, Finder())
"""


def test_poison(fleet: Fleet, provider: LlmServer) -> None:
    """A message that kills its process twice is run alone from then on; fifty innocents beside it complete."""
    provider.latency = 0.3
    innocents = [fleet.submit(f"innocent {i}") for i in range(50)]
    poison = fleet.submit("poison")
    (fleet.folder / "deadly").mkdir()
    (fleet.folder / "deadly" / "sitecustomize.py").write_text(DEADLY)
    argv = [sys.executable, "-m", "tq", "worker", "--concurrency", "60"]
    environment = fleet.environment | {"TQ_LEASE": "1", "PYTHONPATH": str(fleet.folder / "deadly")}
    deaths = 0
    with ExitStack() as stack:

        def keep_running() -> bool:
            nonlocal deaths
            if not workers or workers[-1].popen.poll() is not None:
                deaths += bool(workers)
                log = fleet.folder / f"poisoned{len(workers)}.log"
                workers.append(stack.enter_context(Process(argv, log=log, env=environment, cwd=fleet.folder)))
            return fleet.client.get(poison).ended

        workers: list[Process] = []
        wait_until(keep_running, "the poison has failed", 120)
        message = fleet.client.get(poison)
        assert message.error is not None
        assert (message.status, message.error.type, deaths) == (Status.FAILED, "poison", 2)
        wait_until(
            lambda: keep_running() and all(fleet.client.get(message_id).ended for message_id in innocents),
            "the innocents have ended",
            60,
        )
        assert {fleet.client.get(message_id).status for message_id in innocents} == {Status.COMPLETED}


def test_python_interface(fleet: Fleet, tmp_path: Path) -> None:
    """The older interface in a program of its own: apply_async with a dict, get, state, and what is raised."""
    fleet.start(5)
    program = """
from tq.tasks import process_message, get_queue_for_priority
message = {"id": "unique-id-here", "content": "Text", "model_name": "gpt-4", "api_key": "sk-x", "priority": 8}
task = process_message.apply_async(args=[message], queue=get_queue_for_priority(message["priority"]))
print(task.id, task.get(timeout=30), task.state)
bad = process_message.delay({"content": "Bad @@fault:401@@"})
try:
    bad.get(timeout=30)
except Exception as error:
    print(type(error).__name__, bad.state)
for wrong in ({"content": ""}, {"content": "a", "priority": 99}, {"content": "a", "x": 1}):
    try:
        process_message.delay(wrong)
    except Exception as error:
        print(type(error).__name__)
try:
    process_message.apply_async(args=[{"content": "a"}], countdown=5)
except Exception as error:
    print(type(error).__name__)
try:
    process_message.AsyncResult("nobody").state
except Exception as error:
    print(type(error).__name__)
process_message({"id": "direct", "content": "Direct"})
print(process_message.AsyncResult("direct").result)
"""
    with Process([sys.executable, "-c", program], log=tmp_path / "p.log", env=fleet.environment, cwd=tmp_path) as child:
        assert child.popen.wait(90) == 0, child.output
        assert child.output.splitlines() == [
            "unique-id-here Traduit : Text SUCCESS",
            "InvalidKey FAILURE",
            *["InvalidMessage"] * 4,
            "UnknownMessage",
            "Traduit : Direct",
        ]


def test_a_key_sealed_with_another_secret(fleet: Fleet) -> None:
    """A worker with another TQ_SECRET_KEY fails the message and says why, instead of using its own key."""
    fleet.start(5, TQ_SECRET_KEY="another secret, long enough")
    message = fleet.wait(fleet.submit("Hello", api_key="sk-mine"))
    assert message.error is not None
    assert (message.status, message.error.type) == (Status.FAILED, "key-unreadable")


def test_an_error_that_ends_the_worker(fleet: Fleet) -> None:
    """What Celery cannot recover from is in the log, and the exit code says that it was no ordinary end."""
    broken = (
        "import sys\n"
        "from celery import bootsteps\n"
        "from tq.celery import app\n"
        "from tq.settings import get_settings\n"
        "from tq.worker import run\n"
        "class Broken(bootsteps.StartStopStep):\n"
        "    requires = ('celery.worker.consumer.tasks:Tasks',)\n"
        "    def start(self, consumer): raise RuntimeError('this step is broken')\n"
        "app.steps['consumer'].add(Broken)\n"
        "sys.exit(run(get_settings()))\n"
    )
    argv = [sys.executable, "-c", broken]
    with Process(argv, log=fleet.folder / "broken.log", env=fleet.environment, cwd=fleet.folder) as process:
        assert process.popen.wait(60) == 1
        assert "Unrecoverable error: RuntimeError('this step is broken')" in process.output
