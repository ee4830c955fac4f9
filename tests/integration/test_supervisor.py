"""The supervisor with real processes: order, output, restarts, the end, and no orphans."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from driven import Driven
from servers import wait_until

from tq import processes

FAST = {"first": 0.05, "ceiling": 0.1, "limit": 5, "window": 60.0}

Start = Callable[..., Driven]


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


SHELLS = [name for name in ("sh", "dash", "bash", "zsh", "ksh", "busybox") if shutil.which(name)]
#: Sleeps in a way that a trap interrupts at once.
SLEEP = "while :; do sleep 0.05; done"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts supervisors of the given services; afterwards none has left a process behind."""
    running = []

    def start(*services: dict[str, Any], **policy: float) -> Driven:
        spec = {"services": services, "policy": {**FAST, **policy}}
        script = str(Path(__file__).with_name("supervised.py"))
        running.append(driven := Driven([sys.executable, script, json.dumps(spec)], tmp_path))
        return driven

    yield start
    for driven in running:
        driven.close()


def pid_of(driven: Driven, name: str, state: str = "healthy") -> int:
    return int(driven.wait_for(rf"changed .*\b{name}={state}:(\d+)")[1])


def stop(driven: Driven) -> None:
    driven.send(signal.SIGTERM)
    assert driven.wait() == 0, driven.text


# -- start -----------------------------------------------------------------------------------------


def test_starts_in_order_of_health(start: Start) -> None:
    """What is needed must be healthy first; health is reported in order, also when it came in another one."""
    driven = start(
        {"name": "first", "command": shell(f"sleep 0.3; touch ready; {SLEEP}"), "ready_file": "ready"},
        {
            "name": "slow",
            "command": shell(f"ls ready; sleep 0.3; touch ready2; {SLEEP}"),
            "ready_file": "ready2",
            "needs": ["first"],
        },
        {"name": "quick", "command": shell(f"ls ready; {SLEEP}"), "needs": ["first"]},
    )
    driven.wait_for("ready$")
    told = [match[0] for match in driven.find(r"(healthy \w+|ready)")]
    assert told == ["healthy first", "healthy slow", "healthy quick", "ready"]
    seconds = {match[1]: float(match[2]) for match in driven.find(r"healthy (\w+) (.*)")}
    assert 0.3 <= seconds["first"] <= seconds["quick"] < seconds["slow"]
    assert driven.find("line slow ready$")
    assert driven.find("line quick ready$")
    stop(driven)


def test_exit_before_health_is_reported_at_once(start: Start) -> None:
    """A service that exits before it is healthy ends the start, with its last 20 lines; the others stop."""
    driven = start(
        {"name": "good", "command": shell(SLEEP)},
        {"name": "bad", "command": shell("seq 1 30; printf unfinished; exit 3"), "ready_file": "never"},
    )
    assert driven.wait() == 1
    failed = driven.wait_for(r"failed bad exited with status 3 before it was healthy \| (.*)")
    assert failed[1].split() == [*map(str, range(12, 31)), "unfinished"]
    assert driven.find("event good stopped")
    assert not driven.find("ready$")
    driven.wait_gone()


def test_late_health_ends_the_start(start: Start) -> None:
    """A service that is not healthy in time ends the start, with what its probe said."""
    driven = start({"name": "late", "command": shell(f"echo hi; {SLEEP}"), "ready_file": "never", "timeout": 0.3})
    assert driven.wait() == 1
    assert driven.find(r"failed late is not healthy after 0.3 s: the file is missing \| hi")


def test_what_is_not_essential_only_warns(start: Start) -> None:
    """A service that is not essential may be late, or crash for good, and the others go on."""
    driven = start(
        {"name": "late", "command": shell(SLEEP), "ready_file": "later", "timeout": 0.2, "essential": False},
        {"name": "crash", "command": shell("exit 7"), "ready_file": "never", "essential": False},
        {"name": "good", "command": shell(SLEEP)},
    )
    driven.wait_for("ready$")
    assert driven.find("unhealthy late is not healthy after 0.2 s: the file is missing")
    assert driven.find("unhealthy crash exited with status 7 before it was healthy")
    driven.wait_for("warning crash exited with status 7; it crashed 5 times in 60 s and is not started again")
    driven.wait_for(r"changed .*crash=failed:None:4")
    (Path(psutil.Process(driven.popen.pid).cwd()) / "later").touch()
    driven.wait_for("event late is healthy")
    stop(driven)


