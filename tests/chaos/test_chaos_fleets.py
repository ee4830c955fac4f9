"""What can happen to several workers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest
from broker import PASSWORD
from hands import holder, lines, without_own_worker
from servers import Valkey, free_port, wait_until
from stage import Load, MakeStage, Stage

LEASE = 3
#: Seconds after its worker's death in which a message runs again, beyond the lease.
SLACK = 10


# -- 10 ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Namespace:
    """A network namespace with two links to this one: one to the broker, one to the provider.

    Attributes:
        name: as `ip netns` knows it.
        broker: this end of the link to the broker: its address, and its name as `ip link` knows it.
        provider: the same of the other link.
    """

    name: str
    broker: tuple[str, str]
    provider: tuple[str, str]


def ip(*words: str) -> None:
    """Run `ip`."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


@contextmanager
def namespace() -> Iterator[Namespace]:
    """A namespace, with names and addresses by this process's pid; gone afterwards."""
    name, pid = f"tq{os.getpid()}", os.getpid() % 8192
    if shutil.which("ip") is None:
        pytest.skip("network namespaces: the command `ip` is not installed (Debian: iproute2)")
    added = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if added.returncode:
        pytest.skip(f"network namespaces: {added.stderr.strip()}")
    try:
        links = []
        for number, kind in enumerate("bp"):
            # RFC 2544 keeps 198.18.0.0/15 for tests; a link takes four addresses of it.
            block = f"198.18.{pid >> 5}.{(pid & 31) * 8 + number * 4}"
            here, there = (f"{block.rpartition('.')[0]}.{int(block.rpartition('.')[2]) + last}" for last in (1, 2))
            ip("link", "add", f"{name}{kind}0", "type", "veth", "peer", "name", f"{name}{kind}1", "netns", name)
            ip("address", "add", f"{here}/30", "dev", f"{name}{kind}0")
            ip("link", "set", f"{name}{kind}0", "up")
            ip("-n", name, "address", "add", f"{there}/30", "dev", f"{name}{kind}1")
            ip("-n", name, "link", "set", f"{name}{kind}1", "up")
            links.append((here, f"{name}{kind}0"))
        yield Namespace(name, links[0], links[1])
    finally:
        # The kernel takes its time to clear a namespace away, and the links with it.
        for kind in "bp":
            subprocess.run(["ip", "link", "delete", f"{name}{kind}0"], capture_output=True, check=False)
        ip("netns", "delete", name)


