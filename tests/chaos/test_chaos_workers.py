"""What can happen to a worker."""

from __future__ import annotations

import json
import threading
import time
from functools import partial

import psutil
import pytest
from hands import holder, lines, popping
from llm_server import texts_of
from servers import wait_until
from stage import MakeStage, Stage

LEASE = 3
#: Seconds after its worker's death in which a message runs again, beyond the lease.
SLACK = 10


@pytest.mark.scenario(1, "kill -9 of a worker in mid-call", ci=("embedded",), weight=20)
def test_worker_killed_in_mid_call(stage: MakeStage) -> None:
    """Whatever it held runs again within TQ_LEASE + 10 s."""
    with stage(TQ_LEASE=str(LEASE)) as s:
        s.provider.hold()
        ids = s.submit(50)
        s.wait_running(50)
        before = len(s.provider.calls)
        s.stack.service("worker").kill()
        killed = time.monotonic()
        wait_until(lambda: len(s.provider.calls) >= before + 50, "all are called for again", LEASE + SLACK + 5)
        again = time.monotonic() - killed
        assert again < LEASE + SLACK
        s.provider.release()
        s.wait_ended(ids)
        s.note(running_again_after_s=again)


# -- 2 -----------------------------------------------------------------------------------------------


@pytest.mark.scenario(2, "SIGSTOP of a worker, submits, kill -9", ci=("redis",), weight=40)
def test_worker_stopped_then_killed(stage: MakeStage) -> None:
    """What it was handed while it stood still does not die with it."""
    with stage(TQ_LEASE=str(LEASE)) as s:
        for _ in range(3):
            swallowed = stopped_then_killed(s)
            killed = time.monotonic()
            if swallowed:
                break
        else:
            pytest.fail("the worker was handed no token while it stood still")
        s.wait_ended()
        s.note(tokens_that_died_with_it=len(swallowed), all_done_after_s=time.monotonic() - killed)


def stopped_then_killed(s: Stage) -> set[str]:
    """SIGSTOP of the worker, submits, SIGKILL; returns the ids whose tokens it took with it.

    One that waits for tokens when it is stopped is still handed those of one list, nearly always: kombu's next pop
    would come from the worker.
    """
    wait_until(lambda: popping(s) == 1, "the worker waits for work", 60)
    worker = s.stack.service("worker")
    worker.suspend()
    ids = set(s.submit(s.rng.randrange(5, 40)))
    wait_until(
        lambda: len(priorities(s, ids - tokens(s))) <= 1,
        lambda: f"all tokens but those of one pop; missing: {ids - tokens(s)}",
    )
    swallowed = ids - tokens(s)
    assert s.count("queued", list(ids)) == len(ids)
    worker.kill()
    worker.wait(10)
    return swallowed


def priorities(s: Stage, ids: set[str]) -> set[bytes]:
    """Those of some messages."""
    with s.broker.client() as client:
        return {client.hget(f"tq:message:{name}", "priority") for name in ids}


def tokens(s: Stage) -> set[str]:
    """The ids whose tokens wait in the broker's lists."""
    with s.broker.client() as client:
        lists = [key for name in ("high_priority", "default") for key in client.scan_iter(f"{name}*", _type="list")]
        found = [token for key in lists for token in client.lrange(key, 0, -1)]
    return {json.loads(token)["headers"]["id"] for token in found}


# -- 3 -----------------------------------------------------------------------------------------------