def test_missing_command(start: Start) -> None:
    """A command that does not exist is a failed start that names it."""
    driven = start({"name": "none", "command": ["/does/not/exist"], "ready_file": "never"})
    assert driven.wait() == 1
    assert driven.find(r"failed none exited with status 127 .*/does/not/exist")


# -- output ----------------------------------------------------------------------------------------


def test_output_is_kept_whole(start: Start) -> None:
    """Both streams are read, bytes that are no text are replaced, and a last line without break is not lost."""
    script = r"printf 'out\n'; printf 'err\n' >&2; printf 'bad \377 byte\n'; printf 'no break'; exit 1"
    driven = start({"name": "talker", "command": shell(script)}, limit=2)
    driven.wait_for("line talker no break", count=2)
    texts = [match[1] for match in driven.find("line talker (.*)")]
    assert texts[:4] == ["out", "err", "bad \ufffd byte", "no break"]
    assert driven.wait() == 1


def test_a_flood_holds_up_nobody(start: Start) -> None:
    """While one service writes as fast as it can, another one's lines and the signals still get through."""
    driven = start(
        {"name": "flood", "command": shell("yes")},
        {"name": "calm", "command": shell("while :; do echo tick; sleep 0.05; done")},
    )
    driven.wait_for("line calm tick", count=5)
    assert len(driven.find("line flood y")) > 1000
    stop(driven)


def test_stdin_is_empty(start: Start) -> None:
    """A service that reads its stdin finds the end of it, not the supervisor's terminal or pipes."""
    driven = start({"name": "reader", "command": shell(f"cat; echo end; {SLEEP}")})
    driven.wait_for("line reader end")
    stop(driven)


# -- restarts --------------------------------------------------------------------------------------


def test_crashed_service_is_restarted(start: Start) -> None:
    """A service that is killed starts again after the wait, says so, counts it, and becomes healthy again."""
    driven = start({"name": "web", "command": shell(f"echo begin; {SLEEP}")}, first=0.2, ceiling=1)
    first = pid_of(driven, "web")
    driven.wait_for("line web begin")
    driven.wait_for("ready$")
    os.kill(first, signal.SIGKILL)
    driven.wait_for(r"warning web was killed by SIGKILL; starts again in 0\.2 s")
    driven.wait_for("line web begin", count=2)
    driven.wait_for("event web is healthy")
    second = int(driven.wait_for(r"changed web=healthy:(\d+):1")[1])
    assert second != first
    stop(driven)


def test_what_a_crash_leaves_behind_is_killed(start: Start) -> None:
    """The processes that a crashed service had started do not live on beside its successor."""
    driven = start({"name": "web", "command": shell(f"sleep 1000 & echo child $!; {SLEEP}")})
    child = int(driven.wait_for(r"line web child (\d+)")[1])
    os.kill(pid_of(driven, "web"), signal.SIGKILL)
    driven.wait_for(r"line web child", count=2)
    wait_until(lambda: not psutil.pid_exists(child), "the first child is gone")
    stop(driven)


def test_five_crashes_end_it(start: Start) -> None:
    """Five crashes in a minute are too many: the other services are stopped, and it fails."""
    driven = start(
        {"name": "good", "command": shell(SLEEP)},
        {"name": "bad", "command": shell("sleep 0.3; exit 2")},
    )
    assert driven.wait() == 1
    assert len(driven.find("warning bad exited with status 2; starts again in")) == 4
    assert driven.find("failed bad crashed 5 times in 60 s; the last time it exited with status 2")
    assert driven.find("event good stopped")
    driven.wait_gone()


def test_a_clean_exit_is_a_crash_too(start: Start) -> None:
    """A service that ends without having been asked to is started again, whatever its status."""
    driven = start({"name": "web", "command": shell("sleep 0.2; exit 0")}, limit=2)
    assert driven.wait() == 1
    assert driven.find("warning web exited with status 0; starts again")


# -- the end ---------------------------------------------------------------------------------------