@pytest.mark.scenario(10, "a worker is cut off from the broker", ci=("redis",), weight=70)
def test_worker_cut_off(stage: MakeStage, store: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Another takes over, what the one cut off finds is void, and it works on when the link is back.

    The embedded Valkey has no TCP: its binary runs here as a server of its own.
    """
    with namespace() as net:
        address, link = net.broker
        server = Valkey(
            tmp_path_factory.mktemp("n"),
            password=PASSWORD,
            port=free_port(),
            addresses=("127.0.0.1", address),
            binary=Valkey.redis_server() if store == "redis" else None,
        )
        made = stage(server=server, TQ_LEASE=str(LEASE))
        made.provider.host = "0.0.0.0"
        with made as s, ExitStack() as workers:
            far = {
                "TQ_REDIS_URL": f"redis://:{PASSWORD}@{address}:{server.port}/0",
                "OPENAI_BASE_URL": f"http://{net.provider[0]}:{s.provider.port}/v1",
            }
            with without_own_worker(s):
                cut_off = workers.enter_context(s.worker(["ip", "netns", "exec", net.name], **far))
                # The first call waits to be released; the second one ends before the outage, or outlasts it.
                latency = s.rng.choice((5, 30))
                ids = s.submit(s.rng.randrange(10, 30), fault=f"holdx1@@ @@fault:latency={latency}x1")
                s.wait_running(len(ids))
            assert {holder(s, name) for name in ids} == {cut_off.pid}

            ip("link", "set", link, "down")
            cut = time.monotonic()
            wait_until(lambda: len(s.provider.calls) >= 2 * len(ids), "another takes over", LEASE + SLACK + 5)
            taken_over = time.monotonic() - cut
            assert taken_over < LEASE + SLACK
            # The provider's answers reach it, and it has nobody to tell.
            s.provider.release()
            wait_until(lambda: lines(cut_off.output, "waiting for the store"), "it tries to tell the store")
            assert not lines(cut_off.output, "is void")
            threading.Event().wait(s.rng.uniform(0, 8))  # the fault: an outage of any length
            running = s.count("running", ids)

            ip("link", "set", link, "up")
            back = time.monotonic()
            late = "(this outcome is void|someone else's now)"
            wait_until(
                lambda: all(lines(cut_off.output, f"{name} .*{late}") for name in ids),
                "all that it was late with is void",
                90,
            )
            void = time.monotonic() - back
            assert set(s.calls().values()) == {2}
            s.wait_ended(ids)
            with s.broker.client() as client:
                # Of a later claim: on a machine that stands still longer than a lease there may be a third.
                assert b"1" not in {client.hget(f"tq:message:{name}", "settled") for name in ids}
            with without_own_worker(s, among=2):
                works_again = s.wait_ended(s.submit(10), 90)
            assert cut_off.popen.poll() is None
            s.note(taken_over_after_s=taken_over, cut_off_s=back - cut)
            s.note(running_elsewhere_when_it_is_back=running, void_after_s=void, ten_more_done_in_s=works_again)


# -- 19 ----------------------------------------------------------------------------------------------


@pytest.mark.scenario(19, "worker clocks two hours ahead and behind", ci=("redis",), weight=45)
def test_wrong_clocks(stage: MakeStage, tmp_path_factory: pytest.TempPathFactory) -> None:
    """They have no effect on statuses, leases, retries that are due, or times; nothing runs twice."""
    lease = 5
    wrong = wrong_clocks(tmp_path_factory.mktemp("c"))
    with stage(TQ_LEASE=str(lease)) as s, without_own_worker(s), ExitStack() as exits:
        workers = [exits.enter_context(s.worker(**environment)) for environment in wrong]
        began = time.time()
        plain = s.submit(30)
        long = s.submit(20, fault=f"latency={2 * lease + 1}")
        waits = {"429=3x1": 3.0, "429-date=4x1": 3.0, "429-ms=2500x1": 2.5, "500x1": 0.0}
        retried = {name: wait for fault, wait in waits.items() for name in s.submit(8, fault=fault)}
        wait_until(
            lambda: s.log.count("retrying") >= len(retried),
            lambda: f"all of these wait for their retry: {[(n, s.log.changes[n]) for n in retried]}",
        )
        with s.http() as http:
            listed = http.get("/queue/stats").json()["workers"]
        assert {each["name"].rpartition(":")[2] for each in listed} >= {str(each.pid) for each in workers}
        assert all(abs(seconds_of(each["alive_until"]) - time.time()) < 2 * lease for each in listed)
        s.wait_ended()
        ended = time.time()
        took = {each.pid: len(lines(each.output, "started")) for each in workers}

        calls = s.calls()
        repeated = {name: s.log.changes[name] for name in s.statuses() if calls[name] != 1 + (name in retried)}
        assert not repeated, f"these ran again: {repeated}"
        later = 0.0
        for name, wait in retried.items():
            changes = s.log.changes[name]
            (waited,) = ((b.at - a.at) / 1000 for a, b in pairwise(changes) if a.status == "retrying")
            assert waited >= wait - 0.01, changes
            later = max(later, waited - wait)
        assert later < 7, f"a retry ran {later:.1f} s too late"  # the jitter, and the reaper's 5 s
        with s.http() as http:
            for name in plain + long + list(retried):
                document = http.get(f"/messages/{name}").json()
                times = [seconds_of(document[field]) for field in ("created_at", "started_at", "finished_at")]
                assert times == sorted(times)
                assert began - 1 < times[0]
                assert times[-1] < ended + 1

        # And when one of them dies, its leases run out for the other as they should.
        s.provider.hold()
        ids = s.submit(20)
        s.wait_running(20)
        died, other = s.rng.sample(workers, 2)
        lost = [name for name in ids if holder(s, name) == died.pid]
        died.kill()
        killed = time.monotonic()
        wait_until(lambda: all(s.calls()[name] == 2 for name in lost), "the other has taken over", lease + SLACK + 5)
        again = time.monotonic() - killed
        assert again < lease + SLACK
        s.provider.release()
        s.wait_ended()
        assert {s.calls()[name] for name in ids} <= {1, 2}
        assert other.popen.poll() is None
        s.note(
            done_by_each="/".join(map(str, took.values())),
            latest_retry_s_after_due=later,
            lost=len(lost),
            running_again_after_s=again,
        )


def wrong_clocks(folder: Path) -> list[dict[str, str]]:
    """The environments in which a process's wall clock is two hours ahead, and two hours behind."""
    library = folder / "wrong_clock.so"
    if shutil.which("cc") is None:
        pytest.skip("wrong clocks: there is no C compiler (Debian: gcc)")
    source = Path(__file__).with_name("wrong_clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    environments = []
    for seconds in (7200, -7200):
        environment = {"LD_PRELOAD": str(library), "WRONG_CLOCK": str(seconds)}
        told = subprocess.run(
            [sys.executable, "-c", "import time; print(time.time())"],
            env=os.environ | environment,
            capture_output=True,
            check=True,
        )
        assert abs(float(told.stdout) - time.time() - seconds) < 30
        environments.append(environment)
    return environments


def seconds_of(text: str) -> float:
    """Unix time of a time in a document."""
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


# -- 33 ----------------------------------------------------------------------------------------------

#: What an old worker is: the package as it was when the first release was ready.
OLD = "af6c9788fdf02565e5f55050970ac4d436a0f75c"


@pytest.mark.scenario(33, "an old worker with a newer API", ci=("embedded",), weight=40)
def test_old_worker(stage: MakeStage) -> None:
    """It brings to an end whatever a newer API accepts, and what it leaves behind is taken over."""
    with stage(TQ_LEASE=str(LEASE)) as s:
        old = old_code(s.folder / "old")
        with without_own_worker(s):
            plain = s.submit(40)
            retried = s.submit(8, fault="500x1")
            s.ledger.expect(failed := s.submit(4, fault="401"), "failed")
            s.ledger.expect(cancelled := s.submit(4), "cancelled")
            with s.http() as http:
                assert all(http.post(f"/messages/{name}/cancel").status_code == 200 for name in cancelled)
            from_the_future(s, s.rng.sample(plain, 15))
            with s.worker(PYTHONPATH=str(old), PYTHONSAFEPATH="1") as worker:
                s.wait_ended()
                assert s.calls() == {name: 1 + (name in retried) for name in plain + retried + failed}
                s.provider.hold()
                running = s.submit(20)
                s.wait_running(20)
                s.ledger.expect(given_up := running[:5], "cancelled")
                with s.http() as http:
                    assert all(http.post(f"/messages/{name}/cancel").status_code == 200 for name in given_up)
                wait_until(lambda: s.provider.held == 15, "the calls of the cancelled ones are aborted")
                assert {holder(s, name) for name in running[5:]} == {worker.pid}
                worker.kill()
        wait_until(lambda: s.provider.held == 15, "the new worker has taken over", LEASE + SLACK)
        s.provider.release()
        s.wait_ended()
        left = forget_tokens(s)
        assert left <= set(running)
        s.note(stale_tokens_left_by_the_old_worker=len(left))
        s.note(ended_by_the_old_worker=len(plain + retried + failed), taken_over_from_it=15)


def old_code(folder: Path) -> Path:
    """The package of ``OLD`` in a folder, which it returns."""
    root = Path(__file__).parents[2]
    archive = subprocess.run(["git", "archive", OLD, "tq"], cwd=root, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"an old worker: no git history with {OLD[:7]}")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    where = subprocess.run(
        [sys.executable, "-c", "import tq; print(tq.__file__)"],
        env=os.environ | {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(folder), "the old package is the one imported"
    return folder


def forget_tokens(s: Stage) -> set[str]:
    """Take away the tokens that the old worker popped and did not live to acknowledge; returns their ids.

    kombu would put them back in an hour, ten at a time, for the next worker to find them stale. A newer worker
    leaves none.
    """
    with s.broker.client() as client:
        left = {json.loads(token)[0]["headers"]["id"] for token in client.hvals("unacked")}
        client.delete("unacked", "unacked_index")
    return left


def from_the_future(s: Stage, ids: list[str]) -> None:
    """Give queued messages what only a later version would know."""
    with s.broker.client() as client:
        for name in ids:
            body = json.loads(client.hget(f"tq:message:{name}", "body") or b"")
            body |= {"tone": "formal", "parts": [1, 2]}
            client.hset(f"tq:message:{name}", mapping={"body": json.dumps(body), "tenant": "7", "claims_left": "x"})


# -- 34 ----------------------------------------------------------------------------------------------


@pytest.mark.scenario(34, "a rolling restart of 3 workers under load", ci=("embedded",), weight=60)
def test_rolling_restart(stage: MakeStage) -> None:
    """No client sees an error, and only calls that outlast the grace are repeated, once."""
    grace = 4
    with stage(TQ_LEASE=str(LEASE), TQ_GRACE=str(grace)) as s, without_own_worker(s), ExitStack() as exits:
        s.provider.latency = 1.0
        workers = [exits.enter_context(s.worker()) for _ in range(3)]
        s.rng.shuffle(workers)
        slowest = 0.0
        with s.load(20) as load:
            long = s.submit(6, fault=f"latency={4 * grace}x1")
            for worker in workers:
                count = len(load.ids)
                wait_until(partial(more_than, load, count + 20), "there is load")
                began = time.monotonic()
                assert worker.terminate(grace + 8 + SLACK) == 0, worker.output
                slowest = max(slowest, time.monotonic() - began)
                exits.enter_context(s.worker())
            count = len(load.ids)
            wait_until(partial(more_than, load, count + 20), "there is load")
        s.wait_ended()
        assert not load.refused, f"clients saw {load.refused}"
        assert set(s.answers) <= {200, 202}, f"clients saw {s.answers}"
        calls = s.calls()
        assert {calls[name] for name in load.ids} == {1}
        assert {calls[name] for name in long} <= {1, 2}
        longest = max(longest_wait(s, load.ids).values())
        # The reaper repeats a token after 10 s: none was lost with a worker that stopped.
        assert longest < 8, f"a message was queued for {longest:.1f} s"
        s.note(
            slowest_stop_s=slowest,
            calls_repeated=sum(calls.values()) - len(calls),
            of_messages_longer_than_the_grace=len(long),
            longest_wait_s=longest,
            polls=s.observer.statuses.total(),
        )


def more_than(load: Load, count: int) -> bool:
    """Whether so many messages have been accepted."""
    return len(load.ids) > count


def longest_wait(s: Stage, ids: list[str]) -> dict[str, float]:
    """Seconds that each message was queued at a stretch, at most."""
    wait_until(s.log.caught_up, "the change log has caught up")
    return {
        name: max((b.at - a.at) / 1000 for a, b in pairwise(s.log.changes[name]) if a.status == "queued")
        for name in ids
    }


# -- 35 ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Storm:
    """How long workers are killed, and under how many messages; the latency of a call is by chance."""

    seconds: float
    messages: int
    workers: int = 4
    concurrency: int = 10
    every: float = 2.0


@pytest.mark.scenario(35, "a worker killed every 2 s for 5 minutes, 5,000 messages", weight=600)
def test_workers_killed_for_minutes(stage: MakeStage) -> None:
    """Every message is completed, once."""
    storm(stage, Storm(seconds=300, messages=5000))


@pytest.mark.scenario(35, "a worker killed every 2 s for 20 s, 300 messages", ci=("embedded",), weight=60)
def test_workers_killed_for_seconds(stage: MakeStage) -> None:
    """The same, in short."""
    storm(stage, Storm(seconds=20, messages=300))


def storm(stage: MakeStage, weather: Storm) -> None:
    """Kill one worker after the other: by itself, with its group as a machine would, or the stack's own."""
    with stage(TQ_LEASE=str(LEASE), TQ_CONCURRENCY=str(weather.concurrency), patience=600) as s, ExitStack() as exits:
        s.provider.latency = 2.0
        fleet = [exits.enter_context(s.worker()) for _ in range(weather.workers)]
        ids = s.submit(weather.messages)
        began = time.monotonic()
        own = began
        kills = {"alone": 0, "with its group": 0, "the stack's own": 0}
        next_kill = threading.Event()
        while time.monotonic() - began < weather.seconds:
            next_kill.wait(weather.every)  # the fault: one every two seconds
            # The supervisor gives up after five crashes in 60 s.
            if time.monotonic() - own > 20 and s.rng.random() < 0.3 and s.stack.states()["worker"] == "healthy":
                own = time.monotonic()
                s.stack.service("worker").kill()
                kills["the stack's own"] += 1
                continue
            victim = s.rng.randrange(len(fleet))
            how = s.rng.choice(("alone", "with its group"))
            kills[how] += 1
            if how == "alone":
                fleet[victim].popen.kill()
                fleet[victim].popen.wait(10)
            else:
                fleet[victim].kill()
            fleet[victim] = exits.enter_context(s.start_worker())
        at_the_end = s.count("completed")
        seconds = s.wait_ended(ids, 600)
        calls = s.calls()
        s.note(
            kills=sum(kills.values()),
            **{name.replace(" ", "_"): count for name, count in kills.items()},
            completed_meanwhile=at_the_end,
            the_rest_after_s=seconds,
            calls_repeated=sum(calls.values()) - len(calls),
            quarantined=quarantined(s, ids),
            innocents_failed_as_poison=s.count("failed"),
        )


def quarantined(s: Stage, ids: list[str]) -> int:
    """How many messages were in quarantine."""
    with s.broker.client() as client:
        pipeline = client.pipeline(transaction=False)
        for name in ids:
            pipeline.hexists(f"tq:message:{name}", "queue")
        return sum(pipeline.execute())