@pytest.mark.scenario(3, "SIGSTOP of a worker for two leases, then SIGCONT", ci=("embedded",), weight=40)
def test_worker_stands_still_for_two_leases(stage: MakeStage) -> None:
    """The fence rejects what it finishes late, while the later attempt still runs."""
    lease = 6.0
    with stage(TQ_LEASE=str(lease)) as s, s.worker() as other:
        # The first call waits to be released, the second one outlasts that moment.
        ids = s.submit(s.rng.randrange(20, 40), fault="holdx1@@ @@fault:latency=8x1")
        s.wait_running(len(ids))
        both = {s.stack.service("worker").pid, other.pid}
        holders = {name: holder(s, name) for name in ids}
        assert set(holders.values()) == both, "both workers have some"
        victim = psutil.Process(s.rng.choice(sorted(both)))
        held = [name for name in ids if holders[name] == victim.pid]

        victim.suspend()
        threading.Event().wait(2 * lease)  # the fault: it stands still for two leases
        wait_until(lambda: all(s.calls()[name] == 2 for name in held), "the other has taken over", 5)
        s.provider.release()
        assert s.count("running", held) == len(held)
        victim.resume()

        def rejected(why: str) -> int:
            log = other.output if victim.pid == other.pid else s.stack.driven.text
            return sum(bool(lines(log, f"{name} .*{why}")) for name in held)

        void, aborted = "this outcome is void", "someone else's now"
        wait_until(lambda: rejected(f"({void}|{aborted})") == len(held), "every late finish is rejected")
        # Nothing that was late has been recorded: the later attempts, which run, are the owners.
        assert s.count("running", held) == len(held)
        s.wait_ended(ids)
        assert s.calls() == {name: 1 + (name in held) for name in ids}
        with s.broker.client() as client:
            epochs = {name: int(client.hget(f"tq:message:{name}", "epoch") or 0) for name in ids}
        assert epochs == {name: 1 + (name in held) for name in ids}
        assert victim.is_running()
        s.note(late=len(held), rejected_by_the_fence=rejected(void), aborted_by_the_heart=rejected(aborted))


# -- 17 ----------------------------------------------------------------------------------------------


@pytest.mark.scenario(17, "a poison message kills its process, 50 innocents beside it", ci=("embedded",), weight=60)
def test_poison_message(stage: MakeStage) -> None:
    """The poison has failed after three deaths, the last of them alone; the innocents all complete."""
    with stage(TQ_LEASE=str(LEASE)) as s:
        # In flight beside the poison when it kills, twice; after that they are quick.
        before = s.rng.randrange(51)  # the order in which they come to the quarantine
        innocents = s.submit(before, fault="latency=3x2")
        (poison,) = s.submit(1, fault="hold")
        innocents += s.submit(50 - before, fault="latency=3x2")
        s.ledger.expect([poison], "failed")
        began = time.monotonic()
        victims: list[list[str]] = []
        while True:
            wait_until(
                lambda: s.calls()[poison] > len(victims) or s.count("failed", [poison]),
                "the poison is called for again, or has failed",
                60,
            )
            if s.count("failed", [poison]):
                break
            assert len(victims) < 3, "the poison gets a fourth attempt"
            if len(victims) < 2:
                wait_until(lambda: s.provider.inflight > 40, "innocents are in flight beside it")
            process = psutil.Process(holder(s, poison))
            victims.append(process.cmdline())
            process.kill()  # as a segfault of the library that handles its text would
            process.wait(10)
        failed_after = time.monotonic() - began
        assert [any("quarantine" in word for word in line) for line in victims] == [False, False, True]
        with s.http() as http:
            document = http.get(f"/messages/{poison}").json()
        assert document["error"]["type"] == "poison"
        assert document["attempts"] == 3
        assert s.stack.restarts()["worker"] == 2
        s.note(processes_killed=len(victims), poison_failed_after_s=failed_after, innocents_done_after_s=s.wait_ended())
        assert s.count("completed", innocents) == 50
        s.note(calls_repeated=sum(s.calls()[name] - 1 for name in innocents))


# -- 28 ----------------------------------------------------------------------------------------------


@pytest.mark.scenario(28, "SIGTERM, and SIGKILL in mid-drain", ci=("redis",), weight=25)
def test_killed_while_it_drains(stage: MakeStage) -> None:
    """What was finished during the drain is not run again, the rest is, and nothing new was begun."""
    slots = 30
    with stage(TQ_LEASE=str(LEASE), TQ_CONCURRENCY=str(slots), TQ_GRACE="60") as s:
        short_count = s.rng.randrange(10, 20)
        short = s.submit(short_count, fault="latency=3x1", priority=10)
        long = s.submit(slots - short_count, fault="holdx1", priority=10)
        wait_until(lambda: s.provider.inflight == slots, "every slot is taken", 90)
        worker = s.stack.service("worker")
        worker.terminate()
        waiting = s.submit(s.rng.randrange(10, 30))
        wait_until(
            lambda: s.count("completed", short) == short_count, "what was short is finished during the drain", 55
        )
        assert worker.is_running()
        assert not any(s.calls()[name] for name in waiting), "a worker that drains begins nothing"
        worker.kill()
        killed = time.monotonic()
        s.wait_ended()
        s.note(all_done_after_s=time.monotonic() - killed)
        calls = s.calls()
        assert {calls[name] for name in short} == {1}
        assert {calls[name] for name in long} == {2}
        assert {calls[name] for name in waiting} == {1}
        s.note(finished_while_draining=len(short), run_again=len(long), begun_while_draining=0)