def graceful(name: str, seconds: float, **fields: Any) -> dict[str, Any]:
    """A service that takes its time to stop."""
    script = f"trap 'echo draining; sleep {seconds}; echo drained; exit 0' TERM; echo up; {SLEEP}"
    return {"name": name, "command": shell(script), **fields}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stops_in_order(start: Start, number: signal.Signals) -> None:
    """One signal stops all: each is asked when those that it outlives are gone, and may finish its work."""
    driven = start(
        graceful("base", 0.0, stops_after=["front", "worker"]),
        graceful("front", 0.2),
        graceful("worker", 0.3, stops_after=["front"]),
    )
    driven.wait_for("line .* up", count=3)
    driven.send(number)
    assert driven.wait() == 0
    assert driven.index("stopping") < driven.index("line front draining")
    order = [match[0] for match in driven.find(r"(line \w+ dr\w+|event \w+ stopped)")]
    assert order == [
        f"{words} {name} {what}" if words == "line" else f"{words} {name} stopped"
        for name in ("front", "worker", "base")
        for words, what in (("line", "draining"), ("line", "drained"), ("event", ""))
    ]
    driven.wait_gone()


def test_grace_ends_with_a_kill(start: Start) -> None:
    """What has not stopped within its grace is killed, with everything that it has started."""
    script = f"trap '' TERM; (trap '' TERM; {SLEEP}) & echo child $!; {SLEEP}"
    driven = start({"name": "deaf", "command": shell(script), "grace": 0.3})
    driven.wait_for("line deaf child")
    began = time.monotonic()
    driven.send(signal.SIGTERM)
    assert driven.wait() == 0
    assert 0.3 <= time.monotonic() - began < 5
    assert driven.find("warning deaf has not stopped in 0.3 s: killing it")
    assert driven.find("event deaf was killed")
    driven.wait_gone()


def test_second_signal_kills(start: Start) -> None:
    """A second signal kills all at once, and the exit code says so."""
    driven = start(graceful("worker", 30, grace=60.0), graceful("base", 0, stops_after=["worker"]))
    driven.wait_for("line .* up", count=2)
    driven.send(signal.SIGINT)
    driven.wait_for("line worker draining")
    began = time.monotonic()
    driven.send(signal.SIGINT)
    assert driven.wait() == 130
    assert time.monotonic() - began < 5
    driven.wait_gone(5)


def test_signal_during_the_start(start: Start) -> None:
    """A signal before all are healthy stops what has been started."""
    driven = start(
        {"name": "slow", "command": shell(f"echo up; {SLEEP}"), "ready_file": "never"},
        {"name": "next", "command": shell(f"echo up; {SLEEP}"), "needs": ["slow"]},
    )
    driven.wait_for("line slow up")
    stop(driven)
    assert not driven.find("line next")
    driven.wait_gone()


def test_signal_during_the_wait_for_a_restart(start: Start) -> None:
    """A signal while a crashed service waits for its restart ends that wait."""
    driven = start({"name": "web", "command": shell("sleep 0.2; exit 1")}, first=60, ceiling=60)
    driven.wait_for("warning web exited with status 1; starts again in 60 s")
    stop(driven)


# -- no orphans ------------------------------------------------------------------------------------


def test_kill_of_the_supervisor_leaves_nothing(start: Start) -> None:
    """After kill -9 of the supervisor all services are gone in seconds, also deaf ones and their children."""
    deaf = f"trap '' TERM INT HUP; (trap '' TERM INT HUP; {SLEEP}) & echo up; {SLEEP}"
    driven = start(
        {"name": "deaf", "command": shell(deaf)},
        graceful("polite", 0.1),
        {"name": "child", "command": shell(f"sleep 1000 & echo up; {SLEEP}")},
    )
    driven.wait_for("line .* up", count=3)
    assert len(driven.descendants()) >= 6
    driven.send(signal.SIGKILL)
    driven.wait()
    driven.wait_gone(10)


def test_kill_during_starts_leaves_nothing(start: Start) -> None:
    """Killed at whatever moment of starting and restarting, the supervisor leaves nothing."""
    for moment in range(3):
        services = [{"name": f"s{n}", "command": shell("sleep 0.01; exit 1"), "essential": False} for n in range(4)]
        driven = start(*services, first=0.001, ceiling=0.001, limit=1000)
        driven.wait_for("changed", count=1 + 40 * moment)
        driven.send(signal.SIGKILL)
        driven.wait()
        driven.wait_gone(10)


