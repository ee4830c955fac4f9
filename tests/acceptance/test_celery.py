"""Tq stays an ordinary Celery project and ASGI app: plain commands work beside a running stack."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx
import pytest
from running_stack import FLOWER_LOGIN, RunningStack
from servers import Process, free_port, wait_until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack as it is without any setting."""
    with RunningStack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


def run(stack: RunningStack, *argv: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A Python command to its end, in the environment of the stack."""
    return subprocess.run(
        [sys.executable, *argv],
        env=stack.environment | settings,
        cwd=stack.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def serving(stack: RunningStack, argv: Sequence[str], port: int) -> Iterator[httpx.Client]:
    """A Python command that serves HTTP on a port, until it has stopped at SIGTERM as it should."""
    log = stack.folder / f"{port}.log"
    command = [sys.executable, *argv]
    with (
        Process(command, log=log, env=stack.environment, cwd=stack.folder) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=FLOWER_LOGIN, trust_env=False) as http,
    ):

        def answers() -> bool:
            assert process.popen.poll() is None, process.output
            try:
                return http.get("/metrics").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(answers, lambda: f"it serves: {process.output}")
        yield http
        process.popen.terminate()
        process.popen.wait(30)


def test_inspect(stack: RunningStack) -> None:
    """`celery -A tq inspect` reaches the worker of the stack: ping, and the queues it takes from."""
    inspect = ("-m", "celery", "-A", "tq", "inspect")
    worker = f"tq-{stack.service('worker').pid}@{socket.gethostname()}"

    def pong() -> bool:
        # Celery gives a worker one second, which on a busy machine may be too short for once.
        done = run(stack, *inspect, "ping")
        return done.returncode == 0 and f"{worker}: OK" in done.stdout and "pong" in done.stdout

    wait_until(pong, "the worker answers a ping")
    queues = run(stack, *inspect, "active_queues", "--destination", worker, "--timeout", "30")
    assert queues.returncode == 0, queues.stderr
    assert all(f"'name': '{name}'" in queues.stdout for name in ("high_priority", "default", "quarantine"))


def test_flower(stack: RunningStack) -> None:
    """`celery -A tq flower` starts, and shows the worker of the stack."""
    port = free_port()
    argv = ["-m", "celery", "-A", "tq", "flower", "--address=127.0.0.1", f"--port={port}"]
    login = f"--basic-auth={':'.join(FLOWER_LOGIN)}"
    with serving(stack, [*argv, login], port) as flower:
        workers = flower.get("/api/workers", params={"refresh": "1"}, timeout=30).json()
        assert [name.partition("@")[0] for name in workers] == [f"tq-{stack.service('worker').pid}"]


def test_uvicorn(stack: RunningStack) -> None:
    """`uvicorn tq.server:app` is the API, on the same messages."""
    port = free_port()
    with stack.http() as http, serving(stack, ["-m", "uvicorn", "tq.server:app", "--port", str(port)], port) as other:
        assert other.get("/health").json()["status"] == "ok"
        message_id = other.post("/messages", json={"content": "Hello"}).json()["message_id"]
        wait_until(lambda: http.get(f"/messages/{message_id}").json()["status"] == "completed", "it is completed")
        assert other.get(f"/messages/{message_id}").json() == http.get(f"/messages/{message_id}").json()


def test_python(stack: RunningStack) -> None:
    """`from tq import Client` in a program of its own: submit, wait, read."""
    program = """
from tq import Client
with Client() as tq:
    message = tq.wait(tq.submit("Hello {name}", to="fr", priority=9).message_id, timeout=30)
    print(message.status, message.queue, message.provider, "{name}" in message.translation)
"""
    done = run(stack, "-c", program, TQ_URL=stack.info.api_url)
    assert (done.returncode, done.stdout) == (0, "completed high_priority pseudo True\n"), done.stderr