# -- 31 ----------------------------------------------------------------------------------------------


@pytest.mark.scenario(31, "cancel queued, running, retrying; then restart", ci=("embedded",), weight=50)
def test_cancelled_never_runs(stage: MakeStage) -> None:
    """Nothing that was cancelled ever runs; a call in flight is aborted within a heartbeat."""
    lease, slots, due = 6.0, 20, 20
    with stage(TQ_LEASE=str(lease), TQ_CONCURRENCY=str(slots)) as s:
        retrying = s.submit(12, fault=f"429={due}x1")
        wait_until(lambda: s.count("retrying", retrying) == 12, "all wait for their retry")
        s.provider.hold()
        running = s.submit(slots, priority=10)
        s.wait_running(slots)
        queued = s.submit(40)
        assert s.count("queued", queued) == 40

        chosen = {
            "queued": s.rng.sample(queued, 20),
            "retrying": s.rng.sample(retrying, 6),
            "running": s.rng.sample(running, 10),
        }
        for status in ("queued", "retrying"):
            cancel(s, chosen[status])
        first, at_once = chosen["running"][:5], chosen["running"][5:]
        held = set(s.provider.contents()[-slots:])
        assert held == {s.ledger.entries[name].content for name in running}
        s.provider.hold(0)  # whoever comes now is answered; those who are held stay
        slowest = 0.0
        for number, name in enumerate(first, 1):
            cancel(s, [name])
            began = time.monotonic()
            wait_until(partial(held_at_most, s, slots - number), "the call is aborted")
            slowest = max(slowest, time.monotonic() - began)
        beat = lease / 3
        # A heartbeat to hear of it, and a moment for the connection to close.
        assert slowest < beat + 1.5, f"aborted after {slowest:.1f} s"

        cancel(s, at_once)
        s.stack.kill()
        s.provider.release()
        s.stack.start()
        s.wait_ended()
        calls = s.calls()
        assert {calls[name] for name in chosen["queued"]} == {0}
        assert {calls[name] for name in chosen["retrying"]} == {1}
        assert {calls[name] for name in chosen["running"]} == {1}
        s.note(cancelled=sum(map(len, chosen.values())), slowest_abort_s=slowest, heartbeat_s=beat)


def held_at_most(s: Stage, count: int) -> bool:
    """Whether no more calls than that are in flight."""
    return s.provider.held <= count


def cancel(s: Stage, ids: list[str]) -> None:
    """Cancel messages through the API; each must be accepted."""
    s.ledger.expect(ids, "cancelled")
    with s.http() as http:
        for name in ids:
            answer = http.post(f"/messages/{name}/cancel")
            assert answer.status_code == 200, answer.text


# -- 37 ----------------------------------------------------------------------------------------------


@pytest.mark.scenario(37, "kill -9 of a worker with shared calls in flight", ci=("redis",), weight=25)
def test_killed_with_shared_calls(stage: MakeStage) -> None:
    """All complete, each with its own translation; of the texts only those in flight are asked for again."""
    with stage(TQ_LEASE=str(LEASE), TQ_BATCH_MAX_ITEMS="20", TQ_MEMORY_TTL="1d") as s:
        s.provider.latency = 2
        s.submit(s.rng.randrange(300, 500), priority=0)
        wait_until(lambda: s.provider.inflight >= 5, "shared calls are in flight")
        in_flight = sum(len(texts_of(call)) for call in s.provider.calls)
        s.stack.service("worker").kill()
        s.note(ended_after_s=s.wait_ended())
        calls = s.calls()
        repeated = sum(times - 1 for times in calls.values())
        assert max(calls.values()) == 2
        assert repeated <= in_flight + 200, "what the worker had in its slots"
        shared = [len(texts_of(call)) for call in s.provider.calls]
        s.note(provider_calls=len(shared), texts_a_call=sum(shared) / len(shared), texts_repeated=repeated)
        assert sum(shared) / len(shared) > 5
