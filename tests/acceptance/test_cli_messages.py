"""`tq` looks at messages, changes them, and checks its surroundings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import Api
from cli_driver import CANARY, Cli, complete, fail
from servers import Valkey, wait_until

from tq.backend import make_submission
from tq.local import LocalClient
from tq.messages import Status


@pytest.fixture
def api(valkey: Valkey, environment: dict[str, str], tmp_path: Path) -> Iterator[Api]:
    """The API on the same Valkey."""
    assert valkey.socket.exists()
    with Api(tmp_path, environment) as server:
        yield server


# -- look and change ---------------------------------------------------------------------------------


def test_status(tq: Cli, local: LocalClient) -> None:
    """A message is shown whole, and nothing in it is obeyed by a terminal."""
    local.submit("Hello\x1b[2J", to="fr", message_id="mine")
    complete(local, "mine", "Bonjour\n\x1b]0;title\x07")
    shown = tq("status", "mine").stdout
    assert shown.startswith("mine  completed\n")
    assert "\x1b" not in shown
    assert "Hello\\x1b[2J" in shown
    assert json.loads(tq("status", "mine", "--json").stdout)["translation"] == "Bonjour\n\x1b]0;title\x07"


def test_status_of_several(tq: Cli, local: LocalClient) -> None:
    """After an unknown id the others are still shown; the exit code is that of the first error."""
    local.submit("Hello", to="fr", message_id="mine")
    done = tq("status", "nope", "mine", "no way")
    assert done.returncode == 3
    assert "mine  queued" in done.stdout
    assert done.stderr.count("error: ") == 2


def test_follow(tq: Cli, local: LocalClient) -> None:
    """Following ends with the message, and its exit code says how."""
    local.submit("Hello", to="fr", message_id="mine")
    with tq.start("status", "mine", "--follow") as running:
        wait_until(lambda: b"queued" in running.out, "it is shown")
        fail(local, "mine")
        assert running.popen.wait(timeout=30) == 1
        assert b"reported: no such luck" in running.out


def test_list(tq: Cli, local: LocalClient) -> None:
    """Lists are newest first, a line each, by status and as long as asked for, also beyond one page."""
    local.submit_many([make_submission("Hello", message_id=f"m{number}") for number in range(203)])
    local.cancel("m7")
    assert len(tq("list").stdout.splitlines()) == 20
    assert len(tq("list", "--limit", "1000").stdout.splitlines()) == 203
    assert len(tq("list", "--limit", "202", "--json").stdout.splitlines()) == 202
    assert tq("list", "--status", "cancelled").stdout.split()[0] == "m7"
    newest = [line.split()[0] for line in tq("list", "--limit", "2").stdout.splitlines()]
    assert newest == [message.message_id for message in local.list(limit=2)[0]]


@pytest.mark.parametrize("over_http", [False, True])
def test_list_of_what_matches(tq: Cli, local: LocalClient, api: Api, over_http: bool) -> None:  # noqa: FBT001 - a parameter of pytest's
    """The filters of the API, together or alone; a language finds its own kinds, and one that is none is refused."""
    url = ["--url", api.url] if over_http else []
    local.submit("Hello", to="fr-CA", source="en", priority=7, model="m-1", message_id="canada")
    local.submit("Hello", to="fr", source="de", message_id="france", metadata={"shop": "Chez Anna"})
    local.submit("Hello", to="ja", source="en", message_id="japan", callback_url="https://example.org/hook")
    fail(local, "japan")

    def listed(*options: str) -> set[str]:
        return {line.split()[0] for line in tq("list", *options, *url).stdout.splitlines()}

    assert listed() == {"canada", "france", "japan"}
    assert listed("--to", "FR") == {"canada", "france"}
    assert listed("--from", "en") == {"canada", "japan"}
    assert listed("--from", "en", "--to", "fr") == {"canada"}
    assert listed("--priority", "7") == listed("--model", "m-1") == {"canada"}
    assert listed("--error", "reported") == listed("--status", "failed", "--to", "ja") == {"japan"}
    assert listed("--q", "chez anna") == {"france"}
    assert listed("--to", "de") == set()
    assert listed("--callback", "pending") == listed("--prefix", "jap") == {"japan"}
    assert listed("--callback", "failed") == set()
    assert tq("list", "--callback", "lost", *url).returncode == 2
    for option in ("--to", "--from"):
        refused = tq("list", option, "xx", *url)
        assert refused.returncode == 2
        assert "not a known language" in refused.stderr
    assert tq("list", "--priority", "11").returncode == 2


def test_the_error_of_an_earlier_attempt(tq: Cli, local: LocalClient) -> None:
    """What was cancelled did not fail of it."""
    local.submit("Hello", to="fr", message_id="mine")
    local.set_status("mine", Status.RUNNING)
    local.set_status("mine", Status.RETRYING, error="no such luck")
    assert "reported" in tq("list").stdout
    local.cancel("mine")
    assert "reported" not in tq("list").stdout
    assert "no such luck" not in tq("status", "mine").stdout


@pytest.mark.parametrize("over_http", [False, True])
def test_a_webhook_again(tq: Cli, local: LocalClient, api: Api, over_http: bool) -> None:  # noqa: FBT001 - a parameter of pytest's
    """It is asked for by id, or how that begins; as JSON it is the message; without a webhook there is none to send."""
    url = ["--url", api.url] if over_http else []
    for message_id, hook in (("apple", "https://example.org/hook"), ("banana", None)):
        local.submit("Hello", to="fr", message_id=message_id, callback_url=hook)
        complete(local, message_id, "Bonjour")
    assert tq("callback", "app", *url).stdout == "apple  pending\n"
    assert json.loads(tq("callback", "apple", "--json", *url).stdout)["callback"]["status"] == "pending"
    done = tq("callback", "banana", "cherry", "apple", *url)
    assert (done.returncode, done.stdout) == (2, "apple  pending\n")
    assert done.stderr.count("error:") == 2
    assert tq("callback", "cherry", *url).returncode == 3


@pytest.mark.parametrize("over_http", [False, True])
def test_a_language_that_is_named_twice(tq: Cli, local: LocalClient, api: Api, over_http: bool) -> None:  # noqa: FBT001 - a parameter of pytest's
    """It is refused, as a batch over HTTP is, and nothing is submitted."""
    url = ["--url", api.url] if over_http else []
    done = tq("submit", "Hello", "--to", "fr", "--to", "de", "--to", "fr", *url)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--to names fr twice" in done.stderr
    assert local.list() == ([], None)


def test_small_letters(tq: Cli, local: LocalClient) -> None:
    """They are enough for an id of tq's own making; an id of one's own is taken as it is written."""
    message_id = local.submit("Hello", to="fr").message_id
    local.submit("Hello", to="fr", message_id="Mine")
    assert tq("status", message_id.lower()).stdout.startswith(f"{message_id}  queued")
    assert tq("cancel", message_id[:24].lower()).stdout == f"{message_id}  cancelled\n"
    assert tq("status", "mine").returncode == 3
    assert tq("status", "Mi").returncode == 0


@pytest.mark.parametrize(
    ("given", "said"), [("", "TQ_API_TOKEN is not set"), ("wrong", "that of TQ_API_TOKEN is another one")]
)
def test_a_token(tq: Cli, valkey: Valkey, environment: dict[str, str], tmp_path: Path, given: str, said: str) -> None:
    """To who types commands it is a setting: whether it is missing or wrong, and no word on headers."""
    assert valkey.pid
    with Api(tmp_path, environment | {"TQ_API_TOKEN": "right"}) as api:
        for line in (["list"], ["status", "mine"], ["submit", "Hello", "--to", "fr"], ["tail"]):
            done = tq(*line, "--url", api.url, TQ_API_TOKEN=given)
            assert done.returncode == 4
            assert said in done.stderr
            assert "set TQ_API_TOKEN" in done.stderr
            assert "Bearer" not in done.stderr
        assert tq("list", "--url", api.url, TQ_API_TOKEN="right").returncode == 0


def test_stats(tq: Cli, local: LocalClient) -> None:
    """Figures are text for people and JSON for programs."""
    local.submit("Hello", priority=9)
    assert "high_priority 1, default 0" in tq("stats").stdout
    stats = json.loads(tq("stats", "--json").stdout)
    assert stats["queues"]["high_priority"] == 1
    assert stats["counts"]["queued"] == 1


def test_cancel_and_retry(tq: Cli, local: LocalClient) -> None:
    """Cancelling and retrying say the new status; what the state forbids is refused."""
    local.submit("Hello", message_id="mine")
    assert tq("cancel", "mine").stdout == "mine  cancelled\n"
    assert tq("cancel", "mine").returncode == 2
    assert tq("retry", "nope", "mine").stdout == "mine  queued\n"
    assert local.get("mine").status is Status.QUEUED
    assert tq("retry", "mine", "nope").returncode == 2
    assert tq("cancel", "nope").returncode == 3


def test_retry_all_that_failed(tq: Cli, local: LocalClient) -> None:
    """--failed takes every page of failed messages, leaves others alone, and counts."""
    for number in range(3):
        local.submit("Hello", message_id=f"m{number}")
    fail(local, "m0")
    fail(local, "m2")
    assert tq("retry", "--failed").stdout == "2 messages queued again\n"
    assert local.stats().counts[Status.QUEUED] == 3
    assert tq("retry", "--failed").stdout == "0 messages queued again\n"


def test_retry_needs_the_key_again(tq: Cli, local: LocalClient) -> None:
    """A message that came with a key of its own needs it again; from a pipe it is the first line."""
    local.submit("Hello", message_id="mine", api_key=CANARY)
    fail(local, "mine")
    refused = tq("retry", "mine")
    assert refused.returncode == 2
    assert "--ask-key" in refused.stderr
    assert tq("retry", "--failed").returncode == 2
    assert tq("retry", "mine", "--ask-key", stdin=CANARY).stdout == "mine  queued\n"


@pytest.mark.parametrize("line", [["list"], ["stats"], ["status", "mine"], ["config"], ["ps"], ["--help"]])
def test_no_escapes_in_a_pipe(tq: Cli, local: LocalClient, line: list[str]) -> None:
    """A pipe gets neither colours nor boxes, whatever the environment wishes."""
    local.submit("Hello", message_id="mine")
    done = tq(*line, FORCE_COLOR="1", TERM="xterm-256color", COLORTERM="truecolor")
    assert not re.search("[\x1b─-╿]", done.stdout + done.stderr)


def test_list_into_a_pipe_that_closes(local: LocalClient, environment: dict[str, str], tmp_path: Path) -> None:
    """A list whose reader has seen enough ends quietly."""
    local.submit_many([make_submission("Hello") for _ in range(1000)])
    command = f"{sys.executable} -m tq list --limit 1000 | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=environment, cwd=tmp_path, check=True
    )
    assert done.stdout.split()[-1] == "0"
    assert done.stderr == ""
