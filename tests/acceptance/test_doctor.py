"""`tq doctor` finds each real cause, and says what mends it."""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from api_server import Api
from cli_driver import CANARY, TQ, Cli
from llm_server import LlmServer
from pydantic import SecretStr
from servers import Process, Valkey, free_port, wait_until

from tq import __version__
from tq.doctor.store import apart
from tq.local import LocalClient
from tq.messages import Status
from tq.queue import TranslationQueue
from tq.settings import Settings
from tq.store import Store


@pytest.fixture
def api(valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> Iterator[Api]:
    """The API on the same Valkey."""
    assert valkey.socket.exists()
    with Api(tmp_path, environment) as server:
        yield server


def found(tq: Cli, *args: str, **settings: str) -> dict[str, dict[str, Any]]:
    """What the doctor finds, by the name of the check."""
    ports = {"TQ_API_PORT": str(free_port()), "TQ_FLOWER_PORT": str(free_port())}
    done = tq("doctor", "--json", *args, **(ports | settings))
    assert "Traceback" not in done.stderr
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({each["check"] for each in findings}) == len(findings), "no check has two findings"
    assert (done.returncode == 0) == all(each["ok"] for each in findings)
    assert all(each["fix"] for each in findings if not each["ok"]), "what is wrong has a fix"
    return {each["check"]: each for each in findings}


def test_no_broker(tq: Cli) -> None:
    """Nothing answers: exit code 5."""
    assert tq("doctor").returncode == 5
    assert "tq up" in found(tq)["redis"]["fix"]


def test_a_wrong_password(tq: Cli, tmp_path: Path) -> None:
    """Redis refuses it."""
    with Valkey(tmp_path, password="right") as valkey:
        wrong = valkey.url_with("not-this-one").replace("unix://", "redis+socket://")
        finding = found(tq, TQ_REDIS_URL=wrong)["redis"]
        assert tq("doctor", TQ_REDIS_URL=wrong).returncode == tq("list", TQ_REDIS_URL=wrong).returncode == 4
        assert not finding["ok"]
        assert "REDIS_PASSWORD" in finding["fix"] or "password" in finding["detail"]
        assert "not-this-one" not in json.dumps(finding)


def test_no_worker_and_a_paused_queue(tq: Cli, local: LocalClient) -> None:
    """Both are said."""
    local.pause("high_priority")
    findings = found(tq)
    assert "tq worker" in findings["worker"]["fix"]
    assert findings["paused"]["fix"] == "`tq resume high_priority`"
    assert findings["paused"]["detail"] == "nothing begins of high_priority"
    local.resume("high_priority")
    assert found(tq)["paused"]["ok"]


async def test_versions_that_differ(tq: Cli, valkey: Valkey) -> None:
    """A worker of another version is named."""
    store = Store(valkey.url, result_ttl=60, lease=60)
    info = {"name": "old", "version": "0.0.9", "provider": "pseudo", "slots": 1, "running": 0}
    await store.heartbeat("old", info, [])
    await store.aclose()
    assert "0.0.9" in found(tq)["worker"]["detail"]


def test_a_key_that_cannot_be_opened(tq: Cli, local: LocalClient) -> None:
    """Messages wait whose keys were sealed with another secret."""
    local.submit("Hello", to="fr", api_key="sk-own")
    assert found(tq)["keys"]["ok"]
    finding = found(tq, TQ_SECRET_KEY="another-secret-key-of-some-length")["keys"]
    assert not finding["ok"]
    assert "TQ_SECRET_KEY" in finding["detail"] + finding["fix"]


def test_a_data_dir_that_cannot_be_written(tq: Cli, tmp_path: Path) -> None:
    """A file in its place."""
    (tmp_path / "file").write_text("")
    assert "TQ_DATA_DIR" in found(tq, TQ_DATA_DIR=str(tmp_path / "file"))["data dir"]["fix"]


def test_a_port_that_is_taken(tq: Cli, valkey: Valkey) -> None:
    """By somebody else: it is said by whom."""
    assert valkey.pid
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        finding = found(tq, TQ_API_PORT=str(taken.getsockname()[1]))["api"]
        assert not finding["ok"]
        assert str(os.getpid()) in finding["detail"] + finding["fix"]


def test_a_provider_that_refuses_the_key(tq: Cli, valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> None:
    """It is asked, and its answer said; so is one that does not answer."""
    assert valkey.pid
    refusing = (
        "import http.server as h\n"
        "class R(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_error(401)\n"
        "s = h.HTTPServer(('127.0.0.1', 0), R); print(s.server_port, flush=True); s.serve_forever()\n"
    )
    with Process([TQ[0], "-c", refusing], log=tmp_path / "provider.log", env=environment) as process:
        port = int(wait_until(lambda: process.output.splitlines()[:1], "it says its port")[0])
        settings = {"OPENAI_API_KEY": "sk-canary-wrong", "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}
        finding = found(tq, **settings)["provider"]
        assert finding["fix"] == "correct OPENAI_API_KEY"
        assert "sk-canary" not in json.dumps(finding)
    assert "OPENAI_BASE_URL" in found(tq, **settings)["provider"]["fix"]


def test_a_provider_that_accepts_it(tq: Cli, valkey: Valkey, provider: LlmServer) -> None:
    """All is well with it."""
    assert valkey.pid
    assert found(tq, OPENAI_API_KEY="sk-x", OPENAI_BASE_URL=provider.base_url)["provider"]["ok"]


async def test_clocks_are_compared(valkey: Valkey) -> None:
    """That of Redis with this machine's: here they are the same one."""
    queue = TranslationQueue(Settings(redis_url=SecretStr(valkey.url)))
    assert abs(await queue.store.clock_ahead()) < 1
    await queue.aclose()


def test_an_api_over_http(tq: Cli, api: Api) -> None:
    """With --url the API is looked at: its version and its clock."""
    assert found(tq, "--url", api.url)["api"]["ok"]


@pytest.mark.parametrize(("ahead", "version", "said"), [(3600, __version__, "clock"), (0, "0.0.1", "0.0.1")])
def test_an_api_that_differs(
    tq: Cli, valkey: Valkey, environment: dict[str, str], tmp_path: Path, ahead: int, version: str, said: str
) -> None:
    """One whose clock is an hour off, by its Date header, and one of another version."""
    assert valkey.pid
    other = (
        "import http.server as h, json, time\n"
        "class R(h.BaseHTTPRequestHandler):\n"
        f"    def date_time_string(self, at=None): return super().date_time_string(time.time() + {ahead})\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers()\n"
        f"        self.wfile.write(json.dumps({{'status': 'ok', 'version': '{version}'}}).encode())\n"
        "s = h.HTTPServer(('127.0.0.1', 0), R); print(s.server_port, flush=True); s.serve_forever()\n"
    )
    with Process([TQ[0], "-c", other], log=tmp_path / "other.log", env=environment) as process:
        port = wait_until(lambda: process.output.splitlines()[:1], "it says its port")[0]
        finding = found(tq, TQ_API_PORT=port)["api"]
        assert not finding["ok"]
        assert said in finding["detail"]


# -- keys, quotas, providers -------------------------------------------------------------------------


@contextmanager
def working(tq: Cli, local: LocalClient, *args: str, **settings: str) -> Iterator[Process]:
    """A worker with these settings."""
    log = tq.folder / "worker.log"
    with Process([*TQ, "worker", *args], log=log, env=tq.environment | settings, cwd=tq.folder) as process:
        wait_until(lambda: local.stats().workers, "the worker is listed")
        yield process
        process.terminate()


def error_of(local: LocalClient) -> str:
    """What a message fails of."""
    message = local.wait(local.submit("Hello", to="fr").message_id, timeout=60)
    assert message.error is not None
    return message.error.type


@pytest.mark.parametrize(("mode", "kind"), [("401", "invalid-key"), ("403", "permission-refused")])
def test_a_key_that_messages_fail_with(tq: Cli, local: LocalClient, provider: LlmServer, mode: str, kind: str) -> None:
    """A provider shows its models to anybody: the key's trouble is seen in what failed, until something succeeds."""
    settings = {"OPENAI_API_KEY": CANARY, "OPENAI_BASE_URL": provider.base_url, "TQ_MODEL": "stand-in"}
    provider.mode = mode
    with working(tq, local, **settings):
        assert error_of(local) == kind
        findings = found(tq, **settings)
        assert findings["provider"]["ok"]
        assert "accepted" not in findings["provider"]["detail"]
        assert not findings["failures"]["ok"]
        assert f"1 message failed with {kind}" in findings["failures"]["detail"]
        assert "tq retry --failed" in findings["failures"]["fix"]
        assert not findings["attempts"]["ok"], "none succeeded"
        provider.mode = "ok"
        assert local.translate("Hello", to="fr", timeout=60)
        assert found(tq, **settings)["attempts"]["ok"]


def test_an_account_without_quota(tq: Cli, local: LocalClient, provider: LlmServer) -> None:
    """It is in what failed, and in the limits that all workers know."""
    settings = {"OPENAI_API_KEY": CANARY, "OPENAI_BASE_URL": provider.base_url}
    provider.mode = "quota"
    with working(tq, local, **settings):
        assert error_of(local) == "quota-exhausted"
        findings = found(tq, **settings)
    assert "quota-exhausted" in findings["failures"]["detail"]
    assert "no quota left" in findings["limits"]["detail"]
    assert "fill up the account" in findings["limits"]["fix"]


def test_failures_of_long_ago(tq: Cli, local: LocalClient, valkey: Valkey) -> None:
    """They say nothing about now."""
    local.submit("Hello", to="fr", message_id="m")
    local.set_status("m", Status.RUNNING)
    local.set_status("m", Status.FAILED, error={"type": "invalid-key", "message": "no", "retryable": False})
    assert not found(tq)["failures"]["ok"]
    with valkey.client() as redis:
        redis.hset("tq:message:m", "finished", str(int((time.time() - 2 * 86_400) * 1000)))
    assert found(tq)["failures"]["ok"]


@pytest.mark.parametrize(
    ("path", "level", "said"),
    [
        ("/v1", "warning", "does not list not-there"),
        ("", "error", "is /v1 missing?"),
    ],
)
def test_an_address_or_a_model_that_is_wrong(
    tq: Cli, valkey: Valkey, provider: LlmServer, path: str, level: str, said: str
) -> None:
    """A 404, and something else than a list of models, are no provider; a model that it does not list is doubtful."""
    assert valkey.pid
    root = provider.base_url.removesuffix("/v1")
    finding = found(tq, OPENAI_API_KEY="sk-x", OPENAI_BASE_URL=root + path, TQ_MODEL="not-there")["provider"]
    assert finding["level"] == level
    assert said in f"{finding['detail']} {finding['fix']}"
    assert "stand-in" in finding["fix"] or level == "error"


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("http://127.0.0.1:{port}/v1", "does not answer: connection refused"),
        ("http://no-such-host.invalid/v1", "does not answer: no such host"),
    ],
)
def test_a_provider_that_is_not_there(tq: Cli, valkey: Valkey, base: str, said: str) -> None:
    """It is said in words why, not with the name of a class."""
    assert valkey.pid
    finding = found(tq, OPENAI_API_KEY="sk-x", OPENAI_BASE_URL=base.format(port=free_port()))["provider"]
    assert not finding["ok"]
    assert said in finding["detail"]
    assert "Error" not in finding["detail"]


def test_something_else_answers(tq: Cli, valkey: Valkey, tmp_path: Path) -> None:
    """A web site that answers everything with a page is no provider."""
    assert valkey.pid
    site = (
        "import http.server as h\n"
        "class R(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b'<html>Hi</html>')\n"
        "s = h.HTTPServer(('127.0.0.1', 0), R); print(s.server_port, flush=True); s.serve_forever()\n"
    )
    with Process([TQ[0], "-c", site], log=tmp_path / "site.log", env=tq.environment) as process:
        port = wait_until(lambda: process.output.splitlines()[:1], "it says its port")[0]
        finding = found(tq, OPENAI_API_KEY="sk-x", OPENAI_BASE_URL=f"http://127.0.0.1:{port}")["provider"]
    assert not finding["ok"]
    assert "no list of models" in finding["detail"]


def test_a_worker_without_the_key(tq: Cli, worker: Process, provider: LlmServer) -> None:
    """It runs pseudo, while this shell has a key: it is to be restarted."""
    assert worker.pid
    assert found(tq)["worker"]["ok"]
    finding = found(tq, OPENAI_API_KEY="sk-x", OPENAI_BASE_URL=provider.base_url)["worker"]
    assert not finding["ok"]
    assert "runs pseudo, while this shell has a key" in finding["detail"]
    assert "restart it" in finding["fix"]


def test_this_shell_without_the_key(tq: Cli, local: LocalClient, provider: LlmServer) -> None:
    """The workers have it, which is what counts."""
    with working(tq, local, OPENAI_API_KEY="sk-x", OPENAI_BASE_URL=provider.base_url):
        finding = found(tq)["worker"]
    assert (finding["ok"], finding["level"]) == (True, "warning")


# -- workers -----------------------------------------------------------------------------------------


async def announce(valkey: Valkey, *workers: Mapping[str, Any]) -> None:
    """Workers that say this of themselves."""
    store = Store(valkey.url, result_ttl=60, lease=60)
    for number, info in enumerate(workers):
        base = {"name": f"w{number}", "version": __version__, "provider": "pseudo", "slots": 10, "running": 0}
        await store.heartbeat(f"w{number}", base | dict(info), [])
    await store.aclose()


async def test_workers_that_differ(tq: Cli, valkey: Valkey) -> None:
    """One of them runs pseudo, so that some answers are no translations."""
    await announce(valkey, {"provider": "openai"}, {"provider": "pseudo"})
    finding = found(tq)["worker"]
    assert not finding["ok"]
    assert "w0 runs openai, w1 runs pseudo" in finding["detail"]


async def test_steps_that_differ(tq: Cli, valkey: Valkey) -> None:
    """A worker that splits the queues otherwise does not find what others submit."""
    await announce(valkey, {"steps": [0, 3, 6, 9]})
    finding = found(tq)["steps"]
    assert not finding["ok"]
    assert "w0 splits queues into 4 steps, and here it is 10" in finding["detail"]


def test_a_queue_that_nobody_serves(tq: Cli, local: LocalClient) -> None:
    """`tq worker -Q high_priority` alone leaves the other one to itself; a whole worker says that it serves both."""
    local.submit("Hello", to="fr")
    with working(tq, local, "-Q", "high_priority"):
        finding = found(tq)["queues"]
        assert not finding["ok"]
        assert "no worker serves default, where 1 message waits" in finding["detail"]
        assert "tq worker" in finding["fix"]
    wait_until(lambda: not local.stats().workers, "it is no longer listed")
    with working(tq, local):
        findings = found(tq)
        assert findings["queues"]["ok"]
        assert findings["steps"]["ok"]


async def test_somebody_waits_while_slots_are_free(tq: Cli, valkey: Valkey, local: LocalClient) -> None:
    """Nothing is paused and a worker is idle, but a message does not begin: that is said, whatever the reason."""
    await announce(valkey, {})
    local.submit("Hello", to="fr", message_id="m")
    assert found(tq)["waiting"]["ok"]
    with valkey.client() as redis:
        redis.zadd("tq:queued:0", {"m": (time.time() - 300) * 1000})
    finding = found(tq)["waiting"]
    assert not finding["ok"]
    assert "a message of default has waited for 5m, while 9 slots are free" in finding["detail"]
    local.pause("default")
    findings = found(tq)
    assert findings["waiting"]["ok"], "it is paused, which is another finding"
    assert findings["waiting"]["detail"] == "nothing waits, but in what is paused"
    assert findings["paused"]["detail"] == "nothing begins of default, where 1 message waits"


# -- the broker --------------------------------------------------------------------------------------


def test_a_broker_that_is_there(tq: Cli, valkey: Valkey) -> None:
    """TQ_BROKER_URL is opened."""
    assert found(tq, TQ_BROKER_URL=f"redis+socket://{valkey.socket}")["broker"]["ok"]
    assert "broker" not in found(tq), "there is no other one"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("amqp://guest:{canary}@127.0.0.1:{port}//", "connection refused"),
        ("redis://:{canary}@127.0.0.1:{port}/0", "connection refused"),
        ("amqp://guest:{canary}@no-such-host.invalid//", "no such host"),
        ("redis://:{canary}@no-such-host.invalid/0", "no such host"),
        ("carrier-pigeon://:{canary}@loft/", "not known here"),
    ],
)
def test_a_broker_that_is_not_there(tq: Cli, valkey: Valkey, url: str, said: str) -> None:
    """It is said why, and its password is not repeated."""
    assert valkey.pid
    findings = found(tq, TQ_BROKER_URL=url.format(canary=CANARY, port=free_port()))
    assert not findings["broker"]["ok"]
    assert said in findings["broker"]["detail"]
    assert "TQ_BROKER_URL" in findings["broker"]["detail"]
    assert CANARY not in json.dumps(findings)


