"""The stack on a real Valkey, with stand-ins for API, worker and Flower (see standin.py)."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pexpect
import psutil
import pytest
from driven import Driven
from servers import wait_until

from tq import stack
from tq.errors import InvalidSettings
from tq.ports import free_ports
from tq.processes import ProcessId
from tq.services import valkey_binary
from tq.settings import Settings
from tq.signing import new_secret
from tq.stackfile import ServiceInfo, StackInfo, read, write

STANDIN = Path(__file__).with_name("standin.py")
CLOCK = r"\d\d:\d\d:\d\d"
KEY = "sk-canary-stack-1"


class Home:
    """A data dir, ports, and the environment of those who work on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.api_port, self.flower_port = free_ports("127.0.0.1", "127.0.0.1")
        interpreter = directory / "python"
        interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STANDIN}" "$@"\n')
        interpreter.chmod(0o755)
        prefixes = ("TQ_", "REDIS_", "OPENAI_", "FLOWER_", "NO_COLOR")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)} | {
            "STANDIN": str(interpreter),
            "TQ_DATA_DIR": str(self.data),
            "TQ_API_PORT": str(self.api_port),
            "TQ_FLOWER_PORT": str(self.flower_port),
        }
        fields: dict[str, Any] = {"api_port": self.api_port, "flower_port": self.flower_port}
        self.settings = Settings(data_dir=self.data, **fields)
        self.running: list[Driven] = []

    def command(self, **options: Any) -> list[str]:
        """The command line of `tq up` with these options."""
        return [sys.executable, str(STANDIN), "up", json.dumps(options)]

    def up(self, environment: dict[str, str] | None = None, **options: Any) -> Driven:
        """Start a stack."""
        driven = Driven(self.command(**options), self.directory, {**self.environment, **(environment or {})})
        self.running.append(driven)
        return driven

    def close(self) -> None:
        """End all stacks; fails when one had left something behind."""
        if any(driven.popen.poll() == 0 for driven in self.running):
            stack.stack_down(self.settings, 0.0, out=StringIO())  # a detached one
        for driven in self.running:
            driven.close()

    def pid(self, name: str) -> int:
        """The pid of a service."""
        (pid,) = (service.pid for service in stack.stack_ps(self.settings) if service.name == name)
        assert pid is not None
        return pid

    def end_drain(self) -> None:
        """Tell a worker that drains that it need not go on with that."""
        (self.data / "drain-is-over").touch()

    def valkey(self, *command: str) -> str:
        """The first line of the embedded Valkey's answer to a command."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.settings.socket_path))
            connection.sendall(" ".join(command).encode() + b"\r\n")
            answer = connection.makefile().readline()
            return answer.strip()


@pytest.fixture
def home() -> Iterator[Home]:
    """A fresh data dir; afterwards nothing runs on it."""
    with tempfile.TemporaryDirectory(prefix="tq-") as directory:
        home = Home(Path(directory))
        yield home
        home.close()


def stop(driven: Driven) -> None:
    driven.send(signal.SIGINT)
    assert driven.wait() == 0, driven.text
    driven.wait_gone(5)


# -- up and down -------------------------------------------------------------------------------------


def test_banner_logs_and_end(home: Home) -> None:
    """The banner comes in the order of health, then the logs, and Ctrl-C ends all in order with exit 0."""
    driven = home.up()
    driven.wait_for("Ctrl-C stops; twice kills.")
    banner = [line.rstrip() for line in driven.lines]
    patterns = [
        r"tq \S+ · dev stack \(not for production\)",
        r"  ✔ valkey  embedded, unix socket, AOF always  \d+\.\ds",
        rf"  ✔ api     http://127\.0\.0\.1:{home.api_port}  +\d+\.\ds",
        r"  ✔ worker  200 slots  +\d+\.\ds",
        rf"  ✔ flower  http://127\.0\.0\.1:{home.flower_port}  +\d+\.\ds",
        rf"  Data      {re.escape(str(home.data))} \(kept\)",
        r"  Provider  pseudo: no key, so output is accents, not a translation\. Set OPENAI_API_KEY",
        r'  Try       tq submit "Hello" --to fr --wait',
        r"            or open the api's address in a browser",
        r"Ctrl-C stops; twice kills\.",
    ]
    assert len(banner) == len(patterns)
    for line, pattern in zip(banner, patterns, strict=True):
        assert re.fullmatch(pattern, line), line
    driven.send(signal.SIGINT)
    assert driven.wait() == 0
    driven.wait_gone(5)
    assert "\x1b" not in driven.text
    assert re.match(
        f"{CLOCK} stack  │ stopping: .* drains for up to 30 s.* Ctrl-C again kills", driven.lines[len(patterns)]
    )
    order = [
        driven.index(f"{CLOCK} {line}")
        for line in (
            "api    │ API stops",
            "stack  │ api stopped",
            "worker │ worker drains",
            "worker │ worker drained",
            "stack  │ worker stopped",
            "stack  │ valkey stopped",
            "stack  │ the stack has stopped",
        )
    ]
    assert order == sorted(order)
    assert driven.index(f"{CLOCK} stack  │ flower stopped") < order[5]
    assert not (home.data / "stack.json").exists()
    assert stack.find_stack(home.settings) is None


def test_what_is_on_disk_is_private(home: Home) -> None:
    """Directories of the data dir are 0700, files 0600, also those that Valkey writes; it has no TCP port."""
    driven = home.up()
    driven.wait_for("Ctrl-C stops")
    assert home.valkey("SET", "a", "1") == "+OK"
    for path in [home.data, *home.data.rglob("*")]:
        mode = path.lstat().st_mode & 0o777
        assert mode & 0o077 == 0, f"{path} is {mode:o}"
    valkey = psutil.Process(home.pid("valkey"))
    assert not valkey.net_connections(kind="tcp")
    assert home.settings.socket_path.is_socket()
    stop(driven)


def test_data_is_kept(home: Home) -> None:
    """What Valkey acknowledged is there after a stop, and after kill -9 of everything at once."""
    driven = home.up()
    driven.wait_for("Ctrl-C stops")
    assert home.valkey("SET", "one", "1") == "+OK"
    stop(driven)
    driven = home.up()
    driven.wait_for("Ctrl-C stops")
    assert home.valkey("STRLEN", "one") == ":1"
    assert home.valkey("SET", "two", "22") == "+OK"
    for process in [psutil.Process(driven.popen.pid), *driven.descendants()]:
        process.kill()
    driven.wait()
    assert home.settings.socket_path.is_socket()
    driven = home.up()
    driven.wait_for("Ctrl-C stops")
    assert home.valkey("STRLEN", "one") == ":1"
    assert home.valkey("STRLEN", "two") == ":2"
    stop(driven)


def test_kill_of_the_supervisor_and_start_again(home: Home) -> None:
    """After kill -9 of the supervisor the next start waits for what the guard still ends, then runs clean."""
    first = home.up({"STANDIN_DRAIN": "1"})
    first.wait_for("Ctrl-C stops")
    assert home.valkey("SET", "one", "1") == "+OK"
    first.send(signal.SIGKILL)
    first.wait()
    second = home.up()
    second.wait_for("Ctrl-C stops")
    assert home.valkey("STRLEN", "one") == ":1"
    first.wait_gone()
    assert second.popen.poll() is None
    stop(second)


def test_stray_valkey_is_ended(home: Home) -> None:
    """A Valkey that lives on after a crash of everything else is ended: two would spoil the data."""
    first = home.up()
    first.wait_for("Ctrl-C stops")
    valkey = psutil.Process(home.pid("valkey"))
    for process in [psutil.Process(first.popen.pid), *first.descendants()]:
        # By pid: what psutil tells two objects apart by moves with the clock.
        if process.pid != valkey.pid:
            process.kill()
    first.wait()
    assert home.valkey("PING") == "+PONG"
    (home.data / "stack.json").unlink()
    second = home.up()
    second.wait_for("Ctrl-C stops")
    assert not first.descendants()
    assert home.pid("valkey") != valkey.pid
    stop(second)


def test_second_signal(home: Home) -> None:
    """A second Ctrl-C kills a worker that still drains, and exits 130."""
    driven = home.up({"STANDIN_DRAIN": "30"})
    driven.wait_for("Ctrl-C stops")
    driven.send(signal.SIGINT)
    driven.wait_for(f"{CLOCK} worker │ worker drains")
    driven.send(signal.SIGINT)
    assert driven.wait(5) == 130
    driven.wait_gone(5)
    assert driven.find(f"{CLOCK} stack  │ worker was killed")


def test_options(home: Home) -> None:
    """--port, --concurrency and --grace win over the settings, for the services as for the banner."""
    (port,) = free_ports("127.0.0.1")
    driven = home.up(port=port, concurrency=7, grace=3)
    driven.wait_for("Ctrl-C stops")
    assert driven.find(rf"  ✔ api     http://127\.0\.0\.1:{port} ")
    assert driven.find("  ✔ worker  7 slots")
    environment = psutil.Process(home.pid("worker")).environ()
    assert (environment["TQ_CONCURRENCY"], float(environment["TQ_GRACE"])) == ("7", 3.0)
    stop(driven)


def test_options_out_of_bounds(home: Home) -> None:
    """An option is held to the bounds of its setting: exit 2."""
    driven = home.up(concurrency=0)
    assert driven.wait() == 2
    assert driven.find("  why   TQ_CONCURRENCY|  why   concurrency")


# -- failures ----------------------------------------------------------------------------------------


def test_port_in_use(home: Home) -> None:
    """A port in use is named with pid and command before anything starts; --port auto finds another."""
    with socket.create_server(("127.0.0.1", home.api_port)):
        driven = home.up()
        assert driven.wait() == 1
        assert driven.find(f"error: port {home.api_port} is in use, so the API cannot listen on it")
        assert driven.find(rf"  why   pid {os.getpid()} \(")
        assert driven.find("  fix   .*--port auto.*TQ_API_PORT")
        assert not (home.data / "valkey" / "appendonlydir").exists()
        other = home.up(port="auto")
        other.wait_for("Ctrl-C stops")
        info = stack.find_stack(home.settings)
        assert info is not None
        assert info.api_url != f"http://127.0.0.1:{home.api_port}"
        assert info.flower_url != f"http://127.0.0.1:{home.flower_port}"
        stop(other)
    with socket.create_server(("127.0.0.1", home.flower_port)):
        driven = home.up()
        assert driven.wait() == 1
        assert driven.find(f"error: port {home.flower_port} is in use, so Flower cannot listen on it")
        assert driven.find("  fix   .*TQ_FLOWER_PORT")


def test_service_that_exits_at_once(home: Home) -> None:
    """A worker that exits before it is healthy ends the start at once, with its last lines and exit 1."""
    began = time.monotonic()
    driven = home.up({"STANDIN_WORKER": "exit"})
    assert driven.wait() == 1
    assert time.monotonic() - began < 15
    assert driven.find("worker │ worker has had enough")
    assert driven.find("error: the stack cannot go on without its worker")
    assert driven.find("  why   worker exited with status 3 before it was healthy")
    assert driven.find("  fix   see `tq logs worker`")
    driven.wait_gone(5)


def test_flower_only_warns(home: Home) -> None:
    """Without a healthy Flower the stack runs, and says so."""
    driven = home.up({"STANDIN_FLOWER": "exit"})
    driven.wait_for("Ctrl-C stops")
    assert driven.find(r"  ✘ flower  exited with status 3 before it was healthy \(see `tq logs flower`\)")
    driven.wait_for(f"{CLOCK} stack  │ flower exited with status 3; starts again in 1 s")
    stop(driven)


def test_crashed_worker_is_restarted(home: Home) -> None:
    """A worker killed with -9 comes back under a new pid, and `ps` counts it."""
    driven = home.up()
    driven.wait_for("Ctrl-C stops")
    pid = home.pid("worker")
    os.kill(pid, signal.SIGKILL)
    driven.wait_for(f"{CLOCK} stack  │ worker was killed by SIGKILL; starts again in 1 s")
    driven.wait_for(f"{CLOCK} worker │ worker up")
    driven.wait_for(f"{CLOCK} stack  │ worker is healthy")
    (worker,) = [service for service in stack.stack_ps(home.settings) if service.name == "worker"]
    assert (worker.state, worker.restarts) == ("healthy", 1)
    assert worker.pid != pid
    stop(driven)


def test_unusable_data_dir(home: Home) -> None:
    """A data dir that is a file is refused with what, why and fix."""
    home.data.write_text("not a directory")
    driven = home.up()
    assert driven.wait() == 1
    assert driven.find(f"error: the data dir {home.data} is not usable")
    assert driven.find("  fix   set TQ_DATA_DIR")


# -- secrets -----------------------------------------------------------------------------------------


def test_secrets(home: Home) -> None:
    """Keys reach API and worker by environment, Flower not at all, and no command line or file."""
    secrets = {
        "OPENAI_API_KEY": KEY,
        "TQ_API_TOKEN": "canary-token-2",
        "TQ_FLOWER_BASIC_AUTH": "a:canary-login-3",
        "TQ_WEBHOOK_SECRET": new_secret(),
    }
    (home.directory / ".env").write_text("TQ_SECRET_KEY=Y2FuYXJ5LXNlY3JldC1rZXktb2YtMzItYnl0ZXMtNDQ=\n")
    driven = home.up(secrets)
    driven.wait_for("Ctrl-C stops")
    assert driven.find("  Provider  openai: ")
    values = [*secrets.values(), "Y2FuYXJ5LXNlY3JldC1rZXktb2YtMzItYnl0ZXMtNDQ="]
    processes = {name: psutil.Process(home.pid(name)) for name in ("valkey", "api", "worker", "flower")}
    for name in ("api", "worker"):
        assert [value for value in values if value in processes[name].environ().values()] == values
    flower = processes["flower"].environ()
    assert flower.pop("FLOWER_BASIC_AUTH") == "a:canary-login-3"
    for environment in (flower, processes["valkey"].environ()):
        assert not [value for value in values if value in environment.values()]
    assert Path(processes["flower"].cwd()) == (home.data / "flower").resolve()
    lines = "\n".join(" ".join(each.cmdline()) for each in driven.descendants())
    stop(driven)
    files = "\n".join(path.read_text(errors="replace") for path in home.data.rglob("*") if path.is_file())
    assert not [value for value in values if value in lines + files + driven.text]


# -- one stack on a data dir -------------------------------------------------------------------------


def test_second_up(home: Home) -> None:
    """A second `tq up` on the same data dir says where the first one is and exits 0, in front or behind."""
    driven = home.up()
    driven.wait_for("Ctrl-C stops")
    for options in ({}, {"detach": True}, {"port": "auto"}):
        second = home.up(**options)
        assert second.wait() == 0
        assert second.lines[0].startswith(f"the stack is already running (pid {driven.popen.pid}, ")
        assert second.lines[1:] == [
            f"  api     http://127.0.0.1:{home.api_port}",
            f"  flower  http://127.0.0.1:{home.flower_port}",
        ]
    assert [service.restarts for service in stack.stack_ps(home.settings)] == [0, 0, 0, 0]
    stop(driven)


def test_up_while_the_former_one_stops(home: Home) -> None:
    """A start while the former stack still drains waits for it."""
    first = home.up({"STANDIN_DRAIN": "30"})
    first.wait_for("Ctrl-C stops")
    first.send(signal.SIGINT)
    first.wait_for(f"{CLOCK} worker │ worker drains")
    second = home.up()
    second.wait_for("the former stack is stopping; this one starts after it")
    home.end_drain()
    second.wait_for("Ctrl-C stops")
    assert first.wait() == 0
    stop(second)


@pytest.mark.parametrize("kind", ["dead", "recycled", "garbage"])
def test_stale_stack_file(home: Home, kind: str) -> None:
    """A stack file of a dead process, of another process with its pid, or of nonsense is not believed."""
    home.data.mkdir()
    path = home.data / "stack.json"
    with subprocess.Popen(["sleep", "1000"]) as bystander:
        identity = ProcessId.of(bystander.pid)
        assert identity is not None
        if kind == "dead":
            bystander.kill()
            bystander.wait()
        else:
            identity = replace(identity, birth="another")
        info = StackInfo(
            process=identity,
            started_at=time.time(),
            ready=True,
            stopping=False,
            grace=30.0,
            api_url="http://127.0.0.1:1",
            flower_url="http://127.0.0.1:2",
            services=[ServiceInfo("worker", "healthy", identity, 0, time.time(), "")],
        )
        write(path, info)
        assert read(path) == info
        if kind == "garbage":
            path.write_text('{"process": 1')
        assert stack.find_stack(home.settings) is None
        assert stack.stack_ps(home.settings) == []
        driven = home.up()
        driven.wait_for("Ctrl-C stops")
        found = stack.find_stack(home.settings)
        assert found is not None
        assert found.process.pid == driven.popen.pid
        stop(driven)
        assert kind == "dead" or bystander.poll() is None
        bystander.kill()


def test_recycled_pids_of_services_are_spared(home: Home) -> None:
    """A process that has the pid of a service of a stale stack file, but is another one, is left alone."""
    driven = home.up()
    driven.wait_for("Ctrl-C stops")
    document = json.loads((home.data / "stack.json").read_text())
    stop(driven)
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as bystander:
        for service in document["services"]:
            service["process"]["pid"] = bystander.pid
        (home.data / "stack.json").write_text(json.dumps(document))
        driven = home.up()
        driven.wait_for("Ctrl-C stops")
        assert bystander.poll() is None
        stop(driven)
        bystander.kill()


# -- in the background -------------------------------------------------------------------------------


def test_detached(home: Home) -> None:
    """-d returns when all are healthy, with the banner; ps, logs and down find the stack."""
    starter = home.up(detach=True)
    assert starter.wait() == 0
    assert [match[1] for match in starter.find(r"  ✔ (\w+)")] == ["valkey", "api", "worker", "flower"]
    assert starter.lines[-1].startswith("It runs in the background")
    info = stack.find_stack(home.settings)
    assert info is not None
    assert os.getsid(info.process.pid) != starter.popen.pid
    services = stack.stack_ps(home.settings)
    assert [(each.name, each.state, each.restarts) for each in services] == [
        (name, "healthy", 0) for name in ("valkey", "api", "worker", "flower")
    ]
    assert all(each.uptime is not None and 0 <= each.uptime < 60 for each in services)
    assert services[1].detail == f"http://127.0.0.1:{home.api_port}"
    os.kill(home.pid("worker"), signal.SIGKILL)
    wait_until(lambda: [each.restarts for each in stack.stack_ps(home.settings)] == [0, 0, 1, 0], "a restarted worker")
    out = StringIO()
    assert stack.stack_down(home.settings, out=out) == 0
    assert out.getvalue() == "the stack has stopped; the data is kept\n"
    assert not info.process.alive()
    starter.wait_gone(5)
    logs = list(stack.stack_logs(home.settings, "stack"))
    assert any(re.match(f"{CLOCK} stack  │ tq .* dev stack", line) for line in logs)
    assert any("worker was killed by SIGKILL; starts again in 1 s" in line for line in logs)
    assert re.match(f"{CLOCK} worker │ worker up", next(stack.stack_logs(home.settings, "worker")))


def test_detached_failure(home: Home) -> None:
    """What keeps a detached stack from starting is said by the one who waits, with its exit code."""
    driven = home.up({"STANDIN_API": "exit"}, detach=True)
    assert driven.wait() == 1
    assert driven.find("api    │ api has had enough")
    assert driven.find("error: the stack cannot go on without its api")
    driven.wait_gone()
    with socket.create_server(("127.0.0.1", home.api_port)):
        driven = home.up(detach=True)
        assert driven.wait() == 1
        assert driven.find(f"error: port {home.api_port} is in use")
        driven.wait_gone()


def test_interrupted_detached_start(home: Home) -> None:
    """Ctrl-C while a detached stack starts ends that start as well."""
    driven = home.up({"STANDIN_WORKER": "deaf"}, detach=True)
    driven.wait_for("  ✔ api")
    driven.send(signal.SIGINT)
    assert driven.wait() != 0
    assert "KeyboardInterrupt" in driven.text
    driven.wait_gone(5)


def test_down_of_nothing(home: Home) -> None:
    """`down` without a stack says so and is a success."""
    out = StringIO()
    assert stack.stack_down(home.settings, out=out) == 0
    assert out.getvalue().startswith("no stack runs on ")


def test_down_does_not_hurry_a_stop(home: Home) -> None:
    """`down` of a stack that stops already waits for its worker, instead of being the second signal."""
    driven = home.up({"STANDIN_DRAIN": "1"})
    driven.wait_for("Ctrl-C stops")
    driven.send(signal.SIGINT)
    driven.wait_for(f"{CLOCK} worker │ worker drains")
    assert stack.stack_down(home.settings, out=StringIO()) == 0
    assert driven.wait() == 0
    assert driven.find(f"{CLOCK} worker │ worker drained")


def test_down_says_that_it_waits(home: Home) -> None:
    """After a second, and for how long; when the stack has stopped nothing of that is left."""
    driven = home.up({"STANDIN_DRAIN": "30"})
    driven.wait_for("Ctrl-C stops")
    child = pexpect.spawn(
        sys.executable,
        ["-m", "tq", "down"],
        env=home.environment | {"TERM": "xterm"},
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=60,
    )
    child.expect(r"stopping; the worker may drain for 30 s … [1-9]s")
    home.end_drain()
    child.expect_exact("\r\x1b[2Kthe stack has stopped; the data is kept\r\n")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert driven.wait() == 0


def test_logs_follow(home: Home) -> None:
    """`logs -f` shows all services in the order of time, then what comes, and ends with the stack."""
    driven = home.up()
    driven.wait_for("Ctrl-C stops")
    lines = stack.stack_logs(home.settings, follow=True)
    seen: list[str] = []
    for line in lines:
        seen.append(line)
        if "Ctrl-C stops" in line:
            driven.send(signal.SIGINT)
    assert driven.wait() == 0
    text = "\n".join(seen)
    for expected in ("valkey │ ", "API serves", "worker │ worker up", "FLOWER serves", "worker │ worker drained"):
        assert expected in text
    stamps = [line[:8] for line in seen]
    assert stamps == sorted(stamps) or "23:59" in text
    with pytest.raises(InvalidSettings, match="no service 'api2'"):
        stack.stack_logs(home.settings, "api2")


# -- a Redis of the user's ---------------------------------------------------------------------------


@pytest.fixture
def redis_socket(home: Home) -> Iterator[Path]:
    """A Valkey with a password that is not the stack's."""
    path = home.directory / "own.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--requirepass", "right", "--save", ""]
    with subprocess.Popen([str(valkey_binary()), *options], cwd=home.directory, stdout=subprocess.DEVNULL) as server:
        wait_until(path.exists, "the user's Redis listens")
        yield path
        server.terminate()


