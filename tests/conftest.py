"""Fixtures of all tests: real servers, a clean environment, and no process left at the end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import properties  # noqa: F401 - chooses Hypothesis's profile
import psutil
import pytest
from api_server import CANARY, Api
from cli_driver import SETTINGS, TQ, Cli, bare_environment
from clients import Awaited
from cutting_proxy import CuttingProxy
from gateway import Gateway, gateway
from llm_server import LlmServer
from servers import Process, Valkey, wait_until

from tq.client import Client
from tq.local import LocalClient
from tq.settings import Settings

#: Fixtures of the page.
pytest_plugins = ["pages"]


@pytest.fixture(scope="session", autouse=True)
def no_settings_from_outside() -> Iterator[None]:
    """The caller's own settings and keys take no part in any test."""
    patch = pytest.MonkeyPatch()
    for name in list(os.environ):
        if name.startswith(SETTINGS) and name != "TQ_TEST_CACHE":
            patch.delenv(name)
    yield
    patch.undo()


@pytest.fixture(scope="session", autouse=True)
def signals_are_heard() -> None:
    """What a shell ignores for what it runs in the background would be ignored by all that tests start, too."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Whatever a test starts is gone at its end (what a wider fixture started before it may stay)."""
    before = {process.pid for process in _descendants()}
    yield

    def left() -> list[psutil.Process]:
        return [process for process in _descendants() if process.pid not in before]

    wait_until(lambda: not left(), "every process that the test started is gone", timeout=15)


def _descendants() -> list[psutil.Process]:
    living = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                living.append(process)
        except psutil.NoSuchProcess:
            continue
    return living


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey of this test's own, where tq's embedded one would be: in the data dir ``tmp_path``."""
    with Valkey(tmp_path) as server:
        yield server


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a tq process: this one's, with ``tmp_path`` as home and data dir."""
    return bare_environment(tmp_path) | {"TQ_DATA_DIR": str(tmp_path)}


@pytest.fixture(scope="session")
def api_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """The Valkey behind ``api``."""
    with Valkey(tmp_path_factory.mktemp("api")) as server:
        yield server


@pytest.fixture(scope="session")
def api(api_valkey: Valkey) -> Iterator[Api]:
    """The API as ``tq api`` runs it, on a Valkey of its own, without network."""
    folder = api_valkey.folder
    environment = os.environ | {"TQ_DATA_DIR": str(folder), "HOME": str(folder), "TQ_PROVIDER": "pseudo"}
    with Api(folder, environment) as server:
        yield server
        assert CANARY not in server.process.output, "the API logged a key"


@pytest.fixture
def http(api: Api, api_valkey: Valkey) -> Iterator[httpx.Client]:
    """A client of the API, whose store is empty. No answer may hold the canary key."""
    with api_valkey.client() as redis:
        redis.flushall()

    def check(response: httpx.Response) -> None:
        if "text/event-stream" not in response.headers.get("content-type", ""):
            response.read()
            assert CANARY not in response.text, "the API answered with a key"

    with api.client(event_hooks={"response": [check]}) as client:
        yield client


@pytest.fixture
def tq(environment: dict[str, str], tmp_path: Path) -> Cli:
    """Runs tq in ``tmp_path``, which is its data dir too."""
    return Cli(environment, tmp_path)


@pytest.fixture
def local(valkey: Valkey, tmp_path: Path) -> Iterator[LocalClient]:
    """The queue itself, to play the worker's part and to look behind the command."""
    assert valkey.socket.exists()
    with LocalClient(Settings(data_dir=tmp_path)) as client:
        yield client


@pytest.fixture
def worker(valkey: Valkey, local: LocalClient, environment: dict[str, str], tmp_path: Path) -> Iterator[Process]:
    """A worker without a key: it answers with pseudo output."""
    assert valkey.socket.exists()
    with Process([*TQ, "worker"], log=tmp_path / "worker.log", env=environment, cwd=tmp_path) as process:
        wait_until(lambda: local.stats().workers, "the worker is listed")
        yield process


@pytest.fixture
def provider() -> Iterator[LlmServer]:
    """A stand-in for the LLM; it fails as it is told to, and repeats the key when it does."""
    with LlmServer() as server:
        yield server


@pytest.fixture
def proxy(api: Api) -> Iterator[CuttingProxy]:
    """Between a client and the API."""
    with CuttingProxy(api.port) as proxy:
        yield proxy


@pytest.fixture
def between(api: Api) -> Iterator[Gateway]:
    """A proxy between a client and the API, which answers some requests itself."""
    with gateway(api.url) as found:
        yield found


@pytest.fixture(params=[Client, Awaited])
def kind(request: pytest.FixtureRequest) -> Any:
    """Either client of Python, as a class."""
    return request.param


@pytest.fixture
def client(kind: Any, proxy: CuttingProxy) -> Iterator[Any]:
    """Either client of Python, through the proxy; it leaves neither threads nor connections."""
    with kind(proxy.url) as client:
        yield client
    wait_until(lambda: proxy.open == 0, "all connections are closed")
    wait_until(lambda: "tq-events" not in {each.name for each in threading.enumerate()}, "no reader is left")
