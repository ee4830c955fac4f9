"""What can happen to `tq up` itself, and everything at random."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

import pytest
from broker import answers, pause, resume
from servers import free_port, wait_until
from stage import MakeStage, Stage
from test_chaos_broker import TOKENS

from tq.datadir import stack_path
from tq.settings import Settings

#: Seconds of random faults, and how many crashes of a service `tq up` bears in a minute.
RANDOM_SECONDS = 60
BEARABLE = 4


@pytest.mark.scenario(29, "kill -9 of the supervisor", ci=("embedded",), weight=20)
def test_supervisor_killed(stage: MakeStage) -> None:
    """Its children are gone within 10 s, and the next `tq up` starts clean on the same data."""
    with stage(TQ_LEASE="3") as s:
        s.provider.hold()
        s.submit(s.rng.randrange(50, 100))
        s.wait_running(20)
        s.stack.driven.send(signal.SIGKILL)
        killed = time.monotonic()
        s.stack.driven.wait()
        wait_until(lambda: not s.stack.driven.descendants(), "its children are gone", 10)
        gone = time.monotonic() - killed
        s.provider.release()
        s.stack.start()
        s.note(children_gone_after_s=gone, all_ended_after_s=s.wait_ended())


@pytest.mark.scenario(30, "two `tq up`, port in use, stale and recycled pid", ci=("redis",), weight=30)
def test_second_stack(stage: MakeStage) -> None:
    """A second one says so and harms nothing; a pid that is someone else's now is left alone."""
    with stage(TQ_LEASE="3") as s, s.load(20) as load:
        second = s.stack.tq("up", "--port", "auto")
        assert second.returncode == 0, second.stderr
        assert f"already running (pid {s.stack.driven.popen.pid}" in second.stdout
        assert not any(s.stack.restarts().values())

        other = s.folder / "other"
        other.mkdir()
        port = str(s.stack.info.api_url.rpartition(":")[2])
        busy = s.stack.tq("up", "--port", port, TQ_DATA_DIR=str(other), TQ_FLOWER_PORT=str(free_port()))
        assert busy.returncode == 1, busy.stderr
        assert f"{port}" in busy.stderr
        assert str(s.stack.service("api").pid) in busy.stderr, busy.stderr

        path = stack_path(Settings(data_dir=s.stack.data))
        s.stack.kill()
        info = json.loads(path.read_text())
        with subprocess.Popen(["sleep", "600"], start_new_session=True) as innocent:
            try:
                # The pids of the file are someone else's now, and its times are not.
                for place in (info, *info["services"]):
                    if place["process"]:
                        place["process"]["pid"] = innocent.pid
                path.write_text(json.dumps(info))
                s.stack.start()
                assert innocent.poll() is None, "an innocent process was killed"
            finally:
                innocent.kill()
        count = len(load.ids)
        wait_until(lambda: len(load.ids) > count + 5, "submits are accepted")
        s.note(second_up_exit=second.returncode, port_in_use_exit=busy.returncode)


@pytest.mark.scenario(36, "a random schedule of faults", ci=("redis",), weight=110)
def test_random_schedule(stage: MakeStage, rng: random.Random) -> None:
    """Whatever happens in which order: the five invariants hold."""
    with stage(TQ_LEASE="4", TQ_CONCURRENCY="40") as s:
        s.provider.latency = 0.5
        nemesis = Nemesis(s, rng)
        with s.load(30), s.load(30, fault="503x1"), s.worker():
            ends = time.monotonic() + RANDOM_SECONDS
            while time.monotonic() < ends:
                threading.Event().wait(rng.uniform(0.5, 5))  # the schedule itself
                nemesis.strike()
        s.note(faults=dict(nemesis.done))


class Nemesis:
    """Does something bad, by chance, but crashes no service more often than `tq up` bears."""

    def __init__(self, s: Stage, rng: random.Random) -> None:
        self._stage = s
        self._rng = rng
        self._crashes: dict[str, deque[float]] = {}
        self.done: Counter[str] = Counter()

    def strike(self) -> None:
        """One fault."""
        faults: dict[str, Callable[[], bool]] = {
            "kill worker": lambda: self._kill("worker"),
            "kill API": lambda: self._kill("api"),
            "kill broker": self._kill_broker,
            "stop broker": self._stop_broker,
            "stop worker": self._stop_worker,
            "cut connections": self._cut,
            "delete lists": self._delete,
        }
        name = self._rng.choice(sorted(faults))
        print(f"{time.time():.1f} {name}")  # noqa: T201 - shown with a failure
        self.done[name] += faults[name]()

    def _may_crash(self, service: str) -> bool:
        times = self._crashes.setdefault(service, deque(maxlen=BEARABLE))
        if len(times) == BEARABLE and time.monotonic() - times[0] < 65:
            return False
        times.append(time.monotonic())
        return True

    def _kill(self, service: str) -> bool:
        if self._stage.stack.states().get(service) != "healthy" or not self._may_crash(service):
            return False
        self._stage.stack.service(service).kill()
        return True

    def _kill_broker(self) -> bool:
        if not answers(self._stage.broker) or not self._may_crash("broker"):
            return False
        self._stage.broker.kill()
        self._stage.broker.back()
        return True

    def _stop_broker(self) -> bool:
        pause(self._stage.broker)
        try:
            threading.Event().wait(self._rng.uniform(0.5, 6))  # the fault itself
        finally:
            resume(self._stage.broker)
        return True

    def _stop_worker(self) -> bool:
        if self._stage.stack.states().get("worker") != "healthy":
            return False
        worker = self._stage.stack.service("worker")
        worker.suspend()
        threading.Event().wait(self._rng.uniform(0.5, 10))  # the fault itself
        worker.resume()
        return True

    def _cut(self) -> bool:
        with self._stage.broker.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        return True

    def _delete(self) -> bool:
        with self._stage.broker.client() as client:
            names = [name for pattern in TOKENS for name in client.scan_iter(pattern)]
            if names:
                client.delete(*names)
        return True