def test_external_redis(home: Home, redis_socket: Path) -> None:
    """With a Redis of the user's no Valkey is started, and the banner shows it without its password."""
    driven = home.up({"TQ_REDIS_URL": f"unix://:right@{redis_socket}"})
    driven.wait_for("Ctrl-C stops")
    assert driven.find(r"  ✔ redis   unix://.*own.sock \(yours\)")
    assert [service.name for service in stack.stack_ps(home.settings)] == ["api", "worker", "flower"]
    assert "right" not in driven.text
    stop(driven)
    assert redis_socket.exists()


def test_wrong_password(home: Home, redis_socket: Path) -> None:
    """A Redis that refuses the password is told apart, exit 4, before anything starts; it is not repeated."""
    driven = home.up({"TQ_REDIS_URL": f"unix://:wrong-canary@{redis_socket}"})
    assert driven.wait() == 4
    assert driven.find("error: Redis .* refuses tq")
    assert "wrong-canary" not in driven.text
    assert not list((home.data / "logs").glob("api*"))


def test_unreachable_redis(home: Home) -> None:
    """A Redis that does not answer is named, exit 5, before anything starts."""
    (port,) = free_ports("127.0.0.1")
    driven = home.up({"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port)})
    assert driven.wait() == 5
    assert driven.find(f"error: Redis at redis://127.0.0.1:{port}/0 cannot be reached")
    assert driven.find("  fix   start it, or correct REDIS_HOST")


# -- a terminal --------------------------------------------------------------------------------------


@pytest.mark.parametrize("colored", [True, False])
def test_terminal(home: Home, *, colored: bool) -> None:
    """On a terminal prefixes have colours unless NO_COLOR is set, and Ctrl-C does not reach the services."""
    environment = {**home.environment, "TERM": "xterm"} | ({} if colored else {"NO_COLOR": "1"})
    command, *arguments = home.command()
    terminal = pexpect.spawn(
        command, arguments, cwd=str(home.directory), env=environment, encoding="utf-8", timeout=20, dimensions=(24, 200)
    )
    try:
        terminal.expect_exact("Ctrl-C stops; twice kills.")
        terminal.sendintr()
        terminal.expect_exact("worker drained")
        terminal.expect_exact("the stack has stopped")
        assert ("\x1b[" in terminal.before) is colored
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == 0
    finally:
        terminal.close(force=True)


# -- Flower itself -----------------------------------------------------------------------------------


def fetch(url: str, *, login: str = "", method: str = "GET") -> int:
    """The status of an answer; 0 without one."""
    user, _, password = login.partition(":")
    try:
        return httpx.request(method, url, auth=(user, password) if login else None, timeout=5).status_code
    except httpx.HTTPError:
        return 0


def test_real_flower(home: Home, redis_socket: Path) -> None:
    """The real Flower takes our command and environment: read-only, behind its login, without our keys."""
    environment = {
        "TQ_REDIS_URL": f"unix://:right@{redis_socket}",
        "TQ_API_HOST": "0.0.0.0",
        "TQ_API_TOKEN": "canary-token-5",
        "TQ_FLOWER_BASIC_AUTH": "anna:pass",
        "FLOWER_UNAUTHENTICATED_API": "true",
        "FLOWER_BASIC_AUTH": "eve:pass",
        "OPENAI_API_KEY": KEY,
    }
    (home.directory / "flowerconfig.py").write_text("read_only = False\nbasic_auth = ['eve:pass']\n")
    (home.directory / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    code = "from tq.settings import load_settings as l; from tq.stack import exec_flower as e; e(l())"
    flower = Driven([sys.executable, "-c", code], home.directory, {**home.environment, **environment})
    home.running.append(flower)
    url = f"http://127.0.0.1:{home.flower_port}"
    wait_until(lambda: fetch(f"{url}/healthcheck") == 200, lambda: f"a healthy Flower: {flower.text}")
    assert fetch(f"{url}/workers") == 401
    assert fetch(f"{url}/workers", login="eve:pass") == 401
    assert fetch(f"{url}/workers", login="anna:pass") == 200
    assert fetch(f"{url}/api/workers") == 401
    assert fetch(f"{url}/api/worker/shutdown/any", login="anna:pass", method="POST") == 403
    values = set(psutil.Process(flower.popen.pid).environ().values())
    assert not values & {KEY, "canary-token-5"}
    flower.send(signal.SIGTERM)
    assert flower.wait() == 0