def test_a_broker_that_refuses_the_password(tq: Cli, valkey: Valkey, tmp_path: Path) -> None:
    """It is told from one that is not there."""
    assert valkey.pid
    port = free_port()
    (tmp_path / "other").mkdir()
    with Valkey(tmp_path / "other", password="right", port=port):
        finding = found(tq, TQ_BROKER_URL=f"redis://:{CANARY}@127.0.0.1:{port}/0")["broker"]
    assert not finding["ok"]
    assert "password" in finding["detail"]


# -- this machine ------------------------------------------------------------------------------------

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user's")


@as_root
@pytest.mark.parametrize("name", ["valkey", "logs", "valkey/appendonlydir"])
def test_a_data_dir_with_parts_of_another_user(tq: Cli, tmp_path: Path, name: str) -> None:
    """What `sudo` left in it cannot be used, whoever owns the directory above."""
    data = tmp_path / "data"
    (data / name).mkdir(parents=True)
    data.chmod(0o700)
    assert found(tq, TQ_DATA_DIR=str(data))["data dir"]["ok"]
    os.chown(data / name, 54_321, 54_321)
    finding = found(tq, TQ_DATA_DIR=str(data))["data dir"]
    assert not finding["ok"]
    assert f"{data / name}: it belongs to another user" in finding["detail"]


