"""Commands as a person uses them: beginnings of ids, timelines, paused queues, and what the doctor finds."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import Api
from cli_driver import TQ, Cli, complete, exit_code, fail
from llm_server import LlmServer
from pydantic import SecretStr
from servers import Process, Valkey, wait_until

from tq import __version__
from tq.local import LocalClient
from tq.queue import TranslationQueue
from tq.settings import Settings
from tq.store import Store


@pytest.fixture
def api(valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> Iterator[Api]:
    """The API on the same Valkey."""
    assert valkey.socket.exists()
    with Api(tmp_path, environment) as server:
        yield server


@pytest.mark.parametrize("over_http", [False, True])
def test_the_beginning_of_an_id(tq: Cli, local: LocalClient, api: Api, over_http: bool) -> None:  # noqa: FBT001 - a parameter of pytest's
    """It is enough, for each command that takes ids; of several it is said which, of none that there is none."""
    url = ["--url", api.url] if over_http else []
    for message_id in ("apple-1", "apple-2", "banana-1"):
        local.submit("Hello", to="fr", message_id=message_id)
    assert tq("status", "ban", *url).stdout.startswith("banana-1  queued")
    assert tq("cancel", "ban", *url).stdout == "banana-1  cancelled\n"
    assert tq("retry", "ban", *url).stdout == "banana-1  queued\n"
    several = tq("status", "app", *url)
    assert several.returncode == 2
    assert "apple-2, apple-1" in several.stderr
    assert tq("status", "cherry", *url).returncode == 3


def test_the_timeline(tq: Cli, local: LocalClient) -> None:
    """Each status stands there with its time, attempt and reason."""
    local.submit("Hello", to="fr", message_id="m")
    fail(local, "m")
    local.retry("m")
    complete(local, "m", "Bonjour")
    text = tq("status", "m").stdout
    timeline = text[text.index("timeline") :].splitlines()
    words = [re.sub(r"\d\d:\d\d:\d\d|\+\S+", "", line).split() for line in timeline[:6]]
    assert [each[-1 if len(each) < 3 else 0] for each in words][1:] == [
        "running",
        "failed",
        "queued",
        "running",
        "completed",
    ]
    assert "reported" in timeline[2]


def test_a_paused_queue_is_seen(tq: Cli, local: LocalClient) -> None:
    """By whoever submits to it, asks for a message of it, or for the figures."""
    tq("pause", "default")
    submitted = tq("submit", "Hello", "--to", "fr", "--id", "m")
    assert "the queue default is paused: `tq resume default`" in submitted.stderr
    assert "tq resume default" in tq("status", "m").stderr
    assert "tq resume default" in tq("stats").stdout
    assert local.stats().paused == ["default"]
    tq("resume")
    assert "paused" not in tq("status", "m").stderr


@pytest.mark.parametrize("terminal", [False, True])
def test_stats_go_on_after_a_restart(tq: Cli, valkey: Valkey, local: LocalClient, terminal: bool) -> None:  # noqa: FBT001 - as above
    """`tq stats --watch` says that the connection is lost, once, and shows figures again."""
    local.submit("Hello", to="fr")
    if terminal:
        child = tq.terminal("stats", "--watch")
        child.expect("Ctrl-C ends")
        valkey.kill()
        child.expect("connection lost")
        valkey.start()
        child.expect("Ctrl-C ends")
        child.sendintr()
        assert exit_code(child) == 130
        return
    with tq.start("stats", "--watch") as running:
        wait_until(lambda: b"queued" in running.out, "figures are shown")
        valkey.kill()
        wait_until(lambda: "connection lost" in running.err, "it says so")
        valkey.start()
        wait_until(lambda: "connected again" in running.err, "it goes on")
        assert running.interrupt() == 130
        assert running.err.count("connection lost") == 1


# -- tq doctor ---------------------------------------------------------------------------------------


def found(tq: Cli, *args: str, **settings: str) -> dict[str, dict[str, Any]]:
    """What the doctor finds, by the name of the check (the last of each)."""
    done = tq("doctor", "--json", *args, **settings)
    findings = [json.loads(line) for line in done.stdout.splitlines()]
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
        finding = found(tq, TQ_REDIS_URL=valkey.url_with("not-this-one").replace("unix://", "redis+socket://"))["redis"]
        assert not finding["ok"]
        assert "REDIS_PASSWORD" in finding["fix"] or "password" in finding["detail"]
        assert "not-this-one" not in json.dumps(finding)


def test_no_worker_and_a_paused_queue(tq: Cli, local: LocalClient) -> None:
    """Both are said."""
    local.pause("high_priority")
    findings = found(tq)
    assert "tq worker" in findings["worker"]["fix"]
    assert findings["paused"]["fix"] == "`tq resume high_priority`"
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


# -- completion --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tq submit x --to pt", {"pt", "pt-BR"}),
        ("tq list --status f", {"failed"}),
        ("tq pause h", {"high_priority"}),
        ("tq status comp", {"completion-1"}),
    ],
)
def test_completion_in_bash(tq: Cli, local: LocalClient, line: str, expected: set[str]) -> None:
    """Languages, statuses, queues and ids of messages."""
    local.submit("Hello", to="fr", message_id="completion-1")
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_TQ_COMPLETE": "complete_bash"}
    assert set(tq(**words).stdout.split()) == expected


def test_completion_when_nothing_runs(tq: Cli) -> None:
    """Silence, soon."""
    done = tq(COMP_WORDS="tq status x", COMP_CWORD="2", _TQ_COMPLETE="complete_bash")
    assert (done.stdout.strip(), done.stderr) == ("", "")
