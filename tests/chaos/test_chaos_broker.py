"""What can happen to the broker, under load."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from broker import Server, answers, pause, resume
from servers import wait_until
from stage import Load, MakeStage, Stage

#: Lists of tokens, and what kombu keeps of those that workers hold.
TOKENS = ("high_priority*", "default*", "quarantine*", "unacked*")


@pytest.mark.scenario(4, "kill -9 of the whole stack, restart", ci=("embedded",), weight=25)
def test_everything_killed(stage: MakeStage) -> None:
    """A new `tq up` on the same data goes on with everything that was accepted."""
    with stage(TQ_LEASE="3") as s:
        s.provider.latency = 0.5
        with s.load(50) as load:
            s.submit(s.rng.randrange(100, 300))
            wait_until(lambda: s.log.count("running") > 50, "some of it runs")
            s.stack.kill()
            killed = time.monotonic()
            s.stack.start()
            wait_for_more(1, load)
            s.note(accepting_again_after_s=time.monotonic() - killed)


@pytest.mark.scenario(5, "broker kill -9 under load, AOF always", ci=("embedded",), weight=30)
def test_broker_killed(stage: MakeStage) -> None:
    """Every submit that was acknowledged is there when the broker is back."""
    with stage(TQ_LEASE="3") as s:
        kill_the_broker(s, times=3)


@pytest.mark.scenario(6, "broker kill -9 under load, AOF everysec", ci=("redis",), weight=30)
def test_broker_killed_with_everysec(stage: MakeStage) -> None:
    """The same: what was written survives the process; only a machine that fails loses the last second."""
    with stage(TQ_LEASE="3") as s:
        with s.broker.client() as client:
            client.config_set("appendfsync", "everysec")
        kill_the_broker(s, times=1 if s.kind == "embedded" else 3)


def wait_for_more(count: int, *loads: Load) -> None:
    """Wait until so many more are accepted."""
    wanted = sum(len(load.ids) for load in loads) + count
    wait_until(lambda: sum(len(load.ids) for load in loads) >= wanted, "submits are accepted", 90)


def wait_for_refusals(count: int, load: Load) -> None:
    """Wait until so many more are answered with 503."""
    wanted = load.refused[503] + count
    wait_until(lambda: load.refused[503] >= wanted, "submits are refused", 120)


def kill_the_broker(s: Stage, times: int) -> None:
    """SIGKILL under load, so many times; submits go on after each."""
    s.provider.latency = 0.3
    outages = []
    with s.load(60) as one, s.load(60) as other:
        for _ in range(times):
            wait_for_more(s.rng.randrange(20, 150), one, other)
            killed = time.monotonic()
            s.broker.kill()
            s.broker.back()
            wait_for_more(1, one)
            outages.append(time.monotonic() - killed)
    s.note(kills=times, longest_outage_s=max(outages), refused=dict(one.refused + other.refused))


@pytest.mark.scenario(7, "broker restarts during submits", ci=("embedded",), weight=25)
def test_broker_restarted(stage: MakeStage) -> None:
    """Every 2xx survives, and whatever is not accepted gets a 503: no other answer, and none that fails to come."""
    with stage() as s:
        loads = [s.load(40) for _ in range(3)]
        with loads[0] as a, loads[1] as b, loads[2] as c:
            for _ in range(3):
                wait_for_more(s.rng.randrange(10, 60), a)
                stop(s)
                if s.kind == "redis":  # nobody starts this one at once, so that there is time to be refused
                    wait_for_refusals(1, a)
                s.broker.back()
        refused = a.refused + b.refused + c.refused
        assert refused.keys() == {503}, f"refused with {dict(refused)}"
        s.note(refused=dict(refused), slowest_answer_s=max(a.slowest, b.slowest, c.slowest))


def stop(s: Stage) -> None:
    """SIGTERM."""
    if isinstance(s.broker, Server):
        s.broker.valkey.stop()
    else:
        process = psutil.Process(s.broker.pid)
        process.terminate()
        process.wait(30)


@pytest.mark.scenario(8, "CLIENT KILL of all connections, 20 times", ci=("redis",), weight=25)
def test_connections_killed(stage: MakeStage) -> None:
    """No process ends, no submit fails for good, and nothing is translated twice for it."""
    with stage() as s:
        s.provider.latency = 0.3
        with s.load(50) as load:
            for _ in range(20):
                wait_for_more(s.rng.randrange(1, 25), load)
                with s.broker.client() as client:
                    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                    client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        seconds = s.wait_ended()
        assert not any(s.stack.restarts().values()), s.stack.restarts()
        repeated = len(s.provider.calls) - len(set(s.provider.contents()))
        assert repeated == 0, f"{repeated} calls were made twice"
        s.note(refused=dict(load.refused), ended_after_s=seconds)


@pytest.mark.scenario(9, "broker SIGSTOP for 60 s", ci=(), weight=110)
def test_broker_stands_still(stage: MakeStage) -> None:
    """Meanwhile the API answers 503 within 10 s; within 30 s after it the work goes on."""
    with stage() as s:
        s.provider.latency = 0.3
        s.submit(100)
        pause(s.broker)
        began = time.monotonic()
        slowest = 0.0
        entry = s.ledger.new(5)
        try:
            with s.http() as http:
                while time.monotonic() - began < 60:
                    asked = time.monotonic()
                    answer = http.post("/messages", json=s.body(entry))
                    slowest = max(slowest, time.monotonic() - asked)
                    assert answer.status_code == 503
                    assert int(answer.headers["Retry-After"]) > 0
                assert http.get("/health").status_code == 200
        finally:
            resume(s.broker)
        resumed = time.monotonic()
        assert slowest < 10
        with s.http() as http:
            wait_until(lambda: http.post("/messages", json=s.body(entry)).status_code == 202, "it is accepted", 30)
        s.ledger.acknowledge(entry.message_id)
        s.wait_ended(timeout=30 - (time.monotonic() - resumed))
        s.note(slowest_503_s=slowest, all_ended_after_s=time.monotonic() - resumed)


@pytest.mark.scenario(11, "kill the API between record and publish", ci=("embedded",), weight=40)
def test_api_killed_before_it_publishes(stage: MakeStage) -> None:
    """Messages whose tokens were never published are found and published by someone else's reaper."""
    with stage() as s:
        worker = s.stack.service("worker")
        worker.suspend()
        lost = 0
        for _ in range(3):
            s.submit(200)
            s.stack.service("api").kill()
            lost = len(s.ledger.acknowledged) - tokens(s)
            wait_until(lambda: lives(s), "the API is back", 60)
        assert lost > 0, "all tokens were published before the API died: nothing is shown"
        worker.resume()
        s.note(lost_tokens=lost, all_ended_after_s=s.wait_ended(timeout=60))