def test_a_killed_guard_is_replaced(start: Start) -> None:
    """Without its guard the supervisor starts another one, which knows what to end."""
    driven = start({"name": "web", "command": shell(f"echo up; {SLEEP}")})
    driven.wait_for("line web up")
    guards = [each for each in driven.descendants() if each.cmdline()[-1] == "guard"]
    assert len(guards) == 1
    guards[0].kill()
    wait_until(
        lambda: [each for each in driven.descendants() if each.cmdline()[-1:] == ["guard"] and each != guards[0]],
        "another guard",
    )
    driven.send(signal.SIGKILL)
    driven.wait()
    driven.wait_gone(10)


def test_nothing_begins_behind_a_closed_gate(tmp_path: Path) -> None:
    """A supervisor that is killed between the fork and the guard's knowing of it leaves no command."""
    code = """
import asyncio, os, signal
from pathlib import Path
from tq.processes import Process
async def main():
    touch = ["/bin/sh", "-c", "touch began; sleep 1000"]
    process = Process(touch, environment=os.environ, directory=Path.cwd(), on_lines=print)
    print("pid", process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    driven = Driven([sys.executable, "-c", code], tmp_path)
    assert driven.wait() == -signal.SIGKILL
    assert driven.find(r"pid \d+")
    driven.wait_gone()
    assert not (tmp_path / "began").exists()
    driven.close()


def test_guard_under_every_shell(tmp_path: Path) -> None:
    """Whatever /bin/sh is on a system, the guard ends polite and deaf groups, and no other process."""
    code = """
import subprocess, sys
shell, guard = sys.argv[1:]
deaf = "trap '' TERM; (trap '' TERM; sleep 1000) & echo up; sleep 1000"
run = lambda script: subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True)
groups = [run(deaf), run("echo up; exec sleep 1000"), run("echo up; exec sleep 500")]
for group in groups:
    group.stdout.readline()
command = [shell, "sh"] if shell == "busybox" else [shell]
with subprocess.Popen([*command, "-c", guard, "guard"], stdin=subprocess.PIPE, text=True) as process:
    process.stdin.write("1 2 3\\n" + " ".join(str(group.pid) for group in groups[:2]) + "\\n")
print(*(group.wait(5) for group in groups[:2]), groups[2].poll())
groups[2].kill()
"""
    guards = {name: Driven([sys.executable, "-c", code, name, processes._GUARD], tmp_path) for name in SHELLS}
    for name, driven in guards.items():
        assert driven.wait() == 0, driven.text
        assert driven.lines[-1] == "-9 -15 None", name
        driven.wait_gone()
        driven.close()


def test_own_sessions(start: Start) -> None:
    """Every service leads a session of its own, so that a terminal's Ctrl-C does not reach it."""
    driven = start(
        {"name": "one", "command": shell(f"echo up; {SLEEP}")}, {"name": "two", "command": shell(f"echo up; {SLEEP}")}
    )
    driven.wait_for("line .* up", count=2)
    pids = [int(found) for found in re.findall(r"=healthy:(\d+):", driven.wait_for(r"changed one=h.* two=h.*")[0])]
    assert [os.getsid(pid) for pid in pids] == pids
    stop(driven)


def test_the_guards_pipe_is_not_inherited(start: Start) -> None:
    """No service holds a descriptor of the supervisor's: its guard would never see the end of the pipe."""
    driven = start(
        {"name": "one", "command": shell(f"echo up; {SLEEP}")}, {"name": "two", "command": shell(f"echo up; {SLEEP}")}
    )
    driven.wait_for("line .* up", count=2)
    for pid in (pid_of(driven, "one"), pid_of(driven, "two")):
        fds = sorted(int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()) if Path("/proc").exists() else [0, 1, 2]
        assert [fd for fd in fds if fd < 10] == [0, 1, 2]
        if Path("/proc").exists():
            assert Path(f"/proc/{pid}/fd/0").readlink() == Path(os.devnull)
    stop(driven)
