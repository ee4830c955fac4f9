"""Commands as a person uses them: beginnings of ids, timelines, and paused queues."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from api_server import Api
from cli_driver import Cli, complete, exit_code, fail
from pydantic import SecretStr
from running_stack import RunningStack
from servers import Valkey, wait_until

from tq.local import LocalClient
from tq.messages import Status
from tq.settings import Settings


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


def test_a_pause_from_before_is_in_the_banner(tmp_path: Path) -> None:
    """Whoever starts the stack sees why nothing begins."""
    (tmp_path / "redis").mkdir()
    (tmp_path / "stack").mkdir()
    with Valkey(tmp_path / "redis") as valkey:
        url = valkey.url.replace("unix://", "redis+socket://")
        with LocalClient(Settings(redis_url=SecretStr(url))) as local:
            local.pause("default")
        with RunningStack(tmp_path / "stack", TQ_REDIS_URL=url) as stack:
            assert stack.driven.find("  Paused    default, from before: `tq resume default` goes on")


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


def test_a_narrow_terminal(tq: Cli, local: LocalClient) -> None:
    """What a message is, how it goes on and the figures keep within 40 columns, and no word is broken."""
    mine = local.submit("Translate this, please", to="fr").message_id
    local.set_status(mine, Status.RUNNING)
    local.set_status(mine, Status.RETRYING, error="the provider asks to wait, and to come again in a minute")
    submit = ["submit", "Translate this, please", "--to", "fr", "--id", mine, "--timeout", "0.1"]
    for line, last, words in (
        (["status", mine], "please", "to come again in a minute"),
        (["stats"], "tq up`", "start one with `tq worker`"),
        (submit, "error:", "reported, next in"),
    ):
        child = tq.terminal(*line)
        child.setwinsize(40, 40)
        child.expect(last)
        shown = re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", f"{child.before}{child.after}")
        child.expect(pexpect.EOF)
        child.close()
        assert all(len(text) <= 40 for text in shown.split("\r\n")), shown
        assert words in " ".join(shown.split())