def tokens(s: Stage) -> int:
    """How many tokens wait to be popped."""
    with s.broker.client() as client:
        names: Any = [name for pattern in TOKENS[:3] for name in client.keys(pattern)]
        return sum(int(client.llen(name)) for name in names)


def lives(s: Stage) -> bool:
    """Whether the API answers."""
    try:
        with s.http() as http:
            return http.get("/health").status_code == 200
    except Exception:  # noqa: BLE001 - whatever it is: it does not answer
        return False


@pytest.mark.scenario(12, "queue lists and unacked deleted by hand", ci=("redis",), weight=30)
def test_lists_deleted(stage: MakeStage) -> None:
    """All of what was queued is published again, and what ran goes on."""
    with stage(TQ_CONCURRENCY="20") as s:
        s.provider.hold()
        s.submit(s.rng.randrange(200, 400))
        s.wait_running(18)
        with s.broker.client() as client:
            names: Any = [name for pattern in TOKENS for name in client.keys(pattern)]
            deleted = tokens(s)
            client.delete(*names)
        assert deleted > 100
        s.provider.release()
        s.note(deleted=deleted, recovered_after_s=s.wait_ended(timeout=60))


@pytest.mark.scenario(25, "maxmemory reached", ci=("embedded",), weight=40)
def test_memory_full(stage: MakeStage, rng: random.Random) -> None:
    """Submits get 503; what was accepted ends, even if its worker is killed; then submits are accepted again."""
    with stage(TQ_CONCURRENCY="20", TQ_LEASE="3") as s:
        s.provider.hold()
        s.submit(100)
        s.wait_running(18)
        with s.load(50, words="x" * 200_000) as load:
            limit_memory(s, more=rng.randrange(8, 16) * 2**20)
            wait_for_refusals(5, load)
            s.stack.service("worker").kill()
            s.provider.release()
            killed = s.wait_ended()
            assert s.stack.restarts() == {**dict.fromkeys(s.stack.restarts(), 0), "worker": 1}

            # Now it is full to the last byte, and more: something else has used the rest.
            s.provider.hold()
            limit_memory(s, more=2**30)
            wait_for_more(50, load)
            limit_memory(s, more=-(2**20))
            wait_for_refusals(5, load)
            s.provider.release()
            full = s.wait_ended()
            limit_memory(s, more=2**30)
            wait_for_more(5, load)
        assert load.refused.keys() == {503}, dict(load.refused)
        assert s.stack.restarts() == {**dict.fromkeys(s.stack.restarts(), 0), "worker": 1}
        s.note(refused=load.refused[503], ended_after_kill_s=killed, ended_when_full_s=full)