def obey_permissions() -> None:
    """Root itself may look into everything: a process without these two capabilities may not (capabilities(7))."""
    if os.geteuid() == 0:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0  # PR_CAPBSET_DROP


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets root give up what makes it root")
def test_a_data_dir_that_cannot_be_reached(tq: Cli, tmp_path: Path) -> None:
    """A directory above it may not be entered: that is a finding, and no traceback."""
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(closed, 54_321, 54_321)
    done = subprocess.run(
        [*TQ, "doctor"],
        env=tq.environment | {"TQ_DATA_DIR": str(closed / "tq")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=obey_permissions,
    )
    assert re.search(f"✘ data dir .*{closed}/tq: Permission denied\n +fix: set TQ_DATA_DIR", done.stdout), done.stdout
    assert "Traceback" not in done.stderr


def test_a_data_dir_that_others_may_enter(tq: Cli, tmp_path: Path) -> None:
    """One that is tq's alone is tightened by `tq up`, which is a warning; one with other things in it is refused."""
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    finding = found(tq, TQ_DATA_DIR=str(data))["data dir"]
    assert finding["level"] == "warning"
    assert "`tq up` tightens it" in finding["detail"]
    (data / "letter.txt").write_text("")
    finding = found(tq, TQ_DATA_DIR=str(data))["data dir"]
    assert finding["level"] == "error"
    assert "holds files that are not tq's" in finding["detail"]


def test_clocks_that_differ_by_hours() -> None:
    """An answer's way, and a date without parts of a second, do not make another hour of it."""
    assert apart(-7199.4) == apart(7200.4) == "2h00m"
    assert apart(90.3) == "1m30s"


def test_a_port_of_something_else(tq: Cli, environment: dict[str, str], tmp_path: Path) -> None:
    """What was started from a shell of tq's has its settings, and is no tq for that."""
    port = str(free_port())
    server = [TQ[0], "-m", "http.server", "--bind", "127.0.0.1", port]
    theirs = environment | {"TQ_DATA_DIR": str(tmp_path / "theirs")}
    with Process(server, log=tmp_path / "server.log", env=theirs, cwd=tmp_path) as process:
        wait_until(lambda: "Serving" in process.output, "it serves")
        finding = found(tq, TQ_DATA_DIR=str(tmp_path / "mine"), TQ_API_PORT=port)["api"]
    assert not finding["ok"]
    assert f"pid {process.pid}" in finding["detail"]
    assert "tq down" not in finding["fix"]
    assert "data dir" not in finding["detail"]


def test_a_port_of_another_installation(tq: Cli, environment: dict[str, str], tmp_path: Path) -> None:
    """An API that answers is not this one's: it is told by its data dir, with its pid and what to do."""
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    with Valkey(other), Api(other, environment | {"TQ_DATA_DIR": str(other)}) as api:
        finding = found(tq, TQ_DATA_DIR=str(tmp_path / "mine"), TQ_API_PORT=str(api.port))["api"]
        assert not finding["ok"]
        assert f"{other} (pid {api.process.pid})" in finding["detail"]
        assert f"TQ_DATA_DIR={other} tq down" in finding["fix"]
        assert found(tq, TQ_DATA_DIR=str(other), TQ_API_PORT=str(api.port))["api"]["ok"]


# -- over HTTP ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "said"), [("", "is not set"), ("wrong-token", "another")])
def test_an_api_that_wants_a_token(
    tq: Cli, valkey: Valkey, environment: dict[str, str], tmp_path: Path, given: str, said: str
) -> None:
    """One line on the API, which is true, whether or not there is a token; and with the right one all is well."""
    assert valkey.pid
    with Api(tmp_path, environment | {"TQ_API_TOKEN": "right-token"}) as api:
        findings = found(tq, "--url", api.url, TQ_API_TOKEN=given)
        assert set(findings) == {"settings", "api"}
        assert not findings["api"]["ok"]
        assert said in findings["api"]["detail"]
        assert "TQ_API_TOKEN" in findings["api"]["fix"]
        assert tq("doctor", "--url", api.url, TQ_API_TOKEN=given).returncode == 4
        assert found(tq, "--url", api.url, TQ_API_TOKEN="right-token")["api"]["ok"]


def test_an_api_that_is_not_there(tq: Cli) -> None:
    """One line, too, which says in words why, and exit code 5."""
    url = f"http://127.0.0.1:{free_port()}"
    assert tq("doctor", "--url", url).returncode == 5
    findings = found(tq, "--url", url)
    assert set(findings) == {"settings", "api"}
    assert findings["api"]["detail"].endswith(": connection refused")


# -- as people see it --------------------------------------------------------------------------------


def test_a_check_that_takes_long(tq: Cli, valkey: Valkey) -> None:
    """After a second it is said what is being looked at, in place, and nothing of it stays."""
    valkey.pause()
    child = tq.terminal("doctor")
    child.expect("looking at Redis … [1-9]s")
    valkey.resume()
    child.expect("\x1b\\[2K.*✔.* redis ")


def test_doctor_without_redis(tq: Cli) -> None:
    """Nothing reachable is exit code 5; each line says what it is about, and a fix follows a cross."""
    done = tq("doctor", TQ_API_PORT=str(free_port()), TQ_FLOWER_PORT=str(free_port()))
    assert done.returncode == 5
    assert "✔ settings" in done.stdout
    assert re.search("✘ redis .*nothing to talk to.*\n +fix: start one with `tq up`", done.stdout)


@pytest.mark.usefixtures("api")
def test_doctor_finds_what_is_wrong(tq: Cli, api: Api, tmp_path: Path) -> None:
    """No worker, a data dir that is open, a provider that does not answer: each with its fix, exit code 1."""
    tmp_path.chmod(0o755)
    ports = {"TQ_API_PORT": str(api.port), "TQ_FLOWER_PORT": str(free_port())}
    nobody = f"http://127.0.0.1:{free_port()}/v1"
    done = tq("doctor", OPENAI_BASE_URL=nobody, OPENAI_API_KEY=CANARY, **ports)
    assert done.returncode == 1
    for pattern in ("✘ data dir .*\n +fix: chmod 700", "✘ worker .*\n +fix", "✘ provider .*\n +fix", "✔ api .*answers"):
        assert re.search(pattern, done.stdout), done.stdout
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.usefixtures("worker")
def test_doctor_is_content(tq: Cli, tmp_path: Path) -> None:
    """With everything in place it is exit code 0, and pseudo output is called what it is."""
    tmp_path.chmod(0o700)
    done = tq("doctor", TQ_API_PORT=str(free_port()), TQ_FLOWER_PORT=str(free_port()))
    assert done.returncode == 0, done.stdout
    assert "✘" not in done.stdout
    assert "NOT a translation" in done.stdout


def test_doctor_on_a_redis_that_loses_messages(tq: Cli, valkey: Valkey) -> None:
    """Eviction, and no log on disk, are named with what mends them."""
    ports = {"TQ_API_PORT": str(free_port()), "TQ_FLOWER_PORT": str(free_port())}
    assert "✔ durable" in tq("doctor", **ports).stdout
    with valkey.client() as client:
        client.config_set("appendonly", "no")
        assert re.search("✘ durable .*appendonly no.*\n +fix: set appendonly yes", tq("doctor", **ports).stdout)
        client.config_set("appendonly", "yes")
        client.config_set("maxmemory", 2**30)
        client.config_set("maxmemory-policy", "allkeys-lru")
    assert re.search("✘ durable .*allkeys-lru.*\n +fix: set maxmemory-policy noeviction", tq("doctor", **ports).stdout)