def limit_memory(s: Stage, *, more: int) -> None:
    """Set maxmemory to what is used now and so many bytes more."""
    with s.broker.client() as client:
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + more)


@pytest.mark.scenario(26, "disk full under the AOF", ci=("embedded",), weight=40)
def test_disk_full(stage: MakeStage, disk: Path, rng: random.Random) -> None:
    """Submits get 503 and nothing is lost; with room again, all goes on."""
    with stage(prepare=lambda folder: mount(folder, disk), TQ_LEASE="3") as s:
        s.provider.latency = 0.2
        filler = s.broker.folder / "filler"
        with s.load(50) as load:
            wait_for_more(20, load)
            fill(filler, leave=rng.randrange(0, 20_000))
            # Longer than it takes to crash five times, which would end the stack.
            wait_for_refusals(60, load)
            assert s.stack.driven.popen.poll() is None, "the stack has given up"
            filler.unlink()
            freed = time.monotonic()
            if s.kind == "redis" and not answers(s.broker):
                s.broker.back()  # it ends when it cannot write, as a service it is started again
            wait_for_more(5, load)
            s.note(accepting_again_after_s=time.monotonic() - freed)
        assert load.refused.keys() == {503}, dict(load.refused)
        s.note(refused=load.refused[503])


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 16 MiB."""
    folder = tmp_path_factory.mktemp("d")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(folder: Path, disk: Path) -> None:
    """Put the data of either kind of broker on a file system of its own."""
    (folder / "data").mkdir(mode=0o700)
    (folder / "data" / "valkey").symlink_to(disk)
    (folder / "redis").symlink_to(disk)


def fill(filler: Path, *, leave: int) -> None:
    """Write until the disk is full, but for so many bytes."""
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            size = file.tell()
        file.truncate(max(0, size - leave))


@pytest.mark.scenario(32, "torn tail of the AOF", ci=("embedded",), weight=25)
def test_torn_tail(stage: MakeStage) -> None:
    """It starts, and only what stood behind the tear is lost."""
    with stage(TQ_LEASE="3") as s:
        s.stack.service("worker").suspend()
        ids = s.submit(100)
        with s.http() as http:
            for _ in range(20):
                entry = s.ledger.new(s.rng.randrange(11))
                assert http.post("/messages", json=s.body(entry)).status_code == 202
                s.ledger.acknowledge(entry.message_id)
                ids.append(entry.message_id)
        s.stack.kill()
        if s.kind == "redis":
            s.broker.kill()
        first = s.rng.randrange(100, 119)
        kept, removed = tear(s.broker.folder, ids[first], s.rng.randrange(1, 40))
        for name in ids[first:]:
            s.ledger.forget(name)  # before anybody can ask for them again
        if s.kind == "redis":
            s.broker.back()
        s.stack.start()
        wait_until(lambda: answers(s.broker), "the broker answers")
        found = s.statuses(ids)
        lost = [name for name in ids if found[name] == "unknown"]
        assert lost == ids[first:], f"lost {lost}, torn at {ids[first]}"
        s.note(torn_bytes=removed, kept_bytes=kept, lost=len(lost))


def tear(folder: Path, message_id: str, distance: int) -> tuple[int, int]:
    """Cut the newest AOF off so many bytes behind where a message is first named; returns bytes kept and removed."""
    (path,) = folder.rglob("*.incr.aof")
    data = path.read_bytes()
    at = data.index(message_id.encode()) + distance
    with path.open("r+b") as file:
        file.truncate(at)
    return at, len(data) - at
